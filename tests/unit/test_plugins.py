"""A reward is found by name, module or file, and built from its options; each way to fail is one sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from reasoning_rl.api import Completion, Sample, Score, Verdict
from reasoning_rl.errors import RewardPluginError
from reasoning_rl.plugins import find, registered, resolve

SAMPLE = Sample([{"role": "user", "content": "?"}], Completion("a b c", None, "a b c", 3, False), {"answer": "5"})

PLUGIN = """
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from reasoning_rl.api import Sample, Score, Verdict


def brevity(sample: Sample, *, max_words: int = 100, power: float = 1.0) -> float:
    words = len(sample.completion.text.split())
    return (1.0 if words <= max_words else 0.0) ** power


brevity.requires = {"prompt"}
brevity.version = 3


def strict(sample: Sample, *, limit: int) -> float:
    return float(limit)


def silent(sample: Sample) -> None:
    return None


def scored(sample: Sample) -> Score:
    return Score(0.5, Verdict.PARTIAL, {"reason": "half"})


@dataclass(frozen=True)
class Words:
    words: tuple[str, ...] = field(default_factory=tuple)
    mode: Literal["any", "all"] = "any"
    scale: float = 1.0

    requires = frozenset({"answer"})

    def __post_init__(self) -> None:
        if self.scale < 0:
            raise ValueError("scale must not be negative")

    def __call__(self, sample: Sample) -> Score:
        return Score(self.scale * sum(word in sample.completion.text for word in self.words), Verdict.PARTIAL)


@dataclass(frozen=True)
class NotCallable:
    a: int = 1


class Plain:
    def __call__(self, sample: Sample) -> Score:
        return Score.correct()


