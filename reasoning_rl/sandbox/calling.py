"""Calls of a program from the host's side: sends requests, reads answers, says how it ended. Decides nothing about them.

All requests are sent as soon as they go in, and the end after them, so that a program never waits for a caller that waits
for a core.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from reasoning_rl.sandbox import codec
from reasoning_rl.sandbox.jail import Jail
from reasoning_rl.sandbox.runs import Run
from reasoning_rl.sandbox.types import Answer, CallsResult, Limits, Outcome, Raised


def calls(jail: Jail, source: bytes, requests: Sequence[bytes], limits: Limits) -> CallsResult:
    """Loads a program and sends it encoded requests; what it answered and how it ended."""
    ours, theirs = socket.socketpair()
    answers: list[Answer] = []
    with ours, theirs, Run(jail, "calls", source, b"", limits, {"handles": False}, (theirs.fileno(),)) as run:
        theirs.close()
        ours.setblocking(False)
        bodies = _exchange(run, ours, b"".join(requests))
        try:
            is_loaded = next(bodies, None) is not None
            while is_loaded and len(answers) < len(requests) and (body := next(bodies, None)) is not None:
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


def _exchange(run: Run, connection: socket.socket, data: bytes) -> Iterator[bytes]:
    """Sends the data and yields bodies meanwhile, until the program has ended or closed the connection."""
    rest, inbox, is_sending = memoryview(data), bytearray(), True
    while True:
        while (body := codec.take_frame(inbox)) is not None:
            yield body
        is_running = run.wait(connection, to_write=is_sending)
        try:
            while rest:
                rest = rest[connection.send(rest) :]
            if is_sending:
                connection.shutdown(socket.SHUT_WR)
            is_sending = False
        except BlockingIOError:
            pass
        except OSError:  # the program has closed it; what it said before still comes
            rest, is_sending = rest[:0], False
        try:
            chunk = connection.recv(1 << 18)
        except BlockingIOError:
            if is_running:
                continue
            return
        except OSError:
            return
        if not chunk:
            return
        inbox += chunk
