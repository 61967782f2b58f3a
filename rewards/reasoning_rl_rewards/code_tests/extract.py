"""The program in a completion: the last fenced block of the final text, its language tag checked.

Text work in linear time; nothing here looks at the program itself.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Tags that name Python, in small letters. A block without a tag is taken for the language that was asked for.
PYTHON_TAGS = frozenset({"", "python", "python3", "py", "py3"})

TAGS = {
    "python": PYTHON_TAGS,
    "cpp": frozenset({"", "cpp", "c++", "cc", "cxx"}),
    "javascript": frozenset({"", "javascript", "js", "node"}),
}
#: Where a turn ends in the usual chat templates. What a model writes after it, outside of a block, is no answer of its own.
_END_OF_TURN = ("<|im_end|>", "<|im_start|>", "<|endoftext|>", "<|eot_id|>", "<end_of_turn>", "<start_of_turn>")


@dataclass(frozen=True, slots=True)
class Extracted:
    """A program, or why there is none (`problem`, as a phrase). `language` is the tag of the block, in small letters."""

    program: str = ""
    language: str = ""
    problem: str = ""


def extract(text: str, *, is_fence_needed: bool = True, tags: frozenset[str] = PYTHON_TAGS) -> Extracted:
    """The last fenced block of a text, by the rules of CommonMark.

    A fence stands at the beginning of its line, spaces aside, and has three or more backticks or tildes; the block ends at
    a line with as many or more of them and nothing else, or at the end of the text. Text after an end-of-turn marker is
    not read. Without `is_fence_needed`, a text that has no block at all is the program.
    """
    blocks_seen, language, lines = False, "", list[str]()
    fence, indent = "", 0
    outside: list[str] = []
    for raw in text.split("\n"):
        line = raw.removesuffix("\r")
        bare = line.lstrip(" ")
        if fence:
            if _closes(bare, fence) and len(line) - len(bare) <= indent + 3:
                fence = ""
            else:
                lines.append(line[min(indent, len(line) - len(bare)) :])
            continue
        mark = min((at for at in map(line.find, _END_OF_TURN) if at >= 0), default=-1)
        opened = _opens(bare) if mark < 0 else ""
        if opened:
            fence, indent = opened, len(line) - len(bare)
            blocks_seen, lines = True, []
            language = (bare[len(opened) :].split(maxsplit=1) or [""])[0].lower()
        outside.append(line if mark < 0 else line[:mark])
        if mark >= 0:
            break
    if not blocks_seen:
        whole = "\n".join(outside)
        if is_fence_needed or not whole.strip():
            return Extracted(problem="no fenced block of code" if is_fence_needed else "no text")
        return Extracted(whole)
    if language not in tags:
        return Extracted(language=language[:40], problem=f"the last block is tagged {language[:40]!r}")
    program = "\n".join(lines)
    if not program.strip():
        return Extracted(language=language, problem="the last block is empty")
    return Extracted(program, language)


def fenced(program: str, tag: str = "python") -> str:
    """A program in a block that `extract` reads back, whatever backticks it holds."""
    longest = run = 0
    for character in program:
        run = run + 1 if character == "`" else 0
        longest = max(longest, run)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{tag}\n{program.strip(chr(10))}\n{fence}"


def _opens(bare: str) -> str:
    """The fence that a line begins with, else nothing. A fence of backticks has no backtick after it on its line."""
    for character in "`~":
        rest = bare.lstrip(character)
        size = len(bare) - len(rest)
        if size >= 3 and not (character == "`" and "`" in rest):
            return character * size
    return ""


def _closes(bare: str, fence: str) -> bool:
    text = bare.rstrip(" \t")
    return len(text) >= len(fence) and text == fence[0] * len(text)
