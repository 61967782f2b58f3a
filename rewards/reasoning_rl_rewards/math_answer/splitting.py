"""Where tokens come apart: brackets, separators, dollar signs, tails, trailing conditions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from reasoning_rl_rewards.math_answer.errors import UnreadableError
from reasoning_rl_rewards.math_answer.tokens import Token


def matching(tokens: Sequence[Token], start: int) -> int:
    """Where the bracket that opens at `start` closes, whatever its kind: `[0, 1)` is one pair."""
    depth = 0
    for position in range(start, len(tokens)):
        depth += {"open": 1, "close": -1}.get(tokens[position].kind, 0)
        if not depth:
            return position
    raise UnreadableError("a bracket is not closed")


def split(tokens: Sequence[Token], is_separator: Callable[[Token], bool]) -> tuple[list[Sequence[Token]], list[Token]]:
    """The parts outside brackets, and the separators between them."""
    parts: list[Sequence[Token]] = []
    found: list[Token] = []
    depth = start = 0
    for position, token in enumerate(tokens):
        depth += {"open": 1, "close": -1}.get(token.kind, 0)
        if not depth and is_separator(token):
            parts.append(tokens[start:position])
            found.append(token)
            start = position + 1
    return [*parts, tokens[start:]], found


def without_dollars(tokens: Sequence[Token]) -> Sequence[Token]:
    """Dollar signs in pairs are delimiters, a single one is a currency."""
    count = sum(token.text == "$" for token in tokens)
    if not count:
        return tokens
    if count % 2 == 0:
        return [token for token in tokens if token.text != "$"]
    return [Token("op", "\\$") if token.text == "$" else token for token in tokens]


def without_tail(tokens: Sequence[Token]) -> Sequence[Token]:
    while tokens and (
        tokens[-1].text in (".", ",", ";", "\\\\", "`") or (tokens[-1].text == "\\$" and len(tokens) == 1)
    ):
        tokens = tokens[:-1]
    while (
        len(tokens) > 2 and (tokens[0].text, tokens[-1].text) == ("{", "}") and matching(tokens, 0) == len(tokens) - 1
    ):
        tokens = tokens[1:-1]
    return tokens


def with_condition(tokens: Sequence[Token]) -> Sequence[Token]:
    """A condition in brackets at the end, `x = k\\pi (k \\in \\mathbb Z)`, as one more item; without what only says where the
    answer is defined, `1/x (x \\ne 0)`."""
    if len(tokens) < 5 or tokens[-1].text != ")":
        return tokens
    start = next(
        (at for at, token in enumerate(tokens) if token.kind == "open" and matching(tokens, at) == len(tokens) - 1), 0
    )
    inside = tokens[start + 1 : -1]
    relations = [[token.text for token in part if token.kind == "rel"] for part in (tokens[:start], inside)]
    if start and relations[1] == ["!="] and set(relations[0]) <= {"="}:
        return tokens[:start]
    if start and tokens[start].spaced and relations[1]:
        return [*tokens[:start], Token("sep", ","), *inside]
    return tokens
