"""`PackedSFTTrainer`: TRL's SFTTrainer on packed micro-batches.

The loss is TRL's. The layout of the model inputs differs: what the sequences have in common (the system text) is computed
once and nothing is padding (`packing`; pinned against TRL by tests/trl/test_packed_sft.py). On a CPU some layers take fewer passes
over memory (`cpu_layers`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from trl import SFTConfig, SFTTrainer

from reasoning_rl.recipe import Savings
from reasoning_rl.trl_bridge.cpu_layers import has_whole_weights, use_cpu_layers
from reasoning_rl.trl_bridge.divergence import check_grad_norm, check_loss
from reasoning_rl.trl_bridge.packing import can_pack, pack
from reasoning_rl.trl_bridge.tree_attention import use_tree_attention
from reasoning_rl.trl_bridge.weights import unwrapped

#: Key under which the number of tokens before packing travels to `compute_loss`.
_NUM_TOKENS = "num_tokens_unpacked"


@dataclass(frozen=True, slots=True)
class PackingCollator:
    """TRL's padded batch, packed."""

    pad: Callable[[Sequence[Any]], dict[str, Any]]

    def __call__(self, examples: Sequence[Any]) -> dict[str, Any]:
        batch = self.pad(examples)
        packed = pack(batch["input_ids"], batch["attention_mask"], batch["labels"])
        return {
            **packed.model_inputs(),
            "labels": packed.shift_labels,  # unread beside shift_labels; the Trainer counts targets only if it is there
            _NUM_TOKENS: batch["attention_mask"].sum(),
        }


class PackedSFTTrainer(SFTTrainer):
    """SFT with packed micro-batches, for models that take any attention mask, unless TRL packs by itself.

    Args:
        savings: of which `pack_prompts` and `cpu_layers` are for SFT too.
        **kwargs: those of `trl.SFTTrainer`.
    """

    def __init__(self, *, savings: Savings | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        assert isinstance(self.args, SFTConfig) and self.model is not None
        savings = savings or Savings()
        if savings.cpu_layers and has_whole_weights(self):
            use_cpu_layers(self.model)
        trl_packs = self.args.packing or self.args.padding_free
        if savings.pack_prompts and not trl_packs and can_pack(unwrapped(self.model).config):
            use_tree_attention(unwrapped(self.model))
            self.data_collator = PackingCollator(self.data_collator)

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        num_tokens = inputs.pop(_NUM_TOKENS, None)
        seen = self._total_train_tokens
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        check_loss(loss, self)
        if num_tokens is not None and self.model.training:  # pyright: ignore
            # TRL counts the ones of the attention mask, which is empty here.
            total = cast(torch.Tensor, self.accelerator.reduce(num_tokens, reduction="sum"))
            self._total_train_tokens = seen + int(total)
            self._metrics["train"]["num_tokens"] = [self._total_train_tokens]
        return loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        check_grad_norm(norm, self)
        return norm
