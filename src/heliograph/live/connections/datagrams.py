"""Connections whose messages are datagrams: to one peer, and within a multicast group."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import IPv4Address, ip_address
from typing import cast

from heliograph.live.connections.base import Connection, Waiting
from heliograph.model.errors import ResourceError

Address = tuple[str, int]


class _Datagrams(Connection, asyncio.DatagramProtocol):
    def __init__(self) -> None:
        super().__init__()
        self._waiting = Waiting(self.counters)
        self._transport: asyncio.DatagramTransport | None = None
        self._to: Address | None = None

    async def _begin(self, sock: socket.socket) -> None:
        try:
            sock.setblocking(False)
            await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, sock=sock)
        except BaseException:
            sock.close()
            raise

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # in all but name

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self._waiting.put(data)

    def error_received(self, exc: Exception) -> None:
        self.counters["dropped"] += 1  # nobody listens there now; somebody may in a moment

    def send(self, message: bytes) -> None:
        self.check(message)
        if self._transport is not None and not self._transport.is_closing():
            self.counters["sent"] += 1
            self._transport.sendto(message, self._to)

    async def receive(self) -> bytes:
        return await self._waiting.take()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
        self._waiting.end("closed")


class Udp(_Datagrams):
    """Datagrams between two addresses; what others send is refused."""

    def __init__(self, local: Address, peer: Address) -> None:
        """``local``: numeric address to bind, port 0 for any. ``peer``: numeric."""
        super().__init__()
        self.local = local
        """The address bound, once it is open."""
        self._peer = peer

    async def open(self) -> None:
        family = socket.AF_INET6 if ip_address(self.local[0]).version == 6 else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.bind(self.local)
            sock.connect(self._peer)  # the kernel keeps strangers' datagrams out
        except OSError as error:
            sock.close()
            raise ResourceError(f"UDP {self.local}: {error}", subject="udp") from error
        self.local = sock.getsockname()[:2]
        await self._begin(sock)


class Multicast(_Datagrams):
    """Datagrams within an IPv4 group: what one sends comes to all, the sender included."""

    def __init__(self, group: Address, interface: str = "0.0.0.0", ttl: int = 1) -> None:
        """``interface``: address of the one to use; else the routes decide. ``ttl``: routers that
        may be crossed, and one more."""
        super().__init__()
        if not IPv4Address(group[0]).is_multicast:
            raise ValueError(f"{group[0]} is no multicast address")
        self._to = group
        self._interface = socket.inet_aton(interface)
        self._ttl = ttl

    async def open(self) -> None:
        assert self._to is not None
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        group = socket.inet_aton(self._to[0])
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(self._to)  # nothing but what is sent to the group
            for name, value in (
                (socket.IP_MULTICAST_TTL, bytes([self._ttl])),
                (socket.IP_MULTICAST_IF, self._interface),
                (socket.IP_ADD_MEMBERSHIP, group + self._interface),
            ):
                sock.setsockopt(socket.IPPROTO_IP, name, value)
        except OSError as error:
            sock.close()
            raise ResourceError(f"multicast {self._to}: {error}", subject="multicast") from error
        await self._begin(sock)
