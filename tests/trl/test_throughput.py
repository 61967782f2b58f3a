"""Operations against torch's own counter, rates by hand, what a logged row holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM, MixtralConfig, MixtralForCausalLM, TrainingArguments
from transformers.trainer_callback import TrainerControl, TrainerState

from reasoning_rl.progress import StageProgress
from reasoning_rl.run_dir import RunDir, read_jsonl
from reasoning_rl.trl_bridge.callbacks import Metrics
from reasoning_rl.trl_bridge.throughput import StepMeter, UpdateCost, known_peak, peak_memory, rates, update_cost
from reasoning_rl.trl_bridge.weights import unwrapped

SIZES: dict[str, Any] = {
    "vocab_size": 512, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 32,
}  # fmt: skip


def test_operations_by_hand() -> None:
    cost = UpdateCost(body=10.0, head=3.0, attention=2.0)
    # One prompt of 4 tokens with completions of 2 and 3, another of 6 with one of 1: tokens 4 + 6 + 6, scored 6;
    # pairs: 4²/2 + 6²/2 within prompts, 4·2 + 2²/2 + 4·3 + 3²/2 + 6·1 + 1²/2 from completions.
    assert cost.of({"a": 4, "b": 6}, [("a", 2), ("a", 3), ("b", 1)]) == 10 * 16 + 3 * 6 + 2 * (26 + 33)


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_operations_of_a_full_update_are_those_that_torch_counts(tied: bool) -> None:
    model = LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=tied))
    with FlopCounterMode(display=False) as counter:
        model(torch.arange(8)[None]).logits.sum().backward()
    cost = update_cost(model)
    assert cost is not None
    ours = cost.body * 8 + cost.head * 8
    assert ours == pytest.approx(
        counter.get_total_flops(), rel=0.02
    )  # attention scores of 8 tokens are next to nothing


def test_attention_is_what_longer_sequences_add() -> None:
    model = LlamaForCausalLM(LlamaConfig(**SIZES))
    cost = update_cost(model)
    assert cost is not None
    assert cost.attention == 3 * 4 * 3 * 128  # forward and twice backward, 4 operations per channel, 3 layers
    long = cost.of({"p": 100}, [("p", 300)]) - cost.body * 400 - cost.head * 300
    assert long == pytest.approx(cost.attention * 400 * 400 / 2)


def test_frozen_weights_need_no_gradient() -> None:
    plain = LlamaForCausalLM(LlamaConfig(**SIZES))
    full = update_cost(plain)
    model = get_peft_model(plain, LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"))
    lora = update_cost(unwrapped(model))
    adapter = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert full and lora and adapter
    assert lora.head == pytest.approx(full.head * 4 / 6)
    assert lora.body == pytest.approx(full.body * 4 / 6 + 6 * adapter)


def test_no_figure_where_the_operations_are_not_known() -> None:
    experts = MixtralConfig(**{**SIZES, "num_hidden_layers": 1}, num_local_experts=2)
    assert update_cost(MixtralForCausalLM(experts)) is None
    windowed = LlamaConfig(**SIZES)
    windowed.layer_types = ["sliding_attention", "full_attention", "full_attention"]  # pyright: ignore
    assert update_cost(LlamaForCausalLM(windowed)) is None


@pytest.mark.parametrize(
    ("device", "peak"),
    [
        ("NVIDIA H200", 989.0),
        ("NVIDIA H100 80GB HBM3", 989.0),
        ("NVIDIA H100 PCIe", 756.0),
        ("NVIDIA A100-SXM4-80GB", 312.0),
        ("NVIDIA A10", 125.0),
        ("NVIDIA A10G", None),
        ("NVIDIA GeForce RTX 2080", None),
    ],
)
def test_peaks_by_whole_words(device: str, peak: float | None) -> None:
    assert known_peak(device) == peak


STEP = {
    "sampled_tokens": 600.0, "trained_tokens": 300.0, "update_tflop": 1.5,
    "time/rollout_s": 4.0, "time/update_s": 3.0,
}  # fmt: skip


def test_rates() -> None:
    assert rates(STEP, 2.0) == {
        "sampled_tokens_per_s": 150.0, "trained_tokens_per_s": 100.0, "update_tflops_per_s": 0.5, "update_mfu": 0.25,
    }  # fmt: skip
    assert "update_mfu" not in rates(STEP, None)
    assert rates({"time/update_s": 3.0, "trained_tokens": 0.0}, 2.0) == {}  # a step without any trained row


def test_meter_counts_what_is_trained_and_starts_anew() -> None:
    meter = StepMeter(LlamaForCausalLM(LlamaConfig(**SIZES)))
    cost = update_cost(LlamaForCausalLM(LlamaConfig(**SIZES)))
    assert cost
    meter.add_sampled([[1, 2, 3], [1], [5, 5], [6]])
    meter.add_useful(torch.tensor([0.5, -0.5, 0.0, 0.0]))
    meter.add_seconds({"rollout": 1.0, "sync": 0.5})
    meter.add_seconds({"rollout": 2.0})  # a second rollout in the same step
    batch = {
        "prompt_ids": torch.tensor([[0, 7, 8], [0, 7, 8]]),  # the same prompt of two tokens
        "prompt_mask": torch.tensor([[0, 1, 1], [0, 1, 1]]),
        "completion_mask": torch.tensor([[1, 1, 1], [1, 0, 0]]),
        "advantages": torch.tensor([0.5, -0.5]),
    }
    meter.add_trained(batch, only_useful=True)
    idle = {key: value[:1] for key, value in batch.items()} | {"advantages": torch.tensor([0.0])}
    meter.add_trained(idle, only_useful=True)  # kept for form's sake
    taken = meter.take()
    assert taken.pop("update_tflop") == pytest.approx(cost.of({"p": 2}, [("p", 3), ("p", 1)]) / 1e12)
    assert taken == {
        "sampled_tokens": 7, "trained_tokens": 4, "useful_sample_share": 0.5, "time/rollout_s": 3.0, "time/sync_s": 0.5,
    }  # fmt: skip
    assert meter.take() == {}
    meter.add_trained(idle, only_useful=True)
    assert meter.take() == {"trained_tokens": 0}
    meter.add_trained(idle, only_useful=False)  # with a KL term an idle row is trained too
    assert meter.take()["trained_tokens"] == 3


def test_memory_is_of_this_process() -> None:
    before = peak_memory()["memory/peak_rss_mb"]
    block = torch.ones(64 * 2**20 // 4)  # 64 MiB, touched
    assert peak_memory()["memory/peak_rss_mb"] >= before > 50
    del block


def test_a_resumed_stage_counts_its_own_tokens_only(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path)
    metrics = Metrics(run_dir, "grpo", "grpo", StageProgress("grpo", 3, "steps", enabled=False), None, peak=2.0)
    args = TrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    state, control = TrainerState(global_step=7, num_input_tokens_seen=1_000_000), TrainerControl()
    metrics.on_train_begin(args, state, control)
    metrics.on_step_begin(args, state, control)
    logs = {"loss": 0.1, "num_tokens": 1_000_500.0, **STEP, "time/logprobs_s": 1.0}
    metrics.on_log(args, state, control, logs=logs)
    (row,) = read_jsonl(run_dir.metrics)
    assert row["tokens_per_s"] * row["time/step_s"] == pytest.approx(500, abs=1 + 0.001 * row["tokens_per_s"])
    assert row["time/update_s"] == 0.0  # the phases took longer than the step has
    assert {"sampled_tokens_per_s", "memory/peak_rss_mb"} <= logs.keys()  # the trackers get the same mapping
    metrics.on_log(args, state, control, logs={"train_runtime": 3.0})
    assert len(list(read_jsonl(run_dir.metrics))) == 1
