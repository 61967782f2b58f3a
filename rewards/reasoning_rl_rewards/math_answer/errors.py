"""Why an answer cannot be read or decided; both are caught inside this package."""

from __future__ import annotations


class UnreadableError(ValueError):
    """The text is no answer that this grammar knows."""


class TooCostlyError(UnreadableError):
    """Reading or evaluating would take more work than an answer deserves."""


class RefusedError(UnreadableError):
    """The text can be read, and what it says is no answer: a chain of different values, prose that denies."""


class UndefinedError(ArithmeticError):
    """The expression has no value at this point: division by zero, a logarithm of zero, no number."""
