"""The chunk stream and AMF: what is written is read, at any split, and within bounds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.model.errors import MalformedError, PeerError, TooLargeError
from heliograph.protocols.rtmp import amf, chunks
from heliograph.protocols.rtmp.chunks import ChunkReader, ChunkWriter, Message

MESSAGES = st.builds(
    Message,
    st.sampled_from([8, 9, 18, 20]),
    st.integers(0, 3),
    st.one_of(st.integers(0, 1000), st.integers(0xFFFFF0, 0xFFFFFFFF)),
    st.binary(max_size=700),
)


def read(data: bytes, size: int) -> list[Message]:
    reader = ChunkReader()
    found = []
    for at in range(0, len(data), size):
        reader.feed(data[at : at + size])
        while (message := reader.next_message()) is not None:
            found.append(message)
    return found


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(3, 6), MESSAGES), max_size=12),
    st.integers(1, 300),
    st.integers(1, 400),
)
def test_messages_come_out_as_they_went_in(
    sent: list[tuple[int, Message]], chunk_size: int, split: int
) -> None:
    writer = ChunkWriter()
    size = Message(chunks.SET_CHUNK_SIZE, 0, 0, chunk_size.to_bytes(4, "big"))
    data = writer.write(2, size)
    writer.chunk_size = chunk_size
    data += b"".join(writer.write(stream, message) for stream, message in sent)
    assert read(data, split) == [message for _, message in sent]


def test_chunks_of_two_messages_may_alternate() -> None:
    first = ChunkWriter().write(4, Message(9, 1, 5, b"v" * 200))
    second = ChunkWriter().write(5, Message(8, 1, 6, b"a" * 200))
    head, tail = first[: 12 + 128], first[12 + 128 :]
    mixed = head + second[: 12 + 128] + tail + second[12 + 128 :]
    assert [m.body[:1] for m in read(mixed, 50)] == [b"v", b"a"]


def test_a_header_of_type_3_repeats_the_delta_for_a_new_message() -> None:
    # As ffmpeg writes it: type 0 at 23, then the same size and delta.
    data = b"\x04" + b"\0\0\x17" + b"\0\0\x01" + b"\x08" + b"\x01\0\0\0" + b"a" + b"\xc4b\xc4c"
    assert [m.timestamp for m in read(data, 1)] == [23, 46, 69]


@pytest.mark.parametrize("repeated", [True, False])
def test_extended_timestamps_may_be_left_out_of_type_3(repeated: bool) -> None:
    stamp = (0x01234567).to_bytes(4, "big")
    head = b"\x04" + b"\xff\xff\xff" + b"\0\0\x82" + b"\x09" + b"\x01\0\0\0" + stamp
    data = head + b"v" * 128 + b"\xc4" + (stamp if repeated else b"") + b"wxyz"[:2]
    more = b"\x44\0\0\x01\0\0\x01\x09z"
    found = read(data + more, 3)
    assert [(m.timestamp, len(m.body)) for m in found] == [(0x01234567, 130), (0x01234568, 1)]


def test_abort_drops_what_was_begun() -> None:
    reader = ChunkReader()
    reader.feed(ChunkWriter().write(4, Message(9, 1, 0, b"v" * 200))[: 12 + 128])
    assert reader.next_message() is None
    assert reader.unfinished == 128
    abort = Message(chunks.ABORT, 0, 0, (4).to_bytes(4, "big"))
    reader.feed(ChunkWriter().write(2, abort) + ChunkWriter().write(4, Message(8, 1, 7, b"a")))
    assert reader.next_message() == Message(8, 1, 7, b"a")
    assert reader.unfinished == 0


def test_what_is_held_is_bounded() -> None:
    large = b"\x04" + b"\0\0\0" + (chunks.MAX_MESSAGE + 1).to_bytes(3, "big") + b"\x09" + bytes(4)
    with pytest.raises(TooLargeError):
        read(large, 100)
    size = ChunkWriter().write(2, Message(1, 0, 0, (0x5FFFFF).to_bytes(4, "big")))
    begun = b"".join(
        bytes((4 + n,)) + b"\0\0\0" + b"\x60\0\0" + b"\x09" + bytes(4) + bytes(0x5FFFFF)
        for n in range(3)
    )
    with pytest.raises(TooLargeError):
        read(size + begun, 1 << 20)
    with pytest.raises(TooLargeError):
        read(b"".join(bytes((0, n)) + bytes(11) for n in range(80)), 100)


def test_a_chunk_stream_begins_with_a_whole_header() -> None:
    with pytest.raises(MalformedError):
        read(b"\xc4abc", 4)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(min_size=1, max_size=5), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(st.lists(PLAIN, max_size=4))
def test_amf_values_come_out_as_they_went_in(values: list[object]) -> None:
    try:
        assert amf.decode(amf.encode(*values)) == values
    except TooLargeError:  # deeper than any command
        assert repr(values).count("[") + repr(values).count("{") > amf.MAX_DEPTH


def test_amf3_inside_amf0() -> None:
    # {"app": "live", "n": -1, list: [true, "app"]} with a reference to the text "app"
    body = b"\x11\x0a\x0b\x01" + b"\x07app\x06\x09live" + b"\x03n\x04\xff\xff\xff\xff"
    body += b"\x09list\x09\x05\x01\x03\x06\x00" + b"\x01"
    assert amf.decode(body) == [{"app": "live", "n": -1.0, "list": [True, "app"]}]


def test_amf_bounds() -> None:
    deep = b"\x03\0\x01a" * 100 + b"\x05" + b"\0\0\x09" * 100
    with pytest.raises(TooLargeError):
        amf.decode(deep)
    with pytest.raises(PeerError):
        amf.decode(b"\x0a\xff\xff\xff\xff\x05")
    with pytest.raises(TooLargeError):
        amf.decode(b"\x05" * 5000)
    assert amf.decode(b"\x08\0\0\0\0\0\x01a\x05") == [{"a": None}]  # an end that is missing
