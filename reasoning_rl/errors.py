"""Every error that a user can cause, as one tree.

Each leaf also inherits the standard type that callers already catch. A message is one sentence: where, what was found,
what was expected, what to do. Bugs of our own raise `AssertionError`, not these.
"""

from __future__ import annotations

from collections.abc import Sequence


class ReasoningRLError(Exception):
    """Base of all errors raised on purpose by reasoning_rl; the command line exits with 2 on it."""


class RecipeError(ReasoningRLError, ValueError):
    """A recipe cannot be run as written. `problems` holds one sentence per fault, all of them at once."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class RewardPluginError(ReasoningRLError, ImportError):
    """A reward cannot be found, imported or built from its options."""


class DataError(ReasoningRLError, ValueError):
    """A data set cannot be loaded or lacks what the recipe needs of it."""


class ModelError(ReasoningRLError, ValueError):
    """A model source cannot be loaded, or does not fit the run."""


class MissingExtraError(ReasoningRLError, ImportError):
    """An optional dependency is not installed, or the wrong build of it is."""


class RunDirError(ReasoningRLError, OSError):
    """The run folder cannot be used: not writable, or it belongs to another recipe."""


class ScoringError(ReasoningRLError, RuntimeError):
    """Grading broke down: too many completions could not be scored."""


class AuditError(ReasoningRLError, ValueError):
    """The rewards of a recipe refuse right answers or pay for wrong ones on its own rows."""


class ScaffoldError(ReasoningRLError, OSError):
    """A new reward cannot be written: its name is taken or unusable, or a file stands in the way."""


class EngineError(ReasoningRLError, RuntimeError):
    """The rollout engine failed, or disagrees with the trainer about the weights."""


class DivergenceError(ReasoningRLError, ArithmeticError):
    """Training has led to numbers that are none: a loss or log-probs that are NaN or infinite."""


class SandboxError(ReasoningRLError, RuntimeError):
    """No sandbox can be had on this machine as asked for, or it was closed. Nothing was run."""
