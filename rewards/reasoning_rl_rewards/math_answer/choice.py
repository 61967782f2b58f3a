"""Option letters: a gold answer that is one letter from A to J, and the letter that an answer chooses."""

from __future__ import annotations

import re

_STYLE = re.compile(
    r"\\(?:text|textbf|textrm|textit|textsf|textsc|mathrm|mathbf|mathsf|boldsymbol|bm|mbox|boxed|fbox|bf|rm)\b\s*"
)
_GOLD = re.compile(r"\(?\s*([A-J])\s*\)?\s*\.?")
_CHOSEN = re.compile(
    r"(?:(?:the\s+)?(?:correct\s+|final\s+)?(?:option|choice|answer)(?:\s+is\b)?\s*:?\s*)?(?:\(\s*([A-J])\s*\)|([A-J])(?=[.):,]|$))\s*[.):,]?\s*(.*)",
    re.IGNORECASE | re.DOTALL,
)
_OTHER = re.compile(r"(?:\b(?:or|and|not)\b|[,/;&])\s*\(?[A-J]\)?(?![A-Za-z])", re.IGNORECASE)
_BETWEEN = re.compile(r"\band\b|[,;&().]")
_MAX_CHARS = 200


def gold_letter(text: str) -> str | None:
    """The letter when the gold answer is one, with or without brackets; `None` for everything else."""
    match = _GOLD.fullmatch(_plain(text)) if len(text) < 40 else None
    return match[1] if match else None


def chosen_letter(text: str) -> str | None:
    """The one letter that `(B)`, `B.`, `B) 12` or `B: Paris` chooses; `None` where there is none or a second one."""
    if len(text) > _MAX_CHARS:
        return None
    match = _CHOSEN.fullmatch(_plain(text))
    if not match or _OTHER.search(match[3]) or (match[3] and re.match(r"\s*[A-Ja-j]\b", match[3])):
        return None
    return (match[1] or match[2]).upper()


def several_letters(text: str) -> str | None:
    """The letters, in order, when a text is a choice of several: `ACD`, `A, C and D`, `(A), (C)`; `None` for all else."""
    if len(text) > _MAX_CHARS:
        return None
    letters = "".join(_BETWEEN.sub(" ", _plain(text)).split())
    is_choice = len(letters) > 1 and letters == "".join(sorted(set(letters) & set("ABCDEFGHIJ")))
    return letters if is_choice else None


def _plain(text: str) -> str:
    return _STYLE.sub("", text).replace("{", "").replace("}", "").replace("$", "").replace("\\", " ").strip()
