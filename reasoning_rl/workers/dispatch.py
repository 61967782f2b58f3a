"""Deals tasks out to grading processes, one at a time each, and enforces deadlines.

One thread owns all processes; callers only append to its queue. What it means when no score comes back is said in `blame`.
A score that has arrived is kept, whatever happens to the process afterwards. Nothing is cached here.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO

from reasoning_rl.api import Completion, Score, Verdict
from reasoning_rl.errors import ScoringError
from reasoning_rl.workers import blame
from reasoning_rl.workers.process import GradingProcess, Started, StartFailed
from reasoning_rl.workers.task import Graded, PoolLimits, PoolStats, RewardSpec, Task
from reasoning_rl.workers.wire import MalformedReply, Reply, pack_sample, pack_task, unpack_sample

logger = logging.getLogger(__name__)

#: Consecutive failures to start a process after which grading is broken; kills from outside weigh less.
_MAX_START_FAILURES = 3.0
_KILLED_START_WEIGHT = 0.25
_LOOK_EVERY_S = 0.005


@dataclass(frozen=True, slots=True, eq=False)
class _Ending:
    """A process on its way out; `task` is what it was doing when it died by itself, `fault` what it had sent instead."""

    process: GradingProcess
    task: Task | None = None
    has_crashed: bool = False
    fault: str | None = None


@dataclass(slots=True)
class _State:
    """What callers and the dispatcher's thread share, under one condition."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    queue: deque[Task] = field(default_factory=deque)
    num_pending: int = 0
    pending_bytes: int = 0
    closing: bool = False
    broken: ScoringError | None = None
    started: bool = False


