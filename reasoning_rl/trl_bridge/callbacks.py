"""What happens around the trainers' steps: metrics to the run folder, progress, and a Ctrl-C that saves.

Reads what TRL logs; computes nothing that enters a loss.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import gather
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from reasoning_rl import allocator
from reasoning_rl.progress import StageProgress
from reasoning_rl.run_dir import RunDir, append_jsonl
from reasoning_rl.trl_bridge.throughput import peak_memory, rates
from reasoning_rl.workers import proc

logger = logging.getLogger(__name__)

_SHOWN = {
    "reward": ("reward", "{:.3f}"),
    "rewards/{accuracy}/mean": ("accuracy", "{:.3f}"),
    "completions/mean_length": ("length", "{:.0f}"),
    "tokens_per_s": ("tok/s", "{:.0f}"),
    "loss": ("loss", "{:.4f}"),
}


#: Parts of a step that are timed where they happen; what is left of it is the update.
_PHASES = ("sync", "rollout", "reward", "logprobs")


class Metrics(TrainerCallback):
    """Adds rates and memory to every logged step, appends it to `metrics.jsonl` and shows the figures that people look for.

    Put it before the trackers' callbacks, which then report what it adds too.

    Args:
        peak: TFLOP/s of all devices together, where known.
    """

    def __init__(
        self,
        run_dir: RunDir,
        stage: str,
        kind: str,
        progress: StageProgress,
        accuracy: str | None,
        peak: float | None = None,
    ) -> None:
        self.run_dir, self.stage, self.kind, self.progress, self.accuracy = run_dir, stage, kind, progress, accuracy
        self.peak = peak
        self._started = self._step_started = time.monotonic()
        self._last_tokens: float = 0.0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._last_tokens = state.num_input_tokens_seen  # of a resumed stage

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._step_started = time.monotonic()  # not when the last one was logged: a checkpoint may lie in between

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.progress.set(state.global_step)

    def on_sampled(self, num_sampled: int, num_completions: int, tokens_per_s: float) -> None:
        """Shows how far the sampling of a step is."""
        self.progress.show({"sampled": f"{num_sampled}/{num_completions}", "tok/s": f"{tokens_per_s:.0f}"})

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        if not state.is_world_process_zero or not logs or "loss" not in logs:
            return
        now = time.monotonic()
        logs |= self._times(logs, now - self._step_started)
        logs |= rates(logs, self.peak) | peak_memory()
        row = {
            "stage": self.stage,
            "kind": self.kind,
            "step": state.global_step,
            "elapsed_s": round(now - self._started, 3),
            **{key: _finite(value) for key, value in logs.items()},
        }
        append_jsonl(self.run_dir.metrics, [row])
        names = {key.format(accuracy=self.accuracy): shown for key, shown in _SHOWN.items()}
        self.progress.set(
            state.global_step,
            {name: form.format(row[key]) for key, (name, form) in names.items() if isinstance(row.get(key), float)},
        )

    def _times(self, logs: dict[str, Any], step_s: float) -> dict[str, float]:
        """Step time, what is left of it for the update, and prompt and completion tokens per second."""
        others = sum(logs.get(f"time/{phase}_s") or 0.0 for phase in _PHASES)
        times = {"time/step_s": round(step_s, 3), "time/update_s": round(max(0.0, step_s - others), 3)}
        tokens = logs.get("num_tokens") or 0.0
        if tokens and step_s:
            times["tokens_per_s"] = round((tokens - self._last_tokens) / step_s, 1)
            self._last_tokens = tokens
        return times


class SaveOnInterrupt(TrainerCallback):
    """First Ctrl-C: finish the step, save, stop. Second: stop at once.

    Use as a context manager around `trainer.train()`; `stopped` says afterwards whether the run was stopped after a step.
    All processes stop after the same step, whichever of them the signal reached first.
    """

    def __init__(self) -> None:
        self.stopped = False
        self._is_asked = False
        self._previous: Callable[[int, FrameType | None], Any] | int | None = None

    def __enter__(self) -> SaveOnInterrupt:
        self._previous = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._previous)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self._is_asked:
            raise KeyboardInterrupt
        self._is_asked = True
        logger.warning("interrupted: finishing this step and saving; press Ctrl-C again to stop at once")

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if _on_any_process(self._is_asked):
            self.stopped = control.should_save = control.should_training_stop = True


class KeepFirstSteps(TrainerCallback):
    """From the end of the second step on, the process keeps no more memory than it holds then: by then the moments of the
    optimiser are there, and every kind of tensor has come. More only gathers sizes that do not come again."""

    _STEPS = 2

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._from = state.global_step
        allocator.keep_most()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.global_step == self._from + self._STEPS:
            allocator.keep_at_most(proc.rss_mb(os.getpid()) << 20)


class NothingLeft(Exception):  # noqa: N818 - not an error
    """The checkpoint that a stage resumed from was its last."""


class StopBeforeFirst(TrainerCallback):
    """Raises `NothingLeft` once a checkpoint of the last step is loaded. Where that step lies within an epoch, transformers
    5.17 would train one more."""

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.global_step >= state.max_steps > 0:
            raise NothingLeft


def _on_any_process(flag: bool) -> bool:
    state = PartialState()
    if state.num_processes == 1:
        return flag
    return bool(gather(torch.tensor([float(flag)], device=state.device)).sum() > 0)  # pyright: ignore


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
