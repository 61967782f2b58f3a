"""Groups that are carried over: which are trained on and when, by which policies, what is saved, and how it ends.

Completions of different lengths come from stop tokens: a random policy hardly ever ends a turn by itself.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from decoupled import Steps, assert_decoupled, logprobs_of, staleness
from log_probs import gap, trainer_logprobs  # pyright: ignore[reportAttributeAccessIssue]
from streamed_rewards import by_text as by_hash  # pyright: ignore[reportAttributeAccessIssue]
from test_choosing import by_text, even_rows
from test_one_step_off import InterruptAfter
from test_run import undocumented
from test_streaming import STOPS
from whole_runs import CLI, run  # pyright: ignore[reportAttributeAccessIssue]

from reasoning_rl.errors import DataError, EngineError
from reasoning_rl.grading import Grader
from reasoning_rl.run_dir import RunDir, read_jsonl
from reasoning_rl.trl_bridge.carry import MAX_CARRIED, Begun, Draft, UnderWay, mean_age
from reasoning_rl.trl_bridge.carrying import CarryingTrainer
from reasoning_rl.trl_bridge.choosing import STATE_KEY
from reasoning_rl.trl_bridge.engine import Engine
from reasoning_rl.trl_bridge.refill import Account, DataOrder
from reasoning_rl.trl_bridge.trainer import ReasoningTrainer

engine = pytest.mark.engine
Make = Callable[..., ReasoningTrainer]
CARRY = {"extra_groups": 2}
ARGS = {
    "max_completion_length": 16,
    "generation_kwargs": {"stop_token_ids": STOPS},
    "vllm_importance_sampling_mode": "token_truncate",
}
MANY = [f"What is {i} + {i}?" for i in range(60)]


# --- what decides, without an engine ---


def begun(num_trained: int, num_extra: int, *prompts: int, step: int = 0) -> UnderWay:
    under_way = UnderWay(num_trained, num_extra)
    for prompt in prompts:
        under_way.begin(prompt, [[prompt], [prompt]], step)
    return under_way


def finish(under_way: UnderWay, *prompts: int) -> None:
    for group in under_way.groups:
        for draft in group.drafts if group.prompt in prompts else []:
            draft.is_finished = True


def test_the_complete_groups_whose_prompts_were_chosen_first_are_trained_on() -> None:
    under_way = begun(2, 1, 5, 3, 8)
    assert under_way.num_missing == 0 and [draft.number for draft in under_way.unfinished()] == [0, 1, 2, 3, 4, 5]
    finish(under_way, 8)
    under_way.groups[0].drafts[1].is_finished = True  # one of two
    assert not under_way.has_enough(step=0)
    finish(under_way, 3)
    assert under_way.has_enough(step=0)
    assert [group.prompt for group in under_way.take()] == [3, 8]  # not in the order in which they became complete
    assert under_way.prompts == [5] and under_way.num_missing == 2
    assert [draft.number for draft in under_way.unfinished()] == [0]
    for prompt in (1, 2):
        under_way.begin(prompt, [[prompt]], step=1)
    assert [draft.number for draft in under_way.unfinished()] == [0, 6, 7]  # what was there before is first in line
    finish(under_way, 1, 2, 5)
    assert [group.prompt for group in under_way.take()] == [5, 1]
    assert under_way.prompts == [2] and under_way.unfinished() == []  # complete, and waits its turn
    assert under_way.clear() == 1 and under_way.prompts == []


@pytest.mark.parametrize(("step", "expected"), [(4, True), (5, True), (6, False), (7, False)])
def test_sampling_waits_for_what_was_carried_over_twice(step: int, expected: bool) -> None:
    under_way = begun(2, 1, 0, 1, 2, step=4)
    finish(under_way, 1, 2)
    assert under_way.has_enough(step) is expected
    finish(under_way, 0)
    assert under_way.has_enough(step)


def test_ages_are_counted_by_token() -> None:
    drafts = [Draft(0, [1]), Draft(1, [1])]
    drafts[0].add([7, 8], [-1.0, -2.0], policy=1)
    drafts[0].add([9], [-3.0], policy=3)
    drafts[1].add([7], [-1.0], policy=3)
    assert (drafts[0].token_ids, drafts[0].logprobs) == ([7, 8, 9], [-1.0, -2.0, -3.0])
    assert mean_age([Begun(0, 1, drafts)], step=3) == (2 + 2 + 0 + 0) / 4
    assert [draft.is_continued for draft in drafts] == [True, False]


# --- in TRL's step, with the real engine ---


class Record:
    """Of each step: the groups when its sampling stopped, those that it trained on, and those that it carried over."""

    def __init__(self, trainer: ReasoningTrainer) -> None:
        assert isinstance(trainer, CarryingTrainer)
        self.under_way: list[list[Begun]] = []
        self.trained: list[list[Begun]] = []
        self.carried: list[list[Begun]] = []
        self._trainer, self._take = trainer, trainer.under_way.take
        trainer.under_way.take = self._note

    def _note(self) -> list[Begun]:
        engine = self._trainer.vllm_generation.engine.llm.llm_engine
        assert not engine.has_unfinished_requests()
        self.under_way.append(list(self._trainer.under_way.groups))
        self.trained.append(self._take())
        self.carried.append(list(self._trainer.under_way.groups))
        return self.trained[-1]

    @property
    def drafts(self) -> list[Draft]:
        """All that was trained on."""
        return [draft for groups in self.trained for group in groups for draft in group.drafts]


def same_but_for_time(ledger: list[Any]) -> list[Any]:
    return [{key: value for key, value in row.items() if key != "scores"} for row in ledger]


@engine
def test_without_extra_groups_every_batch_is_that_of_plain_training(make_trainer: Make) -> None:
    ledgers: list[list[Any]] = [[], []]
    trainers = [make_trainer(by_text, None, ledgers[0], max_steps=3, save_strategy="no", **ARGS)]
    trainers.append(make_trainer(by_text, {"extra_groups": 0}, ledgers[1], max_steps=3, save_strategy="no", **ARGS))
    steps = [Steps(trainer) for trainer in trainers]
    for trainer in trainers:
        torch.manual_seed(3)
        trainer.train()
    assert same_but_for_time(ledgers[0]) == same_but_for_time(ledgers[1]) and len(ledgers[0]) == 3 * 16
    assert len({row["num_tokens"] for row in ledgers[0]}) > 2
    for expected, found in zip(steps[0].batches, steps[1].batches, strict=True):
        assert expected.keys() == found.keys()
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, rtol=0, atol=0, msg=key)
    assert staleness(trainers[1]) == [0.0, 0.0, 0.0]


@engine
def test_every_group_that_is_begun_is_trained_on_once(make_trainer: Make) -> None:
    ledger: list[Any] = []
    arguments = {"max_steps": 6, "learning_rate": 0.0, "save_strategy": "no", "questions": MANY, **ARGS}
    trainer = make_trainer(by_text, CARRY, ledger, **arguments)
    trainer.reward.reader = replace(
        trainer.reward.reader, eos_ids=frozenset(STOPS)
    )  # so that what ends by itself counts as ended
    record, steps = Record(trainer), Steps(trainer)
    trainer.train()

    taken = DataOrder(60, 4, shuffle=True, seed=7).take(2 + 6 * 4)
    trained = [[group.prompt for group in groups] for groups in record.trained]
    left = [group.prompt for group in record.carried[-1]]
    assert sorted([*itertools.chain(*trained), *left]) == sorted(taken) and len(left) == 2
    assert [row["row_id"] for row in ledger] == [str(prompt) for groups in trained for prompt in groups for _ in "1234"]
    for prompts in trained:
        assert prompts == sorted(prompts, key=taken.index)  # in the order in which they were chosen
    assert isinstance(trainer, CarryingTrainer)
    assert trainer.account == Account(sampled=26, trained=24, discarded=2)

    lengths = [len(draft.token_ids) for draft in record.drafts]
    assert [row["num_tokens"] for row in ledger] == lengths and max(lengths) == 16 and min(lengths) < 16
    assert [row["truncated"] for row in ledger] == [draft.token_ids[-1] not in STOPS for draft in record.drafts]
    assert all(row["num_tokens"] == 16 for row in ledger if row["truncated"])
    continued = [draft for draft in record.drafts if draft.is_continued]
    assert any(len(draft.token_ids) == 16 for draft in continued)  # cut at the limit of all steps together,
    assert any(draft.token_ids[-1] in STOPS for draft in continued)  # and ended by itself

    # The weights never change, so that the log-probs of all tokens are those of the trainer, whenever they were sampled.
    assert trainer.model is not None
    prompt_ids, token_ids = [d.prompt_ids for d in record.drafts], [d.token_ids for d in record.drafts]
    kept = [draft.logprobs for draft in record.drafts]
    assert gap(kept, trainer_logprobs(trainer.model, prompt_ids, token_ids))[1] < 1e-4
    for groups, batch in zip(record.trained, steps.batches, strict=True):
        known = by_tokens(groups)
        for tokens, logprobs in zip(tokens_of(batch), batch["sampling_per_token_logps"], strict=True):
            torch.testing.assert_close(
                logprobs[: len(tokens[1])], torch.tensor(known[tokens].logprobs), rtol=0, atol=1e-6
            )
    logged = [row for row in trainer.state.log_history if "sampling/carried_over" in row]
    assert [row["sampling/carried_over"] for row in logged] == [2.0] * 6
    assert sum(row["sampling/continued"] for row in logged) == len(continued)
    assert [row["prompts/sampled"] for row in logged] == [6.0] + [4.0] * 5
    assert staleness(trainer) == [pytest.approx(mean_age(groups, step)) for step, groups in enumerate(record.trained)]
    assert staleness(trainer)[0] == 0.0 < max(staleness(trainer))


def tokens_of(batch: dict[str, Any]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Prompt and completion of each row."""
    return [
        (tuple(p[p_mask.bool()].tolist()), tuple(c[c_mask.bool()].tolist()))
        for p, p_mask, c, c_mask in zip(
            batch["prompt_ids"], batch["prompt_mask"], batch["completion_ids"], batch["completion_mask"], strict=True
        )
    ]


