"""A way between two networks that delays frames and loses datagrams: two TAP devices, and a relay.

``python -m tests.probe.way NEAR NAMESPACE FAR NAMESPACE --delay 0.02 --lose 0.01 --burst 3`` makes
both devices, says ``ready``, and tells what it did when it is ended (one JSON object).
"""

from __future__ import annotations

import argparse
import fcntl
import heapq
import json
import os
import random
import select
import signal
import struct
import subprocess
import sys
import time

#: From ``linux/if_tun.h``: Ethernet frames, nothing before them.
TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
#: Largest frame; nothing is offloaded to a TAP device, so these are of the wire's size.
FRAME = 65_536
#: Frames under way at most: some seconds of 45 Mbit/s.
MAX_UNDER_WAY = 32_768


def tap(name: str, namespace: str) -> int:
    """Make a device and move it into a network; frames are read and written here."""
    file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(file, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    subprocess.run(["ip", "link", "set", name, "netns", namespace], check=True)
    return file


def is_datagram(frame: bytes) -> bool:
    """Whether a frame is UDP over IPv4."""
    return frame[12:14] == b"\x08\x00" and len(frame) > 23 and frame[23] == 17


class Way:
    """Both directions."""

    def __init__(self, near: int, far: int, *, delay: float, lose: float, burst: int) -> None:
        """``delay``: seconds each way. ``lose``: share of datagrams; ``burst``: so many at once."""
        self._ends = {near: far, far: near}
        self._delay, self._lose, self._burst = delay, lose, burst
        self._chance = random.Random(1)
        self._left = dict.fromkeys(self._ends, 0)
        self._under_way: list[tuple[float, int, int, bytes]] = []
        self._serial = 0
        self.datagrams = self.lost = self.overrun = 0

    def _is_lost(self, end: int) -> bool:
        if self._left[end]:
            self._left[end] -= 1
            return True
        rate = self._lose / (self._burst - (self._burst - 1) * self._lose)
        if self._chance.random() < rate:
            self._left[end] = self._burst - 1
            return True
        return False

    def run(self) -> None:
        while True:
            now = time.monotonic()
            while self._under_way and self._under_way[0][0] <= now:
                _, _, end, frame = heapq.heappop(self._under_way)
                try:
                    os.write(end, frame)
                except OSError:
                    self.overrun += 1
            wait = max(0.0, self._under_way[0][0] - now) if self._under_way else 1.0
            for end in select.select([*self._ends], [], [], wait)[0]:
                self._read(end)

    def _read(self, end: int) -> None:
        for _ in range(64):
            try:
                frame = os.read(end, FRAME)
            except BlockingIOError:
                return
            if is_datagram(frame):
                self.datagrams += 1
                if self._is_lost(end):
                    self.lost += 1
                    continue
            if len(self._under_way) >= MAX_UNDER_WAY:
                self.overrun += 1
                continue
            self._serial += 1
            at = time.monotonic() + self._delay
            heapq.heappush(self._under_way, (at, self._serial, self._ends[end], frame))


def main() -> None:
    """Relay until told to end."""
    parser = argparse.ArgumentParser()
    for name in ("near", "near_namespace", "far", "far_namespace"):
        parser.add_argument(name)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--lose", type=float, default=0.0)
    parser.add_argument("--burst", type=int, default=1)
    given = parser.parse_args()
    way = Way(
        tap(given.near, given.near_namespace),
        tap(given.far, given.far_namespace),
        delay=given.delay,
        lose=given.lose,
        burst=given.burst,
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    print("ready", flush=True)
    try:
        way.run()
    finally:
        told = {"datagrams": way.datagrams, "lost": way.lost, "overrun": way.overrun}
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
