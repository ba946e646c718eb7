"""What any packet plane does with titles: paced senders, by UDP and on connections."""

from __future__ import annotations

import itertools
import socket
import struct
import sys
import time

import pytest

from heliograph.plane import ConnectionClosed, SenderClosed, SenderEnded, SenderLow, SenderStats
from heliograph.plane.twin import TwinPlane

from .blocks import KEY, PICTURE_US, Packet, block
from .conftest import Harness
from .rtp import sequence_of, ssrc_of, timestamp_of
from .sending import BLOCKS, LENGTH_US, TITLE, TRACKS, Viewer, fed, opened, payloads


def test_whole_title_comes_once_and_in_order(harness: Harness, viewer: Viewer) -> None:
    sender = fed(harness, viewer)
    assert harness.plane.sender_start(sender, 0) == [(0, 65_530, 4_294_960_000), (1, 7, 1_000)]
    harness.event(SenderEnded, sender=sender)
    viewer.wait(len(TITLE))
    for track, ssrc, payload_type, _, sequence, timestamp in TRACKS:
        got, mine = viewer.of(ssrc), [one for one in TITLE if one.track == track]
        assert payloads(got) == [one.payload for one in mine]
        numbers = [(sequence_of(packet) - sequence) & 0xFFFF for packet in got]
        assert numbers == list(range(len(mine)))
        stamps = [(timestamp_of(packet) - timestamp) & 0xFFFFFFFF for packet in got]
        assert stamps == [one.timestamp for one in mine]
        assert [packet[1] for packet in got] == [
            payload_type | (one.flags & 4) << 5 for one in mine
        ]
    stats = SenderStats.of(harness.plane.sender_stats(sender))
    assert stats.packets == len(TITLE)
    assert stats.bytes == sum(len(one.payload) + 12 for one in TITLE)
    assert (stats.state, stats.queued_bytes) == ("ended", 0)


def test_block_that_is_sent_is_let_go(harness: Harness, viewer: Viewer) -> None:
    plane = harness.plane
    sender = opened(harness, viewer)
    one = bytes(bytearray(BLOCKS[0]))  # an object of its own
    before = sys.getrefcount(one)
    plane.sender_feed(sender, one)
    plane.sender_end(sender)
    plane.sender_start(sender, 0)
    harness.event(SenderEnded, sender=sender)
    harness.until(lambda: sys.getrefcount(one) == before)


def test_packets_come_at_their_time(harness: Harness, viewer: Viewer) -> None:
    sender = fed(harness, viewer)
    begin = harness.plane.monotonic_us() + 100_000
    harness.plane.sender_start(sender, 0, at_us=begin)
    seen: list[tuple[int, int]] = []

    def all_came() -> bool:
        before = len(viewer.packets)
        viewer.receive()
        now = harness.plane.monotonic_us()
        seen.extend((now, timestamp_of(one)) for one in viewer.of(0x11)[len(seen) :])
        return len(viewer.packets) >= len(TITLE) and len(viewer.packets) == before

    harness.until(all_came)
    early = [
        (stamp - 4_294_960_000 & 0xFFFFFFFF) / 90_000 - (now - begin) / 1e6 for now, stamp in seen
    ]
    assert max(early) < 0.002  # none before its time


def test_start_in_the_middle_begins_at_the_key_unit(harness: Harness, viewer: Viewer) -> None:
    sender = fed(harness, viewer)
    begin = 250_000  # the key unit before it is due at 200 ms
    info = harness.plane.sender_start(sender, begin)
    assert info == [(0, 65_530, 4_294_960_000), (1, 7, 1_000)]
    harness.event(SenderEnded, sender=sender)
    pictures = [one for one in TITLE if one.track == 0 and one.due_us >= 200_000]
    sounds = [one for one in TITLE if one.track == 1 and one.due_us >= 240_000]
    viewer.wait(len(pictures) + len(sounds))
    assert payloads(viewer.of(0x11)) == [one.payload for one in pictures]
    assert payloads(viewer.of(0x22)) == [one.payload for one in sounds]
    first = (timestamp_of(viewer.of(0x11)[0]) - 4_294_960_000 + 2**31) % 2**32 - 2**31
    assert first == -50 * 90


