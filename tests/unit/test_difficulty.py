"""`reasoning-rl difficulty` up to the engine: rates and bounds by hand, refusals, what an earlier call left."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from reasoning_rl.data import load_data
from reasoning_rl.difficulty import (
    Bounds,
    Job,
    Rate,
    earlier_stages,
    histogram,
    job_from,
    measure,
    nothing_kept,
    sampling_order,
    summary_lines,
)
from reasoning_rl.errors import DataError, RecipeError
from reasoning_rl.recipe_io import load_recipe

Tree = Callable[..., dict[str, Any]]
Write = Callable[..., Path]


@pytest.fixture
def make_job(recipe_tree: Tree, write_recipe: Write, tmp_path: Path) -> Callable[..., Job]:
    """A job on a recipe; keyword arguments replace sections."""

    def make(given: dict[str, Any] | None = None, **sections: Any) -> Job:
        return job_from(
            load_recipe(write_recipe(recipe_tree(**sections))), **{"output": tmp_path / "out.jsonl", **(given or {})}
        )

    return make


def rate(row_id: str, passed: int, scored: int) -> Rate:
    values = [1.0] * passed + [0.0] * (scored - passed) + [None] * (4 - scored)
    return Rate.of(row_id, values, [10, 20, 30, 40], num_truncated=1)


def write_rates(job: Job, passed: Callable[[int], int]) -> list[str]:
    """Rates of every row, as a call that went through leaves them; returns the row ids in the order of the data."""
    rows = load_data(job.recipe, set())[job.stage.dataset]
    job.config_file.write_text(json.dumps(job.config()))
    rates = [rate(row.row_id, passed(rows.index(row)), 4) for row in sampling_order(job, rows)]
    job.rates.write_text("".join(json.dumps(asdict(item)) + "\n" for item in rates))
    return [row.row_id for row in rows]


def test_rate_of_a_row() -> None:
    found = rate("train/0/3", 1, 3)
    assert (found.num_passed, found.num_scored, found.pass_rate) == (1, 3, 1 / 3)
    assert found.low == pytest.approx(0.0615, abs=1e-4) and found.high == pytest.approx(0.7923, abs=1e-4)  # Wilson
    assert (found.mean_length, found.truncated) == (25.0, 0.25)
    assert rate("r", 0, 0).pass_rate is None
    assert Rate.of("r", [0.9, 1.0, 1.5], [1, 1, 1], 0).num_passed == 2  # full marks from 1 on


@pytest.mark.parametrize(
    ("bounds", "kept"),
    [
        (Bounds(), [0.25, 0.5]),
        (Bounds(low=0.0), [0.0, 0.25, 0.5]),
        (Bounds(high=1.0), [0.25, 0.5, 1.0]),
        (Bounds(0.25, 0.25), [0.25]),
        (Bounds(high=0.0), []),
    ],
    ids=str,
)
def test_bounds(bounds: Bounds, kept: list[float]) -> None:
    assert [value for value in (None, 0.0, 0.25, 0.5, 1.0) if bounds.keep(value)] == kept


def test_histogram_has_bars_for_never_and_always() -> None:
    assert histogram([0, 0, 0.1, 0.2, 0.21, 0.99, 1, 1, 1]) == {
        "0": 2, "0–0.2": 2, "0.2–0.4": 1, "0.4–0.6": 0, "0.6–0.8": 0, "0.8–1": 1, "1": 3,
    }  # fmt: skip


def test_rows_of_a_call_that_went_through_are_filtered_without_an_engine(make_job: Callable[..., Job]) -> None:
    job = make_job()
    row_ids = write_rates(job, passed=lambda position: position % 5)
    rates = measure(job)
    assert len(rates) == len(row_ids) == 16
    kept = [json.loads(line) for line in job.output.read_text().splitlines()]
    rows = load_data(job.recipe, set())["train"]
    expected = [{**row.columns, "pass_rate": i % 5 / 4} for i, row in enumerate(rows) if 0 < i % 5 < 4]
    assert kept == expected and len(kept) == 9
    lines = summary_lines(job, rates)
    assert lines[0] == f"pass rate of correct over 16 rows × 4 samples: {sum(i % 5 / 4 for i in range(16)) / 16:.3f}"
    assert any(line.split()[0] == "0" and line.endswith(" 4") for line in lines)
    assert str(job.output) in lines[-1]
    # Other bounds sample nothing either; a bound that nothing fits leaves no file behind.
    measure(replace(job, bounds=Bounds(1.0, 1.0)))
    assert len(job.output.read_text().splitlines()) == 3
    none = replace(job, bounds=Bounds(0.1, 0.2))
    assert "none of 16 rows has a pass rate from 0.1 and up to 0.2" in (nothing_kept(none, measure(none)) or "")
    assert not job.output.exists()


def test_kept_rows_are_a_source(make_job: Callable[..., Job], recipe_tree: Tree) -> None:
    job = make_job()
    write_rates(job, passed=lambda position: 2)
    measure(job)
    tree = recipe_tree()
    again = make_job(
        {"output": job.output.with_name("again.jsonl")}, data={**tree["data"], "train": {"source": str(job.output)}}
    )
    rows = load_data(again.recipe, {"answer"})["train"]
    assert [row.prompt for row in rows] == [row.prompt for row in load_data(job.recipe, set())["train"]]


def test_part_of_the_rows_is_a_fair_sample_that_grows(make_job: Callable[..., Job]) -> None:
    job = make_job()
    rows = load_data(job.recipe, set())["train"]
    order = sampling_order(job, rows)
    assert order != rows and sorted(row.row_id for row in order) == sorted(row.row_id for row in rows)
    assert sampling_order(replace(job, num_rows=3), rows) == order


def test_what_another_call_left_is_refused(make_job: Callable[..., Job], tmp_path: Path) -> None:
    job = make_job()
    write_rates(job, passed=lambda position: 2)
    with pytest.raises(DataError, match="made with another grpo and num_samples; to start over, delete"):
        measure(make_job({"num_samples": 8}, grpo={"temperature": 0.7, "num_generations": 4}))
    lines = job.rates.read_text().splitlines(keepends=True)
    job.rates.write_text("".join([lines[1], lines[0], *lines[2:]]))
    with pytest.raises(DataError, match=r"rates\.jsonl:1: has the row train/0/\d+, which does not come at this place"):
        measure(job)
    job.rates.write_text('{"row_id": "train/0/0"}\n')
    with pytest.raises(DataError, match=r"rates\.jsonl:1: found no pass rate"):
        measure(job)
    job.rates.unlink()
    job.output.write_text("mine\n")
    with pytest.raises(DataError, match="exists and was not written by difficulty"):
        measure(job)


def test_a_column_that_json_cannot_hold_is_refused_before_anything_is_sampled(
    make_job: Callable[..., Job], tmp_path: Path
) -> None:
    (tmp_path / "rows.py").write_text("def rows(seed):\n    return [{'prompt': 'a', 'answer': '1', 'raw': b'x'}]\n")
    data = {name: {"source": f"{tmp_path}/rows.py:rows"} for name in ("train",)}
    job = make_job({"reward": "correct"}, data=data, eval=None)
    with pytest.raises(DataError, match=r"rows.py:rows, row 0: cannot be written as JSON .*bytes"):
        measure(job)
    assert not job.config_file.exists()


@pytest.mark.parametrize(
    ("given", "sections", "sentence"),
    [
        ({"stage": "warmup"}, {}, r"found no grpo stage warmup, the recipe has \['grpo'\]"),
        ({}, {"stages": [{"name": "e", "kind": "eval"}]}, r"found no grpo stage, the recipe has \[\]"),
        ({"reward": "nice"}, {}, "found no reward 'nice'; say --reward with one of"),
        ({}, {"eval": None}, "several rewards with a weight and no eval.accuracy"),
        ({"bounds": Bounds(0.6, 0.5)}, {}, "no pass rate is from 0.6 and up to 0.5"),
    ],
    ids=["stage", "no stage", "reward", "which reward", "bounds"],
)
def test_refusals(make_job: Callable[..., Job], given: dict[str, Any], sections: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RecipeError, match=sentence):
        make_job(given, **sections)


def test_defaults_are_those_of_the_first_grpo_stage(make_job: Callable[..., Job]) -> None:
    stages = [
        {"name": "sft", "kind": "sft"},
        {"name": "easy", "kind": "grpo", "args": {"num_generations": 2}},
        {"name": "hard", "kind": "grpo"},
    ]
    job = make_job({"output": None}, stages=stages)
    assert (job.stage.name, job.num_samples, job.reward, str(job.output)) == (
        "easy",
        2,
        "correct",
        "recipe.difficulty.jsonl",
    )
    assert earlier_stages(job) == ["sft"]
    assert make_job({"stage": "hard", "reward": "format"}, stages=stages).reward == "format"
    only = {"only": {"use": "exact_answer"}, "shown": {"use": "think_format", "weight": 0.0}}
    assert make_job(rewards=only, eval=None).reward == "only"
