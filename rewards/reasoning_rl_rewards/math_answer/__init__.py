"""`math_answer`: the answer of a completion against a gold answer, by mathematics. The parts, in the order of their use:

`extract` (where the answer stands) → `normalise` → `numbers` (plain numbers, decided at once) → `guard` (what is too costly)
→ `tokens`, `reading`, `quantities`, `expression` (what it says) → `equality`, `relations`, `realsets`, `evaluate` (whether it is equal) →
`engine` (math-verify and sympy, for what the own grammar cannot read) → `vetoes`. `comparison` runs them, `reward` scores.
"""

from reasoning_rl_rewards.math_answer.reward import MathAnswer

__all__ = ["MathAnswer"]
