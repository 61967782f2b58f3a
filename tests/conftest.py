"""Shared fixtures: real tokenizer and weights of SmolLM2, tiny random policies, recipes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from reasoning_rl.launch import process_environment

os.environ |= process_environment(os.environ)
if "PYTEST_XDIST_WORKER" in os.environ:  # teams of threads that wait for each other's cores spin
    os.environ["OMP_NUM_THREADS"] = os.environ["REASONING_RL_THREADS"] = "1"
if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # as in a shell's background job; what is started here would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parents[1]
SMOLLM2 = "package:smollm2-135m-instruct"
#: With this in the environment, as in CI, what is missing here fails the tests that need it: a sandbox that no longer starts
#: would otherwise skip its own attack tests.
REQUIRE_ALL = "REASONING_RL_REQUIRE_ALL"
#: The only reason for which a test may then still be skipped.
BUSY = "the machine is too busy"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that of two files at a time none is left alone at the end."""
    items.sort(key=lambda item: item.get_closest_marker("engine") is None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _failed_if_skipped((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _failed_if_skipped((yield))


def _failed_if_skipped(report: Any) -> Any:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if report.skipped and os.environ.get(REQUIRE_ALL) and BUSY not in reason:
        report.outcome, report.longrepr = "failed", f"{REQUIRE_ALL} is set, so that nothing may be skipped: {reason}"
    return report


@pytest.fixture(scope="session")
def smollm2() -> str:
    """Folder with the real SmolLM2-135M-Instruct."""
    from reasoning_rl.recipe import Model
    from reasoning_rl.trl_bridge.policy import policy_folder

    return policy_folder(Model(source=SMOLLM2))


@pytest.fixture(scope="session")
def tiny_policy(smollm2: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A two-layer random Llama with tied embeddings and the tokenizer of SmolLM2."""
    return make_tiny(smollm2, tmp_path_factory.mktemp("tiny"), tied=True)


@pytest.fixture(scope="session")
def tiny_untied_policy(smollm2: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without tied embeddings."""
    return make_tiny(smollm2, tmp_path_factory.mktemp("tiny_untied"), tied=False)


def make_tiny(tokenizer_folder: str, folder: Path, *, tied: bool) -> Path:
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=32,
            max_position_embeddings=512,
            tie_word_embeddings=tied,
            initializer_range=0.2,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def recipe_tree(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """A small valid recipe as a mapping; keyword arguments replace sections."""

    def tree(**sections: Any) -> dict[str, Any]:
        rows = str(ROOT / "recipes" / "chain_sums.py")
        return {
            "run": {"dir": str(tmp_path / "run")},
            "model": {"source": SMOLLM2},
            "data": {
                "train": {"source": f"{rows}:rows", "size": 16, "seed": 2},
                "eval": {"source": f"{rows}:rows", "size": 4, "seed": 3},
                "sft": {"source": f"{rows}:rows", "size": 8, "seed": 1, "completion": f"{rows}:trace"},
            },
            "rewards": {"correct": {"use": "exact_answer"}, "format": {"use": "think_format", "weight": 0.1}},
            "lora": {"r": 4, "target_modules": "all-linear"},
            "grpo": {"max_steps": 2, "per_device_train_batch_size": 4, "num_generations": 4},
            "eval": {"accuracy": "correct", "num_samples": 2, "max_completion_length": 16},
            "stages": [{"name": "grpo", "kind": "grpo"}],
            **sections,
        }

    return tree


@pytest.fixture
def write_recipe(tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Writes a mapping as a recipe file."""

    def write(tree: dict[str, Any], name: str = "recipe.yaml") -> Path:
        from ruamel.yaml import YAML

        path = tmp_path / name
        with path.open("w") as file:
            YAML().dump(tree, file)
        return path

    return write
