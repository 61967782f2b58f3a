"""The list of rewards: what is read from signatures and docstrings, and that a broken reward hides no other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reasoning_rl.errors import RewardPluginError
from reasoning_rl.plugins import registered
from reasoning_rl.reward_listing import OptionInfo, list_rewards, reward_info

OTHERS = '''
from __future__ import annotations
from dataclasses import dataclass, field
from typing import Literal

def brief(sample, *, max_words: int = 9, unit: str):
    """Short is good.

    Very short.

    Args:
        max_words: words at most,
            counted by blanks.
        unit: what is
            counted.

    Returns:
        a number.
    """

@dataclass(frozen=True)
class Wordy:
    """Long is good.

    Attributes:
        num_words: words at least.
        how: how they
            are counted.

            Twice.
    """
    num_words: int = 3
    how: Literal["blanks", "tokens"] | None = None
    words: list[str] = field(default_factory=lambda: ["a"])
    bare: bool = False
    version = 4
    @property
    def requires(self):
        return frozenset({"b", f"a{self.num_words}"})
    def __call__(self, sample): ...

@dataclass(frozen=True)
class Undocumented:
    def __call__(self, sample): ...

@dataclass(frozen=True)
class BadHints:
    x: NoSuchName = 1
    def __call__(self, sample): ...

value = 5
'''
ENTRIES = """[reasoning_rl.rewards]
brief = others:brief
wordy = others:Wordy
undocumented = others:Undocumented
bad_hints = others:BadHints
value = others:value
gone = others:Gone
broken = no_such_module:Reward
exact_answer = others:Wordy
"""

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with an installed package of someone else."""
    info = tmp_path / "others-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 2.0\n")
    (info / "entry_points.txt").write_text(ENTRIES)
    (tmp_path / "others.py").write_text(OTHERS)
    return tmp_path


@pytest.fixture
def command(site: Path) -> Command:
    """Calls `reasoning-rl rewards …` with the package installed."""

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        line = [str(Path(sys.executable).parent / "reasoning-rl"), "rewards", *words]
        environment = {**os.environ, "PYTHONPATH": str(site), "COLUMNS": "200"}
        return subprocess.run(line, env=environment, capture_output=True, text=True, check=False, timeout=120)

    return call


@pytest.fixture
def listed(command: Command) -> dict[str, dict[str, Any]]:
    done = command("--json")
    assert done.returncode == 0, done.stderr
    return {f"{item['name']}@{item['package'].split()[0]}": item for item in json.loads(done.stdout)}


def test_every_registered_reward_is_listed() -> None:
    infos = list_rewards()
    assert [info.name for info in infos] == sorted(registered())
    assert [info.name for info in infos if info.broken] == []
    assert len(infos) >= 11


def test_every_built_in_reward_documents_itself() -> None:
    ours = [info for info in list_rewards() if info.target.startswith("reasoning_rl_rewards.")]
    assert len(ours) >= 11
    for info in ours:
        assert info.version, info.name
        assert info.summary, info.name
        assert all(option.doc for option in info.options), info


def test_a_class() -> None:
    info = reward_info("exact_answer")
    assert (info.version, info.columns, info.broken) == (2, ("answer",), None)
    assert info.options[0].type == "'boxed' | 'last_number' | 'final_text'"
    assert info.options[1] == OptionInfo(
        "column", "str", "'answer'", "column of the row with the gold answer (text or number)."
    )
    assert "Attributes" not in info.description


def test_columns_that_depend_on_required_options_are_not_made_up() -> None:
    assert reward_info("length_cosine").columns is None
    assert reward_info("overlong_penalty").columns == ()


def test_a_function_of_another_package(listed: dict[str, dict[str, Any]]) -> None:
    brief = listed["brief@others"]
    assert brief["package"] == "others 2.0"
    assert brief["summary"] == "Short is good."
    assert brief["description"] == "Short is good.\n\nVery short.\n\nReturns:\n    a number."
    assert brief["options"] == [
        {"name": "max_words", "type": "int", "default": "9", "doc": "words at most, counted by blanks."},
        {"name": "unit", "type": "str", "default": None, "doc": "what is counted."},
    ]


def test_a_class_of_another_package(listed: dict[str, dict[str, Any]]) -> None:
    wordy = listed["wordy@others"]
    assert (wordy["version"], wordy["columns"], wordy["broken"]) == (4, ["a3", "b"], None)
    assert [(o["name"], o["default"], o["doc"]) for o in wordy["options"]] == [
        ("num_words", "3", "words at least."),
        ("how", "None", "how they are counted. Twice."),
        ("words", "['a']", ""),
        ("bare", "False", ""),
    ]
    assert wordy["options"][2]["type"] == "list[str]"
    assert listed["undocumented@others"]["summary"] == ""


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("broken@others", "importing no_such_module failed with ModuleNotFoundError: No module named 'no_such_module'"),
        ("gone@others", "others has no 'Gone'"),
        ("value@others", "expected a dataclass or a function, found 5"),
        ("bad_hints@others", "its annotations fail with NameError: name 'NoSuchName' is not defined"),
        ("exact_answer@others", "another package registers this name too"),
        ("exact_answer@reasoning-rl", "another package registers this name too"),
    ],
)
def test_broken_ones_say_why(listed: dict[str, dict[str, Any]], name: str, reason: str) -> None:
    assert reason in listed[name]["broken"]
    assert listed["think_format@reasoning-rl"]["broken"] is None


def test_the_list_as_text(command: Command) -> None:
    done = command()
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert "broken  (others 2.0: no_such_module:Reward)" in lines
    assert lines[lines.index("broken  (others 2.0: no_such_module:Reward)") + 1].startswith(
        "  broken: reward 'broken': "
    )
    at = lines.index("wordy  (others 2.0: others:Wordy)")
    assert lines[at + 1 : at + 4] == [
        "  Long is good.",
        "  version 4; columns: a3, b",
        "  options: num_words=3, how=None, words=['a'], bare=False",
    ]


def test_one_as_text(command: Command) -> None:
    done = command("wordy")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:7] == [
        "wordy  (others 2.0: others:Wordy)",
        "version 4; columns: a3, b",
        "",
        "Long is good.",
        "",
        "options:",
        "  num_words: int  (default 3)",
    ]
    assert json.loads(command("others:Wordy", "--json").stdout)["columns"] == ["a3", "b"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("wordi", "error: no reward is registered as 'wordi'; did you mean 'wordy'?"),
        ("zzzzzz", "error: no reward is registered as 'zzzzzz'; registered: "),
        ("broken", "error: reward 'broken' (others 2.0: no_such_module:Reward): "),
        (
            "others:value",
            "error: reward 'others:value' (not registered: others:value): expected a dataclass or a function",
        ),
        ("others:Gone", "error: reward 'others:Gone': others has no 'Gone'"),
    ],
)
def test_what_cannot_be_shown_is_one_sentence(command: Command, name: str, expected: str) -> None:
    done = command(name)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(expected)


def test_no_name() -> None:
    with pytest.raises(RewardPluginError, match="did you mean 'think_format'"):
        reward_info("think_fromat")
