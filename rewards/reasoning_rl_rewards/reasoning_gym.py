"""`reasoning_gym`: the verifier that the library reasoning-gym has for a task, on the rows that its source makes.

Needs the extra `gym`. Some verifiers of the library hand the answer to Python's `eval`, plainly or through sympy: for these
tasks only answers that can call nothing are passed on (`Integral(…)` neither, which would pass for any integral). What a
verifier accepts is otherwise its own affair, and some accept too much, as of 0.1.25: `game_of_life_halting` any answer,
`puzzle24` any four numbers in range that make 24, `number_sorting` numbers that are off by 1. The audit finds the first and
the last.
"""

from __future__ import annotations

import importlib.util
import json
import re
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

from reasoning_rl.api import Sample, Score, Verdict
from reasoning_rl_rewards.reading import Place, answers_at, written_at

#: Longer answers are wrong, unless the gold answer is half as long: some verifiers take quadratic time.
MAX_CHARS = 10_000

Verifier = Callable[[str, dict[str, Any]], float]

# Literals and displays: without parentheses, braces, operators and dunders, nothing can be called.
_LITERAL = re.compile(r"(?!.*__)[\w\s\[\],.'\"-]*", re.DOTALL)
_EXPRESSION = re.compile(r"[\w\s+\-*/^().,]*")
_NAME = re.compile(r"[^\W\d]\w*")
# fmt: off
_FUNCTIONS = frozenset({
    "Abs", "abs", "acos", "asin", "atan", "cos", "cosh", "cot", "csc", "exp", "ln", "log", "pi", "sec", "sin", "sinh",
    "sqrt", "tan", "tanh",
})
# fmt: on

#: Tasks whose verifier evaluates the answer as a Python literal, and as an expression of sympy.
EVALUATED_LITERALS = frozenset({"binary_matrix", "n_queens", "spiral_matrix", "string_insertion"})
EVALUATED_EXPRESSIONS = frozenset(
    {"countdown", "intermediate_integration", "polynomial_multiplication", "puzzle24", "simple_integration"}
)


@dataclass(frozen=True)
class ReasoningGym:
    """1 when reasoning-gym's verifier gives the answer its full score, else 0.

    Rows come from `source: reasoning_gym:<task>`, which writes the columns that it needs: `task`, `task_options` and
    `metadata` (JSON text, so that they survive files and Arrow tables) beside `prompt` and `answer`. Some tasks have no
    `answer`, only a verifier. When the verifier fails on the answer, the answer is wrong; when it fails on the row's own
    answer as well (on an empty one where there is none), the row is not scored.

    Attributes:
        extract: where the answer is read from. `boxed`: the final text holds exactly one distinct `\\boxed{…}`; an answer
            with braces that do not balance cannot be given. `answer_tag`: `<answer>…</answer>`, as the library asks for.
            `final_text`: all that follows the thinking.
        partial_credit: take the library's scores between 0 and 1 as they are. Its verifiers give 0.01 to anything for some
            tasks and pay answers that contain the right one, so a model can live on guesses and lists.
    """

    extract: Place = "boxed"
    partial_credit: bool = False

    version = 1
    requires = frozenset({"task", "metadata"})
    #: The first sample of a task builds its verifier, which may read a word list.
    default_timeout_s = 10.0

    def __post_init__(self) -> None:
        if importlib.util.find_spec("reasoning_gym") is None:
            raise ImportError("needs the package reasoning-gym; pip install reasoning-gym")

    @property
    def tolerates(self) -> frozenset[str]:
        """Prose beside a box or a tag is not read; partial credit pays for what contains the answer."""
        beside = frozenset() if self.extract == "final_text" else frozenset({"retraction"})
        in_part = {"echo", "gold_then_other", "hedge", "other_then_gold", "retraction", "user_turn"}
        return beside | in_part if self.partial_credit else beside

    def warm_up(self) -> None:
        """Imports the library before the first deadline."""
        import reasoning_gym  # noqa: F401  # pyright: ignore[reportMissingImports, reportUnusedImport]

    def reference(self, row: Mapping[str, Any]) -> str | None:
        """The library's answer where it is looked for; `None` where it has none or it cannot stand there."""
        gold = row.get("answer")
        if not isinstance(gold, str) or not _entry(row) or not _can_be_evaluated(str(row["task"]), gold):
            return None
        return written_at(gold, self.extract)

    def near_misses(self, row: Mapping[str, Any]) -> list[str]:
        """The library's answer with its first digit changed, else its last letter."""
        gold = row.get("answer") if self.reference(row) else None
        if not isinstance(gold, str):
            return []
        first = next((at for at, character in enumerate(gold) if character in string.digits), None)
        last = next((at for at in reversed(range(len(gold))) if gold[at].isalpha()), None)
        at = last if first is None else first
        if at is None:
            return []
        other = str(int(gold[at]) % 9 + 1) if at == first else "b" if gold[at] in "aA" else "a"
        written = written_at(gold[:at] + other + gold[at + 1 :], self.extract)
        return [] if written is None else [written]

    def __call__(self, sample: Sample, /) -> Score:
        entry = _entry(sample.row)
        if entry is None:
            columns = "task, answer and metadata as source reasoning_gym:<task> writes them"
            return Score.abstain(Verdict.BAD_REFERENCE, reason=f"the row lacks the columns {columns}")
        task, gold = str(sample.row["task"]), entry["answer"]
        answers = list(dict.fromkeys(answers_at(sample.completion, self.extract)))
        if len(answers) != 1:
            reason = "several different answers" if answers else "no answer found"
            return Score.no_answer(reason=reason, extracted=[answer[:200] for answer in answers[:4]], gold=gold)
        answer = answers[0]
        detail = {"extracted": answer[:200], "gold": gold, "task": task}
        if len(answer) > max(MAX_CHARS, 2 * len(gold or "")):
            return Score.wrong(**detail, reason=f"{len(answer)} characters")
        if not _can_be_evaluated(task, answer):
            return Score.wrong(**detail, reason="the verifier would evaluate it, and it is no plain value")
        return self._verified(answer, entry, detail, sample.row)

    def _verified(self, answer: str, entry: dict[str, Any], detail: dict[str, Any], row: Mapping[str, Any]) -> Score:
        task, options = str(row["task"]), str(row.get("task_options") or "{}")
        try:
            verifier = _verifier(task, options)
        except Exception as error:  # noqa: BLE001 - another version of the library may know neither task nor options
            reason = f"reasoning-gym has no task {task!r} with options {options}: {error}"
            return Score.abstain(Verdict.BAD_REFERENCE, reason=reason[:300])
        try:
            value = min(max(float(verifier(answer, entry)), 0.0), 1.0)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - the verifiers raise anything on odd answers
            return _failed(error, verifier, row, detail)
        detail["library_score"] = value
        if value == 1.0:
            return Score.correct(**detail)
        return Score(value, Verdict.PARTIAL, detail) if value and self.partial_credit else Score.wrong(**detail)


