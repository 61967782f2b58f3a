"""Which completions the report shows, picked from files too large to hold in memory.

Streams: never keeps more than six rows per step of the last few steps. Scores nothing and escapes nothing; the text it
hands on is the model's, and the template escapes it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reasoning_rl.recipe import Recipe, Thinking
from reasoning_rl.report.curves import Row, number
from reasoning_rl.run_dir import RunDir, read_jsonl

#: How many completions of each sort are shown.
NUM_SHOWN = 3
#: From how many of the last GRPO steps the highest and lowest totals are taken.
NUM_LAST_STEPS = 10


@dataclass(frozen=True, slots=True)
class ShownScore:
    """One reward's score, ready to print."""

    name: str
    value: float | None
    verdict: str
    detail: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ShownCompletion:
    """One completion with all that the report says about it. `before + thinking + after` is its whole text."""

    origin: str
    row_id: str
    prompt: Sequence[Mapping[str, str]]
    before: str
    thinking: str
    after: str
    num_tokens: int | None
    truncated: bool
    total: float | None
    advantage: float | None
    scores: Sequence[ShownScore]


@dataclass(frozen=True, slots=True)
class Samples:
    """The completions of a report: highest and lowest totals of the last GRPO steps, wrong ones of an eval stage."""

    highest: Sequence[ShownCompletion]
    lowest: Sequence[ShownCompletion]
    wrong: Sequence[ShownCompletion]
    wrong_stage: str | None
    """The last eval stage that left completions; `None` when there is none."""


def pick_samples(run_dir: RunDir, recipe: Recipe) -> Samples:
    """Reads `rollouts.jsonl` and the last `completions.jsonl` once each."""
    tags = recipe.prompt.thinking
    highest, lowest = extremes(read_jsonl(run_dir.rollouts))
    wrong: list[Row] = []
    stages = [s for s in recipe.stages if s.kind == "eval" and run_dir.stage(recipe, s).completions.exists()]
    if stages and recipe.eval:
        wrong = wrong_rows(read_jsonl(run_dir.stage(recipe, stages[-1]).completions), recipe.eval.accuracy)
    return Samples(
        highest=[shown(row, tags) for row in highest],
        lowest=[shown(row, tags) for row in lowest],
        wrong=[shown(row, tags) for row in wrong],
        wrong_stage=stages[-1].name if stages else None,
    )


def extremes(rows: Iterable[Row]) -> tuple[list[Row], list[Row]]:
    """The rows with the highest and with the lowest totals of the last steps, the later first among equals.

    Rows without a total (a reward abstained) are left out, and no row is in both lists.
    """
    steps: dict[tuple[Any, Any], list[tuple[float, int, Row]]] = {}
    for order, row in enumerate(rows):
        total = number(row.get("total"))
        if total is None:
            continue
        key = (row.get("stage"), row.get("step"))
        high, low = _ends([*steps.get(key, ()), (total, order, row)])
        steps[key] = [*high, *low]
        if len(steps) > NUM_LAST_STEPS:
            del steps[next(iter(steps))]
    high, low = _ends([entry for kept in steps.values() for entry in kept])
    return [row for *_, row in high], [row for *_, row in low]


def wrong_rows(rows: Iterable[Row], accuracy: str) -> list[Row]:
    """The first rows, each of another problem, that the reward called `accuracy` scored below 1."""
    found: dict[Any, Row] = {}
    for row in rows:
        value = number(((row.get("scores") or {}).get(accuracy) or {}).get("value"))
        if value is not None and value < 1:
            found.setdefault(row.get("row_id"), row)
        if len(found) == NUM_SHOWN:
            break
    return list(found.values())


def shown(row: Row, tags: Thinking) -> ShownCompletion:
    """A row of `rollouts.jsonl` or `completions.jsonl`, ready to print; keys may be missing."""
    step = row.get("step")
    before, thinking, after = mark_thinking(str(row.get("completion") or ""), tags)
    num_tokens = number(row.get("num_tokens"))
    scores = row.get("scores") or {}
    return ShownCompletion(
        origin=str(row.get("stage", "")) + ("" if step is None else f", step {step}"),
        row_id=str(row.get("row_id", "")),
        prompt=row.get("prompt") or (),
        before=before,
        thinking=thinking,
        after=after,
        num_tokens=None if num_tokens is None else int(num_tokens),
        truncated=row.get("truncated") is True,
        total=number(row.get("total")),
        advantage=number(row.get("advantage")),
        scores=[
            ShownScore(name, number(score.get("value")), str(score.get("verdict", "")), _detail(score.get("detail")))
            for name, score in scores.items()
        ],
    )


def mark_thinking(text: str, tags: Thinking) -> tuple[str, str, str]:
    """Text before, inside and after the first thinking block, tags included inside: the split of `parsing`."""
    start = 0 if tags.opened_by_template else text.find(tags.open)
    if start < 0:
        return text, "", ""
    close = text.find(tags.close, start)
    end = len(text) if close < 0 else close + len(tags.close)
    return text[:start], text[start:end], text[end:]


def _ends(
    entries: Sequence[tuple[float, int, Row]],
) -> tuple[list[tuple[float, int, Row]], list[tuple[float, int, Row]]]:
    high = sorted(entries, key=lambda entry: (-entry[0], -entry[1]))[:NUM_SHOWN]
    taken = {order for _, order, _ in high}
    rest = [entry for entry in entries if entry[1] not in taken]
    return high, sorted(rest, key=lambda entry: (entry[0], -entry[1]))[:NUM_SHOWN]


def _detail(detail: Mapping[str, Any] | None) -> dict[str, str]:
    items = (detail or {}).items()
    return {key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for key, value in items}
