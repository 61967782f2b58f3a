"""The command as a user calls it: exit codes, sentences, and no torch where none is needed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HEAVY = ["torch", "transformers", "trl", "peft", "accelerate", "vllm", "datasets", "reasoning_gym", "matplotlib"]

# Runs the command, then says on the last line of stdout which heavy packages it has imported.
SCRIPT = f"""
import atexit, json, sys
atexit.register(lambda: print(json.dumps([name for name in {HEAVY} if name in sys.modules])))
from reasoning_rl.cli import main
main()
"""

Tree = Callable[..., dict[str, Any]]
Write = Callable[..., Path]


def call(*arguments: str | Path, cwd: Path | None = None) -> tuple[int, str, str, list[str]]:
    """Exit code, stdout, stderr, heavy packages imported."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        timeout=120,
    )
    *lines, imported = done.stdout.splitlines()
    return done.returncode, "\n".join(lines), done.stderr, json.loads(imported)


def test_the_guard_sees_an_import() -> None:
    script = SCRIPT.replace("main()", "import datasets")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert "datasets" in json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help(arguments: list[str]) -> None:
    code, output, errors, imported = call(*arguments)
    assert code == (0 if arguments else 2)
    for command in ("check", "train", "difficulty", "rewards", "audit", "new-reward", "score", "report"):
        assert command in output + errors
    assert imported == []


@pytest.mark.parametrize(
    "command", ["check", "train", "difficulty", "rewards", "audit", "new-reward", "score", "report"]
)
def test_help_of_a_command(command: str) -> None:
    code, output, _, imported = call(command, "--help")
    assert (code, imported) == (0, [])
    assert f" {command} " in output


def test_installed_as_a_command() -> None:
    command = Path(sys.executable).parent / "reasoning-rl"
    done = subprocess.run([command, "--help"], capture_output=True, text=True, check=True, timeout=120)
    assert "check" in done.stdout


def test_check(recipe_tree: Tree, write_recipe: Write, tmp_path: Path) -> None:
    stages = [{"name": "before", "kind": "eval"}, {"name": "rl", "kind": "grpo"}]
    path = write_recipe(recipe_tree(stages=stages))
    code, output, errors, imported = call("check", path, "grpo.max_steps=1")
    assert (code, errors, imported) == (0, "", [])
    assert output == f"{path}: ok (before → rl; run folder {tmp_path}/run)"
    assert not (tmp_path / "run").exists()


def test_check_refuses_with_every_problem(recipe_tree: Tree, write_recipe: Write) -> None:
    path = write_recipe(recipe_tree(grpo={"num_generations": 3, "seed": 1}, rewards={"correct": {"use": "nothing"}}))
    code, output, errors, imported = call("check", path)
    assert (code, output, imported) == (2, "", [])
    lines = errors.splitlines()
    assert len(lines) == 3
    for line, key in zip(lines, ("grpo.seed", "grpo.num_generations", "rewards.correct"), strict=True):
        assert line.startswith(f"error: {path}:")
        assert f": {key}: " in line


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["{folder}/gone.yaml"], "error: {folder}/gone.yaml: no such recipe; check the path"),
        (["{recipe}", "grpo.max_steps"], "error: override 'grpo.max_steps': expected key.path=value"),
        (["{recipe}", "run.dir={recipe}"], "error: run.dir {recipe}: {recipe} is not a folder that can be written to"),
        (["{recipe}", "run.dir={folder}"], "error: run.dir {folder}: the folder is not empty and no run of ours"),
    ],
    ids=["file", "override", "run folder", "foreign folder"],
)
@pytest.mark.parametrize("command", ["check"])
def test_refused(
    recipe_tree: Tree, write_recipe: Write, tmp_path: Path, command: str, arguments: list[str], expected: str
) -> None:
    names = {"recipe": str(write_recipe(recipe_tree())), "folder": str(tmp_path)}
    code, _, errors, imported = call(command, *(argument.format(**names) for argument in arguments))
    assert (code, imported) == (2, [])
    assert errors.startswith(expected.format(**names))
    assert "Traceback" not in errors


def test_train_refuses_before_it_launches(recipe_tree: Tree, write_recipe: Write, tmp_path: Path) -> None:
    path = write_recipe(recipe_tree())
    code, _, errors, imported = call("train", path, "grpo.num_generations=3")
    assert (code, imported) == (2, [])
    assert errors.startswith("error: override 'grpo.num_generations=3': the generation batch of 4")
    assert not (tmp_path / "run").exists()


def test_train_looks_at_the_rows_before_it_launches(recipe_tree: Tree, write_recipe: Write, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"question": "1 + 1?", "answer": "That is 2. #### 2"}\n' * 20)
    path = write_recipe(recipe_tree(data={"train": {"source": "rows.jsonl"}}, eval=None))
    code, _, errors, imported = call("train", path)
    assert (code, imported) == (2, [])
    assert "rows.jsonl:1 has no column 'prompt'" in errors
    assert "add convert: reasoning_rl.math_rows:gsm8k" in errors


def test_train_names_the_log_of_a_run_that_ended_without_a_word(
    recipe_tree: Tree, write_recipe: Write, tmp_path: Path
) -> None:
    path = write_recipe(recipe_tree())
    (tmp_path / "run").mkdir()
    for name in ("recipe.json", "log.txt"):
        (tmp_path / "run" / name).write_text("{}")
    code = f"def launch(*given):\n    open('{tmp_path}/run/log.txt', 'a').write('x')\n    return int(sys.argv[3])\n"
    code += "import sys, reasoning_rl.launch as it; it.launch = launch"
    for number, words in ((1, f"exit code 1; what libraries wrote stands in {tmp_path}/run/log.txt"), (2, ""), (0, "")):
        done = subprocess.run(
            [sys.executable, "-c", f"{code}\nfrom reasoning_rl.cli import app\napp(sys.argv[1:3])", "train", path, str(number)],
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == number
        assert words in done.stderr and bool(words) == bool(done.stderr)


def test_from_a_file_to_a_checked_recipe(tmp_path: Path) -> None:
    rows = [
        {"question": f"{n} nuts and 1?", "answer": f"{n}+1=<<{n}+1={n + 1}>>{n + 1}. #### {n + 1}"} for n in range(20)
    ]
    (tmp_path / "my rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, output, errors, imported = call("init", "--data", "my rows.jsonl", "-o", "my recipe.yaml", cwd=tmp_path)
    assert (code, errors, imported) == (0, "", [])
    assert "reasoning-rl train 'my recipe.yaml'" in output
    code, output, errors, _ = call("check", "my recipe.yaml", "--show", cwd=tmp_path)
    assert (code, errors) == (0, "")
    assert "  user: 4 nuts and 1?" in output and "  user: 0 nuts and 1?" in output
    assert "with the chat template, " in output
    assert "gold '5'" in output and "scores 1.0 (correct)" in output
    code, _, errors, _ = call("init", "-o", "my recipe.yaml", cwd=tmp_path)
    assert code == 2 and "is not overwritten" in errors


def test_rewards() -> None:
    code, output, _, imported = call("rewards")
    assert (code, imported) == (0, [])
    assert "exact_answer  (reasoning-rl " in output
    assert "think_format  (reasoning-rl " in output
    assert "options: extract='boxed', column='answer'" in output


def test_report_of_no_run(tmp_path: Path) -> None:
    code, _, errors, _ = call("report", tmp_path)
    assert code == 2
    assert errors.startswith("error: ")
    assert "Traceback" not in errors
