"""The rollout engine: one vLLM per process, started once per run and shared by all of its stages.

Starts, feeds and asks vLLM; the face that it shows to TRL's GRPOTrainer is `generation`. Weights always go through vLLM's
reload, which works where TRL's in-place `load_weights` does not: vLLM's CPU build packs linear layers and empties their
parameters (docs/adr/0003-weight-sync.md).
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from safetensors import safe_open
from torch import nn
from trl.import_utils import is_vllm_available

from reasoning_rl import compiler
from reasoning_rl.errors import EngineError
from reasoning_rl.recipe import Recipe
from reasoning_rl.trl_bridge import lora_layers
from reasoning_rl.trl_bridge.ahead import Stopped
from reasoning_rl.trl_bridge.cpu_sampler import use_cpu_sampler
from reasoning_rl.trl_bridge.divergence import check_logprobs
from reasoning_rl.trl_bridge.kv_cache import Room, cache_arguments, cache_dtype
from reasoning_rl.trl_bridge.precision import prefers_float32
from reasoning_rl.trl_bridge.threads import idle_threads

logger = logging.getLogger(__name__)

# Modules of vLLM that warn at every start or sync of what is meant so; load_weights does its own, stricter check.
_CHATTERING = (
    "config.vllm",
    "model_executor.layers.indexer_topk",
    "model_executor.model_loader.reload.layerwise",
    "platforms.cpu",
    "utils.torch_utils",
    "v1.worker.cpu_worker",
)

#: Gets the position of a completion in its batch and its token ids, as soon as it is finished.
OnFinished = Callable[[int, list[int]], None]

#: Gets the position of a request and what vLLM says of it after a step of the engine.
OnOutput = Callable[[int, Any], None]


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
        room: what will be asked of it, from which follows what the recipe leaves open about memory (on a CPU).

    Raises:
        EngineError: vLLM does not start with these arguments, or there is not enough memory.
    """

    def __init__(self, folder: str, recipe: Recipe, room: Room | None = None) -> None:
        assert is_vllm_available()
        from vllm import LLM

        for name in _CHATTERING:  # a filter, because vLLM may set the levels of its loggers anew at any time
            logging.getLogger(f"vllm.{name}").addFilter(_is_error)
        state = PartialState()
        arguments: dict[str, Any] = {
            "model": folder,
            "revision": recipe.model.revision,
            "trust_remote_code": recipe.model.trust_remote_code,
            "seed": recipe.run.seed + state.process_index,
            "distributed_executor_backend": "external_launcher",
            "logprobs_mode": "processed_logprobs",
            **_arguments(folder, recipe, room),
        }
        if not arguments.get("enforce_eager"):
            logger.info(
                "vLLM compiles the model for its first start here, which may take minutes; later starts take less"
            )
        start = time.perf_counter()
        try:
            with _launcher_environment(state):
                self.llm = LLM(**arguments)
        except (ValueError, RuntimeError, TypeError) as error:
            raise EngineError(f"vllm: the engine does not start with {recipe.vllm}: {error}") from error
        if recipe.savings.cpu_sampler:
            use_cpu_sampler(self._runner)
        #: Whether requests can be followed one by one; not where several processes share an engine's step.
        self.can_stream: bool = self.llm.llm_engine.vllm_config.parallel_config.world_size == 1
        #: Names of the weights that every sync must bring; of a hub id they are known from the first sync on.
        self._weight_names = frozenset(name for _, name in _names_in(Path(folder)))
        #: Held while requests are sampled and while weights are written, so that these never overlap.
        self._use = threading.Lock()
        #: How many times weights were loaded, so that who has pushed a part of them knows whether the rest still stands.
        self.num_reloads = 0
        self._threads = idle_threads()
        self.max_model_len: int = self.llm.llm_engine.model_config.max_model_len
        self.max_num_seqs: int = self.llm.llm_engine.vllm_config.scheduler_config.max_num_seqs
        logger.info(
            "vLLM engine started in %.0f s (context %d tokens)", time.perf_counter() - start, self.max_model_len
        )

    @property
    def _runner(self) -> Any:
        """vLLM's model runner: it has the weights and the sampler."""
        return self.llm.llm_engine.model_executor.driver_worker.model_runner  # pyright: ignore

    def close(self) -> None:
        """Shuts vLLM down, in the order that its process groups need."""
        self.llm.llm_engine.engine_core.shutdown()

    def load_weights(self, tensors: Iterable[tuple[str, torch.Tensor]]) -> float:
        """Replaces the engine's weights; returns the seconds taken. Cached prefixes of the old weights are dropped.

        Raises:
            EngineError: a weight of the engine received no tensor, so that it would go on sampling a stale policy.
        """
        start = time.perf_counter()
        runner = self._runner
        sent: set[str] = set()
        with self._use:
            self.num_reloads += 1
            runner.reload_weights(weights_iterator=_remember_names(tensors, sent))
            _refresh_tied_head(runner.get_model(), self.llm.llm_engine.model_config.hf_text_config)
            self.llm.reset_prefix_cache()
        self._weight_names = self._weight_names or frozenset(sent)
        missing = sorted(self._weight_names - sent - {"lm_head.weight"})  # a tied head may be stored, and is not sent
        if missing or not sent:
            raise EngineError(
                f"weight sync: {len(missing) or 'all'} weights were not sent ({', '.join(missing[:3])}); the engine would "
                "sample a stale policy"
            )
        return time.perf_counter() - start

    def push_layers(self, targets: list[lora_layers.Target]) -> float:
        """Updates the layers that an adapter changes, all others being what they were; returns the seconds taken."""
        start = time.perf_counter()
        with self._use:
            lora_layers.push(targets)
            self.llm.reset_prefix_cache()
        return time.perf_counter() - start

    def plan_layers(self, policy: nn.Module) -> list[lora_layers.Target] | str:
        """See `lora_layers.plan`."""
        return lora_layers.plan(policy, self._runner.get_model(), bool(self.llm.llm_engine.model_config.enforce_eager))

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
        on_finished: OnFinished | None = None,
    ) -> list[list[SampledCompletion]]:
        """`num_samples` completions for each prompt (token ids), in order.

        `on_progress` gets the number just finished; `on_finished` each completion as it is finished, at
        `number of its prompt × num_samples + number of its sample`.
        """
        from vllm import SamplingParams

        def hand_on(position: int, token_ids: list[int]) -> None:
            if on_finished:
                on_finished(position, token_ids)
            if on_progress:
                on_progress(1)

        parameters = SamplingParams(temperature=temperature, top_p=top_p, max_tokens=max_tokens, logprobs=0)
        requests = [{"prompt_token_ids": prompt} for prompt in prompts for _ in range(num_samples)]
        sampled = [_sampled(output.outputs[0]) for output in self.run(requests, parameters, hand_on)]
        return [sampled[start : start + num_samples] for start in range(0, len(sampled), num_samples)]

    def run(
        self, requests: Sequence[Any], parameters: Any, on_finished: OnFinished, stop: threading.Event | None = None
    ) -> list[Any]:
        """What `LLM.generate` returns for single samples, in order, with each handed on as soon as it is finished.

        The engine takes the same steps on the same batches. When anything goes wrong, Ctrl-C included, no request is left.

        Raises:
            Stopped: `stop` was set.
            DivergenceError: the policy gives log-probs that are not finite.
        """
        with self._use:
            return self._run(requests, parameters, on_finished, stop)

    def _run(
        self, requests: Sequence[Any], parameters: Any, on_finished: OnFinished, stop: threading.Event | None
    ) -> list[Any]:
        engine = self.llm.llm_engine
        first = self.llm.request_counter.counter
        request_ids = self.llm.enqueue(requests, sampling_params=parameters, use_tqdm=False)
        outputs: dict[int, Any] = {}
        try:
            while engine.has_unfinished_requests():
                if stop and stop.is_set():
                    raise Stopped
                for output in self._step():
                    if output.finished:
                        position = int(output.request_id) - first
                        check_logprobs(output.outputs[0])  # pyright: ignore
                        outputs[position] = output
                        on_finished(position, list(output.outputs[0].token_ids))  # pyright: ignore
        except BaseException:
            with suppress(Exception):  # after a Ctrl-C in the middle of a step vLLM may be past even this
                engine.abort_request(request_ids, internal=True)
            raise
        return [outputs[position] for position in range(len(request_ids))]

    def run_until(
        self, requests: Sequence[tuple[list[int], Any]], on_output: OnOutput, has_enough: Callable[[], bool]
    ) -> None:
        """Samples single completions until all are finished or `has_enough`; the others leave the engine unfinished.

        Args:
            requests: prompt and sampling parameters of each; their `output_kind` decides what is handed on.
        """
        from vllm.inputs import tokens_input

        engine = self.llm.llm_engine
        with self._use:
            positions = {str(next(self.llm.request_counter)): position for position in range(len(requests))}
            try:
                # LLM.enqueue would have only finished requests handed on, whatever the parameters say.
                for name, (prompt, parameters) in zip(positions, requests, strict=True):
                    engine.add_request(name, tokens_input(prompt), parameters)
                while engine.has_unfinished_requests() and not has_enough():
                    for output in self._step():
                        if output.finished:
                            check_logprobs(output.outputs[0])  # pyright: ignore
                        on_output(positions[output.request_id], output)
            except BaseException:
                with suppress(Exception):  # as in _run
                    engine.abort_request(list(positions))
                raise
            engine.abort_request(list(positions))

    def _step(self) -> list[Any]:
        if self._threads:
            self._threads.look()
        return self.llm.llm_engine.step()

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


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


