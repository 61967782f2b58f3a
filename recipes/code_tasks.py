"""Python functions of one line, such as "returns a plus 3 times b": rows for RL and evaluation, traces for a cold start.

Named in recipes as `code_tasks.py:rows` and `code_tasks.py:trace`. Families of tasks are shown (in a cold start), trained
(left to RL, so that it has something to find) or held out. The later ones need the parts of the earlier ones in another
way, such as the largest number after the sum, and the last items after the first. Every row is graded by calls with plain
data. Its own solution gave the expected values, and its inputs are such that no constant, no other task of the same
arguments and no number that is off by one passes.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

_NUM_TESTS = 6
_NAMES = ("solve", "compute", "answer", "work", "func", "calc", "make", "find", "get_it", "run_it", "task", "process")
_LETTERS = "aeglnorsty"


@dataclass(frozen=True, slots=True)
class Family:
    """Tasks of one kind. `{k}` and `{m}` are numbers from 2 on, `{c}` is a letter; arguments are called `args`."""

    args: tuple[str, ...]
    phrase: str
    expression: str


_PAIR, _LIST, _TEXT = ("a", "b"), ("items",), ("text",)
SHOWN = (
    Family(_PAIR, "a plus {k} times b", "a + {k} * b"),
    Family(_PAIR, "the remainder of a divided by {k}", "a % {k}"),
    Family(_PAIR, "whether a is greater than {k}", "a > {k}"),
    Family(_PAIR, "the larger one of a and b, plus {k}", "max(a, b) + {k}"),
    Family(_LIST, "the sum of items plus {k}", "sum(items) + {k}"),
    Family(_LIST, "the first {k} items", "items[:{k}]"),
    Family(_LIST, "every item plus {k}", "[x + {k} for x in items]"),
    Family(_TEXT, "the first {k} characters of text", "text[:{k}]"),
    Family(_TEXT, "text in upper case, {k} times", "text.upper() * {k}"),
    Family(_TEXT, "how often the letter {c} is in text", "text.count('{c}')"),
)
TRAINED = (
    Family(_PAIR, "{k} times a minus b", "{k} * a - b"),
    Family(_PAIR, "a times b plus {k}", "a * b + {k}"),
    Family(_PAIR, "the square of a minus {k}", "a ** 2 - {k}"),
    Family(_PAIR, "whether b is divisible by {k}", "b % {k} == 0"),
    Family(_LIST, "the largest number in items plus {k}", "max(items) + {k}"),
    Family(_LIST, "items in reverse order, then {k}", "items[::-1] + [{k}]"),
    Family(_LIST, "the items greater than {k}", "[x for x in items if x > {k}]"),
    Family(_LIST, "how often {k} is in items", "items.count({k})"),
    Family(_TEXT, "text in reverse order, {k} times", "text[::-1] * {k}"),
    Family(_TEXT, "whether text starts with the letter {c}", "text.startswith('{c}')"),
)
HELD_OUT = (
    Family(_PAIR, "{k} times a plus {m} times b", "{k} * a + {m} * b"),
    Family(_PAIR, "the square of b plus {k}", "b ** 2 + {k}"),
    Family(_PAIR, "the smaller one of a and b, minus {k}", "min(a, b) - {k}"),
    Family(_LIST, "the smallest number in items minus {k}", "min(items) - {k}"),
    Family(_LIST, "the last {k} items", "items[-{k}:]"),
    Family(_LIST, "every item times {k}", "[x * {k} for x in items]"),
    Family(_LIST, "the items smaller than {k}", "[x for x in items if x < {k}]"),
    Family(_TEXT, "text in lower case, {k} times", "text.lower() * {k}"),
    Family(_TEXT, "whether text ends with the letter {c}", "text.endswith('{c}')"),
    Family(_TEXT, "text without its first {k} characters", "text[{k}:]"),
)
_FAMILIES = {"shown": SHOWN, "trained": TRAINED, "held_out": HELD_OUT}


def rows(*, size: int, seed: int, families: Literal["shown", "trained", "held_out"]) -> Iterator[dict[str, Any]]:
    """`size` distinct tasks, each family about as often as any other.

    Columns: `prompt`, `entry_point`, `expression`, `solution`, and `tests` (JSON text).

    Raises:
        ValueError: there are not so many tasks, or no such families.
    """
    if families not in _FAMILIES:
        raise ValueError(f"families is {families!r}; it must be one of {', '.join(_FAMILIES)}")
    chosen = _FAMILIES[families]
    rng = random.Random(seed)
    seen: set[str] = set()
    misses = 0
    while len(seen) < size:
        if misses > 10_000:
            raise ValueError(f"size {size} is too large: {len(seen)} tasks were found")
        row = _row(chosen[(len(seen) + misses) % len(chosen)], rng)
        if row["prompt"] in seen:
            misses += 1
            continue
        seen.add(row["prompt"])
        yield row


def trace(row: Mapping[str, Any]) -> str:
    """A worked completion: what is asked for and its expression in the thinking tags, then the function in a block."""
    _, _, phrase = row["prompt"].rstrip(".").partition("returns ")
    return f"<think>{phrase} is {row['expression']}</think>\n```python\n{row['solution']}\n```"


def _row(family: Family, rng: random.Random) -> dict[str, Any]:
    name = rng.choice(_NAMES)
    values = {"k": rng.randint(2, 9), "m": rng.randint(2, 9), "c": rng.choice(_LETTERS)}
    signature = f"{name}({', '.join(family.args)})"
    expression = family.expression.format(**values)
    tests = [
        {"type": "call", "entry_point": name, "args": args, "expected": expected}
        for args, expected in _examples(family, expression, values, rng)
    ]
    return {
        "prompt": f"Write a Python function {signature} that returns {family.phrase.format(**values)}.",
        "entry_point": name,
        "expression": expression,
        "solution": f"def {signature}:\n    return {expression}",
        "tests": json.dumps(tests),
    }


def _examples(
    family: Family, expression: str, values: Mapping[str, Any], rng: random.Random
) -> list[tuple[list[Any], Any]]:
    """Arguments and what the expression gives for them; drawn again until they tell it from every wrong one."""
    near = [{**values, key: values[key] + step} for key in ("k", "m") for step in (-1, 1)]
    wrong = {family.expression.format(**changed) for changed in near}
    wrong |= {other.expression.format(**values) for other in SHOWN + TRAINED + HELD_OUT if other.args == family.args}
    function = _function(family, expression)
    others = [_function(family, text) for text in sorted(wrong - {expression})]
    while True:
        inputs = [_arguments(family, rng) for _ in range(_NUM_TESTS)]
        results = [function(*args) for args in inputs]
        is_constant = all(result == results[0] for result in results)
        if not is_constant and all([other(*args) for args in inputs] != results for other in others):
            return list(zip(inputs, results, strict=True))


def _function(family: Family, expression: str) -> Callable[..., Any]:
    return eval(f"lambda {', '.join(family.args)}: {expression}")


def _arguments(family: Family, rng: random.Random) -> list[Any]:
    if family.args == _LIST:
        return [[rng.randint(-5, 15) for _ in range(rng.randint(1, 12))]]
    if family.args == _TEXT:
        letters = rng.choices(_LETTERS + _LETTERS.upper(), k=rng.randint(0, 12))
        return ["".join(letters)]
    return [rng.randint(-20, 40) for _ in family.args]
