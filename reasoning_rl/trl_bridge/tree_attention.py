"""Attention over token trees: sequences that share their beginning stand in one row, each token attends to its ancestors.

Under a dense mask every token of the row would be compared with every other. Here each branch is compared with its own path to
the root only, cut into pieces of a few tokens; pieces of about the same size go into one batched product. On a CPU that takes half
of the time of torch's fused kernel under the mask (docs/performance.md). Scores and softmax are float32 and what
is multiplied has the dtype of the inputs, as in that kernel; like it, the backward pass computes the scores again.

Knows nothing of what the tokens mean (`packing`) nor of losses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from reasoning_rl.errors import ModelError

#: Under which transformers finds this attention.
NAME = "reasoning_rl_tree"
#: Queries of a piece at most. The first of a piece are compared with keys that only its last ones see.
PIECE_TOKENS = 64
#: Keys are filled up to a multiple of this: products of such sizes are faster, and fewer sizes occur.
KEYS_STEP = 16
#: Pairs of query and key in a product, at most, so that their scores stay in the caches.
PRODUCT_PAIRS = 128_000
#: As many pairs take as long as starting one product more.
_START_PAIRS = 8_000


@dataclass(frozen=True, slots=True)
class Branch:
    """Tokens `first`, `first` + 1, ... of the row, each the child of the one before; the first one the child of the last
    ancestor."""

    ancestors: Sequence[int]  # from the root on
    first: int
    size: int

    @property
    def depth(self) -> int:
        return len(self.ancestors) + self.size


@dataclass(frozen=True, slots=True)
class Product:
    """R pieces with T queries and S keys each. Where a piece has fewer, token 0 stands in."""

    num_pieces: int
    queries: torch.Tensor  # (R · T,): a token for each query
    keys: torch.Tensor  # (R · S,): a token for each key
    stand_ins: torch.Tensor  # places in `queries`
    bias: torch.Tensor  # (R, 1, 1, T, S) float32: 0 where the query sees the key, -inf where not


@dataclass(frozen=True, slots=True)
class TokenTree:
    """A row of tokens as products; each token is a query of one of them, but padding of none."""

    products: tuple[Product, ...]
    places: torch.Tensor  # (N,): of each token among the queries of all products, for padding the place behind the last

    @classmethod
    def of(cls, branches: Sequence[Branch], num_tokens: int, device: torch.device) -> TokenTree:
        pieces = [piece for branch in branches for piece in _cut(branch)]
        products: list[Product] = []
        places = torch.full((num_tokens,), -1)
        end = 0
        for group in _of_like_size(pieces):
            products.append(_product(group, device))
            width = len(products[-1].queries) // len(group)
            for row, piece in enumerate(group):
                places[piece.first : piece.first + piece.size] = end + row * width + torch.arange(piece.size)
            end += len(products[-1].queries)
        return cls(tuple(products), places.masked_fill(places < 0, end).to(device))


def use_tree_attention(model: PreTrainedModel) -> None:
    """Lets a model that attends by SDPA take a `TokenTree` as `tree`, with `no_mask()`; passes without one stay as they are."""
    AttentionInterface.register(NAME, _attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    model.set_attn_implementation(NAME)


def no_mask() -> torch.Tensor:
    """What stands for the attention mask beside a tree: (1, 1, 0, 0), which no other attention takes for a mask."""
    return torch.empty(1, 1, 0, 0, dtype=torch.bool)


def _cut(branch: Branch) -> Iterator[Branch]:
    path = [*branch.ancestors, *range(branch.first, branch.first + branch.size)]
    for start in range(len(branch.ancestors), branch.depth, PIECE_TOKENS):
        yield Branch(path[:start], path[start], min(PIECE_TOKENS, branch.depth - start))


def _of_like_size(pieces: Sequence[Branch]) -> Iterator[list[Branch]]:
    """Pieces that are worth computing together, although all are padded to the largest of them."""
    group: list[Branch] = []
    queries = keys = 0
    for piece in sorted(pieces, key=lambda piece: (piece.size, piece.depth), reverse=True):
        together = max(queries, piece.size) * max(keys, piece.depth) * (len(group) + 1)
        apart = queries * keys * len(group) + piece.size * piece.depth + _START_PAIRS
        if group and together > min(apart, PRODUCT_PAIRS):
            yield group
            group, queries, keys = [], 0, 0
        group.append(piece)
        queries, keys = max(queries, piece.size), max(keys, piece.depth)
    if group:
        yield group


def _product(pieces: Sequence[Branch], device: torch.device) -> Product:
    sizes, depths = (torch.tensor([getattr(piece, name) for piece in pieces])[:, None] for name in ("size", "depth"))
    query, key = torch.arange(int(sizes.max())), torch.arange(-(-int(depths.max()) // KEYS_STEP) * KEYS_STEP)
    firsts = torch.tensor([piece.first for piece in pieces])[:, None]
    keys = torch.zeros(len(pieces), len(key), dtype=torch.long)
    for row, piece in enumerate(pieces):
        keys[row, : piece.depth] = torch.tensor([*piece.ancestors, *range(piece.first, piece.first + piece.size)])
    is_query = query < sizes  # (R, T)
    seen = key <= (depths - sizes + query)[..., None]  # (R, T, S); a stand-in sees some key
    return Product(
        num_pieces=len(pieces),
        queries=((firsts + query) * is_query).flatten().to(device),
        keys=keys.flatten().to(device),
        stand_ins=(~is_query).flatten().nonzero()[:, 0].to(device),
        bias=torch.zeros(seen.shape).masked_fill_(~seen, -torch.inf)[:, None, None].to(device),
    )


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,  # (1, H, N, D)
    key: torch.Tensor,  # (1, K, N, D)
    value: torch.Tensor,  # (1, K, N, D)
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    tree: TokenTree | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    if tree is None:
        if attention_mask is not None and not attention_mask.numel():
            raise ModelError(f"{type(module).__name__} was not given its `tree`; set savings.pack_prompts to false")
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **kwargs)
    asked = {"dropout": dropout or None, **{name: kwargs.get(name) for name in ("position_bias", "sliding_window")}}
    if names := [name for name, value in asked.items() if value is not None]:
        raise ModelError(
            f"{type(module).__name__}: found {', '.join(names)}, expected plain attention; set savings.pack_prompts to false"
        )
    is_autocast = torch.is_autocast_enabled(query.device.type)
    dtype = torch.get_autocast_dtype(query.device.type) if is_autocast else value.dtype
    rows = [x[0].transpose(0, 1).to(dtype) for x in (query, key, value)]
    output: Any = _TreeAttention.apply(*rows, tree, scaling or query.size(-1) ** -0.5)
    return output[None], None


class _TreeAttention(torch.autograd.Function):
    """softmax(scale · Q Kᵀ + bias) V for each product of a tree."""

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,  # (N, H, D)
        key: torch.Tensor,  # (N, K, D)
        value: torch.Tensor,  # (N, K, D)
        tree: TokenTree,
        scale: float,
    ) -> torch.Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.tree, ctx.scale = tree, scale
        outputs = []
        with torch.autocast(query.device.type, enabled=False):
            for product in tree.products:
                heads = _Heads(product, key.size(1))
                p = heads.softmax(query, key, scale).to(query.dtype)
                outputs.append(heads.queries_back(p @ heads.keys(value)))
        return _at_places(outputs, tree, query)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: torch.Tensor
    ) -> tuple[torch.Tensor | None, ...]:
        query, key, value = ctx.saved_tensors
        dtype, scale, tree = query.dtype, ctx.scale, ctx.tree
        of_query: list[torch.Tensor] = []
        of_key, of_value = (x.new_zeros(x.size(0), x[0].numel(), dtype=torch.float32) for x in (key, value))
        with torch.autocast(query.device.type, enabled=False):
            for product in tree.products:
                heads = _Heads(product, key.size(1))
                of_output = heads.queries(gradients[0].to(dtype), with_stand_ins=False)
                p = heads.softmax(query, key, scale)
                of_p = of_output.float() @ heads.keys(value).float().mT
                of_value.scatter_add_(*heads.keys_back(p.to(dtype).mT @ of_output))
                of_scores = torch._softmax_backward_data(of_p, p, -1, torch.float32).to(dtype)
                of_query.append(heads.queries_back(of_scores @ heads.keys(key)).mul_(scale))
                of_key.scatter_add_(*heads.keys_back(of_scores.mT @ heads.queries(query)))
        of_key.mul_(scale)
        return (
            _at_places(of_query, tree, query),
            of_key.view(key.shape).to(dtype),
            of_value.view(value.shape).to(dtype),
            None,
            None,
        )


def _at_places(queries: Sequence[torch.Tensor], tree: TokenTree, like: torch.Tensor) -> torch.Tensor:
    """(R · T, H, D) of every product as (N, H, D), 0 at padding."""
    return torch.cat([*queries, like.new_zeros(1, *like.shape[1:])]).index_select(0, tree.places)


@dataclass(frozen=True, slots=True)
class _Heads:
    """The tokens of a product by their heads, the query heads of a key head beside each other: G of them, H = K · G."""

    product: Product
    num_key_heads: int

    def queries(self, x: torch.Tensor, *, with_stand_ins: bool = True) -> torch.Tensor:
        """(N, H, D) as (R · K, G · T, D)."""
        found = x.index_select(0, self.product.queries)
        if not with_stand_ins:
            found.index_fill_(0, self.product.stand_ins, 0.0)
        size = self.product.num_pieces, -1, self.num_key_heads, x.size(1) // self.num_key_heads, x.size(2)
        return found.view(size).permute(0, 2, 3, 1, 4).reshape(-1, size[3] * len(found) // size[0], x.size(2))

    def queries_back(self, x: torch.Tensor) -> torch.Tensor:
        """(R · K, G · T, D) as (R · T, H, D)."""
        num_queries = len(self.product.queries) // self.product.num_pieces
        split = x.view(self.product.num_pieces, self.num_key_heads, -1, num_queries, x.size(-1))
        return split.permute(0, 3, 1, 2, 4).reshape(len(self.product.queries), -1, x.size(-1))

    def keys(self, x: torch.Tensor) -> torch.Tensor:
        """(N, K, D) as (R · K, S, D)."""
        found = x.index_select(0, self.product.keys).view(self.product.num_pieces, -1, *x.shape[1:])
        return found.transpose(1, 2).flatten(0, 1)

    def keys_back(self, x: torch.Tensor) -> tuple[int, torch.Tensor, torch.Tensor]:
        """(R · K, S, D) as what `scatter_add_` takes to sum it into (N, K · D)."""
        split = x.view(self.product.num_pieces, self.num_key_heads, *x.shape[1:])
        rows = split.transpose(1, 2).reshape(len(self.product.keys), -1).float()
        return 0, self.product.keys[:, None].expand_as(rows), rows

    def softmax(self, query: torch.Tensor, key: torch.Tensor, scale: float) -> torch.Tensor:
        """(R · K, G · T, S) float32."""
        scores = self.queries(query).float().mul_(scale) @ self.keys(key).float().mT
        num_queries = len(self.product.queries) // self.product.num_pieces
        scores.view(self.product.num_pieces, self.num_key_heads, -1, num_queries, scores.size(-1)).add_(
            self.product.bias
        )
        return scores.softmax(-1)
