"""What the first rows of a recipe's own data show: columns, gold answers, the rewards' row check.

Reads files, functions and packaged data only, never the hub, and imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reasoning_rl import recipe_check
from reasoning_rl.api import Completion, Message, Sample, Score
from reasoning_rl.data import convert_rows, missing_columns, place_of, read_rows
from reasoning_rl.errors import DataError, MissingExtraError, ReasoningRLError, RecipeError, RewardPluginError
from reasoning_rl.math_rows import converter_for
from reasoning_rl.prompts import render_prompt, template_columns
from reasoning_rl.recipe import Recipe, Source
from reasoning_rl.recipe_io import RecipeFile
from reasoning_rl.scoring import RewardSet, WeightedReward
from reasoning_rl.trials import FORMS, answer_column, expectation, trials
from reasoning_rl.workers.grade import call_reward

#: Rows of each source that are looked at.
FIRST_ROWS = 100

_FILES = (".jsonl", ".json", ".csv", ".parquet")

ChatText = Callable[[list[Message]], tuple[str, int]]
_Rows = Mapping[str, dict[str, Any]]


@dataclass(slots=True)
class DataCheck:
    """Problems, notes on what was not looked at, and of each data set the first row with its place."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    first: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)


def check_all(file: RecipeFile) -> tuple[DataCheck, list[str]]:
    """Checks a recipe and the first rows of its data; returns what was found of the data, and all notes.

    Raises:
        RecipeError: every problem of both at once.
    """
    problems: list[str] = []
    notes: list[str] = []
    try:
        notes += recipe_check.check(file)
    except RecipeError as error:
        problems += error.problems
    data = check_data(file)
    if problems or data.problems:
        raise RecipeError([*problems, *data.problems])
    return data, [*notes, *data.notes]


def check_data(file: RecipeFile) -> DataCheck:
    """Looks at the first rows of every local source that a stage uses."""
    found = DataCheck()
    rewards = _rewards(file.recipe)
    graded = {stage.dataset for stage in file.recipe.stages if stage.kind != "sft"}
    for name in dict.fromkeys(stage.dataset for stage in file.recipe.stages):
        rows: dict[str, dict[str, Any]] = {}
        is_whole = True
        for index, source in enumerate(file.recipe.data[name]):
            where = f"data.{name}.{index}"
            try:
                some, ends = _check_source(
                    found, file, (name, index), source, rewards if name in graded else RewardSet(())
                )
                rows, is_whole = rows | some, is_whole and ends
            except MissingExtraError as error:
                is_whole = False
                found.notes.append(f"{error}; its rows were not looked at")
            except (DataError, RewardPluginError) as error:
                sentence = str(error).removeprefix(f"{where}: ")
                found.problems.append(file.problem(("data", name, index), sentence))
        if rows:
            row_id, row = next(iter(rows.items()))
            found.first[name] = place_of(file.recipe, row_id), row
            if name in graded:
                try:
                    rewards.check_rows(
                        f"data.{name}", rows, lambda row_id: place_of(file.recipe, row_id), are_all=is_whole
                    )
                except DataError as error:
                    found.problems.append(file.problem(("data", name), str(error).removeprefix(f"data.{name}: ")))
    return found


def show_lines(file: RecipeFile, found: DataCheck, chat_text: ChatText | None) -> Iterator[str]:
    """The first row of each data set: messages, the text with the chat template, and what each reward makes of it."""
    recipe = file.recipe
    rewards = RewardSet.from_recipe(recipe)
    graded = {stage.dataset for stage in recipe.stages if stage.kind != "sft"}
    for name, (where, row) in found.first.items():
        yield f"data.{name}, {where}"
        messages = render_prompt(row, recipe.prompt)
        yield from (f"  {message['role']}: {message['content']}" for message in messages)
        if chat_text:
            text, num_tokens = chat_text(messages)
            yield f"  with the chat template, {num_tokens} tokens: {text!r}"
        for item in rewards.rewards if name in graded else ():
            yield f"  reward {item.name}: {_shown(item, rewards, recipe, row, messages)}"


