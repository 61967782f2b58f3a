"""How a batch is cut does not matter: into micro-batches, with truncated rows masked, or over two processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_savings import LOSSES, loss_and_gradients, make_trainer, stock_batch, stock_ratio, without_old_logprobs
from transformers import TrainerCallback
from trl import GRPOTrainer
from trl.trainer.utils import shuffle_sequence_dict, split_tensor_dict

from reasoning_rl.recipe import Recipe
from reasoning_rl.trl_bridge import savings as exact
from reasoning_rl.trl_bridge.engine import Engine
from reasoning_rl.trl_bridge.trainer import ReasoningTrainer

Gradients = dict[str, torch.Tensor]

#: Ratios that every loss type takes.
TOKEN_RATIO = {"vllm_importance_sampling_mode": "token_truncate"}


def assert_equal_gradients(found: Gradients, expected: Gradients) -> None:
    norm = torch.stack([g.norm() for g in expected.values()]).norm()
    assert norm > 1e-6 and found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=float(1e-5 * norm), msg=name)


def batch_of(trainer: ReasoningTrainer, *, packs: bool = False) -> dict[str, Any]:
    """A stock rollout of 16 rows in 4 groups, 2 of them idle, of unequal lengths."""
    batch = stock_batch(trainer, packs)
    lengths = torch.tensor([12 - 5 * i % 11 for i in range(16)])
    batch["completion_mask"] = batch["completion_mask"] * (torch.arange(12) < lengths[:, None])
    batch["num_items_in_batch"] = batch["completion_mask"].sum()
    batch["importance_sampling_ratio"] = stock_ratio(trainer, batch)
    assert int((batch["advantages"] == 0).sum()) == 8
    return batch


@pytest.mark.engine
@pytest.mark.parametrize("lora", [True, False], ids=["lora", "full"])
def test_eight_micro_batches_equal_one(
    lora: bool, tiny_policy: Path, start_engine: Callable[..., Engine], recipe_tree: Callable[..., Any], tmp_path: Path
) -> None:
    engine = start_engine(tiny_policy, dtype="float32")
    recipe = Recipe.model_validate(recipe_tree())
    trainer = make_trainer(engine, tiny_policy, recipe, tmp_path, lora=lora, **TOKEN_RATIO)
    state = torch.get_rng_state()
    batch = batch_of(trainer)
    torch.set_rng_state(state)
    packed = batch_of(trainer, packs=True)
    assert torch.equal(batch["completion_ids"], packed["completion_ids"])
    for loss_type in [loss for loss in LOSSES if loss != "bnpo"]:  # bnpo depends on the micro-batches by definition
        # VESPO raises the ratio of a sequence to a power: the rounding of its log-probs, in either layout, comes to 2e-5.
        whole = packed if loss_type == "vespo" else batch
        torch.manual_seed(5)
        shuffled = split_tensor_dict(shuffle_sequence_dict(dict(whole)), 8)  # pyright: ignore[reportArgumentType]
        trainer.loss_type = loss_type
        trainer.current_gradient_accumulation_steps = trainer.args.steps_per_generation = 1  # pyright: ignore
        expected_loss, expected = loss_and_gradients(
            trainer, GRPOTrainer._compute_loss, dict(whole), packs=loss_type == "vespo"
        )
        trainer.current_gradient_accumulation_steps = trainer.args.steps_per_generation = 8  # pyright: ignore
        cuts = [shuffled, exact.whole_groups(shuffled)]
        if loss_type in exact.GLOBAL_NORMALISER:
            cuts.append(exact.whole_groups(shuffled, evenly=True, computes_idle=False))
            assert len({len(part["advantages"]) for part in cuts[-1]}) > 1
        for micro_batches in cuts:
            loss, found = torch.tensor(0.0), {name: torch.zeros_like(g) for name, g in expected.items()}
            for micro_batch in micro_batches:
                part, gradients = loss_and_gradients(
                    trainer, ReasoningTrainer._compute_loss, without_old_logprobs(micro_batch)
                )
                loss += part
                for name, gradient in gradients.items():
                    found[name] += gradient
            torch.testing.assert_close(loss, expected_loss, rtol=1e-5, atol=1e-6)
            assert_equal_gradients(found, expected)


def test_whole_groups_sorts_rows_and_loses_none() -> None:
    prompts = torch.tensor([[0, 7], [3, 4], [0, 7], [3, 4], [0, 7], [3, 4]])
    columns: dict[str, torch.Tensor | None] = {
        "prompt_ids": prompts,
        "prompt_mask": (prompts > 0).long(),
        "completion_ids": torch.arange(6)[:, None].expand(-1, 3),
        "completion_mask": torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 0]]),
        "advantages": torch.tensor([1.0, 2.0, 3.0, 0.0, 5.0, 6.0]),
        "num_items_in_batch": torch.tensor(9),
    }
    batches = exact.whole_groups(split_tensor_dict(columns, 3))
    # Row 1 of prompt [3, 4]; rows 2, 4, 0 of [7], short ones first; row 5 has no token, row 3 no advantage.
    assert [batch["completion_ids"][:, 0].tolist() for batch in batches] == [[1, 2], [4, 0], [5, 3]]
    assert [batch["advantages"].tolist() for batch in batches] == [[2.0, 3.0], [5.0, 1.0], [6.0, 0.0]]
    assert all(int(batch["num_items_in_batch"]) == 9 for batch in batches)


@pytest.mark.parametrize(
    ("costs", "num_rows", "num_batches", "expected"),
    [
        ([5] * 8, 8, 2, [4, 4]),
        ([1, 1, 1, 1, 4, 4], 6, 3, [4, 1, 1]),
        ([100, 1, 1, 1], 4, 4, [1, 1, 1, 1]),  # none is empty
        ([9, 1, 1, 1], 8, 2, [4, 4]),  # four rows fill one of two
        ([3] * 5, 8, 2, [2, 6]),  # the idle ones go with the last
        ([1] * 2, 6, 6, [1] * 6),
        ([1] * 4, 12, 6, [2, 2, 2, 2, 2, 2]),
        ([], 8, 4, [2, 2, 2, 2]),
    ],
    ids=str,
)  # fmt: skip
def test_micro_batches_are_cut_by_tokens(
    costs: list[int], num_rows: int, num_batches: int, expected: list[int]
) -> None:
    assert exact._even_sizes(costs, num_rows, num_batches) == expected


def test_a_prompt_counts_once_in_each_micro_batch() -> None:
    """Costs of the rows, prompt in brackets: (2) 1, 2, 3 and (2) 2, 2; the sixth row is idle."""
    prompts = torch.tensor([[0, 1, 7], [0, 1, 7], [0, 1, 7], [0, 3, 4], [0, 3, 4], [0, 3, 4]])
    lengths = torch.tensor([1, 2, 3, 2, 2, 9])
    columns: dict[str, torch.Tensor | None] = {
        "prompt_ids": prompts,
        "prompt_mask": (prompts > 0).long(),
        "completion_ids": lengths[:, None].expand(-1, 9),
        "completion_mask": (torch.arange(9) < lengths[:, None]).long(),
        "advantages": torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0, 0.0]),
    }
    for computes_idle, expected in ((False, [[1, 2, 3], [2, 2, 9]]), (True, [[1, 2, 3, 2], [2, 9]])):
        parts = exact.whole_groups(split_tensor_dict(columns, 2), evenly=True, computes_idle=computes_idle)
        assert [part["completion_ids"][:, 0].tolist() for part in parts] == expected


@pytest.mark.parametrize(
    ("loss_type", "scored", "may"),
    [("dapo", [False, True], True), ("grpo", [True, True], True), ("grpo", [False, True], False)],
    ids=["tokens-of-all", "all-scored", "one-void"],
)
def test_void_rows_stay_where_they_count(loss_type: str, scored: list[bool], may: bool) -> None:
    batches = [{"scored": torch.tensor([True, True])}, {"scored": torch.tensor(scored)}]
    assert exact.are_cut_freely(loss_type, batches) is may


class SeededRollouts(TrainerCallback):
    """The engine samples with torch's generator, so this makes the rollouts of two trainers the same."""

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        torch.manual_seed(11)


