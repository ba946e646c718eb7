"""What the server and client machines tell their adapters. Frozen values.

Events named ``…Requested`` must be answered by the matching ``…_ok`` of ``ServerSession`` or by
``refuse``; the next request of the connection waits until then.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from heliograph.model.errors import HelioError
from heliograph.model.media import Track
from heliograph.protocols.rtsp.headers import Range, RtpInfo, Transport
from heliograph.protocols.rtsp.sharing import Nodes
from heliograph.protocols.rtsp.targets import Target
from heliograph.protocols.sdp import SessionDescription

# --- server ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DescribeRequested:
    """Answer with ``describe_ok``, ``redirect`` or ``refuse``."""

    target: Target
    """Channel path and query."""


@dataclass(frozen=True, slots=True)
class AnnounceRequested:
    """A publisher describes what it will send. Answer with ``announce_ok`` or ``refuse``."""

    target: Target
    """Channel path and query."""
    description: SessionDescription
    """What was announced, parsed."""
    tracks: tuple[Track, ...]
    """Its tracks, at least one of video or audio."""
    sdp: bytes = field(repr=False)
    """The body as it came."""


@dataclass(frozen=True, slots=True)
class SetupRequested:
    """Answer with ``setup_ok``, ``redirect`` or ``refuse``."""

    target: Target
    """Channel path without the track's part, and query."""
    track: int
    """Track id: of the channel when playing, of the announced tracks when recording."""
    transports: tuple[Transport, ...]
    """Alternatives this server could do and that go with the session's first transport, best
    first; interleaved channels are always filled in and free."""
    record: bool
    """Whether the client is going to send."""
    first: bool
    """Whether this makes the session."""


@dataclass(frozen=True, slots=True)
class PlayRequested:
    """Answer with ``play_ok`` or ``refuse``."""

    target: Target
    """Channel path and query."""
    range: Range | None
    """What was asked for; ``None``: from where it is."""
    scale: float | None
    """How fast it is to be shown; ``None`` or 1: as it was made; below 0: backwards."""
    tracks: tuple[int, ...]
    """Ids of the tracks that were set up, in that order."""
    speed: float | None = None
    """How fast it is to be sent, above 0; ``None`` or 1: as it is shown."""
    playing: bool = False
    """Whether media flow already; of ``seekable`` sessions only."""


@dataclass(frozen=True, slots=True)
class StrayPlayRequested:
    """PLAY without any session here: of a client that was sent here from a server where it had one.
    Answer with ``redirect`` or ``refuse``."""

    target: Target
    """Channel path without the track's part, and query."""


@dataclass(frozen=True, slots=True)
class RecordRequested:
    """Answer with ``record_ok`` or ``refuse``."""

    target: Target
    """Channel path and query."""
    tracks: tuple[int, ...]
    """Ids of the tracks that were set up, in that order."""


@dataclass(frozen=True, slots=True)
class PauseRequested:
    """Answer with ``pause_ok`` or ``refuse``."""

    target: Target
    """Channel path and query."""
    range: Range | None = None
    """Its start is where to pause; ``None``: at once."""


@dataclass(frozen=True, slots=True)
class TeardownRequested:
    """The client ends the session. Answer with ``teardown_ok``; refusing is not possible."""

    target: Target
    """Channel path and query."""
    session_id: str
    """The session that ends."""


@dataclass(frozen=True, slots=True)
class ParameterRequested:
    """GET_PARAMETER or SET_PARAMETER with a body. Answer with ``parameter_ok`` or ``refuse``."""

    target: Target
    """Channel path and query."""
    set: bool
    """SET_PARAMETER."""
    body: bytes = field(repr=False)
    """``text/parameters``: a name a line, or ``name: value``."""


@dataclass(frozen=True, slots=True)
class SessionShown:
    """A request names a session that was begun on another connection, and is known. Answer with
    ``resume_ok``, whereupon the request itself is handled, or ``refuse``."""

    target: Target
    """Channel path and query."""
    session_id: str
    """The session."""


