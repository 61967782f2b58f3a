"""The conformance kit for reward authors: one call checks everything that the host relies on.

Knows no particular reward and needs no test framework: it raises `AssertionError` with one sentence per broken rule. What
is sensible to reward is not its business, whether attacks pay is.
"""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import inspect
import json
import pickle
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reasoning_rl.api import Message, Reward, Sample, Score
from reasoning_rl.errors import RewardPluginError
from reasoning_rl.fresh_process import plain_score, score_in_fresh_process
from reasoning_rl.parsing import Reader
from reasoning_rl.plugins import FunctionReward, find, resolve
from reasoning_rl.recipe import Thinking
from reasoning_rl.trials import (
    FORMS,
    GOLD,
    NEAR_MISS,
    Expectation,
    Trial,
    expectation,
    fault,
    is_full,
    render,
    tolerated,
    trials,
)

_THINKING = Thinking()
_ODD_TEXTS = {
    "a lone surrogate": "\ud800",
    "a zero byte": "\0",
    "combining marks": "e" + "\u0301" * 1000,
    "right-to-left text": "\u202e\\boxed{٤٢}\u202c",
    "emoji": "🤖" * 100,
    "digits of other scripts": "\\boxed{４２} ²³ ½ Ⅻ",
}
_LONG = 1_000_000
_LONG_TEXTS = {
    "words": "word " * (_LONG // 5),
    "digits": "\\boxed{" + "9" * _LONG + "}",
    "opened boxes": "\\boxed{" * (_LONG // 7),
    "boxes": "\\boxed{1}" * (_LONG // 9),
    "brackets": "([{" * (_LONG // 3),
    "blanks": " " * _LONG + "x",
    "code fences": "```python\n" * (_LONG // 10),
    "thinking tags": "<think>" * (_LONG // 7),
}


def check_reward(
    reward: str | type | Any,
    rows: Sequence[Mapping[str, Any]],
    *,
    options: Mapping[str, Any] | None = None,
    golds: Sequence[str] | None = None,
    question: str = "What is the answer?",
    thinking: Thinking = _THINKING,
    timeout_s: float = 10.0,
) -> None:
    """Holds a reward to every rule of the interface.

    The right answers come from `golds`, else from the reward's own `reference(row)`, else from a required column with the
    answer; around them the attacks of `reasoning-rl audit` are tried, but those that the reward `tolerates`. A fresh
    Python process imports the reward, scores the same samples and gets megabytes of text.

    Args:
        reward: a registered name, `module:Attr`, `file.py:Attr`, the class, the function, or an instance.
        rows: data rows with every column that the reward requires; some different ones are worth more than many.
        options: the options to build it with (not with an instance, which has its own).
        golds: for every row the final text that must score full.
        question: the prompt of every sample.
        thinking: tags around the reasoning.
        timeout_s: seconds that a completion of 1 MB may take.

    Raises:
        AssertionError: one line per broken rule, all of them at once.
    """
    assert rows, "check_reward needs at least one row"
    assert golds is None or len(golds) == len(rows), "check_reward needs one gold per row"
    rows = copy.deepcopy(list(rows))  # a broken reward may change them
    check = _Check(thinking, [{"role": "user", "content": question}])
    try:
        use, values = _as_use(reward, options or {})
        built = resolve(use, values)
        attacks_allowed = tolerated(built)
    except RewardPluginError as error:
        raise AssertionError(str(error)) from None
    _check_declarations(check, built)
    if "requires" in check.problems:
        raise AssertionError(check.problems["requires"])
    attempts: list[_Attempt] = []
    for index, row in enumerate(rows):
        try:
            expected = _expected(check, built, row, golds[index] if golds else None)
        except RewardPluginError as error:
            check.broken("reference", str(error))
            expected = None
        attempts += _attempts(check, row, expected)
    again = _score_elsewhere(check, use, values, attempts, timeout_s)
    if again is not None:  # else it hangs or dies, and would do so here
        for attempt, other in zip(attempts, again, strict=True):
            _check_attempt(check, built, attempt, other, attacks_allowed)
        for row in rows:
            _check_odd_texts(check, built, row)
            _check_columns(check, built, row)
        _check_pickle(check, built, attempts[0].sample)
    if check.problems:
        rules = "\n".join(f"- {sentence}" for sentence in check.problems.values())
        raise AssertionError(f"{use} breaks {len(check.problems)} of the rules for rewards:\n{rules}")


def make_sample(
    text: str,
    row: Mapping[str, Any],
    *,
    question: str = "What is the answer?",
    thinking: Thinking = _THINKING,
    truncated: bool = False,
) -> Sample:
    """A sample as a reward gets it, from the whole text of a completion; its tokens are its words."""
    prompt: list[Message] = [{"role": "user", "content": question}]
    return Reader(thinking).read_text(prompt, text, row, "row", truncated=truncated)


@dataclasses.dataclass
class _Check:
    """The samples' common parts, and the first sentence of every broken rule."""

    thinking: Thinking
    prompt: list[Message]
    problems: dict[str, str] = dataclasses.field(default_factory=dict)

    def broken(self, rule: str, sentence: str) -> None:
        """Notes a broken rule, once."""
        self.problems.setdefault(rule, sentence)

    def sample(self, text: str, row: Mapping[str, Any]) -> Sample:
        """A completion on a row."""
        return Trial("", text).sample(self.thinking, self.prompt, row, "row")

    def score(self, reward: Reward, sample: Sample, what: str) -> Score | None:
        """The score of one sample, after the rules that hold for every call; `None` when there is none."""
        before = copy.deepcopy(sample)
        try:
            score = reward(sample)
        except Exception as error:  # noqa: BLE001 - a reward may raise anything
            rule = "finite" if isinstance(error, ValueError) and "must be finite" in str(error) else "raise"
            self.broken(rule, f"raises {type(error).__name__} on {what}: {error}; return a Score for every input")
            return None
        if sample != before:
            self.broken("mutation", f"changes the sample that it scores ({what}); copy what you want to change")
        if not isinstance(score, Score):
            self.broken("type", f"returns {type(score).__name__} on {what}, expected reasoning_rl.api.Score")
            return None
        try:
            json.dumps(dict(score.detail), allow_nan=False)
        except (TypeError, ValueError) as error:
            self.broken("detail", f"its detail on {what} cannot be written as JSON ({error}); use texts and numbers")
        return score


def _as_use(reward: Any, options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """What a recipe would say to get this reward: `use` and `options`."""
    if isinstance(reward, str):
        find(reward)
        return reward, dict(options)
    if isinstance(reward, FunctionReward):
        reward, options = reward.function, reward.options
    elif not isinstance(reward, type) and not inspect.isfunction(reward):
        if not dataclasses.is_dataclass(reward):
            raise RewardPluginError(f"{type(reward).__name__} must be a dataclass whose fields are its options")
        options = {field.name: getattr(reward, field.name) for field in dataclasses.fields(reward) if field.init}
        reward = type(reward)
    if "<" in reward.__qualname__:
        raise RewardPluginError(
            f"{reward.__qualname__} is defined inside a function; move it to the top of a module, grading processes "
            "import it from there"
        )
    module = sys.modules[reward.__module__]
    by_name = reward.__module__ != "__main__" and ":" not in reward.__module__
    target = reward.__module__ if by_name and importlib.util.find_spec(reward.__module__) else str(module.__file__)
    return f"{target}:{reward.__qualname__}", dict(options)


def _check_declarations(check: _Check, reward: Reward) -> None:
    requires = getattr(reward, "requires", frozenset())
    if isinstance(requires, str) or not isinstance(requires, Iterable) or not all(isinstance(c, str) for c in requires):
        check.broken("requires", f"requires is {requires!r}, expected a frozenset of column names")
    version = getattr(reward, "version", 1)
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        check.broken("version", f"version is {version!r}, expected an integer from 1 on")
    parameters = getattr(type(reward), "__dataclass_params__", None)
    if parameters and not parameters.frozen:
        check.broken("frozen", f"{type(reward).__name__} can be changed; declare it with @dataclass(frozen=True)")


@dataclasses.dataclass(frozen=True)
class _Attempt:
    """A trial on one row, and the values of the near misses of that row seen so far."""

    trial: Trial
    sample: Sample
    has_gold: bool
    near_miss_values: list[float]

    @property
    def what(self) -> str:
        """How messages call it."""
        return f"the trial {self.trial.name!r} ({self.trial.text[:80]!r})"


def _attempts(check: _Check, row: Mapping[str, Any], expected: Expectation | None) -> list[_Attempt]:
    question = check.prompt[0]["content"]
    made_up = list(trials(expected, question, check.thinking)) if expected else [Trial("empty", "")]
    values: list[float] = []
    return [_Attempt(trial, check.sample(trial.text, row), expected is not None, values) for trial in made_up]


def _expected(check: _Check, reward: Reward, row: Mapping[str, Any], gold: str | None) -> Expectation | None:
    if gold is not None:
        guess = expectation(_Gold(gold), row)
        own = expectation(reward, row) if hasattr(reward, "near_misses") else None
        return dataclasses.replace(guess, near_misses=own.near_misses) if guess and own else guess
    if hasattr(reward, "reference"):
        return expectation(reward, row)
    for form in FORMS:
        guess = expectation(reward, row, form)
        if guess is None:
            return None
        score = check.score(reward, check.sample(next(trials(guess, "", check.thinking)).text, row), "a right answer")
        if score and is_full(score):
            return guess
    return expectation(reward, row)


@dataclasses.dataclass(frozen=True)
class _Gold:
    """Stands in for a reward that does not say what a right answer is."""

    text: str

    def reference(self, row: Mapping[str, Any]) -> str:
        return self.text


def _check_attempt(
    check: _Check, reward: Reward, attempt: _Attempt, other: list[Any] | str, allowed: frozenset[str]
) -> None:
    trial, what = attempt.trial, attempt.what
    score = check.score(reward, attempt.sample, what)
    if score is None:
        return
    if trial.name == NEAR_MISS:
        attempt.near_miss_values.append(score.value or 0.0)
    if attempt.has_gold:
        problem = fault(trial.name, score, max(attempt.near_miss_values, default=0.0))
    else:
        abstains_on_bad_row = hasattr(reward, "reference") and score.verdict.is_our_fault
        problem = None if abstains_on_bad_row else fault(NEAR_MISS, score)
    if problem and score.value is None:
        check.broken("abstention", f"{problem} on {what}; a row with a gold answer gets a score, whatever is written")
    elif problem and trial.name not in allowed:
        check.broken(trial.name, f"{problem} on {what}{_advice(trial, attempt)}")
    if check.score(reward, attempt.sample, what) != score:
        check.broken("determinism", f"scores the same sample differently the second time, on {what}")
    elif plain_score(score) != other:
        check.broken(
            "determinism between processes",
            f"scores {what} differently in another process; use no hash order, clock, random numbers or global state",
        )


def _advice(trial: Trial, attempt: _Attempt) -> str:
    if trial.name == GOLD:
        return "; if right answers are written otherwise, pass golds or give it a method reference(row)"
    return "" if trial.name == NEAR_MISS else "; mend it, or name it in tolerates"


def _check_odd_texts(check: _Check, reward: Reward, row: Mapping[str, Any]) -> None:
    for what, text in _ODD_TEXTS.items():
        for whole in (text, render("a", text, check.thinking)):
            score = check.score(reward, check.sample(whole, row), what)
            if score and score.verdict.is_our_fault and expectation(reward, row):
                check.broken(
                    "abstention", f"abstains as {score.verdict} on {what}; what the model writes is its own fault"
                )


def _check_columns(check: _Check, reward: Reward, row: Mapping[str, Any]) -> None:
    """A required column that is missing or `None` abstains; no other column is needed."""
    requires = sorted(getattr(reward, "requires", ()))
    missing = [column for column in requires if column not in row]
    if missing:
        check.broken("rows", f"the rows given to check_reward lack the required column {missing[0]!r}")
        return
    text = render("a", FORMS[0] % 1, check.thinking)
    for column in requires:
        for what, broken_row in (
            ("missing", {key: value for key, value in row.items() if key != column}),
            ("None", {**row, column: None}),
        ):
            try:
                score = reward(check.sample(text, broken_row))
            except Exception as error:  # noqa: BLE001 - a reward may raise anything
                check.broken(
                    "missing column",
                    f"raises {type(error).__name__} when column {column!r} is {what}; "
                    "return Score.abstain(Verdict.BAD_REFERENCE, reason=...), or None from a function",
                )
                continue
            if isinstance(score, Score) and score.value is not None:
                check.broken(
                    "missing column",
                    f"scores {score.value:g} when column {column!r} is {what}; a row without gold is our fault, abstain",
                )
    only_required: dict[str, Any] = {key: value for key, value in row.items() if key in requires}
    try:
        reward(check.sample(text, only_required))
    except KeyError as error:
        check.broken("undeclared column", f"reads the column {error}, which requires does not name; add it")
    except Exception:  # noqa: BLE001 - told by the rule on raising
        return


def _check_pickle(check: _Check, reward: Reward, sample: Sample) -> None:
    if ":" in type(reward).__module__ or ":" in getattr(getattr(reward, "function", None), "__module__", ""):
        return  # from a file, which pickle cannot name; other processes build it from the file
    try:
        twin = pickle.loads(pickle.dumps(reward))
    except Exception as error:  # noqa: BLE001 - pickling fails with anything
        check.broken("pickle", f"cannot be pickled ({type(error).__name__}: {error}); keep its fields plain")
        return
    if check.score(reward, sample, "a sample") != check.score(twin, sample, "a sample"):
        check.broken("pickle", "scores differently after a trip through pickle; keep its state in its fields")


def _score_elsewhere(
    check: _Check, use: str, options: Mapping[str, Any], attempts: Sequence[_Attempt], timeout_s: float
) -> Sequence[list[Any] | str] | None:
    """The attempts' scores from another process, which also gets 1 MB texts. `None` when it hangs or dies, as this one
    would."""
    row = attempts[0].sample.row
    long = {
        f"1 MB of {name}": check.sample(render("a", text, check.thinking), row) for name, text in _LONG_TEXTS.items()
    }
    samples = [*(attempt.sample for attempt in attempts), *long.values()]
    names = [*(attempt.what for attempt in attempts), *long]
    found = score_in_fresh_process(use, options, samples, timeout_s=timeout_s)
    if found.imported:
        check.broken("imports", f"imports {', '.join(found.imported)}; rewards run where there is no training stack")
    for name, score in list(zip(names, found.scores, strict=False))[len(attempts) :]:
        if isinstance(score, str):
            check.broken("raise", f"raises {score} on {name}; return a Score for every input")
    if found.stopped:
        where = names[len(found.scores)] if len(found.scores) < len(names) else "the way out"
        check.broken("stopped", f"{found.stopped} on {where}; work in linear time and memory")
        return None
    return found.scores[: len(attempts)]
