"""The audit of whole recipes: how rows are named and sampled, when `train` refuses, what the command says."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reasoning_rl.audit import audit_recipe, refuse_bad_rewards, sampled_rows
from reasoning_rl.data import Row, load_data, place_of
from reasoning_rl.errors import AuditError
from reasoning_rl.recipe import Recipe
from reasoning_rl.recipe_io import load_recipe
from reasoning_rl.scoring import RewardSet

Tree = Callable[..., dict[str, Any]]
Write = Callable[..., Path]


@pytest.fixture
def written(tmp_path: Path, recipe_tree: Tree, write_recipe: Write) -> Callable[..., Path]:
    """A recipe over a `.jsonl` file with these golds, a blank line before the third."""

    def write(*golds: object, **sections: Any) -> Path:
        lines = [json.dumps({"prompt": f"{position} + 1", "answer": gold}) for position, gold in enumerate(golds)]
        lines.insert(2, "")
        (tmp_path / "rows.jsonl").write_text("\n".join(lines))
        tree = {"data": {"train": {"source": "rows.jsonl"}}, "eval": None, **sections}
        return write_recipe(recipe_tree(**tree))

    return write


def loaded(path: Path, *overrides: str) -> tuple[Recipe, dict[str, list[Row]], RewardSet]:
    recipe = load_recipe(path, overrides).recipe
    return recipe, load_data(recipe, {"answer"}), RewardSet.from_recipe(recipe)


def test_rows_are_named_by_file_and_line(written: Callable[..., Path], tmp_path: Path) -> None:
    recipe, data, named = loaded(written("1", "2", ["3"]))
    report = audit_recipe(recipe, data, named)
    assert [offence.origin for offence in report.offences] == [f"{tmp_path}/rows.jsonl:4"]
    assert place_of(recipe, "train/0/1") == f"{tmp_path}/rows.jsonl:2"


def test_rows_of_a_function_are_named_by_number(recipe_tree: Tree) -> None:
    recipe = Recipe.model_validate(recipe_tree())
    assert place_of(recipe, "train/0/5").endswith("chain_sums.py:rows, row 5")


def test_sampling(recipe_tree: Tree) -> None:
    stages = [{"name": "s", "kind": "sft"}, {"name": "g", "kind": "grpo"}, {"name": "e", "kind": "eval"}]
    recipe = Recipe.model_validate(recipe_tree(stages=stages))
    data = load_data(recipe, {"answer"})
    every = sampled_rows(recipe, data, 100)
    assert {row.row_id.split("/")[0] for row in every} == {"train", "eval"}
    assert len(every) == len(data["train"]) + 4
    some = sampled_rows(recipe, data, 7)
    assert len({row.row_id for row in some}) == 7
    assert some == sampled_rows(recipe, data, 7)
    assert [every.index(row) for row in some] == sorted(every.index(row) for row in some)


def test_train_refuses(written: Callable[..., Path], tmp_path: Path) -> None:
    path = written("1", [], "3", [])
    with pytest.raises(AuditError) as caught:
        refuse_bad_rewards(*loaded(path))
    assert str(caught.value) == (
        f"audit: the rewards fail on 2 of 4 sampled rows: correct, gold on {tmp_path}/rows.jsonl:2: abstains as "
        "bad_reference (column 'answer' holds [], no answer). See them all with `reasoning-rl audit`; mend the rows or "
        "the reward, or set scoring.audit=false to train anyway"
    )
    refuse_bad_rewards(*loaded(path, "scoring.audit=false"))


def test_train_does_not_refuse_good_rewards_nor_evaluation(written: Callable[..., Path]) -> None:
    refuse_bad_rewards(*loaded(written("1", "2", "3")))
    stages = [{"name": "e", "kind": "eval", "data": "train"}]
    refuse_bad_rewards(*loaded(written([], eval={"accuracy": "correct", "max_completion_length": 8}, stages=stages)))


def test_the_quickstart_is_clean() -> None:
    recipe, data, named = loaded(Path(__file__).parents[2] / "recipes" / "quickstart.yaml")
    report = audit_recipe(recipe, data, named, max_rows=24)
    assert report.is_clean
    assert (report.num_rows, report.notes) == (24, ())


def call(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    script = "import sys; from reasoning_rl.cli import main\ntry:\n    main()\nfinally:\n    assert 'torch' not in sys.modules"
    words = [sys.executable, "-c", script, "audit", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)


def test_command_on_good_rows(written: Callable[..., Path]) -> None:
    done = call(written("1", "2", "3"))
    assert (done.returncode, done.stdout.splitlines()[1].split()) == (0, ["correct", "gold", "3", "3", "100.0%"])
    assert "audit: 3/3 rows" in done.stderr


def test_command_on_bad_rows(written: Callable[..., Path], tmp_path: Path) -> None:
    path = written("1", "2", ["3"])
    done = call(path)
    assert done.returncode == 2
    assert f"{tmp_path}/rows.jsonl:4 (train/0/3): correct, gold: abstains as bad_reference" in done.stdout
    assert "Traceback" not in done.stderr
    done = call(path, "--json")
    assert done.returncode == 2
    (offence,) = json.loads(done.stdout)["offences"]
    assert offence["origin"] == f"{tmp_path}/rows.jsonl:4"


def test_command_with_rows_and_overrides(written: Callable[..., Path]) -> None:
    done = call(written("1", "2", "3"), "rewards.correct.options={extract: final_text}", "--rows", "2", "--json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["num_rows"], report["tallies"][0]["tried"]) == (0, 2, 2)


def test_command_with_nothing_to_try(written: Callable[..., Path]) -> None:
    done = call(written("1"), "rewards={format: {use: think_format}}")
    assert done.returncode == 2, "an audit that tried nothing is no pass"
    assert "note: nothing was tried: " in done.stdout


def test_command_refuses(tmp_path: Path) -> None:
    done = call(tmp_path / "gone.yaml")
    assert (done.returncode, done.stderr) == (2, f"error: {tmp_path}/gone.yaml: no such recipe; check the path\n")
