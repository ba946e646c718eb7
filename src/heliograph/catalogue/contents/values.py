"""Servers, titles and files as frozen values (M3). Times are aware and in UTC.

The paper's nine tables, in the field's words: ``Server`` (SERVER_INFO), ``ServerState``
(SERVER_STATE), ``Title`` (VIDEO_INFO), ``File`` (FILE_INFO), ``Classification`` (CODEMAST),
``Level`` (VIDEO_LEVEL); of the statistics ``Play`` (PLAY_INFO) in ``statistics``, ``FileLine``
(FILE_STAT) and ``ClientLine`` (CLIENT_STAT) in ``reports``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Format(StrEnum):
    """How a file is played; what a client may ask for by ``?format=``."""

    RTSP = "rtsp"
    HLS = "hls"
    WHEP = "whep"
    MP4 = "mp4"


class ProbeKind(StrEnum):
    """A way to measure a server."""

    ICMP = "icmp"
    """Echo request and reply (the paper's way)."""
    TCP = "tcp"
    """A connection to the port, closed at once."""
    RTSP = "rtsp"
    """OPTIONS, or DESCRIBE where a path is given."""
    HTTP = "http"
    """A range of real media: time to the first byte, and throughput."""


class Condition(StrEnum):
    """What a server is, as its monitors say."""

    UNKNOWN = "unknown"
    """Not measured yet: nobody is sent there."""
    UP = "up"
    STARTING = "starting"
    """Back after a failure: takes part with a growing share (slow start)."""
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Probe:
    """One measurement that is repeated."""

    kind: ProbeKind
    interval: float = 10.0
    """Seconds from one to the next, 0.1 to 3600."""
    port: int = 0
    """0: the usual one of that kind; meaningless for ICMP."""
    path: str = ""
    """What to ask for by RTSP or HTTP; empty: OPTIONS, or ``/``."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that holds files, of whatever make (M4)."""

    id: int
    name: str
    """Unique; letters, digits, dots, dashes."""
    host: str
    """Name or address that probes are sent to."""
    make: str = ""
    """What software it runs, for people (``nginx``, ``heliograph``)."""
    region: str = ""
    """Where it is, in the operator's words; empty: nowhere in particular."""
    capacity_bps: int = 0
    """Bits a second it can send; 0: not known."""
    max_sessions: int = 0
    """Sessions it may have at a time; 0: no bound."""
    weight: float = 1.0
    """Its share by the weighted policy, above 0."""
    enabled: bool = True
    """Whether it is probed and used at all."""
    drained: bool = False
    """Whether it gets nobody new while those who play go on."""
    probes: tuple[Probe, ...] = (Probe(ProbeKind.ICMP),)
    created: datetime | None = None
    revision: int = 0
    """Grows with each change of the row."""


@dataclass(frozen=True, slots=True)
class ServerState:
    """What the monitors of one server found."""

    server: int
    """Id of the server."""
    condition: Condition
    response_ms: float | None
    """Smoothed response time (EWMA); None: it never answered."""
    since: datetime
    """Since when it is in that condition."""
    measured: datetime
    """When it was last measured."""
    responses: Mapping[ProbeKind, float] = field(default_factory=dict)
    """Smoothed response time in milliseconds by kind of probe."""
    throughput_bps: float | None = None
    """By the probe that fetches media; None: there is none."""
    reason: str = ""
    """Why it is not up, for people."""


@dataclass(frozen=True, slots=True)
class Title:
    """Something that can be played on demand."""

    id: int
    name: str
    """Its logical id: part of its addresses, unique among titles and channels."""
    title: str
    """For people."""
    description: str = ""
    duration: float | None = None
    """Seconds; None: not known."""
    level: str = ""
    """Code of a ``Level``; empty: not rated."""
    classes: tuple[str, ...] = ()
    """Codes of ``Classification``s."""
    regions: tuple[str, ...] = ()
    """Regions of clients it is licensed for; empty: everywhere."""
    policy: str = ""
    """By which its server is chosen; empty: as everywhere."""
    published: bool = True
    """Whether it is handed out; else it is unknown to everybody."""
    created: datetime | None = None
    revision: int = 0
    """Grows with each change of the row."""


class Standing(StrEnum):
    """What somebody who asks for a title now would be told, for people."""

    PLAYABLE = "playable"
    DAMAGED = "damaged"
    """Our volume has lost blocks of it for good; the rest is played."""
    UNREACHABLE = "unreachable"
    """Nothing that holds it can be used; at least one server, or too many disks of our volume,
    because they do not answer."""
    WITHDRAWN = "withdrawn"
    """All servers that hold it are drained or disabled."""
    EMPTY = "empty"
    """Nobody holds it."""
    WITHHELD = "withheld"
    """It is not published."""


@dataclass(frozen=True, slots=True)
class Copies:
    """What there is of one title."""

    files: int = 0
    """On servers of whatever make."""
    usable: int = 0
    """Those on servers that somebody may be sent to now."""
    withdrawn: int = 0
    """Those on servers that are drained or disabled."""
    stored: bool = False
    """Whether a volume of ours holds it, so that every node plays it."""
    readable: bool = False
    """Whether enough of that volume's disks answer."""
    lost: int = 0
    """Blocks of it that are gone for good."""

    def standing(self, published: bool) -> Standing:
        """How the title is to be had."""
        if not published:
            return Standing.WITHHELD
        if self.readable and self.lost:  # whoever asks may be sent to it, copies or not
            return Standing.DAMAGED
        if self.readable or self.usable:
            return Standing.PLAYABLE
        if self.stored:
            return Standing.UNREACHABLE
        if not self.files:
            return Standing.EMPTY
        return Standing.WITHDRAWN if self.withdrawn == self.files else Standing.UNREACHABLE


@dataclass(frozen=True, slots=True)
class File:
    """One copy of a title, on one server, in one format."""

    id: int
    title: int
    """Id of the title."""
    server: int
    """Id of the server that holds it."""
    format: Format
    uri: str
    """Physical address, absolute; unique on its title."""
    bits_per_second: int = 0
    """What a player of it draws; 0: not known."""
    size: int | None = None
    """Bytes; None: not known."""
    codecs: str = ""
    """As RFC 6381 has it; for people and for ``Accept``."""
    width: int = 0
    height: int = 0
    """Pixels; 0: not known, or no picture."""
    revision: int = 0
    """Grows with each change of the row."""


@dataclass(frozen=True, slots=True)
class Classification:
    """A subject that titles can have."""

    code: str
    name: str


@dataclass(frozen=True, slots=True)
class Level:
    """A rating that titles can have."""

    code: str
    name: str
    min_age: int = 0
    """Years."""


@dataclass(frozen=True, slots=True)
class Network:
    """Clients of one network, and what region they are in."""

    cidr: str
    """IPv4 or IPv6; of several that hold an address the longest counts."""
    region: str
    """As servers and licences name it."""
    refused: bool = False
    """Whether nobody there is served at all."""


@dataclass(frozen=True, slots=True)
class Contents:
    """All that a dispatcher decides by, at one time."""

    version: int
    """Grows with every change of any of it."""
    servers: tuple[Server, ...] = ()
    titles: tuple[Title, ...] = ()
    files: tuple[File, ...] = ()
    networks: tuple[Network, ...] = ()
