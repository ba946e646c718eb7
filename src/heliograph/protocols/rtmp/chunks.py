"""The chunk stream (RTMP 1.0 §5.3): messages cut into chunks, and back."""

from __future__ import annotations

from dataclasses import dataclass, field

from heliograph.model.errors import MalformedError, TooLargeError

#: §5.4.1: what both sides begin with.
DEFAULT_CHUNK_SIZE = 128
#: Bytes of one message: a keyframe as large as the payload formats take, and its tag's head.
MAX_MESSAGE = (8 << 20) + 1024
#: Bytes of unfinished messages on all chunk streams of a connection: one keyframe, and audio
#: between its chunks.
MAX_UNFINISHED = 12 << 20
#: Chunk streams of a connection. Clients use four to eight; 65 597 are possible.
MAX_CHUNK_STREAMS = 64
#: §5.3.1.2.1: a timestamp that stands in four bytes of its own.
EXTENDED = 0xFFFFFF

# §5.4 and §6.2, §7.1: message types
SET_CHUNK_SIZE, ABORT, ACKNOWLEDGEMENT, USER_CONTROL, WINDOW_SIZE, PEER_BANDWIDTH = range(1, 7)
AUDIO, VIDEO = 8, 9
DATA_AMF3, SHARED_AMF3, COMMAND_AMF3, DATA, SHARED, COMMAND = range(15, 21)
AGGREGATE = 22

#: Bytes of the message header by chunk type.
_HEADER = (11, 7, 3, 0)


@dataclass(frozen=True, slots=True)
class Message:
    """One RTMP message."""

    type: int
    """Message type id, 0–255."""
    stream: int
    """Message stream id; 0 is the connection itself."""
    timestamp: int
    """Milliseconds modulo 2³²."""
    body: bytes = field(repr=False)
    """Payload, at most ``MAX_MESSAGE`` bytes."""


class _Stream:
    """What a chunk stream remembers (§5.3.1.2): the last header, and the message at hand."""

    __slots__ = ("body", "field", "length", "message_stream", "open", "timestamp", "type")

    def __init__(self) -> None:
        self.timestamp = 0
        self.field = 0  # the header's timestamp or delta
        self.length = 0
        self.type = 0
        self.message_stream = 0
        self.open = False
        self.body = bytearray()


