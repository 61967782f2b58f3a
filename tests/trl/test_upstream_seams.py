"""What we rely on inside TRL, vLLM and PEFT, so that an upgrade that moves it fails here and not in a run."""

from __future__ import annotations

import inspect

from trl import GRPOConfig, GRPOTrainer
from trl.generation.vllm_generation import VLLMGeneration
from trl.trainer import grpo_trainer, utils


def parameters(function: object) -> list[str]:
    return list(inspect.signature(function).parameters)  # pyright: ignore[reportArgumentType]


def test_engine_attributes_that_the_constructor_would_set() -> None:
    """`ReasoningTrainer` sets use_vllm, vllm_generation and _last_loaded_step after construction."""
    source = inspect.getsource(GRPOTrainer.__init__)
    branch = source[source.index("if self.use_vllm:") :]
    assert "self.vllm_generation = VLLMGeneration(" in branch
    assert "self._last_loaded_step = -1" in branch
    assert "self.use_vllm = args.use_vllm" in source
    # Elsewhere in the constructor the flag only decides this branch and a check of one loss type.
    assert source.count("self.use_vllm") == 3


def test_generation_backend() -> None:
    constructor = parameters(VLLMGeneration.__init__)
    for name in ("model", "accelerator", "processing_class", "mode", "max_completion_length", "generation_kwargs"):
        assert name in constructor
    assert parameters(VLLMGeneration.generate) == ["self", "prompts", "images", "num_generations", "profiler"]
    source = inspect.getsource(grpo_trainer.GRPOTrainer._generate_single_turn)
    assert "self.vllm_generation.sync_weights()" in source
    assert "self.state.global_step != self._last_loaded_step" in source
    colocate = inspect.getsource(VLLMGeneration.generate)
    assert "self.llm.generate(" in colocate


def test_step_methods() -> None:
    assert parameters(GRPOTrainer._generate_and_score_completions) == ["self", "inputs"]
    assert '"advantages": advantages' in inspect.getsource(GRPOTrainer._generate_and_score_completions)


def test_fused_head_reads_its_globals_at_call_time() -> None:
    source = inspect.getsource(utils.add_fused_lm_head)
    assert "compact = _use_triton(hidden_states.device)" in source
    assert "_CHUNKED_LOGPROB_CHUNK_SIZE" in source


def test_defaults_that_the_recipe_check_assumes() -> None:
    fields = GRPOConfig.__dataclass_fields__
    assert fields["num_generations"].default == 8
    assert fields["per_device_train_batch_size"].default == 8
    assert fields["gradient_accumulation_steps"].default == 1