def by_tokens(groups: list[Begun]) -> dict[tuple[tuple[int, ...], tuple[int, ...]], Draft]:
    """The completions of groups by what TRL's step sees of them."""
    drafts = [draft for group in groups for draft in group.drafts]
    known = {(tuple(draft.prompt_ids), tuple(draft.token_ids)): draft for draft in drafts}
    assert len(known) == len(drafts)  # no two alike
    return known


@engine
def test_no_group_waits_for_longer_than_two_steps(make_trainer: Make) -> None:
    arguments = {"max_steps": 8, "learning_rate": 0.0, "save_strategy": "no", **ARGS}
    trainer = make_trainer(
        by_text, {"extra_groups": 8}, questions=[*MANY, *MANY], num_generations=2, **arguments | {"max_completion_length": 60}
    )  # fmt: skip
    record = Record(trainer)
    waited = []
    assert isinstance(trainer, CarryingTrainer)
    has_enough = trainer.under_way.has_enough

    def watched(step: int) -> bool:
        complete = sum(group.is_complete for group in trainer.under_way.groups)
        waited.append(complete >= 8 and not has_enough(step))
        return has_enough(step)

    trainer.under_way.has_enough = watched
    trainer.train()
    ages = [step - group.step for step, groups in enumerate(record.trained) for group in groups]
    assert len(ages) == 64 and max(ages) == MAX_CARRIED
    assert any(waited)  # a step went on for their sake when it had a batch


