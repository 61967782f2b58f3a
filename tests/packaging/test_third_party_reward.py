"""A package of someone else, installed by pip: its reward works by name, by module and by file, and fails in sentences."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FIXTURE = Path(__file__).parents[1] / "fixtures" / "third_party_reward"

SCORE = """
import sys
from reasoning_rl.plugins import resolve
from reasoning_rl.testing import make_sample
print(resolve(sys.argv[1], {"tolerance_min": 1})(make_sample("<think>a</think>7:05 pm", {"answer": "19:06"})).value)
"""


def call(*words: str | Path, site: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run(
        list(map(str, words)), cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=300
    )


def install(site: Path, work: Path, change: Callable[[Path], None] = lambda folder: None) -> None:
    """Installs a copy of the package into `site`, after `change` was made to it."""
    folder = work / "package"
    shutil.copytree(FIXTURE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    change(folder)
    words = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site, folder]
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the installed package."""
    folder = tmp_path_factory.mktemp("site")
    install(folder, tmp_path_factory.mktemp("work"))
    return folder


@pytest.fixture
def command(site: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Calls `reasoning-rl` with the package installed."""
    return lambda *words, site=site: call(Path(sys.executable).parent / "reasoning-rl", *words, site=site, cwd=tmp_path)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe with the reward, and two rows."""
    (tmp_path / "rows.jsonl").write_text(
        '{"prompt": "An hour after 18:05?", "answer": "19:05"}\n{"prompt": "Noon?", "answer": "12:00 pm"}\n'
    )
    tree: dict[str, Any] = {
        "run": {"dir": "run"},
        "model": {"source": "owner/name"},
        "data": {"train": {"source": "rows.jsonl"}},
        "rewards": {"time": {"use": "clock_answer", "options": {"tolerance_min": 1}}},
        "stages": [{"name": "rl", "kind": "grpo"}],
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps(tree))
    return path


def test_it_is_listed_with_its_origin(command: Callable[..., Any]) -> None:
    done = command("rewards")
    assert done.returncode == 0, done.stderr
    assert "clock_answer  (clock-answer 1.2.0: clock_answer:ClockAnswer)" in done.stdout
    assert "options: column='answer', tolerance_min=0" in done.stdout


@pytest.mark.parametrize(
    "use", ["clock_answer", "clock_answer:ClockAnswer", f"{FIXTURE / 'clock_answer.py'}:ClockAnswer"]
)
def test_it_scores_by_name_by_module_and_by_file(site: Path, tmp_path: Path, use: str) -> None:
    done = call(sys.executable, "-c", SCORE, use, site=site, cwd=tmp_path)
    assert done.stdout == "1.0\n", done.stderr


def test_its_own_tests_pass(site: Path, tmp_path: Path) -> None:
    shutil.copy(FIXTURE / "test_clock_answer.py", tmp_path)
    done = call(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path, site=site, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout


def test_a_recipe_uses_it(command: Callable[..., Any], recipe: Path) -> None:
    done = command("check", recipe)
    assert done.returncode == 0, done.stderr
    done = command("audit", recipe)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[1].split() == ["time", "gold", "2", "2", "100.0%"]


def test_a_bad_row_is_found(command: Callable[..., Any], recipe: Path, tmp_path: Path) -> None:
    with (tmp_path / "rows.jsonl").open("a") as file:
        file.write('{"prompt": "Midnight?", "answer": "24:00"}\n')
    done = command("audit", recipe)
    assert done.returncode == 2
    assert (
        "rows.jsonl:3 (train/0/2): time, gold: abstains as bad_reference (column 'answer' holds '24:00'" in done.stdout
    )


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("rewards.time.options={tolerence_min: 1}", "unknown option 'tolerence_min'; it takes: column, tolerance_min"),
        (
            "rewards.time.options={tolerance_min: much}",
            "option 'tolerance_min': found 'much', expected a valid integer",
        ),
        ("rewards.time.options={tolerance_min: -1}", "ValueError: tolerance_min: found -1, expected 0 to 719"),
        (
            "rewards.time.use=clock_anwser",
            "no reward is registered as 'clock_anwser'; registered: choice_answer, clock_answer, ",
        ),
        ("rewards.time.use=clock_answer:Clock", "clock_answer has no 'Clock'; it defines "),
    ],
    ids=["unknown option", "type", "range", "name", "attribute"],
)
def test_what_is_wrong_is_one_sentence(command: Callable[..., Any], recipe: Path, override: str, expected: str) -> None:
    done = command("check", recipe, override)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert expected in line


def test_a_missing_column_is_one_sentence(command: Callable[..., Any], recipe: Path) -> None:
    done = command("audit", recipe, "rewards.time.options={column: time}")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "rows.jsonl:1 has no column 'time'" in line
    assert "has no column 'time' (needed by the prompt template or a reward)" in line


def test_an_import_error_is_one_sentence(command: Callable[..., Any], recipe: Path, tmp_path: Path) -> None:
    def needs_more(folder: Path) -> None:
        path = folder / "clock_answer.py"
        path.write_text(path.read_text().replace("import re\n", "import re\nimport no_such_package\n"))

    install(tmp_path / "broken", tmp_path, needs_more)
    done = command("check", recipe, site=tmp_path / "broken")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "importing clock_answer failed with ModuleNotFoundError: No module named 'no_such_package'" in line


def test_two_owners_of_a_name_are_one_sentence(
    command: Callable[..., Any], recipe: Path, site: Path, tmp_path: Path
) -> None:
    def other_owner(folder: Path) -> None:
        path = folder / "pyproject.toml"
        path.write_text(path.read_text().replace("clock-answer", "other-clock").replace("clock_answer:C", "other_clock:C")
                        .replace('["clock_answer.py"]', '["other_clock.py"]'))  # fmt: skip
        (folder / "clock_answer.py").rename(folder / "other_clock.py")

    install(tmp_path / "second", tmp_path, other_owner)
    done = command("check", recipe, site=Path(f"{site}{os.pathsep}{tmp_path / 'second'}"))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert (
        "reward 'clock_answer' is registered by two packages: clock-answer (clock_answer:ClockAnswer) and "
        "other-clock (other_clock:ClockAnswer); uninstall one or use module:Attr"
    ) in line
