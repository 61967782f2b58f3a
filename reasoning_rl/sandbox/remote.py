"""What test code sees of a program in another process: stand-ins that pass plain data, in a process of the test code.

What comes back cannot carry code, lie about equality, or skip a test.
"""

from __future__ import annotations

import builtins
import socket
from collections.abc import Callable, Iterator
from typing import Any

from reasoning_rl.sandbox import codec
from reasoning_rl.sandbox.codec import Handle


class ProgramGone(BaseException):
    """The program's process ended, or sent something that is no answer."""


class BadType(Exception):  # noqa: N818 - the name that the program's side reports
    """The program returned something that is not plain data."""


class Program:
    """The connection to the program."""

    def __init__(self, connection: socket.socket, on_first_call: Callable[[], None]) -> None:
        self.connection, self.on_first_call = connection, on_first_call
        self.is_called = self.is_gone = False

    def wait_until_loaded(self) -> None:
        self.read()

    def ask(self, *request: Any) -> Any:
        data = codec.frame(codec.encode(request, _handle_of))  # before: what cannot be sent is the tests' own fault
        if not self.is_called:
            self.is_called = True
            self.on_first_call()
        try:
            self.connection.sendall(data)
        except OSError:
            self.gone()
        kind, value, rest = self.read()
        if kind == "value":
            return value
        error = getattr(builtins, value, None) if type(value) is str else None
        if not (isinstance(error, type) and issubclass(error, Exception)):
            error = BadType
        try:
            raised = error(rest if type(rest) is str else "")
        except Exception:  # noqa: BLE001 - some take other arguments
            raised = Exception(f"{value}: {rest}")
        raise raised from None

    def read(self) -> tuple[Any, Any, Any]:
        try:
            body = None if self.is_gone else codec.receive(self.connection)
            if body is not None:
                kind, value, rest = codec.decode(body, lambda handle: Remote(self, handle))
                return kind, value, rest
        except (codec.Malformed, ValueError, TypeError, OSError):
            pass
        self.gone()
        raise AssertionError

    def gone(self) -> None:
        self.is_gone = True
        raise ProgramGone


class Remote:
    """An object of the program. Equal only to itself; calls and attributes go over."""

    __slots__ = ("_handle", "_program")

    def __init__(self, program: Program, handle: Handle) -> None:
        object.__setattr__(self, "_program", program)
        object.__setattr__(self, "_handle", handle)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._program.ask("call", self._handle, args, kwargs, False, False)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__") and name not in ("__name__", "__doc__"):
            raise AttributeError(name)
        return self._program.ask("get", self._handle, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._program.ask("set", self._handle, name, value)

    def _method(self, name: str) -> Any:
        """A method that an operator needs; without it, that raises `TypeError`, as in the program itself."""
        try:
            return self._program.ask("get", self._handle, name)
        except AttributeError as error:
            raise TypeError(str(error)) from None

    def _special(self, name: str, *args: Any) -> Any:
        return self._method(name)(*args)

    def __len__(self) -> int:
        return self._special("__len__")

    def __getitem__(self, key: Any) -> Any:
        return self._special("__getitem__", key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._special("__setitem__", key, value)

    def __contains__(self, key: Any) -> bool:
        return self._special("__contains__", key) is True

    def __bool__(self) -> bool:
        for name in ("__bool__", "__len__"):
            try:
                method = self._method(name)
            except TypeError:
                continue
            return method() not in (False, 0)
        return True

    def __iter__(self) -> Iterator[Any]:
        try:
            step = self._method("__next__")
        except TypeError:
            return iter(self._program.ask("call", self._method("__iter__"), (), {}, False, True))
        return _steps(step)

    def __next__(self) -> Any:
        return self._special("__next__")

    def __enter__(self) -> Any:
        return self._special("__enter__")

    def __exit__(self, *_: object) -> None:
        self._special("__exit__", None, None, None)  # what it returns cannot make a failed assert pass

    def __str__(self) -> str:
        return self._special("__str__")

    def __repr__(self) -> str:
        return self._special("__repr__")

    def __eq__(self, other: object) -> bool:
        return type(other) is Remote and self._handle.number == other._handle.number

    def __hash__(self) -> int:
        return hash(self._handle.number)


def _steps(step: Remote) -> Iterator[Any]:
    """Items of an iterator of the program, one by one: it may have no end."""
    while True:
        try:
            item = step()
        except StopIteration:
            return
        yield item


class Entry:
    """A name that the program defines. Calling it is one message."""

    def __init__(self, program: Program, name: str) -> None:
        self._program, self.__name__ = program, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._program.ask("call", self.__name__, args, kwargs, False, False)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return getattr(self._program.ask("entry", self.__name__), name)

    def __instancecheck__(self, value: object) -> bool:
        return type(value) is Remote and self._program.ask("is", value._handle, self.__name__) is True


def _handle_of(value: Any) -> Handle:
    if type(value) is Entry:
        value = value._program.ask("entry", value.__name__)
    if type(value) is Remote:
        return value._handle
    raise codec.NotPlain(f"test code passes a {type(value).__name__}, which is not plain data")
