"""Any bytes as an RTMP publisher, cut anywhere: events, answers, and nothing raised.

What comes of it is cut and written for HLS. Invariants: the pieces do not matter; what is held is
bounded; units are of tracks that were told, and not empty; the end comes at most once. The first
byte chooses the pieces, and what is read: a whole connection, chunks behind a handshake, messages
of a publisher, AMF, tags.
"""

from __future__ import annotations

import contextlib

import harness

with harness.instrumented():
    from heliograph.model.errors import BusyError, PeerError
    from heliograph.model.media import Kind
    from heliograph.protocols.hls import Rendition, Targets
    from heliograph.protocols.mp4 import writable
    from heliograph.protocols.rtmp import ServerSession, amf, chunks, events
    from heliograph.protocols.rtmp.chunks import ChunkReader, ChunkWriter, Message
    from heliograph.protocols.rtmp.media import MediaReader

HANDSHAKE = b"\x03" + bytes(3072)


def connection(data: bytes, size: int, refuse: bool) -> list[events.ServerEvent]:
    """A whole connection in pieces of ``size``; every answer is taken."""
    session = ServerSession(random=bytes)
    found: list[events.ServerEvent] = []
    now = 0.0
    for at in range(0, len(data), size):
        session.receive_data(data[at : at + size], now)
        while (event := session.next_event()) is not None:
            found.append(event)
            if isinstance(event, events.PublishRequested):
                if refuse:
                    session.refuse(BusyError("no"))
                else:
                    session.accept()
        session.data_to_send()
        session.timer()
    session.handle_timer(now + 1000)
    session.connection_lost()
    while (event := session.next_event()) is not None:
        found.append(event)
    return found


def same(one: list[events.ServerEvent], other: list[events.ServerEvent]) -> bool:
    """Whether two runs gave the same; errors are not equal but in what they say."""

    def plain(event: events.ServerEvent) -> object:
        if isinstance(event, events.ConnectionFailed | events.TrackRefused):
            return type(event), type(event.error), event.error.message
        return event

    return [plain(event) for event in one] == [plain(event) for event in other]


def check(found: list[events.ServerEvent]) -> None:
    told: set[int] = set()
    ends = 0
    rendition: Rendition | None = None
    for event in found:
        match event:
            case events.TracksChanged():
                told = {track.id for track in event.tracks}
                assert told
                written = all(writable(track.codec) for track in event.tracks)
                rendition = Rendition(event.tracks, Targets()) if written else None
            case events.UnitReceived():
                assert event.unit.track in told
                assert event.unit.data
                assert not ends
                if rendition is not None:
                    rendition.push(event.unit, 0)
            case events.Ended():
                ends += 1
    assert ends <= 1
    if rendition is not None:
        rendition.end()
        rendition.playlist.render(skip=True)


def publisher(data: bytes) -> bytes:
    """Messages out of fuzz bytes behind a set-up: type, time step, two bytes of size, body."""
    writer = ChunkWriter()
    out = bytearray(HANDSHAKE)
    for name, stream, *arguments in (
        ("connect", 0, {"app": "live"}),
        ("createStream", 0, None),
        ("publish", 1, None, "camera", "live"),
    ):
        body = amf.encode(name, 1, *arguments)
        out += writer.write(3, Message(chunks.COMMAND, int(stream), 0, body))
    at = stamp = 0
    while at + 4 <= len(data):
        kind, step = data[at] % 24, data[at + 1]
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        stamp = (stamp + step * (1 if step < 250 else 1 << 24)) & 0xFFFFFFFF
        body = data[at + 4 : at + 4 + size]
        out += writer.write(4 + kind, Message(kind, 1, stamp, body))
        at += 4 + size
    return bytes(out)


def tags(data: bytes) -> None:
    reader = MediaReader()
    at = 0
    while at + 2 <= len(data):
        size = data[at + 1]
        kind = Kind.VIDEO if data[at] & 1 else Kind.AUDIO
        reader.push(kind, data[at + 2 : at + 2 + size], data[at] >> 1)
        at += 2 + size
    reader.gathered()


def one_input(data: bytes) -> None:
    if len(data) < 2:
        return
    choice, rest = data[0], data[1:]
    size = 1 + (choice >> 3) * 7
    match choice & 7:
        case 0:
            whole = connection(rest, len(rest), refuse=False)
            check(whole)
        case 1 | 2:
            stream = HANDSHAKE + rest
            whole = connection(stream, len(stream), refuse=choice & 7 == 2)
            check(whole)
            assert same(connection(stream, size, refuse=choice & 7 == 2), whole)
        case 3 | 4 | 5:
            stream = publisher(rest)
            whole = connection(stream, len(stream), refuse=False)
            check(whole)
            assert same(connection(stream, 50 + size, refuse=False), whole)
        case 6:
            with contextlib.suppress(PeerError):
                amf.decode(rest)
            reader = ChunkReader()
            reader.feed(rest)
            with contextlib.suppress(PeerError):
                while reader.next_message() is not None:
                    assert reader.unfinished <= chunks.MAX_UNFINISHED
        case 7:
            tags(rest)


if __name__ == "__main__":
    harness.main("rtmp", one_input)
