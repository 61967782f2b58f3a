"""Calls the rewards inside a grading process, under the memory limit.

Knows no deadline and no cache: the host kills it when its time is over.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Sequence
from typing import Any

from reasoning_rl.api import Reward, Sample, Score, Verdict
from reasoning_rl.plugins import resolve
from reasoning_rl.workers.proc import address_space_mb, queued_s, rss_mb
from reasoning_rl.workers.wire import Reply, pack_reply, unpack_sample, unpack_task


def call_reward(reward: Reward, sample: Sample) -> Score:
    """The score of one sample; an exception is our fault and abstains.

    Raises:
        MemoryError: as the reward did.
    """
    try:
        score = reward(sample)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a reward raises is our fault, not the model's
        return Score.abstain(Verdict.GRADER_ERROR, reason=describe(error))
    if not isinstance(score, Score):
        return Score.abstain(Verdict.GRADER_ERROR, reason=f"returned {type(score).__name__}, expected Score")
    return score


def describe(error: BaseException) -> str:
    """Type and message of an exception, at most 500 characters, even when its message cannot be made."""
    try:
        return f"{type(error).__name__}: {error}"[:500]
    except Exception:  # noqa: BLE001 - a message may be as broken as the reward
        return type(error).__name__


class LoadedRewards:
    """The rewards of one grading process, imported, built and warmed up.

    Args:
        rewards: `use` and options of each.
        memory_mb: address space that grading may add to what the imports took. Only the soft limit is set, so that a
            sandbox that a reward starts can set limits of its own.

    Raises:
        Exception: whatever importing or building a reward raises.
    """

    def __init__(self, rewards: Sequence[tuple[str, dict[str, Any]]], memory_mb: int) -> None:
        self.rewards = [resolve(use, options) for use, options in rewards]
        for reward in self.rewards:
            warm_up = getattr(reward, "warm_up", None)
            if warm_up is not None:
                warm_up()
        base = address_space_mb()
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        limit = (base + memory_mb) << 20
        if base:
            soft = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))

    def state(self) -> dict[str, float]:
        """CPU seconds and seconds of waiting for a core so far, and resident MB now."""
        own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
        used = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
        return {"cpu_s": used, "queued_s": queued_s("self"), "rss_mb": rss_mb()}

    def run(self, body: bytes, send: Callable[[bytes], object]) -> None:
        """Scores the sample of one task, sending each score as soon as it is known."""
        task, positions, stream = unpack_task(body)
        unreadable = None
        sample = None
        try:
            sample = unpack_sample(stream)
        except Exception as error:  # noqa: BLE001 - a class of the row may not be importable here
            unreadable = Score.abstain(Verdict.GRADER_ERROR, reason=f"the row cannot be read: {describe(error)}")
        for position in positions:
            start = time.perf_counter()
            score = unreadable if sample is None else self._score(position, sample)
            seconds = time.perf_counter() - start
            send(pack_reply(Reply(task, position, score, seconds, **self.state())))  # pyright: ignore[reportArgumentType]

    def _score(self, position: int, sample: Sample) -> Score | None:
        try:
            return call_reward(self.rewards[position], sample)
        except MemoryError:
            return None
        except SystemExit as error:
            return Score.abstain(Verdict.GRADER_ERROR, reason=describe(error))
