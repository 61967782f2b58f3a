"""Whole steps of our trainer against a stock `trl.GRPOTrainer` that shares nothing with it: its own model, its own layers, its own
rewards. It is given the completions that our engine has sampled, and has to come to the same losses, gradients and weights."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from reasoning_rl.api import Sample
from reasoning_rl.plugins import FunctionReward
from reasoning_rl.recipe import Recipe
from reasoning_rl.scoring import RewardSet, WeightedReward
from reasoning_rl.trl_bridge.engine import Engine
from reasoning_rl.trl_bridge.policy import completion_reader
from reasoning_rl.trl_bridge.reward_func import CombinedReward
from reasoning_rl.trl_bridge.trainer import ReasoningTrainer

pytestmark = pytest.mark.engine

NUM_STEPS = 3
#: Of plain gradient descent: what two sums in another order differ by is not made larger from step to step.
LEARNING_RATE = 0.01

#: What of GRPOConfig each case changes.
LOSSES: dict[str, dict[str, Any]] = {
    **{name: {"loss_type": name} for name in ("dapo", "grpo", "dr_grpo", "cispo", "sapo", "luspo", "vespo")},
    # Its loss depends on how TRL has shuffled rows into micro-batches.
    "bnpo": {"loss_type": "bnpo", "per_device_train_batch_size": 16, "gradient_accumulation_steps": 1},
    "gspo": {"loss_type": "grpo", "importance_sampling_level": "sequence"},
    "grpo with KL": {"loss_type": "grpo", "beta": 0.1},
    "dapo without correction": {"loss_type": "dapo", "vllm_importance_sampling_correction": False},
}


def points(text: str, row_id: str) -> float:
    """Differs within the groups of every other prompt only, so that half of the groups train nothing."""
    return len(text.encode()) % 7 / 7 if int(row_id) % 2 == 0 else 1.0


def score_ours(sample: Sample) -> float:
    return points(sample.completion.text, sample.row_id)


def score_stock(completions: list[list[dict[str, str]]], row_id: list[str], **columns: Any) -> list[float]:
    return [points(messages[0]["content"], number) for messages, number in zip(completions, row_id, strict=True)]


class Playback:
    """Stands where TRL has its engine, and gives out what another engine has sampled, in order."""

    def __init__(self, recorded: Sequence[tuple[Any, Any]]) -> None:
        self.recorded = list(recorded)

    def sync_weights(self) -> None:
        pass

    def generate(self, prompts: Any, **kwargs: Any) -> Any:
        expected, result = self.recorded.pop(0)
        assert prompts == expected
        return result


class Gradients(TrainerCallback):
    """Keeps the gradients of each step."""

    def __init__(self) -> None:
        self.of_steps: list[dict[str, torch.Tensor]] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self.of_steps.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})


def common(folder: Path, out: Path, *, lora: bool, args: dict[str, Any]) -> dict[str, Any]:
    """Arguments that both trainers get, each a fresh copy."""
    torch.manual_seed(0)
    # The last token of a completion is a multiple of 8, so that lengths differ.
    questions = ["1 + 1", "Tell me a long story about the sea", "7 - 3 + 20", "What?"]
    config = {
        "num_generations": 4, "max_completion_length": 12, "max_steps": NUM_STEPS, "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 2, "optim": "sgd", "learning_rate": LEARNING_RATE, "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0, "gradient_checkpointing": False, "remove_unused_columns": False, "use_cpu": True, "bf16": False,
        "report_to": "none", "generation_kwargs": {"stop_token_ids": list(range(0, 49152, 8))}, "save_strategy": "no", "disable_tqdm": True, "vllm_importance_sampling_clip_max": 3.0, **args,
    }  # fmt: skip
    return {
        "args": GRPOConfig(output_dir=str(out), **config),
        "model": AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        "train_dataset": Dataset.from_list(
            [
                {"prompt": [{"role": "user", "content": text}], "row": "{}", "row_id": str(number)}
                for number, text in enumerate(questions)
            ]
        ),
        "processing_class": AutoTokenizer.from_pretrained(folder),
        "peft_config": LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM") if lora else None,
    }


@dataclass(frozen=True)
class Steps:
    """The loss and the gradients of each optimiser step, and the weights at the end."""

    losses: torch.Tensor
    gradients: list[dict[str, torch.Tensor]]
    weights: dict[str, torch.Tensor]


def run(trainer: GRPOTrainer) -> Steps:
    losses: list[float] = []
    one_pass = trainer.training_step

    def training_step(*args: Any, **kwargs: Any) -> torch.Tensor:
        losses.append(float(loss := one_pass(*args, **kwargs)))
        return loss

    trainer.training_step = training_step  # pyright: ignore[reportAttributeAccessIssue]
    gradients = Gradients()
    trainer.add_callback(gradients)
    trainer.train()
    assert len(gradients.of_steps) == NUM_STEPS
    assert trainer.model is not None
    weights = {name: p.detach() for name, p in trainer.model.named_parameters()}
    # Ours cuts a step into other micro-batches.
    return Steps(torch.tensor(losses).view(NUM_STEPS, -1).sum(dim=1), gradients.of_steps, weights)


Recorded = list[tuple[Any, Any]]
MakeOurs = Callable[..., tuple[ReasoningTrainer, Recorded]]


@pytest.fixture
def make_ours(tiny_policy: Path, running: Engine, recipe_tree: Callable[..., Any], tmp_path: Path) -> MakeOurs:
    """Our trainer, and a list that gets what its engine is asked and answers."""

    def make(*, lora: bool, args: dict[str, Any]) -> tuple[ReasoningTrainer, Recorded]:
        given = common(tiny_policy, tmp_path, lora=lora, args=args)
        rewards = RewardSet((WeightedReward("points", FunctionReward(score_ours, {}), 1.0),))
        recipe = Recipe.model_validate(recipe_tree())
        reader = completion_reader(str(tiny_policy), given["processing_class"], recipe.prompt.thinking)
        ours = ReasoningTrainer(
            engine=running,
            reward=CombinedReward(rewards, reader, recipe.scoring),
            on_rollouts=lambda rows: None,
            **given,
        )
        recorded: Recorded = []
        generate = ours.vllm_generation.generate

        def record(prompts: Any, **kwargs: Any) -> Any:
            recorded.append((prompts, generate(prompts=prompts, **kwargs)))
            return recorded[-1][1]

        ours.vllm_generation.generate = record  # pyright: ignore[reportAttributeAccessIssue]
        return ours, recorded

    return make


def assert_equal(ours: Steps, expected: Steps) -> None:
    """Weights to 1e-5; losses and gradients to 1e-5 of the norm of the step's gradient, where that is more than 1."""
    for step, gradients in enumerate(expected.gradients):
        size = max(1.0, float(torch.stack([gradient.norm() for gradient in gradients.values()]).norm()))
        assert_close(ours.losses[step], expected.losses[step], f"loss, step {step}", size)
        assert ours.gradients[step].keys() == gradients.keys()
        for name, gradient in gradients.items():
            assert_close(ours.gradients[step][name], gradient, f"gradient of {name}, step {step}", size)
    for name, weight in expected.weights.items():
        assert_close(ours.weights[name], weight, name)


