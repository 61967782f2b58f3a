"""Packed SFT takes the steps that TRL's SFTTrainer takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from reasoning_rl.recipe import Savings
from reasoning_rl.trl_bridge.sft import PackedSFTTrainer, PackingCollator

ROWS = [("1 + 1", "2"), ("Tell me about 7 - 3 + 20", "It is 24, said the sea"), ("What?", "no"), ("1 + 2", "3 is it")]


def train(cls: type[SFTTrainer], folder: Path, out: Path, **args: Any) -> tuple[SFTTrainer, dict[str, torch.Tensor]]:
    torch.manual_seed(0)
    prompt = [{"role": "system", "content": "Answer."}]
    dataset = Dataset.from_list(
        [
            {
                "prompt": [*prompt, {"role": "user", "content": question}],
                "completion": [{"role": "assistant", "content": answer}],
            }
            for question, answer in ROWS
        ]
    )
    config = SFTConfig(
        output_dir=str(out),
        use_cpu=True,
        bf16=False,
        report_to="none",
        max_steps=3,
        learning_rate=1e-3,
        optim="sgd",  # no division by tiny second moments, which would blow rounding errors up
        gradient_checkpointing=False,
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
        **args,
    )
    trainer = cls(
        model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        args=config,
        train_dataset=dataset,
        processing_class=AutoTokenizer.from_pretrained(folder),
    )
    trainer.train()
    assert trainer.model is not None
    return trainer, {name: parameter.detach() for name, parameter in trainer.model.named_parameters()}


@pytest.mark.parametrize(
    "args",
    [
        {"per_device_train_batch_size": 4},
        {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2},
        {"per_device_train_batch_size": 4, "completion_only_loss": False},
    ],
    ids=["one batch", "accumulated", "loss on the prompt too"],
)
def test_three_steps_equal_stock(args: dict[str, Any], tiny_policy: Path, tmp_path: Path) -> None:
    stock, expected = train(SFTTrainer, tiny_policy, tmp_path / "stock", **args)
    ours, weights = train(PackedSFTTrainer, tiny_policy, tmp_path / "ours", **args)
    assert isinstance(ours.data_collator, PackingCollator)
    start = AutoModelForCausalLM.from_pretrained(tiny_policy, dtype=torch.float32)
    moved = max(float((p - expected[n]).abs().max()) for n, p in start.named_parameters())
    assert moved > 1e-4
    for name, weight in expected.items():
        torch.testing.assert_close(weights[name], weight, rtol=0, atol=1e-3 * moved, msg=name)
    for theirs, our in zip(stock.state.log_history[:3], ours.state.log_history[:3], strict=True):
        for key in ("loss", "num_tokens", "mean_token_accuracy", "entropy", "grad_norm"):
            assert our[key] == pytest.approx(theirs[key], rel=1e-4), key


def test_the_switch_leaves_the_batch_to_trl(tiny_policy: Path, tmp_path: Path) -> None:
    def unpacked(**kwargs: Any) -> PackedSFTTrainer:
        return PackedSFTTrainer(savings=Savings(pack_prompts=False), **kwargs)

    trainer, _ = train(unpacked, tiny_policy, tmp_path, per_device_train_batch_size=4)  # pyright: ignore
    assert not isinstance(trainer.data_collator, PackingCollator)