class ChunkReader:
    """Makes messages of bytes; handles Set Chunk Size and Abort, which change how to read on."""

    def __init__(self) -> None:
        self.chunk_size = DEFAULT_CHUNK_SIZE
        """Largest chunk payload the peer sends."""
        self._buffer = bytearray()
        self._at = 0
        self._streams: dict[int, _Stream] = {}
        self._current: _Stream | None = None
        self._left = 0  # bytes of the chunk at hand that are still to come
        self._unfinished = 0

    @property
    def unfinished(self) -> int:
        """Bytes held of messages that are not whole yet."""
        return self._unfinished

    def feed(self, data: bytes) -> None:
        """Take bytes; ``next_message`` gives what they complete."""
        if self._at:
            del self._buffer[: self._at]
            self._at = 0
        self._buffer += data

    def next_message(self) -> Message | None:
        """The next whole message, or ``None``.

        Raises ``MalformedError`` or ``TooLargeError``; the connection cannot be read on then.
        """
        while True:
            stream = self._current
            if stream is None:
                stream = self._begin_chunk()
                if stream is None:
                    return None
            if not self._take_payload(stream):
                return None
            if len(stream.body) == stream.length:
                message = self._finish(stream)
                if message.type == SET_CHUNK_SIZE:
                    self._set_chunk_size(message.body)
                elif message.type == ABORT:
                    self._abort(message.body)
                else:
                    return message

    def _begin_chunk(self) -> _Stream | None:
        """Read a chunk's headers; ``None`` if they are not all there."""
        buffer, at = self._buffer, self._at
        have = len(buffer) - at
        if have < 1:
            return None
        kind, number = buffer[at] >> 6, buffer[at] & 63
        basic = 2 + number if number < 2 else 1  # §5.3.1.1: one or two more bytes
        size = basic + _HEADER[kind]
        if have < size:
            return None
        if number < 2:
            number = 64 + buffer[at + 1] + (buffer[at + 2] << 8 if number else 0)
        stream = self._stream(number, kind)
        if stream.open and kind != 3:
            # §5.3.1.2: only type 3 goes on with a message; a new header begins another.
            self._unfinished -= len(stream.body)
            stream.body.clear()
            stream.open = False
        head = bytes(buffer[at + basic : at + size])
        stamp = int.from_bytes(head[:3], "big") if kind < 3 else stream.field
        if stamp >= EXTENDED:
            if have < size + 4:
                return None
            extended = int.from_bytes(buffer[at + size : at + size + 4], "big")
            if kind < 3:
                stamp = extended
                size += 4
            elif extended == stream.field:
                # Some senders leave it out of type 3, against §5.3.1.3: it is there if it fits.
                size += 4
        self._at = at + size
        self._apply(stream, kind, head, stamp)
        self._current = stream
        self._left = min(self.chunk_size, stream.length - len(stream.body))
        return stream

    def _stream(self, number: int, kind: int) -> _Stream:
        stream = self._streams.get(number)
        if stream is None:
            if kind == 3:
                raise MalformedError("rtmp", f"chunk stream {number} begins without a header")
            if len(self._streams) >= MAX_CHUNK_STREAMS:
                raise TooLargeError(
                    f"rtmp: more than {MAX_CHUNK_STREAMS} chunk streams", subject="rtmp"
                )
            stream = self._streams[number] = _Stream()
        return stream

    def _apply(self, stream: _Stream, kind: int, head: bytes, stamp: int) -> None:
        if stream.open:  # the message goes on
            return
        stream.field = stamp
        if kind < 2:
            stream.length = int.from_bytes(head[3:6], "big")
            stream.type = head[6]
        if kind == 0:
            stream.message_stream = int.from_bytes(head[7:11], "little")
            stream.timestamp = stamp
        else:  # §5.3.1.2.4: type 3 behind type 0 takes the timestamp for the delta
            stream.timestamp = (stream.timestamp + stamp) & 0xFFFFFFFF
        if stream.length > MAX_MESSAGE:
            raise TooLargeError(f"rtmp: a message of {stream.length} bytes", subject="rtmp")
        stream.open = True

    def _take_payload(self, stream: _Stream) -> bool:
        """Move what is there of the chunk's payload; whether it is all."""
        size = min(self._left, len(self._buffer) - self._at)
        stream.body += self._buffer[self._at : self._at + size]
        self._at += size
        self._left -= size
        self._unfinished += size
        if self._unfinished > MAX_UNFINISHED:
            raise TooLargeError(
                f"rtmp: above {MAX_UNFINISHED} bytes of unfinished messages", subject="rtmp"
            )
        if self._left:
            return False
        self._current = None
        return True

    def _finish(self, stream: _Stream) -> Message:
        body = bytes(stream.body)
        self._unfinished -= len(body)
        stream.body = bytearray()
        stream.open = False
        return Message(stream.type, stream.message_stream, stream.timestamp, body)

    def _set_chunk_size(self, body: bytes) -> None:
        size = int.from_bytes(body[:4], "big")
        if len(body) < 4 or not 1 <= size < 1 << 31:  # §5.4.1
            raise MalformedError("rtmp", f"chunk size {size}")
        self.chunk_size = size

    def _abort(self, body: bytes) -> None:
        """§5.4.2: the rest of the message on a chunk stream will not come."""
        stream = self._streams.get(int.from_bytes(body[:4], "big")) if len(body) >= 4 else None
        if stream is not None and stream.open:
            self._unfinished -= len(stream.body)
            stream.body.clear()
            stream.open = False


class ChunkWriter:
    """Cuts messages into chunks: type 0 first, type 1 and 2 where the rest is as before."""

    def __init__(self) -> None:
        self.chunk_size = DEFAULT_CHUNK_SIZE
        """Largest chunk payload; the peer must have been told by Set Chunk Size."""
        self._last: dict[int, Message] = {}

    def write(self, chunk_stream: int, message: Message) -> bytes:
        """The chunks of a message on a chunk stream, 2–63."""
        if not 2 <= chunk_stream <= 63:
            raise ValueError(f"chunk stream {chunk_stream} (2 to 63)")
        last = self._last.get(chunk_stream)
        self._last[chunk_stream] = message
        out = bytearray()
        size = len(message.body).to_bytes(3, "big")
        delta = 0 if last is None else message.timestamp - last.timestamp
        if last is None or last.stream != message.stream or delta < 0:
            stamp, kind = message.timestamp, 0
            rest = size + bytes((message.type,)) + message.stream.to_bytes(4, "little")
        elif (last.type, len(last.body)) != (message.type, len(message.body)):
            stamp, kind, rest = delta, 1, size + bytes((message.type,))
        else:
            stamp, kind, rest = delta, 2, b""
        extended = stamp.to_bytes(4, "big") if stamp >= EXTENDED else b""
        out.append(kind << 6 | chunk_stream)
        out += min(stamp, EXTENDED).to_bytes(3, "big") + rest + extended
        body = message.body
        out += body[: self.chunk_size]
        for at in range(self.chunk_size, len(body), self.chunk_size):
            out.append(0xC0 | chunk_stream)
            out += extended + body[at : at + self.chunk_size]
        return bytes(out)
