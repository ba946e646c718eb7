"""What an operator can say of channels and of the whole server, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any

from heliograph.live.admission import Access, Limits
from heliograph.live.connections.compose import ANYHOW, Connection
from heliograph.model.errors import MalformedError, TooLargeError

#: Characters of a title: it stands on one line of a page and of an SDP.
MAX_TITLE = 200
#: Characters of a key; generated ones have 22.
MAX_KEY = 256


class Conflict(StrEnum):
    """What becomes of a second publisher on a channel that has one."""

    REFUSE = "refuse"
    REPLACE = "replace"


class Transport(StrEnum):
    """How a pull asks for its packets."""

    AUTO = "auto"
    """UDP, and TCP where nothing comes."""
    UDP = "udp"
    TCP = "tcp"


@dataclass(frozen=True, slots=True)
class PullOptions:
    """A source that the server fetches itself."""

    url: str
    """``rtsp://[user:password@]host[:port]/path``, or the path of an SDP file."""
    priority: int = 0
    """Lower is better; the best that delivers is relayed."""
    transport: Transport = Transport.AUTO
    udp_patience: float = 3.0
    """Seconds without a packet by UDP until TCP is tried: three keyframe distances of a usual
    camera, and below the time-out of every camera's session."""
    silence: float = 10.0
    """Seconds without a packet until the connection is made anew."""


@dataclass(frozen=True, slots=True)
class ChannelOptions:
    """How one channel is to be."""

    title: str = ""
    """For people; the name stands in where it is empty."""
    key: str = ""
    """The publisher's secret of a channel of the settings, in clear. Channels made by the API have
    stream keys instead, of which only hashes are stored (``Channel.standing``)."""
    open_publish: bool = False
    """Whether anybody may publish, without a key."""
    view_key: str = ""
    """Readers must show this; empty: anybody may watch."""
    max_readers: int | None = None
    """Places; None: as many as the server has."""
    max_bandwidth: int | None = None
    """Bits a second to all readers together."""
    conflict: Conflict = Conflict.REFUSE
    publish_from: tuple[str, ...] = ()
    """Networks (CIDR) that publishers come from; empty: any."""
    view_from: tuple[str, ...] = ()
    """Networks (CIDR) that readers come from; empty: any."""
    multicast: bool = True
    """Whether readers may ask for multicast, where the server offers it."""
    connection: Connection = ANYHOW
    """How it travels between nodes."""
    pulls: tuple[PullOptions, ...] = ()
    depth_ms: int = 3000
    """How far the ring reaches back, ms."""
    max_bytes: int = 16 << 20
    """Bound of the ring in bytes: a keyframe distance of 10 s at 12 Mbit/s."""
    silence_ms: int = 1000
    """A source that says nothing for so long is silent, ms."""
    return_ms: int = -1
    """A better source takes over again once it was well for so long, ms; -1: never by itself."""
    coalesce_us: int = 1500
    """How long a packet may wait for the rest of its frame, µs."""
    tcp_interval_ms: int = 0
    """Least time between two writes to one TCP reader, ms."""
    lag_ms: int = 1000
    """A TCP reader further behind loses video, ms."""

    def __post_init__(self) -> None:
        if len(self.title) > MAX_TITLE:
            raise TooLargeError(f"title longer than {MAX_TITLE} characters", subject="title")
        if len(self.key) > MAX_KEY or len(self.view_key) > MAX_KEY:
            raise TooLargeError(f"key longer than {MAX_KEY} characters", subject="key")
        # Made once here so that a wrong network is refused when it is set, not when somebody comes.
        Access.of(self.publish_from)
        Access.of(self.view_from)

    @property
    def limits(self) -> Limits:
        return Limits(self.max_readers, self.max_bandwidth)

    def to_json(self) -> dict[str, Any]:
        """The options as JSON values, defaults left out."""
        plain = ChannelOptions()
        given = asdict(self) | {"connection": self.connection}
        found = {name: value for name, value in given.items() if value != getattr(plain, name)}
        if "connection" in found:
            found["connection"] = str(self.connection)
        return found

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ChannelOptions:
        """Read what ``to_json`` wrote; ``MalformedError`` says what is wrong."""
        known = {f.name: f for f in fields(cls)}
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise MalformedError("channel options", f"unknown {unknown[0]!r}")
        plain, given = cls(), dict(values)
        try:
            for name in ("publish_from", "view_from"):
                if name in given:
                    given[name] = tuple(str(network) for network in given[name])
            if "pulls" in given:
                given["pulls"] = tuple(_pull(pull) for pull in given["pulls"])
            if "conflict" in given:
                given["conflict"] = Conflict(given["conflict"])
            if "connection" in given:
                given["connection"] = Connection.parse(str(given["connection"]))
        except (TypeError, ValueError) as error:
            raise MalformedError("channel options", str(error)) from None
        for name, value in given.items():
            default = getattr(plain, name)
            wanted = int if default is None else type(default)
            if value is None and default is None:
                continue
            if not isinstance(value, wanted) or (wanted is int and isinstance(value, bool)):
                raise MalformedError("channel options", f"{name} must be {wanted.__name__}")
        return cls(**given)


def _pull(values: Mapping[str, Any]) -> PullOptions:
    given = dict(values)
    if "transport" in given:
        given["transport"] = Transport(given["transport"])
    return PullOptions(**given)


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """What holds for all channels of a server."""

    max_channels: int = 1000
    """Channels that the API may make: 1 000 rings of a few MB are what a machine of 16 GB holds."""
    limits: Limits = field(default_factory=Limits)
    """Readers and bandwidth of all channels together."""
