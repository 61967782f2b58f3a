"""Rows for the tests of `math_answer`: the labelled files, and any number of generated ones."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from reasoning_rl.api import Sample
from reasoning_rl.testing import make_sample

#: `$REASONING_RL_CASES`, else `../shared/cases` beside the checkout.
FOLDER = Path(os.environ.get("REASONING_RL_CASES") or Path(__file__).parents[3] / "shared" / "cases")

FORMS = ("{n}", "\\frac{{{n}}}{{7}}", "{n}\\sqrt{{2}}", "x = {n}", "({n}, {m})", "{n}x^2+{m}x", "[{n}, \\infty)")


def load(name: str) -> list[dict[str, Any]]:
    """The rows of a labelled file; skips the test when it is not there."""
    path = FOLDER / f"{name}.jsonl"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(rows) > 100
    return rows


def generated(count: int, seed: int) -> list[tuple[Sample, bool]]:
    """Samples with different golds, so that none is shared, and whether the answer is right: every other one is."""
    chance = random.Random(seed)
    made = []
    for at in range(count):
        n, m = chance.randrange(10**8), chance.randrange(1, 100)
        form, is_right = FORMS[at % len(FORMS)], chance.random() < 0.5
        answer = form.format(n=n if is_right else n + 1, m=m)
        text = f"<think>{chance.randrange(10**6)}</think>It is \\boxed{{{answer}}}."
        made.append((make_sample(text, {"answer": form.format(n=n, m=m)}, question=f"Row {at}?"), is_right))
    return made
