"""Fixtures of tests about recipes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reasoning_rl.errors import RecipeError
from reasoning_rl.recipe_check import check
from reasoning_rl.recipe_io import load_recipe

Tree = Callable[..., dict[str, Any]]
Write = Callable[..., Path]


@pytest.fixture
def problems(recipe_tree: Tree, write_recipe: Write) -> Callable[..., list[str]]:
    """What `check` finds wrong with the small valid recipe once some sections are replaced, without file names."""

    def of(*overrides: str, **sections: Any) -> list[str]:
        path = write_recipe(recipe_tree(**sections))
        file = load_recipe(path, overrides)
        try:
            notes = check(file)
        except RecipeError as error:
            return [problem.replace(f"{path}:", "") for problem in error.problems]
        assert notes == []
        return []

    return of
