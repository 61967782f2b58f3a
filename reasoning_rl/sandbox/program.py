"""What runs in a confined child: a program, or the test code that grades one. The process is already locked down.

File descriptors: 0 to 2 are standard; 3 holds the source; in the modes that talk, 4 is the connection. `stdio` runs the
source as `__main__`, `binary` becomes another program (`binary`). `calls` loads it as `solution` and answers calls with
plain data. `grader` is `grader.serve`: test code, of ours, which comes over the connection.
"""

from __future__ import annotations

import atexit
import builtins
import io
import os
import socket
import sys
import threading
import traceback
import types
from collections import deque
from collections.abc import Callable
from typing import Any, TextIO

from reasoning_rl.sandbox import binary, codec
from reasoning_rl.sandbox.codec import Handle

_SOURCE_FD, _CONNECTION_FD = 3, 4
BUILTIN_ERRORS = {
    item: name for name, item in vars(builtins).items() if isinstance(item, type) and issubclass(item, BaseException)
}
#: What else of the interpreter is there to be gone through, and stays with the program in test code.
_SEQUENCES = (range, deque, type({}.keys()), type({}.values()), type({}.items()))
#: Returned iterators are cut here rather than running for ever.
_MAX_ITEMS = 1_000_000
_STREAMS: tuple[TextIO, TextIO, TextIO]


def open_streams() -> None:
    """In the zygote: opens the standard streams of the children, over files of the kinds that these will have there."""
    global _STREAMS
    own = [os.dup(fd) for fd in range(3)]
    stdin = os.memfd_create("stdin")
    reading, writing = os.pipe()
    for number, fd in enumerate((stdin, writing, writing)):
        os.dup2(fd, number)
    _STREAMS = (open(0, encoding="utf-8", errors="surrogateescape"), _writer(1), _writer(2))  # noqa: SIM115
    for number, fd in enumerate(own):
        os.dup2(fd, number)
    for fd in (*own, stdin, reading, writing):
        os.close(fd)


def prepare(mode: str, options: dict[str, Any]) -> Callable[[], None]:
    """Reads the source and puts the streams in place; what it returns runs the source and never returns."""
    if mode == "binary":
        return binary.prepare(_SOURCE_FD, options)
    with open(_SOURCE_FD, "rb") as file:
        source = file.read()
    sys.stdin, sys.stdout, sys.stderr = sys.__stdin__, sys.__stdout__, sys.__stderr__ = _STREAMS
    sys.argv = ["program.py"]
    if mode == "grader":
        from reasoning_rl.sandbox import grader

        desk = socket.socket(fileno=_CONNECTION_FD)
        return lambda: _end_with(grader.serve(desk))
    module = types.ModuleType("__main__" if mode == "stdio" else "solution")
    sys.modules[module.__name__] = module
    calls = Calls(module, socket.socket(fileno=_CONNECTION_FD), options["handles"]) if mode == "calls" else None
    return lambda: _start(source, module, calls)


def _start(source: bytes, module: types.ModuleType, calls: Calls | None) -> None:
    builtins.__dict__.update(exit=sys.exit, quit=sys.exit)  # the `site` module would, which is not loaded
    is_main = calls is None
    code = _guarded(lambda: exec(compile(source, "program.py", "exec", dont_inherit=True), module.__dict__), is_main)
    if calls is not None and code is None:
        code = _guarded(calls.serve, is_main)
        os._exit(code or 0)
    _finish(code or 0)


def _end_with(_: None) -> None:
    os._exit(0)


def _writer(fd: int) -> io.TextIOWrapper:
    buffer = open(fd, "wb")  # noqa: SIM115
    return io.TextIOWrapper(buffer, "utf-8", "surrogateescape", newline="\n", line_buffering=fd == 2)


def _guarded(action: Callable[[], object], is_main: bool) -> int | None:
    """Runs it as the interpreter does its main module: `None` when it came through, else the exit code.

    An exit with code 0 is an end like any other only for a main module; a module to be called has more to do.
    """
    try:
        action()
        return None
    except SystemExit as ending:
        code = ending.code
        if code is None or type(code) is int:
            return (code or 0) & 0xFF or int(not is_main)
        sys.stderr.write(f"{code}\n")
        return 1
    except BaseException:  # noqa: BLE001 - a program may raise anything
        traceback.print_exc()
        return 1


