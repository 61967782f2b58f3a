"""The rollout engine: one vLLM per process, started once per run and shared by all of its stages.

`Engine` starts, feeds and asks vLLM; `EngineGeneration` is the face it shows to TRL's GRPOTrainer. Weights always go
through vLLM's reload, which works where TRL's in-place `load_weights` does not: vLLM's CPU build packs linear layers and
empties their parameters (docs/adr/0003-weight-sync.md).
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from safetensors import safe_open
from torch import nn
from trl.generation.vllm_generation import VLLMGeneration
from trl.import_utils import is_vllm_available
from trl.trainer.utils import ensure_master_addr_port

from reasoning_rl.errors import EngineError
from reasoning_rl.recipe import Recipe
from reasoning_rl.trl_bridge.weights import merged_tensors

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SampledCompletion:
    """What the engine sampled after one prompt: token ids, and the log-prob of each under the sampling distribution."""

    token_ids: list[int]
    logprobs: list[float]


class Engine:
    """A vLLM engine inside this process.

    Args:
        folder: model folder or hub id to start from.
        recipe: its `vllm` section holds the engine arguments.
    """

    def __init__(self, folder: str, recipe: Recipe) -> None:
        assert is_vllm_available()
        from vllm import LLM

        state = PartialState()
        os.environ |= {
            "RANK": str(state.process_index),
            "LOCAL_RANK": str(state.local_process_index),
            "WORLD_SIZE": str(state.num_processes),
        }
        ensure_master_addr_port()
        arguments: dict[str, Any] = {
            "model": folder,
            "revision": recipe.model.revision,
            "trust_remote_code": recipe.model.trust_remote_code,
            "seed": recipe.run.seed + state.process_index,
            "distributed_executor_backend": "external_launcher",
            "logprobs_mode": "processed_logprobs",
            **recipe.vllm,
        }
        start = time.perf_counter()
        try:
            self.llm = LLM(**arguments)
        except (ValueError, RuntimeError, TypeError) as error:
            raise EngineError(f"vllm: the engine does not start with {recipe.vllm}: {error}") from error
        self.max_model_len: int = self.llm.llm_engine.model_config.max_model_len
        logger.info(
            "vLLM engine started in %.0f s (context %d tokens)", time.perf_counter() - start, self.max_model_len
        )

    def load_weights(self, tensors: Iterable[tuple[str, torch.Tensor]]) -> float:
        """Replaces the engine's weights; returns the seconds taken. Cached prefixes of the old weights are dropped.

        Raises:
            EngineError: a weight of the engine received no tensor, so that it would go on sampling a stale policy.
        """
        start = time.perf_counter()
        runner: Any = self.llm.llm_engine.model_executor.driver_worker.model_runner  # pyright: ignore
        sent: set[str] = set()
        runner.reload_weights(weights_iterator=_remember_names(tensors, sent))
        self.llm.reset_prefix_cache()
        if not sent:
            raise EngineError(
                "weight sync: the policy has no parameters to send; the engine would sample a stale policy"
            )
        return time.perf_counter() - start

    def load_folder(self, folder: Path) -> float:
        """Replaces the engine's weights by those of a saved policy."""
        return self.load_weights(_tensors_in(folder))

    def generate(
        self,
        prompts: Sequence[list[int]],
        *,
        num_samples: int,
        max_tokens: int,
        temperature: float = 1.0,
        top_p: float = 1.0,
        on_progress: Callable[[int], None] | None = None,
    ) -> list[list[SampledCompletion]]:
        """`num_samples` completions for each prompt (token ids), in order. `on_progress` gets the number just finished."""
        from vllm import SamplingParams

        parameters = SamplingParams(
            n=num_samples, temperature=temperature, top_p=top_p, max_tokens=max_tokens, logprobs=0
        )
        self.llm.enqueue([{"prompt_token_ids": p} for p in prompts], sampling_params=parameters, use_tqdm=False)
        finished: dict[int, list[SampledCompletion]] = {}
        while self.llm.llm_engine.has_unfinished_requests():
            for output in self.llm.llm_engine.step():
                if output.finished:
                    finished[int(output.request_id)] = [_sampled(completion) for completion in output.outputs]
                    if on_progress:
                        on_progress(num_samples)
        return [finished[request] for request in sorted(finished)]

    def score(self, prompts: Sequence[list[int]], completions: Sequence[list[int]]) -> list[list[float]]:
        """The engine's log-probs of given completions, each token given all before it; for tests of the weight sync."""
        from vllm import SamplingParams

        outputs = self.llm.generate(
            [{"prompt_token_ids": [*p, *c]} for p, c in zip(prompts, completions, strict=True)],
            sampling_params=SamplingParams(max_tokens=1, prompt_logprobs=0),
            use_tqdm=False,
        )
        scores = []
        for prompt, completion, output in zip(prompts, completions, outputs, strict=True):
            assert output.prompt_logprobs is not None
            steps = output.prompt_logprobs[len(prompt) :]
            scores.append([step[token].logprob for step, token in zip(steps, completion, strict=True)])  # pyright: ignore
        return scores


class EngineGeneration(VLLMGeneration):
    """TRL's generation backend on an engine that is already running.

    Overrides where the engine comes from, how weights are named and how they are pushed; sampling is TRL's own.
    `seconds` collects the time of the current step by phase.
    """

    def __init__(self, engine: Engine, model: nn.Module, accelerator: Accelerator, **kwargs: Any) -> None:
        self.engine = engine
        self.seconds = {"sync": 0.0, "rollout": 0.0}
        super().__init__(model=model, accelerator=accelerator, mode="colocate", **kwargs)  # pyright: ignore

    def _init_vllm(self) -> None:
        self.llm = self.engine.llm
        self._llm_weights_sleeping = False

    def _iter_named_params(self) -> Iterator[tuple[str, torch.Tensor]]:
        if self._dist.is_fsdp:
            return super()._iter_named_params()
        return merged_tensors(self.model, self._dist)

    def sync_weights(self) -> None:
        self.seconds["sync"] += self.engine.load_weights(self._iter_named_params())

    def generate(self, *args: Any, **kwargs: Any) -> tuple:
        start = time.perf_counter()
        try:
            return super().generate(*args, **kwargs)
        finally:
            self.seconds["rollout"] += time.perf_counter() - start

    def take_seconds(self) -> dict[str, float]:
        """The seconds since the last call, by phase."""
        taken, self.seconds = self.seconds, dict.fromkeys(self.seconds, 0.0)
        return taken


def _remember_names(tensors: Iterable[tuple[str, torch.Tensor]], sent: set[str]) -> Iterator[tuple[str, torch.Tensor]]:
    for name, tensor in tensors:
        sent.add(name)
        yield name, tensor


def _tensors_in(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - not a mapping
                yield name, tensors.get_tensor(name)


def _sampled(completion: Any) -> SampledCompletion:
    ids = list(completion.token_ids)
    logprobs = [step[token].logprob for step, token in zip(completion.logprobs, ids, strict=True)]
    return SampledCompletion(ids, logprobs)
