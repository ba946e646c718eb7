"""A WebSocket viewer: texts and frames on one connection, and the texts themselves."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.live import wire
from heliograph.live.frames import FrameSession
from heliograph.model.errors import MalformedError
from heliograph.model.media import Codec, Kind, Track

from .conftest import AUDIO, VIDEO, Studio


class Viewer:
    def __init__(self, studio: Studio) -> None:
        ours, self.sock = socket.socketpair()
        self.sock.setblocking(False)
        self.studio, self.data = studio, b""
        self.session = FrameSession.open(
            studio.channel,
            studio.loop,
            ours.fileno(),
            peer="192.0.2.1",
            clock=lambda: studio.plane.now,
        )
        ours.close()

    def messages(self) -> list[Any]:
        """What came: texts as values, frames as bytes."""
        self.studio.settle()
        try:
            while chunk := self.sock.recv(65536):
                self.data += chunk
        except BlockingIOError:
            pass
        found: list[Any] = []
        while self.data:
            opcode, size, offset = self.data[0] & 15, self.data[1], 2
            if size == 126:
                size, offset = int.from_bytes(self.data[2:4]), 4
            payload = self.data[offset : offset + size]
            self.data = self.data[offset + size :]
            found.append(json.loads(payload) if opcode == 1 else payload)
        return found

    def say(self, text: bytes) -> None:
        self.sock.sendall(b"\x81" + bytes([0x80 | len(text)]) + bytes(4) + text)


@pytest.fixture
def viewer(studio: Studio) -> Iterator[Viewer]:
    studio.key(studio.publish(VIDEO, AUDIO))
    viewer = Viewer(studio)
    yield viewer
    viewer.sock.close()


def test_viewer_is_greeted_and_gets_frames(studio: Studio, viewer: Viewer) -> None:
    start, frame = viewer.messages()
    assert start["type"] == "start"
    assert (start["version"], start["channel"], start["state"]) == (1, "demo", "on_air")
    assert [track["codec"] for track in start["tracks"]] == ["h264", "opus"]
    assert start["tracks"][0]["codec_string"] == "avc1.42c01f"
    assert frame[32:].endswith(b"\x65idr")
    (row,) = [reader.describe() for reader in studio.channel.audience.readers.values()]
    assert (row["kind"], row["peer"]) == ("websocket", "192.0.2.1")


def test_viewer_waits_and_goes_on(studio: Studio, viewer: Viewer) -> None:
    viewer.messages()
    studio.silence()
    assert viewer.messages() == [{"type": "state", "state": "waiting"}]
    studio.key(next(iter(studio.channel.publishings.values())))
    told = viewer.messages()
    assert {"type": "state", "state": "on_air"} in told
    assert any(isinstance(message, bytes) for message in told)


def test_viewer_of_an_idle_channel_gets_tracks_when_they_come(studio: Studio) -> None:
    viewer = Viewer(studio)
    (start,) = viewer.messages()
    assert (start["state"], start["tracks"]) == ("waiting", [])
    studio.key(studio.publish())
    types = [m["type"] if isinstance(m, dict) else "frame" for m in viewer.messages()]
    assert types == ["tracks", "frame", "state"] or types == ["tracks", "state", "frame"]
    viewer.sock.close()


def test_ping_is_answered_but_not_too_often(studio: Studio, viewer: Viewer) -> None:
    viewer.messages()
    viewer.say(b'{"type":"ping","t":12.5}')
    viewer.say(b'{"type":"ping","t":13}')
    (pong,) = viewer.messages()
    assert pong == {"type": "pong", "t": 12.5, "server_time_us": studio.plane.now}


@pytest.mark.parametrize("text", [b"x", b"[]", b"{}", b'{"type":"ping","t":"x"}', b"\xff", b"1"])
def test_nonsense_ends_the_connection(studio: Studio, viewer: Viewer, text: bytes) -> None:
    viewer.messages()
    viewer.say(text)
    assert viewer.messages() == [{"type": "end", "reason": "malformed"}]
    assert not studio.channel.audience.readers


def test_kicked_viewer_is_told_why(studio: Studio, viewer: Viewer) -> None:
    viewer.messages()
    next(iter(studio.channel.audience.readers.values())).kick()
    assert viewer.messages() == [{"type": "end", "reason": "kicked"}]


def test_viewer_that_leaves_is_forgotten(studio: Studio, viewer: Viewer) -> None:
    viewer.sock.close()
    studio.settle()
    assert not studio.channel.audience.readers
    assert not studio.plane.conns


def test_codec_strings() -> None:
    aac = Track(0, Kind.AUDIO, Codec.AAC, 48000, 97, 2, fmtp={"config": "1190"})
    assert wire.track_json(aac)["codec_string"] == "mp4a.40.2"
    assert wire.track_json(aac)["description"] == "EZA="
    broken = Track(0, Kind.AUDIO, Codec.AAC, 48000, 97, 2, fmtp={"config": "xyz"})
    assert wire.track_json(broken)["codec_string"] is None
    assert wire.codec_string(Track(0, Kind.VIDEO, Codec.H265, 90000, 98)) is None
    assert wire.codec_string(Track(0, Kind.VIDEO, Codec.H264, 90000, 98)) is None


@given(st.binary(max_size=200) | st.text().map(str.encode))
def test_any_text_is_a_ping_or_refused(data: bytes) -> None:
    try:
        echo = wire.parse_ping(data)
    except MalformedError:
        return
    assert echo is None or isinstance(echo, int | float)
