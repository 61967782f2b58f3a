"""The face that the rollout engine shows to TRL's GRPOTrainer.

Sampling is TRL's own, parameters included; what differs is where the engine comes from, how weights are pushed, and who
answers in place of `LLM.generate`. Starting, feeding and asking vLLM is `engine`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from trl.generation.vllm_generation import VLLMGeneration

from reasoning_rl.trl_bridge import lora_layers
from reasoning_rl.trl_bridge.ahead import Beside
from reasoning_rl.trl_bridge.carry import Draft
from reasoning_rl.trl_bridge.engine import Engine, OnFinished
from reasoning_rl.trl_bridge.streaming import RolloutStream
from reasoning_rl.trl_bridge.weights import merged_tensors

logger = logging.getLogger(__name__)


class EngineGeneration(VLLMGeneration):
    """TRL's generation backend on an engine that is already running.

    Overrides where the engine comes from, how weights are named and how they are pushed; sampling is TRL's own.
    `seconds` collects the time of the current step by phase: `rollout` is what the trainer waits for sampling, `sampling` (only
    where some is done ahead) what all of it takes. With a `stream`, completions are handed on one by one.
    A batch may be sampled ahead: `begin` starts it in a thread, the next `generate` gives it, and a sync waits for it.
    With `continuing`, `generate` goes on with the completions in there and gives nothing.
    """

    stream: RolloutStream | None = None
    continuing: Continuing | None = None
    ahead: Beside[tuple[Any, ...]] | None = None

    def __init__(self, engine: Engine, model: nn.Module, accelerator: Accelerator, **kwargs: Any) -> None:
        self.engine = engine
        self.seconds = {"sync": 0.0, "rollout": 0.0}
        self.pushes_layers = True
        self._targets: list[lora_layers.Target] = []
        self._reload = -1
        super().__init__(model=model, accelerator=accelerator, mode="colocate", **kwargs)  # pyright: ignore

    def _init_vllm(self) -> None:
        self.llm = self.engine.llm
        self._llm_weights_sleeping = False

    def _iter_named_params(self) -> Generator[tuple[str, torch.Tensor], None, None]:
        if self._dist.is_fsdp:
            yield from super()._iter_named_params()
        else:
            yield from merged_tensors(self.model, self._dist)

    def sync_weights(self) -> None:
        """Everything the first time, and whenever another has loaded weights since; otherwise what the adapter changes.
        What is sampled ahead is finished first, with the weights that it began with."""
        self.wait()
        if self._targets and self._reload == self.engine.num_reloads:
            self.seconds["sync"] += self.engine.push_layers(self._targets)
            return
        planned = self.engine.plan_layers(self.model) if self.pushes_layers else "it is switched off"
        targets = [] if isinstance(planned, str) else planned
        with lora_layers.compared(targets) as same:
            self.seconds["sync"] += self.engine.load_weights(self._iter_named_params())
        self._targets, self._reload = targets if len(same) == len(targets) else [], self.engine.num_reloads
        if not self._targets:
            logger.debug("every weight is reloaded: %s", planned if isinstance(planned, str) else "another layout")

    def begin(self, prompts: Sequence[list[int]], num_generations: int) -> None:
        """Starts sampling in a thread, with the weights that were pushed last."""
        assert self.ahead is None and self.engine.can_stream

        def sample(stop: threading.Event) -> tuple[Any, ...]:
            return self._sample(stop, prompts=prompts, images=None, num_generations=num_generations)

        self.ahead = Beside(sample)

    def wait(self) -> float:
        """Returns when nothing is being sampled ahead any more: the seconds that this took."""
        start = time.perf_counter()
        if self.ahead:
            self.ahead.wait()
        return time.perf_counter() - start

    def drop(self) -> None:
        """Stops what is sampled ahead, if anything is; its requests leave the engine."""
        if self.ahead:
            self.ahead.stop()
            self.ahead = None

    def generate(self, *args: Any, **kwargs: Any) -> tuple:
        """Samples now, or gives what was sampled ahead: it is for the caller to have begun these very prompts."""
        if self.ahead:
            result = self.ahead.result()
            self.seconds["sampling"] += self.ahead.seconds
            self.ahead = None
            return result
        start = time.perf_counter()
        try:
            return self._sample(None, *args, **kwargs)
        finally:
            for phase in self.seconds.keys() - {"sync"}:  # here the trainer waits for all of the sampling
                self.seconds[phase] += time.perf_counter() - start

    def _sample(self, stop: threading.Event | None, *args: Any, **kwargs: Any) -> tuple:
        if self.stream:
            self.stream.start()
        if self.continuing:
            self.llm = self.continuing
        elif self.stream:
            self.llm = OneByOne(self.engine, self.stream.hand_on, stop)
        else:
            self.llm = OneByOne(self.engine, _ignore, stop) if stop else self.engine.llm
        return super().generate(*args, **kwargs)

    def take_seconds(self) -> dict[str, float]:
        """The seconds since the last call, by phase."""
        taken, self.seconds = self.seconds, dict.fromkeys(self.seconds, 0.0)
        return taken


@dataclass(frozen=True, slots=True)
class OneByOne:
    """What TRL's generation backend takes for vLLM: answers like `LLM.generate` and hands finished completions on."""

    engine: Engine
    on_finished: OnFinished
    stop: threading.Event | None = None

    def generate(self, prompts: Sequence[Any], sampling_params: Any, use_tqdm: bool) -> list[Any]:
        """See `Engine.run`."""
        return self.engine.run(prompts, sampling_params, self.on_finished, self.stop)


@dataclass(frozen=True, slots=True)
class Continuing:
    """The same for completions that take several steps: each goes on where it stands, until `has_enough`. Its prompt is then
    that of the draft with the tokens so far; what is sampled goes into the drafts."""

    engine: Engine
    drafts: Sequence[Draft]
    policy: int  # number of the optimizer step whose weights the engine has
    has_enough: Callable[[], bool]
    on_finished: Callable[[Draft], None]

    def generate(self, prompts: Sequence[Any], sampling_params: Any, use_tqdm: bool) -> list[Any]:
        """See `Engine.run_until`; nothing is returned."""
        requests = [
            (prompt["prompt_token_ids"], _remaining(sampling_params, len(draft.token_ids)))
            for prompt, draft in zip(prompts, self.drafts, strict=True)
        ]
        self.engine.run_until(requests, self._note, self.has_enough)
        return []

    def _note(self, position: int, output: Any) -> None:
        draft, sampled = self.drafts[position], output.outputs[0]
        logprobs = [step[token].logprob for step, token in zip(sampled.logprobs, sampled.token_ids, strict=True)]
        draft.add(sampled.token_ids, logprobs, self.policy)
        if output.finished:
            draft.is_finished = True
            self.on_finished(draft)


def _remaining(parameters: Any, num_sampled: int) -> Any:
    """Sampling parameters of what is left of a completion, whose tokens are to come as they are sampled."""
    from vllm.sampling_params import RequestOutputKind

    remaining = parameters.clone()
    remaining.output_kind = RequestOutputKind.DELTA
    remaining.max_tokens -= num_sampled
    remaining.min_tokens = max(0, remaining.min_tokens - num_sampled)
    return remaining


def _ignore(position: int, token_ids: list[int]) -> None:
    """A finished completion that nobody grades yet."""
