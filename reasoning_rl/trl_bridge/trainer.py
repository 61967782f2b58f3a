"""`ReasoningTrainer`: TRL's GRPOTrainer on the run's engine, with every rollout written down.

The mathematics is TRL's. What it changes: the generation backend is an engine that is already running; after each rollout
the completions, scores and advantages go to the ledger and the phase times to the metrics; rows that could not be scored leave
the loss (`void_rows`); and work that changes no
gradient is left out (`savings`, pinned against TRL by tests/trl/test_savings.py).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import torch
from accelerate.utils import DistributedType, gather_object
from peft import PeftModel
from trl import GRPOConfig, GRPOTrainer

from reasoning_rl.recipe import Savings
from reasoning_rl.trl_bridge import savings as exact
from reasoning_rl.trl_bridge import void_rows
from reasoning_rl.trl_bridge.cpu_layers import has_whole_weights, use_cpu_layers
from reasoning_rl.trl_bridge.divergence import check_grad_norm, check_loss
from reasoning_rl.trl_bridge.engine import Engine
from reasoning_rl.trl_bridge.frozen_weights import keep_casts
from reasoning_rl.trl_bridge.generation import EngineGeneration
from reasoning_rl.trl_bridge.packing import IGNORED, can_pack, pack
from reasoning_rl.trl_bridge.reward_func import CombinedReward, ledger_row
from reasoning_rl.trl_bridge.streaming import RolloutStream, obstacle
from reasoning_rl.trl_bridge.throughput import StepMeter
from reasoning_rl.trl_bridge.tree_attention import use_tree_attention
from reasoning_rl.trl_bridge.weights import unwrapped

logger = logging.getLogger(__name__)


class ReasoningTrainer(GRPOTrainer):
    """GRPO with colocated vLLM on any device that vLLM runs on.

    Args:
        engine: the run's engine.
        reward: the combined reward.
        on_rollouts: gets the ledger rows of each rollout batch, on the main process only.
        savings: what to leave out; everything that is exact for these arguments by default.
        **kwargs: those of `trl.GRPOTrainer`.
    """

    def __init__(
        self,
        *,
        engine: Engine,
        reward: CombinedReward,
        args: GRPOConfig,
        on_rollouts: Callable[[list[dict[str, Any]]], None],
        savings: Savings | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(args=args, reward_funcs=[reward], **kwargs)
        assert self.model is not None
        self.reward = reward
        self.on_rollouts = on_rollouts
        savings = savings or Savings()
        is_whole = has_whole_weights(self)
        if savings.keep_casts and is_whole and args.bf16 and isinstance(self.model, PeftModel):
            keep_casts(self.model, torch.bfloat16)
        if savings.cpu_layers and is_whole:
            use_cpu_layers(self.model)
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

        self.vllm_generation.pushes_layers = savings.push_layers
        self.meter = StepMeter(unwrapped(self.model))
        if args.loss_type not in exact.TESTED_LOSSES:
            logger.info(
                "savings that depend on the loss are off: they were not tested with loss_type %s", args.loss_type
            )
            savings = savings.model_copy(update=dict.fromkeys(exact.BY_LOSS, False))
        self._skips_idle_rows = savings.skip_idle_rows and self._idle_rows_are_idle()
        self._reuses_logprobs = savings.reuse_logprobs and self._is_aligned()
        self._packs = savings.pack_prompts and can_pack(unwrapped(self.model).config)
        for each in (self.model, self.ref_model) if self._packs else ():
            if each is not None:
                use_tree_attention(unwrapped(self.accelerator.unwrap_model(each)))  # pyright: ignore[reportArgumentType]
        self._sorts_rows = (
            savings.whole_groups and self._is_aligned() and self._rows_add_up() and self.loss_type != "bnpo"
        )
        # Nothing outside this process waits for the passes of a micro-batch (DDP and DeepSpeed do).
        self._runs_alone = self.accelerator.distributed_type == DistributedType.NO
        self._without_ratio: dict[str, Any] | None = None  # the micro-batch whose ratio is still to be computed
        self.stream: RolloutStream | None = None
        if reward.early and (reason := obstacle(engine.can_stream, self._tokenizer)):
            logger.info("completions are graded after the last one is sampled: %s", reason)
        elif reward.early:
            self.stream = self.vllm_generation.stream = RolloutStream(reward.early, reward.reader)

    def _rows_add_up(self) -> bool:
        """Whether no row's part of the loss depends on the rows beside it."""
        return not self._entropy_bonus_enabled and not self.aux_loss_enabled and self.top_entropy_quantile >= 1.0

    def _idle_rows_are_idle(self) -> bool:
        """Whether a row without advantage has no other way into the loss."""
        return self.beta == 0.0 and self._rows_add_up()

    def _is_aligned(self) -> bool:
        """Whether the training forward pass sees the very weights that sampled, so that its log-probs are the old ones."""
        assert isinstance(self.args, GRPOConfig)
        generate_every = (self.args.steps_per_generation or 1) * self.num_iterations
        assert self.model is not None
        return self.args.gradient_accumulation_steps % generate_every == 0 and not exact.has_dropout(self.model)

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        before = self._buffered_inputs
        inputs = super()._prepare_inputs(generation_batch)
        batches = self._buffered_inputs
        if batches is before or batches is None or len(batches) < 2 or not self._sorts_rows:
            return inputs
        if not exact.are_cut_freely(self.loss_type, batches):
            return inputs
        self._buffered_inputs = exact.whole_groups(  # pyright: ignore[reportAttributeAccessIssue]
            batches,
            evenly=self._runs_alone and self.loss_type in exact.GLOBAL_NORMALISER,
            computes_idle=not self._skips_idle_rows,
        )
        return self._buffered_inputs[self._step % len(batches)]

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        if self.stream:
            self.stream.expect(inputs)
        correction = self.vllm_importance_sampling_correction
        # Without the correction TRL computes no old log-probs; the ratio follows in _get_per_token_logps_and_entropies.
        self.vllm_importance_sampling_correction = correction and not self._reuses_logprobs
        try:
            output = super()._generate_and_score_completions(inputs)
        finally:
            self.vllm_importance_sampling_correction = correction
        self._zero_equal_groups(output["advantages"])
        self._leave_out_void_rows(output)
        self.meter.add_useful(output["advantages"])
        self._record(output["advantages"].tolist())
        return output

    def _generate(self, prompts: list[Any]) -> tuple[Any, ...]:
        result = super()._generate(prompts)
        self.meter.add_sampled(result[1])
        return result

    def _zero_equal_groups(self, advantages: torch.Tensor) -> None:
        """Makes the advantages of groups without variance exactly 0 and logs the share of the others."""
        equal = exact.equal_totals(
            gather_object([item.total for _, item in self.reward.last]), self.num_generations or 1
        )
        self._metrics["train"]["useful_group_share"].append(1 - sum(equal) / len(equal))
        if self.multi_objective_aggregation == "sum_then_normalize":
            start = self.accelerator.process_index * len(advantages)
            advantages[torch.tensor(equal[start : start + len(advantages)], device=advantages.device)] = 0.0

    def _leave_out_void_rows(self, output: dict[str, Any]) -> None:
        """Takes what could not be scored out of masks and normaliser, on all ranks together."""
        is_void = [item.total is None for _, item in self.reward.last]
        num_tokens = void_rows.leave_out(output, torch.tensor(is_void, device=output["completion_mask"].device))
        gathered: Any = self.accelerator.gather(num_tokens)
        output["num_items_in_batch"] = output["num_items_in_batch"] - gathered.sum()

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        rows = exact.trained_rows(inputs) if self._skips_idle_rows else void_rows.scored_rows(inputs)
        if not self._runs_alone:  # TRL's metrics are gathered, for which every rank needs as many rows as the others
            counts: Any = self.accelerator.gather(torch.tensor([len(rows)], device=rows.device))
            rows = exact.filled_up(rows, max(1, int(counts.max())), len(inputs["advantages"]))
        elif not len(rows):
            return exact.zero_loss(model)
        is_whole = len(rows) == len(inputs["advantages"]) and not self._skips_idle_rows
        kept = inputs if is_whole else exact.select_rows(inputs, rows)
        scale = exact.loss_scale(self.loss_type, inputs, kept)
        self.meter.add_trained(kept, only_useful=self._skips_idle_rows)
        needs_ratio = self.vllm_importance_sampling_correction and "importance_sampling_ratio" not in kept
        self._without_ratio = kept if needs_ratio else None
        loss = super()._compute_loss(model, kept) * scale
        check_loss(loss, self)
        return loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        check_grad_norm(norm, self)
        return norm

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor, logits_to_keep: int, **kwargs: Any
    ) -> Any:
        start = time.perf_counter()
        result = self._logps_and_entropies(model, input_ids, attention_mask, logits_to_keep, **kwargs)
        if not torch.is_grad_enabled():  # old or reference log-probs, in a pass of their own
            if torch.accelerator.is_available():
                torch.accelerator.synchronize()
            self.meter.add_seconds({"logprobs": time.perf_counter() - start})
        if self._without_ratio is not None:
            batch, self._without_ratio = self._without_ratio, None
            self._add_ratio(batch, result[0].detach())
        return result

    def _logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,  # (B, S)
        attention_mask: torch.Tensor,  # (B, S)
        num_scored: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Log-probs and entropies, (B, T) each, and the auxiliary loss of a mixture of experts."""
        if not self._packs or any(value is not None and value is not False for value in kwargs.values()):
            return super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, num_scored, batch_size, compute_entropy, **kwargs
            )
        logprobs, entropies = [], []
        for start in range(0, len(input_ids), batch_size or len(input_ids)):
            chosen = slice(start, start + (batch_size or len(input_ids)))
            ids, mask = input_ids[chosen], attention_mask[chosen]
            labels = ids.masked_fill(mask == 0, IGNORED)
            labels[:, :-num_scored] = IGNORED
            packed = pack(ids, mask, labels)
            with self.accelerator.autocast():
                output = model(**packed.model_inputs(), fused_lm_head=True)
            logprobs.append(packed.unpack(output.log_probs, num_scored))
            if compute_entropy:  # a reference policy has none
                entropies.append(packed.unpack(output.entropy, num_scored))
        return torch.cat(logprobs), torch.cat(entropies) if compute_entropy else None, None

    def _add_ratio(self, batch: dict[str, Any], logprobs: torch.Tensor) -> None:
        mask = batch["completion_mask"] * batch.get("tool_mask", 1)
        sampling = batch["sampling_per_token_logps"]
        batch["importance_sampling_ratio"] = exact.importance_ratio(
            logprobs,
            sampling,
            mask,
            self.vllm_importance_sampling_mode,
            self.vllm_importance_sampling_clip_min,
            self.vllm_importance_sampling_clip_max,
        )
        difference = (logprobs - sampling).abs()[mask.bool() & ~sampling.isnan()]
        ratio = batch["importance_sampling_ratio"]
        local = torch.stack(
            [
                difference.mean(),  # NaN without a token, and left out of the means below
                difference.max() if difference.numel() else difference.new_tensor(torch.nan),
                ratio.mean(),
            ]
        )
        gathered: Any = self.accelerator.gather(local.float())
        mean, largest, ratio_mean = gathered.view(-1, 3).T.cpu()
        metrics = self._metrics["train"]
        metrics["sampling/sampling_logp_difference/mean"].append(mean.nanmean().item())
        metrics["sampling/sampling_logp_difference/max"].append(largest.nan_to_num(0.0).max().item())
        metrics["sampling/importance_sampling_ratio/mean"].append(ratio_mean.nanmean().item())

    def _record(self, advantages: list[float]) -> None:
        """Writes the rollouts down and takes over the phase times."""
        rows = [
            {"step": self.state.global_step, **ledger_row(sample, scored), "advantage": advantage}
            for (sample, scored), advantage in zip(self.reward.last, advantages, strict=True)
        ]
        rows = gather_object(rows)
        if self.accelerator.is_main_process:
            self.on_rollouts(rows)
        self.meter.add_seconds({**self.vllm_generation.take_seconds(), "reward": self.reward.take_seconds()})
        metrics = self._metrics["train"]  # evaluation is a stage of its own, never the trainer's
        for name, count in self.reward.take_counts().items():
            metrics[name].append(count)
        if grading := self.reward.take_grading_time():
            metrics["time/grading_s"].append(grading.busy_s)
            metrics["rewards/hidden_share"].append(grading.hidden_share)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:  # a step
            logs |= self.meter.take()
        super().log(logs, start_time)
