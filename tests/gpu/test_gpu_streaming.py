"""On a GPU: completions handed on one by one are those of the batch path, for the same seeds. `pytest -m gpu`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from reasoning_rl.recipe import Recipe
from reasoning_rl.trl_bridge.engine import Engine

pytestmark = pytest.mark.gpu


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_same_completions_as_the_batch_path(temperature: float, tiny_policy: Path) -> None:
    from vllm import SamplingParams

    recipe = Recipe.model_validate(
        {
            "run": {"dir": "unused"},
            "model": {"source": str(tiny_policy)},
            "data": {"sft": {"source": "unused:rows"}},
            "rewards": {},
            "stages": [{"name": "sft", "kind": "sft"}],
            "vllm": {"max_model_len": 128, "gpu_memory_utilization": 0.2, "dtype": "float32", "max_num_seqs": 4},
        }
    )
    engine = Engine(str(tiny_policy), recipe)
    assert engine.can_stream
    tokens = torch.randint(10, 40000, (12, 9), generator=torch.Generator().manual_seed(1)).tolist()
    requests = [{"prompt_token_ids": ids} for ids in tokens]
    parameters = [
        SamplingParams(temperature=temperature, max_tokens=4 + 5 * i % 17, logprobs=0, seed=i) for i in range(12)
    ]
    expected = engine.llm.generate(requests, sampling_params=parameters, use_tqdm=False)  # pyright: ignore
    finished: dict[int, list[int]] = {}
    ours = engine.run(requests, parameters, finished.__setitem__)
    engine.close()
    for position, (a, b) in enumerate(zip(ours, expected, strict=True)):
        mine, theirs = a.outputs[0], b.outputs[0]
        assert list(mine.token_ids) == list(theirs.token_ids) == finished[position]
        for token, x, y in zip(mine.token_ids, mine.logprobs, theirs.logprobs, strict=True):  # pyright: ignore
            assert x[token].logprob == pytest.approx(y[token].logprob, abs=1e-5)
    assert len(finished) == 12 and list(finished) != sorted(finished)
