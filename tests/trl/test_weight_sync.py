"""After every weight sync the engine's log-probs are the trainer's; a sync that did not happen is seen.

Tolerances as measured on this stack (docs/weight-sync.md): float32 engine, mean 3e-6 and max 2e-5 on tiny policies;
bfloat16 engine, mean 0.036 and max 0.28. The limits below are a few times that and far under what a stale layer gives
(mean above 0.3).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from log_probs import gap, trainer_logprobs  # pyright: ignore[reportAttributeAccessIssue]
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
from trl.distributed import DistributedBackend

from reasoning_rl.errors import EngineError
from reasoning_rl.trl_bridge.engine import Engine
from reasoning_rl.trl_bridge.policy import save_policy
from reasoning_rl.trl_bridge.weights import merged_tensors, unwrapped

pytestmark = pytest.mark.engine

LIMITS = {"float32": (1e-5, 1e-4), "bfloat16": (0.1, 1.0)}  # dtype of the engine -> mean, max
STALE = 0.3


def batch() -> tuple[list[list[int]], list[list[int]]]:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(10, 40000, (4, 27), generator=generator).tolist()
    return [row[:7] for row in tokens], [row[7:] for row in tokens]


def shake(model: torch.nn.Module, only: str = "", scale: float = 0.3) -> None:
    """A large random step on the parameters whose name contains `only`."""
    moved = 0
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if only in name:
                spread = parameter.std() if parameter.std() > 0 else torch.tensor(0.2)
                parameter.add_(torch.randn_like(parameter) * spread * scale)
                moved += 1
    assert moved


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_engine_agrees_after_every_sync(
    tied: bool,
    dtype: str,
    tiny_policy: Path,
    tiny_untied_policy: Path,
    start_engine: Callable[..., Engine],
    backend: DistributedBackend,
) -> None:
    folder = tiny_policy if tied else tiny_untied_policy
    engine = start_engine(folder, dtype=dtype)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    prompts, completions = batch()
    mean_limit, max_limit = LIMITS[dtype]

    def assert_agreement(policy: torch.nn.Module) -> None:
        mean, largest = gap(trainer_logprobs(policy, prompts, completions), engine.score(prompts, completions))
        assert mean < mean_limit and largest < max_limit

    assert_agreement(model)
    for _ in range(3):  # full policy
        shake(model)
        stale, _ = gap(trainer_logprobs(model, prompts, completions), engine.score(prompts, completions))
        assert stale > STALE  # the comparison can fail
        engine.load_weights(merged_tensors(model, backend))
        assert_agreement(model)

    adapted = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear"))
    base = {name: p.clone() for name, p in adapted.named_parameters() if "lora_" not in name}
    for _ in range(3):  # LoRA
        shake(adapted, only="lora_")
        stale, _ = gap(trainer_logprobs(adapted, prompts, completions), engine.score(prompts, completions))
        assert stale > STALE
        engine.load_weights(merged_tensors(adapted, backend))
        assert_agreement(adapted)
    for name, parameter in adapted.named_parameters():
        if name in base:
            assert torch.equal(parameter, base[name]), f"{name} drifted"


@pytest.mark.parametrize("only", ["embed_tokens", "lm_head", "norm", "q_proj", "down_proj", "layers.1."])
def test_no_single_part_stays_stale(
    only: str, tiny_untied_policy: Path, start_engine: Callable[..., Engine], backend: DistributedBackend
) -> None:
    engine = start_engine(tiny_untied_policy, dtype="float32")
    model = AutoModelForCausalLM.from_pretrained(tiny_untied_policy, dtype=torch.float32)
    shake(model, only=only, scale=1.0)
    prompts, completions = batch()
    engine.load_weights(merged_tensors(model, backend))
    mean, _ = gap(trainer_logprobs(model, prompts, completions), engine.score(prompts, completions))
    assert mean < LIMITS["float32"][0]


def test_saved_policy_loads_into_engine_and_plain_transformers(
    tiny_policy: Path, tmp_path: Path, start_engine: Callable[..., Engine], backend: DistributedBackend, smollm2: str
) -> None:
    from transformers import AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(tiny_policy, dtype=torch.float32)
    adapted = get_peft_model(model, LoraConfig(r=8, target_modules="all-linear"))
    shake(adapted, only="lora_")
    prompts, completions = batch()
    expected = trainer_logprobs(adapted, prompts, completions)
    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    save_policy(tmp_path / "model", dict(merged_tensors(adapted, backend)), unwrapped(adapted), tokenizer)

    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    assert gap(expected, trainer_logprobs(plain, prompts, completions))[0] < LIMITS["float32"][0]
    engine = start_engine(tiny_policy, dtype="float32")
    engine.load_folder(tmp_path / "model")
    assert gap(expected, engine.score(prompts, completions))[0] < LIMITS["float32"][0]


def test_nothing_to_send_is_an_error(tiny_policy: Path, start_engine: Callable[..., Engine]) -> None:
    with pytest.raises(EngineError, match="stale policy"):
        start_engine(tiny_policy, dtype="float32").load_weights(iter(()))


def test_missing_weights_are_an_error(
    tiny_policy: Path, start_engine: Callable[..., Engine], backend: DistributedBackend
) -> None:
    engine = start_engine(tiny_policy, dtype="float32")
    model = AutoModelForCausalLM.from_pretrained(tiny_policy, dtype=torch.float32)
    tensors = [(name, tensor) for name, tensor in merged_tensors(model, backend) if "layers.1.mlp" not in name]
    with pytest.raises(EngineError, match=r"layers\.1\.mlp"):
        engine.load_weights(iter(tensors))


def test_syncs_stay_silent_after_vllm_sets_up_its_loggers_anew(
    tiny_policy: Path, start_engine: Callable[..., Engine], capfd: pytest.CaptureFixture[str]
) -> None:
    """vLLM warns at each sync that layers without weights failed to load theirs."""
    from vllm import logger as vllm_logger

    engine = start_engine(tiny_policy)
    vllm_logger._configure_vllm_root_logger()
    capfd.readouterr()
    engine.load_folder(tiny_policy)
    output = capfd.readouterr()
    assert "Failed to load weights" not in output.out + output.err
