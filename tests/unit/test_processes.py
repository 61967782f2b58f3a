"""The processes of a run, as the recipe asks for them and as the launcher made them."""

from __future__ import annotations

from pathlib import Path

import pytest

from reasoning_rl.processes import Processes, processes
from reasoning_rl.recipe import Launch

SHIPPED = Path(__file__).parents[2] / "recipes" / "accelerate"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("cpu_2", Processes(2, "MULTI_GPU")), ("zero2", Processes(2, "DEEPSPEED")), ("zero3", Processes(2, "DEEPSPEED"))],
)
def test_shipped_configurations(name: str, expected: Processes) -> None:
    assert processes(Launch(config_file=str(SHIPPED / f"{name}.yaml")), {}) == expected
    assert expected.problem is None


def test_every_shipped_configuration_is_in_the_table() -> None:
    assert sorted(path.stem for path in SHIPPED.glob("*.yaml")) == ["cpu_2", "zero2", "zero3"]


@pytest.mark.parametrize(
    ("launch", "config", "expected"),
    [
        (Launch(), None, Processes(1, "NO")),
        (Launch(num_processes=3), None, Processes(3, "NO")),
        (Launch(), "num_processes: 4\ndistributed_type: MULTI_GPU", Processes(4, "MULTI_GPU")),
        (Launch(num_processes=1), "num_processes: 4\ndistributed_type: DEEPSPEED", Processes(1, "DEEPSPEED")),
        (Launch(), "distributed_type: fsdp", Processes(1, "FSDP")),
        (Launch(args={"use_deepspeed": True}), None, Processes(1, "DEEPSPEED")),
        (Launch(args={"use_deepspeed": False}), None, Processes(1, "NO")),
    ],
    ids=["default", "number", "file", "number over file", "small letters", "option", "option off"],
)
def test_before_the_launch(tmp_path: Path, launch: Launch, config: str | None, expected: Processes) -> None:
    if config is not None:
        (tmp_path / "config.yaml").write_text(config)
        launch = launch.model_copy(update={"config_file": str(tmp_path / "config.yaml")})
    assert processes(launch, {}) == expected


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"WORLD_SIZE": "4"}, Processes(4, "MULTI_GPU")),
        ({"WORLD_SIZE": "1"}, Processes(1, "NO")),
        ({"WORLD_SIZE": "2", "ACCELERATE_USE_DEEPSPEED": "true"}, Processes(2, "DEEPSPEED")),
        ({"ACCELERATE_USE_FSDP": "true"}, Processes(1, "FSDP")),
        ({"ACCELERATE_USE_FSDP": "false"}, Processes(3, "NO")),
    ],
)
def test_inside_the_run(environment: dict[str, str], expected: Processes) -> None:
    assert processes(Launch(num_processes=3), environment) == expected


@pytest.mark.parametrize("backend", ["FSDP", "MEGATRON_LM", "XLA", "TPU"])
def test_shards_that_nobody_gathers_are_refused(backend: str) -> None:
    problem = Processes(2, backend).problem
    assert problem and backend in problem and "recipes/accelerate/zero3.yaml" in problem


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("a: [", "cannot be read as YAML"),
        ("- a", "is no accelerate configuration"),
        ("num_processes: two", "num_processes is 'two'"),
        ("num_processes: -1", "num_processes is -1"),
    ],
)
def test_unreadable_configuration(tmp_path: Path, config: str, words: str) -> None:
    (tmp_path / "config.yaml").write_text(config)
    with pytest.raises(ValueError, match=r"config\.yaml") as raised:
        processes(Launch(config_file=str(tmp_path / "config.yaml")), {})
    assert words in str(raised.value)
