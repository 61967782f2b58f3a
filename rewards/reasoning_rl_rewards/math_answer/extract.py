"""Where the answer of a completion stands. Linear time; reads no mathematics and never looks for numbers in prose."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from reasoning_rl.api import ThinkingTags

Extract = Literal["boxed", "marked", "final_text"]
Boxes = Literal["one", "join"]

#: Where a turn ends in the usual chat templates. What a model writes after it is no answer of its own.
_END_OF_TURN = ("<|im_end|>", "<|im_start|>", "<|endoftext|>", "<|eot_id|>", "<end_of_turn>", "<start_of_turn>")
_BOX = re.compile(r"\\(?:boxed|fbox)[ \t]*\{|<\|begin_of_box\|>")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_TOKEN_BOX_END = "<|end_of_box|>"
_MARK = re.compile(r"\banswer\b[ \t*]{0,9}(?:is\b|:|=)[ \t*]{0,9}:?", re.IGNORECASE)
_JOINT = re.compile(r"[\s,;&$.*()\[\]\\]*(?:(?:\\text\s*\{\s*)?\b(?:and|or)\b\s*\}?)?[\s,;&$*()\[\]\\]*", re.IGNORECASE)
_QUAD = re.compile(r"\\q?quad\b|\\[,;:! ]")
_TAGS = ThinkingTags()
#: Boxes beyond this are not read: nobody who answers a question needs them.
_MAX_BOXES = 64


@dataclass(frozen=True, slots=True)
class Found:
    """The candidates in order, and the text between each and the next."""

    answers: tuple[str, ...]
    between: tuple[str, ...] = ()
    fault: str = ""


def find_answers(final_text: str, had_thinking: bool, how: Extract, tags: ThinkingTags = _TAGS) -> Found:
    """Every candidate for the answer in what follows the thinking; none and a fault when there is no answer.

    `tags` are those of the thinking, and `had_thinking` says that a thinking block was split off before: a further closing tag is then a fault, while without
    it (the chat template may have opened the block) the answer follows the tag.
    """
    text = own_turn(final_text)
    if tags.open in text:
        return Found((), fault="a thinking block that is not the first, or not closed")
    if tags.close in text:
        if had_thinking or text.count(tags.close) > 1:
            return Found((), fault="more than one end of thinking")
        text = text.partition(tags.close)[2]
    if how == "final_text":
        text = text.strip()
        return Found((text,)) if text else Found((), fault="no text after the thinking")
    found = boxes(text)
    if found.answers or how == "boxed":
        return found
    return _marked(text)


def own_turn(text: str) -> str:
    """The text up to the first end-of-turn marker."""
    return text[: min((at for at in map(text.find, _END_OF_TURN) if at >= 0), default=len(text))]


def boxes(text: str) -> Found:
    r"""The contents of every closed, outermost `\boxed{…}`; empty ones are left out."""
    contents: list[str] = []
    between: list[str] = []
    opened = _BOX.search(text)
    position = 0
    while opened:
        start = opened.end()
        end = _token_box_end(text, start) if opened[0].startswith("<") else _closing_brace(text, start)
        if end < 0:
            break
        content = text[start:end].strip()
        if content:
            between += [text[position : opened.start()]] if contents else []
            contents.append(content)
            position = end + (len(_TOKEN_BOX_END) if opened[0].startswith("<") else 1)
            if len(contents) > _MAX_BOXES:
                return Found((), fault=f"more than {_MAX_BOXES} boxes")
        opened = _BOX.search(text, end)
    return Found(tuple(contents), tuple(between), "" if contents else "no closed box with content")


def join_boxes(found: Found) -> str | None:
    """The list of all boxes when nothing but commas, `and` or `or` stands between them."""
    if all(_JOINT.fullmatch(_QUAD.sub(" ", text)) for text in found.between):
        return ", ".join(found.answers)
    return None


def _closing_brace(text: str, start: int) -> int:
    depth = 1
    for match in _BRACE.finditer(text, start):
        if match[0] == "{":
            depth += 1
        elif match[0] == "}":
            depth -= 1
            if not depth:
                return match.start()
    return -1


def _token_box_end(text: str, start: int) -> int:
    return text.find(_TOKEN_BOX_END, start)


def _marked(text: str) -> Found:
    """What follows every "answer is" or "Answer:" up to the end of its line."""
    lines = []
    for mark in islice(_MARK.finditer(text), _MAX_BOXES):
        start = mark.end()
        while start < len(text) and text[start].isspace():
            start += 1
        end = text.find("\n", start)
        line = text[start : end if end >= 0 else len(text)].strip(" \t*.")
        lines += [line] if line else []
    return Found(tuple(lines), fault="" if lines else "no box and no text after 'answer is' or 'Answer:'")
