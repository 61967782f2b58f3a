"""Tokens to answers: splits at separators, relations, set operations and brackets, sets units apart.

Linear but for the depth of brackets, which is bounded. Decides nothing about equality.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from reasoning_rl_rewards.math_answer.answers import (
    Congruence,
    Group,
    Labelled,
    Matrix,
    Quantity,
    Ratio,
    Relation,
    SetOperation,
    Value,
    Verbatim,
    Words,
)
from reasoning_rl_rewards.math_answer.chains import (
    are_sets,
    is_constant,
    last_of_chain,
    refuse_wrong_rounding,
    without_formulas,
)
from reasoning_rl_rewards.math_answer.conditions import (
    COMPARISONS,
    by_label,
    excludes,
    is_condition,
    is_domain,
    is_inequality,
    systems,
)
from reasoning_rl_rewards.math_answer.errors import RefusedError, TooCostlyError, UndefinedError, UnreadableError
from reasoning_rl_rewards.math_answer.labels import is_label, label_text
from reasoning_rl_rewards.math_answer.matrices import MATRICES, read_combination
from reasoning_rl_rewards.math_answer.notations import read_numeral, read_ratio
from reasoning_rl_rewards.math_answer.quantities import read_quantity
from reasoning_rl_rewards.math_answer.realsets import half_line, variable
from reasoning_rl_rewards.math_answer.remarks import forms
from reasoning_rl_rewards.math_answer.splitting import matching, split, with_condition, without_dollars, without_tail
from reasoning_rl_rewards.math_answer.tokens import Token, spell, tokenize
from reasoning_rl_rewards.math_answer.words import is_wordy, plain_words, strip_prose

_SET_OPERATIONS = {"\\cup": "cup", "\\cap": "cap", "\\setminus": "setminus"}
_LISTS = frozenset(("begin:cases", "begin:aligned", "begin:align", "begin:gathered", "begin:split", "begin:dcases"))
_DECIMAL_COMMA = re.compile(r"^([^\d(\[{,]*\d+),(\d+)([^\d)\]},]*(?:\\(?:text|mathrm)\s*\{[^{}\d]*\}[^\d)\]},]*)?)$")
_POINTS_AND_COMMA = re.compile(r"^([^\d(\[{,]*\d{1,3}(?:\.\d{3})+),(\d+)([^\d)\]},]*)$")
_GROUPS_OF_THREE = re.compile(r"\d{1,3}(,\d{3})+(?!\d)")
#: The name of a point: `A(1, 2)`.
_POINT = re.compile(r"[A-Z]'?(?:_\{?\d\}?)?\s*(?=(?:\\left\s*)?\()")
_FRENCH = re.compile(r"(?:\\left)?\s*([\[\]])([^\[\]()]*?)(?:\\right)?\s*([\[\]])")
_PROSE = frozenset(("text", "word", "letters", "sym", "num", "sep"))
_MAX_ITEMS = 40


def read(text: str) -> list[Value]:
    """The readings of a normalised answer, the likeliest first. Several forms of it must be equal.

    Raises:
        UnreadableError: it has none. RefusedError: its forms differ.
    """
    found = [_readings(form) for form in forms(text)]
    readable = [readings[0] for readings in found if not isinstance(readings[0], Verbatim)]
    if len(readable) > 1:
        last_of_chain(readable)
    return [reading for readings in found for reading in readings]


def _readings(text: str) -> list[Value]:
    """The readings of one form: `1,234` is a number or a list, `1,5` a list or 1.5."""
    if french := _FRENCH.fullmatch(text):
        text = f"{'[' if french[1] == '[' else '('}{french[2]}{']' if french[3] == ']' else ')'}"
    makers = [lambda: read_tokens(tokenize(text))]
    if "," in text and _GROUPS_OF_THREE.search(text):
        makers.append(lambda: read_tokens(tokenize(text, thousands=False)))
    elif "," in text and (decimal := _DECIMAL_COMMA.match(text)):
        pointed = f"{decimal[1]}.{decimal[2]}{decimal[3]}"
        makers.append(lambda: read_tokens(tokenize(pointed)))
    elif "," in text and (both := _POINTS_AND_COMMA.match(text)):
        plain = f"{both[1].replace('.', '')}.{both[2]}{both[3]}"
        makers.append(lambda: read_tokens(tokenize(plain)))
    if "," in text and (point := _POINT.match(text)):
        coordinates = text[point.end() :]
        makers.append(lambda: read_tokens(tokenize(coordinates)))
    readings: list[Value] = []
    problem: UnreadableError | UndefinedError | None = None
    for make in makers:
        try:
            readings.append(make())
        except (TooCostlyError, RefusedError):
            raise
        except (UnreadableError, UndefinedError) as error:
            problem = problem or error
    if readings and "approx" in text and (tail := _rounded_tail(tokenize(text))):
        readings.append(tail)
    if not readings:
        raise UnreadableError(str(problem))
    return readings


def _rounded_tail(tokens: Sequence[Token]) -> Value | None:
    """The decimal after the last sign of approximation; that it fits the exact value has been checked."""
    sides, signs = split(without_dollars(tokens), lambda token: token.text == "approx")
    if len(sides) != 2 or not signs:
        return None
    try:
        return _set(sides[1])
    except UnreadableError:
        return None


def read_tokens(tokens: Sequence[Token]) -> Value:
    """One answer."""
    tokens = without_dollars(tokens)
    tokens = without_tail(tokens)
    if not tokens:
        raise UnreadableError("nothing to read")
    if tokens[0].text == "\\$" and len(tokens) == 1:
        raise UnreadableError("a sign alone")
    if is_wordy(tokens):
        return Words(plain_words(tokens))
    tokens = with_condition(strip_prose(tokens))
    try:
        return _list(tokens)
    except (TooCostlyError, RefusedError):
        raise
    except UnreadableError:
        if all(token.kind in _PROSE for token in tokens) and any(token.kind in ("text", "word") for token in tokens):
            return Words(plain_words(tokens))
        if any(token.kind in ("num", "sym", "letters", "text", "word") for token in tokens):
            return Verbatim(spell(tokens))
        raise


def _list(tokens: Sequence[Token]) -> Value:
    """Items between separators: rows and semicolons bind more loosely than commas."""
    parts, separators = split(tokens, lambda token: token.text in (";", "\\\\"))
    if not separators:
        parts, separators = systems(tokens)
    if not separators:
        parts, separators = split(tokens, lambda token: token.text in (",", "and", "or", "&"))
    parts = [part for part in parts if part]
    if len(parts) > _MAX_ITEMS:
        raise UnreadableError("more than 40 items")
    if not separators:
        return _relation(tokens)
    if any(separator.text == "&" for separator in separators) or not parts:
        raise UnreadableError("a table without its frame")
    if len(parts) == 1:
        return _list(parts[0]) if len(parts[0]) < len(tokens) else _relation(parts[0])
    kept = [part for part in parts if not is_domain(part)]
    if kept and len(kept) < len(parts):
        parts = kept
        if len(parts) == 1:
            return _list(parts[0])
    words = {separator.text for separator in separators}
    items: list[Value] = [_list(part) for part in parts]
    names = {name for item in items if (name := variable(item)) and not name.startswith("(")}
    if len(names) == 1 and any(map(is_inequality, items)) and all(map(is_condition, items)):
        if "or" in words:
            return SetOperation("cup", tuple(items))
        if "and" in words or excludes(items):
            return SetOperation("cap", tuple(items))
    items = by_label(items)
    first, *rest = items
    if isinstance(first, Labelled) and not any(isinstance(item, (Labelled, Relation)) for item in rest):
        return Labelled(first.label, Group("", "", (first.value, *rest)))
    return Group("", "", tuple(items))


def _relation(tokens: Sequence[Token]) -> Value:
    """`a = b`, `a < b < c`, `x \\in S`, chains of equal values."""
    sides, signs = split(tokens, lambda token: token.kind == "rel")
    if not signs:
        return _set(tokens)
    if len(signs) > 1 or signs[0].text in COMPARISONS:
        parts, found = split(tokens, lambda token: token.text in ("\\cup", "\\cap"))
        if found and all(any(token.kind == "rel" for token in part) for part in parts):
            return SetOperation(_SET_OPERATIONS[found[0].text], tuple(_relation(part) for part in parts))
    operators = [sign.text for sign in signs]
    if operators == ["approx"] and not sides[0]:
        return _set(sides[1])
    if operators == ["in"] and is_label(sides[0]):
        return Labelled(label_text(sides[0]), _set(sides[1]))
    if operators == ["equiv"]:
        return _congruence(sides[0], sides[1])
    if set(operators) == {"="}:
        return _equation(sides)
    if set(operators) <= {"=", "approx"}:
        return _approximation(sides, operators)
    if set(operators) <= COMPARISONS and all(sides):
        return Relation(tuple(operators), tuple(_set(side) for side in sides))
    raise UnreadableError(f"the relation {' '.join(operators)}")


def _equation(sides: list[Sequence[Token]]) -> Value:
    if not all(sides):
        raise UnreadableError("an equation without one of its sides")
    if is_label(sides[0]):
        names = [side for side in sides[:-1] if len(side) == 1 and is_label(side)]
        if len(names) == len(sides) - 1 > 1:
            return Group("", "", tuple(Labelled(label_text(name), _set(sides[-1])) for name in names))
        return Labelled(label_text(sides[0]), last_of_chain(without_formulas([_set(side) for side in sides[1:]])))
    if len(sides) == 2 and is_label(sides[1]):
        return Labelled(label_text(sides[1]), _set(sides[0]))
    values = [_set(side) for side in sides]
    if len(values) == 2 and not (is_constant(values[0]) and is_constant(values[1])) and not are_sets(values):
        return Relation(("=",), tuple(values))
    return last_of_chain(values)


def _approximation(sides: list[Sequence[Token]], operators: list[str]) -> Value:
    r"""`\sqrt 2 \approx 1.41`: the exact value, if the decimal is that value rounded."""
    at = operators.index("approx")
    if not all(sides) or operators.count("approx") > 1 or at != len(operators) - 1:
        raise RefusedError("a chain of approximations")
    tail = _set(sides[-1])
    if len(sides) == 2 and is_label(sides[0]):
        return Labelled(label_text(sides[0]), tail)
    head = _equation(sides[:-1]) if len(sides) > 2 else _set(sides[0])
    refuse_wrong_rounding(head.value if isinstance(head, Labelled) else head, tail)
    return head


def _congruence(left: Sequence[Token], right: Sequence[Token]) -> Value:
    position = next((at for at, token in enumerate(right) if token.text in ("\\pmod", "\\mod")), -1)
    if position < 1:
        raise UnreadableError("a congruence without modulus")
    before = right[:position]
    if before[-1].text == "(" and right[-1].text == ")":
        before, right = before[:-1], right[:-1]
    return Congruence(_set(left) if left else Words(""), _set(before), _set(without_tail(right[position + 1 :])))


def _set(tokens: Sequence[Token]) -> Value:
    """Set operations, brackets, ratios, times; all else is a quantity."""
    tokens = without_tail(tokens)
    if not tokens:
        raise UnreadableError("nothing to read")
    for operators in (("\\setminus",), ("\\cup",), ("\\cap",)):
        parts, found = split(tokens, lambda token, wanted=operators: token.text in wanted)
        if found:
            if not all(parts) or len(parts) > _MAX_ITEMS:
                raise UnreadableError("a set operation without one of its sets")
            return SetOperation(_SET_OPERATIONS[found[0].text], tuple(_set(part) for part in parts))
    if tokens[0].text == "(" and len(tokens) > 3 and (column := _transposed(tokens)) is not None:
        return column
    if any(token.text == "\\pmod" for token in tokens):
        return _congruence([], tokens)
    if tokens[0].kind == "open" and matching(tokens, 0) == len(tokens) - 1:
        bracketed = _bracketed(tokens)
        if bracketed is not None:
            return bracketed
    if any(token.text in MATRICES for token in tokens) and (matrix := read_combination(tokens, _bracketed)):
        return matrix
    if len(tokens) == 1 and tokens[0].text == "\\emptyset":
        return Group("{", "}", ())
    if [token.text for token in tokens[:3]] == ["\\mathbb R", "-", "\\{"]:
        return SetOperation("setminus", (_set(tokens[:1]), _set(tokens[2:])))
    if tokens[0].text == "\\mathbb R" and (half := half_line(spell(tokens[1:]))):
        return half
    if numeral := read_numeral(tokens):
        return numeral
    parts, found = split(tokens, lambda token: token.text == ":")
    if found:
        return read_ratio(tokens, parts)
    if is_wordy(tokens):
        return Words(plain_words(tokens))
    parts, found = split(tokens, lambda token: token.kind in ("text", "word", "letters") and token.text == "to")
    if len(found) == 1 and all(parts):
        return Ratio(tuple(read_quantity(part) for part in parts))
    return read_quantity(tokens)


def _transposed(tokens: Sequence[Token]) -> Value | None:
    """`(1, 2)^T`: the tuple."""
    end = matching(tokens, 0)
    tail = [token.text for token in tokens[end + 1 :] if token.text not in "{}"]
    return _bracketed(tokens[: end + 1]) if tail == ["^", "T"] else None


def _bracketed(tokens: Sequence[Token]) -> Value | None:
    """What stands in brackets from the first token to the last; `None` for brackets that only group."""
    opened, closed = tokens[0].text, tokens[-1].text
    inside = tokens[1:-1]
    is_system = any(token.kind == "rel" for token in inside)
    if opened in MATRICES and not is_system:
        return _matrix(inside)
    if opened in _LISTS or opened in MATRICES:
        return _list([token for token in inside if token.text != "&"])
    if opened == "\\{" and closed == "\\}":
        for sign in ("mid", "|", ":"):
            parts, found = split(inside, lambda token, wanted=sign: token.text == wanted)
            if len(found) == 1 and all(parts) and is_label(_member(parts[0])):
                return SetOperation("builder", (_list(parts[1]),))
        return _items("{", "}", inside)
    if opened == "<|" and closed == "|>":
        return _items("(", ")", inside)
    if opened not in ("(", "[") or closed not in (")", "]"):
        return None
    parts, found = split(inside, lambda token: token.text in (",", ";"))
    if found:
        return _items(opened, closed, inside)
    if opened == "[" and inside and inside[0].text == "[" and closed == "]":
        return _items(opened, closed, inside)
    value = _list(inside) if inside else None
    if value is None:
        raise UnreadableError("empty brackets")
    return value if opened + closed in ("()", "[]") and not isinstance(value, Quantity) else None


def _member(tokens: Sequence[Token]) -> Sequence[Token]:
    """The letter of a set builder, without the set that it is from."""
    return split(tokens, lambda token: token.text == "in")[0][0] if is_domain(tokens) else tokens


def _items(opened: str, closed: str, inside: Sequence[Token]) -> Value:
    rows = [split(inside, lambda token: token.text == ";")[0], split(inside, lambda token: token.text == ",")[0]]
    parts = rows[0] if len(rows[0]) > 1 and len(rows[1]) == 1 else rows[1]
    if not inside:
        return Group(opened, closed, ())
    if len(parts) > _MAX_ITEMS or not all(parts):
        raise UnreadableError("an empty item, or more than 40 of them")
    items = []
    for part in parts:
        words, _ = split(part, lambda token: token.text in ("and", "or"))
        items += [_relation(word) for word in words if word]
    return Group(opened, closed, tuple(items))


def _matrix(tokens: Sequence[Token]) -> Value:
    rows = [row for row in split(tokens, lambda token: token.text == "\\\\")[0] if row]
    cells = [split(row, lambda token: token.text == "&")[0] for row in rows]
    if not cells or len({len(row) for row in cells}) != 1 or len(cells) * len(cells[0]) > 100:
        raise UnreadableError("a matrix with rows of different lengths, or too large")
    if not all(cell for row in cells for cell in row):
        raise UnreadableError("a matrix with empty entries")
    return Matrix(tuple(tuple(_set(cell) for cell in row) for row in cells))
