"""Answers in words: when a text is one, what counts of it, prose before a value."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from reasoning_rl_rewards.math_answer.errors import RefusedError
from reasoning_rl_rewards.math_answer.tokens import Token

NEGATIONS = frozenset([
    "not", "no", "never", "isn't", "isn", "wrong", "incorrect", "false", "cannot", "can't", "doesn't",
    "neither", "except", "unknown"
])  # fmt: skip
_ARTICLES = frozenset(["a", "an", "the"])
_SHORT = frozenset([
    "yes", "no", "odd", "all", "dne", "one", "two", "six", "ten", "sun", "mon", "tue", "wed", "thu", "fri",
    "sat", "red", "men", "boy", "win", "tie"
])  # fmt: skip
_LINKS = frozenset([
    "is", "are", "be", "was", "were", "equals", "equal", "equal to", "has", "have", "had", "costs", "cost", "takes",
    "took", "needs", "needed", "makes", "made", "earns", "earned", "gets", "got", "spends", "spent", "pays", "paid"
])  # fmt: skip
_SAME = {
    "does not exist": "dne", "doesn't exist": "dne", "doesnt exist": "dne", "no solutions": "no solution",
    "none": "no solution", "no real solutions": "no real solution", "no real roots": "no real root",
    "all real number": "all real numbers", "all reals": "all real numbers", "infinitely many solutions": "infinitely many",
}  # fmt: skip
_TENS = {name: 10 * number for number, name in enumerate(
    ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], start=2)}  # fmt: skip
_PARTS = {
    "half": 2,
    "halve": 2,
    "third": 3,
    "quarter": 4,
    "fourth": 4,
    "fifth": 5,
    "sixth": 6,
    "eighth": 8,
    "tenth": 10,
}
_NUMBERS = {name: number for number, name in enumerate(
    ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"]
)}  # fmt: skip


def is_wordy(tokens: Sequence[Token]) -> bool:
    """Whether the tokens are words and nothing else; letters side by side without a word are mathematics."""
    has_word = False
    for token in tokens:
        if token.kind in ("text", "word"):
            has_word = has_word or any(character.isalpha() for character in token.text)
        elif token.kind == "letters":
            has_word = has_word or (len(tokens) == 1 and token.text.lower() in _SHORT)
        elif token.kind not in ("sym", "sep") and token.text not in ("'", "-", "(", ")", "!"):
            return False
    return has_word and not (len(tokens) == 1 and tokens[0].text == "?")


def plain_words(tokens: Sequence[Token]) -> str:
    """Lower case, single blanks, no articles, no punctuation."""
    text = " ".join(token.text for token in tokens).replace(" ' ", "'").replace("~", " ").casefold()
    words = [word for word in re.findall(r"[^\W_]+(?:'[^\W_]+)?", text) if word not in _ARTICLES]
    joined = " ".join(words)
    return _SAME.get(joined, joined)


def same_names(gold: str, answer: str) -> bool:
    """`Alice and Bob` against `Bob and Alice`: single words joined by "and"."""
    names = [sorted(text.split(" and ")) for text in (gold, answer)]
    return len(names[0]) == 2 and names[0] == names[1] and all(name.isalpha() for name in names[0])


def said_of_it(words: str) -> str | None:
    """`tuesday` of "it is tuesday": what follows the one verb of a short sentence that neither denies nor supposes."""
    subject, verb, rest = words.partition(" is ")
    before = subject.split()
    if not verb or " is " in rest or len(before) > 4 or set(words.split()) & (NEGATIONS | {"if", "whether", "or"}):
        return None
    return rest


def number_word(words: str) -> Fraction | None:
    """The number that words name: from zero to ninety-nine, a hundred, a thousand, simple fractions of up to twenty parts."""
    first, _, last = words.partition(" ")
    if words in ("hundred", "one hundred", "thousand", "one thousand"):
        return Fraction(100 if "hundred" in words else 1000)
    if part := _PARTS.get(last.removesuffix("s") or first.removesuffix("s")):
        count = _NUMBERS.get(first) if last else 1
        return None if count is None else Fraction(count, part)
    if first in _TENS and (not last or 0 < _NUMBERS.get(last, 0) < 10):
        return Fraction(_TENS[first] + _NUMBERS.get(last, 0))
    return None if words not in _NUMBERS else Fraction(_NUMBERS[words])


def strip_prose(tokens: Sequence[Token]) -> Sequence[Token]:
    """The value after prose that ends in a verb or a colon: `The area is 5`, `Area: 5`. Prose that denies what follows is no answer.

    Raises:
        RefusedError: it denies.
    """
    if len(tokens) > 1 and tokens[0].kind == "text" and tokens[0].text.endswith(":"):
        _refuse_denial(tokens[:1])
        return tokens[1:]
    if len(tokens) > 2 and tokens[0].text.lower() in ("all", "for all", "any", "every") and tokens[1].kind == "sym":
        return tokens[1:]
    end = 0
    while end < len(tokens) and (
        tokens[end].kind in ("word", "text", "letters", "sym") or tokens[end].text in ("'", ",", "and")
    ):
        end += 1
    if end > 1 and tokens[end - 1].text == "to" and tokens[end - 2].text == "equal":
        tokens = [*tokens[: end - 2], Token("text", "equal to"), *tokens[end:]]
        end -= 1
    last = next((at for at in range(end - 1, -1, -1) if _last_word(tokens[at]) in _LINKS), -1)
    if last < 0 or end == len(tokens):
        return tokens
    _refuse_denial(tokens[: last + 1])
    rest = tokens[last + 1 :]
    if rest and rest[0].text == ":":
        rest = rest[1:]
    return rest if last or tokens[0].kind == "text" else tokens


def _refuse_denial(tokens: Sequence[Token]) -> None:
    if set(re.split(r"[\s:,]+", " ".join(token.text for token in tokens).casefold())) & NEGATIONS:
        raise RefusedError("prose that denies what follows")


def _last_word(token: Token) -> str:
    words = token.text.casefold().split()
    if not words or token.kind == "sym":
        return ""
    return "equal to" if words[-2:] == ["equal", "to"] else words[-1]
