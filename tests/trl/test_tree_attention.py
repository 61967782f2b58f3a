"""Attention over a token tree is SDPA under the mask that the tree stands for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AutoModelForCausalLM, PreTrainedModel

from reasoning_rl.errors import ModelError
from reasoning_rl.trl_bridge import tree_attention
from reasoning_rl.trl_bridge.packing import pack
from reasoning_rl.trl_bridge.tree_attention import Branch, TokenTree

#: A trunk of 70 tokens and branches of its 30th and 69th, one of a branch; then a tree of one token, and 6 of padding.
BRANCHES = [
    Branch([], 0, 70),
    Branch(list(range(30)), 70, 1),
    Branch(list(range(69)), 71, 9),
    Branch([*range(69), 71, 72], 80, 33),
    Branch([], 113, 1),
]
TOKENS, PADDED = 114, 120
HEADS, KEY_HEADS, HEAD_DIM = 6, 2, 8


def ancestors() -> torch.Tensor:
    """(PADDED, PADDED) bool: each token sees itself and its ancestors, padding itself alone."""
    seen = torch.eye(PADDED, dtype=torch.bool)
    for branch in BRANCHES:
        for depth in range(branch.size):
            seen[branch.first + depth, list(branch.ancestors)] = True
            seen[branch.first + depth, branch.first : branch.first + depth] = True
    return seen


def inputs(dtype: torch.dtype) -> list[torch.Tensor]:
    """Queries, keys and values as transformers gives them, (1, heads, PADDED, HEAD_DIM)."""
    generator = torch.Generator().manual_seed(0)
    sizes = [HEADS, KEY_HEADS, KEY_HEADS]
    return [
        torch.randn(1, PADDED, n, HEAD_DIM, generator=generator).to(dtype).transpose(1, 2).requires_grad_()
        for n in sizes
    ]


def results(output: torch.Tensor, given: list[torch.Tensor]) -> list[torch.Tensor]:
    """The output at tokens, and the gradients of queries, keys and values of some function of it."""
    weights = torch.randn(1, PADDED, HEADS, HEAD_DIM, generator=torch.Generator().manual_seed(1))
    weights[:, TOKENS:] = 0.0
    return [
        output[:, :TOKENS].float(),
        *(x.float() for x in torch.autograd.grad((output * weights).sum(), given, retain_graph=True)),
    ]


def attend(given: list[torch.Tensor], scaling: float | None = None) -> torch.Tensor:
    tree = TokenTree.of(BRANCHES, PADDED, torch.device("cpu"))
    query, key, value = given
    mask = tree_attention.no_mask()
    return tree_attention._attention(torch.nn.Module(), query, key, value, mask, 0.0, scaling, tree=tree)[0]


@pytest.mark.parametrize("scaling", [None, 0.3], ids="scaling={}".format)
@pytest.mark.parametrize(
    ("piece", "pairs"), [(1, 128_000), (7, 128_000), (64, 128_000), (64, 1), (500, 128_000)], ids=str
)
def test_output_and_gradients_equal_sdpa_under_a_mask(
    piece: int, pairs: int, scaling: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree_attention, "PIECE_TOKENS", piece)
    monkeypatch.setattr(tree_attention, "PRODUCT_PAIRS", pairs)
    given = inputs(torch.float32)
    expected = scaled_dot_product_attention(*given, attn_mask=ancestors(), scale=scaling, enable_gqa=True).transpose(
        1, 2
    )
    for found, wanted in zip(results(attend(given, scaling), given), results(expected, given), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_bfloat16_is_as_exact_as_the_fused_kernel() -> None:
    """Both are compared with float64. Ours rounds the weights after they are normalised: outputs are off by 1.13 times as much, gradients
    of keys and values by 0.7."""
    given = inputs(torch.bfloat16)
    exact = [x.detach().double().requires_grad_() for x in given]
    truth = results(scaled_dot_product_attention(*exact, attn_mask=ancestors(), enable_gqa=True).transpose(1, 2), exact)
    fused = results(scaled_dot_product_attention(*given, attn_mask=ancestors(), enable_gqa=True).transpose(1, 2), given)
    ours = results(attend(given), given)
    for limit, found, reference, wanted in zip((1.2, 1.1, 0.8, 0.8), ours, fused, truth, strict=True):
        assert (found - wanted).abs().mean() <= limit * (reference - wanted).abs().mean()


def test_under_autocast_inputs_are_cast_and_gradients_keep_their_dtypes() -> None:
    given = inputs(torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = attend(given)
    assert output.dtype == torch.bfloat16
    cast = [x.detach().bfloat16().requires_grad_() for x in given]
    for found, wanted in zip(results(output, given), results(attend(cast), cast), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-2, atol=1e-2)
    assert all(x.dtype == torch.float32 for x in torch.autograd.grad(output.float().sum(), given))


def test_padding_gets_and_gives_nothing() -> None:
    given = inputs(torch.float32)
    output = attend(given)
    gradients = torch.autograd.grad(output.sum(), given)
    assert not output[:, TOKENS:].any()
    assert not any(gradient[:, :, TOKENS:].any() for gradient in gradients)


def test_long_branches_are_cut_and_pieces_of_unlike_size_stay_apart() -> None:
    tree = TokenTree.of(
        [Branch([], 0, 1000), *(Branch([0, 1], 1000 + 2 * i, 2) for i in range(100))], 1200, torch.device("cpu")
    )
    pairs = [product.bias.numel() for product in tree.products]
    assert all(product.bias.size(3) <= tree_attention.PIECE_TOKENS for product in tree.products)
    assert len(pairs) < 12 and sum(pairs) < 0.6 * 1000**2, pairs


@pytest.fixture
def policy(tiny_policy: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(tiny_policy, dtype=torch.float32)


def test_passes_without_a_tree_stay_as_they_are(policy: PreTrainedModel) -> None:
    ids = torch.tensor([[0, 5, 6, 7, 8], [9, 10, 11, 12, 13]])
    mask = torch.tensor([[0, 1, 1, 1, 1], [1, 1, 1, 1, 1]])
    expected = [policy(ids, attention_mask=given).logits for given in (mask, None)]
    tree_attention.use_tree_attention(policy)
    found = [policy(ids, attention_mask=given).logits for given in (mask, None)]
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_a_saved_policy_does_not_name_it(policy: PreTrainedModel, tmp_path: Path) -> None:
    tree_attention.use_tree_attention(policy)
    policy.save_pretrained(tmp_path)
    assert tree_attention.NAME not in (tmp_path / "config.json").read_text()


def test_a_model_that_does_not_hand_on_the_tree_is_an_error(policy: PreTrainedModel) -> None:
    tree_attention.use_tree_attention(policy)
    with pytest.raises(ModelError, match=r"LlamaAttention was not given its `tree`; set savings.pack_prompts to false"):
        policy(torch.tensor([[5, 6]]), attention_mask=tree_attention.no_mask())


@pytest.mark.parametrize(
    "options",
    [{"dropout": 0.1}, {"position_bias": torch.zeros(1)}, {"sliding_window": 64}],
    ids=lambda given: next(iter(given)),
)
def test_what_is_not_plain_attention_is_an_error(options: dict[str, Any]) -> None:
    tree = TokenTree.of(BRANCHES, PADDED, torch.device("cpu"))
    query, key, value = inputs(torch.float32)
    with pytest.raises(ModelError, match=f"Module: found {next(iter(options))}, expected plain attention"):
        tree_attention._attention(torch.nn.Module(), query, key, value, tree_attention.no_mask(), tree=tree, **options)


def test_no_other_attention_takes_the_mask_for_one(policy: PreTrainedModel) -> None:
    with pytest.raises(RuntimeError, match="size"):
        policy(torch.tensor([[5, 6]]), attention_mask=tree_attention.no_mask())


@pytest.mark.parametrize("reentrant", [False, True], ids="reentrant={}".format)
def test_checkpointed_layers_get_the_tree_again(reentrant: bool, policy: PreTrainedModel) -> None:
    tree_attention.use_tree_attention(policy)
    policy.train()
    policy.enable_input_require_grads()
    ids = torch.tensor([[5, 6, 7, 20, 7, 30]])
    labels = torch.tensor([[-100, -100, -100, 20, -100, 30]])
    given = pack(ids.repeat(2, 1), torch.ones(2, 6, dtype=torch.long), labels.repeat(2, 1)).model_inputs()
    del given["shift_labels"]
    found = []
    for _ in range(2):
        policy.zero_grad()
        policy(**given).logits.log_softmax(-1)[..., 3].sum().backward()
        found.append([p.grad.clone() for p in policy.parameters() if p.grad is not None])
        policy.gradient_checkpointing_enable({"use_reentrant": reentrant})
    assert len(found[0]) > 10 and all(torch.equal(a, b) for a, b in zip(*found, strict=True))
