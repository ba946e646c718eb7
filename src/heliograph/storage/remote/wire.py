"""Frames between storage nodes, without sockets. Numbers are big-endian.

::

     0  u32 bytes of the body | u8 kind | u8 zero | u16 bytes of the meta data | u32 number
    12  u64 xxh3-64 of the 12 bytes before and of the body
    20  body: the meta data (JSON, an object), then the payload

Each side begins with ``HELLO``, whose meta data names version and volume. A request is answered by
``ANSWER`` or ``ERROR`` of the same number, in any order; ``CANCEL`` of that number says that nobody
waits any more. ``PING`` is answered by ``PONG`` at once.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import xxhash

from heliograph.model.errors import MalformedError, TooLargeError

#: Of the protocol; another one is refused.
VERSION = 1
#: Bytes of a body: the largest head with its meta data, or 600 000 members of a listing.
MAX_BODY = (16 << 20) + (1 << 16)
#: Bytes of the meta data: a request has a hundred.
MAX_META = (1 << 16) - 1
#: Bytes received at once while frames are small.
CHUNK = 1 << 16

HEADER = 20
_HEADER = struct.Struct(">IBBHIQ")
_SUMMED = 12
_PROTOCOL = "storage frame"

Buffer = bytes | bytearray | memoryview


class Kind(IntEnum):
    """What a frame is."""

    HELLO = 1
    REQUEST = 2
    ANSWER = 3
    ERROR = 4
    CANCEL = 5
    PING = 6
    PONG = 7


_KINDS = frozenset(one.value for one in Kind)


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame."""

    kind: Kind
    number: int
    """Of the request it belongs to, 32 bits."""
    meta: dict[str, Any]
    payload: Buffer = b""


def encode(frame: Frame) -> tuple[bytes, Buffer]:
    """What is to be sent, in two pieces: the payload is not copied. ``TooLargeError``."""
    meta = b""
    if frame.meta:
        text = json.dumps(frame.meta, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        meta = text.encode("utf-8")
    size = len(meta) + memoryview(frame.payload).nbytes
    if len(meta) > MAX_META or size > MAX_BODY:
        raise TooLargeError(f"a frame of {size} bytes (at most {MAX_BODY})")
    head = _HEADER.pack(size, frame.kind, 0, len(meta), frame.number, 0)[:_SUMMED]
    digest = xxhash.xxh3_64(head)
    digest.update(meta)
    digest.update(frame.payload)
    return head + digest.intdigest().to_bytes(8, "big") + meta, frame.payload


class Reader:
    """Finds frames in what is received; large ones are received into their own memory.

    ``MalformedError`` when what came cannot be a frame: the connection is to be ended then.
    """

    def __init__(self) -> None:
        self._chunk = bytearray(CHUNK)
        self._have = 0
        self._header = b""
        self._body = bytearray()
        self._filled = -1
        """Bytes of the large body that are there; -1: no large one is being received."""

    def buffer(self) -> memoryview:
        """Where the next bytes are to be put; never empty."""
        if self._filled >= 0:
            return memoryview(self._body)[self._filled :]
        return memoryview(self._chunk)[self._have :]

    def received(self, count: int) -> list[Frame]:
        """So many bytes were put there; the frames that are complete by them."""
        if self._filled >= 0:
            self._filled += count
            if self._filled < len(self._body):
                return []
            body, self._body, self._filled = self._body, bytearray(), -1
            return [_frame(self._header, memoryview(body))]
        self._have += count
        return self._small()

    def feed(self, data: bytes) -> list[Frame]:
        """The same for bytes that are elsewhere already."""
        found: list[Frame] = []
        view = memoryview(data)
        while view:
            into = self.buffer()
            count = min(len(into), len(view))
            into[:count] = view[:count]
            view = view[count:]
            found += self.received(count)
        return found

    def _small(self) -> list[Frame]:
        found: list[Frame] = []
        at = 0
        while self._have - at >= HEADER:
            header = bytes(self._chunk[at : at + HEADER])
            size = _size(header)
            end = at + HEADER + size
            if end <= self._have:
                body = bytes(self._chunk[at + HEADER : end])
                found.append(_frame(header, memoryview(body)))
                at = end
                continue
            if HEADER + size > CHUNK:
                there = self._chunk[at + HEADER : self._have]
                self._header, self._body = header, bytearray(size)
                self._body[: len(there)] = there
                self._filled = len(there)
                at = self._have
            break
        if at:
            rest = self._chunk[at : self._have]
            self._chunk[: len(rest)] = rest
            self._have = len(rest)
        return found


def _size(header: bytes) -> int:
    size, kind, zero, meta, _, _ = _HEADER.unpack(header)
    if kind not in _KINDS or zero:
        raise MalformedError(_PROTOCOL, f"kind {kind}")
    if size > MAX_BODY or meta > size:
        raise MalformedError(_PROTOCOL, f"{size} bytes, {meta} of them meta data")
    return int(size)


def _frame(header: bytes, body: memoryview) -> Frame:
    _, kind, _, size, number, digest = _HEADER.unpack(header)
    found = xxhash.xxh3_64(header[:_SUMMED])
    found.update(body)
    if found.intdigest() != digest:
        raise MalformedError(_PROTOCOL, "its digest is wrong")
    meta: Any = {}
    if size:
        try:
            meta = json.loads(bytes(body[:size]).decode("utf-8"), parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            raise MalformedError(_PROTOCOL, str(error)[:200]) from None
        if not isinstance(meta, dict):
            raise MalformedError(_PROTOCOL, "meta data that is no object")
    return Frame(Kind(kind), number, meta, body[size:])


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
