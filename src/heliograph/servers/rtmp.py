"""The RTMP server: takes publishers. asyncio around ``protocols.rtmp.ServerSession``."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from heliograph.live.gate import Gate
from heliograph.live.registry import Channels
from heliograph.plane import PlaneLoop
from heliograph.servers.listening import Listener
from heliograph.servers.rtmp_connection import RtmpConnection

log = structlog.get_logger(__name__)

#: Connections that the kernel holds until we accept them; encoders are few.
BACKLOG = 128


@dataclass(frozen=True, slots=True)
class RtmpOptions:
    """How the server listens."""

    address: str = "0.0.0.0"
    """Numeric address to listen on, IPv4 or IPv6."""
    port: int = 1935
    """0: any free one."""
    max_connections: int = 1000
    """Connections at once; each is a publisher, or will be one within 15 s."""


class RtmpServer:
    """Listens, and knows every connection."""

    def __init__(
        self,
        channels: Channels,
        loop: PlaneLoop,
        options: RtmpOptions | None = None,
        *,
        gate: Gate | None = None,
        administrator_key: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``gate`` lets in; without one a gate that knows ``administrator_key`` and the keys of the
        settings. ``clock`` gives seconds."""
        self.channels = channels
        self.plane_loop = loop
        self.options = options or RtmpOptions()
        self.gate = gate or Gate(administrator_key)
        self.clock = clock
        self.connections: set[RtmpConnection] = set()
        self.refused_connections = 0
        """Connections turned away because there were too many."""
        self.refused_publishers = 0
        """Publications that were asked for and not admitted."""
        self.failed_connections = 0
        """Connections ended for what the peer sent, or did not send in time."""
        self._listener = Listener("rtmp")

    @property
    def port(self) -> int:
        """The port really listened on; 0 before the start."""
        return self._listener.port

    def counters(self) -> dict[str, int]:
        """For the metrics."""
        return {
            "rtmp_connections_refused": self.refused_connections,
            "rtmp_publishers_refused": self.refused_publishers,
            "rtmp_connections_failed": self.failed_connections,
        }

    async def start(self) -> None:
        """Bind the port; ``ResourceError`` names the setting if it is taken."""
        options = self.options
        await self._listener.start(
            lambda: RtmpConnection(self), options.address, options.port, BACKLOG
        )
        log.info("rtmp listening", address=options.address, port=self.port)

    async def stop(self, reason: str = "server stopping") -> None:
        """Tell every publisher that it is over, and close."""

        def end() -> None:
            for connection in list(self.connections):
                connection.end(reason)

        await self._listener.stop(end)
        for connection in list(self.connections):
            connection.abort()  # its client did not read our last words
