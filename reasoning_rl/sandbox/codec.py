"""Plain data as bytes, and frames of them on a socket. Used on both sides of a jail; the other side is never trusted.

Only values of exactly the plain types can be written, and reading can build nothing else: no class, no callable, no code.
Reading is linear in the number of bytes, also for sets and dicts whose keys were chosen to collide.
"""

from __future__ import annotations

import socket
import struct
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from reasoning_rl.sandbox.types import MAX_DEPTH, MAX_MESSAGE_BYTES

_LENGTH = struct.Struct("<I")
_FLOAT = struct.Struct("<d")
_COMPLEX = struct.Struct("<dd")
#: Keys of one set or dict that may share a hash; honest data have one or two.
_MAX_EQUAL_HASHES = 32


class NotPlain(TypeError):  # noqa: N818 - about the value
    """A value is not of exactly a plain type."""


class TooLarge(ValueError):  # noqa: N818
    """A value is too long or nested too deeply."""


class Malformed(ValueError):  # noqa: N818
    """These bytes are no value."""


class Handle:
    """Stands for an object that stays in the other process."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number


Hook = Callable[[Any], Handle]


def encode(value: Any, hook: Hook | None = None) -> bytes:
    """A value as bytes. `hook` may turn other objects into handles.

    Raises:
        NotPlain: something in it is not of exactly a plain type, and the hook does not want it either.
        TooLarge: longer than `MAX_MESSAGE_BYTES` or deeper than `MAX_DEPTH` (as every cycle is).
    """
    out = bytearray()
    _write(value, out, 0, hook)
    if len(out) > MAX_MESSAGE_BYTES:
        raise TooLarge(f"more than {MAX_MESSAGE_BYTES} bytes")
    return bytes(out)


def decode(data: bytes, hook: Callable[[Handle], Any] | None = None) -> Any:
    """The value in these bytes; `hook` maps handles, without it they are refused.

    Raises:
        Malformed: there is none, or something follows it.
    """
    try:
        value, end = _read(memoryview(data), 0, 0, hook)
    except (struct.error, IndexError, UnicodeDecodeError, TypeError, OverflowError) as error:
        raise Malformed(f"no plain value ({type(error).__name__})") from None
    if end != len(data):
        raise Malformed("more bytes than one value")
    return value


def _write(value: Any, out: bytearray, depth: int, hook: Hook | None) -> None:
    kind = type(value)
    if value is None:
        out += b"N"
    elif kind is bool:
        out += b"T" if value else b"F"
    elif kind is int:
        size = value.bit_length() // 8 + 1
        _head(out, b"i", size)
        out += value.to_bytes(size, "little", signed=True)
    elif kind is float:
        out += b"d" + _FLOAT.pack(value)
    elif kind is str or kind is bytes:
        data = value if kind is bytes else value.encode("utf-8", "surrogatepass")
        _head(out, b"b" if kind is bytes else b"s", len(data))
        out += data
    elif kind in _TAGS:
        if depth >= MAX_DEPTH:
            raise TooLarge(f"nested more than {MAX_DEPTH} deep")
        _head(out, _TAGS[kind], len(value))
        if _TAGS[kind] == b"D":
            for key, item in dict.items(value):
                _write(key, out, depth + 1, hook)
                _write(item, out, depth + 1, hook)
        else:
            for item in value:
                _write(item, out, depth + 1, hook)
        if len(out) > MAX_MESSAGE_BYTES:
            raise TooLarge(f"more than {MAX_MESSAGE_BYTES} bytes")
    elif kind is complex:
        out += b"c" + _COMPLEX.pack(value.real, value.imag)
    elif kind is Handle:
        _head(out, b"h", value.number)
    elif hook is not None:
        _head(out, b"h", hook(value).number)
    else:
        raise NotPlain(f"a value of type {kind.__name__} is not plain data")


def _head(out: bytearray, tag: bytes, size: int) -> None:
    if size > MAX_MESSAGE_BYTES:
        raise TooLarge(f"more than {MAX_MESSAGE_BYTES} bytes")
    out += tag + _LENGTH.pack(size)


_TAGS = {list: b"l", tuple: b"t", dict: b"D", set: b"S", frozenset: b"Z"}
#: Dicts of the standard library, which honest programs return as such; on the other side they are plain dicts.
_TAGS |= {Counter: b"D", OrderedDict: b"D", defaultdict: b"D"}
_LIST, _TUPLE, _DICT, _SET, _FROZENSET = (ord(tag) for tag in (b"l", b"t", b"D", b"S", b"Z"))


def _read(data: memoryview, at: int, depth: int, hook: Callable[[Handle], Any] | None) -> tuple[Any, int]:
    tag = data[at]
    at += 1
    if tag == 78:
        return None, at
    if tag == 84:
        return True, at
    if tag == 70:
        return False, at
    if tag == 100:
        return _FLOAT.unpack_from(data, at)[0], at + 8
    if tag == 99:
        return complex(*_COMPLEX.unpack_from(data, at)), at + 16
    (size,) = _LENGTH.unpack_from(data, at)
    at += 4
    if tag == 104:
        if hook is None:
            raise Malformed("a handle, where there are none")
        return hook(Handle(size)), at
    end = at + size
    if end > len(data):
        raise Malformed("cut off")  # every item takes a byte, so this also bounds the loops below
    if tag == 105:
        return int.from_bytes(data[at:end], "little", signed=True), end
    if tag == 115:
        return str(data[at:end], "utf-8", "surrogatepass"), end
    if tag == 98:
        return bytes(data[at:end]), end
    if depth >= MAX_DEPTH:
        raise Malformed("nested too deeply")
    if tag not in (_LIST, _TUPLE, _DICT, _SET, _FROZENSET):
        raise Malformed(f"unknown tag {tag}")
    items = []
    for _ in range(2 * size if tag == _DICT else size):
        item, at = _read(data, at, depth + 1, hook)
        items.append(item)
    if tag == _LIST:
        return items, at
    if tag == _TUPLE:
        return tuple(items), at
    _refuse_collisions(items[::2] if tag == _DICT else items)
    if tag == _DICT:
        return dict(zip(items[::2], items[1::2], strict=True)), at
    return (set(items) if tag == _SET else frozenset(items)), at


def _refuse_collisions(keys: list[Any]) -> None:
    """Building a set of n keys of equal hash takes n² steps, and hashes of integers are easily made equal.

    Hashes that only end alike (powers of two, say) part after some steps: the table looks at the higher bits then.
    """
    if len(keys) <= _MAX_EQUAL_HASHES:
        return
    counts: dict[int, int] = {}
    for key in keys:
        spread = hash((hash(key), 0x9E3779B9))  # one to one, so that this table cannot be made to collide either
        counts[spread] = count = counts.get(spread, 0) + 1
        if count > _MAX_EQUAL_HASHES:
            raise Malformed("keys that collide")


def frame(body: bytes) -> bytes:
    """A body with its length in front."""
    return _LENGTH.pack(len(body)) + body


def take_frame(received: bytearray) -> bytes | None:
    """Removes and returns the first body, or `None` when it has not arrived whole.

    Raises:
        Malformed: it announces more than `MAX_MESSAGE_BYTES`.
    """
    if len(received) < 4:
        return None
    (size,) = _LENGTH.unpack_from(received)
    if size > MAX_MESSAGE_BYTES:
        raise Malformed(f"announced {size} bytes")
    if len(received) < 4 + size:
        return None
    body = bytes(received[4 : 4 + size])
    del received[: 4 + size]
    return body


def receive(connection: socket.socket) -> bytes | None:
    """Waits for one body; `None` at the end of the connection.

    Raises:
        Malformed: it announces more than `MAX_MESSAGE_BYTES`.
    """
    header = _exactly(connection, 4)
    if header is None:
        return None
    (size,) = _LENGTH.unpack(header)
    if size > MAX_MESSAGE_BYTES:
        raise Malformed(f"announced {size} bytes")
    return _exactly(connection, size)


def _exactly(connection: socket.socket, size: int) -> bytes | None:
    parts: list[bytes] = []
    while size:
        try:
            part = connection.recv(min(size, 1 << 16))
        except ConnectionError:
            return None
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def builtin_name(error: BaseException, builtin: dict[type, str]) -> str:
    """Name of the nearest builtin class of an exception."""
    bases: Iterable[type] = type(error).__mro__
    return next((builtin[base] for base in bases if base in builtin), "Exception")
