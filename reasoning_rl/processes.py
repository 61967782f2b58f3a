"""How many processes a run has and what joins them.

Read from the recipe's accelerate configuration before the run is launched, and from the launcher's environment inside it.
Starts nothing and imports no upstream package.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from reasoning_rl.recipe import Launch

#: What `accelerate launch` sets inside a run, and the option of it -> accelerate's name of the backend.
_BACKENDS = {"DEEPSPEED": "use_deepspeed", "FSDP": "use_fsdp", "MEGATRON_LM": "use_megatron_lm"}
#: Their shards are not gathered for the engine and the export.
_UNSUPPORTED = ("FSDP", "MEGATRON_LM", "XLA", "TPU")


@dataclass(frozen=True, slots=True)
class Processes:
    """`number` of processes, joined by a `backend` of accelerate (`NO`, `MULTI_GPU`, `DEEPSPEED`, …)."""

    number: int
    backend: str

    @property
    def problem(self) -> str | None:
        """Why a run cannot be spread like this, as a sentence without its place."""
        if self.backend in _UNSUPPORTED:
            return (
                f"found processes joined by {self.backend}, expected none, MULTI_GPU or DEEPSPEED: the weights of its shards "
                "are not gathered for rollouts and export; use recipes/accelerate/zero3.yaml"
            )
        return None


def processes(launch: Launch, environment: Mapping[str, str] = os.environ) -> Processes:
    """The processes of a run: those of the launcher that started this one, else those that the recipe asks for.

    Raises:
        ValueError: the configuration file cannot be read; the message is a sentence without its place.
    """
    inside = [name for name, option in _BACKENDS.items() if _is_set(environment, option)]
    if "WORLD_SIZE" in environment or inside:
        backend = inside[0] if inside else "NO" if environment.get("WORLD_SIZE") == "1" else "MULTI_GPU"
        return Processes(int(environment.get("WORLD_SIZE", "1")), backend)
    config = _read(Path(launch.config_file)) if launch.config_file else {}
    asked = [name for name, option in _BACKENDS.items() if launch.args.get(option)]
    number = launch.num_processes or config.get("num_processes") or 1
    if not isinstance(number, int) or number < 1:
        raise ValueError(f"num_processes is {number!r} in {launch.config_file}, expected a number of processes")
    return Processes(number, asked[0] if asked else str(config.get("distributed_type", "NO")).upper())


def _is_set(environment: Mapping[str, str], option: str) -> bool:
    return environment.get(f"ACCELERATE_{option.upper()}", "false").lower() in ("true", "1")


def _read(path: Path) -> dict[str, Any]:
    try:
        config = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise ValueError(f"{path} cannot be read as YAML ({str(error).splitlines()[0]})") from None
    if not isinstance(config, dict):
        raise ValueError(f"{path} is no accelerate configuration; see recipes/accelerate")
    return config
