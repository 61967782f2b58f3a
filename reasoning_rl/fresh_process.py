"""Scores samples in a new Python process, which is killed when one of them takes too long.

For tests of rewards: it starts a process per call. Grading during a run has persistent workers instead.
"""

from __future__ import annotations

import faulthandler
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reasoning_rl.api import Sample, Score
from reasoning_rl.plugins import resolve

#: What a reward must not import: it is graded where none of it is installed, in processes that must stay small.
TRAINING_STACK = ("torch", "transformers", "trl", "peft", "accelerate", "vllm", "tensorflow", "jax")

_CHILD = """
import json, pickle, sys
sys.path[:] = json.loads(sys.argv[1])
from reasoning_rl.fresh_process import _serve
_serve(*pickle.load(sys.stdin.buffer))
"""


@dataclass(frozen=True, slots=True)
class FreshScores:
    """What came back. `scores` has an entry per sample that was scored: plain data (`plain_score`), or an exception.

    `stopped` says why the process ended before the last sample, `imported` names what it should not have loaded.
    """

    scores: tuple[list[Any] | str, ...]
    imported: tuple[str, ...]
    stopped: str | None


def score_in_fresh_process(
    use: str, options: Mapping[str, Any], samples: Sequence[Sample], *, timeout_s: float
) -> FreshScores:
    """Builds the reward that `use` names in a new Python with another hash seed and scores `samples` in order.

    Args:
        timeout_s: seconds that one sample may take; the process is ended from a thread without the interpreter's lock,
            so that a regular expression cannot hold it off.
    """
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, json.dumps(sys.path)],
        input=pickle.dumps((use, options, samples, timeout_s)),
        capture_output=True,
        env={**os.environ, "PYTHONHASHSEED": "4321"},
        check=False,
    )
    events = [json.loads(line) for line in done.stdout.splitlines()]
    scores = tuple(event["score"] for event in events if "score" in event)
    imported = tuple(name for event in events for name in event.get("imported", ()))
    if done.returncode == 0 and len(scores) == len(samples):
        return FreshScores(scores, imported, None)
    if b"Timeout (" in done.stderr:
        return FreshScores(scores, imported, f"does not return within {timeout_s:g} s")
    last = " ".join(done.stderr.decode(errors="replace").strip().splitlines()[-1:])
    return FreshScores(scores, imported, f"ends the process (exit code {done.returncode}: {last or 'no message'})")


def plain_score(score: object) -> list[Any]:
    """Value, verdict and detail as plain data, to be compared between processes."""
    if not isinstance(score, Score):
        return [type(score).__name__]
    return [score.value, str(score.verdict), json.loads(json.dumps(dict(score.detail), default=repr))]


def _serve(use: str, options: Mapping[str, Any], samples: Sequence[Sample], timeout_s: float) -> None:
    """The new process: one JSON object per line on the real stdout; what the reward prints goes to stderr."""
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)
        reward = resolve(use, options)
        for sample in samples:
            faulthandler.dump_traceback_later(timeout_s, exit=True)
            try:
                score: list[Any] | str = plain_score(reward(sample))
            except Exception as error:  # noqa: BLE001 - told to the parent
                score = f"{type(error).__name__}: {error}"[:300]
            faulthandler.cancel_dump_traceback_later()
            print(json.dumps({"score": score}), file=out, flush=True)
        print(json.dumps({"imported": [name for name in TRAINING_STACK if name in sys.modules]}), file=out)
