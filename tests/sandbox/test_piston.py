"""The Piston adapter against a local stand-in server: every answer that the API knows, and every way to fail."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from reasoning_rl.api import Verdict
from reasoning_rl.errors import SandboxError
from reasoning_rl.sandbox import Limits, Outcome
from reasoning_rl.sandbox.piston import PistonSandbox
from reasoning_rl.testing import make_sample
from reasoning_rl_rewards.code_tests import CodeTests

#: What a stand-in answers to a request: the HTTP code and the JSON (or bytes), or `None` to hang up.
Answer = tuple[int, Any] | None
Rule = Callable[[dict[str, Any], int], Answer]


def stage(**values: Any) -> dict[str, Any]:
    """A stage of a run as the server reports it, after the API's documentation."""
    return {
        "stdout": "", "stderr": "", "output": "", "code": 0, "signal": None, "message": None, "status": None,
        "cpu_time": 8, "wall_time": 154, "memory": 1160000, **values,
    }  # fmt: skip


def ran(run: dict[str, Any], compiled: dict[str, Any] | None = None) -> Answer:
    found = {"language": "python", "version": "3.12.0", "run": run}
    return 200, found if compiled is None else {**found, "compile": compiled}


def really_run(request: dict[str, Any]) -> Answer:
    """The stand-in runs its own programs in a plain interpreter; only those of this file are sent to it."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", request["files"][0]["content"]],
        input=request["stdin"], capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    status = "RE" if done.returncode else None
    return ran(stage(stdout=done.stdout, stderr=done.stderr, code=done.returncode, status=status))


PROBED = ran(stage(stdout="x" * 65535 + "\n"))


class StandIn:
    """A server that answers by a rule, and the probe of the adapter by `probe`."""

    def __init__(self, rule: Rule, probe: Answer = PROBED) -> None:
        self.rule, self.probe = rule, probe
        self.requests: list[dict[str, Any]] = []
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                assert self.path == "/api/v2/execute"
                assert self.headers["Content-Type"] == "application/json"
                answer = stand_in.answer(body)
                if answer is None:
                    self.connection.close()
                    return
                code, content = answer
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                with contextlib.suppress(OSError):
                    self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/api/v2"

    def answer(self, request: dict[str, Any]) -> Answer:
        if "65535" in request["files"][0]["content"]:
            return self.probe
        self.requests.append(request)
        return self.rule(request, len(self.requests))


@pytest.fixture
def serve() -> Iterator[Callable[..., StandIn]]:
    servers: list[StandIn] = []

    def start(rule: Rule, **options: Any) -> StandIn:
        stand_in = StandIn(rule, **options)
        servers.append(stand_in)
        threading.Thread(target=stand_in.server.serve_forever, args=(0.01,), daemon=True).start()
        return stand_in

    yield start
    for stand_in in servers:
        stand_in.server.shutdown()
        stand_in.server.server_close()


def sandbox(stand_in: StandIn, **options: Any) -> PistonSandbox:
    return PistonSandbox(stand_in.url, pause_s=0.01, **options)


def test_a_program_gets_its_input_and_its_limits(serve: Callable[..., StandIn]) -> None:
    stand_in = serve(lambda request, _: really_run(request))
    limits = Limits(cpu_s=1.5, wall_s=3.0, memory_mb=128)
    result = sandbox(stand_in, version="3.12.0").run("print(sum(map(int, input().split())), 'ü')", b"1 2\n", limits)
    assert (result.outcome, result.stdout, result.exit_code) == (Outcome.EXITED, "3 ü\n".encode(), 0)
    (request,) = stand_in.requests
    assert request == {
        "language": "python", "version": "3.12.0", "stdin": "1 2\n",
        "files": [{"content": "print(sum(map(int, input().split())), 'ü')"}],
        "run_timeout": 3000, "run_cpu_time": 1500, "run_memory_limit": 128 << 20,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (ran(stage(stdout="3\n")), Outcome.EXITED),
        (ran(stage(code=1, status="RE", stderr="ValueError: x")), Outcome.RUNTIME_ERROR),
        (ran(stage(code=None, signal="SIGSEGV", status="SG")), Outcome.RUNTIME_ERROR),
        (ran(stage(code=1, status="RE", stderr="…\nMemoryError")), Outcome.MEMORY_LIMIT),
        (ran(stage(code=None, signal="SIGKILL", status="SG", memory=512 << 20)), Outcome.MEMORY_LIMIT),
        (ran(stage(code=None, signal="SIGKILL", status="TO")), Outcome.TIME_LIMIT),
        (ran(stage(code=None, signal="SIGKILL", status="OL")), Outcome.OUTPUT_LIMIT),
        (ran(stage(code=None, signal="SIGKILL", status="EL")), Outcome.OUTPUT_LIMIT),
        (ran(stage(stdout="x" * 5000)), Outcome.OUTPUT_LIMIT),
        (ran(stage(code=1, status="RE"), stage(code=1, status="RE", stderr="error: expected ';'")), Outcome.RUNTIME_ERROR),
        (ran(stage(stdout="3\n"), stage()), Outcome.EXITED),
    ],
    ids=["exit", "exit code", "signal", "MemoryError", "memory", "time", "stdout", "stderr", "own limit", "compile", "compiled"],
)  # fmt: skip
def test_what_the_server_reports(serve: Callable[..., StandIn], answer: Answer, outcome: Outcome) -> None:
    stand_in = serve(lambda *_: answer)
    result = sandbox(stand_in).run("pass", b"", Limits(output_bytes=4096))
    assert result.outcome is outcome
    assert bool(result.reason) == (outcome is not Outcome.EXITED)
    assert len(result.stdout) <= 4096
    assert len(stand_in.requests) == 1, "the program's own fault is not tried again"


FAILURES: dict[str, tuple[Answer, int]] = {
    "busy": ((503, {"message": "busy"}), 3),
    "rate limit": ((429, {"message": "slow down"}), 3),
    "hangs up": (None, 3),
    "refused": ((400, {"message": "run_timeout cannot exceed the configured limit of 3000"}), 1),
    "not JSON": ((200, b"<html>"), 1),
    "another API": ((200, {"run": {"stdout": "3"}}), 1),
    "not found": ((404, b""), 1),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_of_the_server_is_no_verdict(serve: Callable[..., StandIn], name: str) -> None:
    answer, num_requests = FAILURES[name]
    stand_in = serve(lambda *_: answer)
    result = sandbox(stand_in).run("print(3)")
    assert result.outcome is Outcome.SANDBOX_FAILURE
    assert stand_in.url in result.reason
    assert len(stand_in.requests) == num_requests
    if name == "refused":
        assert "cannot exceed the configured limit of 3000" in result.reason


def test_a_server_that_recovers_is_asked_again(serve: Callable[..., StandIn]) -> None:
    stand_in = serve(lambda request, number: (503, {}) if number < 3 else really_run(request))
    assert sandbox(stand_in).run("print(3)").stdout == b"3\n"
    assert len(stand_in.requests) == 3
    assert sandbox(serve(lambda *_: (503, {})), attempts=1).run("print(3)").outcome is Outcome.SANDBOX_FAILURE


@pytest.mark.parametrize("answer", [ran(stage(status="XX", code=None, message="box")), (500, b"")], ids=["XX", "500"])
def test_a_program_that_breaks_the_server_each_time_is_charged_with_it(
    serve: Callable[..., StandIn], answer: Answer
) -> None:
    stand_in = serve(lambda *_: answer)
    assert sandbox(stand_in).run("break it").outcome is Outcome.SECURITY_VIOLATION
    broken = serve(lambda *_: answer)
    used = sandbox(broken)
    broken.probe = (503, {})
    assert used.run("break it").outcome is Outcome.SANDBOX_FAILURE, "the server is broken for everybody"
    once = serve(lambda request, number: answer if number == 1 else really_run(request))
    assert sandbox(once).run("print(3)").stdout == b"3\n"


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        (ran(stage(code=None, signal="SIGKILL", status="OL", stdout="x" * 1024)), "PISTON_OUTPUT_MAX_SIZE"),
        ((400, {"message": "python-* runtime is unknown"}), "runtime is unknown"),
        (ran(stage(stdout="hello")), "a program that prints 64 KiB ended with exited"),
        ((404, b""), "HTTP 404"),
    ],
)
def test_a_server_that_cannot_be_used_is_found_out_at_once(
    serve: Callable[..., StandIn], probe: Answer, message: str
) -> None:
    with pytest.raises(SandboxError, match=message):
        sandbox(serve(lambda *_: None, probe=probe))


def test_no_server() -> None:
    start = time.monotonic()
    with pytest.raises(SandboxError, match=r"http://127\.0\.0\.1:9/api/v2 cannot be used: no answer"):
        PistonSandbox("http://127.0.0.1:9/api/v2")
    assert time.monotonic() - start < 60
    with pytest.raises(SandboxError, match="expected the address"):
        PistonSandbox("file:///etc/passwd")
    with pytest.raises(SandboxError, match="expected one of python"):
        PistonSandbox("http://127.0.0.1:9", language="cobol")


def test_a_closed_sandbox_says_so(serve: Callable[..., StandIn]) -> None:
    used = sandbox(serve(lambda *_: None))
    used.close()
    used.close()
    with pytest.raises(SandboxError, match="closed"):
        used.run("pass")


def test_the_reward_compares_here_and_abstains_when_the_server_fails(serve: Callable[..., StandIn]) -> None:
    stand_in = serve(lambda request, _: really_run(request) if "print" in request["files"][0]["content"] else (503, {}))
    reward = CodeTests(server=stand_in.url)
    row = {
        "tests": [
            {"type": "stdio", "input": "1 2", "output": "3"},
            {"type": "stdio", "input": "500 711", "output": "1211"},
        ]
    }

    def score(program: str, tests: Any = row) -> Any:
        return reward(make_sample(f"```python\n{program}\n```", tests))

    right = score("print(sum(map(int, input().split())))")
    assert (right.value, right.detail["tier"]) == (1.0, "server")
    assert score("print(3)").value == 0
    assert "1211" not in json.dumps(stand_in.requests), "no expected value was sent"
    failed = score("nothing = 1")
    assert (failed.value, failed.verdict) == (None, Verdict.SANDBOX_FAILURE)
    refusing = serve(lambda *_: FAILURES["refused"][0])
    with pytest.raises(SandboxError, match="cannot exceed the configured limit"):
        CodeTests(server=refusing.url).warm_up()
    other = score("print(3)", {"tests": [{"type": "call", "entry_point": "f", "args": [], "expected": 1}]})
    assert (other.value, other.verdict) == (None, Verdict.NOT_APPLICABLE)
    assert "stdio" in other.detail["reason"]
