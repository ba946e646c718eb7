"""Links of four nodes that send the blocks of many titles in turns, each behind a link of one rate:
the native planes of all send to one socket, and what came from each is put through a queue."""

from __future__ import annotations

import random
import socket
import struct
import time

import numpy as np
import pytest
from tests.contract.blocks import Packet, block

from heliograph.plane import Plane, open_plane
from heliograph.storage.placement import Table, place, policy_named, whole
from heliograph.storage.placement.policies import DEFAULT
from heliograph.storage.values import DiskId

pytestmark = [pytest.mark.timeout(120), pytest.mark.alone]

#: Linux, asm-generic/socket.h.
SO_TIMESTAMPNS = 35
NODES, STREAMS = 4, 104
#: Packets a second of a stream, and bytes of each; on the wire with RTP, UDP, IP and Ethernet.
EACH, SIZE = 25, 100
WHOLE = SIZE + 28 + 46
#: Packets of a block, and blocks of a title: a quarter of the usual lengths, as are all times here.
BLOCK, BLOCKS = 12, 30
#: Bits a second of a link: that many streams fill 0.95 of all.
LINK = STREAMS * EACH * WHOLE * 8 / NODES / 0.95
#: Seconds that a link's queue holds, with what may go at once.
QUEUE = 0.06
#: Seconds in which streams begin, from which on links are looked at, and until which.
BEGINS, SINCE, UNTIL = 2.0, 4.5, 11.0


def homes(stream: int) -> list[int]:
    """The node of each of its blocks, dealt to all in turn."""
    table = Table().add([whole(n + 1, DiskId(f"{n:016x}")) for n in range(NODES)])
    names = {disk: disk for disk in table.physical}
    groups = np.arange(-(-BLOCKS // NODES))
    rows = place(policy_named(DEFAULT), stream, groups, NODES, table, names)
    found: list[int] = rows.ravel()[:BLOCKS].tolist()
    return found


def made(number: int) -> bytes:
    """A block of any of the titles."""
    first, step = number * BLOCK, 1_000_000 // EACH
    packets = [
        Packet(n * step, 0, 15, n * step * 9 // 100, bytes(SIZE))
        for n in range(first, first + BLOCK)
    ]
    return block(packets, (first + BLOCK) * step, [first, 0])


def sent(ahead_us: int) -> list[list[float]]:
    """By node, when its packets came, in seconds since the first stream began."""
    planes = [open_plane(1) for _ in range(NODES)]
    player = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    player.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    player.bind(("127.0.0.1", 0))
    player.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)  # this process may be late
    player.settimeout(5)
    try:
        begin = _begin(planes, player.getsockname()[1], ahead_us)
        came: list[list[float]] = [[] for _ in planes]
        at = 0.0
        while at < UNTIL:
            data, told, _, _ = player.recvmsg(2048, 64)
            seconds, rest = struct.unpack("@qq", told[0][2])
            at = seconds + rest / 1e9 - begin
            came[struct.unpack_from("!H", data, 21)[0]].append(at)
        return came
    finally:
        player.close()
        for plane in planes:
            plane.close()


def _begin(planes: list[Plane], port: int, ahead_us: int) -> float:
    """Start all streams; when the first begins, in seconds since 1970."""
    draw, blocks = random.Random(3), [made(number) for number in range(BLOCKS)]
    endpoints = [plane.bind_udp("127.0.0.1", 0)[0] for plane in planes]
    for plane in planes:
        plane.limit_ahead(round(0.98 * LINK))
    begin = planes[0].monotonic_us() + 1_500_000
    for stream in range(STREAMS):
        home, at = homes(stream), begin + round(draw.uniform(0, BEGINS) * 1e6)
        for node, plane in enumerate(planes):
            lanes = [(0, stream, 96, 90_000, 0, 0)]
            sender = plane.open_sender(lanes, node=(node, 1), ahead_us=ahead_us)
            plane.sender_to_udp(sender, endpoints[node], [(0, "127.0.0.1", port, 0)])
            for number, data in enumerate(blocks):
                if home[number] == node:
                    plane.sender_feed(sender, data)
            plane.sender_start(sender, 0, at_us=at)
    assert planes[0].monotonic_us() < begin, "this machine is too busy"
    return time.time() + (begin - planes[0].monotonic_us()) / 1e6


def lost(came: list[list[float]]) -> list[int]:
    """Packets that find a link's queue full, by node."""
    found = []
    for times in came:
        queued = before = 0.0
        full = 0
        for at in times:
            queued = max(queued - (at - before), 0.0)
            before = at
            if queued > QUEUE:
                full += at >= SINCE
            else:
                queued += WHOLE * 8 / LINK
        found.append(full)
    return found


def test_links_that_are_nearly_full_lose_nothing_where_nodes_go_ahead() -> None:
    due = sent(0)
    came = sent(1_000_000)
    print(f"lost by node: {lost(due)} when due, {lost(came)} ahead")
    assert sum(lost(due)) > 100
    assert sum(lost(came)) == 0
