"""What every server on a TCP port does alike: bind it, say why not, and stop in bounded time."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from ipaddress import ip_address
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


@contextlib.contextmanager
def told(name: str, address: str, port: int) -> Iterator[None]:
    """Turn what the kernel says while ``port`` is bound into a ``ResourceError`` that names the
    setting. ``name``: the protocol's, lower case, as its part of the settings is called."""
    try:
        yield
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        place = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        raise ResourceError(
            f"cannot listen for {name.upper()} at {place}/tcp: {reason} ({name}.port)",
            subject=f"{name}.port",
        ) from error


def bind_tcp(address: str, port: int, backlog: int) -> socket.socket:
    """A socket that listens at a numeric address; ``::`` has IPv4 peers as well, at mapped
    addresses. ``ValueError`` for what is no address, ``OSError`` by the kernel."""
    version = ip_address(address).version
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    where = socket.getaddrinfo(
        address, port, family, socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
    )[0][4]
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if version == 6:
            # Some kernels have the other default, and asyncio asks for IPv6 alone.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(where)
        listener.listen(backlog)
    except BaseException:
        listener.close()
        raise
    return listener


async def listen(
    factory: Callable[[], asyncio.Protocol], address: str, port: int, backlog: int
) -> asyncio.Server:
    """Serve at a numeric address as ``bind_tcp`` binds it, or at all that a name stands for."""
    loop = asyncio.get_running_loop()
    try:
        listener = bind_tcp(address, port, backlog)
    except ValueError:
        return await loop.create_server(factory, address, port, backlog=backlog)
    try:
        return await loop.create_server(factory, sock=listener, backlog=backlog)
    except BaseException:
        listener.close()
        raise


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
        with told(self._name, address, port):
            self._server = await listen(factory, address, port, backlog)
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
