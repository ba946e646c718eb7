"""What the server machine tells its adapter. Frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from heliograph.model.errors import HelioError
from heliograph.model.media import Kind, Track
from heliograph.protocols.mp4.units import TimedUnit
from heliograph.protocols.rtmp.amf import AmfValue


@dataclass(frozen=True, slots=True)
class Connected:
    """The client said where it wants to go; answered already."""

    app: str
    """The application: the URL's path without the stream's name, as in ``live``."""
    tc_url: str = field(repr=False)
    """The URL as the client wrote it, without the stream's name; may hold a key or a password."""
    agent: str
    """What the client calls itself (``flashVer``), "" if nothing."""
    enhanced: bool
    """Whether it announced codecs of Enhanced RTMP."""


@dataclass(frozen=True, slots=True)
class PublishRequested:
    """Answer with ``accept`` or ``refuse``; what comes meanwhile waits."""

    app: str
    """Application, without slashes around it and without a query."""
    stream: str
    """Name of the stream, or key, without a query."""
    query: Mapping[str, str] = field(repr=False)
    """Parameters of the stream's name, of the application and of the URL, the first of each name
    in that order; may hold a key."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """``onMetaData``: what the encoder says about itself, such as ``encoder``, ``width``."""

    values: Mapping[str, AmfValue]
    """Verbatim; nothing in it is to be trusted."""


@dataclass(frozen=True, slots=True)
class TracksChanged:
    """The tracks are known, for the first time or anew; units refer to the last ones told."""

    tracks: tuple[Track, ...]
    """At least one. Ids are places; a track keeps its id while the connection lasts."""


@dataclass(frozen=True, slots=True)
class TrackRefused:
    """Media that cannot be relayed; told once for each cause, what comes of it is dropped."""

    kind: Kind
    """Video or audio."""
    error: HelioError
    """Why, in words for the publisher's log."""


@dataclass(frozen=True, slots=True)
class UnitReceived:
    """An access unit of a track that ``TracksChanged`` told."""

    unit: TimedUnit
    """Times count from the connection's first timestamp on, in the track's clock."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The publication ended; comes once, and only behind ``accept``."""

    reason: str
    """``unpublished`` if the client said so, else what happened."""


@dataclass(frozen=True, slots=True)
class ConnectionFailed:
    """Nothing more comes; close the connection once ``data_to_send`` was sent."""

    error: HelioError
    """What the peer did wrong, or which time-out passed."""


MediaEvent: TypeAlias = Metadata | TracksChanged | TrackRefused | UnitReceived
ServerEvent: TypeAlias = Connected | PublishRequested | MediaEvent | Ended | ConnectionFailed
