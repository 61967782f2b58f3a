"""Right values that are no answers: the question written back, arithmetic left to the grader."""

from __future__ import annotations

import re
from collections.abc import Sequence

from reasoning_rl_rewards.math_answer.answers import Labelled, Quantity, Value
from reasoning_rl_rewards.math_answer.errors import UnreadableError
from reasoning_rl_rewards.math_answer.normalise import normalise
from reasoning_rl_rewards.math_answer.numbers import plain_number
from reasoning_rl_rewards.math_answer.tree import Node

_BLANK = re.compile(r"\s+|\\[,;:! ]|\\left|\\right|\\d(?=frac)|[{}$]")
_MIN_CHARS = 3


def is_echo(answer: str, question: str) -> bool:
    """Whether an answer that is no plain number stands in the question, blanks and layout aside."""
    text = _plain(answer)
    if len(text) < _MIN_CHARS or plain_number(text.rpartition("=")[2]):
        return False
    return text in _plain(question)


def is_unevaluated(values: Sequence[Value]) -> bool:
    """Whether a constant is written as arithmetic: not as a numeral, a fraction, a mixed number or a power of ten."""
    value = values[0] if values else None
    if isinstance(value, Labelled):
        value = value.value
    return isinstance(value, Quantity) and not _is_numeral(value.node)


def _plain(text: str) -> str:
    try:
        text = normalise(text)
    except UnreadableError:
        return ""
    return _BLANK.sub("", text.replace("\\cdot", "*").replace("\\times", "*"))


def _is_numeral(node: Node) -> bool:
    operator = node[0]
    if operator == "n":
        return True
    if operator == "neg":
        return _is_numeral(node[1])
    if operator == "/":
        return node[1][0] == "n" and node[2][0] == "n"
    if operator == "+":
        return node[1][0] == "n" and node[2][0] == "/" and _is_numeral(node[2])
    if operator == "*":
        power = node[2]
        return _is_numeral(node[1]) and power[0] == "^" and power[1] == ("n", 10) and _is_numeral(power[2])
    return operator == "^" and node[1] == ("n", 10) and _is_numeral(node[2])
