"""Sequences with common beginnings in one row, the common part computed once and no padding between them.

TRL runs the model on prompt + completion for every completion. Here the sequences of a micro-batch become token trees, one
behind the other in a single row: the system text that all prompts share stands once, a prompt once for all of its completions,
and each token attends to its own ancestors (`tree_attention`). The log-probs are the same numbers (tests/trl/test_packing.py).

Knows nothing of losses. Models whose layers do not attend to the whole prefix are left to TRL (`can_pack`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedConfig

from reasoning_rl.trl_bridge.tree_attention import NAME, Branch, TokenTree, no_mask

#: Rows of this many tokens and more are padded to few lengths.
ROUNDED_FROM = 128

#: Label of a position that predicts nothing, as in transformers.
IGNORED = -100


@dataclass(frozen=True, slots=True)
class Packed:
    """Model inputs of a row of N tokens, and where the labels of the B sequences stand in it."""

    input_ids: torch.Tensor  # (1, N)
    position_ids: torch.Tensor  # (1, N): depth in the tree
    tree: TokenTree
    shift_labels: torch.Tensor  # (1, N): the token that each position predicts, IGNORED where none is scored
    starts: tuple[int | None, ...]  # per sequence: where its first label stands
    sizes: tuple[int, ...]  # per sequence: number of labels

    def model_inputs(self) -> dict[str, Any]:
        """Keyword arguments of a model's forward pass."""
        return {
            "input_ids": self.input_ids,
            "position_ids": self.position_ids,
            "attention_mask": no_mask(),
            "tree": self.tree,
            "shift_labels": self.shift_labels,
        }

    def unpack(self, values: torch.Tensor, width: int) -> torch.Tensor:
        """(1, N) values of the row as (B, width), 0 behind the end of a sequence. For sequences whose labels stand one
        after the other, as completions do."""
        index = torch.zeros(len(self.sizes), width, dtype=torch.long)
        scored = torch.zeros(len(self.sizes), width, dtype=torch.bool)
        for row, (start, size) in enumerate(zip(self.starts, self.sizes, strict=True)):
            if start is not None:
                index[row, :size] = torch.arange(start, start + size)
                scored[row, :size] = True
        return values.reshape(-1)[index.to(values.device)] * scored.to(values.device)


def can_pack(config: PreTrainedConfig) -> bool:
    """Whether every layer is full softmax attention, computed by torch's SDPA or ours, on a CPU: an accelerator has flash kernels,
    without which the update took 1.7 times as long on an H100, under a dense mask (docs/gpu.md)."""
    if torch.accelerator.is_available():
        return False
    text = config.get_text_config()
    layers = set(getattr(text, "layer_types", None) or ["full_attention"])
    has_window = getattr(text, "sliding_window", None) is not None and getattr(text, "use_sliding_window", True)
    recurrent = any(hasattr(text, name) for name in ("mamba_d_state", "ssm_state_size", "linear_num_key_heads"))
    return (
        layers == {"full_attention"}
        and not (has_window or recurrent)
        and not getattr(text, "attention_dropout", 0.0)
        and getattr(text, "_attn_implementation", None) in ("sdpa", NAME)
    )


def pack(input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor) -> Packed:
    """Packs a padded micro-batch.

    Args:
        input_ids: (B, S), padded on either side.
        attention_mask: (B, S), 1 at tokens.
        labels: (B, S), IGNORED everywhere but at the tokens to score.
    """
    row = _Row()
    starts: list[int | None] = []
    sizes: list[int] = []
    for ids, mask, wanted in zip(input_ids, attention_mask.bool(), labels, strict=True):
        targets = wanted[mask].tolist()[1:]  # a position predicts the next token
        sizes.append(sum(target != IGNORED for target in targets))
        starts.append(row.add(ids[mask].tolist()[:-1], targets) if sizes[-1] else None)
    length = _round_up(max(1, len(row.tokens)))
    device = input_ids.device

    def padded(values: list[int], fill: int) -> torch.Tensor:
        return torch.tensor([values + [fill] * (length - len(values))], device=device)

    return Packed(
        input_ids=padded(row.tokens, 0),
        position_ids=padded(row.depths, 0),
        tree=TokenTree.of(row.branches, length, device),
        shift_labels=padded(row.labels, IGNORED),
        starts=tuple(starts),
        sizes=tuple(sizes),
    )


def _round_up(length: int) -> int:
    """One of eight lengths between two powers of 2, for rows that are long enough for it to matter: few sizes of tensors occur,
    so that the memory allocator, which keeps what is freed by its size, has one of each."""
    step = 1 << max(0, length.bit_length() - 4)
    return length if length < ROUNDED_FROM else -(-length // step) * step


class _Row:
    """A packed row while it is filled: a forest of tokens in which every parent stands before its children."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.labels: list[int] = []
        self.depths: list[int] = []
        self.branches: list[Branch] = []
        self._children: dict[tuple[int, int], int] = {}  # (parent, token) -> node, of those without a label

    def add(self, tokens: Sequence[int], labels: Sequence[int]) -> int:
        """Adds a sequence; returns where its first label stands. A position with a label is never shared, so the last
        prompt token opens each completion anew: it predicts the first token of every one."""
        shared = self._shared(tokens, labels)
        first = len(self.tokens)
        parents = [shared[-1] if shared else -1, *range(first, first + len(tokens))]
        for parent, token, label in zip(parents, tokens[len(shared) :], labels[len(shared) :], strict=False):
            if label == IGNORED:
                self._children[parent, token] = len(self.tokens)
            self.tokens.append(token)
            self.labels.append(label)
        self.depths += range(len(shared), len(tokens))
        self.branches.append(Branch(shared, first, len(tokens) - len(shared)))
        first_label = next(i for i, label in enumerate(labels) if label != IGNORED)
        return first + first_label - len(shared)

    def _shared(self, tokens: Sequence[int], labels: Sequence[int]) -> list[int]:
        """The nodes that already stand for the beginning of a sequence."""
        nodes: list[int] = []
        for token, label in zip(tokens, labels, strict=True):
            found = self._children.get((nodes[-1] if nodes else -1, token)) if label == IGNORED else None
            if found is None:
                break
            nodes.append(found)
        return nodes
