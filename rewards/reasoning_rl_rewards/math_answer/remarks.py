"""What stands beside a value and says no other: `(i.e., all of them)`, `, or equivalently 252`, `is the only value`."""

from __future__ import annotations

import re

_REMARK = re.compile(
    r"\s*(?:\\text\s*\{\s*)?\((?:i\.e\.|e\.g\.|that is\b|no such\b|none of\b|all of\b)[^()]*(?:\([^()]*\)[^()]*){0,4}\)\s*\}?\s*\.?$"
)
_ONLY = re.compile(
    r"(?<=\S)\s*(?:\\text\s*\{)?\s*\bis the (?:only )?(?:possible )?(?:answer|value|solution)s?\s*\.?\s*\}?\s*\.?$"
)
_EQUIVALENT = re.compile(
    r"\s*(?:,|\\text\s*\{\s*,?|\(\s*\\text\s*\{)\s*or,? (?:equivalently|an equivalent form such as),?\s*\}?\s*"
)
_APPROXIMATE = re.compile(r"\s*(?:,|\\text\s*\{\s*,?)\s*or (?:approximately|about)\b.*$", re.DOTALL)
#: What an equation holds for, when that restricts nothing: "for all real x", "where c is a constant".
_HOLDS_FOR = re.compile(
    r"(?<=[\w)}])(?:\s|,|~|\\[,;: ]|\\q?quad|\()*(?:\\(?:text|textrm|mbox|mathrm)\s*\{\s*,?\s*\(?)?"
    r"(?:for (?:all|any|every|each|some)|where|with|\\forall)(?![A-Za-z])[^<>=]{1,80}$"
)
_RESTRICTS = re.compile(
    r"\b(?:not|except|odd|even|prime|negative|nonzero|or|and)\b|\\(?:ne|neq|le|ge|leq|geq|lt|gt|notin|setminus)\b"
)
_MAX_FORMS = 4


def forms(text: str) -> list[str]:
    """The forms of one value that a text gives, remarks left out: at least one, the first one first."""
    if "i.e." in text or "(" in text:
        text = _REMARK.sub("", text) or text
    if " is the " in text:
        text = _ONLY.sub("", text)
    if "=" in text and (tail := _HOLDS_FOR.search(text)) and not _RESTRICTS.search(tail[0]):
        text = text[: tail.start()]
    if " or" not in text and "{or" not in text:
        return [text]
    text = _APPROXIMATE.sub("", text) or text
    found = [part for part in _EQUIVALENT.split(text) if part.strip()]
    return found if 0 < len(found) <= _MAX_FORMS else [text]
