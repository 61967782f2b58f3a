"""`reasoning-rl new-reward`: writes a reward that works, its test, and on demand a package around them.

The files are a start to be changed; nothing reads them again.
"""

from __future__ import annotations

import keyword
import re
import sys
from pathlib import Path
from string import Template

from reasoning_rl.errors import ScaffoldError
from reasoning_rl.plugins import registered

_REWARD = Template('''"""`$name`: say in one line what it rewards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reasoning_rl.api import Sample, Score, Verdict


@dataclass(frozen=True)
class $class_name:
    """1 when the text after the thinking is the row's answer, else 0. Say here what counts as an answer.

    Attributes:
        column: column of the row with the gold answer.
        ignore_case: whether capitals make no difference.
    """

    column: str = "answer"
    ignore_case: bool = True

    version = 1  # raise it whenever the meaning of a score changes

    @property
    def requires(self) -> frozenset[str]:
        return frozenset({self.column})

    def __call__(self, sample: Sample, /) -> Score:
        gold = sample.row.get(self.column)
        if not isinstance(gold, str) or not gold.strip():
            # Our own fault: no value, no gradient. What the model does wrong scores 0 instead.
            return Score.abstain(Verdict.BAD_REFERENCE, reason=f"column {self.column!r} holds {gold!r}, no answer")
        answer = sample.completion.final_text
        if not answer.strip():
            return Score.no_answer(gold=gold)
        is_right = self._plain(answer) == self._plain(gold)
        return Score.correct(extracted=answer, gold=gold) if is_right else Score.wrong(extracted=answer, gold=gold)

    def reference(self, row: Mapping[str, Any]) -> str | None:
        """What scores full after the thinking."""
        gold = row.get(self.column)
        return gold if isinstance(gold, str) and gold.strip() else None

    def near_misses(self, row: Mapping[str, Any]) -> list[str]:
        """What must not, however close."""
        gold = self.reference(row)
        return [] if gold is None else [f"{gold.strip()}x"]

    def _plain(self, text: str) -> str:
        return text.strip().casefold() if self.ignore_case else text.strip()
''')

_TEST = Template('''"""`$name`: what counts as right."""

from __future__ import annotations

from typing import Any

import pytest
from reasoning_rl.api import Verdict
from reasoning_rl.testing import check_reward, make_sample

from $name import $class_name

ROWS = [{"answer": "Paris"}, {"answer": "42"}]


@pytest.mark.parametrize("options", [{}, {"ignore_case": False}])
def test_keeps_the_rules(options: dict[str, Any]) -> None:
    check_reward($class_name, ROWS, options=options)


@pytest.mark.parametrize(
    ("text", "options", "verdict"),
    [
        ("<think>thoughts</think>Paris", {}, Verdict.CORRECT),
        ("<think>thoughts</think> paris ", {}, Verdict.CORRECT),
        ("<think>thoughts</think>paris", {"ignore_case": False}, Verdict.WRONG),
        ("<think>thoughts</think>Rome", {}, Verdict.WRONG),
        ("<think>Paris</think>", {}, Verdict.NO_ANSWER),
    ],
)
def test_verdicts(text: str, options: dict[str, Any], verdict: Verdict) -> None:
    assert $class_name(**options)(make_sample(text, {"answer": "Paris"})).verdict is verdict
''')

_PYPROJECT = Template("""[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "$distribution"
version = "0.1.0"
description = "The reward $name for reasoning-rl."
requires-python = ">=3.11"
dependencies = ["reasoning-rl"]

[project.optional-dependencies]
dev = ["pytest"]

[project.entry-points."reasoning_rl.rewards"]
$name = "$name:$class_name"

[tool.hatch.build.targets.wheel]
only-include = ["$name.py"]
""")


def write_reward(name: str, folder: Path, *, as_package: bool) -> list[Path]:
    """Writes `<name>.py` and `test_<name>.py` into `folder`; as a package, with a `pyproject.toml` into `folder/<name>`.

    Returns:
        The files written.

    Raises:
        ScaffoldError: the name is no module name, shadows a module or a registered reward; or a file is already there.
    """
    _refuse_name(name)
    values = {
        "name": name,
        "class_name": "".join(part.capitalize() for part in name.split("_")),
        "distribution": name.replace("_", "-"),
    }
    files = {f"{name}.py": _REWARD, f"test_{name}.py": _TEST} | ({"pyproject.toml": _PYPROJECT} if as_package else {})
    target = folder / name if as_package else folder
    for path in (target / file for file in files):
        if path.exists():
            raise ScaffoldError(f"{path}: already there and left as it is; choose another name or folder")
    try:
        target.mkdir(parents=True, exist_ok=True)
        for file, template in files.items():
            (target / file).write_text(template.substitute(values), encoding="utf-8")
    except OSError as error:
        raise ScaffoldError(f"{target}: cannot be written to ({error.strerror}); choose another folder") from None
    return [target / file for file in files]


def _refuse_name(name: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name):
        raise ScaffoldError(f"{name!r} cannot name a reward; use lower case, digits and underscores: unit_answer")
    if name in sys.stdlib_module_names:
        raise ScaffoldError(f"{name!r} is a module of Python, which {name}.py would hide; choose another name")
    if name in registered():
        raise ScaffoldError(f"{name!r} is already a registered reward (`reasoning-rl rewards`); choose another name")
