"""One publisher of a channel: a source at the plane with its inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from heliograph.live.admission import Holder
from heliograph.live.grants import Grant
from heliograph.live.layers import Layers
from heliograph.model.media import Track
from heliograph.plane import SourceStats

if TYPE_CHECKING:
    from heliograph.live.channel import Channel


class PublishKind(StrEnum):
    """How a publisher's packets come."""

    RTSP_UDP = "rtsp-udp"
    RTSP_TCP = "rtsp-tcp"
    WHIP = "whip"
    RTMP = "rtmp"
    PULL = "pull"
    RTP = "rtp"
    MESH = "mesh"
    """From other nodes, where it has its numbers from."""
    PUSH = "push"
    """From Python, such as the demo pattern."""


@dataclass(slots=True, eq=False)
class Publishing:
    """A publisher attached to a channel; made by ``Channel.publish``."""

    id: int
    channel: Channel = field(repr=False)
    kind: PublishKind
    peer: str
    """The publisher's address, or the URL pulled."""
    priority: int
    since: datetime
    source: int
    """The plane's source id."""
    tracks: tuple[Track, ...]
    """As the publisher described them; their payload types are those on its wire."""
    derived: tuple[Track, ...] = ()
    """What the server can make of its sound beside them."""
    agent: str = field(default="", kw_only=True)
    """What the publisher's program calls itself; set by whoever made it, where it is known."""
    layers: Layers | None = field(default=None, kw_only=True, repr=False)
    """Where its picture comes in several sizes; None where there is one."""
    grant: Grant | None = field(default=None, kw_only=True, repr=False)
    """Why it was let in; None for the server's own sources."""
    on_closed: Callable[[str], None] | None = field(default=None, repr=False)
    """Told why when the channel ends it (``replaced``, ``channel closed``, ``kicked``)."""
    inputs: list[int] = field(default_factory=list)
    silent: bool = True
    """Whether it delivers nothing now; true before its first packet."""
    started: bool = False
    """Whether it ever delivered."""
    orphan: bool = False
    """Whether its control connection is gone while packets still come; gives way to anybody."""
    closed: bool = False

    @property
    def holder(self) -> Holder:
        # Before the first packet it has just come and is not to be taken for a dead one; media of
        # other nodes come only while they are watched here, but those nodes tell whether there are.
        here = self.silent and self.started
        silent = not self.channel.on_air if self.kind is PublishKind.MESH else here
        return Holder(self.id, self.priority, self.orphan or silent)

    def add_input(self) -> int:
        """One more way by which its packets come; the plane's input id."""
        input = self.channel.plane.add_input(self.source)
        self.inputs.append(input)
        return input

    def drop_input(self, input: int) -> None:
        """Take no packets by one of its ways any more."""
        if input in self.inputs:
            self.inputs.remove(input)
            self.channel.plane.remove_input(input)

    def drop_inputs(self) -> None:
        """Take no packets for now; the source stays announced."""
        for input in self.inputs:
            self.channel.plane.remove_input(input)
        self.inputs.clear()

    def push(self, track: int, packets: Sequence[bytes]) -> int:
        """RTP packets from Python through the first input; the number accepted."""
        if self.closed:
            return 0
        input = self.inputs[0] if self.inputs else self.add_input()
        return self.channel.plane.push(input, track, list(packets))

    def push_rtcp(self, track: int, packet: bytes) -> None:
        """RTCP from Python on a track, through the first input."""
        if not self.closed and self.inputs:
            self.channel.plane.push_rtcp(self.inputs[0], track, packet)

    def close(self, reason: str = "closed") -> None:
        """End it from the publisher's side; ``on_closed`` is not called."""
        self.channel.unpublish(self, reason)

    def describe(self, stats: SourceStats | None = None) -> dict[str, Any]:
        """For the API: who publishes how, with the counters of its source."""
        stats = stats or SourceStats()
        return {
            "id": self.id,
            "kind": self.kind.value,
            "peer": self.peer,
            "agent": self.agent,
            "priority": self.priority,
            "since": self.since.isoformat(),
            "active": stats.active,
            "packets": stats.packets,
            "bytes": stats.bytes,
            "lost": stats.lost,
            "duplicates": stats.duplicates,
            "reordered": stats.reordered,
            "rejected": stats.rejected,
            "jitter_us": stats.jitter_us,
            "last_packet_age_ms": stats.last_packet_age_ms,
        }