def _check_source(
    found: DataCheck, file: RecipeFile, at: tuple[str, int], source: Source, rewards: RewardSet
) -> tuple[dict[str, dict[str, Any]], bool]:
    """The first rows, by their ids, and whether there are no others."""
    name, index = at
    where = f"data.{name}.{index}"
    if not _is_local(source.source):
        found.notes.append(f"{where}: {source.source} is not a local file, its rows were not looked at")
        return {}, False
    paths = [text.partition(":")[0] for text in (source.source, source.convert, source.completion) if text]
    if any(path.startswith("/") and not Path(path).exists() for path in paths):
        return {}, False  # said by recipe_check
    raw = read_rows(source, where, FIRST_ROWS)
    if not raw:
        raise DataError(f"{where}: {source.source} has no rows")
    converter = converter_for(next(iter(raw.values()))) if source.convert is None else None
    remedy = f"for rows of this form add convert: {converter}" if converter else None
    try:
        converted = convert_rows(raw, source, where)
    except DataError as error:
        raise DataError(f"{error}; {remedy}" if remedy else str(error)) from error
    if not converted:
        found.notes.append(f"{where}: {source.convert} leaves out all of the first {len(raw)} rows")
    rows = {f"{name}/{index}/{position}": row for position, row in converted.items()}
    sentences = [
        *_column_problems(file.recipe, rows, rewards, remedy),
        *_gold_problems(file.recipe, rows, rewards, remedy),
    ]
    found.problems += [file.problem(("data", name, index), sentence) for sentence in sentences]
    return ({}, False) if sentences else (rows, len(raw) < FIRST_ROWS)


def _column_problems(recipe: Recipe, rows: _Rows, rewards: RewardSet, remedy: str | None) -> Iterator[str]:
    """The first row that lacks a column."""
    needed = {*template_columns(recipe.prompt.template), *rewards.required_columns}
    for row_id, row in rows.items():
        if problem := missing_columns(row, needed, remedy):
            yield f"{place_of(recipe, row_id)} {problem}"
            return


def _gold_problems(recipe: Recipe, rows: _Rows, rewards: RewardSet, remedy: str | None) -> Iterator[str]:
    """For each reward that the audit before training tries: the first row whose gold it cannot read."""
    tried = [item for item in rewards.rewards if item.weight or item.name == recipe.accuracy_reward]
    is_audited = recipe.scoring.audit and any(stage.kind == "grpo" for stage in recipe.stages)
    for item in tried if is_audited else ():
        for row_id, row in rows.items():
            if not item.requires <= row.keys() or not item.applies_to(row):
                continue
            reason = _unreadable(item, row)
            if reason:
                yield f"{place_of(recipe, row_id)}: rewards.{item.name} cannot read its gold: {reason:.200}; {remedy or 'mend the row, or leave it out with convert:'}"
                break


def _unreadable(item: WeightedReward, row: dict[str, Any]) -> str | None:
    """Why a reward with `reference` cannot grade a row; grades an empty completion only without a right one."""
    reference = getattr(item.reward, "reference", None)
    try:
        if reference is None or reference(row) is not None:
            return None
    except Exception as error:  # noqa: BLE001 - the reward may be the user's and raise anything
        return f"reference failed with {type(error).__name__}: {error}"
    score = call_reward(item.reward, Sample([], Completion("", None, "", 0, False), row, "row"))
    return str(score.detail.get("reason", score.verdict)) if score.verdict.is_our_fault else None


def _shown(
    item: WeightedReward, rewards: RewardSet, recipe: Recipe, row: dict[str, Any], messages: list[Message]
) -> str:
    if not item.applies_to(row):
        return "does not apply to this row (when)"
    expected = expectation(item.reward, row, FORMS[0]) if hasattr(item.reward, "reference") else None
    if expected is None:
        return "knows no right answer to this row"
    trial = next(iter(trials(expected, "", recipe.prompt.thinking)))
    score: Score = rewards.score(trial.sample(recipe.prompt.thinking, messages, row, "row")).scores[item.name]
    column = answer_column(item.reward)
    gold = score.detail.get("gold", row.get(column) if column else None)
    read = "" if gold is None else f"gold {gold!r:.200}, "
    return f"{read}its reference {trial.text!r:.200} scores {score.value} ({score.verdict})"


def _is_local(source: str) -> bool:
    head, colon, _ = source.partition(":")
    return (bool(colon) and head != "reasoning_gym") or Path(source).suffix in _FILES


def _rewards(recipe: Recipe) -> RewardSet:
    """The rewards that can be built; recipe_check names the others."""
    built: list[WeightedReward] = []
    for name, use in recipe.rewards.items():
        try:
            built += RewardSet.from_uses({name: use}).rewards
        except ReasoningRLError:
            continue
    return RewardSet(tuple(built))
