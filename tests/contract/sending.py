"""A title, senders of it by UDP, and who receives it, for the contract suites."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from .blocks import blocks, title
from .rtp import ssrc_of

if TYPE_CHECKING:
    from .conftest import Harness

LENGTH_US = 600_000
TITLE = title(LENGTH_US)
BLOCKS = blocks(TITLE, LENGTH_US, 200_000)
#: Tracks as the session has them: track, SSRC, payload type, clock, sequence, timestamp.
TRACKS = [(0, 0x11, 96, 90_000, 65_530, 4_294_960_000), (1, 0x22, 97, 48_000, 7, 1_000)]


class Viewer:
    """Two UDP sockets, for RTP and RTCP of both tracks."""

    def __init__(self, harness: Harness) -> None:
        self.harness = harness
        self.sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for sock in self.sockets:
            sock.bind(("127.0.0.1", 0))
            sock.setblocking(False)
        self.packets: list[bytes] = []
        self.reports: list[bytes] = []
        self.times: list[float] = []
        self.endpoint: int | None = None
        self.reports_to = 0
        """Where the sender takes RTCP."""

    def to(self, tracks: tuple[int, ...] = (0, 1)) -> list[tuple[int, str, int, int]]:
        rtp, rtcp = (sock.getsockname()[1] for sock in self.sockets)
        return [(track, "127.0.0.1", rtp, rtcp) for track in tracks]

    def receive(self) -> list[bytes]:
        for sock, into in zip(self.sockets, (self.packets, self.reports), strict=True):
            while True:
                try:
                    into.append(sock.recv(65536))
                except BlockingIOError:
                    break
        return self.packets

    def wait(self, count: int) -> list[bytes]:
        self.harness.until(lambda: len(self.receive()) >= count)
        return self.packets

    def of(self, ssrc: int) -> list[bytes]:
        return [packet for packet in self.packets if ssrc_of(packet) == ssrc]

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()


def opened(harness: Harness, viewer: Viewer, **options: Any) -> int:
    """A sender by UDP that nothing is fed to."""
    plane = harness.plane
    sender = plane.open_sender(TRACKS, cname="helio", **options)
    viewer.endpoint, _, viewer.reports_to = plane.bind_udp("127.0.0.1", 0)
    plane.sender_to_udp(sender, viewer.endpoint, viewer.to())
    return sender


def fed(harness: Harness, viewer: Viewer, count: int = len(BLOCKS)) -> int:
    """A sender that has the title's first blocks, all of them if not told otherwise."""
    sender = opened(harness, viewer)
    for one in BLOCKS[:count]:
        harness.plane.sender_feed(sender, one)
    if count == len(BLOCKS):
        harness.plane.sender_end(sender)
    return sender


def payloads(packets: list[bytes], size: int = 12) -> list[bytes]:
    return [packet[size:] for packet in packets]
