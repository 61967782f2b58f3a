"""Where a completion says its answer: boxes, answer tags, fenced blocks, the whole final text.

What the built-in rewards share. Knows no gold answer and compares nothing; everything here takes linear time on any text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from reasoning_rl.api import Completion

#: Where the answer stands in the final text. `boxed`: `\boxed{…}`; `answer_tag`: `<answer>…</answer>`; `final_text`: all of it.
Place = Literal["boxed", "answer_tag", "final_text"]

#: Which part of a completion a reward looks at.
Part = Literal["text", "thinking", "final_text"]

_BOX = "\\boxed{"
_TAG_OPEN, _TAG_CLOSE = "<answer>", "</answer>"

#: Where a turn ends in the usual chat templates. What a model writes after it is no answer of its own.
_END_OF_TURN = ("<|im_end|>", "<|im_start|>", "<|endoftext|>", "<|eot_id|>", "<end_of_turn>", "<start_of_turn>")


def own_turn(text: str) -> str:
    """The text up to the first end-of-turn marker."""
    return text[: min((at for at in map(text.find, _END_OF_TURN) if at >= 0), default=len(text))]


def part_of(completion: Completion, part: Part) -> str:
    """One part of a completion; an empty text where there is none."""
    return {"text": completion.text, "thinking": completion.thinking or "", "final_text": completion.final_text}[part]


def answers_at(completion: Completion, place: Place) -> list[str]:
    """Every answer at `place` in the final text, in order, stripped and not empty. Nothing after an end-of-turn marker."""
    text = own_turn(completion.final_text)
    if place == "boxed":
        return boxed(text)
    if place == "answer_tag":
        return tagged(text)
    return [text.strip()] if text.strip() else []


def written_at(answer: str, place: Place) -> str | None:
    """A final text that gives `answer` at `place`; `None` when it would be read otherwise (braces that do not balance)."""
    text = {"boxed": f"{_BOX}{answer}}}", "answer_tag": f"{_TAG_OPEN}{answer}{_TAG_CLOSE}", "final_text": answer}[place]
    return text if answers_at(Completion(text, None, text, 0, False), place) == [answer.strip()] else None


def boxed(text: str) -> list[str]:
    """The contents of every closed `\\boxed{…}`, braces balanced, in order; empty ones are left out."""
    contents = []
    position = text.find(_BOX)
    while position >= 0:
        start = end = position + len(_BOX)
        depth = 1
        while end < len(text) and depth:
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            end += 1
        if depth:
            break
        contents.append(text[start : end - 1].strip())
        position = text.find(_BOX, end)
    return [content for content in contents if content]


def tagged(text: str) -> list[str]:
    """What stands between every `<answer>` and the next `</answer>`, in order; empty ones are left out."""
    contents = []
    position = text.find(_TAG_OPEN)
    while position >= 0:
        start = position + len(_TAG_OPEN)
        end = text.find(_TAG_CLOSE, start)
        if end < 0:
            break
        contents.append(text[start:end].strip())
        position = text.find(_TAG_OPEN, end)
    return [content for content in contents if content]


def fenced(text: str, languages: tuple[str, ...]) -> list[str]:
    """The contents of every closed block between lines of three backticks whose language is one of `languages`."""
    blocks: list[str] = []
    lines: list[str] | None = None
    language = ""
    for line in text.split("\n"):
        mark = line.strip()
        if lines is None and mark.startswith("```"):
            lines, language = [], mark[3:].strip().lower()
        elif lines is not None and mark == "```":
            if language in languages:
                blocks.append("\n".join(lines))
            lines = None
        elif lines is not None:
            lines.append(line)
    return blocks


def gold_text(row: Mapping[str, Any], column: str) -> str | None:
    """The gold answer of a row as text; `None` when the column is missing, blank, or holds something else than a value."""
    gold = row.get(column)
    return None if gold is None or isinstance(gold, (list, dict, bool)) or not str(gold).strip() else str(gold)
