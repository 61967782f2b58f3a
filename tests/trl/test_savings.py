"""What is left out of a step changes no loss and no gradient: ours against stock TRL on the same rollouts."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

from reasoning_rl.api import Sample
from reasoning_rl.plugins import FunctionReward
from reasoning_rl.recipe import Recipe, Savings
from reasoning_rl.scoring import RewardSet, WeightedReward
from reasoning_rl.trl_bridge import savings as exact
from reasoning_rl.trl_bridge.engine import Engine
from reasoning_rl.trl_bridge.policy import completion_reader
from reasoning_rl.trl_bridge.reward_func import CombinedReward
from reasoning_rl.trl_bridge.trainer import ReasoningTrainer

pytestmark = pytest.mark.engine

LOSSES = ["dapo", "grpo", "bnpo", "dr_grpo", "cispo", "sapo", "luspo", "vespo"]


def mixed(sample: Sample) -> float:
    """Depends on the text in the first group only, so that half of the groups have no variance."""
    return len(sample.completion.text) % 7 / 7 if int(sample.row_id) % 2 == 0 else 1.0


def make_trainer(
    engine: Engine, folder: Path, recipe: Recipe, out: Path, *, lora: bool, **args: Any
) -> ReasoningTrainer:
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rewards = RewardSet((WeightedReward("mixed", FunctionReward(mixed, {}), 1.0),))
    questions = ["1 + 1", "Tell me a long story about the sea", "7 - 3 + 20", "What?"]
    dataset = Dataset.from_list(
        [
            {"prompt": [{"role": "user", "content": text}], "row": "{}", "row_id": str(i)}
            for i, text in enumerate(questions)
        ]
    )
    config = GRPOConfig(
        output_dir=str(out),
        use_cpu=True,
        bf16=False,
        report_to="none",
        num_generations=4,
        max_completion_length=12,
        gradient_checkpointing=False,
        remove_unused_columns=False,
        vllm_importance_sampling_clip_max=3.0,
        **{"per_device_train_batch_size": 16, **args},
    )
    return ReasoningTrainer(
        engine=engine,
        reward=CombinedReward(
            rewards, completion_reader(str(folder), tokenizer, recipe.prompt.thinking), recipe.scoring
        ),
        args=config,
        on_rollouts=lambda rows: None,
        savings=Savings(),
        model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        train_dataset=dataset,
        processing_class=tokenizer,
        peft_config=LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM") if lora else None,
    )


def stock_batch(trainer: ReasoningTrainer, packs: bool = False) -> dict[str, Any]:
    """A rollout through TRL's own body, with its old log-probs (in its own layout, unless `packs`) and its importance ratio."""
    rows = [trainer.train_dataset[i] for i in range(4) for _ in range(4)]  # pyright: ignore
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()  # pyright: ignore
    ours, trainer._packs = trainer._packs, packs
    batch = GRPOTrainer._generate_and_score_completions(trainer, rows)
    trainer._packs = ours
    trainer.reward.last = []
    return batch


