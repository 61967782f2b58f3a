"""Recipe text to `Recipe`: YAML 1.2, overrides, line numbers in errors, resolved JSON.

Reads no upstream package; `recipe_check` looks at the keys of `sft`, `grpo`, `lora` and `vllm`.
"""

from __future__ import annotations

import difflib
import json
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import YAMLError

from reasoning_rl.errors import RecipeError
from reasoning_rl.recipe import Recipe

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class RecipeFile:
    """A parsed recipe and where each key of it stands, so that later problems can name the line."""

    recipe: Recipe
    path: Path
    lines: Mapping[KeyPath, int]
    overrides: tuple[str, ...] = ()

    def problem(self, key: KeyPath, sentence: str) -> str:
        """`file:line: key.path: sentence`."""
        return _problem(self.path, self.lines, self.overrides, key, sentence)

    def resolved_json(self) -> str:
        """The whole recipe with every default and override, as written to the run folder."""
        return json.dumps(self.recipe.model_dump(mode="json"), indent=2) + "\n"


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> RecipeFile:
    """Reads a recipe (`.yaml`) or a resolved one (`.json`) and applies overrides such as `grpo.max_steps=2`.

    File paths in the recipe (data, rewards, models, launch) become absolute, taken relative to the recipe's folder.

    Raises:
        RecipeError: with every problem found, one sentence each.
    """
    path = Path(path)
    tree, lines = _read_yaml(path)
    tree = apply_overrides(tree, overrides)
    try:
        recipe = Recipe.model_validate(_absolute_paths(tree, path.resolve().parent))
    except ValidationError as error:
        raise RecipeError(list(_sentences(error, path, lines, tuple(overrides)))) from None
    return RecipeFile(recipe, path, lines, tuple(overrides))