def _finish(code: int) -> None:
    try:
        threading._shutdown()  # type: ignore[attr-defined] - waits for threads, as the end of a program does
        atexit._run_exitfuncs()
        sys.stdout.flush()
    except BaseException:  # noqa: BLE001
        code = code or 120
    try:
        sys.stderr.flush()
    finally:
        os._exit(code)


class Calls:
    """Answers requests: `(operation, target, …)` in, `("value", value, arguments)` or `("raised", name, message)` out."""

    def __init__(self, module: types.ModuleType, connection: socket.socket, handles: bool) -> None:
        self.module, self.connection = module, connection
        self.objects: list[Any] = []
        self.numbers: dict[int, int] = {}  # by identity
        self.hook = self.handle_of if handles else None

    def serve(self) -> None:
        """Until the other side closes."""
        reply = codec.encode(("loaded", None, None))
        while True:
            try:
                self.connection.sendall(codec.frame(reply))
                body = codec.receive(self.connection)
            except OSError:
                return
            if body is None:
                return
            reply = self.answer(codec.decode(body, lambda handle: self.objects[handle.number]))

    def answer(self, request: tuple[Any, ...]) -> bytes:
        try:
            value, arguments = self.perform(*request)
            return codec.encode(("value", value, arguments), self.hook)
        except codec.NotPlain as error:
            name, message = "BadType", str(error)
        except codec.TooLarge as error:
            name, message = "TooLarge", str(error)
        except Exception as error:  # noqa: BLE001 - whatever the program raises is its answer
            name = codec.builtin_name(error, BUILTIN_ERRORS)
            message = error.args[0][:1000] if error.args and type(error.args[0]) is str else ""
        return codec.encode(("raised", name, message))

    def perform(self, operation: str, target: Any, *rest: Any) -> tuple[Any, Any]:
        if operation == "call":
            arguments, named, write_back, as_list = rest
            value = self.resolve(target)(*arguments, **named)
            if as_list and type(value) not in (list, tuple, set, frozenset, dict, str, bytes):
                value = self.as_list(value)
            return value, tuple(arguments) if write_back else None
        if operation == "get":
            value = getattr(target, rest[0])
            # What can be called stays here, also when its class is not the program's own.
            return (Handle(self.keep(value)) if callable(value) else value), None
        if operation == "set":
            setattr(target, *rest)
            return None, None
        if operation == "is":
            return isinstance(target, self.resolve(rest[0])), None
        assert operation == "entry"
        return Handle(self.keep(self.resolve(target))), None

    def resolve(self, target: Any) -> Any:
        if type(target) is not str:
            return target
        owner, _, name = target.rpartition(".")
        found: Any = self.module
        for part in owner.split(".") if owner else ():
            found = self.look_up(found, part)
            found = found() if isinstance(found, type) else found
        return self.look_up(found, name)

    def look_up(self, owner: Any, name: str) -> Any:
        try:
            return getattr(owner, name)
        except AttributeError:
            raise NameError(f"name {name!r} is not defined") from None

    def as_list(self, value: Any) -> list[Any]:
        items = []
        for item in value:
            items.append(item)
            if len(items) > _MAX_ITEMS:
                raise codec.TooLarge(f"an iterator of more than {_MAX_ITEMS} items")
        return items

    def keep(self, value: Any) -> int:
        number = self.numbers.setdefault(id(value), len(self.objects))
        if number == len(self.objects):
            self.objects.append(value)
        return number

    def handle_of(self, value: Any) -> Handle:
        """Objects of the program's own classes, functions and iterators stay here; what poses as plain data does not pass."""
        kind = type(value)
        stays = kind.__module__ == "solution" or callable(value) or hasattr(kind, "__next__") or kind in _SEQUENCES
        if not stays or isinstance(value, (bool, int, float, complex, str, bytes, list, tuple, set, frozenset, dict)):
            raise codec.NotPlain(f"a value of type {kind.__name__} is not plain data")
        return Handle(self.keep(value))
