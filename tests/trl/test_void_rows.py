"""Rows that could not be scored move nothing: gradients are TRL's on the other rows alone; a batch of them stops the run."""

from __future__ import annotations

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
from reasoning_rl.errors import ScoringError
from reasoning_rl.plugins import FunctionReward
from reasoning_rl.recipe import Recipe, Savings
from reasoning_rl.scoring import RewardSet, WeightedReward
from reasoning_rl.trl_bridge.engine import Engine
from reasoning_rl.trl_bridge.policy import completion_reader
from reasoning_rl.trl_bridge.reward_func import CombinedReward
from reasoning_rl.trl_bridge.trainer import ReasoningTrainer
from reasoning_rl.trl_bridge.void_rows import leave_out, scored_rows

pytestmark = pytest.mark.engine

NUM_PROMPTS, GROUP = 4, 5
#: 6 of 20 rows: none, one and several of a group, and all but one.
FAILING = frozenset({3, 10, 15, 16, 17, 18})
LOSSES = ["dapo", "grpo", "bnpo", "dr_grpo", "cispo", "sapo", "luspo", "vespo"]


class Outage:
    """A reward whose service is down for some calls."""

    def __init__(self, failing: frozenset[int]) -> None:
        self.failing, self.num_calls = failing, 0

    def __call__(self, sample: Sample) -> float:
        self.num_calls += 1
        if self.num_calls - 1 in self.failing:
            raise ConnectionError("the judge is down")
        return len(sample.completion.text) % 7 / 7


def make_trainer(
    engine: Engine, folder: Path, recipe: Recipe, out: Path, failing: frozenset[int], savings: Savings, **args: Any
) -> ReasoningTrainer:
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    reward = WeightedReward("judge", FunctionReward(Outage(failing), {}), 1.0)
    questions = ["1 + 1", "Tell me a long story about the sea", "7 - 3 + 20", "What?"]
    config = GRPOConfig(
        output_dir=str(out),
        use_cpu=True,
        bf16=False,
        report_to="none",
        per_device_train_batch_size=NUM_PROMPTS * GROUP,
        num_generations=GROUP,
        max_completion_length=12,
        gradient_checkpointing=False,
        remove_unused_columns=False,
        max_steps=1,
        **args,
    )
    return ReasoningTrainer(
        engine=engine,
        reward=CombinedReward(
            RewardSet((reward,)), completion_reader(str(folder), tokenizer, recipe.prompt.thinking), recipe.scoring
        ),
        args=config,
        on_rollouts=lambda rows: None,
        savings=savings,
        model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        train_dataset=Dataset.from_list(
            [
                {"prompt": [{"role": "user", "content": text}], "row": "{}", "row_id": str(i)}
                for i, text in enumerate(questions)
            ]
        ),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"),
    )


def rollout(trainer: ReasoningTrainer) -> dict[str, Any]:
    rows = [trainer.train_dataset[i] for i in range(NUM_PROMPTS) for _ in range(GROUP)]  # pyright: ignore
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()  # pyright: ignore
    batch = trainer._generate_and_score_completions(rows)
    trainer.vllm_importance_sampling_correction = False  # the ratio is a matter of the engine, not of the rows
    return batch


def scored_rows_alone(trainer: ReasoningTrainer, batch: dict[str, Any]) -> dict[str, Any]:
    """The rollout as if only the scored rows had been sampled, advantages by GRPO's formula in plain numbers."""
    totals = [item.total for _, item in trainer.reward.last]
    kept = [position for position, total in enumerate(totals) if total is not None]
    advantages: list[float] = []
    for position, total in enumerate(totals):
        if total is None:
            continue
        start = position - position % GROUP
        group = torch.tensor([other for other in totals[start : start + GROUP] if other is not None])
        spread = group.std().item() if len(set(group.tolist())) > 1 else 0.0
        advantages.append((total - group.mean().item()) / (spread + 1e-4) if spread else 0.0)
    alone = {
        key: value[kept] if isinstance(value, torch.Tensor) and value.dim() and len(value) == len(totals) else value
        for key, value in batch.items()
        if key != "scored"
    }
    return alone | {
        "advantages": torch.tensor(advantages),
        "num_items_in_batch": alone["completion_mask"].sum(),
    }


