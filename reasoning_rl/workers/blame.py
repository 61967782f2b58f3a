"""Whose fault it is when no score comes back from a grading process.

- Deadline passed, half of it or more spent computing: the completion did it. `TIMEOUT`, 0.
- Deadline passed with little CPU time: an overloaded machine or a grader that blocks. `GRADER_ERROR`, abstains.
- Out of memory on a process that had not graded before, or twice: the completion did it. `MEMORY_LIMIT`, 0.
- The process dies: the rest of the task goes to a fresh one, so that a stray kill changes no score. When it dies
  again (SIGKILL and SIGTERM: twice more, they may come from outside), an empty completion of the same row is tried.
  If the grader survives that, the completion is what kills it: `CRASH`, 0, so that crashing graders earns no abstention
  (without it, a policy could buy its way out of every wrong answer). If not: `GRADER_ERROR`, abstains.
"""

from __future__ import annotations

import signal

from reasoning_rl.api import Score, Verdict

#: Share of the deadline that must have been spent computing for a timeout to be the completion's fault.
_COMPUTING_SHARE = 0.5
#: Share of the deadline spent waiting for a core from which on the machine is called overloaded.
_QUEUEING_SHARE = 0.25
#: Exit codes of what somebody else may have killed: the out-of-memory killer, an operator.
FROM_OUTSIDE = (128 + signal.SIGKILL, 128 + signal.SIGTERM)


def timeout_score(limit_s: float, computing_s: float, queued_s: float) -> Score:
    """After `limit_s` seconds, of which the process computed for some and was ready without a core for others."""
    reason = f"no score within {limit_s:g} s"
    if computing_s >= _COMPUTING_SHARE * limit_s:
        return Score(0.0, Verdict.TIMEOUT, {"reason": reason, "cpu_s": round(computing_s, 2)})
    why = "waited for a core, the machine is overloaded" if queued_s >= _QUEUEING_SHARE * limit_s else "was blocked"
    detail = {"reason": f"{reason}; the grader {why}", "cpu_s": round(computing_s, 2)}
    return Score.abstain(Verdict.GRADER_ERROR, **detail, queued_s=round(queued_s, 2))


def memory_score(memory_mb: int) -> Score:
    """The completion needs more than the limit."""
    return Score(0.0, Verdict.MEMORY_LIMIT, {"reason": f"more than scoring.memory_mb = {memory_mb}"})


def num_crashes_allowed(exit_code: int) -> int:
    """With so many deaths of its process, of which this is the last, an empty completion is tried."""
    return 3 if exit_code in FROM_OUTSIDE else 2


def crash_score(reason: str, of_empty: Score) -> Score:
    """After an empty completion of the same row was graded."""
    if not (of_empty.verdict.is_our_fault or of_empty.verdict in (Verdict.TIMEOUT, Verdict.MEMORY_LIMIT)):
        return Score(0.0, Verdict.CRASH, {"reason": reason})
    return Score.abstain(Verdict.GRADER_ERROR, reason=f"{reason}; an empty completion of the row is not graded either")
