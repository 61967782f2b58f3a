"""Calls of a program from the host's side: sends requests, reads answers, says how it ended. Decides nothing about them."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from reasoning_rl.sandbox import codec
from reasoning_rl.sandbox.jail import Jail
from reasoning_rl.sandbox.runs import Run
from reasoning_rl.sandbox.types import Answer, CallsResult, Limits, Outcome, Raised


def calls(jail: Jail, source: bytes, requests: Sequence[bytes], limits: Limits) -> CallsResult:
    """Loads a program and sends it encoded requests, one after the other; what it answered and how it ended."""
    ours, theirs = socket.socketpair()
    answers: list[Answer] = []
    with ours, theirs, Run(jail, "calls", source, b"", limits, {"handles": False}, (theirs.fileno(),)) as run:
        theirs.close()
        ours.setblocking(False)
        inbox = bytearray()
        try:
            is_loaded = _receive(run, ours, inbox) is not None
            for request in requests if is_loaded else ():
                if not _send(run, ours, request):
                    break
                body = _receive(run, ours, inbox)
                if body is None:
                    break
                answers.append(_answer(codec.decode(body)))
        except codec.Malformed as error:
            run.kill()
            end = run.end()
            if end.outcome is Outcome.EXITED:
                end = replace(end, outcome=Outcome.RUNTIME_ERROR, reason=f"its answer is no answer: {error}")
            return CallsResult(tuple(answers), end)
        if is_loaded and len(answers) == len(requests):
            run.kill()
            return CallsResult(tuple(answers), run.end())
        end = run.end()
        if end.outcome is Outcome.EXITED:
            end = replace(end, outcome=Outcome.RUNTIME_ERROR, reason="it ended before it had answered every call")
        return CallsResult(tuple(answers), end)


def _answer(reply: Any) -> Answer:
    match reply:
        case ("value", value, None):
            return Answer(value)
        case ("value", value, tuple(arguments)):
            return Answer(value, args=arguments)
        case ("raised", str(name), str(message)):
            return Answer(raised=Raised(name[:100], message[:1000]))
    raise codec.Malformed("neither a value nor an exception")


def _send(run: Run, connection: socket.socket, data: bytes) -> bool:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[connection.send(rest) :]
        except BlockingIOError:
            if not run.wait(connection, to_write=True):
                return False
        except OSError:
            return False
    return True


def _receive(run: Run, connection: socket.socket, inbox: bytearray) -> bytes | None:
    """The next body; `None` when the program has ended or closed the connection."""
    while (body := codec.take_frame(inbox)) is None:
        is_running = run.wait(connection)
        try:
            chunk = connection.recv(1 << 18)
        except BlockingIOError:
            chunk = b"" if not is_running else None
        except OSError:
            chunk = b""
        if chunk:
            inbox += chunk
        elif chunk is not None:
            return None
    return body
