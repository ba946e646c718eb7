"""The UDP ports of a session's tracks: they outlive the connection that it was set up by."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable
from typing import Any

from heliograph.model.errors import RemoteError
from heliograph.player.senders import Address

#: Bytes the kernel keeps for us on a media socket: 0.3 s of 50 Mbit/s. It may grant less.
RECEIVE_BUFFER = 2 << 20
#: Bytes of ours that the kernel keeps: some pictures, which are sent as bursts.
SEND_BUFFER = 2 << 20
#: Attempts to find a free even port with its odd neighbour (RFC 3550 §11).
PORT_ATTEMPTS = 32
#: Bytes read of a datagram: no larger one exists.
MAX_DATAGRAM = 65_536
#: Datagrams read of one socket before others have their turn: more than its buffer mostly holds.
MAX_AT_ONCE = 2048
#: Linux's SO_MEMINFO, not in Python's ``socket``: nine words, the last counts dropped datagrams.
_SO_MEMINFO = 55
_MEMINFO = struct.Struct("=9I")

#: (track, whether RTCP, datagram, where it came from)
DatagramCallback = Callable[[int, bool, bytes, Address], None]


class MediaPorts:
    """Two ports a track, for RTP and RTCP.

    Whenever something comes all of them are read until they are empty: a node counts what it sends
    over all tracks, so what waits unread in one socket would look like a loss in another.
    """

    def __init__(self, on_datagram: DatagramCallback) -> None:
        self.on_datagram = on_datagram
        """Who takes what comes; may be changed."""
        self._sockets: dict[tuple[int, bool], socket.socket] = {}
        self._dropped = 0  # of ports that were closed

    async def bind(self, track: int, host: str) -> tuple[int, int]:
        """Two neighbouring ports, on one of our addresses."""
        loop = asyncio.get_running_loop()
        family, _, _, _, where = (
            await loop.getaddrinfo(host, 0, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)
        )[0]
        for _ in range(PORT_ATTEMPTS):
            first = _bound(family, where)
            port: int = first.getsockname()[1]
            if port % 2 == 0:
                with contextlib.suppress(OSError):
                    second = _bound(family, (where[0], port + 1, *where[2:]))
                    for rtcp, made in ((False, first), (True, second)):
                        self._sockets[track, rtcp] = made
                        loop.add_reader(made, self._read)
                    return port, port + 1
            first.close()
        raise RemoteError("no pair of free UDP ports", subject=host)

    def _read(self) -> None:
        for (track, rtcp), readable in list(self._sockets.items()):
            with contextlib.suppress(OSError):  # nothing more, or their port is closed
                for _ in range(MAX_AT_ONCE):
                    data, address = readable.recvfrom(MAX_DATAGRAM)
                    self.on_datagram(track, rtcp, data, (address[0], address[1]))

    def send(self, track: int, data: bytes, address: Address, *, rtcp: bool) -> None:
        """Send from a track's port; nothing where it has none, or no room just now."""
        sending = self._sockets.get((track, rtcp))
        if sending is not None:
            with contextlib.suppress(OSError):  # lost as on any way; the RTSP connection will tell
                sending.sendto(data, address)

    @property
    def dropped(self) -> int:
        """Packets that found our sockets full; stays when they are closed."""
        count = self._dropped
        for (_, rtcp), held in self._sockets.items():
            if rtcp:
                continue
            with contextlib.suppress(OSError, struct.error):
                words = held.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size)
                count += _MEMINFO.unpack(words)[8]
        return count

    def close(self) -> None:
        """Give all ports back; harmless twice."""
        self._dropped = self.dropped
        for held in self._sockets.values():
            asyncio.get_running_loop().remove_reader(held)
            held.close()
        self._sockets.clear()


def _bound(family: int, where: tuple[Any, ...]) -> socket.socket:
    made = socket.socket(family, socket.SOCK_DGRAM)
    try:
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        made.bind(where)
    except BaseException:
        made.close()
        raise
    return made
