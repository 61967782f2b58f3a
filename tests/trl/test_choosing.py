"""Refill and curriculum: on mixed groups they change nothing; what they drop, count, save and resume."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from trl.trainer.utils import RepeatSampler

from reasoning_rl.api import Completion, Sample, Score, Verdict
from reasoning_rl.errors import DataError
from reasoning_rl.run_dir import RunDir, read_jsonl
from reasoning_rl.scoring import ScoredSample
from reasoning_rl.trl_bridge.choosing import STATE_KEY, ChoosingTrainer
from reasoning_rl.trl_bridge.refill import Account, Batch, DataOrder, Group, Rollout, refuse_too_few
from reasoning_rl.trl_bridge.trainer import ReasoningTrainer

engine = pytest.mark.engine
NUM_PROMPTS = 10


# --- what decides, without an engine ---


def group(prompt: int, *totals: float | None) -> Group:
    sample = Sample([], Completion("", None, "", 0, False), {}, "")
    scores = [
        {"right": Score(1.0, Verdict.CORRECT) if total else Score.abstain(Verdict.GRADER_ERROR)} for total in totals
    ]
    scored = [ScoredSample(total, score, {}) for total, score in zip(totals, scores, strict=True)]
    return Group(prompt, [Rollout([], [], [], None, sample, item) for item in scored])


def mixed(prompt: int) -> Group:
    return group(prompt, 0.0, 1.0)


def equal(prompt: int) -> Group:
    return group(prompt, 0.5, 0.5)


@pytest.mark.parametrize(
    ("totals", "is_mixed"),
    [((0.0, 1.0), True), ((1.0, 1.0), False), ((0.1, None), False), ((None, None), False), ((0.1, None, 0.2), True)],
)
def test_mixed(totals: Sequence[float | None], is_mixed: bool) -> None:
    assert group(0, *totals).is_mixed is is_mixed


def test_outcome_leaves_out_what_was_not_scored() -> None:
    assert group(0, 1.0, None, 0.3).outcome("right") == (2, 2)
    assert group(0, 1.0).outcome(None) == (0, 0)


def test_rounds_are_sized_by_the_share_so_far() -> None:
    batch = Batch(8)
    assert batch.num_next() == 8
    batch.groups += [mixed(i) for i in range(6)] + [equal(i) for i in range(6, 8)]
    assert batch.num_next() == 3  # 2 are missing and 6 of 8 were mixed: 2 · 8/6
    assert Batch(8, multiple=4).num_next() == 8
    batch.multiple = 4
    assert batch.num_next() == 4
    batch.groups = [equal(i) for i in range(8)]
    assert batch.num_next() == 8


def test_the_first_mixed_groups_are_trained_on() -> None:
    batch = Batch(3)
    batch.groups += [equal(0), mixed(1), mixed(2), equal(3)]
    assert not batch.is_full
    trained, dropped = batch.split()
    assert ([g.prompt for g in trained], [g.prompt for g in dropped]) == ([1, 2, 0], [3])
    batch.groups += [mixed(4), mixed(5)]
    assert batch.is_full
    trained, dropped = batch.split()
    assert ([g.prompt for g in trained], [g.prompt for g in dropped]) == ([1, 2, 4], [5, 0, 3])


@pytest.mark.parametrize("shuffle", [True, False])
def test_data_order_is_that_of_trl(shuffle: bool) -> None:
    theirs = RepeatSampler(range(11), mini_repeat_count=4, batch_size=3, repeat_count=2, shuffle=shuffle, seed=5)
    epochs = [list(theirs), list(theirs)]
    assert len(epochs[0]) == 3 * 3 * 4 * 2
    expected = [p for epoch in epochs for start in range(0, 72, 24) for p in epoch[start : start + 12 : 4]]
    order = DataOrder(11, 3, shuffle=shuffle, seed=5)
    assert [prompt for _ in range(6) for prompt in order.take(3)] == expected
    # The same from any point on, however it was reached.
    order = DataOrder(11, 3, shuffle=shuffle, seed=5)
    order.take(4)
    order.take(1)
    resumed = DataOrder(11, 3, shuffle=shuffle, seed=5)
    resumed.load(json.loads(json.dumps(order.state())))
    assert resumed.take(13) == expected[5:]


def test_data_order_refuses_other_data() -> None:
    with pytest.raises(DataError, match="needs 4 prompts, the data set has 3"):
        refuse_too_few(3, 4)
    refuse_too_few(4, 4)
    with pytest.raises(DataError, match="made with 5 prompts, the data set has 6 now"):
        DataOrder(6, 4, shuffle=True, seed=0).load(DataOrder(5, 4, shuffle=True, seed=0).state())


# --- in TRL's step, with the real engine ---


def by_text(sample: Sample) -> float:
    """Differs within every group: random completions of 12 tokens are never alike."""
    return sum(map(ord, sample.completion.text)) % 10007 / 10007


def odd_rows_only(sample: Sample) -> float:
    return by_text(sample) if int(sample.row_id) % 2 else 1.0


def even_rows(sample: Sample) -> float:
    """Decided by the row alone, so that outcomes are the same whatever is sampled; no group is mixed."""
    return float(int(sample.row_id) % 2 == 0)


def step(trainer: ReasoningTrainer, seed: int = 0) -> dict[str, Any]:
    """One rollout batch, from the rows that TRL's data loader gives first; sampled from the same random numbers."""
    assert trainer.model is not None
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    inputs = next(iter(trainer.get_train_dataloader()))
    torch.manual_seed(seed)
    return trainer._generate_and_score_completions(inputs)


