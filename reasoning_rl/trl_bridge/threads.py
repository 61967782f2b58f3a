"""As many compute threads as there are idle cores, on a CPU.

The threads of a matrix product wait for each other by spinning. Where another process holds one of their cores, all of them
wait for the one that has none, and the run takes several times as long, and so does that process (docs/performance.md). One
thread fewer waits for nobody. Sums are then made in another order, which the last bits of a result show.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import TrainerCallback

logger = logging.getLogger(__name__)

#: Says how many threads to use, whatever else runs.
VARIABLE = "REASONING_RL_THREADS"
#: Between two looks at the machine; shorter ones would see single ticks of the kernel's clock.
_EVERY_S = 0.5
#: Cores in use by others from which on a thread goes, or until which it comes back. Between them nothing changes.
_BUSY, _IDLE = 0.5, 0.25


class IdleThreads:
    """Sets the number of threads of the calling thread's parallel regions, when it is asked to look.

    Args:
        most: threads where nothing else runs.
        cores: how many this process may use.
        others_s: seconds of these cores that other processes have used so far.
        clock: seconds.
    """

    def __init__(self, most: int, cores: int, others_s: Callable[[], float], clock: Callable[[], float]) -> None:
        self.num_threads = most
        self._most, self._cores, self._others_s, self._clock = most, cores, others_s, clock
        self._before = clock(), others_s()
        self._has_said = False

    def look(self) -> None:
        """Decides anew where enough time has passed. Costs a microsecond otherwise, so that it may be called at each step."""
        now, (then, used) = self._clock(), self._before
        if now - then < _EVERY_S:
            return
        others = (self._others_s() - used) / (now - then)
        self._before = now, self._others_s()
        self.num_threads = self._decided(others)
        set_num_threads(self.num_threads)
        if self.num_threads < self._most and not self._has_said:
            self._has_said = True
            logger.info(
                "other processes use %.1f cores: computing with %d of %d threads while they do (%s sets the number)",
                others, self.num_threads, self._most, VARIABLE,
            )  # fmt: skip

    def _decided(self, others: float) -> int:
        fewer = max(1, self._cores - int(others + 1 - _BUSY))
        more = max(1, self._cores - int(others + 1 - _IDLE))
        return min(self._most, max(more, min(self.num_threads, fewer)))


class LookEachStep(TrainerCallback):
    """Looks before every step and micro-batch of a trainer."""

    def __init__(self, threads: IdleThreads) -> None:
        self._threads = threads

    def on_step_begin(self, *args: object, **kwargs: object) -> None:
        self._threads.look()

    def on_substep_end(self, *args: object, **kwargs: object) -> None:
        self._threads.look()


def idle_threads() -> IdleThreads | None:
    """For this process; `None` where there is nothing to decide: one thread, a GPU, or a number that the user has set."""
    most = int(os.environ.get("OMP_NUM_THREADS", "1"))
    if most < 2 or VARIABLE in os.environ or torch.accelerator.is_available():
        return None
    cores = os.sched_getaffinity(0)
    return IdleThreads(most, len(cores), lambda: busy_s(cores) - time.process_time(), time.perf_counter)


def busy_s(cores: set[int], stat: Path = Path("/proc/stat")) -> float:
    """Seconds that some cores have worked, whoever for: user, nice, system, irq and softirq of proc(5)."""
    ticks = 0
    for line in stat.read_text().splitlines():
        name, *fields = line.split()
        if name[:3] == "cpu" and name[3:] and int(name[3:]) in cores:
            user, nice, system, _, _, irq, softirq = map(int, fields[:7])
            ticks += user + nice + system + irq + softirq
    return ticks / os.sysconf("SC_CLK_TCK")


def set_num_threads(number: int) -> None:
    """vLLM's CPU worker puts a function in the place of `torch.set_num_threads` that does nothing."""
    torch._C.set_num_threads(number)  # pyright: ignore[reportAttributeAccessIssue]
