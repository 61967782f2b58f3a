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
    assert parameters(grpo_trainer.GRPOTrainer._generate_single_turn) == [
        "self", "prompt_ids", "images", "multimodal_fields", "num_generations", "has_tool_images",
    ]  # fmt: skip
    whole = inspect.getsource(grpo_trainer.GRPOTrainer._generate)
    assert "completion_ids, logprobs = self._generate_single_turn(" in whole


def test_step_methods() -> None:
    assert parameters(GRPOTrainer._generate_and_score_completions) == ["self", "inputs"]
    assert '"advantages": advantages' in inspect.getsource(GRPOTrainer._generate_and_score_completions)


def test_fused_head_reads_its_globals_at_call_time() -> None:
    source = inspect.getsource(utils.add_fused_lm_head)
    assert "compact = _use_triton(hidden_states.device)" in source
    assert "_CHUNKED_LOGPROB_CHUNK_SIZE" in source


def test_micro_batches_of_a_step_are_a_list_that_is_indexed_by_step() -> None:
    """`savings.whole_groups` puts its own list there."""
    source = inspect.getsource(GRPOTrainer._prepare_inputs)
    assert "self._buffered_inputs = [" in source
    assert "inputs = self._buffered_inputs[self._step % self.args.steps_per_generation]" in source


def test_reload_packs_with_the_method_that_pushed_layers_call() -> None:
    """`lora_layers` compares weights where vLLM's reload hands them to this method, and calls it itself afterwards."""
    from vllm.model_executor.layers.linear import UnquantizedLinearMethod
    from vllm.model_executor.model_loader.reload import layerwise
    from vllm.model_executor.models.llama import LlamaForCausalLM

    assert "quant_method.process_weights_after_loading(layer)" in inspect.getsource(layerwise._layerwise_process)
    assert parameters(UnquantizedLinearMethod.process_weights_after_loading) == ["self", "layer"]
    assert LlamaForCausalLM.packed_modules_mapping["qkv_proj"] == ["q_proj", "k_proj", "v_proj"]


def test_defaults_that_the_recipe_check_assumes() -> None:
    fields = GRPOConfig.__dataclass_fields__
    assert fields["num_generations"].default == 8
    assert fields["per_device_train_batch_size"].default == 8
    assert fields["gradient_accumulation_steps"].default == 1


def test_requests_one_by_one() -> None:
    """`Engine.run` does what `LLM.generate` does, step by step; `OneByOne` stands in for the LLM in TRL's backend."""
    from vllm import LLM
    from vllm.entrypoints import offline_utils
    from vllm.v1.engine.llm_engine import LLMEngine

    assert "self.llm.generate(vllm_prompts, sampling_params=sampling_params, use_tqdm=False)" in inspect.getsource(
        VLLMGeneration.generate
    )
    assert "sampling_params" in parameters(LLM.enqueue)
    assert parameters(LLMEngine.abort_request) == ["self", "request_ids", "internal"]
    assert parameters(LLMEngine.add_request)[:4] == ["self", "request_id", "prompt", "params"]
    source = inspect.getsource(offline_utils)
    assert "request_id = str(next(self.request_counter))" in source  # consecutive numbers, in the order of the prompts
    assert "while self.llm_engine.has_unfinished_requests():" in source
    assert "return sorted(outputs, key=lambda x: int(x.request_id))" in source


def test_texts_of_completions() -> None:
    """The trainer decodes finished completions as TRL does later, so that they are graded once."""
    source = inspect.getsource(GRPOTrainer._generate)
    assert "contents = self.processing_class.batch_decode(completion_ids, skip_special_tokens=True)" in source
    assert '"response_template"' in source and '"response_schema"' in source
