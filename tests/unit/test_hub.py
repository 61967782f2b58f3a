"""A hub that does not answer costs one question; what is cached is taken, what is not is refused in one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from reasoning_rl import hub

# Says whether the process is offline afterwards, or the sentence of the refusal.
SCRIPT = """
import sys
from reasoning_rl import hub
from reasoning_rl.errors import ModelError
from reasoning_rl.recipe_io import load_recipe
try:
    hub.go_offline_without(load_recipe(sys.argv[1], []).recipe)
except ModelError as error:
    sys.exit(str(error))
from huggingface_hub import is_offline_mode
print(is_offline_mode())
"""

#: Port 9 of this machine is closed.
NO_HUB = "http://127.0.0.1:9"

Asked = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def asked(recipe_tree: Callable[..., dict[str, Any]], write_recipe: Callable[..., Path], tmp_path: Path) -> Asked:
    def of(endpoint: str, model: str = "some/model", **sections: Any) -> subprocess.CompletedProcess[str]:
        path = write_recipe(recipe_tree(model={"source": model}, **sections))
        environment = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "home"), "PATH": "/usr/bin:/bin"}
        return subprocess.run(
            [sys.executable, "-c", SCRIPT, str(path)],
            capture_output=True, text=True, check=False, timeout=60, env=environment,
        )  # fmt: skip

    return of


@pytest.fixture(params=[404])
def hub_without_models(request: pytest.FixtureRequest) -> Iterator[tuple[str, list[str]]]:
    """A hub that answers, and the paths that it was asked for."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            paths.append(self.path)
            self.send_error(request.param)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", paths
    server.shutdown()
    server.server_close()


def cache_model(home: Path) -> None:
    folder = home / "hub" / "models--some--model"
    (folder / "snapshots" / "abc").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("abc")
    (folder / "snapshots" / "abc" / "config.json").write_text(json.dumps({"model_type": "llama"}))


def test_a_model_that_is_nowhere(asked: Asked, tmp_path: Path) -> None:
    done = asked(NO_HUB)
    [sentence] = done.stderr.splitlines()
    assert sentence.startswith("model.source some/model: is no folder here, it is not in the cache ")
    assert f"the hub at {NO_HUB} does not answer (ConnectError" in sentence
    assert sentence.endswith("name a folder, or run hf download some/model where there is a network")


def test_a_model_in_the_cache(asked: Asked, tmp_path: Path) -> None:
    cache_model(tmp_path / "home")
    done = asked(NO_HUB)
    assert done.stdout == "True\n"
    assert "does not answer" in done.stderr and "taken from the cache" in done.stderr


def test_a_hub_that_answers_is_asked_once(asked: Asked, hub_without_models: tuple[str, list[str]]) -> None:
    endpoint, paths = hub_without_models
    assert asked(endpoint).stdout == "False\n"
    assert paths == ["/some/model/resolve/main/config.json"]


@pytest.mark.parametrize("hub_without_models", [503], indirect=True)
def test_a_hub_that_is_down(asked: Asked, hub_without_models: tuple[str, list[str]], tmp_path: Path) -> None:
    cache_model(tmp_path / "home")
    done = asked(hub_without_models[0])
    assert done.stdout == "True\n" and "answers with an error (503); models" in done.stderr


def test_a_mistyped_folder_is_left_to_who_loads_it(asked: Asked) -> None:
    assert asked(NO_HUB, "models/my/policy").stdout == "False\n"


def test_data_sets_are_asked_for_too(asked: Asked, hub_without_models: tuple[str, list[str]], tmp_path: Path) -> None:
    endpoint, paths = hub_without_models
    sections = {"data": {"train": {"source": "some/rows"}}, "eval": None}
    assert asked(endpoint, "package:smollm2-135m-instruct", **sections).stdout == "False\n"
    assert paths == ["/datasets/some/rows/resolve/main/README.md"]
    assert asked(NO_HUB, "package:smollm2-135m-instruct", **sections).stdout == "True\n"


def test_a_recipe_that_names_nothing_there_asks_nothing(
    asked: Asked, hub_without_models: tuple[str, list[str]]
) -> None:
    endpoint, paths = hub_without_models
    assert asked(endpoint, "package:smollm2-135m-instruct").returncode == 0
    assert paths == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("org/name", True),
        ("gpt2", True),
        ("package:x", False),
        ("rows.jsonl", False),
        ("rows.py:f", False),
        ("/", False),
    ],
)
def test_names(source: str, expected: bool) -> None:
    assert hub.is_hub_id(source) == expected
