"""Ports for servers under test, which nobody else gets before the server listens.

What the kernel gives to ``bind(0)`` it gives, a moment later, to anybody's outgoing connection.
These ports lie outside its range, and each stays reserved until the process that asked for it ends:
by the name of a Unix socket, which all test processes of a machine see and none can leave behind.
"""

from __future__ import annotations

import secrets
import socket
from pathlib import Path

_LEAST, _MOST = 10_000, 65_535
_low, _high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
#: The larger of what lies below and above the kernel's range.
_PORTS = max(range(_LEAST, _low - 1), range(_high + 1, _MOST), key=len)

#: What holds the names; closed when the process ends.
_reserved: list[socket.socket] = []


def free_port(*, pair: bool = False) -> int:
    """A port that nobody has or gets, TCP or UDP; with ``pair``, an even one and its next."""
    if len(_PORTS) < 1000:
        raise OSError(f"the kernel gives nearly all ports away ({_low} to {_high})")
    for _ in range(1000):
        port = secrets.choice(_PORTS)
        if pair:
            port -= port % 2
        wanted = [port, port + 1] if pair else [port]
        if all(map(_unused, wanted)) and _reserve(wanted):
            return port
    raise OSError(f"no free port in {_PORTS}")


def _unused(port: int) -> bool:
    for kind in socket.SOCK_STREAM, socket.SOCK_DGRAM:
        with socket.socket(socket.AF_INET, kind) as sock:
            if kind == socket.SOCK_STREAM:  # what waits out its last connection can be had
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("0.0.0.0", port))
            except OSError:
                return False
    return True


def _reserve(ports: list[int]) -> bool:
    names: list[socket.socket] = []
    for port in ports:
        name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            name.bind(f"\0heliograph-test-port-{port}")
        except OSError:
            for one in [*names, name]:
                one.close()
            return False
        names.append(name)
    _reserved.extend(names)
    return True