@pytest.mark.engine
def test_a_training_step_with_accumulation_equals_one_without(
    tiny_policy: Path, start_engine: Callable[..., Engine], recipe_tree: Callable[..., Any], tmp_path: Path
) -> None:
    engine = start_engine(tiny_policy, dtype="float32")
    recipe = Recipe.model_validate(recipe_tree())
    steps: list[Gradients] = []
    sampled: list[list[tuple[str, str]]] = []
    is_sorted: list[bool] = []
    for batch, accumulation in ((16, 1), (2, 8)):
        trainer = make_trainer(
            engine, tiny_policy, recipe, tmp_path, lora=False, max_steps=1, per_device_train_batch_size=batch,
            gradient_accumulation_steps=accumulation, optim="sgd", learning_rate=1.0, lr_scheduler_type="constant",
            max_grad_norm=0.0, save_strategy="no", logging_steps=1, disable_tqdm=True,
        )  # fmt: skip
        ledger: list[dict[str, Any]] = []
        trainer.on_rollouts = ledger.extend
        trainer.add_callback(SeededRollouts())
        assert trainer.model is not None
        before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
        trainer.train()
        steps.append({name: before[name] - p.detach() for name, p in trainer.model.named_parameters()})
        sampled.append([(row["row_id"], row["completion"]) for row in ledger])
        batches = trainer._buffered_inputs
        assert batches is not None and len(batches) == accumulation
        idle = torch.cat([part["advantages"] == 0 for part in batches])
        assert 0 < int(idle.sum()) < 16
        is_sorted.append(bool((idle.long().diff() >= 0).all()))
    assert sampled[0] == sampled[1] and len(sampled[0]) == 16
    assert is_sorted[1]
    assert_equal_gradients(steps[1], steps[0])