def _entry(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """The row as the library made it; `None` when it is no such row."""
    task, answer, metadata = row.get("task"), row.get("answer"), row.get("metadata")
    if not isinstance(task, str) or not isinstance(metadata, str) or not isinstance(answer, (str, type(None))):
        return None
    try:
        tree = json.loads(metadata, object_hook=_untagged)
    except ValueError:
        return None
    return {"question": row.get("prompt", ""), "answer": answer, "metadata": tree} if "answer" in row else None


def _untagged(tree: dict[str, Any]) -> Any:
    """Tuples, fractions, and mappings whose keys are no texts, from what JSON can say; written by the source `reasoning_gym`."""
    if tree.keys() == {"__tuple__"}:
        return tuple(tree["__tuple__"])
    if tree.keys() == {"__fraction__"}:
        return Fraction(*tree["__fraction__"])
    if tree.keys() == {"__pairs__"}:
        return dict(tree["__pairs__"])
    return tree


@lru_cache(maxsize=64)
def _verifier(task: str, options: str) -> Verifier:
    import reasoning_gym  # pyright: ignore[reportMissingImports]

    return reasoning_gym.create_dataset(task, size=1, seed=0, **json.loads(options)).score_answer


def _failed(error: Exception, verifier: Verifier, row: Mapping[str, Any], detail: dict[str, Any]) -> Score:
    """The verifier raised on the answer: the model's fault, unless it raises on the row's own answer too (on an empty one
    where the row has none)."""
    reason = f"the verifier failed with {type(error).__name__}: {error}"[:300]
    entry = _entry(row) or {}
    try:
        verifier(entry.get("answer") or "", entry)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - then it is the row's fault, or the library's
        return Score.abstain(Verdict.BAD_REFERENCE, **detail, reason=reason)
    return Score.wrong(**detail, reason=reason)


def _can_be_evaluated(task: str, answer: str) -> bool:
    """Whether handing `answer` to the verifier of `task` can run nothing that the model wrote."""
    if task in EVALUATED_LITERALS:
        return _LITERAL.fullmatch(answer) is not None
    if task in EVALUATED_EXPRESSIONS:
        names = _NAME.findall(answer)
        return _EXPRESSION.fullmatch(answer) is not None and all(len(n) == 1 or n in _FUNCTIONS for n in names)
    return True
