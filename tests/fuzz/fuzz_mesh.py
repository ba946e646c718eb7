"""Any bytes as datagrams of a mesh link, forged or sealed by the peer itself.

Invariants: the plane lives; every datagram is accounted for (taken, replayed, forged or foreign),
exactly once. The first byte of each piece tells what is done with
the rest: sent as it is, or sealed as a body of one of the kinds.
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
_port = _plane.mesh_open("127.0.0.1:0")
_socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
_socket.connect(("127.0.0.1", _port.port))
atexit.register(_socket.close)
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
    before, sent, counter = accounted(), 0, 0
    while data:
        how, size, data = data[0], data[1] if len(data) > 1 else 0, data[2:]
        piece, data = data[:size], data[size:]
        kind = how & 7
        if 1 <= kind <= 6:
            counter += 1 + (how >> 3)
            space = 1 << 63 if kind >= 4 else 0
            piece = sealed(name, kind, space | counter, piece)
        elif not piece:
            continue
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