@engine
def test_nothing_changes_where_every_group_is_mixed(make_trainer: Callable[..., ReasoningTrainer]) -> None:
    plain_rows: list[Any] = []
    chosen_rows: list[Any] = []
    plain = make_trainer(by_text, ledger=plain_rows)
    expected = step(plain)
    trainer = make_trainer(by_text, {"refill_rounds": 3}, ledger=chosen_rows)
    batch = step(trainer)
    assert expected.keys() == batch.keys() and expected["advantages"].abs().min() > 0
    for key, value in expected.items():
        torch.testing.assert_close(batch[key], value, rtol=0, atol=0, msg=key)
    drop_times = [
        [{k: v for k, v in row.items() if k != "scores"} for row in rows] for rows in (plain_rows, chosen_rows)
    ]
    assert drop_times[0] == drop_times[1] and len(plain_rows) == 16
    theirs, ours = plain._metrics["train"], trainer._metrics["train"]
    compared = [key for key in theirs if not key.startswith("time/")]
    assert len(compared) > 15 and {key: ours[key] for key in compared} == {key: theirs[key] for key in compared}
    assert ours["prompts/rounds"] == [1] and ours["prompts/sampled"] == [4] and ours["prompts/dropped"] == [0]


@engine
def test_refill_takes_the_next_prompts_until_the_batch_is_mixed(make_trainer: Callable[..., ReasoningTrainer]) -> None:
    ledger: list[Any] = []
    trainer = make_trainer(odd_rows_only, {"refill_rounds": 8}, ledger=ledger)
    assert isinstance(trainer, ChoosingTrainer)
    batch = step(trainer)
    assert batch["advantages"].ne(0).all()
    trained = [row["row_id"] for row in ledger if not row.get("dropped")][::4]
    dropped = [row["row_id"] for row in ledger if row.get("dropped")][::4]
    taken = DataOrder(NUM_PROMPTS, 4, shuffle=True, seed=7).take(trainer.account.sampled)
    assert trained == [str(prompt) for prompt in taken if prompt % 2][:4] and len(trained) == 4
    assert sorted(trained + dropped) == sorted(map(str, taken)) and dropped
    assert trainer.account == Account(sampled=len(taken), trained=4, dropped=len(taken) - 4)
    metrics = trainer._metrics["train"]
    assert metrics["prompts/sampled"] == [len(taken)] and metrics["prompts/rounds"][0] > 1
    assert metrics["useful_group_share"] == [1.0]
    assert metrics["completions/mean_length"] and len(ledger) == 4 * len(taken)


@engine
def test_the_cap_is_said_and_the_batch_is_filled_up(
    make_trainer: Callable[..., ReasoningTrainer], caplog: pytest.LogCaptureFixture
) -> None:
    trainer = make_trainer(lambda sample: 1.0, {"refill_rounds": 2})
    with caplog.at_level(logging.WARNING):
        batch = step(trainer)
    assert batch["advantages"].shape == (16,) and not batch["advantages"].any()
    assert "step 1: 0 of 4 groups are mixed after 3 rounds (12 prompts)" in caplog.text
    assert isinstance(trainer, ChoosingTrainer)
    assert trainer.account == Account(sampled=12, trained=4, dropped=8)


