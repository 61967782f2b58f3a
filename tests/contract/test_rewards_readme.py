"""Every snippet in rewards/README.md works: files are written as named, commands are called, sections are used."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from reasoning_rl.plugins import registered, resolve
from reasoning_rl.testing import check_reward, make_sample

README = Path(__file__).parents[2] / "rewards" / "README.md"
SNIPPETS = re.findall(r"```(\w+)\n(.*?)```", README.read_text(), re.DOTALL)
PYTHON = {text.splitlines()[0].removeprefix("# "): text for language, text in SNIPPETS if language == "python"}


def only(language: str) -> str:
    (text,) = [text for found, text in SNIPPETS if found == language]
    return text


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Holds the Python files of the README."""
    for name in ("my_rewards.py", "word_answer.py", "test_word_answer.py"):
        (tmp_path / name).write_text(PYTHON[name])
    return tmp_path


def call(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, words)), cwd=cwd, capture_output=True, text=True, check=False, timeout=120)


def reasoning_rl(line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command, *words = line.split("#")[0].split()
    return call(Path(sys.executable).parent / command, *words, cwd=cwd)


def test_no_snippet_is_left_out() -> None:
    assert [language for language, _ in SNIPPETS] == [
        "python", "yaml", "python", "python", "bash", "toml", "bash", "python"
    ]  # fmt: skip
    assert set(PYTHON) == {"my_rewards.py", "word_answer.py", "test_word_answer.py", "any TRL script"}


@pytest.mark.parametrize(("num_words", "value"), [(0, 0.0), (1, 1.0), (50, 1.0), (75, 0.5), (100, 0.0), (200, 0.0)])
def test_the_function_and_its_recipe(folder: Path, num_words: int, value: float) -> None:
    section = YAML(typ="safe").load(only("yaml"))["rewards"]
    assert section["correct"]["use"] in registered()
    brief = section["brief"]
    reward = resolve(f"{folder}/{brief['use']}", brief["options"])
    assert reward(make_sample("<think>a b c</think>" + "word " * num_words, {})).value == value


def test_the_function_keeps_the_rules(folder: Path) -> None:
    check_reward(f"{folder}/my_rewards.py:brevity", [{}])


def test_the_class_passes_its_own_test(folder: Path) -> None:
    done = call(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_word_answer.py", cwd=folder)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


def test_the_scaffold_and_the_entry_point(tmp_path: Path) -> None:
    bash, _ = (text for language, text in SNIPPETS if language == "bash")
    commands = bash.strip().splitlines()
    assert len(commands) == 2
    for line in commands:
        done = reasoning_rl(line, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    written = tomllib.loads((tmp_path / "unit_answer" / "pyproject.toml").read_text())["project"]
    assert tomllib.loads(only("toml"))["project"]["entry-points"] == written["entry-points"]


def test_the_audit(folder: Path) -> None:
    rows = [{"prompt": "Capital of Norway?", "answer": "Oslo"}, {"prompt": "Capital of France?", "answer": "Paris"}]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    tree = {
        "run": {"dir": "run"},
        "model": {"source": "owner/name"},
        "data": {"train": {"source": "rows.jsonl"}},
        "rewards": {"word": {"use": "word_answer.py:WordAnswer"}, "brief": {"use": "my_rewards.py:brevity"}},
        "stages": [{"name": "rl", "kind": "grpo"}],
    }
    (folder / "recipe.yaml").write_text(json.dumps(tree))
    _, bash = (text for language, text in SNIPPETS if language == "bash")
    done = reasoning_rl(bash, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[1].split() == ["word", "gold", "2", "2", "100.0%"]


def test_the_script_for_trl(tmp_path: Path) -> None:
    done = call(sys.executable, "-c", PYTHON["any TRL script"], cwd=tmp_path)
    assert done.stdout == "[1.1]\n", done.stderr