@dataclass(frozen=True, slots=True)
class FrameReceived:
    """An interleaved frame on a channel that was set up."""

    track: int
    """Track id it belongs to."""
    rtcp: bool
    """Whether it came on the RTCP channel."""
    data: bytes = field(repr=False)
    """The packet."""


@dataclass(frozen=True, slots=True)
class SessionTimedOut:
    """The client gave no sign of life. The session is gone; close the connection."""

    session_id: str | None
    """``None`` if the connection never made a session."""


@dataclass(frozen=True, slots=True)
class ConnectionFailed:
    """The stream is not RTSP or breaks a limit: send what is left and close."""

    error: HelioError
    """Why."""


ServerEvent: TypeAlias = (
    DescribeRequested
    | AnnounceRequested
    | SetupRequested
    | PlayRequested
    | StrayPlayRequested
    | RecordRequested
    | PauseRequested
    | TeardownRequested
    | ParameterRequested
    | FrameReceived
    | SessionShown
    | SessionTimedOut
    | ConnectionFailed
)

# --- client ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Described:
    """DESCRIBE was answered. Go on with ``setup``."""

    tracks: tuple[Track, ...]
    """What can be played."""
    description: SessionDescription
    """The description, parsed."""
    sdp: bytes = field(repr=False)
    """The body as it came."""


@dataclass(frozen=True, slots=True)
class Announced:
    """ANNOUNCE was accepted. Go on with ``setup``."""


@dataclass(frozen=True, slots=True)
class TrackReady:
    """One SETUP succeeded."""

    track: int
    """Its track id."""
    transport: Transport
    """What the server agreed to."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Every track asked for is set up. Go on with ``play`` or ``record``."""

    transports: tuple[tuple[int, Transport], ...]
    """(track id, transport) in the order of the set-ups."""


@dataclass(frozen=True, slots=True)
class Playing:
    """PLAY succeeded."""

    rtp_info: tuple[tuple[int, RtpInfo], ...]
    """(track id, first sequence number and timestamp) as far as the server told."""
    range: Range | None
    """What is being played, if the server said it."""
    speed: float | None = None
    """Factor of the rate at which packets come, if the server said it."""


@dataclass(frozen=True, slots=True)
class NodesTold:
    """The server tells who sends a shared session. Comes before what it was told with."""

    nodes: Nodes
    """All of them; those told before do not send any more."""


@dataclass(frozen=True, slots=True)
class TakenOver:
    """The session is controlled by way of this connection from now on."""


@dataclass(frozen=True, slots=True)
class Recording:
    """RECORD succeeded: send."""


@dataclass(frozen=True, slots=True)
class Paused:
    """PAUSE succeeded."""


@dataclass(frozen=True, slots=True)
class Frame:
    """An interleaved frame on a channel that was set up."""

    track: int
    """Track id it belongs to."""
    rtcp: bool
    """Whether it came on the RTCP channel."""
    data: bytes = field(repr=False)
    """The packet."""


@dataclass(frozen=True, slots=True)
class Redirected:
    """The server sends us elsewhere (301, 302, 303, 305, or a REDIRECT request)."""

    url: str = field(repr=False)
    """Where to go, without credentials."""
    proxy: bool
    """305: go through there."""


@dataclass(frozen=True, slots=True)
class TransportRefused:
    """461: the server does not do this transport. Call ``setup`` again with TCP."""

    track: int
    """The track whose SETUP was refused."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The session is over: our TEARDOWN was answered, or the server sent one."""

    by_server: bool
    """Whether the server ended it."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The session cannot go on; close the connection."""

    error: HelioError
    """Why, with the peer's status where there is one."""


ClientEvent: TypeAlias = (
    Described
    | Announced
    | TrackReady
    | Ready
    | Playing
    | NodesTold
    | TakenOver
    | Recording
    | Paused
    | Frame
    | Redirected
    | TransportRefused
    | Ended
    | Failed
)