def assert_close(ours: torch.Tensor, expected: torch.Tensor, name: str, size: float = 1.0) -> None:
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5 * size, msg=lambda text: f"{name}: {text}")


@pytest.mark.parametrize(
    ("loss", "lora"),
    [
        *(pytest.param(name, False, id=f"{name}, full") for name in LOSSES),
        *(
            pytest.param(
                name, True, id=f"{name}, lora", marks=() if name in ("dapo", "grpo with KL") else pytest.mark.slow
            )
            for name in LOSSES
        ),
    ],
)
def test_three_steps_equal_stock(loss: str, lora: bool, make_ours: MakeOurs, tiny_policy: Path, tmp_path: Path) -> None:
    ours, recorded = make_ours(lora=lora, args=LOSSES[loss])
    assert ours._packs and ours._reuses_logprobs and ours._skips_idle_rows == ("KL" not in loss)
    stock = GRPOTrainer(
        reward_funcs=cast("Any", score_stock), **common(tiny_policy, tmp_path, lora=lora, args=LOSSES[loss])
    )
    assert ours.model is not None and stock.model is not None
    stock.model.load_state_dict(ours.model.state_dict())
    start = {name: p.detach().clone() for name, p in stock.model.named_parameters()}

    steps = run(ours)
    stock.use_vllm, stock._last_loaded_step = True, -1  # the constructor would start an engine
    playback = Playback(recorded)
    stock.vllm_generation = playback  # pyright: ignore[reportAttributeAccessIssue]
    expected = run(stock)

    assert playback.recorded == []
    assert_equal(steps, expected)
    moved = max(float((expected.weights[name] - before).abs().max()) for name, before in start.items())
    assert moved > 1e-4


def test_three_steps_equal_the_page_for_newcomers(make_ours: MakeOurs, tiny_policy: Path) -> None:
    page = load_page()
    args = {"loss_type": "grpo", "vllm_importance_sampling_correction": False}
    ours, recorded = make_ours(lora=False, args=args)
    steps = run(ours)

    tokenizer = AutoTokenizer.from_pretrained(tiny_policy)
    model = AutoModelForCausalLM.from_pretrained(tiny_policy, dtype=torch.float32)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    row_ids = {
        tuple(tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=False)): row[
            "row_id"
        ]
        for row in cast("list[dict[str, Any]]", ours.train_dataset)
    }
    losses, gradients = [], []
    for prompts, (_, completions, *_) in recorded:
        texts = tokenizer.batch_decode(completions, skip_special_tokens=True)
        scores = [points(text, row_ids[tuple(prompt)]) for prompt, text in zip(prompts, texts, strict=True)]
        sides = [page.pad(prompts, left=True, value=0), page.pad(completions, left=False, value=0)]
        batch = page.Batch(*sides[0], *sides[1])
        losses.append(page.update(model, optimizer, batch, torch.tensor(scores), group_size=4))
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    weights = {name: p.detach() for name, p in model.named_parameters()}
    assert_equal(steps, Steps(torch.tensor(losses), gradients, weights))


def test_the_page_samples_from_the_policy(tiny_policy: Path) -> None:
    """Its tokens are as likely as the log-probs of its own forward pass say, prompts of unequal length included."""
    page = load_page()
    model: Any = AutoModelForCausalLM.from_pretrained(tiny_policy, dtype=torch.float32)
    prompts = [[5, 6, 7], [8], [9, 10]]
    torch.manual_seed(0)
    completions = page.sample(model, prompts, 6, eos=-1, temperature=1e-6)  # greedy
    assert [len(tokens) for tokens in completions] == [6, 6, 6]
    for prompt, tokens in zip(prompts, completions, strict=True):
        alone = model.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=6, min_new_tokens=6)
        assert alone[0, len(prompt) :].tolist() == tokens


def load_page() -> ModuleType:
    """docs/grpo_in_one_file.py."""
    path = Path(__file__).parents[2] / "docs" / "grpo_in_one_file.py"
    spec = importlib.util.spec_from_file_location("grpo_in_one_file", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