@engine
def test_the_gradient_is_decoupled_by_the_policy_of_each_token(make_trainer: Make) -> None:
    trainer = make_trainer(
        by_text, CARRY, max_steps=4, save_strategy="no", max_grad_norm=0.0, learning_rate=0.01,
        lr_scheduler_type="constant", questions=MANY, **ARGS,
    )  # fmt: skip
    record, steps = Record(trainer), Steps(trainer)
    trainer.train()
    model = trainer.model
    assert model is not None
    num_older = 0
    for step, (groups, batch) in enumerate(zip(record.trained, steps.batches, strict=True)):
        known = by_tokens(groups)
        with torch.no_grad():
            by_policy = [logprobs_of(policy, model, batch) for policy in steps.policies]
        for row, tokens in enumerate(tokens_of(batch)):
            policies = known[tokens].policies
            expected = torch.stack([by_policy[policy][row, i] for i, policy in enumerate(policies)])
            found = batch["sampling_per_token_logps"][row, : len(policies)]
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
            num_older += sum(policy < step for policy in policies)
    assert num_older > 20
    continued = [sum(draft.is_continued for group in groups for draft in group.drafts) for groups in record.trained]
    step = continued.index(max(continued))
    assert continued[step] > 0
    assert_decoupled(steps.gradients[step], steps.policies[step], model, steps.batches[step])


@engine
@pytest.mark.parametrize("sampling", [CARRY, CARRY | {"curriculum": {"defer_batches": 1}}], ids=["order", "curriculum"])
def test_a_resumed_run_begins_with_the_prompts_that_were_under_way(
    make_trainer: Make, sampling: dict[str, Any], tmp_path: Path
) -> None:
    first: list[Any] = []
    interrupted = make_trainer(even_rows, sampling, first, max_steps=4, **ARGS)
    interrupted.add_callback(InterruptAfter(2))
    interrupted.train()
    folder = tmp_path / "checkpoints" / "checkpoint-2"
    saved = json.loads((folder / "trainer_state.json").read_text())["stateful_callbacks"][STATE_KEY]
    assert len(saved["under_way"]) == 2
    assert isinstance(interrupted, CarryingTrainer)
    assert Account(**saved["account"]) == Account(sampled=10, trained=8, discarded=2) == interrupted.account

    second: list[Any] = []
    resumed = make_trainer(even_rows, sampling, second, max_steps=4, save_strategy="no", **ARGS)
    record = Record(resumed)
    resumed.train(resume_from_checkpoint=str(folder))
    prompts = [group.prompt for group in record.under_way[0]]
    assert prompts[:2] == saved["under_way"]
    if sampling == CARRY:
        assert prompts[2:] == DataOrder(10, 4, shuffle=True, seed=7).take(14)[10:]
    assert all(policy >= 2 for draft in record.drafts for policy in draft.policies)  # nothing of before
    assert [row["step"] for row in first + second] == [step for step in range(4) for _ in range(16)]
    assert isinstance(resumed, CarryingTrainer)
    assert resumed.account == Account(sampled=20, trained=16, discarded=4)


