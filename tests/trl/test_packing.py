"""Packed rows give the log-probs, entropies and gradients of one row per completion."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, MistralConfig, PreTrainedConfig, Qwen2Config
from trl.trainer.utils import add_fused_lm_head

from reasoning_rl.trl_bridge import packing, tree_attention

PROMPTS = [[5, 6, 7], [8, 9, 10, 11, 12], [13]]
#: (prompt, completion): groups of unequal size and length, out of order, one completion of one token, one masked whole.
MEMBERS = [
    (0, [20, 21, 22, 23]),
    (1, [30, 31]),
    (0, [24, 25]),
    (2, [40, 41, 42]),
    (1, [32, 33, 34, 35, 36]),
    (0, [26]),
    (2, []),
]


def micro_batch(members: list[tuple[int, list[int]]] = MEMBERS) -> tuple[torch.Tensor, torch.Tensor, int]:
    """As TRL pads: prompts on the left, completions on the right."""
    width = max(len(completion) for _, completion in members)
    rows = [(PROMPTS[p], c) for p, c in members]
    left = max(map(len, PROMPTS))
    ids = [[0] * (left - len(p)) + p + c + [0] * (width - len(c)) for p, c in rows]
    mask = [[0] * (left - len(p)) + [1] * (len(p) + len(c)) + [0] * (width - len(c)) for p, c in rows]
    return torch.tensor(ids), torch.tensor(mask), width


def labelled(ids: torch.Tensor, mask: torch.Tensor, width: int) -> torch.Tensor:
    labels = ids.masked_fill(mask == 0, packing.IGNORED)
    labels[:, :-width] = packing.IGNORED
    return labels


def sees(packed: packing.Packed) -> torch.Tensor:
    """(N, N): whether each token attends to each."""
    seen = torch.zeros(2 * packed.input_ids.shape[1:], dtype=torch.int)
    for product in packed.tree.products:
        keys = product.keys.view(product.num_pieces, -1)
        for piece, queries in enumerate(product.queries.view(product.num_pieces, -1)):
            for place, query in enumerate(queries.tolist()):
                if piece * len(queries) + place not in product.stand_ins.tolist():
                    seen[query, keys[piece][product.bias[piece, 0, 0, place] == 0]] += 1
    return seen


def test_what_is_common_stands_once_and_completions_do_not_see_each_other() -> None:
    ids, mask, width = micro_batch([(0, [20, 21]), (0, [22])])
    packed = packing.pack(ids, mask, labelled(ids, mask, width))
    assert packed.input_ids.tolist() == [[5, 6, 7, 20, 7]]
    assert packed.position_ids.tolist() == [[0, 1, 2, 3, 2]]
    assert packed.shift_labels.tolist() == [[-100, -100, 20, 21, 22]]
    assert sees(packed).tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 0, 0, 1],
    ]
    values = packed.unpack(torch.tensor([[0.0, 0.0, 0.1, 0.2, 0.3]]), width)
    assert values.tolist() == [pytest.approx([0.1, 0.2]), pytest.approx([0.3, 0.0])]


def test_different_prompts_share_their_beginning() -> None:
    """Prompts 5 6 7 and 5 6 9 9, one completion each: 5 6 stands once."""
    ids = torch.tensor([[5, 6, 7, 20, 0], [5, 6, 9, 9, 21]])
    mask = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
    labels = torch.tensor([[-100, -100, -100, 20, -100], [-100, -100, -100, -100, 21]])
    packed = packing.pack(ids, mask, labels)
    assert packed.input_ids.tolist() == [[5, 6, 7, 9, 9]]
    assert packed.position_ids.tolist() == [[0, 1, 2, 2, 3]]
    assert packed.shift_labels.tolist() == [[-100, -100, 20, -100, 21]]
    assert sees(packed)[4].tolist() == [1, 1, 0, 1, 1]
    assert packed.starts == (2, 4) and packed.sizes == (1, 1)


@pytest.mark.parametrize("rounded_from", [1, 128], ids="rounded_from={}".format)
@pytest.mark.parametrize("piece_tokens", [1, 3, 64], ids="piece_tokens={}".format)
def test_log_probs_entropies_and_gradients_equal_padded_rows(
    piece_tokens: int, rounded_from: int, tiny_policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree_attention, "PIECE_TOKENS", piece_tokens)
    monkeypatch.setattr(packing, "ROUNDED_FROM", rounded_from)
    model = AutoModelForCausalLM.from_pretrained(tiny_policy, dtype=torch.float32)
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    tree_attention.use_tree_attention(model)
    ids, mask, width = micro_batch()
    weights = torch.randn(len(ids), width, generator=torch.Generator().manual_seed(0))

    labels = labelled(ids, mask, width)
    padded = model(input_ids=ids, attention_mask=mask, labels=labels, fused_lm_head=True)
    expected = padded.log_probs[:, -width:], padded.entropy[:, -width:]
    (expected[0] * weights).sum().backward()
    expected_gradients = {
        name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None
    }
    model.zero_grad()

    packed = packing.pack(ids, mask, labels)
    assert packed.sizes == tuple(len(completion) for _, completion in MEMBERS)
    assert packed.input_ids.numel() < mask.sum()  # less than the tokens without any padding
    output = model(**packed.model_inputs(), fused_lm_head=True)
    logprobs, entropies = packed.unpack(output.log_probs, width), packed.unpack(output.entropy, width)
    torch.testing.assert_close(logprobs, expected[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(entropies, expected[1], rtol=1e-5, atol=1e-5)
    (logprobs * weights).sum().backward()
    norm = torch.stack([gradient.norm() for gradient in expected_gradients.values()]).norm()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(
            parameter.grad, expected_gradients[name], rtol=1e-4, atol=float(1e-5 * norm), msg=name
        )


def test_a_batch_that_is_masked_whole_is_still_a_batch() -> None:
    ids, mask, width = micro_batch([(0, [20, 21]), (1, [22])])
    mask[:, -width:] = 0
    packed = packing.pack(ids, mask, labelled(ids, mask, width))
    assert packed.input_ids.shape == (1, 1) and packed.sizes == (0, 0)
    assert packed.unpack(torch.ones(1, 1), width).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(("length", "expected"), [(17, 17), (127, 127), (128, 128), (129, 144), (241, 256), (257, 288)])
def test_long_rows_have_one_of_eight_lengths_between_powers_of_two(length: int, expected: int) -> None:
    ids = torch.arange(1, length + 2)[None]
    packed = packing.pack(ids, torch.ones_like(ids), ids)
    assert packed.input_ids.shape == (1, expected)
    assert packed.shift_labels[0, length:].eq(packing.IGNORED).all()
    assert torch.equal(sees(packed)[:length, :length], torch.ones(length, length, dtype=torch.int).tril())
    assert not sees(packed)[length:].any() and not sees(packed)[:, length:].any()
    assert packed.unpack(packed.shift_labels, length).tolist() == [ids[0, 1:].tolist()]


def attending(config: PreTrainedConfig, attention: str = "sdpa") -> PreTrainedConfig:
    config._attn_implementation = attention
    return config


@pytest.mark.parametrize(
    ("config", "can"),
    [
        (attending(LlamaConfig()), True),
        (attending(Qwen2Config()), True),
        (attending(Qwen2Config(use_sliding_window=True, sliding_window=64, max_window_layers=1)), False),
        (attending(MistralConfig(sliding_window=64)), False),
        (attending(MistralConfig(sliding_window=None)), True),
        (attending(LlamaConfig(), "eager"), False),
        (attending(LlamaConfig(attention_dropout=0.1)), False),
    ],
    ids=["llama", "qwen2", "qwen2-window", "mistral-window", "mistral-full", "eager", "dropout"],
)
def test_only_full_sdpa_attention_is_packed(config: PreTrainedConfig, can: bool) -> None:
    assert packing.can_pack(config) is can


def test_loaded_policies_run_sdpa(tiny_policy: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_policy)
    assert AutoConfig.from_pretrained(tiny_policy).model_type == "llama" and packing.can_pack(model.config)
