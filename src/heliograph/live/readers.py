"""One reader of a channel, and the group that multicast readers share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from heliograph.live.grants import Grant
from heliograph.model.media import Track
from heliograph.plane import ReaderStats

if TYPE_CHECKING:
    from heliograph.live.channel import Channel
    from heliograph.live.states import State


class ReaderKind(StrEnum):
    """How a reader gets its packets."""

    RTSP_UDP = "rtsp-udp"
    RTSP_TCP = "rtsp-tcp"
    MULTICAST = "multicast"
    WEBSOCKET = "websocket"
    WHEP = "whep"
    HLS = "hls"
    TAP = "tap"


class ReaderHooks:
    """What a channel tells the owner of a reader; override what is of interest."""

    def closed(self, reason: str) -> None:
        """The reader is gone: ``kicked``, ``channel closed``, ``format changed``, or the
        plane's reason."""

    def state_changed(self, state: State) -> None:
        """The channel's source went or came back."""

    def tracks_changed(self, tracks: tuple[Track, ...]) -> None:
        """The layout changed; only readers of frames are told, others are closed."""

    def ready(self) -> None:
        """A tap has something to read."""


@dataclass(slots=True, eq=False)
class Reader:
    """A reader attached to a channel; made by the ``Audience`` of its channel."""

    id: int
    """Unique within the server, for people and the API."""
    channel: Channel = field(repr=False)
    kind: ReaderKind
    peer: str
    """Numeric address, empty for a tap."""
    agent: str
    """What the peer calls itself."""
    since: datetime
    plane_reader: int
    """The plane's reader id; members of a multicast group share one; 0: by HLS there is none."""
    hooks: ReaderHooks = field(repr=False)
    grant: Grant | None = field(default=None, kw_only=True, repr=False)
    """Why it was let in; None for the server's own taps."""
    attach: Callable[[tuple[Track, ...]], int] | None = field(default=None, repr=False)
    """Makes the plane's reader anew for other tracks; readers of frames have it."""
    playing: bool = False
    sent_bytes: int = field(default=0, kw_only=True)
    """What it was sent beside the plane: media by HLS."""
    final: ReaderStats | None = field(default=None, kw_only=True)
    """Its counters at its end; None before that."""
    closed: bool = False

    @property
    def counted(self) -> bool:
        """Whether it takes a place: taps are the server's own."""
        return self.kind is not ReaderKind.TAP

    def position(self) -> list[tuple[int, int, int]]:
        """Go to the last keyframe held: (track, next sequence number, next timestamp)."""
        return list(self.channel.plane.position_reader(self.plane_reader))

    def start(self) -> None:
        """Send; a group that plays already goes on."""
        self.playing = True
        group = self.channel.audience.group
        if self.kind is ReaderKind.MULTICAST and group is not None:
            group.playing = True
        self.channel.plane.start_reader(self.plane_reader)

    def pause(self) -> None:
        """Send no more; a multicast group goes on for its other members."""
        self.playing = False
        if self.kind is not ReaderKind.MULTICAST:
            self.channel.plane.pause_reader(self.plane_reader)

    def stats(self) -> ReaderStats:
        """Counters; zeros when the plane's reader is gone, and it did not end by itself."""
        if self.final is not None:
            return self.final
        try:
            return ReaderStats.of(self.channel.plane.reader_stats(self.plane_reader))
        except KeyError:
            return ReaderStats()

    def remove(self) -> None:
        """The owner leaves; ``hooks.closed`` is not called."""
        self.channel.audience.remove(self)

    def kick(self, reason: str = "kicked") -> None:
        """End it and tell its owner why."""
        self.channel.audience.remove(self)
        self.hooks.closed(reason)

    def describe(self) -> dict[str, Any]:
        """For the API: who reads how, with counters."""
        stats = self.stats()
        return {
            "id": self.id,
            "kind": self.kind.value,
            "peer": self.peer,
            "agent": self.agent,
            "since": self.since.isoformat(),
            "state": "playing" if self.kind is ReaderKind.HLS else stats.state,
            "packets": stats.packets,
            "bytes": stats.bytes,
            "dropped_video": stats.dropped_video,
            "dropped_audio": stats.dropped_audio,
            "lag_ms": stats.lag_ms,
            "loss": stats.rr_loss_permille / 1000,
            "jitter_us": stats.rr_jitter_us,
            "estimate_bps": stats.estimate_bps,
            "layer": stats.layer,
        }


@dataclass(slots=True)
class Group:
    """A channel's multicast output: one plane reader for everybody in it."""

    address: str
    port: int
    """RTP port of the first track; track n in the layout's order uses ``port + 2 n``."""
    ttl: int
    plane_reader: int
    members: int = 0
    playing: bool = False
