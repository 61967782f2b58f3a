"""Frames between the host and a grading process: four bytes of length, then the body.

Towards the process a body is a pickle, since the host is trusted and rows keep their types. Back comes JSON with a size
limit, never a pickle: whatever happens over there, it is data here.
"""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from reasoning_rl.api import Completion, Sample, Score, ThinkingTags, Verdict

_HEADER = struct.Struct(">I")

#: Largest body that a grading process may send.
MAX_REPLY_BYTES = 1 << 20
#: Largest `detail` that is passed on whole, as JSON.
MAX_DETAIL_BYTES = 1 << 17
#: Largest pickled sample that is graded.
MAX_SAMPLE_BYTES = 1 << 28


class MalformedReply(Exception):  # noqa: N818 - about the other side
    """A grading process sent something that is no reply."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One score of the sample at hand and the state of the process after it.

    `score` is `None` when memory ran out. `cpu_s` is all CPU time of the process so far, `queued_s` how long it
    has waited for a core, `rss_mb` its memory now, `num_bytes` the size of the reply.
    """

    task: int
    reward: int
    score: Score | None
    seconds: float
    cpu_s: float
    queued_s: float
    rss_mb: int
    num_bytes: int = 0


def frame(body: bytes) -> bytes:
    """A body with its length."""
    return _HEADER.pack(len(body)) + body


def take_frame(received: bytearray) -> bytes | None:
    """Removes and returns the first body, or `None` when it has not arrived whole.

    Raises:
        MalformedReply: it announces more than `MAX_REPLY_BYTES`.
    """
    if len(received) < _HEADER.size:
        return None
    (length,) = _HEADER.unpack_from(received)
    if length > MAX_REPLY_BYTES:
        raise MalformedReply(f"announced a reply of {length} bytes")
    end = _HEADER.size + length
    if len(received) < end:
        return None
    body = bytes(received[_HEADER.size : end])
    del received[:end]
    return body


def pack_sample(sample: Sample) -> bytes:
    """A sample as bytes. Equal bytes mean equal samples.

    Raises:
        ValueError: it is larger than `MAX_SAMPLE_BYTES`.
        Exception: whatever pickling its row raises.
    """
    done = sample.completion
    # Field by field: a class that only the host knows would otherwise be looked for over there.
    plain = (
        [dict(message) for message in sample.prompt],
        (done.text, done.thinking, done.final_text, done.num_tokens, done.truncated),
        (done.tags.open, done.tags.close, done.tags.opened_by_template),
        dict(sample.row),
        sample.row_id,
    )
    body = pickle.dumps(plain, protocol=5)
    if len(body) > MAX_SAMPLE_BYTES:
        raise ValueError(f"the sample has {len(body)} bytes, more than {MAX_SAMPLE_BYTES}")
    return body


def pack_task(task: int, rewards: Sequence[int], sample: bytes) -> bytes:
    """The frame that asks for some rewards of one packed sample."""
    return frame(pickle.dumps((task, tuple(rewards)), protocol=5) + sample)


def unpack_task(body: bytes) -> tuple[int, tuple[int, ...], BytesIO]:
    """Task number, positions of the rewards, and the rest, which `unpack_sample` reads."""
    stream = BytesIO(body)
    task, rewards = pickle.load(stream)
    return task, rewards, stream


def unpack_sample(stream: BytesIO) -> Sample:
    """The sample behind a task."""
    prompt, completion, tags, row, row_id = pickle.load(stream)
    return Sample(prompt, Completion(*completion, tags=ThinkingTags(*tags)), row, row_id)


def pack_reply(reply: Reply) -> bytes:
    """A reply as a frame; a detail that is too large or cannot be written as JSON is cut to its beginning."""
    body: dict[str, Any] = {
        "task": reply.task,
        "reward": reply.reward,
        "seconds": reply.seconds,
        "cpu_s": reply.cpu_s,
        "queued_s": reply.queued_s,
        "rss_mb": reply.rss_mb,
    }
    if reply.score is None:
        return frame(json.dumps(body).encode())
    body |= {"value": None if reply.score.value is None else float(reply.score.value)}
    body |= {"verdict": str(reply.score.verdict)}
    detail = _detail_json(reply.score.detail)
    return frame(f'{json.dumps(body)[:-1]}, "detail": {detail}}}'.encode())


def unpack_reply(body: bytes) -> Reply:
    """A reply.

    Raises:
        MalformedReply: it is none.
    """
    try:
        fields = json.loads(body)
        score = None
        if "verdict" in fields:
            detail = fields["detail"]
            if not isinstance(detail, dict):
                raise TypeError(f"detail is {type(detail).__name__}")
            score = Score(fields["value"], Verdict(fields["verdict"]), detail)
        state = float(fields["seconds"]), float(fields["cpu_s"]), float(fields["queued_s"]), int(fields["rss_mb"])
        return Reply(int(fields["task"]), int(fields["reward"]), score, *state, len(body))
    except (ValueError, TypeError, KeyError, RecursionError, AttributeError, OverflowError) as error:
        raise MalformedReply(f"sent no reply but {body[:40]!r} ({type(error).__name__})") from None


def _detail_json(detail: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(dict(detail), default=_as_text)
    except (ValueError, TypeError, RecursionError, MemoryError) as error:
        return json.dumps({"detail_lost": f"{type(error).__name__}: {error}"[:200]})
    if len(text) <= MAX_DETAIL_BYTES:
        return text
    return json.dumps({"detail_cut": text[:1000], "detail_bytes": len(text)})


def _as_text(value: Any) -> str:
    return str(value)[:1000]
