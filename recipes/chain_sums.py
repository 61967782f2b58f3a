"""Chain sums such as `7 + 12 - 3`: rows for RL and evaluation, and worked traces for a cold start.

Named in recipes as `chain_sums.py:rows`, `chain_sums.py:trace` and `chain_sums.py:guess`; a template for procedural tasks of
your own.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def rows(
    *, size: int, seed: int, min_terms: int = 3, max_terms: int = 5, max_value: int = 20, rising: float = 0.0
) -> Iterator[dict[str, Any]]:
    """`size` distinct problems with columns `prompt` ("7 + 12 - 3"), `terms` (signed integers) and `answer` (text).

    A `rising` share of them, the first ones, adds to a total below zero: a fifth of random rows does, and most of what a
    cold start on random rows gets wrong.

    Raises:
        ValueError: there are not so many problems.
    """
    available = sum(max_value * (2 * max_value) ** (terms - 1) for terms in range(min_terms, max_terms + 1))
    if size > available:
        raise ValueError(f"size {size} is too large: with these options there are {available} problems")
    rng = random.Random(seed)
    seen: set[tuple[int, ...]] = set()
    while len(seen) < size:
        must_rise = len(seen) < rising * size
        count = rng.randint(min_terms, max_terms)
        terms = (
            rng.randint(1, max_value),
            *(rng.choice((1, -1)) * rng.randint(1, max_value) for _ in range(count - 1)),
        )
        if terms in seen or (must_rise and not _rises(terms)):
            continue
        seen.add(terms)
        prompt = str(terms[0]) + "".join(f" {'+' if term > 0 else '-'} {abs(term)}" for term in terms[1:])
        yield {"prompt": prompt, "terms": list(terms), "answer": str(sum(terms))}


def trace(row: Mapping[str, Any]) -> str:
    """A worked completion: a running total in the thinking tags, one line per term, then the boxed answer.

    Each line names its term and takes it in tens, fives and ones, so that no term is lost on the way, few facts are to be
    learned and each is seen often: `7 + 12 - 9` is `7`, `+12: +10=17 +2=19`, `-9: -5=14 -4=10`.
    """
    total, *rest = row["terms"]
    lines = [str(total)]
    for term in rest:
        parts = []
        for step in _steps(term):
            total += step
            parts.append(f"{step:+d}={total}")
        lines.append(f"{term:+d}: {' '.join(parts)}")
    return "<think>" + "\n".join(lines) + "</think>\\boxed{" + str(total) + "}"


def guess(row: Mapping[str, Any]) -> str:
    """The answer at once, in the same format. No model of this size computes it so: what it would learn from these alone is
    to guess. Beside worked traces they leave the choice between the two to RL."""
    return f"<think>a guess</think>\\boxed{{{row['answer']}}}"


def _rises(terms: Sequence[int]) -> bool:
    return any(sum(terms[:position]) < 0 < terms[position] for position in range(1, len(terms)))


def _steps(term: int) -> list[int]:
    tens, ones = divmod(abs(term), 10)
    fives, ones = divmod(ones, 5)
    sizes = [10] * tens + [5] * fives + [ones] * bool(ones)
    return sizes if term > 0 else [-size for size in sizes]
