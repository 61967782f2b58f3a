"""Tokens are drawn from the distribution of the logits, by the CPU sampler as by vLLM's own, and the log-probs are vLLM's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from reasoning_rl.trl_bridge.cpu_sampler import draw, use_cpu_sampler
from reasoning_rl.trl_bridge.engine import Engine, SampledCompletion

NEVER = -torch.inf


def surprise(counts: torch.Tensor, p: torch.Tensor) -> float:
    """How many standard deviations the chi-square statistic of counts lies above its mean."""
    expected = p.double() / p.double().sum() * counts.sum()
    kept = expected > 5
    statistic = ((counts[kept] - expected[kept]) ** 2 / expected[kept]).sum().item()
    freedom = int(kept.sum()) - 1
    assert freedom > 0
    return (statistic - freedom) / (2 * freedom) ** 0.5


@pytest.mark.parametrize("vocabulary", [3, 256, 700, 1024])  # less than a block, one, some with a rest, some without
def test_tokens_follow_the_logits(vocabulary: int) -> None:
    torch.manual_seed(1)
    logits = torch.randn(vocabulary) * 2
    logits[1] = NEVER
    counts = torch.zeros(vocabulary)
    for _ in range(100):
        tokens, _ = draw(logits.repeat(2000, 1))
        counts += torch.bincount(tokens, minlength=vocabulary)
    assert counts[1] == 0
    assert counts[-1] > 0
    assert surprise(counts, logits.softmax(-1)) < 5
    assert surprise(counts, (logits * 1.05).softmax(-1)) > 5  # the test would see one twentieth of a temperature


def test_rows_are_drawn_apart() -> None:
    """Each row from its own logits, and two rows with the same logits independently of one another."""
    torch.manual_seed(1)
    vocabulary = 49_152
    wanted = torch.randint(vocabulary, (300,))
    wanted[:4] = torch.tensor([0, 255, 256, vocabulary - 1])
    logits = torch.full((300, vocabulary), NEVER)
    logits[torch.arange(300), wanted] = 3.0
    assert torch.equal(draw(logits)[0], wanted)

    fair = torch.full((20_000, 300), NEVER)
    fair[:, [7, 290]] = 0.0
    left, right = (draw(fair)[0] == 7).view(2, -1)
    assert abs((left == right).float().mean().item() - 0.5) < 0.02


def test_log_probs_are_those_of_a_softmax() -> None:
    torch.manual_seed(1)
    logits = torch.randn(5, 49_152) * 5
    logits[2, 100:] = NEVER
    expected = logits.log_softmax(-1)
    _, logprobs = draw(logits)
    torch.testing.assert_close(logprobs, expected, rtol=1e-6, atol=1e-6)
    assert logprobs.data_ptr() == logits.data_ptr()


@pytest.mark.engine
class TestInTheEngine:
    """Same log-probs, same greedy completions, same limits on what may be drawn, as with vLLM's sampler."""

    @pytest.fixture(params=[True, False], ids=["ours", "vLLM's"])
    def engine(self, request: Any, tiny_policy: Path, start_engine: Callable[..., Engine]) -> Engine:
        engine = start_engine(tiny_policy, dtype="float32", savings={"cpu_sampler": request.param})
        assert self.is_ours(engine) == request.param
        return engine

    @staticmethod
    def is_ours(engine: Engine) -> bool:
        return engine._runner.sampler.topk_topp_sampler.forward.__module__ == use_cpu_sampler.__module__

    def test_log_probs_are_those_of_scoring(self, engine: Engine) -> None:
        prompts = [[5, 6, 7], [100, 200, 300, 400]]
        sampled = [c for group in engine.generate(prompts, num_samples=3, max_tokens=12) for c in group]
        scores = engine.score([p for p in prompts for _ in range(3)], [c.token_ids for c in sampled])
        for completion, score in zip(sampled, scores, strict=True):
            assert completion.logprobs == pytest.approx(score, abs=1e-4)

    def test_limits_hold_and_frequencies_are_the_probabilities(self, engine: Engine) -> None:
        """Top-p over a random policy, whose tokens are about equally likely, keeps thousands; top-k then keeps few."""
        from vllm import SamplingParams

        torch.manual_seed(3)
        parameters = SamplingParams(max_tokens=1, temperature=0.7, top_k=6, top_p=0.9, logprobs=0)
        requests = [{"prompt_token_ids": [11, 12, 13]}] * 3000
        outputs = engine.llm.generate(requests, sampling_params=parameters, use_tqdm=False)  # pyright: ignore
        drawn = [(o.outputs[0].token_ids[0], o.outputs[0].logprobs[0]) for o in outputs]  # pyright: ignore
        p = {token: logprobs[token].logprob for token, logprobs in drawn}
        assert 1 < len(p) <= 6
        tokens = sorted(p)
        probabilities = torch.tensor([p[token] for token in tokens]).exp()
        assert probabilities.sum().item() == pytest.approx(1, abs=1e-3)
        counts = torch.tensor([float(sum(t == token for t, _ in drawn)) for token in tokens])
        assert surprise(counts, probabilities) < 5

    def test_the_seed_decides(self, engine: Engine) -> None:
        def sample(seed: int) -> list[list[SampledCompletion]]:
            torch.manual_seed(seed)
            return engine.generate([[5, 6, 7]], num_samples=4, max_tokens=8)

        assert sample(1) == sample(1) != sample(2)