@engine
def test_a_curriculum_chooses_no_prompt_that_is_under_way(make_trainer: Make) -> None:
    sampling = CARRY | {"curriculum": {"defer_batches": 0}}
    trainer = make_trainer(even_rows, sampling, max_steps=6, save_strategy="no", questions=MANY[:7], **ARGS)
    record = Record(trainer)
    trainer.train()
    assert len(record.under_way) == 6
    for groups in record.under_way:
        assert len({group.prompt for group in groups}) == 6


@engine
def test_each_completion_is_graded_once_whenever_it_finishes(make_trainer: Make, grader: Grader) -> None:
    ledgers: list[list[Any]] = [[], []]
    arguments = {"max_steps": 4, "learning_rate": 0.0, "save_strategy": "no", "questions": MANY, **ARGS}
    streaming = make_trainer(grader, CARRY, ledgers[0], **arguments)
    plain = make_trainer(by_hash, CARRY, ledgers[1], **arguments)
    assert streaming.stream and not plain.stream
    records = [Record(streaming), Record(plain)]
    for trainer in (streaming, plain):
        torch.manual_seed(3)
        trainer.train()
    kept = ("step", "row_id", "completion", "num_tokens", "total", "advantage")
    rows = [[[row[key] for key in kept] for row in ledger] for ledger in ledgers]
    assert rows[0] == rows[1] and len(rows[0]) == 4 * 16
    record = records[0]
    early = [
        draft.policies[-1] < step
        for step, groups in enumerate(record.trained)
        for group in groups
        for draft in group.drafts
    ]
    assert any(early)  # finished, and handed on, in a step before the one that trained on them
    unused = [draft for group in record.carried[-1] for draft in group.drafts if draft.is_finished]
    expected, end = len(early) + len(unused), time.monotonic() + 30
    while graded(grader) < expected and time.monotonic() < end:
        time.sleep(0.05)  # nobody has waited for those that were not trained on
    assert graded(grader) == expected


def graded(grader: Grader) -> float:
    stats = grader.stats()
    return stats["scores"] + stats["hits"] + stats["joined"]


@engine
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_while_sampling_leaves_no_request(
    error: type[BaseException], make_trainer: Make, running: Engine
) -> None:
    trainer = make_trainer(by_text, CARRY, max_steps=2, save_strategy="no", **ARGS)
    assert isinstance(trainer, CarryingTrainer)

    def fail(draft: Draft) -> None:
        assert running.llm.llm_engine.has_unfinished_requests()
        raise error("stop")

    trainer._grade = fail
    with pytest.raises(error, match="stop"):
        trainer.train()
    assert not running.llm.llm_engine.has_unfinished_requests()
    assert trainer.account == Account(sampled=6, discarded=6)
    assert len(running.generate([[1, 2]], num_samples=2, max_tokens=3)[0]) == 2


@engine
def test_refusals(make_trainer: Make, running: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="needs 6 prompts, the data set has 5"):
        make_trainer(by_text, CARRY, questions=MANY[:5], **ARGS)
    monkeypatch.setattr(running, "can_stream", False)
    with pytest.raises(EngineError, match=r"sampling\.extra_groups: found an engine that several processes step"):
        make_trainer(by_text, CARRY, **ARGS)


@engine
def test_a_whole_run(tiny_recipe: Callable[..., Path], tmp_path: Path) -> None:
    recipe = tiny_recipe(
        sampling={"extra_groups": 1},
        grpo={
            "max_steps": 3, "per_device_train_batch_size": 4, "num_generations": 2, "bf16": False,
            "gradient_checkpointing": False, "max_completion_length": 8, "save_steps": 1,
            "generation_kwargs": {"stop_token_ids": STOPS}, "vllm_importance_sampling_mode": "token_truncate",
        },
        rewards={
            "correct": {"use": "exact_answer"},
            "length": {"use": f"{Path(__file__).parent}/length_reward.py:length"},
        },
    )  # fmt: skip
    done = run([*CLI, "train", str(recipe)])
    assert done.returncode == 0, done.stderr[-3000:]
    run_dir = RunDir(tmp_path / "run")
    assert undocumented(run_dir.metrics) == set()
    rows = list(read_jsonl(run_dir.metrics))
    assert [row["sampling/carried_over"] for row in rows] == [1, 1, 1]
    assert [row["prompts/total_trained"] for row in rows] == [2, 4, 6]
    assert len(list(read_jsonl(run_dir.rollouts))) == 12
