"""A run folder belongs to one recipe, and neither a kill nor a model's text spoils what is in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reasoning_rl.errors import RunDirError
from reasoning_rl.recipe_io import RecipeFile, load_recipe
from reasoning_rl.run_dir import (
    RunDir,
    append_jsonl,
    git_state,
    read_json,
    read_jsonl,
    versions,
    write_json,
    write_text,
)

Recipe = Callable[..., RecipeFile]


@pytest.fixture
def recipe(recipe_tree: Callable[..., dict[str, Any]], write_recipe: Callable[..., Path]) -> Recipe:
    """The small valid recipe with overrides; its run folder is `tmp_path / 'run'`."""
    path = write_recipe(recipe_tree())
    return lambda *overrides: load_recipe(path, overrides)


def begin(file: RecipeFile) -> RunDir:
    """The folder of a run that has made its first step."""
    run_dir = RunDir.check(file)
    run_dir.create(file, {})
    append_jsonl(run_dir.metrics, [{"stage": "grpo", "step": 1}])
    return run_dir


def refused(file: RecipeFile) -> str:
    with pytest.raises(RunDirError) as caught:
        RunDir.check(file)
    return str(caught.value)


def test_check_creates_nothing(recipe: Recipe, tmp_path: Path) -> None:
    run_dir = RunDir.check(recipe(f"run.dir={tmp_path}/a/b/run"))
    assert run_dir.root == tmp_path / "a" / "b" / "run"
    assert not (tmp_path / "a").exists()


def test_create(recipe: Recipe, tmp_path: Path) -> None:
    file = recipe("grpo.max_steps=3")
    run_dir = RunDir.check(file)
    run_dir.create(file, {"correct": "exact_answer"})
    assert read_json(run_dir.recipe) == json.loads(file.resolved_json())
    manifest = read_json(run_dir.manifest)
    assert manifest["overrides"] == ["grpo.max_steps=3"]
    assert manifest["rewards"] == {"correct": "exact_answer"}
    assert manifest["recipe"] == str(file.path)
    assert manifest["versions"] == versions()
    assert len(manifest["started"]) == 1
    assert sorted(path.name for path in run_dir.root.iterdir()) == ["manifest.json", "recipe.json"]


def test_resuming_is_added_to_the_manifest(recipe: Recipe) -> None:
    for _ in range(3):
        RunDir.check(recipe()).create(recipe(), {})
    run_dir = RunDir.check(recipe())
    assert len(read_json(run_dir.manifest)["started"]) == 3


def test_an_empty_folder_is_fine(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert RunDir.check(recipe()).root == tmp_path / "run"


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["grpo.max_steps=3"], "grpo.max_steps: 2 → 3"),
        (["grpo.beta=0.1"], "grpo.beta: None → 0.1"),
        (["run.seed=1"], "run.seed: 0 → 1"),
        (["rewards.format.weight=0.2", "run.seed=1"], "run.seed: 0 → 1; rewards.format.weight: 0.1 → 0.2"),
        (["stages.0.name=other"], "stages.0.name: 'grpo' → 'other'"),
        ([f"grpo.k{i}={i}" for i in range(7)], "grpo.k4: None → 4; …)"),
    ],
    ids=["value", "new key", "seed", "two", "list", "many"],
)
def test_another_recipe_is_refused(recipe: Recipe, overrides: list[str], expected: str) -> None:
    begin(recipe())
    message = refused(recipe(*overrides))
    assert "holds a run of another recipe (" in message
    assert expected in message


@pytest.mark.parametrize(
    "left", ["metrics.jsonl", "rollouts.jsonl", "stages/01_a/done.json", "stages/01_a/completions.jsonl",
             "stages/02_b/checkpoints/checkpoint-5/trainer_state.json"],
)  # fmt: skip
def test_a_folder_is_held_from_the_first_thing_on_that_a_stage_leaves(recipe: Recipe, left: str) -> None:
    run_dir = RunDir.check(recipe())
    run_dir.create(recipe(), {})
    (run_dir.root / "stages" / "01_a" / "checkpoints").mkdir(parents=True)
    (run_dir.root / "metrics.jsonl").write_text("")
    other = recipe("run.seed=1")
    RunDir.check(other).create(other, {})
    assert read_json(run_dir.recipe)["run"]["seed"] == 1
    (run_dir.root / left).parent.mkdir(parents=True, exist_ok=True)
    (run_dir.root / left).write_text("{}\n" if left != "metrics.jsonl" else '{"stage": "a", "step": 1}\n')
    assert "run.seed: 1 → 0" in refused(recipe())


class TestMovedProject:
    """The files of a recipe lie beside it; what they hold counts, not where they are."""

    @pytest.fixture
    def project(self, tmp_path: Path, recipe_tree: Callable[..., dict[str, Any]]) -> Path:
        folder = tmp_path / "here"
        (folder / "model").mkdir(parents=True)
        (folder / "model" / "config.json").write_text("{}")
        (folder / "rows.jsonl").write_text('{"prompt": "1 + 1", "answer": "2"}\n')
        (folder / "mine.py").write_text("def brevity(sample): return 1.0\ndef other(sample): return 1.0\n")
        tree = recipe_tree(
            run={"dir": "run"},
            model={"source": "./model"},
            data={"train": {"source": "rows.jsonl"}, "eval": {"source": "rows.jsonl"}},
            rewards={"correct": {"use": "exact_answer"}, "mine": {"use": "mine.py:brevity"}},
        )
        (folder / "recipe.yaml").write_text(json.dumps(tree))
        return folder

    @pytest.fixture
    def moved(self, project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.chdir(project)
        begin(load_recipe("recipe.yaml"))
        there = project.rename(project.parent / "there")
        monkeypatch.chdir(there)
        return there

    def test_it_resumes(self, moved: Path) -> None:
        RunDir.check(load_recipe("recipe.yaml"))

    @pytest.mark.parametrize(
        ("file", "key"),
        [("rows.jsonl", "data"), ("mine.py", "rewards.mine.use"), ("model/config.json", "model.source")],
    )
    def test_other_content_is_another_recipe(self, moved: Path, file: str, key: str) -> None:
        with (moved / file).open("a") as stream:
            stream.write("\n# changed")
        assert key in refused(load_recipe("recipe.yaml"))

    def test_another_attribute_is_another_recipe(self, moved: Path) -> None:
        assert "rewards.mine.use" in refused(load_recipe("recipe.yaml", ["rewards.mine.use=mine.py:other"]))

    def test_a_folder_without_hashes_resumes_where_it_is(self, moved: Path) -> None:
        run_dir = begin(load_recipe("recipe.yaml"))
        manifest = read_json(run_dir.manifest)
        del manifest["files"]
        write_json(run_dir.manifest, manifest)
        RunDir.check(load_recipe("recipe.yaml"))


def test_launch_may_differ(recipe: Recipe) -> None:
    begin(recipe())
    RunDir.check(recipe("launch.num_processes=2", "launch.args.num_machines=2"))
    assert "holds a run of another recipe (run.seed: 0 → 1)" in refused(recipe("launch.num_processes=2", "run.seed=1"))


def test_a_foreign_folder_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("x")
    assert "the folder is not empty and no run of ours; choose another run.dir" in refused(recipe())


@pytest.mark.parametrize("below", ["", "/run", "/a/b/run"])
def test_a_folder_that_cannot_be_made(recipe: Recipe, tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("x")
    message = refused(recipe(f"run.dir={tmp_path}/file{below}"))
    assert f"{tmp_path}/file is not a folder that can be written to; choose another run.dir" in message


def test_stage_folders_are_numbered(recipe: Recipe, tmp_path: Path) -> None:
    stages = "[{name: a, kind: sft}, {name: b, kind: grpo}]"
    file = recipe(f"stages={stages}")
    run_dir = RunDir(tmp_path)
    names = [run_dir.stage(file.recipe, stage).root.name for stage in file.recipe.stages]
    assert names == ["01_a", "02_b"]


def test_whole_files(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.json"
    write_json(path, {"a": [1, "é😀", None]})
    write_json(path, {"b": 2})
    assert read_json(path) == {"b": 2}
    assert [item.name for item in path.parent.iterdir()] == ["b.json"]
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"c": float("nan")})
    assert read_json(path) == {"b": 2}, "a refused value leaves the old file"


ROWS = [{"stage": "a", "step": i, "text": "é😀\u2028\n\r"} for i in range(3)]


def test_append_and_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "rows.jsonl"
    assert list(read_jsonl(path)) == []
    append_jsonl(path, ROWS[:2])
    append_jsonl(path, [])
    append_jsonl(path, ROWS[2:])
    assert list(read_jsonl(path)) == ROWS
    assert path.read_bytes().count(b"\n") == 3


@pytest.mark.parametrize("character", ["\ud800", "\udfff", "\x00", "\x7f", "\ufffe"])
def test_characters_that_a_model_can_write(tmp_path: Path, character: str) -> None:
    path = tmp_path / "rows.jsonl"
    append_jsonl(path, [{"text": f"a{character}b"}])
    assert list(read_jsonl(path)) == [{"text": f"a{character}b"}]


@pytest.mark.parametrize("num_whole", [0, 1, 3])
@pytest.mark.parametrize("size", [1, 100, (1 << 16) - 1, 1 << 16, (1 << 16) + 1, 100_000, 300_000])
def test_a_line_cut_by_a_kill_is_dropped(tmp_path: Path, num_whole: int, size: int) -> None:
    path = tmp_path / "rows.jsonl"
    append_jsonl(path, ROWS[:num_whole])
    with path.open("a") as file:
        file.write('{"text": "' + "x" * size)
    assert list(read_jsonl(path)) == ROWS[:num_whole], "and reading does not stumble over it"
    append_jsonl(path, ROWS[1:])
    assert list(read_jsonl(path)) == ROWS[:num_whole] + ROWS[1:]


def test_forget_after(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    metrics = [{"stage": stage, "step": step} for stage in ("sft", "grpo") for step in (1, 2, 3)]
    rollouts = [{"stage": "grpo", "step": step, "text": "\ud800"} for step in (0, 0, 1, 1, 2, 2)]
    append_jsonl(run_dir.metrics, metrics)
    append_jsonl(run_dir.rollouts, rollouts)
    run_dir.forget_after("grpo", 2)
    assert list(read_jsonl(run_dir.metrics)) == metrics[:5], "steps are logged once they are done: 1 and 2"
    assert list(read_jsonl(run_dir.rollouts)) == rollouts[:4], "rollouts are written as the step begins: 0 and 1"
    run_dir.forget_after("grpo", 0)
    assert list(read_jsonl(run_dir.metrics)) == metrics[:3]
    assert list(read_jsonl(run_dir.rollouts)) == []


def test_forget_after_without_records(tmp_path: Path) -> None:
    RunDir(tmp_path).forget_after("grpo", 2)
    assert list(tmp_path.iterdir()) == []


def test_place_model_costs_no_disk(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path / "run")
    for name, text in (("first", "1"), ("second", "2")):
        policy = tmp_path / "run" / "stages" / name
        write_text(policy / "model.safetensors", text)
        write_text(policy / "sub" / "config.json", text)
        run_dir.place_model(policy)
        assert (run_dir.model / "model.safetensors").read_text() == text
        assert (run_dir.model / "sub" / "config.json").read_text() == text
        assert (run_dir.model / "model.safetensors").samefile(policy / "model.safetensors")
    assert (tmp_path / "run" / "stages" / "first" / "model.safetensors").read_text() == "1"
    assert sorted(path.name for path in run_dir.root.iterdir()) == ["model", "stages"]


def test_place_model_after_a_kill(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    write_text(tmp_path / "policy" / "a", "1")
    write_text(tmp_path / "model.partial" / "left_over", "x")
    run_dir.place_model(tmp_path / "policy")
    assert [path.name for path in run_dir.model.iterdir()] == ["a"]


def test_versions_and_git() -> None:
    assert {"python", "reasoning-rl"} <= versions().keys()
    state = git_state()
    assert state is None or (len(state["commit"]) == 40 and isinstance(state["dirty"], bool))
