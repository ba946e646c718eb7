"""What every server on a TCP port does alike: bind it, say why not, and stop in bounded time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from heliograph.model.errors import ResourceError

#: Seconds for the connections to end after they were told.
STOP_S = 2.0


def host_of(address: Any) -> str:  # noqa: ANN401 - whatever the socket's family has
    """The numeric host of a socket's address; empty for what has none."""
    if not isinstance(address, tuple) or not address:
        return ""
    host = str(address[0])
    # A dual-stack listener shows IPv4 peers as mapped addresses; UDP sockets want them plain.
    return host.removeprefix("::ffff:") if "." in host else host


class Listener:
    """A listening TCP port."""

    def __init__(self, name: str) -> None:
        """``name``: the protocol's, lower case, as its part of the settings is called."""
        self.port = 0
        """The port really listened on."""
        self._name = name
        self._server: asyncio.Server | None = None

    async def start(
        self, factory: Callable[[], asyncio.Protocol], address: str, port: int, backlog: int
    ) -> None:
        """Bind ``port`` (0: any free one); ``ResourceError`` names the setting if it is taken."""
        try:
            self._server = await asyncio.get_running_loop().create_server(
                factory, address, port, backlog=backlog
            )
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ResourceError(
                f"cannot listen for {self._name.upper()} at {address}:{port}/tcp: "
                f"{reason} ({self._name}.port)",
                subject=f"{self._name}.port",
            ) from error
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self, end: Callable[[], None]) -> None:
        """Accept no more, call ``end`` to end the connections, and wait for them a little."""
        if self._server is not None:
            self._server.close()
        end()
        if self._server is not None:
            # From Python 3.12 on this waits for the connections, which have just been ended.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_S):
                    await self._server.wait_closed()
            self._server = None
