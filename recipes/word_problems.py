"""Word problems of one to three steps in the form of GSM8K: `question`, and an `answer` that works it out and ends in `#### n`.

Named in recipes as `word_problems.py:rows` and, after `convert: reasoning_rl.math_rows:gsm8k`, `word_problems.py:trace`. Run as
a program it writes such a file: `python word_problems.py 2000 0 > my.jsonl` (number of rows, seed).
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_NAMES = [
    "Anna", "Ben", "Clara", "David", "Emma", "Felix", "Grace",
    "Hugo", "Ida", "Jack", "Lena", "Max", "Nora", "Oscar",
]  # fmt: skip
_THINGS = [
    "apples", "books", "cards", "coins", "eggs", "marbles",
    "nuts", "pencils", "shells", "stamps", "stickers", "toys",
]  # fmt: skip

#: A question, and the steps to its answer: what is computed and with which numbers.
_Problem = tuple[str, list[tuple[str, int, str, int]]]


def rows(*, size: int, seed: int) -> Iterator[dict[str, Any]]:
    """`size` distinct problems of eight kinds, with columns `question` and `answer`."""
    rng = random.Random(seed)
    seen: set[str] = set()
    while len(seen) < size:
        question, steps = rng.choice(_KINDS)(rng)
        if question in seen:
            continue
        seen.add(question)
        lines = [_line(*step) for step in steps]
        yield {"question": question, "answer": "\n".join([*lines, f"#### {_value(*steps[-1][1:])}"])}


def trace(row: Mapping[str, Any]) -> str:
    """The worked solution of a converted row in thinking tags, then the boxed answer."""
    return f"<think>{row['solution']}</think>\\boxed{{{row['answer']}}}"


def _value(left: int, sign: str, right: int) -> int:
    return {"+": left + right, "-": left - right, "*": left * right, "/": left // right}[sign]


def _line(words: str, left: int, sign: str, right: int) -> str:
    """As GSM8K writes it, with a note for a calculator: `Nuts in all: 3*4=<<3*4=12>>12`."""
    value = _value(left, sign, right)
    return f"{words}: {left}{sign}{right}=<<{left}{sign}{right}={value}>>{value}"


def _gift(rng: random.Random) -> _Problem:
    (a, b), things = rng.sample(_NAMES, 2), rng.choice(_THINGS)
    has, more = rng.randint(5, 40), rng.randint(3, 30)
    lost = rng.randint(1, has + more - 1)
    question = (
        f"{a} has {has} {things}. {b} gives {a} {more} more, then {a} loses {lost}. "
        f"How many {things} does {a} have now?"
    )
    return question, [(f"{things} after the gift", has, "+", more), (f"{things} left", has + more, "-", lost)]


def _bags(rng: random.Random) -> _Problem:
    a, things = rng.choice(_NAMES), rng.choice(_THINGS)
    bags, each = rng.randint(2, 9), rng.randint(2, 9)
    given = rng.randint(1, bags * each - 1)
    question = (
        f"{a} buys {bags} bags with {each} {things} each and gives away {given} of them. How many {things} are left?"
    )
    return question, [(f"{things} in all", bags, "*", each), (f"{things} left", bags * each, "-", given)]


def _change(rng: random.Random) -> _Problem:
    a, price, number = rng.choice(_NAMES), rng.randint(2, 9), rng.randint(2, 9)
    cost = price * number
    paid = (cost // 10 + 1) * 10
    question = (
        f"A ticket costs {price} dollars. {a} buys {number} tickets and pays with {paid} dollars. "
        f"How many dollars does {a} get back?"
    )
    return question, [("Dollars for the tickets", price, "*", number), ("Dollars back", paid, "-", cost)]


def _boxes(rng: random.Random) -> _Problem:
    a, things = rng.choice(_NAMES), rng.choice(_THINGS)
    boxes, each = rng.randint(3, 9), rng.randint(2, 9)
    opened = rng.randint(2, boxes - 1)
    question = (
        f"{boxes * each} {things} lie in {boxes} equal boxes. {a} opens {opened} of the boxes. "
        f"How many {things} does {a} find?"
    )
    return question, [(f"{things} in a box", boxes * each, "/", boxes), (f"{things} found", each, "*", opened)]


def _pages(rng: random.Random) -> _Problem:
    a, each, days, last = rng.choice(_NAMES), rng.randint(3, 9), rng.randint(2, 9), rng.randint(1, 20)
    question = (
        f"{a} reads {each} pages on each of {days} days, and {last} pages on the day after. "
        f"How many pages does {a} read?"
    )
    return question, [(f"Pages on {days} days", each, "*", days), ("Pages in all", each * days, "+", last)]


def _ages(rng: random.Random) -> _Problem:
    (a, b, c), age, older = rng.sample(_NAMES, 3), rng.randint(3, 20), rng.randint(2, 15)
    question = (
        f"{a} is {age} years old. {b} is {older} years older than {a}, and {c} is twice as old as {b}. How old is {c}?"
    )
    return question, [(f"Age of {b}", age, "+", older), (f"Age of {c}", age + older, "*", 2)]


def _shares(rng: random.Random) -> _Problem:
    a, things = rng.choice(_NAMES), rng.choice(_THINGS)
    friends, each, had = rng.randint(2, 9), rng.randint(2, 9), rng.randint(1, 30)
    question = (
        f"{a} shares {friends * each} {things} equally among {friends} friends, who had {had} {things} each before. "
        f"How many {things} does a friend have now?"
    )
    return question, [(f"{things} for each", friends * each, "/", friends), (f"{things} now", each, "+", had)]


def _wages(rng: random.Random) -> _Problem:
    a, wage = rng.choice(_NAMES), rng.randint(2, 9)
    monday, tuesday, spent = rng.randint(1, 5), rng.randint(1, 4), rng.randint(1, 3)
    hours = monday + tuesday
    question = (
        f"{a} earns {wage} dollars an hour and works {monday} hours on Monday and {tuesday} on Tuesday, "
        f"then spends {spent} dollars. How many dollars are left?"
    )
    worked = ("Hours", monday, "+", tuesday)
    return question, [worked, ("Dollars earned", hours, "*", wage), ("Dollars left", hours * wage, "-", spent)]


_KINDS: tuple[Callable[[random.Random], _Problem], ...] = (
    _gift,
    _bags,
    _change,
    _boxes,
    _pages,
    _ages,
    _shares,
    _wages,
)

if __name__ == "__main__":
    for row in rows(size=int(sys.argv[1]), seed=int(sys.argv[2])):
        sys.stdout.write(json.dumps(row) + "\n")
