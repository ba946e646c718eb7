"""The packet plane as Python sees it: typed values over a narrow native boundary.

``open_plane`` gives the native plane (the only place that imports the extension), ``TwinPlane``
in ``plane.twin`` the same surface in plain Python for tests, ``PlaneLoop`` carries a plane's
events into an asyncio loop. Imports ``model`` only; ``live`` and everything above may import it.
"""

from heliograph.plane.api import MeshPort, Plane, RtcPort, TlsPort, open_plane
from heliograph.plane.loop import MeshEvent, PlaneLoop
from heliograph.plane.types import (
    ChannelSilent,
    ChannelStats,
    ConnectionClosed,
    ControlReceived,
    EventsLost,
    InputStats,
    MeshBack,
    MeshClosed,
    MeshMessage,
    MeshSilent,
    MeshStats,
    MeshUp,
    PlaneEvent,
    PlaneTotals,
    ReaderClosed,
    ReaderStats,
    RtcClosed,
    RtcState,
    SourceActive,
    SourceSilent,
    SourceStats,
    TapFlag,
    TapItem,
    TapReady,
    TrackSpec,
    parse_event,
)

__all__ = [
    "ChannelSilent",
    "ChannelStats",
    "ConnectionClosed",
    "ControlReceived",
    "EventsLost",
    "InputStats",
    "MeshBack",
    "MeshClosed",
    "MeshEvent",
    "MeshMessage",
    "MeshPort",
    "MeshSilent",
    "MeshStats",
    "MeshUp",
    "Plane",
    "PlaneEvent",
    "PlaneLoop",
    "PlaneTotals",
    "ReaderClosed",
    "ReaderStats",
    "RtcClosed",
    "RtcPort",
    "RtcState",
    "SourceActive",
    "SourceSilent",
    "SourceStats",
    "TapFlag",
    "TapItem",
    "TapReady",
    "TlsPort",
    "TrackSpec",
    "open_plane",
    "parse_event",
]
