"""One sandbox per tier for all tests; a tier that does not hold here is skipped with its reason."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from reasoning_rl.errors import SandboxError
from reasoning_rl.sandbox import LocalSandbox


@pytest.fixture(scope="session", params=["T1", "T2"])
def sandbox(request: pytest.FixtureRequest) -> Iterator[LocalSandbox]:
    try:
        used = LocalSandbox(tier=request.param)
    except SandboxError as error:
        pytest.skip(str(error))
    with used:
        yield used