@pytest.mark.engine
def test_masked_truncated_completions_equal_stock(
    tiny_policy: Path, start_engine: Callable[..., Engine], recipe_tree: Callable[..., Any], tmp_path: Path
) -> None:
    engine = start_engine(tiny_policy, dtype="float32")
    ends = list(range(0, 49152, 12))  # the random policy never samples its one end token; a twelfth of all ends some
    trainer = make_trainer(
        engine, tiny_policy, Recipe.model_validate(recipe_tree()), tmp_path, lora=True,
        mask_truncated_completions=True, generation_kwargs={"stop_token_ids": ends}, **TOKEN_RATIO,
    )  # fmt: skip
    trainer.eos_token_ids = ends
    torch.manual_seed(2)
    batch = stock_batch(trainer)
    rows = batch["completion_mask"].sum(dim=1)
    assert (
        0 < int((rows == 0).sum()) < 16 and len(set(rows.tolist())) > 2
    )  # some masked whole, the rest of many lengths
    batch["advantages"] = torch.linspace(-1, 1, 16)
    assert (batch["advantages"][rows == 0] != 0).all()  # so that only the mask keeps these rows out
    for loss_type in LOSSES:
        trainer.loss_type = loss_type
        expected_loss, expected = loss_and_gradients(trainer, GRPOTrainer._compute_loss, dict(batch))
        loss, found = loss_and_gradients(trainer, ReasoningTrainer._compute_loss, without_old_logprobs(batch))
        torch.testing.assert_close(loss, expected_loss, rtol=1e-5, atol=1e-6)
        assert_equal_gradients(found, expected)


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.parametrize("idle", ["in both", "in one", "with void rows"])
def test_two_ranks_equal_one(
    idle: str, tiny_policy: Path, start_engine: Callable[..., Engine], recipe_tree: Callable[..., Any], tmp_path: Path
) -> None:
    """Each rank takes half of a batch: both have a trained and an idle group, or one has the trained and the other the idle ones,
    or two of one's rows could not be scored besides. DDP averages; the gradients are those of TRL on the whole batch in one process."""
    engine = start_engine(tiny_policy, dtype="float32")
    tree = recipe_tree()
    trainer = make_trainer(engine, tiny_policy, Recipe.model_validate(tree), tmp_path, lora=True, **TOKEN_RATIO)
    batch = batch_of(trainer)
    if idle != "in both":
        order = (batch["advantages"] == 0).long().argsort(stable=True)
        batch |= {k: v[order] for k, v in batch.items() if isinstance(v, torch.Tensor) and v.dim()}
    losses = [loss for loss in LOSSES if loss != "bnpo"]  # bnpo is a mean over the tokens of a rank by definition
    if idle == "with void rows":  # losses that are means over rows are means over the scored rows of a rank
        losses = list(exact.GLOBAL_NORMALISER)
        batch["scored"] = torch.tensor([True] * 3 + [False] * 2 + [True] * 11)
        batch["completion_mask"] = batch["completion_mask"] * batch["scored"][:, None]
        batch["num_items_in_batch"] = batch["completion_mask"].sum()
    expected = {}
    for loss_type in losses:
        trainer.loss_type = loss_type
        expected[loss_type] = loss_and_gradients(trainer, GRPOTrainer._compute_loss, dict(batch))[1]
    assert trainer.model is not None
    torch.save({"batch": batch, "weights": trainer.model.state_dict()}, tmp_path / "batch.pt")
    (tmp_path / "recipe.json").write_text(json.dumps(tree))
    here = Path(__file__).parent
    command = [
        *(sys.executable, "-m", "accelerate.commands.launch", "--config_file"),
        *(str(here.parents[1] / "recipes" / "accelerate" / "cpu_2.yaml"), str(here / "half_batch.py")),
        *(str(tmp_path), str(tiny_policy), *expected),
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), *sys.path])}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    for rank in range(2):
        found = torch.load(tmp_path / f"gradients_{rank}.pt")
        assert found.keys() == expected.keys()
        for loss_type, gradients in expected.items():
            assert_equal_gradients(found[loss_type], gradients)
