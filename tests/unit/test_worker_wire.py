"""The replies of grading processes, which may run hostile code: anything malformed is refused."""

from __future__ import annotations

import json
from io import BytesIO

import pytest

from reasoning_rl.api import Completion, Sample, Score, ThinkingTags, Verdict
from reasoning_rl.workers.wire import (
    MAX_REPLY_BYTES,
    MalformedReply,
    Reply,
    frame,
    pack_reply,
    pack_sample,
    take_frame,
    unpack_reply,
    unpack_sample,
)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b'{"task": 1}',
        b'{"task": 1, "reward": 0, "seconds": 0, "cpu_s": 0, "queued_s": 0, "rss_mb": 1, "verdict": "fine", "value": 1, "detail": {}}',
        b'{"task": 1, "reward": 0, "seconds": 0, "cpu_s": 0, "queued_s": 0, "rss_mb": 1, "verdict": "correct", "value": NaN, "detail": {}}',
        b'{"task": 1, "reward": 0, "seconds": 0, "cpu_s": 0, "queued_s": 0, "rss_mb": 1, "verdict": "wrong", "value": null, "detail": {}}',
        b'{"task": 1, "reward": 0, "seconds": 0, "cpu_s": 0, "queued_s": 0, "rss_mb": 1, "verdict": "wrong", "value": "1", "detail": {}}',
        b'{"task": 1, "reward": 0, "seconds": 0, "cpu_s": 0, "queued_s": 0, "rss_mb": 1, "verdict": "correct", "value": 1, "detail": []}',
        b"[" * 100_000,
        b"\x80\x04N.",
    ],
)
def test_no_reply(body: bytes) -> None:
    with pytest.raises(MalformedReply):
        unpack_reply(body)


def test_reply_round_trip() -> None:
    score = Score(0.5, Verdict.PARTIAL, {"text": "ü\ud800", "n": [1, None]})
    received = bytearray(pack_reply(Reply(3, 1, score, 0.25, 1.5, 0.5, 40)) + frame(b"rest"))
    body = take_frame(received)
    assert body is not None
    assert unpack_reply(body) == Reply(3, 1, score, 0.25, 1.5, 0.5, 40, len(body))
    assert take_frame(received) == b"rest"
    assert take_frame(received) is None
    assert json.loads(body)["detail"] == score.detail
    with pytest.raises(MalformedReply):
        take_frame(bytearray((MAX_REPLY_BYTES + 1).to_bytes(4, "big")))


def test_sample_round_trip() -> None:
    completion = Completion("[T]a[/T]b", "a", "b", 3, True, ThinkingTags("[T]", "[/T]", True))
    sample = Sample([{"role": "user", "content": "q"}], completion, {"x": [1, None]}, "train/0/3")
    assert unpack_sample(BytesIO(pack_sample(sample))) == sample
