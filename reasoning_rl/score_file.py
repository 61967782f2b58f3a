"""`reasoning-rl score`: completions in a JSON-lines file to scores in another, in order, at any size.

Reads and writes line by line with a bounded number of rows in between. The output is its own record of how far it got;
beside it, `OUT.config.json` says with which rewards, so that no file mixes the scores of two configurations.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from reasoning_rl.api import Message, Sample
from reasoning_rl.errors import DataError, RewardPluginError
from reasoning_rl.grading import Grader
from reasoning_rl.parsing import Reader
from reasoning_rl.plugins import resolve
from reasoning_rl.progress import StageProgress
from reasoning_rl.prompts import render_prompt, template_columns
from reasoning_rl.recipe import Prompt, Scoring
from reasoning_rl.recipe_io import apply_overrides, load_recipe
from reasoning_rl.scoring import RewardSet, ScoredSample, WeightedReward, top_causes

#: Rows that may be read but not written yet.
WINDOW_ROWS = 2048
#: How much work a kill may cost; Ctrl-C costs none.
FLUSH_EVERY_S = 1.0
_CHUNK_BYTES = 1 << 20
#: Columns that describe the completion; all others are the row.
_OWN_COLUMNS = ("id", "completion", "truncated", "num_tokens")


@dataclass(frozen=True, slots=True)
class ScoreJob:
    """What to score and how. `-` for standard input or output, which cannot be resumed."""

    input: str
    output: str
    rewards: RewardSet
    prompt: Prompt = field(default_factory=Prompt)
    scoring: Scoring = field(default_factory=Scoring)

    def config(self) -> dict[str, Any]:
        """What decides the scores; two files with equal configurations may be joined."""
        return {
            "rewards": {
                item.name: {
                    "use": item.use,
                    "version": item.version,
                    "options": dict(item.options),
                    "weight": item.weight,
                    "when": dict(item.when),
                    "gate": item.gate,
                    "clip": list(item.clip) if item.clip else None,
                }
                for item in self.rewards.rewards
            },
            "prompt": self.prompt.model_dump(mode="json"),
        }


@dataclass(slots=True)
class Summary:
    """Counts over all output rows, those of an earlier call included."""

    rows: int = 0
    resumed_at: int = 0
    totals: list[float] = field(default_factory=lambda: [0.0, 0.0])
    verdicts: dict[str, Counter[str]] = field(default_factory=dict)
    sums: dict[str, list[float]] = field(default_factory=dict)
    broken: list[ScoredSample] = field(default_factory=list)

    def add(self, row: Mapping[str, Any]) -> None:
        """Counts one output row."""
        self.rows += 1
        if row["total"] is not None:
            self.totals = [self.totals[0] + row["total"], self.totals[1] + 1]
        for name, score in row["scores"].items():
            self.verdicts.setdefault(name, Counter())[score["verdict"]] += 1
            if score["value"] is not None:
                before = self.sums.setdefault(name, [0.0, 0.0])
                self.sums[name] = [before[0] + score["value"], before[1] + 1]

    def lines(self) -> list[str]:
        """What to tell the user: one line per reward and one for the total."""
        found = [
            f"{name}: mean {_mean(self.sums.get(name))}  "
            + "  ".join(f"{verdict} {count}" for verdict, count in counts.most_common())
            for name, counts in self.verdicts.items()
        ]
        found.append(f"total: mean {_mean(self.totals)} of {self.totals[1]:.0f} scored rows, {self.rows} in all")
        if self.broken:
            found.append(f"not scored through no fault of the completion: {top_causes(self.broken)}")
        return found


def score_file(job: ScoreJob) -> Summary:
    """Scores every input row that the output does not have yet.

    Raises:
        DataError: a line is no row, lacks a column, or the output is of another input or configuration.
        ScoringError: grading has broken down.
    """
    summary = Summary()
    total = 0
    if job.output != "-":
        _check_config(job)
    with ExitStack() as stack:
        source = sys.stdin.buffer if job.input == "-" else stack.enter_context(_open_input(Path(job.input)))
        lines = enumerate(source, start=1)
        if job.output == "-":
            target: IO[str] = sys.stdout
        else:
            _skip_done(job, lines, summary)
            target = stack.enter_context(Path(job.output).open("a", encoding="ascii"))
        if job.input != "-":
            total = _count_lines(Path(job.input))
        grader = stack.enter_context(Grader(job.rewards, job.scoring, max_pending=WINDOW_ROWS))
        bar = StageProgress("score", total, "rows", enabled=total > 0)
        stack.enter_context(bar).set(summary.rows)
        flushed_at = time.monotonic()
        for row, scored in _scored_rows(job, lines, grader):
            target.write(json.dumps(row) + "\n")
            summary.add(row)
            if scored.total is None and len(summary.broken) < WINDOW_ROWS:
                summary.broken.append(scored)
            bar.set(summary.rows)
            if time.monotonic() - flushed_at > FLUSH_EVERY_S:
                target.flush()
                flushed_at = time.monotonic()
        target.flush()
    return summary


def job_from(
    source: str,
    output: str,
    recipe: Path | None,
    use: str | None,
    options: Sequence[str],
    timeout_s: float | None,
    num_workers: int | None,
) -> ScoreJob:
    """The job that the command line describes: a recipe, or one reward of weight 1 with `key=value` options.

    Raises:
        ReasoningRLError: both or neither are given, the recipe or the reward is at fault.
    """
    if (recipe is None) == (use is None):
        raise RewardPluginError("score: expected either --recipe FILE or --use NAME")
    if recipe is not None:
        if options:
            raise RewardPluginError("score: --option belongs to --use; set the options in the recipe")
        found = load_recipe(recipe).recipe
        rewards, prompt, scoring = RewardSet.from_recipe(found), found.prompt, found.scoring
    else:
        assert use is not None
        given = apply_overrides({}, options)
        reward = WeightedReward(use.rpartition(":")[2], resolve(use, given), 1.0, use=use, options=given)
        rewards, prompt, scoring = RewardSet((reward,)), Prompt(), Scoring()
    if timeout_s is not None:
        rewards = RewardSet(tuple(replace(item, timeout_s=timeout_s) for item in rewards.rewards))
    if num_workers is not None:
        scoring = scoring.model_copy(update={"num_workers": num_workers})
    return ScoreJob(source, output, rewards, prompt, scoring)


def read_row(line: bytes, where: str) -> dict[str, Any]:
    """One input row: an object with `id` and `completion`.

    Raises:
        DataError: it is none.
    """
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not valid JSON ({error}); expected one object per line") from None
    if not isinstance(row, dict):
        raise DataError(f"{where}: found {str(row)[:60]!r}, expected an object with id, completion and columns")
    for key, kinds in (("id", (str, int)), ("completion", (str,))):
        if not isinstance(row.get(key), kinds) or isinstance(row.get(key), bool):
            found = f"found {key} = {str(row[key])[:60]!r}" if key in row else f"has no {key!r}, only {sorted(row)}"
            raise DataError(f"{where}: {found}, expected {'a text or a number' if key == 'id' else 'a text'}")
    if not isinstance(row.get("truncated", False), bool) or type(row.get("num_tokens", 0)) is not int:
        raise DataError(f"{where}: truncated must be true or false and num_tokens a whole number")
    return row


def _scored_rows(
    job: ScoreJob, lines: Iterator[tuple[int, bytes]], grader: Grader
) -> Iterator[tuple[dict[str, Any], ScoredSample]]:
    """Output rows in input order; what was read before a bad line still comes out."""
    waiting: deque[tuple[str | int, Future[ScoredSample]]] = deque()
    problem: DataError | None = None
    try:
        for number, line in lines:
            if line.strip():
                sample, row_id = _sample(job, line, f"{job.input}:{number}")
                waiting.append((row_id, grader.submit(sample)))
            while waiting and (waiting[0][1].done() or len(waiting) >= WINDOW_ROWS):
                yield _finished(*waiting.popleft())
    except DataError as error:
        problem = error
    while waiting:
        yield _finished(*waiting.popleft())
    if problem:
        raise problem


def _finished(row_id: str | int, future: Future[ScoredSample]) -> tuple[dict[str, Any], ScoredSample]:
    scored = future.result()
    scores = {
        name: {
            "value": score.value,
            "verdict": str(score.verdict),
            "detail": dict(score.detail),
            "seconds": round(scored.seconds[name], 6),
        }
        for name, score in scored.scores.items()
    }
    return {"id": row_id, "total": scored.total, "scores": scores}, scored


def _sample(job: ScoreJob, line: bytes, where: str) -> tuple[Sample, str | int]:
    row = read_row(line, where)
    columns = {name: value for name, value in row.items() if name not in _OWN_COLUMNS}
    for item in job.rewards.rewards:
        missing = sorted(item.requires - columns.keys())
        if missing and item.applies_to(columns):
            raise DataError(
                f"{where}: has no column {missing[0]!r}, which the reward {item.name!r} needs; it has {sorted(columns)}"
            )
    sample = Reader(job.prompt.thinking).read_text(
        _prompt(job.prompt, columns),
        row["completion"],
        columns,
        str(row["id"]),
        num_tokens=row.get("num_tokens", 0),
        truncated=row.get("truncated", False),
    )
    return sample, row["id"]


def _prompt(prompt: Prompt, columns: Mapping[str, Any]) -> list[Message]:
    """The messages that the rewards see: the recipe's template, else the column `prompt` as it is, else none."""
    for form in (prompt, Prompt()):
        if set(template_columns(form.template)) <= columns.keys():
            return render_prompt(columns, form)
    return []


