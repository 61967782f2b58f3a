"""Chain sums such as `7 + 12 - 3`: rows for RL and evaluation, and worked traces for a cold start.

Named in recipes as `chain_sums.py:rows` and `chain_sums.py:trace`; a template for procedural tasks of your own.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any


def rows(
    *, size: int, seed: int, min_terms: int = 3, max_terms: int = 5, max_value: int = 20
) -> Iterator[dict[str, Any]]:
    """`size` distinct problems with columns `prompt` ("7 + 12 - 3"), `terms` (signed integers) and `answer` (text).

    Raises:
        ValueError: there are not so many problems.
    """
    available = sum(max_value * (2 * max_value) ** (terms - 1) for terms in range(min_terms, max_terms + 1))
    if size > available:
        raise ValueError(f"size {size} is too large: with these options there are {available} problems")
    rng = random.Random(seed)
    seen: set[tuple[int, ...]] = set()
    while len(seen) < size:
        count = rng.randint(min_terms, max_terms)
        terms = (
            rng.randint(1, max_value),
            *(rng.choice((1, -1)) * rng.randint(1, max_value) for _ in range(count - 1)),
        )
        if terms in seen:
            continue
        seen.add(terms)
        prompt = str(terms[0]) + "".join(f" {'+' if term > 0 else '-'} {abs(term)}" for term in terms[1:])
        yield {"prompt": prompt, "terms": list(terms), "answer": str(sum(terms))}


def trace(row: Mapping[str, Any]) -> str:
    """A worked completion: a running total in the thinking tags, one small step per line, then the boxed answer.

    Terms are taken in tens, fives and ones, so that few facts are to be learned and each is seen often: `7 + 12 - 9` is
    `7`, `+10=17`, `+2=19`, `-5=14`, `-4=10`.
    """
    total, *rest = row["terms"]
    lines = [str(total)]
    for step in (step for term in rest for step in _steps(term)):
        total += step
        lines.append(f"{step:+d}={total}")
    return "<think>" + "\n".join(lines) + "</think>\\boxed{" + str(total) + "}"


def _steps(term: int) -> list[int]:
    tens, ones = divmod(abs(term), 10)
    fives, ones = divmod(ones, 5)
    sizes = [10] * tens + [5] * fives + [ones] * bool(ones)
    return sizes if term > 0 else [-size for size in sizes]