def test_pause_loses_nothing_and_timestamps_go_on_with_the_clock(
    harness: Harness, viewer: Viewer
) -> None:
    plane = harness.plane
    sender = fed(harness, viewer)
    plane.sender_start(sender, 0)
    viewer.wait(20)
    position = plane.sender_pause(sender)
    harness.wait(0.1)
    before = list(viewer.receive())
    assert plane.sender_stats(sender)["state"] == "paused"
    harness.wait(0.4)
    assert viewer.receive() == before
    next_numbers = {track: sequence for track, sequence, _ in plane.sender_start(sender, position)}
    harness.event(SenderEnded, sender=sender)
    viewer.wait(len(TITLE))
    for track, ssrc, *_ in TRACKS:
        got = viewer.of(ssrc)
        assert payloads(got) == [one.payload for one in TITLE if one.track == track]
        assert all(
            (sequence_of(b) - sequence_of(a)) & 0xFFFF == 1 for a, b in itertools.pairwise(got)
        )
        count = sum(ssrc_of(packet) == ssrc for packet in before)
        assert sequence_of(got[count]) == next_numbers[track]
        clock = 90_000 if track == 0 else 48_000
        gap = (timestamp_of(got[count]) - timestamp_of(got[count - 1])) & 0xFFFFFFFF
        assert 0.5 * clock <= gap < 30 * clock


def test_seek_goes_on_numbering(harness: Harness, viewer: Viewer) -> None:
    plane = harness.plane
    sender = fed(harness, viewer)
    plane.sender_start(sender, 0)
    viewer.wait(20)
    plane.sender_flush(sender)
    harness.wait(0.05)
    count = len(viewer.receive())
    plane.sender_feed(sender, BLOCKS[2])
    plane.sender_end(sender)
    info = {track: (number, stamp) for track, number, stamp in plane.sender_start(sender, 400_000)}
    harness.event(SenderEnded, sender=sender)
    later = [one for one in TITLE if one.due_us >= 400_000]
    viewer.wait(count + len(later))
    for track, ssrc, *_ in TRACKS:
        got = [packet for packet in viewer.packets[count:] if ssrc_of(packet) == ssrc]
        old = [packet for packet in viewer.packets[:count] if ssrc_of(packet) == ssrc]
        assert payloads(got) == [one.payload for one in later if one.track == track]
        assert (sequence_of(got[0]), timestamp_of(got[0])) == info[track]
        assert (sequence_of(got[0]) - sequence_of(old[-1])) & 0xFFFF == 1
        # As the clock goes, not as the title: the jump is not seen.
        step = (timestamp_of(got[0]) - timestamp_of(old[-1])) & 0xFFFFFFFF
        assert 0 < step < 2**31


