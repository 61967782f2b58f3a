"""`ReasoningTrainer`: TRL's GRPOTrainer on the run's engine, with every rollout written down.

Overrides no mathematics. What it changes: the generation backend is an engine that is already running, and after each
rollout the completions, scores and advantages go to the ledger and the phase times to the metrics.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from accelerate.utils import gather_object
from trl import GRPOConfig, GRPOTrainer

from reasoning_rl.trl_bridge.engine import Engine, EngineGeneration
from reasoning_rl.trl_bridge.reward_func import CombinedReward, ledger_row


class ReasoningTrainer(GRPOTrainer):
    """GRPO with colocated vLLM on any device that vLLM runs on.

    Args:
        engine: the run's engine.
        reward: the combined reward.
        on_rollouts: gets the ledger rows of each rollout batch, on the main process only.
        **kwargs: those of `trl.GRPOTrainer`.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        reward: CombinedReward,
        args: GRPOConfig,
        on_rollouts: Callable[[list[dict[str, Any]]], None],
        **kwargs: Any,
    ) -> None:
        super().__init__(args=args, reward_funcs=[reward], **kwargs)
        self.reward = reward
        self.on_rollouts = on_rollouts
        # With use_vllm the constructor would start an engine of its own; from here on the attributes are those that it
        # would have set (pinned by tests/trl/test_upstream_seams.py).
        self.use_vllm = True
        self._last_loaded_step = -1
        self.vllm_generation = EngineGeneration(
            engine,
            model=self.model,
            accelerator=self.accelerator,
            processing_class=self.processing_class,
            structured_outputs_regex=args.vllm_structured_outputs_regex,
            repetition_penalty=self.repetition_penalty,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            min_p=self.min_p,
            max_completion_length=self.max_completion_length,
            logprobs=0,
            generation_kwargs=args.generation_kwargs,
        )

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output = super()._generate_and_score_completions(inputs)
        rows = [
            {"step": self.state.global_step, **ledger_row(sample, scored), "advantage": advantage}
            for (sample, scored), advantage in zip(self.reward.last, output["advantages"].tolist(), strict=True)
        ]
        rows = gather_object(rows)
        if self.accelerator.is_main_process:
            self.on_rollouts(rows)
        metrics = self._metrics["train" if self.model.training else "eval"]
        for phase, seconds in self.vllm_generation.take_seconds().items():
            metrics[f"time/{phase}_s"].append(seconds)
        metrics["time/reward_s"].append(self.reward.take_seconds())
        return output
