"""What any packet plane does with the part of a title that one of several nodes sends."""

from __future__ import annotations

import struct

import pytest

from heliograph.plane import SenderEnded, SenderStats

from .conftest import Harness
from .rtp import sequence_of, timestamp_of
from .sending import BLOCKS, LENGTH_US, TITLE, TRACKS, Viewer, opened


def test_packets_of_a_node_are_numbered_by_the_title_and_sent_again_once(
    harness: Harness, viewer: Viewer
) -> None:
    plane = harness.plane
    sender = opened(harness, viewer, node=(300, 5), keep_us=20_000_000)
    plane.sender_feed(sender, BLOCKS[0])
    plane.sender_feed(sender, BLOCKS[2])  # block 1 is another node's
    plane.sender_end(sender)
    at = plane.monotonic_us() - 350_000
    plane.sender_start(sender, 0, at_us=at)
    mine = [(n, one) for n, one in enumerate(TITLE) if not 200_000 <= one.due_us < 400_000]
    packets = list(viewer.wait(len(mine)))
    counts = [0, 0]
    numbers = []
    for one in TITLE:
        numbers.append(counts[one.track])
        counts[one.track] += 1
    for sequence, (packet, (total, one)) in enumerate(zip(packets, mine, strict=True)):
        assert packet[0] == 0x90
        assert packet[12:17] == bytes([0xBE, 0xDE, 0, 3, 5 << 4 | 9])
        assert struct.unpack_from("!IHIx", packet, 17) == (total, 300, sequence)
        assert packet[28:] == one.payload
        _, _, _, _, first, stamp = TRACKS[one.track]
        assert sequence_of(packet) == (first + numbers[total]) & 0xFFFF
        assert timestamp_of(packet) == (stamp + one.timestamp) & 0xFFFFFFFF
    harness.event(SenderEnded, sender=sender)
    viewer.packets.clear()
    assert plane.sender_resend(sender, [3, 7, 7, len(mine), 1 << 31]) == 2
    assert viewer.wait(2) == [packets[3], packets[7]]
    assert plane.sender_resend(sender, [3]) == 0
    stats = SenderStats.of(plane.sender_stats(sender))
    assert (stats.resent, stats.resend_refused) == (2, 4)
    with pytest.raises(ValueError, match="node"):
        plane.sender_resend(plane.open_sender(TRACKS), [1])


def test_a_player_asks_by_rtcp_for_what_is_to_be_sent_again(
    harness: Harness, viewer: Viewer
) -> None:
    plane = harness.plane
    sender = opened(harness, viewer, node=(3, 1), keep_us=20_000_000)
    plane.sender_feed(sender, BLOCKS[0])
    plane.sender_start(sender, 0, at_us=plane.monotonic_us() - 250_000)
    packets = list(viewer.wait(len([one for one in TITLE if one.due_us < 200_000])))
    viewer.packets.clear()

    def ask(*numbers: int, name: bytes = b"HBIP", kind: int = 204) -> None:
        report = struct.pack("!BBHI", 0x80, 201, 1, 7)
        head = struct.pack("!BBHI4s", 0x80, kind, 2 + len(numbers), 7, name)
        asked = b"".join(number.to_bytes(4) for number in numbers)
        viewer.sockets[1].sendto(report + head + asked, ("127.0.0.1", viewer.reports_to))

    ask(1, name=b"OTHR")
    ask(*range(65))
    ask(2, 5, 5, 1 << 31)
    assert viewer.wait(2) == [packets[2], packets[5]]

    def stats() -> SenderStats:
        return SenderStats.of(plane.sender_stats(sender))

    harness.until(lambda: stats().resend_refused == 2)
    assert stats().resent == 2
    assert stats().last_rtcp_age_ms >= 0


def test_a_block_that_a_node_is_fed_late_goes_out_at_once_and_nothing_is_lost(
    harness: Harness, viewer: Viewer
) -> None:
    plane = harness.plane
    sender = opened(harness, viewer, node=(3, 1))
    plane.sender_feed(sender, BLOCKS[2])
    plane.sender_start(sender, 0, at_us=plane.monotonic_us() - 500_000)
    begun = [one for one in TITLE if 400_000 <= one.due_us < 500_000]
    viewer.wait(len(begun))
    plane.sender_feed(sender, BLOCKS[1])  # that of a node which died
    plane.sender_end(sender)
    mine = [one for one in TITLE if 200_000 <= one.due_us < 600_000]
    packets = list(viewer.wait(len(mine)))
    harness.event(SenderEnded, sender=sender)
    totals = [struct.unpack_from("!I", packet, 17)[0] for packet in packets]
    wanted = [n for n, one in enumerate(TITLE) if 200_000 <= one.due_us < 600_000]
    assert sorted(totals) == wanted
    assert totals != wanted  # the late ones came behind what had gone out
    assert [struct.unpack_from("!I", packet, 23)[0] for packet in packets] == [*range(len(mine))]
    assert SenderStats.of(plane.sender_stats(sender)).underruns == 0


def test_a_node_that_stopped_short_sends_what_is_left_before_it_goes_on(
    harness: Harness, viewer: Viewer
) -> None:
    plane = harness.plane
    sender = opened(harness, viewer, node=(3, 1))
    for one in BLOCKS:
        plane.sender_feed(sender, one)
    plane.sender_end(sender)
    plane.sender_start(sender, 0, at_us=plane.monotonic_us() - 50_000)
    viewer.wait(3)
    stood = plane.sender_pause(sender)
    # The others stopped later, behind a key unit of each track.
    plane.sender_start(sender, max(stood, 450_000), at_us=plane.monotonic_us())
    packets = list(viewer.wait(len(TITLE)))
    harness.event(SenderEnded, sender=sender)
    totals = [struct.unpack_from("!I", packet, 17)[0] for packet in packets]
    assert totals == [*range(len(TITLE))]


@pytest.mark.parametrize("room", [True, False])
def test_packets_of_a_node_go_ahead_where_there_is_room(
    harness: Harness, viewer: Viewer, room: bool
) -> None:
    plane = harness.plane
    plane.limit_ahead(100_000_000 if room else 0)
    sender = plane.open_sender(TRACKS, node=(3, 1), ahead_us=2_000_000)
    endpoint = plane.bind_udp("127.0.0.1", 0)[0]
    plane.sender_to_udp(sender, endpoint, viewer.to())
    for one in BLOCKS:
        plane.sender_feed(sender, one)
    plane.sender_end(sender)
    begin = plane.monotonic_us() + 50_000
    plane.sender_start(sender, 0, at_us=begin)
    ahead: list[tuple[float, float]] = []  # by how much, and when since the start; s

    def all_came() -> bool:
        viewer.receive()
        at = (plane.monotonic_us() - begin) / 1e6
        for packet in viewer.packets[len(ahead) :]:
            due = TITLE[struct.unpack_from("!I", packet, 17)[0]].due_us / 1e6
            ahead.append((due - at, at))
        return len(viewer.packets) >= len(TITLE)

    harness.until(all_came)
    totals = [struct.unpack_from("!I", packet, 17)[0] for packet in viewer.packets]
    assert totals == [*range(len(TITLE))]
    assert [struct.unpack_from("!I", packet, 23)[0] for packet in viewer.packets] == totals
    assert all(by <= max(at, 0.0) / 2 + 0.003 for by, at in ahead)  # half as fast again, no faster
    assert (max(by for by, _ in ahead) > 0.05) is room
    harness.event(SenderEnded, sender=sender)
    assert (plane.monotonic_us() - begin) >= LENGTH_US  # it is over by the clock
