"""Chain sums such as `7 + 12 - 3`: rows for RL and evaluation, and worked traces for a cold start.

Named in recipes as `chain_sums.py:rows` and `chain_sums.py:trace`; a template for procedural tasks of your own.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

#: Of `spread` rows: how many candidates each is chosen from.
_CANDIDATES = 200


def rows(
    *, size: int, seed: int, min_terms: int = 3, max_terms: int = 5, max_value: int = 20, spread: bool = False
) -> Iterator[dict[str, Any]]:
    """`size` distinct problems with columns `prompt` ("7 + 12 - 3"), `terms` (signed integers) and `answer` (text).

    With `spread` they are chosen so that every step of a trace ("-3+5=2") is shown about equally often: among 400 random
    rows one step in nine that the evaluation needs is never shown.

    Raises:
        ValueError: there are not so many problems.
    """
    available = sum(max_value * (2 * max_value) ** (terms - 1) for terms in range(min_terms, max_terms + 1))
    if size > available:
        raise ValueError(f"size {size} is too large: with these options there are {available} problems")
    rng = random.Random(seed)
    shown: Counter[tuple[int, int]] = Counter()
    seen: set[tuple[int, ...]] = set()
    while len(seen) < size:
        count = rng.randint(min_terms, max_terms)
        candidates = [_problem(rng, count, max_value) for _ in range(_CANDIDATES if spread else 1)]
        terms = max(candidates, key=lambda terms: _news(terms, shown)) if spread else candidates[0]
        if terms in seen:
            continue
        seen.add(terms)
        shown.update(_trace_steps(terms))
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


def _problem(rng: random.Random, count: int, max_value: int) -> tuple[int, ...]:
    return (rng.randint(1, max_value), *(rng.choice((1, -1)) * rng.randint(1, max_value) for _ in range(count - 1)))


def _news(terms: Sequence[int], shown: Mapping[tuple[int, int], int]) -> float:
    """How much a trace would show that others have not, per step."""
    steps = list(_trace_steps(terms))
    return sum(1 / (1 + shown[step]) for step in steps) / len(steps)


def _trace_steps(terms: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(total, what is added to it) of each step."""
    total = terms[0]
    for step in (step for term in terms[1:] for step in _steps(term)):
        yield total, step
        total += step


def _steps(term: int) -> list[int]:
    tens, ones = divmod(abs(term), 10)
    fives, ones = divmod(ones, 5)
    sizes = [10] * tens + [5] * fives + [ones] * bool(ones)
    return sizes if term > 0 else [-size for size in sizes]
