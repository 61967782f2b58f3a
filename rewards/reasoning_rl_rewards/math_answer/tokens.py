"""Normalised text to tokens: numerals, letters, words, commands, brackets, relations. One pass, linear.

Aliases become one spelling and layout disappears here, so that equal token lists mean equal answers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from reasoning_rl_rewards.math_answer.commands import (
    ACCENTS,
    CLOSING,
    COMMAND_ALIASES,
    FUNCTION_ALIASES,
    FUNCTIONS,
    GREEK,
    GREEK_ALIASES,
    LAYOUT,
    LETTER_COMMANDS,
    OPENING,
    OTHER_COMMANDS,
    RELATIONS,
    SHORT_WORDS,
    SKIPPED_ARGUMENT,
    SPACE_COMMANDS,
    TEXT_COMMANDS,
    WORDS,
)
from reasoning_rl_rewards.math_answer.errors import TooCostlyError, UnreadableError
from reasoning_rl_rewards.math_answer.numerals import Written, plain, repeating, scientific

Kind = Literal["num", "sym", "letters", "word", "text", "cmd", "op", "open", "close", "rel", "sep"]

MAX_TOKENS = 600
MAX_DEPTH = 30
_MAX_STYLES = 6
#: A line that ends with one of these, before one that starts with one of those, is an item of a list.
_ENDS = frozenset(("num", "sym", "letters", "word", "text", "close"))
_STARTS = frozenset(("num", "sym", "letters", "word", "text", "open", "cmd"))


@dataclass(frozen=True, slots=True)
class Token:
    """`text` is the canonical spelling. Of a numeral, `value` is exact and `places` counts its decimals, -1 if none are
    finite. `spaced`: blanks stand before it."""

    kind: Kind
    text: str
    value: Fraction | None = None
    places: int = 0
    spaced: bool = False


_LEXER = re.compile(
    r"""(?P<blank>\s+|~)
      | (?P<repeating>\d*\.\d*(?:\\(?:overline|bar|dot)\s*(?:\{\s*\d+\s*\}|\d)|\(\d+\))(?:\d*\\dot\s*(?:\{\d\}|\d))?)
      | (?P<thousands>\d{1,3}(?:,\d{3})+(?![\d])(?:\.\d+)?|\d{1,3}(?:\.\d{3}){2,}(?![\d.]))
      | (?P<scientific>(?:\d+(?:\.\d*)?|\.\d+)[eE][-+]?\d+(?![A-Za-z\d.]))
      | (?P<numeral>\d+\.\d+|\.\d+|\d+\.(?![\w\\.])|\d+)
      | (?P<row>\\\\(?:\[[^\]]*\])?)
      | (?P<command>\\(?:[A-Za-z]+|.|\n))
      | (?P<letters>[^\W\d_]+)
      | (?P<pair><=|>=|!=|=<|==|=>|->|:=|\*\*)
      | (?P<single>.)""",
    re.VERBOSE | re.DOTALL,
)
_GROUP = re.compile(r"\s*\{")
_JOINED = re.compile(r"\b(?:and|or)\b")
_ARGUMENTS = re.compile(r"\s*(?:\\left|\\[bB]igl?|\\\{|[({_])")


def tokenize(text: str, *, thousands: bool = True) -> list[Token]:
    """Tokens of a normalised text. With `thousands`, `1,234` outside brackets is one numeral.

    Raises:
        UnreadableError: an unknown command, unbalanced brackets, a stray character.
        TooCostlyError: too many tokens, too deep, a numeral too long.
    """
    lexer = _Lexer(text, thousands)
    lexer.run()
    return lexer.tokens


class _Lexer:
    def __init__(self, text: str, thousands: bool) -> None:
        self.text, self.thousands = text, thousands
        self.tokens: list[Token] = []
        self.depth = 0
        self.level = 0
        self.spaced = False
        self.new_line = False

    def add(self, kind: Kind, text: str, value: Fraction | None = None, places: int = 0) -> None:
        if kind == "open":
            self.depth += 1
            if self.depth > MAX_DEPTH:
                raise TooCostlyError("nested too deeply")
        elif kind == "close":
            self.depth -= 1
            if self.depth < 0:
                raise UnreadableError("a bracket closes that was not opened")
        if self.new_line and self.tokens[-1].kind in _ENDS and kind in _STARTS:
            self.tokens.append(Token("sep", "\\\\"))
        self.tokens.append(Token(kind, text, value, places, self.spaced))
        self.spaced = self.new_line = False
        if len(self.tokens) > MAX_TOKENS:
            raise TooCostlyError("too many symbols")

    def numeral(self, found: Written) -> None:
        self.add("num", *found)

    def run(self) -> None:
        position, text = 0, self.text
        while position < len(text):
            match = _LEXER.match(text, position)
            assert match
            kind, found = match.lastgroup, match[0]
            position = match.end()
            if kind == "blank":
                self.spaced = True
                self.new_line = "\n" in found and not self.depth and bool(self.tokens)
            elif kind == "numeral":
                self.numeral(plain(found))
            elif kind == "letters":
                if found == "min" and not _ARGUMENTS.match(text, position):
                    self.add("letters", found)  # minutes
                else:
                    self.letters(found)
            elif kind == "command":
                position = self.command(found, position)
            elif kind == "single":
                self.single(found)
            elif kind == "pair":
                self.add("op", "^") if found == "**" else self.add("rel", RELATIONS[found])
            elif kind == "row":
                self.add("sep", "\\\\")
            elif kind == "thousands":
                if found.count(".") < 2 and (not self.thousands or self.depth):
                    first = re.match(r"\d+", found)
                    assert first
                    position = match.start() + first.end()
                    self.numeral(plain(first[0]))
                else:
                    self.numeral(plain(found.replace(",", "") if found.count(".") < 2 else found.replace(".", "")))
            elif kind == "scientific":
                self.numeral(scientific(found))
            else:
                self.numeral(repeating(found))
        if self.depth:
            raise UnreadableError("a bracket is not closed")

    def letters(self, run: str) -> None:
        if run in WORDS:
            self.add("cmd", WORDS[run])
        elif run in FUNCTIONS or run in FUNCTION_ALIASES:
            self.add("cmd", "\\" + FUNCTION_ALIASES.get(run, run))
        elif run in GREEK:
            self.add("sym", "\\" + run)
        elif run.lower() in ("and", "or"):
            self.add("sep", run.lower())
        elif len(run) == 1 and run.isascii():
            self.add("sym", run)
        elif len(run) <= 3 and run.isascii() and run.lower() not in SHORT_WORDS:
            self.add("letters", run)
        else:
            self.add("word", run)

    def single(self, character: str) -> None:
        if character in OPENING:
            self.add("open", OPENING[character])
        elif character in CLOSING:
            self.add("close", CLOSING[character])
        elif character in RELATIONS:
            self.add("rel", RELATIONS[character])
        elif character in "+-*/^_!|':%":
            self.add("op", "\\%" if character == "%" else character)
        elif character in ",;":
            self.add("sep", character)
        elif character == "&":
            self.add("sep", "&")
        elif character == "$":
            self.add("op", "$")
        elif character in '."?`':
            self.add("word", character)
        else:
            raise UnreadableError(f"the character {character!r}")

    def command(self, found: str, position: int) -> int:
        name = found[1:]
        if found in SPACE_COMMANDS:
            self.spaced = True
            return position
        if name in SKIPPED_ARGUMENT:
            self.spaced = self.spaced or name not in ("color", "textcolor")
            return _closing(self.text, position)[1]
        if name in LAYOUT:
            if name in ("left", "right", "middle") and self.text.startswith(".", position):
                position += 1
            return position
        if name in ("begin", "end"):
            return self.environment(name, position)
        if name == "mathbb":
            inside, position = _closing(self.text, position)
            self.add("sym", f"\\mathbb {inside.strip()}")
            return position
        if name in TEXT_COMMANDS or name in LETTER_COMMANDS:
            return self.styled(name, position)
        self.spelled(found)
        return position

    def spelled(self, found: str) -> None:
        found = COMMAND_ALIASES.get(found, found)
        name = found.removeprefix("\\")
        if found in RELATIONS:
            self.add("op", "|") if found == "\\vert" else self.add("rel", RELATIONS[found])
        elif found in OPENING:
            self.add("open", OPENING[found])
        elif found in CLOSING:
            self.add("close", CLOSING[found])
        elif found in ("and", "or"):
            self.add("sep", found)
        elif found in ("*", "/", "|", "'", ":", "\\%", "\\$"):
            self.add("op", found)
        elif len(found) == 1:
            self.add("sym", found)
        elif name in GREEK or name in GREEK_ALIASES:
            self.add("sym", "\\" + GREEK_ALIASES.get(name, name))
        elif name in FUNCTIONS or name in FUNCTION_ALIASES:
            self.add("cmd", "\\" + FUNCTION_ALIASES.get(name, name))
        elif name in OTHER_COMMANDS:
            self.add("cmd", found)
        elif name in "#_&":
            self.add("word", name)
        else:
            raise UnreadableError(f"the command {found}")

    def environment(self, name: str, position: int) -> int:
        inside, position = _closing(self.text, position)
        self.add("open" if name == "begin" else "close", f"{name}:{inside.strip().rstrip('*')}")
        if name == "begin" and inside.strip() == "array" and _GROUP.match(self.text, position):
            position = _closing(self.text, position)[1]
        return position

    def styled(self, name: str, position: int) -> int:
        r"""`\text{…}` and its like: words stay words; what is mathematics inside is read as such."""
        inside, end = _closing(self.text, position)
        content = inside.strip()
        if content in ("$", "\\$"):
            self.add("op", "\\$")
            return end
        content = content.strip("$").strip()
        if name in ACCENTS and len(content) == 1:
            self.add("sym", f"{content}{'' if name in ('vec', 'overrightarrow') else '~' + name}")
        elif name in ACCENTS and content.isalpha():
            self.add("text", content)
        elif not content:
            self.spaced = True
        elif content.lower() in ("and", "or", "or:", "and:"):
            self.add("sep", content.lower().rstrip(":"))
        elif (
            len(content) > 1
            and _is_prose(content)
            and (
                (content == "min" and name in TEXT_COMMANDS)
                or (content not in FUNCTIONS and content not in FUNCTION_ALIASES)
            )
        ):
            self.add("text", " ".join(content.replace("\\", " ").split()))
        else:
            self.spaced = self.spaced or inside[:1].isspace()
            nested = _Lexer(content, self.thousands)
            nested.level = self.level + 1
            if nested.level > _MAX_STYLES:
                raise TooCostlyError("nested too deeply")
            nested.spaced = self.spaced
            nested.run()
            self.tokens += nested.tokens
            if len(self.tokens) > MAX_TOKENS:
                raise TooCostlyError("too many symbols")
            self.spaced = inside[-1:].isspace()
        return end


def _is_prose(content: str) -> bool:
    """Whether the content of a text command is words rather than mathematics: letters and punctuation only."""
    if any(character.isdigit() or character in "^_=<>+*{}$|" for character in content) or _JOINED.search(content):
        return False
    return not any(character in "\\/:()" for character in content) or bool(
        re.search(r"[^\W\d_]{4,}", content) and "\\" not in content.replace("\\ ", " ")
    )


def _closing(text: str, position: int) -> tuple[str, int]:
    """The argument after a command, in braces or one character, and where it ends."""
    opened = _GROUP.match(text, position)
    if not opened:
        rest = text[position:].lstrip()
        start = len(text) - len(rest)
        if not rest:
            raise UnreadableError("a command without its argument")
        match = re.match(r"\\[A-Za-z]+|.", rest, re.DOTALL)
        assert match
        return match[0], start + match.end()
    depth, index = 1, opened.end()
    while index < len(text):
        character = text[index]
        if character == "\\":
            index += 1
        elif character == "{":
            depth += 1
        elif character == "}":
            depth -= 1
            if not depth:
                return text[opened.end() : index], index + 1
        index += 1
    raise UnreadableError("a brace is not closed")


def spell(tokens: Sequence[Token]) -> str:
    """One spelling of equal token lists."""
    return " ".join(token.text for token in tokens)
