"""`reward_func` in a real `GRPOTrainer` that knows nothing of this package: one step of a tiny policy."""

from __future__ import annotations

from pathlib import Path

from datasets import Dataset
from transformers import AutoTokenizer
from trl import GRPOConfig, GRPOTrainer

from reasoning_rl.rewards_for_trl import reward_func


def test_one_step(tiny_policy: Path, tmp_path: Path) -> None:
    length = Path(__file__).with_name("length_reward.py")
    rewards = {
        "long": {"use": f"{length}:length"},
        "correct": {"use": "exact_answer", "weight": 2.0},
    }
    tokenizer = AutoTokenizer.from_pretrained(tiny_policy)
    score = reward_func(rewards, eos_token_ids=[tokenizer.eos_token_id])
    arguments = GRPOConfig(
        output_dir=str(tmp_path),
        max_steps=1,
        per_device_train_batch_size=4,
        num_generations=4,
        max_completion_length=8,
        logging_steps=1,
        report_to=[],
        use_cpu=True,
    )
    rows = Dataset.from_list([{"prompt": [{"role": "user", "content": "40 + 2"}], "answer": "42"}] * 4)
    trainer = GRPOTrainer(
        model=str(tiny_policy), reward_funcs=score, args=arguments, train_dataset=rows, processing_class=tokenizer
    )
    trainer.train()
    assert len(score.last) == 4
    assert all(sample.row["answer"] == "42" for sample, _ in score.last)
    totals = [scored.total for _, scored in score.last]
    (logged,) = [entry for entry in trainer.state.log_history if "rewards/total/mean" in entry]
    assert abs(logged["rewards/total/mean"] - sum(total or 0.0 for total in totals) / 4) < 1e-5
    assert {"rewards/long/mean", "rewards/correct/mean", "verdicts/correct/no_answer"} <= logged.keys()
