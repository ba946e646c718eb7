"""The twin's UDP endpoints: simulated, or real sockets on loopback."""

from __future__ import annotations

import contextlib
import socket
import struct
from dataclasses import dataclass, field

from heliograph.model.errors import ResourceError

#: Pairs of ports tried where any will do.
PAIR_ATTEMPTS = 200


@dataclass(slots=True)
class Attachment:
    """A track's packets taken from an endpoint."""

    input: int
    track: int
    payload_type: int
    remote: str | None
    rtp_port: int | None
    rtcp_port: int | None

    def matches(self, address: str, port: int, rtcp: bool) -> bool:
        wanted = self.rtcp_port if rtcp else self.rtp_port
        return self.remote in (None, address) and (wanted is None or wanted == port)

    def latch(self, address: str, port: int, rtcp: bool) -> None:
        """Keep the first sender."""
        self.remote = self.remote or address
        if rtcp:
            self.rtcp_port = self.rtcp_port or port
        else:
            self.rtp_port = self.rtp_port or port


@dataclass(slots=True)
class Endpoint:
    """A pair of ports; ``sent`` keeps what left: (address, port, data)."""

    id: int
    ports: tuple[int, int]
    attachments: list[Attachment] = field(default_factory=list)
    sockets: list[socket.socket] = field(default_factory=list)
    sent: list[tuple[str, int, bytes]] = field(default_factory=list)

    def send(self, address: str, port: int, data: bytes, *, rtcp: bool = False) -> None:
        if self.sockets:
            with contextlib.suppress(OSError):
                self.sockets[-1 if rtcp else 0].sendto(data, (address, port))
        else:
            self.sent.append((address, port, data))

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()


def bind(
    address: str, port: int, *, rtcp: bool, group: str | None, interface: str | None, ttl: int
) -> list[socket.socket]:
    """Bind RTP and RTCP sockets: an even port and the next; ``OSError`` where taken."""
    attempts = 1 if port else PAIR_ATTEMPTS
    for _ in range(attempts):
        sockets: list[socket.socket] = []
        try:
            first = _bind(address, port, group, interface, ttl)
            sockets.append(first)
            number = first.getsockname()[1]
            if rtcp:
                if not port and number % 2:
                    raise OSError("odd port")
                sockets.append(_bind(address, number + 1, group, interface, ttl))
        except OSError:
            for sock in sockets:
                sock.close()
            if port:
                raise
        else:
            return sockets
    raise ResourceError("no free pair of UDP ports")


def _bind(
    address: str, port: int, group: str | None, interface: str | None, ttl: int
) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if group is not None and family == socket.AF_INET:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            member = struct.pack(
                "4s4s", socket.inet_aton(group), socket.inet_aton(interface or "0.0.0.0")
            )
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        if family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, ttl)
        sock.bind((address, port))
    except OSError:
        sock.close()
        raise
    return sock
