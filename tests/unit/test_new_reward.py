"""`reasoning-rl new-reward` writes a reward whose own test passes, and never overwrites anything."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from reasoning_rl.errors import ScaffoldError
from reasoning_rl.scaffold import write_reward


def call(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, words)), cwd=cwd, capture_output=True, text=True, check=False, timeout=120)


def command(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return call(Path(sys.executable).parent / "reasoning-rl", "new-reward", *words, cwd=cwd)


@pytest.mark.parametrize("as_package", [False, True], ids=["file", "package"])
def test_its_own_test_passes(tmp_path: Path, as_package: bool) -> None:
    done = command("unit_answer2", *(["--package"] if as_package else []), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "unit_answer2" if as_package else tmp_path
    files = ["unit_answer2.py", "test_unit_answer2.py", *(["pyproject.toml"] if as_package else [])]
    assert [(tmp_path / line).resolve() for line in done.stdout.splitlines()] == [folder / file for file in files]
    assert sorted(path.name for path in folder.iterdir()) == sorted(files)
    done = call(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=folder)
    assert done.returncode == 0, done.stdout
    assert "7 passed" in done.stdout


def test_its_own_test_can_fail(tmp_path: Path) -> None:
    write_reward("unit_answer", tmp_path, as_package=False)
    path = tmp_path / "unit_answer.py"
    path.write_text(path.read_text().replace("self._plain(answer) == self._plain(gold)", "bool(answer)"))
    done = call(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=tmp_path)
    assert done.returncode == 1
    assert "scores full marks (1) on the trial 'near_miss'" in done.stdout


def test_the_package_registers_the_name(tmp_path: Path) -> None:
    write_reward("unit_answer", tmp_path, as_package=True)
    project = tomllib.loads((tmp_path / "unit_answer" / "pyproject.toml").read_text())
    assert project["project"]["name"] == "unit-answer"
    assert project["project"]["entry-points"] == {"reasoning_rl.rewards": {"unit_answer": "unit_answer:UnitAnswer"}}
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"] == {"only-include": ["unit_answer.py"]}


def test_the_reward_imports_the_public_interface_only(tmp_path: Path) -> None:
    path, *_ = write_reward("unit_answer", tmp_path, as_package=False)
    imported = {node.module for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)}
    assert {name for name in imported if name and name.startswith("reasoning_rl")} == {"reasoning_rl.api"}


@pytest.mark.parametrize("name", ["a", "unit_answer", "r2"])
def test_names(tmp_path: Path, name: str) -> None:
    assert [path.name for path in write_reward(name, tmp_path / "new" / "folder", as_package=False)] == [
        f"{name}.py",
        f"test_{name}.py",
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Unit", "'Unit' cannot name a reward; use lower case, digits and underscores: unit_answer"),
        ("unit-answer", "'unit-answer' cannot name a reward"),
        ("2units", "'2units' cannot name a reward"),
        ("_unit", "'_unit' cannot name a reward"),
        ("unit__answer", "'unit__answer' cannot name a reward"),
        ("../unit", "'../unit' cannot name a reward"),
        ("", "'' cannot name a reward"),
        ("while", "'while' cannot name a reward"),
        ("json", "'json' is a module of Python, which json.py would hide; choose another name"),
        ("exact_answer", "'exact_answer' is already a registered reward"),
    ],
)
def test_names_that_are_refused(tmp_path: Path, name: str, expected: str) -> None:
    with pytest.raises(ScaffoldError) as caught:
        write_reward(name, tmp_path, as_package=False)
    assert str(caught.value).startswith(expected)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("standing", ["unit_answer.py", "test_unit_answer.py"])
def test_nothing_is_overwritten(tmp_path: Path, standing: str) -> None:
    (tmp_path / standing).write_text("mine")
    done = command("unit_answer", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == f"error: {standing}: already there and left as it is; choose another name or folder\n"
    assert [path.name for path in tmp_path.iterdir()] == [standing]
    assert (tmp_path / standing).read_text() == "mine"


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ScaffoldError, match="cannot be written to"):
        write_reward("unit_answer", tmp_path / "file", as_package=False)
