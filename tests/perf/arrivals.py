"""When packets of paced streams come, by the kernel's clock: how late against when they are due.

Prints JSON lines as ``helio-load`` does: ``listening``, then percentiles of the window, µs.
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import struct
import time

from tests.perf.figures import percentile
from tests.perf.pacer import SETTLE_US, TRACKS, offset_us

#: Linux's ``SO_TIMESTAMPNS``, which is also the type of the message that carries the time.
SO_TIMESTAMPNS = 35
CLOCKS = {payload_type: clock for _, _, payload_type, clock, _, _ in TRACKS}


def lateness(data: bytes, arrival_us: float, begin_us: int) -> float:
    """µs from when a packet is due to when it came."""
    played = int.from_bytes(data[4:8]) / CLOCKS[data[1] & 0x7F]
    return arrival_us - begin_us - played * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--watched", type=int, required=True, help="streams, the first ones")
    parser.add_argument("--count", type=int, required=True, help="of so many")
    parser.add_argument("--first-port", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--at-us", type=int, required=True)
    options = parser.parse_args()
    poll = select.epoll()
    streams: dict[int, tuple[socket.socket, int]] = {}
    for index in range(options.watched):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sock.bind(("127.0.0.1", options.first_port + index))
        sock.setblocking(False)
        streams[sock.fileno()] = sock, options.at_us + offset_us(index, options.count)
        poll.register(sock.fileno(), select.EPOLLIN)
    print(json.dumps({"event": "listening"}), flush=True)
    begin = options.at_us + SETTLE_US
    end = begin + options.seconds * 1e6
    late: list[float] = []
    while (now := time.monotonic_ns() / 1000) < end:
        monotonic = now - time.time_ns() / 1000
        for fd, _ in poll.poll(min(0.1, (end - now) / 1e6)):
            sock, begin_us = streams[fd]
            while True:
                try:
                    data, more, _, _ = sock.recvmsg(2048, 64)
                except BlockingIOError:
                    break
                seconds, nanoseconds = struct.unpack("qq", more[0][2])
                arrival = seconds * 1e6 + nanoseconds / 1000 + monotonic
                if begin <= arrival < end:
                    late.append(lateness(data, arrival, begin_us))
    shares = {"p50": 0.5, "p99": 0.99, "p999": 0.999, "max": 1.0}
    said = {name: round(percentile(late, share)) for name, share in shares.items()}
    print(json.dumps({"packets": len(late), **said}), flush=True)


if __name__ == "__main__":
    main()