def _arguments(folder: str, recipe: Recipe, room: Room | None) -> dict[str, Any]:
    """The recipe's engine arguments and, on a CPU, what vLLM's defaults leave slow or greedy there (docs/install.md,
    docs/performance.md)."""
    if torch.accelerator.is_available():
        return recipe.vllm
    # Of block_size the least; only whole blocks of common beginnings are computed once. Compiling takes a minute or more.
    arguments = {"block_size": 32, "enforce_eager": True, **recipe.vllm}
    if prefers_float32():
        arguments = {"dtype": "float32", **arguments}
    if not arguments["enforce_eager"] and (problem := compiler.problem()):
        logger.warning("vllm.enforce_eager: false needs a compiler, and %s; sampling without compiling", problem)
        arguments["enforce_eager"] = True
    cache = cache_arguments(folder, recipe, room, arguments["block_size"], cache_dtype(arguments))
    return {**cache, **arguments}


@contextmanager
def _launcher_environment(state: PartialState) -> Iterator[None]:
    """What vLLM's external launcher reads at start. Taken back afterwards: left behind in a single process, it would
    make Accelerate wrap the policy in DistributedDataParallel for a world of one."""
    ranks = {"RANK": state.process_index, "LOCAL_RANK": state.local_process_index, "WORLD_SIZE": state.num_processes}
    before = {name: os.environ.get(name) for name in (*ranks, "MASTER_ADDR", "MASTER_PORT")}
    os.environ |= {name: str(value) for name, value in ranks.items()}
    if state.num_processes == 1:  # of several, the launcher has said where they meet
        os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(_free_port())}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _free_port() -> int:
    """One that the system gives out; TRL's choice is 29500 while that is free, as it is for two runs that start together."""
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


