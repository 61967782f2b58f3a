"""Runs whole programs on a Piston server (https://github.com/engineer-man/piston), over its HTTP API, version 2.

Only `run`: output comes back and is compared here, so no expected value leaves this machine. Calls and test code need a
process of ours beside the program, which the API has no place for. A server that cannot be reached, refuses, or reports
an error of its own is a `sandbox_failure` after a bounded number of attempts, never a verdict about the program.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from reasoning_rl.errors import SandboxError
from reasoning_rl.sandbox.types import DEFAULT_LIMITS, Limits, Outcome, RunResult

#: Prints more than a server with default settings lets through (1 KiB); used to find out, and to tell who is to blame.
_PROBES = {
    "python": "print('x' * 65535)",
    "c++": "#include <iostream>\n#include <string>\nint main() { std::cout << std::string(65535, 'x') << '\\n'; }",
    "javascript": "console.log('x'.repeat(65535))",
}
_MAX_RESPONSE_BYTES = 64 << 20
_COMPILE_S = 30.0
#: Answers of a server, or of a proxy before it, that say nothing about the program.
_BUSY = frozenset({408, 425, 429, 502, 503, 504})


class _Refused(Exception):  # noqa: N818 - internal
    """The server did not run the program. `is_of_job`: an error that this program may have caused."""

    def __init__(self, reason: str, *, is_of_job: bool = False, is_final: bool = False) -> None:
        super().__init__(reason)
        self.is_of_job, self.is_final = is_of_job, is_final


class PistonSandbox:
    """Runs programs on a Piston server. Threads may share it.

    Args:
        url: where the API is, such as `http://localhost:2000/api/v2`.
        language: `python`, `c++` or `javascript`.
        version: selector of the runtime's version, such as `3.12.0` or `3.x`.
        attempts: how often a program is sent, at most, when the server fails.
        pause_s: seconds before the second attempt; doubled before each further one.
        queue_s: seconds that a program may wait for its turn on the server, on top of its limits.

    Raises:
        SandboxError: the server cannot be reached, lacks the language, or cuts output short. Nothing of a model was run.
    """

    def __init__(
        self,
        url: str,
        *,
        language: str = "python",
        version: str = "*",
        attempts: int = 3,
        pause_s: float = 0.5,
        queue_s: float = 60.0,
    ) -> None:
        if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
            raise SandboxError(
                f"server is {url!r}; expected the address of a Piston API, such as http://host:2000/api/v2"
            )
        if language not in _PROBES:
            raise SandboxError(f"language is {language!r}; expected one of {', '.join(_PROBES)}")
        self.url, self.language, self.version = url.rstrip("/"), language, version
        self._attempts, self._pause_s, self._queue_s = max(1, attempts), pause_s, queue_s
        self._is_closed = threading.Event()
        found = self._probe()
        if found is not None:
            raise SandboxError(f"the Piston server at {self.url} cannot be used: {found}")

    def run(self, program: str, stdin: bytes | str = b"", limits: Limits = DEFAULT_LIMITS) -> RunResult:
        """Runs a program with `stdin` as its standard input. See `Sandbox.run`.

        Text that is not UTF-8 arrives at the program, and comes back, with replacement characters. `scratch_mb` and
        `processes` are the server's own.

        Raises:
            SandboxError: the sandbox is closed.
        """
        if self._is_closed.is_set():
            raise SandboxError("the sandbox is closed")
        start, reason, num_of_job = time.monotonic(), "", 0
        request = self._request(program, stdin, limits)
        for attempt in range(self._attempts):
            if attempt:
                self._is_closed.wait(self._pause_s * 2 ** (attempt - 1))
            try:
                return _result(self._post(request, limits), limits, time.monotonic() - start)
            except _Refused as refused:
                reason = str(refused)
                num_of_job += refused.is_of_job
                if refused.is_final:
                    break
        wall_s = time.monotonic() - start
        if num_of_job == self._attempts > 1 and self._probe() is None:
            # Every time with this program, and another one runs well: that is its doing.
            return RunResult(Outcome.SECURITY_VIOLATION, wall_s=wall_s, reason=f"{num_of_job} times: {reason}")
        return RunResult(Outcome.SANDBOX_FAILURE, wall_s=wall_s, reason=f"{self.url}: {reason}")

    def close(self) -> None:
        """Sends nothing more. Idempotent."""
        self._is_closed.set()

    def _probe(self) -> str | None:
        """What is wrong with the server, found out by a program of ours; `None` when nothing is."""
        limits = Limits(cpu_s=1.0, wall_s=2.0)
        try:
            result = _result(self._post(self._request(_PROBES[self.language], b"", limits), limits), limits, 0.0)
        except _Refused as refused:
            return str(refused)
        if result.outcome is Outcome.OUTPUT_LIMIT:
            return "it cuts output short; start it with PISTON_OUTPUT_MAX_SIZE of several MiB"
        if result.stdout.rstrip() != b"x" * 65535:
            return f"a program that prints 64 KiB ended with {result.outcome} {result.reason}"
        return None

    def _request(self, program: str, stdin: bytes | str, limits: Limits) -> bytes:
        given = stdin.decode(errors="replace") if isinstance(stdin, bytes) else stdin
        body = {
            "language": self.language,
            "version": self.version,
            "files": [{"content": program}],
            "stdin": given,
            "run_timeout": round(1000 * limits.wall_s),
            "run_cpu_time": round(1000 * limits.cpu_s),
            "run_memory_limit": limits.memory_mb << 20,
            "compile_timeout": round(1000 * _COMPILE_S),
        }
        if self.language == "python":
            del body["compile_timeout"]
        return json.dumps(body).encode("utf-8", "replace")  # lone surrogates are escaped by JSON itself

    def _post(self, body: bytes, limits: Limits) -> dict[str, Any]:
        """The server's answer.

        Raises:
            _Refused: there is none, or it is none of a Piston server.
        """
        request = urllib.request.Request(
            f"{self.url}/execute", data=body, headers={"Content-Type": "application/json"}, method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=limits.wall_s + _COMPILE_S + self._queue_s) as response:
                data = response.read(_MAX_RESPONSE_BYTES + 1)
        except urllib.error.HTTPError as error:
            said = _message(error)
            if error.code in _BUSY:
                raise _Refused(f"HTTP {error.code}{said}") from None
            # 400 and the like: what we ask for is refused, such as a limit above the server's own. It will be again.
            raise _Refused(f"HTTP {error.code}{said}", is_of_job=error.code >= 500, is_final=error.code < 500) from None
        except (OSError, ValueError) as error:
            raise _Refused(f"no answer ({type(error).__name__}: {getattr(error, 'reason', error)})") from None
        try:
            found = json.loads(data) if len(data) <= _MAX_RESPONSE_BYTES else None
        except ValueError:
            found = None
        if not isinstance(found, dict) or not isinstance(found.get("run"), dict) or "status" not in found["run"]:
            raise _Refused("an answer that is not Piston's (version 2 with `run.status` is needed)", is_final=True)
        return found


def _message(error: urllib.error.HTTPError) -> str:
    """What a server says beside the code, as `: …`."""
    try:
        found = json.loads(error.read(10_000))
        return f": {found['message']!s:.300}"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _result(found: dict[str, Any], limits: Limits, wall_s: float) -> RunResult:
    """How a program ended, from the two letters that the server gives each stage.

    Raises:
        _Refused: the server had an error of its own (`XX`).
    """
    compiled, run = found.get("compile"), found["run"]
    is_compiled = not isinstance(compiled, dict) or (compiled.get("status") is None and compiled.get("code") == 0)
    stage = run if is_compiled else compiled
    assert isinstance(stage, dict)
    status, code = stage.get("status"), stage.get("code")
    if status == "XX":
        raise _Refused(f"the server's own error: {stage.get('message')!s:.300}", is_of_job=True)
    stdout, stderr = (str(stage.get(name) or "").encode("utf-8", "replace") for name in ("stdout", "stderr"))
    room = limits.output_bytes
    peak_mb = _number(stage.get("memory")) / (1 << 20)
    outcome, reason = Outcome.EXITED, ""
    last_line = stderr.rstrip().rpartition(b"\n")[2][-200:].decode(errors="replace")
    if not is_compiled:
        outcome, reason = Outcome.RUNTIME_ERROR, f"does not compile: {last_line}"
    elif status in ("OL", "EL") or len(stdout) + len(stderr) > room:
        outcome, reason = Outcome.OUTPUT_LIMIT, f"more than {room} bytes of output, or than the server's own limit"
    elif status == "TO":
        outcome, reason = Outcome.TIME_LIMIT, f"limits {limits.cpu_s:g} s of CPU time, {limits.wall_s:g} s in all"
    elif status is not None or code != 0:
        is_memory = last_line.startswith("MemoryError") or peak_mb >= 0.98 * limits.memory_mb
        outcome = Outcome.MEMORY_LIMIT if is_memory else Outcome.RUNTIME_ERROR
        reason = f"{stage.get('message') or f'exit code {code}'}: {last_line}"[:300]
    return RunResult(
        outcome,
        exit_code=code if isinstance(code, int) else None,
        stdout=stdout[:room],
        stderr=stderr[: max(0, room - len(stdout))],
        cpu_s=_number(stage.get("cpu_time")) / 1000,
        wall_s=_number(stage.get("wall_time")) / 1000 or wall_s,
        peak_memory_mb=round(peak_mb),
        reason=reason,
    )


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else 0.0
