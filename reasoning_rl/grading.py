"""Scores completions in grading processes: ordered batches, futures, shared work.

Joins the rewards (`scoring`) to the processes (`workers`): which scores a sample still needs, which are remembered or on
their way for an equal one, how they become a total. With 0 workers everything runs in the calling process, without
deadlines: for tests and debugging only, since one completion can then hang the run.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field

from reasoning_rl.api import Sample, Score, Verdict
from reasoning_rl.errors import ScoringError
from reasoning_rl.recipe import Scoring
from reasoning_rl.scoring import NOT_APPLICABLE, RewardSet, ScoredSample, WeightedReward
from reasoning_rl.workers.cache import ScoreCache, digest
from reasoning_rl.workers.dispatch import Dispatcher
from reasoning_rl.workers.grade import describe
from reasoning_rl.workers.task import Graded, PoolLimits, RewardSpec, Task
from reasoning_rl.workers.wire import pack_sample

logger = logging.getLogger(__name__)

#: More processes than this are not started unasked; each holds its own imports.
_MAX_DEFAULT_WORKERS = 8


def default_num_workers(environment: Mapping[str, str] = os.environ) -> int:
    """One per core that this process may use, shared among the processes of the run on this machine; at most 8."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(_MAX_DEFAULT_WORKERS, cores // int(environment.get("LOCAL_WORLD_SIZE", "1"))))


@dataclass(slots=True, eq=False)
class _Ticket:
    """One submitted sample and the scores that have arrived for it."""

    future: Future[ScoredSample]
    missing: set[str]
    scores: dict[str, Score] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