def _refresh_tied_head(model: nn.Module, config: Any) -> None:
    """Packs a tied LM head anew. vLLM's CPU build keeps a packed copy of it, which its reload leaves as it was: without
    this, the embeddings are new and the logits come from the old weights (docs/adr/0003-weight-sync.md)."""
    from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead, VocabParallelEmbedding
    from vllm.platforms import current_platform

    if not (current_platform.is_cpu() and config.tie_word_embeddings):
        return
    vocabularies = [module for module in model.modules() if isinstance(module, VocabParallelEmbedding)]
    heads = [module for module in vocabularies if isinstance(module, ParallelLMHead)]
    embeddings = [module for module in vocabularies if module not in heads]
    if len(heads) != 1 or len(embeddings) != 1:
        raise EngineError(
            f"weight sync: expected one embedding tied to one LM head, found {len(embeddings)} and {len(heads)} in "
            f"{type(model).__name__}; this model cannot be trained on a CPU"
        )
    heads[0].tie_weights(embeddings[0])
    heads[0].quant_method.process_weights_after_loading(heads[0])


def _remember_names(tensors: Iterable[tuple[str, torch.Tensor]], sent: set[str]) -> Iterator[tuple[str, torch.Tensor]]:
    for name, tensor in tensors:
        sent.add(name)
        yield name, tensor


def _tensors_in(folder: Path) -> Iterator[tuple[str, torch.Tensor]]:
    for file, name in _names_in(folder):
        with safe_open(file, framework="pt") as tensors:
            yield name, tensors.get_tensor(name)


def _names_in(folder: Path) -> Iterator[tuple[Path, str]]:
    """Each safetensors file of a folder with each tensor name in it; nothing for a hub id."""
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - not a mapping
                yield file, name


def _sampled(completion: Any) -> SampledCompletion:
    ids = list(completion.token_ids)
    logprobs = [step[token].logprob for step, token in zip(completion.logprobs, ids, strict=True)]
    return SampledCompletion(ids, logprobs)
