"""What is measured of a training run from outside: phases of every step, memory, other processes, drift of the weights.

The same instruments for every arm: methods of TRL's trainer and generation backend are wrapped where the class that runs
defines them. Imports nothing heavy, so that it can be imported before the environment of torch is set.
"""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reasoning_rl.workers import proc

#: Method of a trainer or a generation backend -> phase.
PHASES = {
    "_generate_and_score_completions": "batch",  # all of the below except the update
    "sync_weights": "sync",
    "generate": "generate",
    "_calculate_rewards": "score",
    "_get_per_token_logps_and_entropies": "old_logprobs",  # counted inside "batch" only
}


@dataclass
class Clock:
    """Seconds by phase since the last `take`; a phase that calls itself counts once."""

    seconds: dict[str, float] = field(default_factory=dict)
    _inside: set[str] = field(default_factory=set)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        if name in self._inside or (name == "old_logprobs" and "batch" not in self._inside):
            yield
            return
        self._inside.add(name)
        wait_for_device()
        start = time.perf_counter()
        try:
            yield
        finally:
            self._inside.discard(name)
            wait_for_device()
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def wrap(self, *owners: type) -> None:
        """Times the methods that these classes themselves define."""
        for owner in owners:
            for method, phase in PHASES.items():
                if method in vars(owner):
                    setattr(owner, method, self._timed(vars(owner)[method], phase))

    def take(self) -> dict[str, float]:
        taken, self.seconds = self.seconds, {}
        return taken

    def _timed(self, method: Callable[..., Any], phase: str) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            with self.phase(phase):
                return method(*args, **kwargs)

        return call


def wait_for_device() -> None:
    """Until a GPU, if this process uses one, has done what it was given; otherwise phases would end before their work."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.synchronize()


def phases(taken: dict[str, float], step_s: float) -> dict[str, float]:
    """Seconds of a step by phase, without overlap: they add up to `step_s`. `update` is what is not spent on the batch;
    `other` is the rest of the batch (padding, decoding, advantages)."""
    parts = {name: taken.get(name, 0.0) for name in ("generate", "sync", "score", "old_logprobs")}
    batch = max(taken.get("batch", 0.0), sum(parts.values()))
    return {**parts, "update": step_s - batch, "other": batch - sum(parts.values())}


def reset_peak_memory() -> None:
    """The kernel's peak of this process starts anew; where that is not allowed, it goes on."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_memory_mb() -> int:
    """Highest resident memory of this process since the last reset, and what its descendants (grading processes) hold now."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return (int(line.split()[1]) >> 10) + sum(map(proc.rss_mb, proc.descendants(os.getpid())))


class Others:
    """The share of the machine's cores that other processes used since this was made."""

    def __init__(self) -> None:
        self._before = (time.perf_counter(), _busy_s(), time.process_time())

    def share(self) -> float:
        """0 = this process had the machine for itself, 1 = the others used every core. Its own children count as others."""
        wall, busy, own = (b - a for a, b in zip(self._before, self._now(), strict=True))
        return max(0.0, busy - own) / (wall * (os.cpu_count() or 1)) if wall > 0 else 0.0

    @staticmethod
    def _now() -> tuple[float, float, float]:
        return time.perf_counter(), _busy_s(), time.process_time()


def _busy_s() -> float:
    """CPU seconds that all processes of the machine have used: user, nice, system, irq, softirq of proc(5)."""
    fields = [int(ticks) for ticks in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:8]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def base_weight_drift(model: Any, folder: str) -> float:
    """Largest absolute difference between the base weights of a LoRA model and the folder that they came from."""
    from safetensors import safe_open

    from reasoning_rl.trl_bridge.weights import plain_name

    worst, compared = 0.0, 0
    named = {plain_name(name): parameter for name, parameter in model.named_parameters() if ".lora_" not in name}
    for file in sorted(Path(folder).glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            for name in set(tensors.keys()) & named.keys():
                difference = named[name].detach().cpu() - tensors.get_tensor(name).to(named[name].dtype)
                worst, compared = max(worst, float(difference.abs().max())), compared + 1
    if not compared:
        raise ValueError(f"{folder}: found no weight of the model that was trained")
    return worst
