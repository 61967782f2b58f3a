"""A reward that imports part of the training stack; the module of that name is made by the test."""

from __future__ import annotations

import broken_rewards
import jax  # noqa: F401  # pyright: ignore[reportMissingImports]


class ImportsJax(broken_rewards.Sound):
    """Sound but for its import."""
