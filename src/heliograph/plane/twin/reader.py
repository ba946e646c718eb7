"""The twin's readers: a cursor into a channel's ring, and what it gives to whom."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from heliograph.plane.twin.channel import DISCONTINUITY, KEYFRAME, Channel, Item
from heliograph.plane.twin.conn import HIGH_WATER, Conn, websocket_frame


@dataclass(slots=True)
class Reader:
    """One reader; subclasses of it differ in ``can_take`` and ``take`` only."""

    id: int
    channel: Channel
    tracks: dict[int, Any]
    frames: bool
    playing: bool = False
    position: int | None = None
    joined: int = 0
    wait_key: bool = False
    behind: bool = False
    gaps: set[int] = field(default_factory=set)
    last_rtcp: int | None = None
    loss_permille: int = 0
    jitter: int = 0
    counters: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            ("packets", "bytes", "dropped_video", "dropped_audio"), 0
        )
    )

    def has_video(self) -> bool:
        specs = self.channel.layout or []
        return any(spec[0] in self.tracks and spec[1] == "video" for spec in specs)

    def seek(self) -> None:
        """Go to the last keyframe held; without video to the newest."""
        ring = self.channel.frames if self.frames else self.channel.packets
        self.joined = ring.end
        self.behind = False
        self.gaps.clear()
        if self.has_video() or self.channel.layout is None:
            self.wait_key = True
            self.position = ring.key if ring.key >= 0 else ring.end
        else:
            self.wait_key = False
            self.position = ring.end

    def deliver(self) -> None:
        """Give everything up to the newest item, as far as the peer takes it."""
        if not self.playing or self.position is None:
            return
        ring = self.channel.frames if self.frames else self.channel.packets
        if self.position < ring.base:
            self.counters["dropped_video"] += ring.base - self.position
            self.position, self.wait_key, self.behind = ring.base, self.has_video(), True
            self.gaps.update(self.tracks)
        while self.position < ring.end and self.can_take():
            item = ring.items[self.position - ring.base]
            newest = ring.items[-1].arrival
            late = newest - item.arrival > self.channel.options["lag_ms"] * 1000
            fresh = self.position >= self.joined
            self.position += 1
            if item.track not in self.tracks:
                continue
            if item.video and self._skip(item, late and fresh and self.lags()):
                continue
            if item.track in self.gaps:
                self.gaps.discard(item.track)
                item = Item(
                    item.track,
                    item.epoch,
                    item.number,
                    item.time,
                    item.arrival,
                    item.flags | DISCONTINUITY,
                    item.data,
                    item.video,
                )
            self.take(item)

    def _skip(self, item: Item, late: bool) -> bool:
        if late:
            self.wait_key = self.behind = True
        elif self.wait_key and item.flags & KEYFRAME:
            self.wait_key = self.behind = False
        if self.wait_key:
            self.counters["dropped_video"] += self.behind
            if self.behind:
                self.gaps.add(item.track)
        return self.wait_key

    def lags(self) -> bool:
        """Whether this kind of reader loses video when it is late."""
        return False

    def can_take(self) -> bool:
        return True

    def take(self, item: Item) -> None:
        raise NotImplementedError

    def count(self, item: Item) -> None:
        self.counters["packets"] += 1
        self.counters["bytes"] += len(item.data)
        self.channel.counters["packets_out"] += 1
        self.channel.counters["bytes_out"] += len(item.data)

    def stats(self, now: int) -> dict[str, Any]:
        ring = self.channel.frames if self.frames else self.channel.packets
        lag = 0
        if self.playing and self.position is not None and ring.base <= self.position < ring.end:
            oldest = ring.items[self.position - ring.base]
            lag = (ring.items[-1].arrival - oldest.arrival) // 1000
        state = "audio-only" if self.behind else "playing"
        return {
            **self.counters,
            "lag_ms": lag,
            "rr_loss_permille": self.loss_permille,
            "rr_jitter_us": self.jitter,
            "estimate_bps": 0,
            "layer": "",
            "last_rtcp_age_ms": -1 if self.last_rtcp is None else (now - self.last_rtcp) // 1000,
            "state": state if self.playing else "paused",
        }


@dataclass(slots=True)
class Tap(Reader):
    """A reader in Python."""

    capacity: int = 1024
    ready: Callable[[], None] = lambda: None
    queue: list[Item] = field(default_factory=list)
    dropped: int = 0

    def take(self, item: Item) -> None:
        if len(self.queue) >= self.capacity:
            self.dropped += 1
            self.gaps.add(item.track)
            return
        if not self.queue:
            self.ready()
        self.queue.append(item)
        self.count(item)


@dataclass(slots=True)
class ConnReader(Reader):
    """A reader on an adopted connection."""

    conn: Conn | None = None

    def lags(self) -> bool:
        return True

    def can_take(self) -> bool:
        return self.conn is not None and len(self.conn.outgoing) < HIGH_WATER

    def take(self, item: Item) -> None:
        assert self.conn is not None
        if self.frames:
            header = struct.pack(
                "!BBBBIQqq",
                1,
                item.track,
                item.flags & 3,
                0,
                item.epoch,
                item.number,
                item.time,
                item.arrival,
            )
            self.conn.outgoing += websocket_frame(2, header + item.data)
        else:
            channel = self.tracks[item.track][0]
            self.conn.outgoing += b"$" + bytes([channel]) + len(item.data).to_bytes(2) + item.data
        self.count(item)


@dataclass(slots=True)
class UdpReader(Reader):
    """A reader by UDP: address and ports for each track."""

    send: Callable[[str, int, bytes], None] = lambda *_: None
    endpoint: int = 0

    def take(self, item: Item) -> None:
        address, rtp_port, _ = self.tracks[item.track]
        self.send(address, rtp_port, item.data)
        self.count(item)
