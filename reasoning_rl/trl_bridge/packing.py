"""Sequences with common beginnings in one row, the common part computed once and no padding between them.

TRL runs the model on prompt + completion for every completion. Here the sequences of a micro-batch become token trees: the
system text that all prompts share stands once, a prompt once for all of its completions, and each token attends to its
own ancestors. The log-probs are the same numbers (tests/trl/test_packing.py).

Knows nothing of losses. Models whose layers do not attend to the whole prefix are left to TRL (`can_pack`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedConfig

#: Tokens of a packed row, at most, unless one sequence alone is longer. Attention costs the square of it.
ROW_TOKENS = 512
#: Rows of this many tokens and more are padded to few lengths.
ROUNDED_FROM = 128

#: Label of a position that predicts nothing, as in transformers.
IGNORED = -100


@dataclass(frozen=True, slots=True)
class Packed:
    """Model inputs of R rows of L tokens, and where the labels of the B sequences stand in them."""

    input_ids: torch.Tensor  # (R, L)
    position_ids: torch.Tensor  # (R, L): depth in the tree
    attention_mask: torch.Tensor  # (R, 1, L, L) bool: query sees key
    shift_labels: torch.Tensor  # (R, L): the token that each position predicts, IGNORED where none is scored
    starts: tuple[int | None, ...]  # per sequence: where its first label stands in the flattened rows
    sizes: tuple[int, ...]  # per sequence: number of labels

    def unpack(self, values: torch.Tensor, width: int) -> torch.Tensor:
        """(R, L) values of the rows as (B, width), 0 behind the end of a sequence. For sequences whose labels stand one
        after the other, as completions do."""
        index = torch.zeros(len(self.sizes), width, dtype=torch.long)
        scored = torch.zeros(len(self.sizes), width, dtype=torch.bool)
        for row, (start, size) in enumerate(zip(self.starts, self.sizes, strict=True)):
            if start is not None:
                index[row, :size] = torch.arange(start, start + size)
                scored[row, :size] = True
        return values.reshape(-1)[index.to(values.device)] * scored.to(values.device)


def can_pack(config: PreTrainedConfig) -> bool:
    """Whether every layer is full softmax attention, computed by torch's SDPA, which takes any mask, on a CPU: a dense mask
    costs an accelerator its flash kernels: on an H100 the update took 1.7 times as long (docs/gpu.md)."""
    if torch.accelerator.is_available():
        return False
    text = config.get_text_config()
    layers = set(getattr(text, "layer_types", None) or ["full_attention"])
    has_window = getattr(text, "sliding_window", None) is not None and getattr(text, "use_sliding_window", True)
    recurrent = any(hasattr(text, name) for name in ("mamba_d_state", "ssm_state_size", "linear_num_key_heads"))
    return (
        layers == {"full_attention"}
        and not (has_window or recurrent)
        and getattr(text, "_attn_implementation", None) == "sdpa"
    )


def pack(input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor) -> Packed:
    """Packs a padded micro-batch.

    Args:
        input_ids: (B, S), padded on either side.
        attention_mask: (B, S), 1 at tokens.
        labels: (B, S), IGNORED everywhere but at the tokens to score.
    """
    sequences = []
    for ids, mask, wanted in zip(input_ids, attention_mask.bool(), labels, strict=True):
        targets = wanted[mask].tolist()[1:]  # a position predicts the next token
        sequences.append(_Sequence(ids[mask].tolist()[:-1], targets))
    rows, places = _fill_evenly(sequences)
    sizes = [sequence.size for sequence in sequences]
    length = _round_up(max(1, *(len(row.tokens) for row in rows)))
    starts = [None if place is None else place[0] * length + place[1] for place in places]
    device = input_ids.device

    def padded(name: str, fill: int) -> torch.Tensor:
        values = [getattr(row, name) for row in rows]
        return torch.tensor([v + [fill] * (length - len(v)) for v in values], device=device)

    return Packed(
        input_ids=padded("tokens", 0),
        position_ids=padded("depths", 0),
        attention_mask=torch.stack([row.mask(length) for row in rows])[:, None].to(device),
        shift_labels=padded("labels", IGNORED),
        starts=tuple(starts),
        sizes=tuple(sizes),
    )


def _round_up(length: int) -> int:
    """One of eight lengths between two powers of 2, for rows that are long enough for it to matter: few sizes of tensors occur,
    so that the memory allocator, which keeps what is freed by its size, has one of each."""
    step = 1 << max(0, length.bit_length() - 4)
    return length if length < ROUNDED_FROM else -(-length // step) * step


@dataclass(frozen=True, slots=True)
class _Sequence:
    """A sequence without its last token, and what each token predicts."""

    tokens: list[int]
    labels: list[int]

    @property
    def size(self) -> int:
        return sum(label != IGNORED for label in self.labels)


#: Rows, and per sequence the number of its row and where its first label stands there; `None` where it has none.
_Filling = tuple[list["_Row"], list[tuple[int, int] | None]]


def _fill_evenly(sequences: Sequence[_Sequence]) -> _Filling:
    """As few rows as ROW_TOKENS allows, and of these fillings the one with the shortest longest row, to which all others are
    padded."""
    best = _fill(sequences, ROW_TOKENS)
    sizes = [len(row.tokens) for row in best[0]]
    longest = max((len(sequence.tokens) for sequence in sequences if sequence.size), default=0)
    too_short, high = max(sum(sizes) // len(sizes), longest) - 1, max(sizes)
    while too_short + 1 < high:
        limit = (too_short + high) // 2
        found = _fill(sequences, limit)
        if len(found[0]) > len(sizes):
            too_short = limit
        else:
            best, high = found, limit
    return best


def _fill(sequences: Sequence[_Sequence], limit: int) -> _Filling:
    """Rows of at most `limit` tokens, unless one sequence alone is longer, filled in order."""
    rows = [_Row()]
    places: list[tuple[int, int] | None] = []
    for sequence in sequences:
        if not sequence.size:
            places.append(None)
            continue
        if not rows[-1].has_room(sequence.tokens, sequence.labels, limit):
            rows.append(_Row())
        places.append((len(rows) - 1, rows[-1].add(sequence.tokens, sequence.labels)))
    return rows, places


class _Row:
    """One packed row while it is filled: a forest of tokens in which every parent stands before its children."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.labels: list[int] = []
        self.depths: list[int] = []
        self.parents: list[int] = []
        self._children: dict[tuple[int, int], int] = {}  # (parent, token) -> node, of those without a label

    def has_room(self, tokens: Sequence[int], labels: Sequence[int], limit: int) -> bool:
        new = len(tokens) - len(self._shared(tokens, labels))
        return not self.tokens or len(self.tokens) + new <= limit

    def add(self, tokens: Sequence[int], labels: Sequence[int]) -> int:
        """Adds a sequence; returns where its first label stands. A position with a label is never shared, so the last
        prompt token opens each completion anew: it predicts the first token of every one."""
        shared = self._shared(tokens, labels)
        parent = shared[-1] if shared else -1
        first_label = next(i for i, label in enumerate(labels) if label != IGNORED)
        for depth in range(len(shared), len(tokens)):
            node = len(self.tokens)
            self.tokens.append(tokens[depth])
            self.labels.append(labels[depth])
            self.depths.append(depth)
            self.parents.append(parent)
            if labels[depth] == IGNORED:
                self._children[parent, tokens[depth]] = node
            parent = node
        return len(self.tokens) - len(tokens) + first_label

    def mask(self, length: int) -> torch.Tensor:
        """(L, L) bool: each token sees itself and its ancestors; padding sees itself alone."""
        sees = torch.eye(length, dtype=torch.bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                sees[node] |= sees[parent]
        return sees

    def _shared(self, tokens: Sequence[int], labels: Sequence[int]) -> list[int]:
        """The nodes that already stand for the beginning of a sequence."""
        nodes: list[int] = []
        parent = -1
        for token, label in zip(tokens, labels, strict=True):
            found = self._children.get((parent, token)) if label == IGNORED else None
            if found is None:
                break
            nodes.append(found)
            parent = found
        return nodes
