"""The UDP ports of a session's tracks: they outlive the connection that it was set up by."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable

from heliograph.model.errors import RemoteError
from heliograph.player.senders import Address

#: Bytes the kernel keeps for us on a media socket: 0.3 s of 50 Mbit/s. It may grant less.
RECEIVE_BUFFER = 2 << 20
#: Attempts to find a free even port with its odd neighbour (RFC 3550 §11).
PORT_ATTEMPTS = 32
#: Linux's SO_MEMINFO, not in Python's ``socket``: nine words, the last counts dropped datagrams.
_SO_MEMINFO = 55
_MEMINFO = struct.Struct("=9I")

#: (track, whether RTCP, datagram, where it came from)
DatagramCallback = Callable[[int, bool, bytes, Address], None]


class MediaPorts:
    """Two ports a track, for RTP and RTCP."""

    def __init__(self, on_datagram: DatagramCallback) -> None:
        self.on_datagram = on_datagram
        """Who takes what comes; may be changed."""
        self._sockets: dict[tuple[int, bool], asyncio.DatagramTransport] = {}

    async def bind(self, track: int, host: str) -> tuple[int, int]:
        """Two neighbouring ports, on one of our addresses."""
        for _ in range(PORT_ATTEMPTS):
            first = await self._open(track, False, host, 0)
            port: int = first.get_extra_info("sockname")[1]
            if port % 2 == 0:
                with contextlib.suppress(OSError):
                    second = await self._open(track, True, host, port + 1)
                    self._sockets[track, False], self._sockets[track, True] = first, second
                    return port, port + 1
            first.close()
        raise RemoteError("no pair of free UDP ports", subject=host)

    async def _open(
        self, track: int, rtcp: bool, host: str, port: int
    ) -> asyncio.DatagramTransport:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Datagrams(self, track, rtcp), (host, port)
        )
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        return transport

    def send(self, track: int, data: bytes, address: Address, *, rtcp: bool) -> None:
        """Send from a track's port; nothing where it has none."""
        datagrams = self._sockets.get((track, rtcp))
        if datagrams is not None:
            datagrams.sendto(data, address)

    @property
    def dropped(self) -> int:
        """Packets that found our sockets full."""
        count = 0
        for (_, rtcp), transport in self._sockets.items():
            raw = transport.get_extra_info("socket")
            if rtcp or raw is None:
                continue
            with contextlib.suppress(OSError, struct.error):
                words = raw.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
                count += _MEMINFO.unpack(words)[8]
        return count

    def close(self) -> None:
        """Give all ports back; harmless twice."""
        for datagrams in self._sockets.values():
            datagrams.close()
        self._sockets.clear()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, ports: MediaPorts, track: int, rtcp: bool) -> None:
        self._ports, self._track, self._rtcp = ports, track, rtcp

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._ports.on_datagram(self._track, self._rtcp, data, (addr[0], addr[1]))

    def error_received(self, exc: Exception) -> None:
        """The other side's port is closed; the RTSP connection will tell."""
