from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from heliograph.live.channel import Channel
from heliograph.live.options import ChannelOptions
from heliograph.live.publish import Publishing, PublishKind
from heliograph.live.registry import Channels
from heliograph.model.media import Codec, Kind, Track
from heliograph.plane import PlaneLoop
from heliograph.plane.twin import TwinPlane

VIDEO = Track(0, Kind.VIDEO, Codec.H264, 90000, 96, fmtp={"profile-level-id": "42C01F"})
AUDIO = Track(1, Kind.AUDIO, Codec.OPUS, 48000, 97, 2)


class Studio:
    """Channels on the twin; ``settle`` hands the plane's events over."""

    def __init__(self) -> None:
        self.plane = TwinPlane()
        self.loop = PlaneLoop(self.plane)
        self.channels = Channels(self.loop, configured={"demo": ChannelOptions(key="secret")})
        self.channel: Channel = self.channels.get("demo")
        self.sequence = 0

    def settle(self) -> None:
        while self.loop.pump():
            pass

    def publish(self, *tracks: Track, **options: object) -> Publishing:
        tracks = tracks or (VIDEO,)
        return self.channel.publish(tracks, PublishKind.PUSH, "test", **options)  # type: ignore[arg-type]

    def key(self, publishing: Publishing, count: int = 1) -> None:
        """Push keyframes of one packet."""
        for _ in range(count):
            self.sequence += 1
            kind = bytes([0x80 | publishing.tracks[0].payload_type])
            head = b"\x80" + kind + self.sequence.to_bytes(2) + (3000 * self.sequence).to_bytes(4)
            publishing.push(0, [head + publishing.id.to_bytes(4) + b"\x65idr"])
        self.settle()

    def silence(self) -> None:
        self.plane.advance(1.5)
        self.settle()


@pytest.fixture
def studio() -> Iterator[Studio]:
    studio = Studio()
    yield studio
    studio.channels.close()
    studio.plane.close()


@pytest.fixture
def kinds(studio: Studio) -> Callable[[], list[str]]:
    """What observers were told so far."""
    seen: list[str] = []
    studio.channels.subscribe(lambda event: seen.append(f"{event.kind} {event.detail}".strip()))
    return lambda: seen