@pytest.mark.engine
def test_what_draws_nothing_new_is_the_same(tiny_policy: Path, start_engine: Callable[..., Engine]) -> None:
    """Greedy completions, and those of requests with a seed of their own, which stay with vLLM's sampler."""
    from vllm import SamplingParams

    def sample(uses_ours: bool) -> list[list[int]]:
        engine = start_engine(tiny_policy, dtype="float32", savings={"cpu_sampler": uses_ours})
        parameters = [SamplingParams(max_tokens=12, temperature=0.0), SamplingParams(max_tokens=12, seed=5)]
        requests = [{"prompt_token_ids": [5, 6, 7]}] * 2
        outputs = engine.llm.generate(requests, sampling_params=parameters, use_tqdm=False)  # pyright: ignore
        return [list(output.outputs[0].token_ids) for output in outputs]

    assert sample(uses_ours=True) == sample(uses_ours=False)


def test_other_modes_keep_their_sampler() -> None:
    def runner(**differs: Any) -> Any:
        settings = {"logprobs_mode": "processed_logprobs", "use_fp64_gumbel": False, "forward": len, **differs}
        drawing = SimpleNamespace(**settings)
        return SimpleNamespace(sampler=SimpleNamespace(topk_topp_sampler=drawing, gather_logprobs=max))

    assert use_cpu_sampler(runner())
    for differs in ({"logprobs_mode": "raw_logprobs"}, {"use_fp64_gumbel": True}):
        kept = runner(**differs)
        assert not use_cpu_sampler(kept)
        assert kept.sampler.topk_topp_sampler.forward is len and kept.sampler.gather_logprobs is max


def test_log_probs_of_other_tokens_come_with_ranks() -> None:
    """What vLLM gives, where more than the token itself is asked for; its own log-prob alone where it is not."""
    from vllm.v1.sample.sampler import Sampler

    runner = SimpleNamespace(sampler=Sampler(logprobs_mode="processed_logprobs"))
    assert use_cpu_sampler(runner)
    logprobs = torch.tensor([[0.5, 0.2, 0.3], [0.1, 0.6, 0.3]]).log()
    tokens = torch.tensor([2, 1])
    alone = runner.sampler.gather_logprobs(logprobs, 0, tokens)
    assert alone.logprob_token_ids.tolist() == [[2], [1]]
    assert alone.logprobs.exp().flatten().tolist() == pytest.approx([0.3, 0.6])
    both = runner.sampler.gather_logprobs(logprobs, 1, tokens)
    assert both.logprob_token_ids.tolist() == [[2, 0], [1, 1]]
    assert both.selected_token_ranks.tolist() == [2, 1]