def gradients(
    trainer: ReasoningTrainer, compute: Callable[..., torch.Tensor], batch: dict[str, Any]
) -> dict[str, torch.Tensor]:
    assert trainer.model is not None
    trainer.model.zero_grad()
    compute(trainer, trainer.model, dict(batch)).backward()
    return {n: p.grad.clone() for n, p in trainer.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    ("savings", "args"),
    [
        (Savings(), {}),
        (Savings(skip_idle_rows=False, pack_prompts=False), {}),
        (Savings(), {"beta": 0.1}),
        (Savings(), {"entropy_coef": 0.01}),
    ],
    ids=["default", "without savings", "kl", "entropy bonus"],
)
def test_gradients_are_those_of_the_scored_rows_alone(
    savings: Savings,
    args: dict[str, Any],
    tiny_policy: Path,
    start_engine: Callable[..., Engine],
    recipe_tree: Callable[..., Any],
    tmp_path: Path,
) -> None:
    engine = start_engine(tiny_policy, dtype="float32")
    recipe = Recipe.model_validate(recipe_tree(scoring={"max_abstain_fraction": 0.5}))
    trainer = make_trainer(engine, tiny_policy, recipe, tmp_path, FAILING, savings, **args)
    with torch.no_grad():  # away from the reference policy, where the KL term has no gradient
        for name, parameter in trainer.model.named_parameters():  # pyright: ignore
            if "lora_B" in name:
                parameter.normal_(std=0.02)
    batch = rollout(trainer)
    assert batch["scored"].tolist() == [position not in FAILING for position in range(NUM_PROMPTS * GROUP)]
    assert trainer._metrics["train"]["rewards/judge/abstained"] == pytest.approx([0.3])
    alone = scored_rows_alone(trainer, batch)
    assert len(alone["advantages"]) == 14 and alone["advantages"].abs().max() > 0.5
    assert batch["num_items_in_batch"] == alone["num_items_in_batch"]
    for loss_type in LOSSES:
        trainer.loss_type = loss_type
        expected = gradients(trainer, GRPOTrainer._compute_loss, alone)
        found = gradients(trainer, ReasoningTrainer._compute_loss, batch)
        norm = torch.stack([gradient.norm() for gradient in expected.values()]).norm()
        assert norm > 1e-6 and found.keys() == expected.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(
                found[name], gradient, rtol=1e-4, atol=float(1e-5 * norm), msg=f"{loss_type} {name}"
            )


def test_a_judge_that_is_down_stops_the_run(
    tiny_policy: Path, start_engine: Callable[..., Engine], recipe_tree: Callable[..., Any], tmp_path: Path
) -> None:
    engine = start_engine(tiny_policy, dtype="float32")
    recipe = Recipe.model_validate(recipe_tree())
    trainer = make_trainer(engine, tiny_policy, recipe, tmp_path, frozenset(range(1000)), Savings())
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}  # pyright: ignore
    with pytest.raises(ScoringError) as caught:
        trainer.train()
    said = str(caught.value)
    assert "20 of 20 completions could not be scored" in said
    assert "20× judge: grader_error (ConnectionError: the judge is down)" in said
    after = trainer.model.state_dict()  # pyright: ignore
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())


def test_leaving_out() -> None:
    mask = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 0, 0]])
    batch = {"completion_mask": mask, "prompt_mask": torch.ones(3, 2), "prompt_ids": torch.ones(3, 2)}
    assert leave_out(batch, torch.tensor([False, True, False])) == 3
    assert batch["completion_mask"].tolist() == [[1, 1, 0], [0, 0, 0], [1, 0, 0]]
    batch["advantages"] = torch.ones(3)
    assert scored_rows(batch).tolist() == [0, 2]
    assert scored_rows({"advantages": torch.ones(3)}).tolist() == [0, 1, 2]
    batch["scored"] = torch.tensor([False, False, False])
    assert scored_rows(batch).tolist() == []