def _check_config(job: ScoreJob) -> None:
    path, output = Path(job.output + ".config.json"), Path(job.output)
    config = json.loads(json.dumps(job.config()))
    again = f"delete {output} and {path}, or choose another output"
    if output.exists() and output.stat().st_size:
        if not path.exists():
            raise DataError(f"{output}: exists and was not written by score; {again}")
        before = json.loads(path.read_text(encoding="utf-8"))
        if before != config:
            changed = sorted(key for key in {*before, *config} if before.get(key) != config.get(key))
            raise DataError(
                f"{output}: was written with other {' and '.join(changed)} settings; to start over, {again}"
            )
    try:
        path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise DataError(f"{output}: cannot be written ({error.strerror}); choose another output") from None


def _skip_done(job: ScoreJob, lines: Iterator[tuple[int, bytes]], summary: Summary) -> None:
    """Drops a last row cut by a kill, and passes over the input rows that the output has."""
    output = Path(job.output)
    if not output.exists():
        return
    end = 0
    with output.open("rb+") as file:
        for position, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                break
            end += len(line)
            row = _read_output(line, f"{output}:{position}")
            expected = _next_id(job, lines)
            if expected != row["id"]:
                raise DataError(
                    f"{output}:{position}: has the id {row['id']!r} where {job.input} has {expected!r}, so it is of another "
                    f"input; choose another output"
                )
            summary.add(row)
        file.truncate(end)
    summary.resumed_at = summary.rows


def _read_output(line: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
        return {"id": row["id"], "total": row["total"], "scores": row["scores"]}
    except (ValueError, TypeError, KeyError):
        raise DataError(f"{where}: found {line[:60]!r}, no row of scores; choose another output") from None


def _next_id(job: ScoreJob, lines: Iterator[tuple[int, bytes]]) -> str | int | None:
    for number, line in lines:
        if line.strip():
            return read_row(line, f"{job.input}:{number}")["id"]
    return None


def _open_input(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path") from None


def _count_lines(path: Path) -> int:
    """Rows of a file, at the speed of the disk; blank lines count, which only the progress bar notices."""
    count, last = 0, b"\n"
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            count += chunk.count(b"\n")
            last = chunk[-1:]
    return count + (last != b"\n")


def _mean(sum_and_count: list[float] | None) -> str:
    if not sum_and_count or not sum_and_count[1]:
        return "–"
    return f"{sum_and_count[0] / sum_and_count[1]:.4f}"
