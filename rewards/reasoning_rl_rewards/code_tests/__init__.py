"""`code_tests`: a program out of a completion against the tests of its row, behind operating-system isolation.

`extract` finds the program, `cases` reads the tests, `orders` says in which order they run, `compare` compares, `judge`
runs them in a sandbox, `reward` turns what it found into a score. Formats and policies: docs/code-rewards.md.
"""

from reasoning_rl_rewards.code_tests.reward import CodeTests

__all__ = ["CodeTests"]
