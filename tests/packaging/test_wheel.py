"""The wheel holds what it should, and without extras it checks recipes and grades, and says what training needs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

RECIPE = {
    "run": {"dir": "run"},
    "model": {"source": "owner/name"},
    "data": {"train": {"source": "rows.jsonl"}},
    "rewards": {"correct": {"use": "exact_answer"}, "format": {"use": "think_format", "weight": 0.1}},
    "grpo": {"num_generations": 4},
    "stages": [{"name": "rl", "kind": "grpo"}],
}

GRADE = """
from reasoning_rl.api import Completion, Sample
from reasoning_rl.plugins import resolve
print(resolve("exact_answer")(Sample([], Completion("", None, "\\\\boxed{4}", 1, False), {"answer": 4})).value)
"""

LOAD = """
from reasoning_rl.data import load_data
from reasoning_rl.errors import MissingExtraError
from reasoning_rl.recipe_io import load_recipe
for source in ("reasoning_gym:chain_sum", "owner/name"):
    file = load_recipe("recipe.yaml", [f"data.train={{source: '{source}', size: 2}}"])
    try:
        load_data(file.recipe, [])
    except MissingExtraError as error:
        print(error)
"""


def call(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(
        list(map(str, words)), cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=400
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    done = call(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, ROOT, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def slim(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of an environment with nothing but the wheel and what it requires."""
    folder = tmp_path_factory.mktemp("slim")
    for words in (
        [sys.executable, "-m", "venv", folder / "venv"],
        [folder / "venv" / "bin" / "python", "-m", "pip", "install", "--quiet", wheel],
    ):
        done = call(*words, cwd=folder)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "venv" / "bin"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a small recipe and its data, far from the checkout."""
    (tmp_path / "recipe.yaml").write_text(json.dumps(RECIPE))
    (tmp_path / "rows.jsonl").write_text('{"prompt": "2 + 2", "answer": "4"}\n')
    return tmp_path


def test_contents(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.partition("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"reasoning_rl", "reasoning_rl_rewards"}
    assert len(top) == 3
    packed = {name for name in names if name.startswith("reasoning_rl")}
    for package in (ROOT / "reasoning_rl", ROOT / "rewards" / "reasoning_rl_rewards"):
        files = [path for path in package.rglob("*") if path.suffix in (".py", ".html")]
        assert files
        assert {path.relative_to(package.parent).as_posix() for path in files} <= packed


def test_metadata(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (metadata,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    requirements = [
        line.split()[1]
        for line in archive.read(metadata).decode().splitlines()
        if line.startswith("Requires-Dist:") and "extra ==" not in line
    ]
    assert [re.split("[<>=]", line)[0] for line in requirements] == ["pydantic", "rich", "ruamel-yaml", "typer"]


def test_help(slim: Path, folder: Path) -> None:
    done = call(slim / "reasoning-rl", "--help", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "check" in done.stdout


def test_rewards(slim: Path, folder: Path) -> None:
    done = call(slim / "reasoning-rl", "rewards", "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    registered = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["reasoning_rl.rewards"]
    assert [item["name"] for item in json.loads(done.stdout)] == sorted(registered)


def test_grading(slim: Path, folder: Path) -> None:
    done = call(slim / "python", "-c", GRADE, cwd=folder)
    assert done.stdout == "1.0\n", done.stderr


def test_check(slim: Path, folder: Path) -> None:
    done = call(slim / "reasoning-rl", "check", "recipe.yaml", cwd=folder)
    assert (done.returncode, done.stdout) == (0, "recipe.yaml: ok (rl; run folder run)\n"), done.stderr
    assert done.stderr == "note: trl is not installed here: the keys under grpo: were not checked\n"


def test_check_still_refuses(slim: Path, folder: Path) -> None:
    words = ("check", "recipe.yaml", "grpo.num_generations=3", "grpo.seed=1", "rewards.correct.use=nothing")
    done = call(slim / "reasoning-rl", *words, cwd=folder)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 3, done.stderr


@pytest.mark.parametrize(
    ("words", "expected", "remedy"),
    [
        (("train", "recipe.yaml"), "error: training needs torch, ", "on a CPU run `make install`"),
        (("check", "--build", "recipe.yaml"), "error: training needs torch, ", "pip install -e '.[train,vllm]'"),
        (("report", "."), "error: reports need ", "pip install matplotlib jinja2"),
    ],
    ids=["train", "check --build", "report"],
)
def test_what_needs_an_extra_says_so(
    slim: Path, folder: Path, words: tuple[str, ...], expected: str, remedy: str
) -> None:
    done = call(slim / "reasoning-rl", *words, cwd=folder)
    assert done.returncode == 2
    assert done.stderr.startswith(expected), done.stderr
    assert remedy in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_data_that_needs_an_extra_says_so(slim: Path, folder: Path) -> None:
    done = call(slim / "python", "-c", LOAD, cwd=folder)
    assert done.stdout.splitlines() == [
        "data.train.0: needs reasoning-gym; pip install reasoning-gym",
        "data.train.0: needs datasets; pip install datasets",
    ], done.stderr


def test_nothing_heavy_is_installed(slim: Path, folder: Path) -> None:
    done = call(slim / "python", "-m", "pip", "list", "--format=json", cwd=folder)
    names = {package["name"].lower() for package in json.loads(done.stdout)}
    assert {"reasoning-rl", "pydantic"} <= names
    assert not names & {"torch", "trl", "transformers", "datasets", "vllm", "numpy", "matplotlib"}
