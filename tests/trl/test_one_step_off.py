"""Sampling one step ahead: what it samples, by which policy, what the gradient is, what is saved, and how it ends.

A run with learning rate 0 draws the same random numbers in the same order as one that samples and updates in turn, as long as
the data loader begins no new pass, so that its batches are the same ones.
"""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from decoupled import Steps, assert_decoupled, logprobs_of, staleness
from test_choosing import by_text, even_rows, odd_rows_only
from transformers import TrainerControl, TrainerState, TrainingArguments

from reasoning_rl.api import Sample
from reasoning_rl.errors import EngineError
from reasoning_rl.grading import Grader
from reasoning_rl.trl_bridge.ahead import Stopped
from reasoning_rl.trl_bridge.callbacks import SaveOnInterrupt
from reasoning_rl.trl_bridge.choosing import STATE_KEY, ChoosingTrainer
from reasoning_rl.trl_bridge.engine import Engine
from reasoning_rl.trl_bridge.refill import Account, DataOrder
from reasoning_rl.trl_bridge.trainer import ReasoningTrainer

pytestmark = pytest.mark.engine
Make = Callable[..., ReasoningTrainer]
AHEAD = {"staleness": 1}
TOKEN_RATIO = {"vllm_importance_sampling_mode": "token_truncate"}


@pytest.mark.parametrize(
    ("sampling", "reward"),
    [({}, None), ({"refill_rounds": 2}, odd_rows_only), ({"curriculum": {"defer_batches": 1}}, even_rows)],
    ids=["streaming", "refill", "curriculum"],
)
def test_with_learning_rate_zero_the_batches_are_those_of_sampling_in_turn(
    sampling: dict[str, Any], reward: Callable[[Sample], float] | None, make_trainer: Make, grader: Grader
) -> None:
    ledgers: list[list[Any]] = [[], []]
    questions = [f"What is {i} + {i}?" for i in range(20)]
    arguments = {"max_steps": 3, "learning_rate": 0.0, "save_strategy": "no", "questions": questions, **TOKEN_RATIO}
    in_turn = make_trainer(reward or grader, sampling, ledgers[0], **arguments)
    ahead = make_trainer(reward or grader, sampling | AHEAD, ledgers[1], **arguments)
    assert bool(ahead.stream) == (reward is None)
    steps = [Steps(in_turn), Steps(ahead)]
    for trainer in (in_turn, ahead):
        torch.manual_seed(3)
        trainer.train()
    kept = ("step", "row_id", "completion", "total", "advantage", "dropped")
    rows = [[[row.get(key) for key in kept] for row in ledger] for ledger in ledgers]
    assert rows[0] == rows[1] and {row[0] for row in rows[0]} == {0, 1, 2}
    for expected, found in zip(steps[0].batches, steps[1].batches, strict=True):
        assert expected.keys() == found.keys()
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, rtol=0, atol=1e-5, msg=key)
    assert len(steps[0].batches) == 3 and staleness(in_turn) == []
    # The first batch has no step before it; what refill samples on top is by the policy of the step.
    assert staleness(ahead)[0] == 0 and all(0 < value <= 1 for value in staleness(ahead)[1:])
    times = [row for row in ahead.state.log_history if "time/sampling_s" in row]
    assert len(times) == 3
    if reward is None:  # every batch is sampled beside a whole update
        assert all(row["time/rollout_s"] < row["time/sampling_s"] for row in times[1:])


def test_the_gradient_is_that_of_the_decoupled_objective(make_trainer: Make) -> None:
    trainer = make_trainer(
        by_text, AHEAD, max_steps=2, save_strategy="no", max_grad_norm=0.0, learning_rate=0.01, lr_scheduler_type="constant",
        **TOKEN_RATIO,
    )  # fmt: skip
    steps = Steps(trainer)
    trainer.train()
    assert staleness(trainer) == [0.0, 1.0]
    batch, model = steps.batches[1], trainer.model
    assert model is not None
    is_token = batch["completion_mask"].bool()
    behaviour = batch["sampling_per_token_logps"]
    with torch.no_grad():
        before, proximal = [logprobs_of(policy, model, batch) for policy in steps.policies]
    torch.testing.assert_close(behaviour[is_token], before[is_token], rtol=0, atol=1e-4)  # of the step before
    assert (behaviour - proximal)[is_token].abs().max() > 0.1
    assert_decoupled(steps.gradients[1], steps.policies[1], model, batch)


