"""Senders of the native plane that get ahead together: by due time, and as far as there is room."""

from __future__ import annotations

import socket
import struct

from tests.contract.blocks import Packet, block

from heliograph.plane import open_plane

#: Senders, seconds of their title, its packets a second and bytes of each.
SENDERS, SECONDS, EACH, SIZE = 12, 4, 40, 1200
#: Bytes of a packet on the wire: RTP with its extension, UDP, IP, Ethernet.
WHOLE = SIZE + 28 + 46
#: Bits a second that go while packets are ahead: a quarter more than is due.
ROOM = SENDERS * EACH * WHOLE * 8 * 5 // 4


def test_senders_get_ahead_together_as_far_as_there_is_room() -> None:
    step = 1_000_000 // EACH
    packets = [
        Packet(n * step, 0, 15, n * step * 9 // 100, bytes(SIZE)) for n in range(SECONDS * EACH)
    ]
    plane = open_plane(2)
    player = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    player.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 21)
    player.bind(("127.0.0.1", 0))
    player.settimeout(5)
    came: list[tuple[float, int, int]] = []  # when since the start, sender, packet of the title
    try:
        plane.limit_ahead(ROOM)
        endpoint = plane.bind_udp("127.0.0.1", 0)[0]
        begin = plane.monotonic_us() + 100_000
        for number in range(SENDERS):
            sender = plane.open_sender(
                [(0, number, 96, 90_000, 0, 0)], node=(number, 1), ahead_us=3_000_000
            )
            plane.sender_to_udp(sender, endpoint, [(0, "127.0.0.1", player.getsockname()[1], 0)])
            plane.sender_feed(sender, block(packets, SECONDS * 1_000_000, [0, 0]))
            plane.sender_end(sender)
            plane.sender_start(sender, 0, at_us=begin)
        while len(came) < SENDERS * len(packets):
            data = player.recv(2048)
            total, number = struct.unpack_from("!IH", data, 17)
            came.append(((plane.monotonic_us() - begin) / 1e6, number, total))
    finally:
        player.close()
        plane.close()
    newest = [0] * SENDERS
    for place, (at, number, total) in enumerate(came):
        assert total in (newest[number], newest[number] + 1)  # in order, and none is lost
        newest[number] = total
        # What has come was sent before: no more than there was room for, and a packet a worker.
        assert (place + 1 - 2 - SENDERS) * WHOLE * 8 <= ROOM * (at + 0.005)
        if at > 0.5:  # who is due first goes first, so nobody is far ahead of the others
            assert max(newest) - min(newest) <= EACH * 0.4
    # All of it is sent as soon as there was room for it, which is before it was due.
    assert SECONDS * 0.8 - 0.1 <= came[-1][0] <= SECONDS * 0.95