class Grader:
    """The rewards of a run, ready to score. Use as a context manager, or call `close`.

    Args:
        rewards: the rewards; each with `use`, unless there are no workers.
        settings: the recipe's `scoring` section.
        max_pending: samples that may be unfinished before `submit` blocks.

    Raises:
        ScoringError: a grading process cannot start.
    """

    def __init__(self, rewards: RewardSet, settings: Scoring | None = None, *, max_pending: int = 4096) -> None:
        settings = settings or Scoring()
        self.rewards = rewards
        self.num_workers = default_num_workers() if settings.num_workers is None else settings.num_workers
        self._cache: ScoreCache[tuple[_Ticket, str]] = ScoreCache()
        self._lock = threading.Lock()
        self._has_warned: set[str] = set()
        self._prefixes = [digest(item.use, item.version, dict(item.options)) for item in rewards.rewards]
        self._dispatcher: Dispatcher | None = None
        if self.num_workers:
            unnamed = [item.name for item in rewards.rewards if not item.use]
            assert not unnamed, f"rewards {unnamed} have no `use`, so that no other process can build them"
            specs = [RewardSpec(item.use, item.options, _timeout_s(item, settings)) for item in rewards.rewards]
            limits = PoolLimits(self.num_workers, settings.memory_mb, max_pending=max_pending)
            self._dispatcher = Dispatcher(specs, limits)

    def __enter__(self) -> Grader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kills the grading processes; unfinished futures fail with `ScoringError`."""
        if self._dispatcher:
            self._dispatcher.close()

    def submit(self, sample: Sample) -> Future[ScoredSample]:
        """Starts scoring one completion; blocks while too many are unfinished.

        Callbacks of the future run in the thread that enforces the deadlines and must be quick. The future fails with
        `ScoringError` when grading has broken down.
        """
        future: Future[ScoredSample] = Future()
        future.set_running_or_notify_cancel()
        if self._dispatcher is None:
            future.set_result(self.rewards.score(sample))
            return future
        ticket = _Ticket(future, {item.name for item in self.rewards.rewards})
        applicable = [i for i, item in enumerate(self.rewards.rewards) if item.applies_to(sample.row)]
        for position, item in enumerate(self.rewards.rewards):
            if position not in applicable:
                self._fill(ticket, item.name, Graded(NOT_APPLICABLE, 0.0))
        try:
            packed = pack_sample(sample)
        except Exception as error:  # noqa: BLE001 - rows may hold anything, and pickling runs its code
            score = Score.abstain(Verdict.GRADER_ERROR, reason=f"the row cannot be sent: {describe(error)}")
            for position in applicable:
                self._fill(ticket, self.rewards.rewards[position].name, Graded(score, 0.0))
            return future
        self._ask(ticket, sample, packed, applicable)
        return future

    def score_batch(
        self, samples: Iterable[Sample], on_progress: Callable[[int], None] | None = None
    ) -> list[ScoredSample]:
        """Scores completions, in order. `on_progress` gets the number just finished.

        Raises:
            ScoringError: grading has broken down.
        """
        futures = [self.submit(sample) for sample in samples]
        scored = []
        for future in futures:
            scored.append(future.result())
            if on_progress:
                on_progress(1)
        return scored

    def stats(self) -> dict[str, float]:
        """Counters since the start: see `workers.task.PoolStats`; `hits` and `joined` are scores not made again."""
        pool = asdict(self._dispatcher.stats) if self._dispatcher else {}
        return {**pool, "hits": self._cache.hits, "joined": self._cache.joined}

    def _ask(self, ticket: _Ticket, sample: Sample, packed: bytes, positions: list[int]) -> None:
        """Takes the scores that are remembered, waits for those on their way, has the others made."""
        assert self._dispatcher is not None
        own = {position: self._key(position, self.rewards.rewards[position], sample, packed) for position in positions}
        keys: dict[int, bytes | None] = {}
        ready: list[tuple[str, Graded]] = []
        with self._lock:
            for position, key in own.items():
                item = self.rewards.rewards[position]
                found = self._cache.get(key) if key else None
                if found:
                    ready.append((item.name, found))
                elif key is None or self._cache.wait(key, (ticket, item.name)):
                    keys[position] = key
        for name, graded in ready:
            self._fill(ticket, name, graded)
        if not keys:
            return

        def on_score(position: int, graded: Graded) -> None:
            key = keys.pop(position)
            if key is None:
                self._fill(ticket, self.rewards.rewards[position].name, graded)
                return
            with self._lock:
                waiters = self._cache.put(key, graded)
            for waiting, name in waiters:
                self._fill(waiting, name, graded)

        def on_failure(error: ScoringError) -> None:
            self._fail(ticket, error)
            with self._lock:
                waiters = [waiter for key in keys.values() if key for waiter in self._cache.give_up(key)]
            for waiting, _ in waiters:
                self._fail(waiting, error)

        try:
            self._dispatcher.submit(Task(packed, deque(keys), on_score, on_failure))
        except ScoringError as error:
            on_failure(error)

    def _key(self, position: int, item: WeightedReward, sample: Sample, packed: bytes) -> bytes | None:
        """What a score depends on, as a digest; `None` when it is not to be shared."""
        cache_key = getattr(item.reward, "cache_key", None)
        if cache_key is None:
            return digest(self._prefixes[position], packed)
        try:
            key = cache_key(sample)
            return None if key is None else digest(self._prefixes[position], "key", key)
        except Exception as error:  # noqa: BLE001 - it is the reward's code; its score does not hang on it
            if item.name not in self._has_warned:
                self._has_warned.add(item.name)
                logger.warning("rewards.%s: cache_key failed with %s; not shared", item.name, describe(error))
            return None

    def _fill(self, ticket: _Ticket, name: str, graded: Graded) -> None:
        with self._lock:
            ticket.scores[name], ticket.seconds[name] = graded.score, graded.seconds
            ticket.missing.discard(name)
            is_last = not ticket.missing and not ticket.future.done()
        if is_last:
            ticket.future.set_result(self.rewards.compose(ticket.scores, ticket.seconds))

    def _fail(self, ticket: _Ticket, error: ScoringError) -> None:
        if not ticket.future.done():
            ticket.future.set_exception(error)


def _timeout_s(item: WeightedReward, settings: Scoring) -> float:
    return float(item.timeout_s or getattr(item.reward, "default_timeout_s", None) or settings.timeout_s)