def loss_and_gradients(
    trainer: ReasoningTrainer, compute: Callable[..., torch.Tensor], batch: dict[str, Any], *, packs: bool = False
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """TRL's in its own layout, unless `packs`."""
    assert trainer.model is not None
    trainer.model.zero_grad()
    ours, trainer._packs = trainer._packs, trainer._packs and (packs or compute is not GRPOTrainer._compute_loss)
    loss = compute(trainer, trainer.model, copy.copy(batch))
    trainer._packs = ours
    loss.backward()
    gradients = {n: p.grad.clone() for n, p in trainer.model.named_parameters() if p.grad is not None}
    return loss.detach(), gradients


def without_old_logprobs(batch: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in batch.items() if k not in ("old_per_token_logps", "importance_sampling_ratio")}


CASES = [
    *((loss, mode) for loss in ("dapo", "cispo") for mode in ("sequence_mask", "sequence_truncate")),
    *((loss, mode) for loss in LOSSES for mode in ("token_mask", "token_truncate")),
]


@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
def test_losses_and_gradients_equal_stock(
    lora: bool, tiny_policy: Path, start_engine: Callable[..., Engine], recipe_tree: Callable[..., Any], tmp_path: Path
) -> None:
    engine = start_engine(tiny_policy, dtype="float32")
    trainer = make_trainer(engine, tiny_policy, Recipe.model_validate(recipe_tree()), tmp_path, lora=lora)
    batch = stock_batch(trainer)
    for loss_type, mode in CASES:
        trainer.loss_type, trainer.vllm_importance_sampling_mode = loss_type, mode
        compare(trainer, dict(batch))
    trainer.loss_type, trainer.importance_sampling_level = "grpo", "sequence"  # GSPO
    compare(trainer, dict(batch))


def compare(trainer: ReasoningTrainer, batch: dict[str, Any]) -> None:
    idle = batch["advantages"] == 0
    assert 0 < int(idle.sum()) < 16  # some rows to leave out and some to train
    assert trainer._skips_idle_rows and trainer._reuses_logprobs and trainer._packs
    # Unequal lengths, and one row that is masked whole, as mask_truncated_completions does.
    lengths = torch.tensor([12 - 5 * i % 11 for i in range(16)])
    lengths[2] = 0
    batch["completion_mask"] = batch["completion_mask"] * (torch.arange(12) < lengths[:, None])
    # An engine that disagrees by a little, so that the ratio is not 1 everywhere.
    noise = 0.2 * torch.randn(batch["sampling_per_token_logps"].shape, generator=torch.Generator().manual_seed(3))
    batch["sampling_per_token_logps"] = batch["sampling_per_token_logps"] + noise
    batch["importance_sampling_ratio"] = stock_ratio(trainer, batch)

    expected, expected_gradients = loss_and_gradients(trainer, GRPOTrainer._compute_loss, batch)
    loss, gradients = loss_and_gradients(trainer, ReasoningTrainer._compute_loss, without_old_logprobs(batch))
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-6)
    norm = torch.stack([g.norm() for g in expected_gradients.values()]).norm()
    assert norm > 1e-6 and gradients.keys() == expected_gradients.keys()
    for name, gradient in expected_gradients.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-5, atol=float(1e-5 * norm), msg=name)


def stock_ratio(trainer: ReasoningTrainer, batch: dict[str, Any]) -> torch.Tensor:
    """TRL's formula, spelled out once more from its documentation: exp(Δ), per token or summed, masked or truncated."""
    difference = (batch["old_per_token_logps"] - batch["sampling_per_token_logps"]) * batch["completion_mask"]
    mode, high = trainer.vllm_importance_sampling_mode, trainer.vllm_importance_sampling_clip_max
    ratio = difference.sum(-1, keepdim=True).exp() if mode.startswith("sequence") else difference.exp()
    return ratio.clamp(max=high) if mode.endswith("truncate") else torch.where(ratio > high, 0.0, ratio)