class Dispatcher:
    """A pool of grading processes. Use as a context manager, or call `close`.

    Raises:
        ScoringError: a process cannot start: the rewards cannot be imported or built there.
    """

    def __init__(self, rewards: Sequence[RewardSpec], limits: PoolLimits) -> None:
        self.rewards, self.limits = tuple(rewards), limits
        self.stats = PoolStats()
        self._state = _State()
        self._owner = os.getpid()
        self._idle: list[GradingProcess] = []
        self._busy: dict[GradingProcess, Task] = {}
        self._starting: list[GradingProcess] = []
        self._ending: list[_Ending] = []
        self._start_failures = 0.0
        self._num_tasks = 0
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._on_wake)
        self._thread = threading.Thread(target=self._run, name="reasoning-rl-grading", daemon=True)
        self._thread.start()
        try:
            with self._state.changed:
                self._state.changed.wait_for(lambda: self._state.started or self._state.broken)
                broken = self._state.broken
        except BaseException:
            self.close()
            raise
        if broken:
            self.close()
            raise broken

    def __enter__(self) -> Dispatcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(self, task: Task) -> None:
        """Queues a task; blocks while too much is unfinished.

        Raises:
            ScoringError: grading has broken down or was closed.
        """
        assert os.getpid() == self._owner, "a grading pool cannot be used in a fork of its process"
        state, limits = self._state, self.limits
        size = len(task.sample)
        with state.changed:
            state.changed.wait_for(
                lambda: (
                    state.broken
                    or state.closing
                    or not state.num_pending
                    or (
                        state.num_pending < limits.max_pending
                        and state.pending_bytes + size <= limits.max_pending_mb << 20
                    )
                )
            )
            if state.broken or state.closing:
                raise state.broken or ScoringError("the grading processes were closed")
            state.num_pending += 1
            state.pending_bytes += size
            state.queue.append(task)
        self._wake()

    def close(self) -> None:
        """Kills all grading processes and waits until they are gone. Unfinished tasks fail."""
        if os.getpid() != self._owner:
            return
        with self._state.changed:
            self._state.closing = True
            self._state.changed.notify_all()
        self._wake()
        self._thread.join()

    # Everything below runs in the dispatcher's thread.

    def _run(self) -> None:
        error: ScoringError | None = None
        try:
            while not self._state.closing:
                self._start_missing()
                self._deal_out()
                for key, _ in self._selector.select(self._wait_s()):
                    key.data()
                self._enforce_deadlines()
                self._see_off()
        except ScoringError as found:
            error = found
        except Exception as found:
            logger.exception("the grading dispatcher failed")
            error = ScoringError(
                f"the grading dispatcher failed with {type(found).__name__}: {found}; please report it"
            )
        self._shut_down(error or ScoringError("the grading processes were closed"))

    def _shut_down(self, error: ScoringError) -> None:
        unfinished = {*self._busy.values(), *(ending.task for ending in self._ending if ending.task)}
        for process in (*self._idle, *self._busy, *self._starting):
            self._end(process)
        while self._ending:
            time.sleep(_LOOK_EVERY_S)
            self._ending = [ending for ending in self._ending if not ending.process.is_gone()]
        state = self._state
        with state.changed:
            state.broken = state.broken or error
            unfinished |= {*state.queue}
            state.queue.clear()
            state.changed.notify_all()
        for task in unfinished:
            task.on_failure(error)
        self._selector.close()
        os.close(self._wake_read)
        os.close(self._wake_write)
        self._wake_write = -1

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it will wake anyway; closed: it needs no waking
            os.write(self._wake_write, b"\0")

    def _on_wake(self) -> None:
        os.read(self._wake_read, 1 << 16)

    def _wait_s(self) -> float | None:
        if self._ending:
            return _LOOK_EVERY_S
        ends = [task.deadline for task in self._busy.values()]
        ends += [process.started_at + self.limits.start_timeout_s for process in self._starting]
        return max(0.0, min(ends) - time.monotonic()) if ends else None

    def _start_missing(self) -> None:
        while len(self._idle) + len(self._busy) + len(self._starting) < self.limits.num_workers:
            process = GradingProcess([(spec.use, spec.options) for spec in self.rewards], self.limits.memory_mb)
            self.stats.starts += 1
            self._starting.append(process)
            self._selector.register(process.socket, selectors.EVENT_READ, lambda p=process: self._on_socket(p))
            self._selector.register(process.output, selectors.EVENT_READ, lambda p=process: self._on_output(p))
            self._watch(process)

    def _deal_out(self) -> None:
        while self._idle and self._state.queue:
            task, process = self._state.queue.popleft(), self._idle.pop()
            self._num_tasks += 1
            task.number = self._num_tasks
            self._busy[process] = task
            self._begin_reward(task)
            process.send(pack_task(task.number, tuple(task.rewards), task.sample))
            self._watch(process)

    def _begin_reward(self, task: Task) -> None:
        task.reward_started_at = time.monotonic()
        task.deadline = task.reward_started_at + self.rewards[task.rewards[0]].timeout_s

    def _watch(self, process: GradingProcess) -> None:
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if process.has_to_send else 0)
        key = self._selector.get_key(process.socket)
        if key.events != events:
            self._selector.modify(process.socket, events, key.data)

    def _on_output(self, process: GradingProcess) -> None:
        if process.has_ended:  # by an event of the same round
            return
        if not process.read_output() and process.output in self._selector.get_map():
            self._selector.unregister(process.output)

    def _on_socket(self, process: GradingProcess) -> None:
        if process.has_ended:
            return
        if process.has_to_send:
            process.go_on_sending()
            self._watch(process)
        try:
            for message in process.receive():
                if process.has_ended:
                    return
                self._on_message(process, message)
        except EOFError:
            self._lost(process, None)
        except MalformedReply as error:
            self._lost(process, str(error))

    def _on_message(self, process: GradingProcess, message: Started | StartFailed | Reply) -> None:
        if isinstance(message, StartFailed):
            self._end(process)
            self._start_failed(message.reason)
        elif isinstance(message, Started):
            self.stats.start_s += time.monotonic() - process.started_at
            self._start_failures = 0.0
            self._starting.remove(process)
            self._idle.append(process)
            if not self._starting and not self._state.started:
                with self._state.changed:
                    self._state.started = True
                    self._state.changed.notify_all()
        else:
            self._on_reply(process, message)

    def _on_reply(self, process: GradingProcess, reply: Reply) -> None:
        task = self._busy.get(process)
        if task is None or (reply.task, reply.reward) != (task.number, task.rewards[0]):
            raise MalformedReply("sent a score that was not asked for")
        if reply.score is None:
            self._out_of_memory(process, task)
            return
        self.stats.busy_s += reply.seconds
        self._deliver(task, Graded(reply.score, reply.seconds, reply.num_bytes))
        if task.rewards:
            self._begin_reward(task)
            return
        del self._busy[process]
        process.num_done += 1
        grown = process.rss_mb - process.base_rss_mb
        if process.num_done >= self.limits.max_tasks or grown > self.limits.max_growth_mb:
            self.stats.recycled += 1
            self._end(process)
        else:
            self._idle.append(process)

    def _deliver(self, task: Task, graded: Graded) -> None:
        """Hands over the score of the reward at hand and closes the task when it was the last."""
        position = task.rewards.popleft()
        task.num_crashes, task.ran_out_of_memory = 0, False
        task.on_score(position, graded)
        if task.is_probe:
            return
        self.stats.scores += 1
        if not task.rewards:
            self.stats.tasks += 1
            with self._state.changed:
                self._state.num_pending -= 1
                self._state.pending_bytes -= len(task.sample)
                self._state.changed.notify_all()

    def _go_on(self, task: Task) -> None:
        """Puts what is left of a task at the head of the queue."""
        if task.rewards:
            self._state.queue.appendleft(task)

    def _out_of_memory(self, process: GradingProcess, task: Task) -> None:
        self.stats.out_of_memory += 1
        is_fresh = process.num_done == 0
        seconds = time.monotonic() - task.reward_started_at
        self._end(process)
        if is_fresh or task.ran_out_of_memory:
            self._deliver(task, Graded(blame.memory_score(self.limits.memory_mb), seconds))
        else:
            task.ran_out_of_memory = True
        self._go_on(task)

    def _enforce_deadlines(self) -> None:
        now = time.monotonic()
        for process in [process for process, task in self._busy.items() if task.deadline <= now]:
            self._on_socket(process)  # a score that has arrived in time counts
            task = self._busy.get(process)
            if task is not None and task.deadline <= now:
                self.stats.kills += 1
                score = blame.timeout_score(self.rewards[task.rewards[0]].timeout_s, *process.used_s())
                self._end(process)
                self._deliver(task, Graded(score, now - task.reward_started_at))
                self._go_on(task)
        for process in [p for p in self._starting if p.started_at + self.limits.start_timeout_s <= now]:
            self._end(process)
            self._start_failed(f"it did not start within {self.limits.start_timeout_s:g} s")

    def _lost(self, process: GradingProcess, fault: str | None) -> None:
        """A process has died or talks nonsense; once it is gone, `_see_off` knows how it died."""
        task = self._busy.get(process)
        self._end(process)
        self._ending[-1] = _Ending(process, task, has_crashed=True, fault=fault)

    def _end(self, process: GradingProcess) -> None:
        self._busy.pop(process, None)
        for processes in (self._idle, self._starting):
            if process in processes:
                processes.remove(process)
        self._selector.unregister(process.socket)
        if process.output in self._selector.get_map():
            self._selector.unregister(process.output)
        process.end()
        self._ending.append(_Ending(process))

    def _see_off(self) -> None:
        gone = [ending for ending in self._ending if ending.process.is_gone()]
        self._ending = [ending for ending in self._ending if ending not in gone]
        for ending in gone:
            if not ending.has_crashed:
                continue
            code, words = ending.process.exit_reason()
            reason = ending.fault or f"the grading process died with {words}"
            if ending.process.pid:
                self._crashed(ending.task, code, reason)
            else:
                self._start_failed(reason, was_killed=code in blame.FROM_OUTSIDE)

    def _crashed(self, task: Task | None, code: int, reason: str) -> None:
        self.stats.crashes += 1
        if task is None:
            return
        if task.is_probe:
            self._deliver(task, Graded(Score.abstain(Verdict.GRADER_ERROR, reason=reason), 0.0))
            return
        task.num_crashes += 1
        if task.num_crashes < blame.num_crashes_allowed(code):
            self._go_on(task)
        else:
            self._probe(task, reason)

    def _probe(self, task: Task, reason: str) -> None:
        """Asks the same reward about an empty completion of the same row, to learn whose fault the crash is."""
        sample = unpack_sample(BytesIO(task.sample))
        empty = replace(sample, completion=Completion("", None, "", 0, False))

        def judge(_: int, graded: Graded) -> None:
            score = blame.crash_score(reason, of_empty=graded.score)
            self._deliver(task, Graded(score, time.monotonic() - task.reward_started_at))
            self._go_on(task)

        probe = Task(pack_sample(empty), deque([task.rewards[0]]), judge, task.on_failure, is_probe=True)
        self._state.queue.appendleft(probe)

    def _start_failed(self, reason: str, *, was_killed: bool = False) -> None:
        self._start_failures += _KILLED_START_WEIGHT if was_killed else 1.0
        is_first = not self._state.started and not was_killed
        if is_first or self._start_failures >= _MAX_START_FAILURES:
            raise ScoringError(f"a grading process cannot start: {reason}; mend the reward or install what it needs")