def test_scale_sends_key_units_and_divides_timestamps(harness: Harness, viewer: Viewer) -> None:
    plane = harness.plane
    sender = fed(harness, viewer)
    before = plane.monotonic_us()
    plane.sender_start(sender, 0, scale=4.0, tracks=[0])
    harness.event(SenderEnded, sender=sender)
    assert plane.monotonic_us() - before >= LENGTH_US / 4 - 1000
    wanted = [one for one in TITLE if one.track == 0 and one.flags & KEY]
    viewer.wait(len(wanted))
    assert payloads(viewer.packets) == [one.payload for one in wanted]
    stamps = [(timestamp_of(packet) - 4_294_960_000) & 0xFFFFFFFF for packet in viewer.packets]
    assert stamps == [one.timestamp // 4 for one in wanted]
    numbers = [(sequence_of(packet) - 65_530) & 0xFFFF for packet in viewer.packets]
    assert numbers == list(range(len(wanted)))


def test_rate_hurries_packets_and_leaves_timestamps(harness: Harness, viewer: Viewer) -> None:
    plane = harness.plane
    sender = fed(harness, viewer)
    before = plane.monotonic_us()
    plane.sender_start(sender, 0)
    viewer.wait(6)
    plane.sender_rate(sender, 8.0)
    changed = plane.monotonic_us()
    harness.event(SenderEnded, sender=sender)
    taken = plane.monotonic_us() - before
    assert taken >= changed - before + (LENGTH_US - (changed - before)) / 8 - 10_000
    if isinstance(harness.plane, TwinPlane):
        assert taken < LENGTH_US / 2
    viewer.wait(len(TITLE))
    stamps = [(timestamp_of(packet) - 4_294_960_000) & 0xFFFFFFFF for packet in viewer.of(0x11)]
    assert stamps == [one.timestamp for one in TITLE if one.track == 0]


def test_rate_that_changed_a_while_ago_is_caught_up(harness: Harness, viewer: Viewer) -> None:
    plane = harness.plane
    sender = fed(harness, viewer)
    begin = plane.monotonic_us()
    plane.sender_start(sender, 0, at_us=begin)
    viewer.wait(6)
    # As if it had been twice as fast from the beginning.
    plane.sender_rate(sender, 2.0, at_us=begin)
    harness.until(lambda: plane.monotonic_us() >= begin + 150_000)
    assert plane.sender_stats(sender)["position_us"] >= 2 * 150_000 - 45_000
    plane.sender_rate(sender, 64.0, at_us=begin, from_us=LENGTH_US)  # all of it is due
    harness.event(SenderEnded, sender=sender)
    viewer.wait(len(TITLE))


def test_end_of_the_range_says_goodbye(harness: Harness, viewer: Viewer) -> None:
    plane = harness.plane
    sender = fed(harness, viewer, 2)
    plane.sender_start(sender, 0, until_us=100_000)
    harness.event(SenderEnded, sender=sender)
    wanted = [one for one in TITLE if one.due_us < 100_000]
    viewer.wait(len(wanted))
    harness.wait(0.1)
    assert len(viewer.receive()) == len(wanted)

    def said() -> bool:
        viewer.receive()
        return len(viewer.reports) >= 4

    harness.until(said)
    goodbyes = [report for report in viewer.reports if report[-8:-4] == bytes([0x81, 203, 0, 1])]
    assert {int.from_bytes(report[-4:]) for report in goodbyes} == {0x11, 0x22}
    assert plane.sender_stats(sender)["position_us"] == 100_000


def test_reports_tell_wall_clock_and_timestamp_of_one_instant(
    harness: Harness, viewer: Viewer
) -> None:
    sender = fed(harness, viewer)
    harness.plane.sender_start(sender, 0)
    viewer.wait(4)

    def reported() -> bool:
        viewer.receive()
        return len(viewer.reports) >= 2

    harness.until(reported)
    instants = []
    for report in viewer.reports:
        assert report[:2] == bytes([0x80, 200])
        ssrc, seconds, fraction, stamp = struct.unpack_from("!IIII", report, 4)
        _, _, _, clock, _, first = next(one for one in TRACKS if one[1] == ssrc)
        played = ((stamp - first) & 0xFFFFFFFF) / clock
        instants.append(seconds + fraction / 2**32 - played)
        assert report[28:30] == bytes([0x81, 202])
        assert b"helio" in report
    assert max(instants) - min(instants) < 0.001  # both tracks began at the same instant


def test_receiver_reports_are_signs_of_life(harness: Harness, viewer: Viewer) -> None:
    plane = harness.plane
    sender = opened(harness, viewer)
    assert SenderStats.of(plane.sender_stats(sender)).last_rtcp_age_ms == -1
    assert viewer.endpoint is not None
    rtcp_port = plane.bind_udp("127.0.0.1", 0)
    plane.sender_to_udp(sender, rtcp_port[0], viewer.to())
    lost = struct.pack("!BBHIIIIIII", 0x81, 201, 7, 5, 0x22, 64 << 24, 0, 480, 0, 0)
    viewer.sockets[1].sendto(lost, ("127.0.0.1", rtcp_port[2]))
    harness.until(lambda: plane.sender_stats(sender)["last_rtcp_age_ms"] >= 0)
    stats = SenderStats.of(plane.sender_stats(sender))
    assert (stats.rr_loss_permille, stats.rr_jitter_us) == (250, 10_000)


def test_low_is_told_until_enough_is_fed(harness: Harness, viewer: Viewer) -> None:
    plane = harness.plane
    sender = opened(harness, viewer, low_us=300_000)
    plane.sender_feed(sender, BLOCKS[0])
    harness.wait(0.05)
    assert not harness.poll()
    plane.sender_start(sender, 0)
    assert harness.event(SenderLow, sender=sender).queued_us <= 200_000
    plane.sender_feed(sender, BLOCKS[1])
    later = harness.event(SenderLow, sender=sender)
    assert 200_000 < later.queued_us <= 300_000
    before = plane.sender_stats(sender)["underruns"]  # 1 where this was slow with the second block
    harness.until(lambda: plane.sender_stats(sender)["underruns"] == before + 1)
    plane.sender_feed(sender, BLOCKS[2])
    viewer.wait(len(TITLE))
    assert plane.sender_stats(sender)["underruns"] == before + 1


def test_what_cannot_be_fed_is_refused(harness: Harness, viewer: Viewer) -> None:
    plane = harness.plane
    sender = opened(harness, viewer, max_bytes=len(BLOCKS[0]) + len(BLOCKS[1]))
    for length in range(0, len(BLOCKS[0]), 37):
        with pytest.raises(ValueError, match=r"."):
            plane.sender_feed(sender, BLOCKS[0][:length])
    with pytest.raises(ValueError, match=r"."):
        plane.sender_feed(sender, BLOCKS[0] + b"\0")
    plane.sender_feed(sender, BLOCKS[1])
    with pytest.raises(ValueError, match="order"):
        plane.sender_feed(sender, BLOCKS[0])
    with pytest.raises(BlockingIOError):
        plane.sender_feed(sender, block([Packet(400_000, 0, 3, 0, bytes(60_000))], 500_000, [0, 0]))
    plane.sender_end(sender)
    with pytest.raises(ValueError, match="nothing more"):
        plane.sender_feed(sender, BLOCKS[2])


def test_values_out_of_range_are_refused(harness: Harness, viewer: Viewer) -> None:
    plane = harness.plane
    for tracks in ([], [TRACKS[0], TRACKS[0]], [(0, 1, 128, 90_000, 0, 0)], [(0, 1, 96, 0, 0, 0)]):
        with pytest.raises(ValueError, match=r"."):
            plane.open_sender(tracks)
    with pytest.raises(ValueError, match="extension"):
        plane.open_sender(TRACKS, node=(1, 15))
    sender = plane.open_sender(TRACKS)
    with pytest.raises(ValueError, match="destination"):
        plane.sender_start(sender, 0)
    sender = fed(harness, viewer)
    for name, value in [("rate", 0.0), ("scale", float("nan")), ("scale", -1.0), ("rate", 65.0)]:
        with pytest.raises(ValueError, match="64"):
            plane.sender_start(sender, 0, **{name: value})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="end before"):
        plane.sender_start(sender, 500_000, until_us=400_000)
    count = plane.totals()["senders"]
    plane.close_sender(sender)
    plane.close_sender(sender)
    assert plane.totals()["senders"] == count - 1
    with pytest.raises(KeyError):
        plane.sender_stats(sender)