@pytest.mark.parametrize("packs", [False, True], ids=["padded", "packed"])
def test_ratio_equals_the_one_trl_computes(
    packs: bool, tiny_policy: Path, start_engine: Callable[..., Engine], recipe_tree: Callable[..., Any], tmp_path: Path
) -> None:
    engine = start_engine(tiny_policy, dtype="bfloat16")  # a real disagreement between engine and trainer
    recipe = Recipe.model_validate(recipe_tree())
    trainer = make_trainer(engine, tiny_policy, recipe, tmp_path, lora=True)
    batch = stock_batch(trainer, packs)
    theirs = batch["importance_sampling_ratio"]
    assert (theirs != 1).any()
    ours = without_old_logprobs(batch)
    # Both in the same layout: the formula alone, as the ratio of a sequence sums up the rounding errors of its log-probs.
    trainer._skips_idle_rows, trainer._packs = False, packs
    trainer._compute_loss(trainer.model, ours)
    torch.testing.assert_close(ours["importance_sampling_ratio"], theirs, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(theirs, stock_ratio(trainer, batch), rtol=1e-5, atol=1e-6)


def test_a_batch_without_any_signal_has_zero_gradients(
    tiny_policy: Path, start_engine: Callable[..., Engine], recipe_tree: Callable[..., Any], tmp_path: Path
) -> None:
    engine = start_engine(tiny_policy, dtype="float32")
    trainer = make_trainer(engine, tiny_policy, Recipe.model_validate(recipe_tree()), tmp_path, lora=True)
    batch = without_old_logprobs(stock_batch(trainer))
    batch["advantages"] = torch.zeros_like(batch["advantages"])
    _, gradients = loss_and_gradients(trainer, ReasoningTrainer._compute_loss, batch)
    assert trainer._runs_alone and trainer.model is not None
    # Zeros, not nothing: an optimiser with momentum moves on, as it does with TRL.
    assert gradients.keys() == {name for name, p in trainer.model.named_parameters() if p.requires_grad}
    assert all(gradient.abs().max() == 0 for gradient in gradients.values())
    trainer._runs_alone = False  # other ranks wait for the passes of this one
    _, gradients = loss_and_gradients(trainer, ReasoningTrainer._compute_loss, batch)
    assert gradients and all(gradient.abs().max() == 0 for gradient in gradients.values())


def test_groups_without_variance_have_no_advantage(
    tiny_policy: Path, start_engine: Callable[..., Engine], recipe_tree: Callable[..., Any], tmp_path: Path
) -> None:
    engine = start_engine(tiny_policy, dtype="float32")
    trainer = make_trainer(engine, tiny_policy, Recipe.model_validate(recipe_tree()), tmp_path, lora=True)
    constant = FunctionReward(lambda sample: 0.1, {})  # the mean of four float32 0.1 is not 0.1
    trainer.reward.rewards = RewardSet((WeightedReward("constant", constant, 1.0),))
    trainer.current_gradient_accumulation_steps = 1
    rows = [trainer.train_dataset[i] for i in range(4) for _ in range(4)]  # pyright: ignore
    trainer.model.train()  # pyright: ignore
    assert not trainer._generate_and_score_completions(rows)["advantages"].any()
    assert trainer._metrics["train"]["useful_group_share"] == [0.0]


def test_equal_totals() -> None:
    totals = [0.1, 0.1, 0.1, 1.1, None, 0.5, None, None]
    assert exact.equal_totals(totals, 2) == [True, True, False, False, True, True, True, True]


@pytest.mark.parametrize(
    ("args", "skips", "reuses"),
    [
        ({}, True, True),
        ({"beta": 0.1}, False, True),
        ({"entropy_coef": 0.01}, False, True),
        ({"top_entropy_quantile": 0.5}, False, True),
        ({"num_iterations": 2}, True, False),
        ({"steps_per_generation": 2}, True, False),
        ({"gradient_accumulation_steps": 2}, True, True),
    ],
    ids=["default", "kl", "entropy", "entropy-quantile", "two-iterations", "two-steps", "accumulation"],
)
def test_savings_apply_only_where_they_are_exact(
    args: dict[str, Any],
    skips: bool,
    reuses: bool,
    tiny_policy: Path,
    start_engine: Callable[..., Engine],
    recipe_tree: Callable[..., Any],
    tmp_path: Path,
) -> None:
    engine = start_engine(tiny_policy, dtype="float32")
    trainer = make_trainer(engine, tiny_policy, Recipe.model_validate(recipe_tree()), tmp_path, lora=True, **args)
    assert (trainer._skips_idle_rows, trainer._reuses_logprobs) == (skips, reuses)


def test_a_loss_that_was_not_tested_turns_them_off(
    tiny_policy: Path,
    start_engine: Callable[..., Engine],
    recipe_tree: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert set(LOSSES) == set(exact.TESTED_LOSSES)
    monkeypatch.setattr(exact, "TESTED_LOSSES", ("grpo",))
    caplog.set_level("INFO", "reasoning_rl")
    engine = start_engine(tiny_policy, dtype="float32")
    trainer = make_trainer(engine, tiny_policy, Recipe.model_validate(recipe_tree()), tmp_path, lora=True)
    assert (trainer._skips_idle_rows, trainer._reuses_logprobs, trainer._sorts_rows) == (False, False, False)
    assert "they were not tested with loss_type dapo" in caplog.text
