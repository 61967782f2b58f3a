"""Public mathematics data sets as rows with `prompt` and `answer`, the form that the reward `math_answer` reads.

Each function turns one row of its data set into one of ours; a recipe names it under `convert`. A row whose answer no
rule can verify (a proof, no answer, several answers, marked invalid) gives `None` and is left out. `converter_for`
recognises a data set by its columns. docs/your-data.md has the table.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from reasoning_rl.errors import DataError

_DAPO_BEFORE = (
    "Solve the following math problem step by step. The last line of your response should be of the form Answer: "
    "$Answer (without quotes) where $Answer is the answer to the problem.\n\n"
)
_DAPO_AFTER = '\n\nRemember to put your answer on its own line after "Answer:".'

#: What stands in place of an answer where there is none.
_NO_ANSWER = frozenset({"", "proof", "notfound", "not found", "none", "n/a", "nan"})

_NOTE = re.compile(r"<<[^<>]*>>")
_PART = re.compile(r"\(?\b([abc12])\)")
_BOX = re.compile(r"\\(?:boxed|fbox)\s*")


def gsm8k(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """A row of GSM8K (https://arxiv.org/abs/2110.14168): the answer stands after `####`; `solution` is the text before it
    without the notes for a calculator (`<<3*4=12>>`)."""
    prompt, text = _text(row, "question", "gsm8k"), _text(row, "answer", "gsm8k")
    solution, mark, answer = text.rpartition("####")
    if not mark:
        raise DataError(f"gsm8k: column 'answer' holds {text!r:.60}, expected a text that ends in '#### 72'")
    return _row(prompt, answer, solution=_NOTE.sub("", solution).strip())


def math(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """A row of MATH (https://arxiv.org/abs/2103.03874) or MATH-500, which has a column `answer` of its own."""
    prompt, solution = _text(row, "problem", "math"), _text(row, "solution", "math")
    answer = _optional_text(row, "answer", "math") if "answer" in row else _only_box(solution)
    return _row(prompt, answer, solution=solution, level=row.get("level"), subject=row.get("subject", row.get("type")))


def numina(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """A row of NuminaMath-CoT, or of NuminaMath-1.5, which has a column `answer` and says what is valid."""
    return _numina(row, "numina")


def openr1(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """A row of OpenR1-Math-220k; its generations are not kept."""
    if "answer" not in row:
        raise DataError(f"openr1: found no column 'answer', expected text; the row has {sorted(row)}")
    return _numina(row, "openr1")


def deepmath(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """A row of DeepMath-103K (https://arxiv.org/abs/2504.11456); `solution` is its first R1 solution."""
    prompt, answer = _text(row, "question", "deepmath"), _optional_text(row, "final_answer", "deepmath")
    solution = row.get("r1_solution_1")
    return _row(prompt, answer, solution=solution, difficulty=row.get("difficulty"), topic=row.get("topic"))


def dapo(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """A row of DAPO-Math-17k (https://arxiv.org/abs/2503.14476), without the sentences around the problem."""
    messages, reward = row.get("prompt"), row.get("reward_model")
    if not isinstance(messages, list) or len(messages) != 1 or not isinstance(messages[0], Mapping):
        raise DataError(f"dapo: column 'prompt' holds {messages!r:.60}, expected a list of one message")
    if not isinstance(reward, Mapping):
        raise DataError(f"dapo: column 'reward_model' holds {reward!r:.60}, expected a mapping with 'ground_truth'")
    problem = _text(messages[0], "content", "dapo: column 'prompt'")
    answer = _optional_text(reward, "ground_truth", "dapo: column 'reward_model'")
    return _row(problem.removeprefix(_DAPO_BEFORE).removesuffix(_DAPO_AFTER), answer, source=row.get("data_source"))


def big_math(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """A row of Big-Math-RL-Verified (https://arxiv.org/abs/2502.17387)."""
    prompt, answer = _text(row, "problem", "big_math"), _optional_text(row, "answer", "big_math")
    kept = {key: row.get(key) for key in ("source", "domain", "llama8b_solve_rate")}
    return _row(prompt, answer, **kept)


def converter_for(row: Mapping[str, Any]) -> str | None:
    """`reasoning_rl.math_rows:NAME` for a row in the form of one of the data sets above, else `None`."""
    for columns, function, fits in _FORMS:
        if columns <= row.keys() and fits(row):
            return f"{__name__}:{function.__name__}"
    return None


def _always(row: Mapping[str, Any]) -> bool:
    return True


def _has_mark(row: Mapping[str, Any]) -> bool:
    return "####" in str(row["answer"])


def _has_box(row: Mapping[str, Any]) -> bool:
    return "answer" in row or bool(_BOX.search(str(row["solution"])))


_Function = Callable[[Mapping[str, Any]], dict[str, Any] | None]

#: Columns -> converter, and what else must hold; the first that fits is taken.
_FORMS: tuple[tuple[frozenset[str], _Function, Callable[[Mapping[str, Any]], bool]], ...] = (
    (frozenset({"prompt", "reward_model"}), dapo, _always),
    (frozenset({"question", "final_answer"}), deepmath, _always),
    (frozenset({"question", "answer"}), gsm8k, _has_mark),
    (frozenset({"problem", "answer", "llama8b_solve_rate"}), big_math, _always),
    (frozenset({"problem", "solution", "answer", "generations"}), openr1, _always),
    (frozenset({"problem", "solution", "level"}), math, _has_box),
    (frozenset({"problem", "solution"}), numina, _has_box),
)


def _numina(row: Mapping[str, Any], what: str) -> dict[str, Any] | None:
    prompt, solution = _text(row, "problem", what), _optional_text(row, "solution", what)
    kinds = {str(row.get(column) or "").lower() for column in ("question_type", "problem_type")}
    if "proof" in kinds or any(
        str(row.get(column) or "Yes").lower() != "yes" for column in ("problem_is_valid", "solution_is_valid")
    ):
        return None
    answer = _optional_text(row, "answer", what) if "answer" in row else _only_box(solution or "")
    kept = {key: row[key] for key in ("source", "problem_type", "question_type") if key in row}
    return _row(prompt, answer, solution=solution, **kept)


def _row(prompt: str, answer: str | None, **kept: Any) -> dict[str, Any] | None:
    answer = (answer or "").strip()
    if answer.lower() in _NO_ANSWER or len(set(_PART.findall(answer))) > 1:
        return None
    return {"prompt": prompt.strip(), "answer": answer, **kept}


def _text(row: Mapping[str, Any], column: str, what: str) -> str:
    value = _optional_text(row, column, what)
    if value is None or not value.strip():
        raise DataError(f"{what}: column {column!r} holds {value!r}, expected text; the row has {sorted(row)}")
    return value


def _optional_text(row: Mapping[str, Any], column: str, what: str) -> str | None:
    if column not in row:
        raise DataError(f"{what}: found no column {column!r}, expected text; the row has {sorted(row)}")
    value = row[column]
    if value is not None and not isinstance(value, str):
        raise DataError(f"{what}: column {column!r} holds {value!r:.60}, expected text; the row has {sorted(row)}")
    return value


def _only_box(text: str) -> str | None:
    """What stands in the boxes of a solution; `None` where there is none, or where they differ."""
    found = {_box_at(text, match.end()).strip() for match in _BOX.finditer(text)}
    return found.pop() if len(found) == 1 else None


def _box_at(text: str, start: int) -> str:
    """The group in braces that starts there, or the one character of `\\boxed 2`; empty where a brace is missing."""
    if not text.startswith("{", start):
        return text[start : start + 1]
    depth = 0
    for index in range(start, len(text)):
        if text[index] in "{}" and text[index - 1] != "\\":
            depth += 1 if text[index] == "{" else -1
            if depth == 0:
                return text[start + 1 : index]
    return ""