def test_connection_that_does_not_read_loses_nothing(harness: Harness) -> None:
    plane = harness.plane
    ours, theirs = socket.socketpair()
    theirs.settimeout(0.01)
    conn = plane.adopt(ours.fileno(), "rtsp")
    ours.close()
    packets = [
        Packet(number * 2_000, 0, 15, number * 180, number.to_bytes(4) + bytes(20_000))
        for number in range(200)
    ]
    sender = plane.open_sender(TRACKS[:1])
    plane.sender_to_conn(sender, conn, [(0, 4, 5)])
    plane.sender_feed(sender, block(packets, 400_000, [0, 0]))
    plane.sender_end(sender)
    plane.sender_start(sender, 0)
    harness.wait(0.5)
    stats = SenderStats.of(plane.sender_stats(sender))
    assert stats.packets < 200
    assert stats.stalled_us > 100_000
    got: list[bytes] = []
    data = b""

    def receive() -> bool:
        nonlocal data
        try:
            data += theirs.recv(1 << 20)
        except TimeoutError:
            return False
        while len(data) >= 4 and len(data) >= 4 + int.from_bytes(data[2:4]):
            assert data[:1] == b"$"
            size = 4 + int.from_bytes(data[2:4])
            if data[1] == 4:
                got.append(data[4:size])
            data = data[size:]
        return len(got) >= 200

    harness.until(receive)
    assert [int.from_bytes(packet[12:16]) for packet in got] == list(range(200))
    harness.event(SenderEnded, sender=sender)
    stats = SenderStats.of(plane.sender_stats(sender))
    assert stats.late_20ms > 0
    assert stats.late_max_us <= 1_000_000
    theirs.close()
    assert harness.event(ConnectionClosed, conn=conn)
    harness.event(SenderClosed, sender=sender)
    with pytest.raises(KeyError):
        plane.sender_stats(sender)


def test_slow_sender_puts_its_clock_back(harness: Harness, viewer: Viewer) -> None:
    plane = harness.plane
    sender = fed(harness, viewer)
    plane.sender_start(sender, 0, at_us=plane.monotonic_us() - 60_000_000)
    begin = time.monotonic()
    harness.event(SenderEnded, sender=sender)
    assert time.monotonic() - begin < 10  # not the minute that it was behind
    viewer.wait(len(TITLE))
    stats = SenderStats.of(plane.sender_stats(sender))
    assert 58_000_000 <= stats.slipped_us <= 59_000_000 + PICTURE_US
    assert stats.late_max_us == 1_000_000
