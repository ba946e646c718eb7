"""Any bytes as datagrams of a mesh link or a cast, forged or sealed by the peer itself.

Invariants: the plane lives; every datagram is accounted for (taken, replayed, forged or foreign),
exactly once. The first byte of each piece tells what is done with
the rest: sent as it is, or sealed as a body of one of the kinds, of the link or of the cast.
"""

from __future__ import annotations

import atexit
import socket
import struct
import time

import harness
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

with harness.instrumented():
    from heliograph.plane import open_plane

KEY = bytes(range(16))
#: The port answers in far less than a millisecond; a machine that takes longer has stopped.
PATIENCE = 30.0

_plane = open_plane(1)
_socket, _group = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
_group.bind(("0.0.0.0", 0))
GROUP = ("239.255.74.9", _group.getsockname()[1])
_group.close()
_group = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
_group.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
_port = _plane.mesh_open("127.0.0.1:0", multicast_port=GROUP[1], multicast_interface="127.0.0.1")
_socket.connect(("127.0.0.1", _port.port))
for _one in (_socket, _group):
    atexit.register(_one.close)
atexit.register(_plane.close)
_cipher = AESGCM(KEY)
_names = iter(range(1, 1 << 32))


def sealed(link: int, kind: int, counter: int, body: bytes) -> bytes:
    """A datagram as the peer would make it."""
    head = struct.pack("!BBIQ", 0x10, kind, link, counter)
    return head + _cipher.encrypt(struct.pack("!IQ", 0, counter), body, head)


def accounted() -> int:
    """Datagrams that the port has taken or refused."""
    counters = _port.counters()
    return sum(counters[name] for name in ("taken", "foreign", "forged", "replayed"))


def one_input(data: bytes) -> None:
    name = next(_names)
    link = _port.link(name, name, "", KEY, KEY, connect=False)
    cast = next(_names)
    _port.listen(link, 0, cast, KEY, GROUP[0])
    before, sent, counter = accounted(), 0, 0
    while data:
        how, size, data = data[0], data[1] if len(data) > 1 else 0, data[2:]
        casts = bool(how & 128)
        piece, data = data[:size], data[size:]
        kind = how & 7
        if kind:
            counter += 1 + (how >> 3)
            space = 1 << 63 if kind >= 4 else 0
            piece = sealed(cast if casts else name, kind, space | counter, piece)
        elif not piece:
            continue
        if casts:
            _group.sendto(piece, GROUP)
        else:
            _socket.send(piece)
        sent += 1
    deadline = time.monotonic() + PATIENCE
    while accounted() < before + sent:
        assert time.monotonic() < deadline, "datagrams are not accounted for"
        time.sleep(0)
    assert accounted() == before + sent
    _port.close_link(link)
    _plane.drain()


if __name__ == "__main__":
    harness.main("mesh", one_input)