ready = Words()
number = 3
"""


@pytest.fixture
def plugin(tmp_path: Path) -> str:
    path = tmp_path / "my_rewards.py"
    path.write_text(PLUGIN)
    return str(path)


def refused(use: str, options: dict[str, Any] | None = None) -> str:
    with pytest.raises(RewardPluginError) as caught:
        resolve(use, options)
    return str(caught.value)


def test_registered_name() -> None:
    assert {"exact_answer", "think_format"} <= set(registered())
    reward = resolve("exact_answer", {"extract": "last_number"})
    assert reward(Sample([], Completion("so 5", None, "so 5", 2, False), {"answer": 5})) == Score.correct(
        extracted="5", gold="5"
    )


def test_module_attribute() -> None:
    assert resolve("reasoning_rl_rewards.think_format:ThinkFormat") == resolve("think_format")
    assert find("reasoning_rl_rewards.think_format:ThinkFormat") is find("think_format")


@pytest.mark.parametrize(
    ("options", "value"), [({}, 1.0), ({"max_words": 3}, 1.0), ({"max_words": 2}, 0.0), ({"power": 2}, 1.0)]
)
def test_function_of_a_file_with_options(plugin: str, options: dict[str, Any], value: float) -> None:
    reward = resolve(f"{plugin}:brevity", options)
    assert reward(SAMPLE) == Score(value, Verdict.CORRECT if value else Verdict.WRONG)
    assert getattr(reward, "requires", None) == frozenset({"prompt"})
    assert getattr(reward, "version", None) == 3


@pytest.mark.parametrize(
    ("options", "value"),
    [({}, 0.0), ({"words": ["a", "z"]}, 1.0), ({"words": ["a", "b"], "mode": "all", "scale": 2}, 4.0)],
)
def test_class_of_a_file_with_options(plugin: str, options: dict[str, Any], value: float) -> None:
    assert resolve(f"{plugin}:Words", options)(SAMPLE) == Score(value, Verdict.PARTIAL)


@pytest.mark.parametrize(
    ("result", "score"),
    [
        ("1.0", Score(1.0, Verdict.CORRECT)),
        ("2", Score(2.0, Verdict.CORRECT)),
        ("True", Score(1.0, Verdict.CORRECT)),
        ("0", Score(0.0, Verdict.WRONG)),
        ("-1.5", Score(-1.5, Verdict.WRONG)),
        ("0.25", Score(0.25, Verdict.PARTIAL)),
        ("None", Score.abstain(Verdict.NOT_APPLICABLE)),
        ("Score.abstain(Verdict.BAD_REFERENCE, a=1)", Score.abstain(Verdict.BAD_REFERENCE, a=1)),
    ],
)
def test_what_a_function_returns(tmp_path: Path, result: str, score: Score) -> None:
    path = tmp_path / "returns.py"
    path.write_text(
        f"from reasoning_rl.api import Score, Verdict\ndef f(sample):\n    return {result}\n",
    )
    assert resolve(f"{path}:f")(SAMPLE) == score


@pytest.mark.parametrize(
    ("attribute", "options", "expected"),
    [
        ("Missing", {}, "has no 'Missing'; it defines "),
        ("number", {}, "expected a dataclass or a function, found int"),
        ("ready", {}, "expected a dataclass or a function, found Words"),
        ("Plain", {}, "class Plain must be a dataclass whose fields are its options"),
        ("NotCallable", {}, "NotCallable has no __call__(sample)"),
        ("brevity", {"max_word": 3}, "unknown option 'max_word'; it takes: max_words, power"),
        ("silent", {"x": 3}, "unknown option 'x'; it takes: none"),
        ("brevity", {"max_words": "3"}, "option 'max_words': found '3', expected a valid integer"),
        ("brevity", {"max_words": True}, "option 'max_words': found True, expected a valid integer"),
        ("strict", {}, "option 'limit' is required and missing"),
        ("Words", {"mode": "none"}, "option 'mode': found 'none', expected 'any' or 'all'"),
        ("Words", {"words": "a"}, "option 'words': found 'a', expected a valid tuple"),
        ("Words", {"wrods": []}, "unknown option 'wrods'; it takes: words, mode, scale"),
        ("Words", {"scale": -1.0}, "ValueError: scale must not be negative"),
    ],
)
def test_refused(plugin: str, attribute: str, options: dict[str, Any], expected: str) -> None:
    message = refused(f"{plugin}:{attribute}", options)
    assert message.startswith(f"reward '{plugin}:{attribute}': ")
    assert expected in message


@pytest.mark.parametrize(
    ("use", "expected"),
    [
        ("exact_anser", "no reward is registered as 'exact_anser'; registered: "),
        ("/nowhere/a.py:f", "no such file /nowhere/a.py; check the path"),
        ("no_such_module:f", "importing no_such_module failed with ModuleNotFoundError"),
        ("reasoning_rl_rewards.exact_answer:Nope", "reasoning_rl_rewards.exact_answer has no 'Nope'; it defines "),
        (":f", "importing  failed with ValueError"),
    ],
)
def test_not_found(use: str, expected: str) -> None:
    assert expected in refused(use)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import no_such_package\n", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("1 / 0\n", "ZeroDivisionError"),
        ("def f(:\n", "SyntaxError"),
        ("open('/nowhere/table.csv')\n", "FileNotFoundError"),
    ],
)
def test_file_that_cannot_be_imported(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "broken.py"
    path.write_text(text)
    message = refused(f"{path}:f")
    assert f"importing {path} failed with {expected}" in message
    path.write_text("def f(sample):\n    return 1.0\n# mended\n")
    assert resolve(f"{path}:f")(SAMPLE).value == 1.0, "a failed import leaves nothing behind"


def test_annotation_that_is_not_there_at_run_time(tmp_path: Path) -> None:
    path = tmp_path / "typed.py"
    path.write_text(
        dedent("""
            from __future__ import annotations
            from typing import TYPE_CHECKING
            if TYPE_CHECKING:
                from reasoning_rl.api import Sample
            def f(sample: Sample, *, a: int = 1) -> float:
                return 1.0
        """)
    )
    assert "name 'Sample' is not defined in the annotations of f" in refused(f"{path}:f")


def test_a_file_is_imported_once_and_by_its_whole_path(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for path, value in ((tmp_path / "a" / "b.py", 1.0), (tmp_path / "a_b.py", 2.0)):
        path.write_text(f"def f(sample):\n    return {value}\n")
    assert [resolve(f"{tmp_path}/{name}:f")(SAMPLE).value for name in ("a/b.py", "a_b.py")] == [1.0, 2.0]
    assert find(f"{tmp_path}/a/b.py:f") is find(f"{tmp_path}/a/../a/b.py:f")


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts a distribution with one registered reward on `sys.path`."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def add(distribution: str, name: str, value: str) -> None:
        info = site / f"{distribution}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[reasoning_rl.rewards]\n{name} = {value}\n")
        (site / f"{distribution}.py").write_text("def reward(sample):\n    return 0.5\n")

    return add


def test_a_third_party_package_registers_a_reward(install: Callable[..., None]) -> None:
    install("other_rewards", "half", "other_rewards:reward")
    assert resolve("half")(SAMPLE) == Score(0.5, Verdict.PARTIAL)
    assert registered()["half"].value == "other_rewards:reward"


def test_two_owners_of_one_name(install: Callable[..., None]) -> None:
    install("other_rewards", "exact_answer", "other_rewards:reward")
    with pytest.raises(RewardPluginError) as caught:
        registered()
    message = str(caught.value)
    assert "reward 'exact_answer' is registered by two packages: " in message
    assert "other_rewards (other_rewards:reward)" in message
    assert "reasoning-rl (reasoning_rl_rewards.exact_answer:ExactAnswer)" in message
    assert refused("think_format") == message, "no guess while a name has two owners"


def test_a_registered_reward_that_cannot_be_imported(install: Callable[..., None]) -> None:
    install("other_rewards", "gone", "other_rewards:missing")
    assert "other_rewards has no 'missing'; it defines reward" in refused("gone")
