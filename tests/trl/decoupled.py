"""What tests of older policies compare: the steps of a run, and the gradient of the decoupled objective, written out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from reasoning_rl.trl_bridge.trainer import ReasoningTrainer

Policy = Mapping[str, torch.Tensor]


class Steps(TrainerCallback):
    """What each step found: the policy, its batch, and the gradient that it took."""

    def __init__(self, trainer: ReasoningTrainer) -> None:
        self.policies: list[dict[str, torch.Tensor]] = []
        self.batches: list[dict[str, Any]] = []
        self.gradients: list[dict[str, torch.Tensor]] = []
        compute_loss = trainer._compute_loss
        trainer._compute_loss = lambda model, inputs: compute_loss(model, self._note(inputs))  # pyright: ignore
        trainer.add_callback(self)

    def _note(self, inputs: dict[str, Any]) -> dict[str, Any]:
        self.batches.append(dict(inputs))
        return inputs

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.policies.append({name: value.clone() for name, value in kwargs["model"].state_dict().items()})

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.gradients.append({name: p.grad.clone() for name, p in kwargs["model"].named_parameters()})


def staleness(trainer: ReasoningTrainer) -> list[float]:
    """Of each step that logged it."""
    return [row["sampling/staleness"] for row in trainer.state.log_history if "sampling/staleness" in row]


def logprobs_of(policy: Policy, model: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Log-probs of the batch's completions, (B, T), by the model, which is given the policy's weights."""
    model.load_state_dict(policy)
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    logits = model(input_ids=ids, attention_mask=mask, position_ids=positions).logits[:, :-1].float()
    chosen = logits.log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    return chosen[:, -batch["completion_ids"].size(1) :]


def assert_decoupled(
    gradient: Mapping[str, torch.Tensor], policy: Policy, model: torch.nn.Module, batch: Mapping[str, torch.Tensor]
) -> None:
    """The gradient is that of, per token of a policy π, -min(π/π' · ρ·A, clip(π/π') · ρ·A) with ρ = min(π'/behaviour, 3) and
    π' = π, both held fixed, over the tokens of the batch; and some ρ is not 1."""
    is_token = batch["completion_mask"].bool()
    with torch.no_grad():
        proximal = logprobs_of(policy, model, batch)
    correction = (proximal - batch["sampling_per_token_logps"]).exp().clamp(max=3.0)
    assert (correction[is_token] > 1.1).any()
    model.zero_grad()
    ratio = (logprobs_of(policy, model, batch) - proximal).exp()
    advantage = batch["advantages"][:, None]
    objective = torch.min(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage) * correction
    (-(objective * is_token).sum() / is_token.sum()).backward()
    norm = torch.stack([g.norm() for g in gradient.values()]).norm()
    assert norm > 1e-4
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(gradient[name], parameter.grad, rtol=1e-5, atol=float(1e-5 * norm), msg=name)