@engine
@pytest.mark.parametrize("sampling", [{"refill_rounds": 2}, {"curriculum": {"defer_batches": 1}, "refill_rounds": 1}])
def test_a_resumed_run_takes_the_prompts_of_an_uninterrupted_one(
    make_trainer: Callable[..., ReasoningTrainer], sampling: dict[str, Any], tmp_path: Path
) -> None:
    whole: list[Any] = []
    make_trainer(even_rows, sampling, whole, max_steps=4, save_steps=2).train()
    first: list[Any] = []
    make_trainer(even_rows, sampling, first, max_steps=2, save_steps=2).train()
    saved = json.loads((tmp_path / "checkpoints" / "checkpoint-2" / "trainer_state.json").read_text())
    state = saved["stateful_callbacks"][STATE_KEY]
    assert state["account"]["trained"] == 8 == state["account"]["sampled"] - state["account"]["dropped"]
    second: list[Any] = []
    resumed = make_trainer(even_rows, sampling, second, max_steps=4, save_steps=2)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoints" / "checkpoint-2"))
    prompts = [[(row["step"], row["row_id"], row.get("dropped")) for row in rows] for rows in (whole, first + second)]
    assert prompts[0] == prompts[1] and {row[0] for row in prompts[0]} == {0, 1, 2, 3}
    assert isinstance(resumed, ChoosingTrainer) and resumed.account.trained == 16


@engine
def test_amid_a_batch_a_checkpoint_goes_back_to_its_prompts(make_trainer: Callable[..., ReasoningTrainer]) -> None:
    trainer = make_trainer(by_text, {"refill_rounds": 1}, max_steps=3, save_steps=1, num_iterations=2)
    assert isinstance(trainer, ChoosingTrainer)
    trainer.train()
    folder = Path(trainer.args.output_dir or "")
    states = [
        json.loads((folder / f"checkpoint-{n}" / "trainer_state.json").read_text())["stateful_callbacks"][STATE_KEY]
        for n in (1, 2, 3)
    ]
    # Each batch makes two steps: after the first and the third there is one to come.
    assert [state["order"]["taken"] for state in states] == [0, 4, 4]
    assert [state["account"]["trained"] for state in states] == [0, 4, 4]


@engine
@pytest.mark.slow
@pytest.mark.parametrize("staleness", [0, 1])
def test_two_processes_choose_alike(
    staleness: int,
    tiny_policy: Path,
    recipe_tree: Callable[..., dict[str, Any]],
    write_recipe: Callable[..., Path],
    tmp_path: Path,
) -> None:
    """Groups of 4 with 6 completions per process: the middle one of the three lies across both."""
    (tmp_path / "rewards.py").write_text(
        "def mixed_when_odd(sample) -> float:\n"
        "    text = sum(map(ord, sample.completion.text)) % 10007 / 10007\n"
        "    return text if int(sample.row['answer']) % 2 else 0.5\n"
    )
    tree = recipe_tree(
        model={"source": str(tiny_policy)},
        rewards={
            "correct": {"use": "exact_answer", "weight": 0.0},
            "mixed": {"use": f"{tmp_path}/rewards.py:mixed_when_odd"},
        },
        sampling={"refill_rounds": 5, "staleness": staleness},
        grpo={
            "max_steps": 2, "per_device_train_batch_size": 6, "num_generations": 4, "max_completion_length": 8,
            "gradient_checkpointing": False, "bf16": False, "vllm_importance_sampling_mode": "token_truncate",
        },
        vllm={"max_model_len": 128, "enforce_eager": True, "kv_cache_memory_bytes": 1 << 28, "max_num_seqs": 16},
        launch={
            "config_file": str(Path(__file__).parents[2] / "recipes" / "accelerate" / "cpu_2.yaml"),
            "num_processes": 2,
        },
        scoring={"audit": False},
    )  # fmt: skip
    tree["data"]["train"]["size"] = 64  # no prompt twice
    done = subprocess.run(
        [sys.executable, "-c", "from reasoning_rl.cli import main; main()", "train", str(write_recipe(tree))],
        capture_output=True, text=True, check=False, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    run_dir = RunDir(tmp_path / "run")
    ledger = list(read_jsonl(run_dir.rollouts))
    sampled = dropped = 0
    ages: list[float] = []
    for row in read_jsonl(run_dir.metrics):
        step = [item for item in ledger if item["step"] == row["step"] - 1]
        trained = [item for item in step if not item.get("dropped")]
        assert [item["row_id"] for item in trained] == [trained[i - i % 4]["row_id"] for i in range(12)]
        assert all(item["advantage"] for item in trained) and len({item["row_id"] for item in trained}) == 3
        assert len(step) == 4 * row["prompts/sampled"] and len(step) - 12 == 4 * row["prompts/dropped"]
        assert row["sampled_tokens"] == sum(item["num_tokens"] for item in step)
        assert row["trained_tokens"] == sum(item["num_tokens"] for item in trained)
        assert sum(item["total"] for item in trained) / 12 == pytest.approx(row["reward"], abs=1e-6)
        ages.append(row.get("sampling/staleness", 0.0))
        sampled, dropped = sampled + row["prompts/sampled"], dropped + row["prompts/dropped"]
        assert (row["prompts/total_sampled"], row["prompts/total_dropped"]) == (sampled, dropped)
    assert dropped
    assert ages[0] == 0 and (0 < ages[1] <= 1) == bool(staleness)