class InterruptAfter(SaveOnInterrupt):
    """Ctrl-C during a step."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.global_step == self.step - 1:
            self._handle(signal.SIGINT, None)


@pytest.mark.parametrize("sampling", [{"refill_rounds": 1}, {"curriculum": {"defer_batches": 1}}])
def test_a_resumed_run_samples_the_batch_in_flight_again(
    make_trainer: Make, sampling: dict[str, Any], tmp_path: Path
) -> None:
    sampling = sampling | AHEAD
    whole: list[Any] = []
    make_trainer(even_rows, sampling, whole, max_steps=4, save_strategy="no", **TOKEN_RATIO).train()
    first: list[Any] = []
    interrupted = make_trainer(even_rows, sampling, first, max_steps=4, **TOKEN_RATIO)
    interrupted.add_callback(InterruptAfter(2))
    interrupted.train()
    assert isinstance(interrupted, ChoosingTrainer)
    folder = tmp_path / "checkpoints" / "checkpoint-2"
    saved = json.loads((folder / "trainer_state.json").read_text())["stateful_callbacks"][STATE_KEY]
    account = Account(**saved["account"])
    assert (account.trained, account.discarded) == (8, 4) and account == interrupted.account
    second: list[Any] = []
    resumed = make_trainer(even_rows, sampling, second, max_steps=4, save_strategy="no", **TOKEN_RATIO)
    resumed.train(resume_from_checkpoint=str(folder))
    prompts = [[(row["step"], row["row_id"], row.get("dropped")) for row in rows] for rows in (whole, first + second)]
    assert prompts[0] == prompts[1] and {row[0] for row in prompts[0]} == {0, 1, 2, 3}
    assert isinstance(resumed, ChoosingTrainer)
    account = resumed.account
    assert (account.trained, account.discarded) == (16, 4)
    assert account.sampled == 4 + len(first + second) / 4 == account.trained + account.dropped + account.discarded
    assert staleness(resumed)[2] == 0 < staleness(resumed)[3]  # the log goes on from the checkpoint's


def test_a_batch_that_is_too_old_is_discarded(make_trainer: Make) -> None:
    ledger: list[Any] = []
    trainer = make_trainer(by_text, AHEAD, ledger, max_steps=9, shuffle_dataset=False, **TOKEN_RATIO)
    assert isinstance(trainer, ChoosingTrainer) and trainer.model is not None
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    trainer.state.max_steps = 9
    inputs = next(iter(trainer.get_train_dataloader()))
    for step in (0, 2):  # a step was skipped
        trainer.state.global_step = trainer._step = step
        trainer._prepare_inputs(inputs)
    trainer._discard_ahead()
    assert trainer.account == Account(sampled=16, trained=8, discarded=8)  # two batches of 4 each
    taken = DataOrder(10, 4, shuffle=False, seed=7).take(8)
    assert [int(row["row_id"]) for row in ledger[::4]] == taken  # sampled again, not left out
    assert trainer._metrics["train"]["sampling/staleness"] == [0.0, 0.0]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failing_update_stops_the_sampling(error: type[BaseException], make_trainer: Make, running: Engine) -> None:
    trainer = make_trainer(by_text, AHEAD, max_steps=3, max_completion_length=90, save_strategy="no", **TOKEN_RATIO)
    sampling: list[Any] = []

    def fail(*_: Any) -> Any:
        sampling.append(trainer.vllm_generation.ahead)
        raise error("the update fails")

    trainer._compute_loss = fail  # pyright: ignore
    with pytest.raises(error, match="the update fails"):
        trainer.train()
    assert isinstance(sampling[0]._future.exception(), Stopped)
    assert "sampling-ahead" not in {thread.name for thread in threading.enumerate()}
    assert not running.llm.llm_engine.has_unfinished_requests()


def test_failing_sampling_ends_the_run_with_a_sentence(make_trainer: Make, running: Engine, tmp_path: Path) -> None:
    questions = ["short"] * 5 + ["word " * 500] + ["short"] * 4  # more tokens than the engine's context
    trainer = make_trainer(
        by_text, AHEAD, questions=questions, max_steps=3, save_steps=1, shuffle_dataset=False, **TOKEN_RATIO
    )
    with pytest.raises(
        EngineError, match=r"vllm: sampling the next batch beside the update failed with .*; the last checkpoint"
    ):
        trainer.train()
    assert (tmp_path / "checkpoints" / "checkpoint-1" / "trainer_state.json").exists()
    assert not running.llm.llm_engine.has_unfinished_requests()
