"""Frames between storage nodes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.model.errors import (
    BusyError,
    HelioError,
    MalformedError,
    RemoteError,
    TooLargeError,
    UnreachableError,
)
from heliograph.storage.errors import CorruptError, DiskError, LostError
from heliograph.storage.remote import wire
from heliograph.storage.remote.link import Link
from heliograph.storage.remote.messages import error_read, error_told
from heliograph.storage.remote.wire import CHUNK, MAX_BODY, Frame, Kind, Reader, encode

METAS = st.dictionaries(st.text(max_size=8), st.integers() | st.text(max_size=20), max_size=4)
FRAMES = st.builds(
    Frame,
    st.sampled_from(Kind),
    st.integers(0, (1 << 32) - 1),
    METAS,
    st.binary(max_size=300) | st.sampled_from([bytes(CHUNK - 20), b"x" * (3 * CHUNK)]),
)


def said(frame: Frame) -> tuple[object, ...]:
    return frame.kind, frame.number, frame.meta, bytes(frame.payload)


@settings(max_examples=50)
@given(st.lists(FRAMES, max_size=4), st.lists(st.integers(1, 2 * CHUNK), min_size=1, max_size=9))
def test_frames_arrive_as_they_were_sent_however_they_are_cut(
    frames: list[Frame], cuts: list[int]
) -> None:
    data = b"".join(bytes(part) for frame in frames for part in encode(frame))
    reader, got, at, turn = Reader(), [], 0, 0
    while at < len(data):
        cut = cuts[turn % len(cuts)]
        got += reader.feed(data[at : at + cut])
        at, turn = at + cut, turn + 1
    assert [said(one) for one in got] == [said(one) for one in frames]


@given(FRAMES, st.data())
def test_any_changed_bit_is_noticed(frame: Frame, data: st.DataObject) -> None:
    sent = bytearray(b"".join(bytes(part) for part in encode(frame)))
    at = data.draw(st.integers(0, len(sent) - 1))
    sent[at] ^= 1 << data.draw(st.integers(0, 7))
    reader = Reader()
    try:
        found = reader.feed(bytes(sent))
    except MalformedError:
        return
    assert found == []  # a longer one is awaited


def test_the_payload_is_not_copied_to_be_sent() -> None:
    payload = bytes(1 << 20)
    assert encode(Frame(Kind.ANSWER, 1, {"lengths": [1]}, payload))[1] is payload


def test_what_is_too_large_is_not_sent_and_not_awaited() -> None:
    with pytest.raises(TooLargeError):
        encode(Frame(Kind.ANSWER, 1, {}, bytes(MAX_BODY + 1)))
    with pytest.raises(TooLargeError):
        encode(Frame(Kind.ANSWER, 1, {"x": "y" * wire.MAX_META}))
    with pytest.raises(MalformedError, match="bytes"):
        Reader().feed((MAX_BODY + 1).to_bytes(4, "big") + bytes([3]) + bytes(15))


def test_errors_arrive_as_what_they_are() -> None:
    disk = DiskError("No space left on device", errno=28, path="/x", subject="d")
    corrupt = CorruptError("its digest is wrong", path="/x/y", subject="d")
    for error in (disk, corrupt, LostError("gone"), BusyError("later", retry_after=3)):
        found = error_read(error_told(error))
        assert type(found) is type(error)
        assert vars(found) == vars(error)
    strange = error_read(error_told(ValueError("secret")))
    assert type(strange) is RemoteError
    assert "secret" not in strange.message
    assert isinstance(error_read({"kind": "Exception", "message": "x"}), HelioError)
    with pytest.raises(MalformedError):
        error_read({})


class Pipe(asyncio.Transport):
    """A transport that keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def write(self, data: Any) -> None:
        self.sent += bytes(data)


async def test_what_is_wanted_sooner_is_sent_before_what_waits() -> None:
    link = Link(lambda *_: None, lambda _: None)
    pipe = Pipe()
    link.connection_made(pipe)
    link.pause_writing()
    ranks = [3.0, 1e18, 1.0, float("inf"), 2.0]
    sending = [
        asyncio.ensure_future(link.send(Frame(Kind.ANSWER, number, {}), rank))
        for number, rank in enumerate(ranks)
    ]
    await asyncio.sleep(0)
    sending[2].cancel()
    await asyncio.sleep(0)
    assert pipe.sent == b""
    link.resume_writing()
    await asyncio.gather(*sending, return_exceptions=True)
    assert [one.number for one in Reader().feed(pipe.sent)] == [4, 0, 1, 3]
    link.pause_writing()
    late = asyncio.ensure_future(link.send(Frame(Kind.ANSWER, 9, {})))
    await asyncio.sleep(0)
    link.connection_lost(None)
    with pytest.raises(UnreachableError):
        await late
    with pytest.raises(UnreachableError):
        await link.send(Frame(Kind.ANSWER, 9, {}))
