"""C++ and JavaScript: whole programs with input and output, behind the walls of `LocalSandbox`.

C++ is compiled in a jail of its own, where no program runs (bubblewrap: no network, no file but the system's read-only
ones), and the executable is run as any program is. JavaScript is run by Node. Only `run`; there are no calls.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Literal

from reasoning_rl.errors import SandboxError
from reasoning_rl.sandbox.jail import bwrap_path
from reasoning_rl.sandbox.local import MAX_PROGRAM_BYTES, LocalSandbox
from reasoning_rl.sandbox.types import DEFAULT_LIMITS, Limits, Outcome, RunResult

Language = Literal["cpp", "javascript"]
_COMPILE_CPU_S, _COMPILE_MB, _PATIENCE_S = 10, 2048, 150.0
_LOADER = "/lib64/ld-linux-x86-64.so.2"
#: What the compiler says comes last in stderr, at most so many bytes of it; the executable is stdout.
_COMPILE = f"""
ulimit -t {_COMPILE_CPU_S}; ulimit -v {_COMPILE_MB << 10}; ulimit -f {MAX_PROGRAM_BYTES // 512}; ulimit -c 0
"$1" -std=c++17 -O1 -fmax-errors=3 -w -x c++ - -o program 2>errors
code=$?
head -c 2000 errors >&2
[ $code = 0 ] && cat program
exit $code
"""
#: Node's own memory beside the program's, in MiB.
_NODE_MB = 320
_HELLO = {
    "cpp": '#include <iostream>\nint main() { int n; std::cin >> n; std::cout << n * 7 << "\\n"; }',
    "javascript": "console.log(Number(require('fs').readFileSync(0)) * 7)",
}
_NEEDED = {"cpp": "g++", "javascript": "node"}


class LanguageSandbox:
    """Runs programs in C++ or JavaScript on this machine. Threads may share it; a forked process needs its own.

    Args:
        language: `cpp` (needs g++ and tier T1) or `javascript` (needs Node).
        tier, parallel, scratch_mb: as in `LocalSandbox`.

    Raises:
        SandboxError: no sandbox, no compiler, no Node, or a trivial program does not run. Nothing of a model was run.
    """

    def __init__(
        self, language: Language, *, tier: str | None = None, parallel: int | None = None, scratch_mb: int = 16
    ) -> None:
        found = shutil.which(_NEEDED[language])
        if found is None:
            raise SandboxError(
                f"language {language!r} needs {_NEEDED[language]} on PATH, which is not there; install it"
            )
        self.language: Language = language
        self._tool = os.path.realpath(found)
        self._compiled: OrderedDict[bytes, bytes | RunResult] = OrderedDict()
        self._lock = threading.Lock()
        executables = (os.path.realpath(_LOADER), *([self._tool] if language == "javascript" else []))
        self._sandbox = LocalSandbox(
            tier=tier, parallel=parallel, scratch_mb=max(1, scratch_mb), executables=executables
        )
        self.tier = self._sandbox.tier
        try:
            if language == "cpp" and not self.tier.walls.namespaces:
                raise SandboxError(
                    f"language 'cpp' needs tier T1, here is {self.tier.name}: `reasoning-rl sandbox doctor`"
                )
            result = self.run(_HELLO[language], b"6")
            if result.stdout != b"42\n":
                raise SandboxError(f"language {language!r} does not work here: {result.outcome}: {result.reason}")
        except SandboxError:
            self.close()
            raise

    def run(self, program: str, stdin: bytes | str = b"", limits: Limits = DEFAULT_LIMITS) -> RunResult:
        """Runs a program with `stdin` as its standard input. See `Sandbox.run`.

        What does not compile is a `runtime_error`. The limits are those of the run; compiling has its own.

        Raises:
            SandboxError: the sandbox is closed.
        """
        source = program.encode("utf-8", "surrogatepass")
        given = stdin if isinstance(stdin, bytes) else stdin.encode("utf-8", "surrogatepass")
        if len(source) > MAX_PROGRAM_BYTES:
            return RunResult(Outcome.RUNTIME_ERROR, reason=f"the program is longer than {MAX_PROGRAM_BYTES} bytes")
        if self.language == "javascript":
            heap = f"--max-old-space-size={limits.memory_mb}"
            options = {
                "file": "program.js",
                "command": [self._tool, heap, "program.js"],
                "data_mb": limits.memory_mb + _NODE_MB,
            }
            result = self._sandbox.run_binary(source, given, limits, options)
            if result.outcome is not Outcome.RUNTIME_ERROR:
                return result
            words = result.stderr[:20_000].decode(errors="replace")  # the last line names Node's version only
            return replace(result, reason=_first_error(words)) if words else result
        executable = self._executable(source)
        if isinstance(executable, RunResult):
            return executable
        return self._sandbox.run_binary(executable, given, limits, {})

    def close(self) -> None:
        """Ends everything that the sandbox started. Idempotent."""
        self._sandbox.close()

    def _executable(self, source: bytes) -> bytes | RunResult:
        """The compiled program, or how compiling it ended; the last few are kept, since each test asks again."""
        key = hashlib.sha256(source).digest()
        with self._lock:
            if key in self._compiled:
                self._compiled.move_to_end(key)
                return self._compiled[key]
        found = self._compile(source)
        if isinstance(found, RunResult) and found.outcome is Outcome.SANDBOX_FAILURE:
            found = self._compile(source)
            if isinstance(found, RunResult) and found.outcome is Outcome.SANDBOX_FAILURE:
                return found
        with self._lock:
            self._compiled[key] = found
            while len(self._compiled) > 8:
                self._compiled.popitem(last=False)
        return found

    def _compile(self, source: bytes) -> bytes | RunResult:
        status_read, status_write = os.pipe2(os.O_CLOEXEC)
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, status_read)
            output = stack.enter_context(tempfile.TemporaryFile())
            said = stack.enter_context(tempfile.TemporaryFile())
            given = stack.enter_context(tempfile.TemporaryFile())
            given.write(source)
            given.seek(0)
            process = subprocess.Popen(
                [*_jail(self.tier.walls.namespaces, status_write), "/bin/sh", "-c", _COMPILE, "sh", self._tool],
                stdin=given, stdout=output, stderr=said, pass_fds=(status_write,), env={}, start_new_session=True, cwd="/",
            )  # fmt: skip
            os.close(status_write)
            try:
                process.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                return RunResult(Outcome.SANDBOX_FAILURE, reason=f"the compiler did not end within {_PATIENCE_S:g} s")
            # Only bubblewrap writes here; nothing that a source can make the compiler say chooses whose fault it is.
            status = os.read(status_read, 1 << 16).decode()
            codes = [json.loads(line).get("exit-code") for line in status.splitlines()]
            code = next((code for code in codes if code is not None), None)
            said.seek(0)
            words = said.read(4000).decode(errors="replace").strip()
            if code is None:
                return RunResult(Outcome.SANDBOX_FAILURE, reason=f"the compiler's jail failed: {words[-300:]}")
            output.seek(0)
            executable = output.read(MAX_PROGRAM_BYTES + 1)
        if code == 0 and executable:
            return executable
        return RunResult(Outcome.RUNTIME_ERROR, exit_code=code, reason=f"does not compile: {_first_error(words)}")


def _first_error(words: str) -> str:
    lines = words.splitlines()
    found = next((line for line in lines if "rror:" in line), lines[-1] if lines else "no reason was given")
    return found[:300]


def _jail(namespaces: str, status_fd: int) -> list[str]:
    """bubblewrap for the compiler: the system's files read-only, a folder of fixed size, nothing else."""
    bwrap = bwrap_path()
    if bwrap is None:
        raise SandboxError("bubblewrap is not installed")
    command = [bwrap, "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    command += ["--new-session", "--die-with-parent", "--cap-drop", "ALL", "--json-status-fd", str(status_fd)]
    if namespaces == "user":
        command += ["--unshare-user", "--uid", "65534", "--gid", "65534"]
    command += ["--ro-bind", "/usr", "/usr", "--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    for path in ("/bin", "/lib", "/lib64"):
        if Path(path).is_symlink():
            command += ["--symlink", os.readlink(path), path]
        else:
            command += ["--ro-bind-try", path, path]
    command += ["--proc", "/proc", "--dev", "/dev", "--size", str(256 << 20), "--tmpfs", "/work"]
    command += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/work", "--clearenv"]
    return [*command, "--setenv", "PATH", "/usr/bin:/bin", "--setenv", "TMPDIR", "/work", "--"]
