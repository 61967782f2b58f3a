"""One-digit sums and products, for the benchmarks of whole steps: rows and rewards, the same for every arm.

Named in recipes as `digits.py:rows` and `digits.py:correct`; the stock arms call the plain functions below them.
"""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Iterator
from typing import Any

from reasoning_rl.api import Sample

QUESTIONS = {
    "final": "What is {problem}? Answer with the final number only.",
    "explain": "Explain in several short sentences, step by step, how to work out {problem}. Give the number at the end.",
}
#: Problems that only the evaluation sees.
NUM_HELD_OUT = 40
NUM_TRAINED = 160


def rows(*, size: int, seed: int, ask: str = "final", half_idle: bool = False, held_out: bool = False) -> Iterator[Any]:
    """`size` of the 200 problems in random order, again from the start after all of them; columns `prompt`, `answer`, and
    `idle` ("yes": `checksum` pays each completion the same; every second row with `half_idle`)."""
    problems = [
        (f"{a} {sign} {b}", str(a + b if sign == "+" else a * b)) for a in range(10) for b in range(10) for sign in "+×"
    ]
    random.Random(0).shuffle(problems)  # the same problems are held out whatever the seed
    problems = problems[:NUM_HELD_OUT] if held_out else problems[NUM_HELD_OUT:]
    random.Random(seed).shuffle(problems)
    for position in range(size):
        problem, answer = problems[position % len(problems)]
        yield {
            "prompt": QUESTIONS[ask].format(problem=problem),
            "answer": answer,
            "idle": "yes" if half_idle and position % 2 else "no",
        }


def is_correct(text: str, answer: str) -> float:
    """1 when the last number of the text is the answer."""
    numbers = re.findall(r"-?\d+", text)
    return float(bool(numbers) and numbers[-1] == answer)


def checksum_share(text: str, idle: str) -> float:
    """A number in [0, 1) that differs between texts, so that no group is without variance, unless the row is idle."""
    return 0.5 if idle == "yes" else zlib.crc32(text.encode()) % 1009 / 1009


def correct(sample: Sample) -> float:
    return is_correct(sample.completion.text, sample.row["answer"])


def checksum(sample: Sample) -> float:
    return checksum_share(sample.completion.text, sample.row["idle"])