def apply_overrides(tree: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of `tree` with each `a.b=c` set; the value is read as YAML, `a.0.b` indexes a list.

    Raises:
        RecipeError: an override has no `=`, its value is no YAML, or its path leads through a plain value.
    """
    tree = json.loads(json.dumps(tree))
    problems = []
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key:
            problems.append(f"override {override!r}: expected key.path=value, for example grpo.max_steps=2")
            continue
        try:
            _set(tree, key.split("."), _plain(YAML(typ="safe", pure=True).load(text)))
        except YAMLError:
            problems.append(f"override {override!r}: the value is not valid YAML; quote it for the shell")
        except (KeyError, IndexError, TypeError, ValueError) as error:
            problems.append(f"override {override!r}: {error.args[0] if error.args else error}")
    if problems:
        raise RecipeError(problems)
    return tree


def closest(name: str, candidates: Sequence[str]) -> str:
    """`; did you mean 'x'?` or nothing."""
    matches = difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.6)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def _read_yaml(path: Path) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RecipeError([f"{path}: no such recipe; check the path"]) from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError([f"{path}: cannot be read as a UTF-8 text file ({error})"]) from None
    yaml = YAML(typ="rt", pure=True)
    try:
        document = yaml.load(text)
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        reason = str(error.problem).split(" with value")[0]
        raise RecipeError([f"{path}:{line}: {reason}; keep one of the two"]) from None
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise RecipeError([f"{path}:{mark.line + 1 if mark else 1}: not valid YAML: {reason}"]) from None
    if not isinstance(document, dict):
        raise RecipeError([f"{path}:1: expected a mapping of sections (run, model, data, …), found {document!r:.60}"])
    # JSON writes infinity as Infinity, which YAML would read as text.
    tree = json.loads(text) if path.suffix == ".json" else _plain(document)
    return tree, dict(_line_numbers(document))


def _line_numbers(node: Any, prefix: KeyPath = ()) -> Iterator[tuple[KeyPath, int]]:
    positions = getattr(node, "lc", None)
    if isinstance(node, dict) and positions is not None:
        for key, value in node.items():
            if key in (positions.data or {}):  # a key merged in with << has no place of its own
                yield (*prefix, str(key)), positions.key(key)[0] + 1
            yield from _line_numbers(value, (*prefix, str(key)))
    elif isinstance(node, list) and positions is not None:
        for index, value in enumerate(node):
            yield (*prefix, index), positions.item(index)[0] + 1
            yield from _line_numbers(value, (*prefix, index))


def _plain(node: Any) -> Any:
    """ruamel's round-trip types as plain Python ones."""
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    for kind in (bool, int, float):
        if isinstance(node, kind):
            return kind(node)
    return node if node is None else str(node)


def _set(node: Any, keys: list[str], value: Any) -> None:
    for depth, key in enumerate(keys[:-1]):
        node = _child(node, key, ".".join(keys[: depth + 1]))
    if isinstance(node, list):
        _child(node, keys[-1], ".".join(keys))
        node[int(keys[-1])] = value
    elif isinstance(node, dict):
        node[keys[-1]] = value
    else:
        raise TypeError(f"{'.'.join(keys[:-1])} is the plain value {node!r}; it has no keys")


def _child(node: Any, key: str, where: str) -> Any:
    if isinstance(node, list):
        if not key.isdigit() or int(key) >= len(node):
            raise IndexError(f"{where}: expected a position from 0 to {len(node) - 1} in the list, found {key!r}")
        return node[int(key)]
    if not isinstance(node, dict):
        raise TypeError(f"{where}: leads through the plain value {node!r}")
    if node.get(key) is None:
        node[key] = {}
    return node[key]


def _absolute_paths(tree: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Paths inside a recipe are relative to it. Only texts that name a file there are touched."""

    def absolute(text: Any) -> Any:
        if not isinstance(text, str):
            return text
        file, colon, attribute = text.partition(":")
        looks_like_file = file.endswith((".py", ".jsonl", ".json", ".parquet", ".csv", ".yaml")) or (
            file.startswith((".", "/", "~")) and not colon
        )
        return f"{(folder / Path(file).expanduser()).resolve()}{colon}{attribute}" if looks_like_file else text

    def visit(node: Any, keys: tuple[str, ...]) -> None:
        if isinstance(node, list):
            for item in node:
                visit(item, keys)
        elif isinstance(node, dict):
            for key in keys:
                if key in node:
                    node[key] = absolute(node[key])

    data, rewards = tree.get("data"), tree.get("rewards")
    for source in data.values() if isinstance(data, dict) else ():
        visit(source, ("source", "convert", "completion"))
    for reward in rewards.values() if isinstance(rewards, dict) else ():
        visit(reward, ("use",))
    visit(tree.get("model"), ("source",))
    visit(tree.get("launch"), ("config_file",))
    return tree


def _sentences(
    error: ValidationError, path: Path, lines: Mapping[KeyPath, int], overrides: tuple[str, ...]
) -> Iterator[str]:
    for item in error.errors():
        key: KeyPath = tuple(item["loc"])
        if item["type"] == "extra_forbidden":
            names = _field_names(key[:-1])
            sentence = f"unknown key{closest(str(key[-1]), names) or '.'} Known here: {', '.join(names)}"
        elif item["type"] == "missing":
            sentence = "is required and missing; add it"
        elif not key and item["type"] == "value_error":
            for line in str(item.get("ctx", {})["error"]).splitlines():
                where, _, sentence = line.partition(": ")
                parts: KeyPath = tuple(int(part) if part.isdigit() else part for part in where.split("."))
                yield _problem(path, lines, overrides, parts, sentence)
            continue
        else:
            expected = item["msg"].removeprefix("Input should be ")
            found = f"found {item['input']!r:.80}"
            sentence = f"{found}; {expected}" if expected == item["msg"] else f"{found}, expected {expected}"
        yield _problem(path, lines, overrides, key, sentence)


def _problem(path: Path, lines: Mapping[KeyPath, int], overrides: tuple[str, ...], key: KeyPath, sentence: str) -> str:
    written = tuple(part for part in key if part != "[key]")
    dotted = ".".join(str(part) for part in written)
    for override in reversed(overrides):
        target = override.partition("=")[0]
        for name in (dotted, ".".join(str(part) for part in _without_list(written))):
            if name == target:
                return f"override {override!r}: {sentence}"
            if name.startswith(f"{target}."):
                return f"override {override!r}: {dotted}: {sentence}"
    line = 0
    for end in range(len(written), 0, -1):
        candidate = written[:end]
        line = lines.get(candidate) or lines.get(_without_list(candidate)) or 0
        if line:
            break
    return f"{path}:{line or 1}: {dotted}: {sentence}"


def _without_list(key: KeyPath) -> KeyPath:
    """A single source may be written without the list around it: its keys then stand one level higher."""
    return tuple(part for index, part in enumerate(key) if not (index == 2 and part == 0))


def _field_names(key: KeyPath) -> list[str]:
    """Field names of the section at a key path, read off the annotations."""
    node: Any = Recipe
    for part in key:
        node = _unwrapped(node)
        if _is_section(node):
            field = node.model_fields.get(str(part))
            node = field.annotation if field else None
        else:
            node = next(reversed(typing.get_args(node)), None)
    node = _unwrapped(node)
    return list(node.model_fields) if _is_section(node) else []


def _is_section(node: Any) -> bool:
    return isinstance(node, type) and issubclass(node, BaseModel)


def _unwrapped(node: Any) -> Any:
    """`X` of `Annotated[X, …]` or `X | None`."""
    while typing.get_origin(node) in (typing.Annotated, types.UnionType, typing.Union):
        node = next(argument for argument in typing.get_args(node) if argument is not type(None))
    return node
