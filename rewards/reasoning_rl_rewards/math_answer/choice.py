"""Option letters: a gold answer that is one letter from A to J, and the letter that an answer chooses."""

from __future__ import annotations

import re

_STYLE = re.compile(r"\\(?:text|textbf|textrm|textit|mathrm|mathbf|mbox|boxed|bf|rm)\b\s*")
_GOLD = re.compile(r"\(?\s*([A-J])\s*\)?\s*\.?")
_CHOSEN = re.compile(
    r"(?:option\s+|choice\s+|answer\s*:?\s*)?(?:\(\s*([A-J])\s*\)|([A-J])(?=[.):,]|$))\s*[.):,]?\s*(.*)",
    re.IGNORECASE | re.DOTALL,
)
_OTHER = re.compile(r"(?:\b(?:or|and|not)\b|[,/;&])\s*\(?[A-J]\)?(?![A-Za-z])", re.IGNORECASE)
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


def _plain(text: str) -> str:
    return _STYLE.sub("", text).replace("{", "").replace("}", "").replace("$", "").replace("\\", " ").strip()
