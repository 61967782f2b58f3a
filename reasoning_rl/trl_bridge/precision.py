"""The precision that a recipe leaves open, chosen by what the processor can do.

TRL trains under bfloat16 autocast and vLLM samples in bfloat16 unless told otherwise. A CPU without instructions for it
multiplies such matrices many times slower than in float32 (docs/install.md), so there float32 is the default.
"""

from __future__ import annotations

import torch

from reasoning_rl.recipe import Recipe

#: What `torch.cpu.get_capabilities` calls them: on x86 the first two, on Arm the others.
_BFLOAT16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")


def prefers_float32() -> bool:
    """Whether this process computes on a CPU that has no bfloat16 instructions."""
    if torch.accelerator.is_available():
        return False
    capabilities = torch.cpu.get_capabilities()
    return not any(capabilities.get(name, False) for name in _BFLOAT16_INSTRUCTIONS)


def describe(recipe: Recipe) -> str | None:
    """What follows for a recipe where `prefers_float32`, in a sentence; `None` elsewhere."""
    if not prefers_float32():
        return None
    sections = {stage.name: recipe.section_of(stage) for stage in recipe.stages if stage.kind != "eval"}
    asking = [f"stage {name} (bf16)" for name, section in sections.items() if section.get("bf16")]
    asking += ["vllm.dtype"] * (recipe.vllm.get("dtype") == "bfloat16")
    found = "this CPU has no bfloat16 instructions: "
    if asking:
        return f"{found}the bfloat16 that the recipe asks for in {', '.join(asking)} is several times slower here than float32"
    return f"{found}training and sampling in float32"
