"""The RTSP server: asyncio around ``protocols.rtsp.ServerSession`` and ``live.Channels``.

A connection begins here. Once media are to flow on it (interleaved, RFC 2326 section 10.12) its
socket goes to the plane, which gives whole RTSP messages back as events; answers go out through
the plane too, so that they stay in order with the packets.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from heliograph.live.gate import Gate
from heliograph.live.registry import Channels
from heliograph.model.errors import ResourceError
from heliograph.plane import PlaneLoop
from heliograph.protocols.rtsp import Authenticator
from heliograph.servers.listening import Listener
from heliograph.servers.rtsp_connection import RtspConnection
from heliograph.servers.rtsp_ondemand import RtspOnDemand
from heliograph.servers.rtsp_places import RtspPlaces
from heliograph.servers.rtsp_titles import RtspTitles

log = structlog.get_logger(__name__)

#: Connections that the kernel holds until we accept them: a burst of viewers after a restart.
BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class RtspOptions:
    """How the server listens."""

    address: str = "0.0.0.0"
    """Numeric address to listen on, IPv4 or IPv6; media by UDP use the same."""
    port: int = 8554
    """0: any free one."""
    rtp_port: int = 8000
    """Even; RTCP is on the next one. 0: any free pair."""
    udp: bool = True
    """Whether media may go and come by UDP."""
    multicast_base: str | None = None
    """First group address; channel n is sent to base + n. None: no multicast."""
    multicast_port: int = 9000
    """RTP port of a group's first track, even; track n uses ``+ 2 n``."""
    multicast_ttl: int = 16
    """Hops of multicast packets, 1–255."""
    session_timeout: int = 60
    """Seconds a session lives without a sign of life (RFC 2326 section 12.37 has 60)."""
    idle_timeout: float = 30.0
    """Seconds a connection may say nothing whole before it has a session."""
    max_connections: int = 12_000
    """Connections at once: the 10 000 viewers one core is asked to carry, and some to spare."""
    realm: str = "heliograph"
    """Shown when credentials are asked for."""
    auth_methods: tuple[str, ...] = ("digest", "basic")
    """Ways of showing a key, besides ``?key=``, best first."""


class RtspServer:
    """Listens, and knows every connection."""

    def __init__(
        self,
        channels: Channels,
        loop: PlaneLoop,
        options: RtspOptions | None = None,
        *,
        gate: Gate | None = None,
        administrator_key: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``gate`` lets in; without one a gate that knows ``administrator_key`` and the keys of the
        settings. ``clock`` gives seconds."""
        self.channels = channels
        self.plane_loop = loop
        self.options = options or RtspOptions()
        self.gate = gate or Gate(administrator_key)
        self.clock = clock
        self.authenticator = Authenticator(
            self.options.realm, secrets.token_bytes(32), methods=self.options.auth_methods
        )
        self.places: RtspPlaces | None = None
        """Where viewers are served; None: here."""
        self.titles: RtspTitles | None = None
        """Sends those who ask for titles to servers; None: there are none."""
        self.ondemand: RtspOnDemand | None = None
        """Plays the titles of this node's volumes; None: there are none."""
        self.connections: set[RtspConnection] = set()
        self.refused_connections = 0
        """Connections turned away because there were too many."""
        self.endpoint = 0
        """The plane's endpoint for media by UDP; 0 without one."""
        self.rtp_ports = (0, 0)
        self._listener = Listener("rtsp")

    @property
    def port(self) -> int:
        """The port really listened on; 0 before the start."""
        return self._listener.port

    async def start(self) -> None:
        """Bind the ports; ``ResourceError`` says which one is taken."""
        options = self.options
        if options.udp:
            try:
                self.endpoint, rtp, rtcp = self.plane_loop.plane.bind_udp(
                    options.address, options.rtp_port, ttl=options.multicast_ttl
                )
            except OSError as error:
                raise ResourceError(
                    f"UDP ports {options.rtp_port}/{options.rtp_port + 1} for RTP: {error}",
                    subject=f"udp/{options.rtp_port}",
                ) from error
            self.rtp_ports = rtp, rtcp
        try:
            await self._listener.start(
                lambda: RtspConnection(self), options.address, options.port, BACKLOG
            )
        except ResourceError:
            self._close_endpoint()
            raise
        log.info("rtsp listening", address=options.address, port=self.port, rtp=self.rtp_ports)

    async def stop(self, reason: str = "server stopping") -> None:
        """Tell every client that its session is over, and close."""

        def end() -> None:
            for connection in list(self.connections):
                connection.stop(reason)

        await self._listener.stop(end)
        self._close_endpoint()

    def _close_endpoint(self) -> None:
        if self.endpoint:
            self.plane_loop.plane.close_endpoint(self.endpoint)
            self.endpoint = 0
