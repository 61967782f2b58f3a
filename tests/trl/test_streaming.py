"""Completions handed on one by one are those of the batch path, and so are rewards, metrics and ledger rows.

Completions of different lengths come from stop tokens: a random policy hardly ever ends a turn by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import GRPOConfig

from reasoning_rl.grading import Grader
from reasoning_rl.recipe import Recipe
from reasoning_rl.scoring import RewardSet
from reasoning_rl.trl_bridge.engine import Engine
from reasoning_rl.trl_bridge.policy import completion_reader
from reasoning_rl.trl_bridge.reward_func import CombinedReward
from reasoning_rl.trl_bridge.trainer import ReasoningTrainer

pytestmark = pytest.mark.engine

REWARDS = Path(__file__).parent / "streamed_rewards.py"
STOPS = list(range(0, 49_000, 7))
QUESTIONS = ["1 + 1", "Tell me a long story about the sea", "7 - 3 + 20", "What?"]


def prompts(count: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(10, 40_000, (count, 9), generator=generator).tolist()


def flat(outputs: list[Any]) -> list[tuple[list[int], list[float]]]:
    """Token ids and log-probs of every completion."""
    completions = [completion for output in outputs for completion in output.outputs]
    return [
        (list(c.token_ids), [step[token].logprob for step, token in zip(c.logprobs, c.token_ids, strict=True)])
        for c in completions
    ]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_same_completions_as_the_batch_path(
    temperature: float, tiny_policy: Path, start_engine: Callable[..., Engine]
) -> None:
    from vllm import SamplingParams

    engine = start_engine(tiny_policy, dtype="float32", max_num_seqs=4)  # 12 requests: some wait for a place
    requests = [{"prompt_token_ids": ids} for ids in prompts(12)]
    parameters = SamplingParams(temperature=temperature, max_tokens=20, logprobs=0, stop_token_ids=STOPS)
    finished: dict[int, list[int]] = {}
    unfinished: list[int] = []

    def note(position: int, token_ids: list[int]) -> None:
        finished[position] = token_ids
        unfinished.append(engine.llm.llm_engine.get_num_unfinished_requests())

    torch.manual_seed(5)
    expected = flat(engine.llm.generate(requests, sampling_params=parameters, use_tqdm=False))  # pyright: ignore
    torch.manual_seed(5)
    ours = flat(engine.run(requests, parameters, note))
    assert ours == expected
    assert len({len(ids) for ids, _ in ours}) > 2  # lengths differ, so the comparison of orders means something
    assert [finished[position] for position in range(12)] == [ids for ids, _ in ours]
    assert list(finished) != sorted(finished)  # they came as they finished,
    assert unfinished[0] >= 8 and unfinished[-1] == 0  # the first of them while others were being sampled


def test_samples_of_a_prompt_are_those_of_one_request(tiny_policy: Path, start_engine: Callable[..., Engine]) -> None:
    from vllm import SamplingParams

    engine = start_engine(tiny_policy, dtype="float32", max_num_seqs=4)
    requests = [{"prompt_token_ids": ids} for ids in prompts(3)]
    parameters = SamplingParams(n=4, max_tokens=10, logprobs=0)
    torch.manual_seed(5)
    expected = flat(engine.llm.generate(requests, sampling_params=parameters, use_tqdm=False))  # pyright: ignore
    torch.manual_seed(5)
    seen: dict[int, list[int]] = {}
    groups = engine.generate(prompts(3), num_samples=4, max_tokens=10, on_finished=seen.__setitem__)
    assert [len(group) for group in groups] == [4, 4, 4]
    assert [(c.token_ids, c.logprobs) for group in groups for c in group] == expected
    assert [seen[position] for position in range(12)] == [ids for ids, _ in expected]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_leaves_no_request(
    error: type[BaseException], tiny_policy: Path, start_engine: Callable[..., Engine]
) -> None:
    engine = start_engine(tiny_policy, dtype="float32", max_num_seqs=4)

    def fail(position: int, token_ids: list[int]) -> None:
        raise error("stop")

    with pytest.raises(error, match="stop"):
        engine.generate(prompts(6), num_samples=1, max_tokens=5, on_finished=fail)
    assert not engine.llm.llm_engine.has_unfinished_requests()
    assert len(engine.generate(prompts(2), num_samples=1, max_tokens=5)) == 2


def rollouts(
    reward: str,
    stream: bool,
    engine: Engine,
    policy: Path,
    recipe_tree: Callable[..., dict[str, Any]],
    out: Path,
) -> dict[str, Any]:
    """Two rollout batches with the same seed: what the trainer, the ledger, the metrics and the grader have of them."""
    scoring = {"num_workers": 2, "stream": stream, "timeout_s": 60.0, "max_abstain_fraction": 1.0}
    recipe = Recipe.model_validate(recipe_tree(scoring=scoring, rewards={"correct": {"use": f"{REWARDS}:{reward}"}}))
    tokenizer = AutoTokenizer.from_pretrained(policy)
    columns = [
        {"prompt": [{"role": "user", "content": text}], "row": f'{{"n": {i}}}', "row_id": str(i)}
        for i, text in enumerate(QUESTIONS)
    ]
    config = GRPOConfig(
        output_dir=str(out),
        use_cpu=True,
        bf16=False,
        report_to="none",
        per_device_train_batch_size=16,
        num_generations=4,
        max_completion_length=12,
        gradient_checkpointing=False,
        remove_unused_columns=False,
        generation_kwargs={"stop_token_ids": STOPS},
    )
    ledger: list[dict[str, Any]] = []
    progress: list[tuple[int, int]] = []
    with Grader(RewardSet.from_recipe(recipe), recipe.scoring) as grader:
        trainer = ReasoningTrainer(
            engine=engine,
            reward=CombinedReward(
                grader, completion_reader(str(policy), tokenizer, recipe.prompt.thinking), recipe.scoring
            ),
            args=config,
            on_rollouts=ledger.extend,
            model=AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32),
            train_dataset=Dataset.from_list(columns),
            processing_class=tokenizer,
        )
        if trainer.stream:
            trainer.stream.on_sampled = lambda done, total, _: progress.append((done, total))
        trainer.current_gradient_accumulation_steps = 1
        assert trainer.model is not None
        trainer.model.train()
        rows = [row for row in columns for _ in range(4)]
        torch.manual_seed(7)
        batches = [trainer._generate_and_score_completions(rows) for _ in range(2)]
        stats = grader.stats()
    return {
        "batches": [{k: v for k, v in batch.items() if isinstance(v, torch.Tensor)} for batch in batches],
        "ledger": ledger,
        "metrics": dict(trainer._metrics["train"]),
        "progress": progress,
        "graded": stats["scores"] + stats["hits"] + stats["joined"],
    }


def without_seconds(ledger: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {**row, "scores": {n: {k: v for k, v in s.items() if k != "seconds"} for n, s in row["scores"].items()}}
        for row in ledger
    ]


@pytest.mark.parametrize("reward", ["by_text", "failing"])
def test_same_rollouts_with_and_without(
    reward: str,
    tiny_policy: Path,
    start_engine: Callable[..., Engine],
    recipe_tree: Callable[..., dict[str, Any]],
    tmp_path: Path,
) -> None:
    engine = start_engine(tiny_policy, dtype="float32", max_num_seqs=6)
    on = rollouts(reward, True, engine, tiny_policy, recipe_tree, tmp_path)
    off = rollouts(reward, False, engine, tiny_policy, recipe_tree, tmp_path)

    for ours, theirs in zip(on["batches"], off["batches"], strict=True):
        assert ours.keys() == theirs.keys() and "advantages" in ours and "sampling_per_token_logps" in ours
        for name, tensor in theirs.items():
            torch.testing.assert_close(ours[name], tensor, rtol=0, atol=0, equal_nan=True, msg=name)
    assert len(on["ledger"]) == 32 and without_seconds(on["ledger"]) == without_seconds(off["ledger"])
    assert len({row["num_tokens"] for row in on["ledger"]}) > 2
    if reward == "failing":
        verdicts = {row["scores"]["correct"]["verdict"] for row in on["ledger"]}
        assert verdicts == {"correct", "grader_error"}
    assert on["graded"] == off["graded"] == 32  # what was started early was used, and nothing was graded twice

    extra = {"time/grading_s", "rewards/hidden_share"}
    assert on["metrics"].keys() - off["metrics"].keys() == extra
    assert not off["metrics"].keys() - on["metrics"].keys()
    for name, values in off["metrics"].items():
        if not name.startswith("time/"):
            assert on["metrics"][name] == pytest.approx(values, abs=1e-7, nan_ok=True), name
    assert len(on["metrics"]["rewards/hidden_share"]) == 2
    assert all(0 <= share <= 1 for share in on["metrics"]["rewards/hidden_share"])
    assert on["progress"] == [(done, 16) for _ in range(2) for done in range(1, 17)] and off["progress"] == []


def test_the_batch_path_where_streaming_cannot_be(
    tiny_policy: Path,
    start_engine: Callable[..., Engine],
    recipe_tree: Callable[..., dict[str, Any]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = start_engine(tiny_policy, dtype="float32", max_num_seqs=6)
    engine.can_stream = False  # what several processes to an engine would make it
    with caplog.at_level("INFO", logger="reasoning_rl"):
        result = rollouts("by_text", True, engine, tiny_policy, recipe_tree, tmp_path)
    said = [record.message for record in caplog.records if "after the last one is sampled" in record.message]
    assert len(said) == 1 and "several processes share" in said[0]
    assert len(result["ledger"]) == 32 and result["progress"] == []
    assert result["metrics"]["rewards/hidden_share"] == [0.0, 0.0]
