"""Remembers scores and joins samples that wait for the same one, within bounds.

Keys are digests, so that an entry costs the same whatever the reward's key holds. Our own failures are never remembered,
only shared by those who are waiting already: the next batch tries again. Verdicts against the completion are remembered,
a timeout included, so that sixteen equal rollouts pay for it once. Not thread-safe; `grading` locks.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from hashlib import blake2b
from typing import Generic, TypeVar

from reasoning_rl.api import Verdict
from reasoning_rl.workers.task import Graded

#: What an entry costs besides its detail.
_ENTRY_BYTES = 600

Waiter = TypeVar("Waiter")


def digest(*parts: object) -> bytes:
    """16 bytes that stand for some plain values. Equal digests mean equal values; the reverse may fail, harmlessly."""
    return blake2b(pickle.dumps(parts, protocol=5), digest_size=16).digest()


class ScoreCache(Generic[Waiter]):
    """Least recently used scores, bounded by number and by bytes, and who waits for those being made."""

    def __init__(self, max_entries: int = 8_192, max_mb: int = 32) -> None:
        self.max_entries, self.max_bytes = max_entries, max_mb << 20
        self.num_bytes = 0
        self.hits = 0
        self.joined = 0
        self._scores: OrderedDict[bytes, Graded] = OrderedDict()
        self._waiting: dict[bytes, list[Waiter]] = {}

    def __len__(self) -> int:
        return len(self._scores)

    def get(self, key: bytes) -> Graded | None:
        """A remembered score; it took no time this time."""
        found = self._scores.get(key)
        if found is None:
            return None
        self._scores.move_to_end(key)
        self.hits += 1
        return Graded(found.score, 0.0, found.num_bytes)

    def wait(self, key: bytes, waiter: Waiter) -> bool:
        """Registers for a score that is to come; whether nobody had yet, so that the caller must have it made."""
        waiters = self._waiting.setdefault(key, [])
        waiters.append(waiter)
        self.joined += len(waiters) > 1
        return len(waiters) == 1

    def put(self, key: bytes, graded: Graded) -> list[Waiter]:
        """Remembers a score and returns who waits for it."""
        if graded.score.verdict not in (Verdict.GRADER_ERROR, Verdict.SANDBOX_FAILURE) and key not in self._scores:
            self._scores[key] = graded
            self.num_bytes += graded.num_bytes + _ENTRY_BYTES
            while len(self._scores) > self.max_entries or self.num_bytes > self.max_bytes:
                _, old = self._scores.popitem(last=False)
                self.num_bytes -= old.num_bytes + _ENTRY_BYTES
        return self._waiting.pop(key, [])

    def give_up(self, key: bytes) -> list[Waiter]:
        """Forgets who waits for a score that will not come, and returns them."""
        return self._waiting.pop(key, [])
