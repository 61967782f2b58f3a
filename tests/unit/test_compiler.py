"""A compiler counts as there when it compiles what torch would hand to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reasoning_rl import compiler
from reasoning_rl.launch import process_environment


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    compiler.problem.cache_clear()
    yield
    compiler.problem.cache_clear()


def program(folder: Path, text: str) -> str:
    path = folder / "c++"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_one_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "")
    assert compiler.problem() == "there is no C++ compiler (g++)"
    assert compiler.problem("c++") == "there is no C++ compiler (c++)"


def test_one_without_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "cat >/dev/null; echo '<stdin>:1:10: fatal error: Python.h: No such file or directory' >&2; exit 1"
    monkeypatch.setenv("CXX", program(tmp_path, text))
    problem = compiler.problem()
    assert problem is not None and problem.endswith(
        "does not work (<stdin>:1:10: fatal error: Python.h: No such file or directory)"
    )


def test_one_that_works_is_called_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", program(tmp_path, f"cat >>{tmp_path}/input"))
    assert compiler.problem() is None and compiler.problem() is None
    assert (tmp_path / "input").read_text().count("#include <Python.h>") == 1


@pytest.mark.parametrize(("cxx", "disabled"), [("no-such-compiler", True), ("true", False)])
def test_torch_compiles_nothing_without_one(cxx: str, disabled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reasoning_rl.launch.is_cpu_torch", lambda: True)
    monkeypatch.setenv("CXX", cxx)
    assert ("TORCH_COMPILE_DISABLE" in process_environment({})) == disabled
    assert "TORCH_COMPILE_DISABLE" not in process_environment({"TORCH_COMPILE_DISABLE": "0"})
