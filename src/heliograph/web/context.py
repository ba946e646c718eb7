"""What the web application knows of the server around it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from heliograph.bus import Bus, Name
from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.values import Actor, JoinTokenRecord
from heliograph.dispatcher.barring import Barring
from heliograph.dispatcher.choose import Dispatcher
from heliograph.dispatcher.renditions import Renditions
from heliograph.dispatcher.statistics.ranks import Ranks
from heliograph.live.channel import Channel
from heliograph.live.chat_rooms import Chats
from heliograph.live.gate import Gate
from heliograph.live.grants import Grant
from heliograph.live.hls import Hls
from heliograph.live.registry import Channels
from heliograph.live.remote import Portal
from heliograph.live.roster import Roster
from heliograph.live.webrtc import Rtc
from heliograph.plane import PlaneLoop
from heliograph.protocols.ice_servers import IceServer
from heliograph.vod.ondemand import OnDemand
from heliograph.web.streams import Streams

if TYPE_CHECKING:
    from heliograph.web.cluster import ManagersFace
    from heliograph.web.logs import LogsFace
    from heliograph.web.mesh import MeshView
    from heliograph.web.monitoring import MonitoringFace
    from heliograph.web.pictures import Pictures
    from heliograph.web.storage import StorageFace

#: The pages as the build leaves them.
STATIC = Path(__file__).parent / "static"


class TokenFace(Protocol):
    """A token by which a node may join, just made."""

    @property
    def text(self) -> str: ...
    @property
    def expires(self) -> datetime: ...
    @property
    def bus_port(self) -> int:
        """Of this node: where others join."""
        ...


class ClusterFace(Protocol):
    """What the pages know of the cluster that this node is in."""

    bus: Bus

    @property
    def node(self) -> str:
        """This node's id."""
        ...

    async def names(self) -> list[Name]:
        """Everything that nodes announce."""
        ...

    async def make_token(self, port: int, lifetime: float, *, by: Actor) -> TokenFace:
        """A token by which one node may join; ``port``: of this server, by HTTP."""
        ...

    async def tokens(self) -> list[JoinTokenRecord]:
        """Those made before."""
        ...

    async def join(self, body: Mapping[str, str], address: str) -> dict[str, Any]:
        """Let the node of a request in: its certificates, and where the other nodes are."""
        ...


class PlacesFace(Protocol):
    """Where RTSP viewers are served."""

    @property
    def sends(self) -> bool:
        """Whether that may be elsewhere."""
        ...

    async def find(self, channel: Channel, grant: Grant, peer: str) -> Grant | str:
        """The address of the unit that serves a viewer; the grant where that is here."""
        ...


@dataclass(frozen=True, slots=True)
class WebContext:
    """Made once by whoever assembles the server."""

    channels: Channels
    loop: PlaneLoop
    """Carries the plane's events; the metrics show how it fares."""
    administrator_key: str = field(repr=False)
    """Shown as a bearer token by whoever may administrate."""
    version: str
    catalogue: Catalogue
    """Accounts, sessions, channels, keys, the audit log."""
    roster: Roster
    """Changes channels, their keys and their tokens."""
    name: str = "heliograph"
    """How the server calls itself."""
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    """When the server started, with time zone."""
    public_host: str = ""
    """Host in the URLs that are shown, without a port; empty: the one the client asked for."""
    rtsp_port: int = 0
    """The port really listened on; 0: no RTSP server."""
    rtmp_port: int = 0
    """The same of RTMP."""
    rtc: Rtc | None = None
    """None: no WebRTC."""
    ice_servers: tuple[IceServer, ...] = ()
    """What peers by WebRTC are told of, once they are let in."""
    portal: Portal | None = None
    """Sends viewers to other nodes; None: all are served here."""
    dispatcher: Dispatcher | None = None
    """Sends those who ask for titles to servers; None: there are no titles here."""
    barring: Barring = field(default_factory=Barring)
    """Says who is served nothing, and which titles not where he is."""
    renditions: Renditions = field(default_factory=Renditions)
    """What HLS files of servers name; closed before the HTTP server stops."""
    dispatching: Callable[[], Mapping[str, float]] = dict
    """What keeps the dispatcher up to date counts, for the metrics."""
    places: PlacesFace | None = None
    """Sends RTSP viewers of channels to units; None: all are served here."""
    hls: Hls = field(default_factory=Hls)
    """Renditions of channels, made when asked for."""
    ondemand: OnDemand | None = None
    """Plays titles; None: there are none here."""
    chats: Chats | None = None
    """None: no chat."""
    pictures: Pictures | None = None
    """None: channels have no pictures."""
    mesh: MeshView | None = None
    """None: this node is alone."""
    storage: StorageFace | None = None
    """Volumes and titles on disks; None: this node has nothing to do with them."""
    ready: Callable[[], bool] = lambda: True
    """Whether every part of the server runs."""
    title_sessions: Callable[[], Mapping[str, int]] = dict
    """What is counted of titles played by RTSP, for the metrics."""
    title_viewers: Callable[[], list[dict[str, Any]]] = list
    """Who plays titles by RTSP, here or in part here, with counters."""
    storage_figures: Callable[[], tuple[Mapping[str, float], Mapping[str, float]]] = lambda: (
        {},
        {},
    )
    """Counters and gauges of this node's disks and volumes, for the metrics."""
    rtmp_counters: Callable[[], Mapping[str, int]] = dict
    """What the RTMP server counts, for the metrics."""
    lost_log_lines: Callable[[], int] = lambda: 0
    https: Callable[[], Mapping[str, float]] = dict
    """Figures of HTTPS, for the metrics; empty without it."""
    counters: Counter[str] = field(default_factory=Counter)
    """What the HTTP server counts, for the metrics."""
    cluster: ClusterFace | None = None
    """None: no bus."""
    managers: ManagersFace | None = None
    """The way to the cluster's manager; None: this node is in no cluster."""
    role_counters: Callable[[], Mapping[str, Mapping[str, int]]] = dict
    """What this node's roles count, by role, for the metrics."""
    logs: LogsFace | None = None
    """Log events of all nodes; None: there are none."""
    monitoring: MonitoringFace | None = None
    """Watches the servers that hold titles; None: this node has no catalogue."""
    ranks: Ranks | None = None
    """The popularity of titles; None: another node knows it."""
    statistics: Callable[[], Mapping[str, int]] = dict
    """What the recorder of statistics counts, for the metrics."""
    streams: Streams = field(default_factory=Streams)
    """Who listens to news by Server-Sent Events; closed before the HTTP server stops."""
    http_port: Callable[[], int] = lambda: 0
    """The port really listened on by HTTP."""
    static: Path = STATIC
    """Directory of the built pages."""

    @property
    def gate(self) -> Gate:
        """Says who may publish and watch."""
        return self.roster.gate
