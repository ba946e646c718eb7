"""What any packet plane does, for the twin and the native one: sources, numbering, readers."""

from __future__ import annotations

import itertools
from dataclasses import fields

import pytest

from heliograph.plane import (
    ChannelSilent,
    ChannelStats,
    InputStats,
    PlaneTotals,
    ReaderStats,
    SourceActive,
    SourceSilent,
    SourceStats,
    TapReady,
)

from .conftest import Harness
from .rtp import (
    AUDIO,
    IDR,
    PPS,
    SPS,
    VIDEO,
    Camera,
    rtp,
    sequence_of,
    ssrc_of,
    timestamp_of,
)

KEY, GAP, MARKER = 1, 2, 8


def open_video(harness: Harness, **options: int) -> tuple[int, int, int]:
    """A channel with a video source and an input."""
    plane = harness.plane
    channel = plane.open_channel(**options)  # type: ignore[arg-type]
    source = plane.add_source(channel, 0, [VIDEO])
    return channel, source, plane.add_input(source)


def playing_tap(harness: Harness, channel: int, *, frames: bool = False) -> int:
    tap = harness.plane.add_tap(channel, [0, 1], frames=frames)
    harness.plane.start_reader(tap)
    return tap


def consecutive(packets: list[bytes]) -> bool:
    return all(
        (sequence_of(b) - sequence_of(a)) & 0xFFFF == 1 for a, b in itertools.pairwise(packets)
    )


def test_first_packet_makes_the_source_active(harness: Harness) -> None:
    channel, source, input = open_video(harness)
    harness.plane.push(input, 0, Camera().gop(1))
    event = harness.event(SourceActive)
    assert (event.channel, event.source) == (channel, source)
    assert harness.plane.channel_stats(channel)["epoch"] == event.epoch


def test_tap_gets_packets_in_order_with_one_ssrc(harness: Harness) -> None:
    channel, _, input = open_video(harness)
    tap = playing_tap(harness, channel)
    sent = Camera().gop(10)
    assert harness.plane.push(input, 0, sent) == 10
    items = harness.read(tap, 10)
    packets = [item[6] for item in items]
    assert consecutive(packets)
    assert len({ssrc_of(packet) for packet in packets}) == 1
    assert [packet[12:] for packet in packets] == [packet[12:] for packet in sent]
    steps = {
        (timestamp_of(b) - timestamp_of(a)) & 0xFFFFFFFF for a, b in itertools.pairwise(packets)
    }
    assert steps == {3000}
    assert [item[5] & KEY for item in items] == [KEY] + [0] * 9
    assert all(item[5] & MARKER for item in items)
    numbers = [item[2] for item in items]
    assert numbers == list(range(numbers[0], numbers[0] + 10))
    assert len({(n - sequence_of(p)) & 0xFFFF for n, p in zip(numbers, packets, strict=True)}) == 1


def test_tap_says_once_that_it_has_something(harness: Harness) -> None:
    channel, _, input = open_video(harness)
    tap = playing_tap(harness, channel)
    harness.plane.push(input, 0, Camera().gop(3))
    harness.event(TapReady, reader=tap)
    assert len(harness.read(tap, 3)) == 3


def test_packets_before_the_first_keyframe_are_not_relayed(harness: Harness) -> None:
    channel, _, input = open_video(harness)
    tap = playing_tap(harness, channel)
    camera = Camera()
    harness.plane.push(input, 0, [camera.frame(), camera.frame(), *camera.gop(2)])
    items = harness.read(tap, 2)
    assert items[0][5] & KEY
    assert len(items) == 2


def test_copies_over_two_inputs_come_once(harness: Harness) -> None:
    channel, source, first = open_video(harness)
    second = harness.plane.add_input(source)
    tap = playing_tap(harness, channel)
    sent = Camera().gop(10)
    harness.plane.push(first, 0, sent[:6])
    harness.plane.push(second, 0, sent[2:])
    packets = [item[6] for item in harness.read(tap, 10)]
    assert len(packets) == 10
    assert consecutive(packets)
    assert harness.plane.channel_stats(channel)["sources"][0]["duplicates"] == 4


def test_reordered_packets_keep_their_numbers(harness: Harness) -> None:
    channel, _, input = open_video(harness)
    tap = playing_tap(harness, channel)
    sent = Camera().gop(6)
    harness.plane.push(input, 0, [*sent[:2], sent[3], sent[2], *sent[4:]])
    items = harness.read(tap, 6)
    numbers = sorted(item[2] for item in items)
    assert numbers == list(range(numbers[0], numbers[0] + 6))
    by_number = [item[6][12:] for item in sorted(items, key=lambda item: item[2])]
    assert by_number == [packet[12:] for packet in sent]


def test_lost_packets_leave_a_gap_in_the_numbers_and_are_counted(harness: Harness) -> None:
    channel, _, input = open_video(harness)
    tap = playing_tap(harness, channel)
    sent = Camera().gop(6)
    harness.plane.push(input, 0, sent[:3] + sent[5:])
    numbers = [item[2] for item in harness.read(tap, 4)]
    assert numbers[3] - numbers[2] == 3
    assert harness.plane.channel_stats(channel)["sources"][0]["lost"] == 2


@pytest.mark.parametrize(
    "again",
    [Camera(sequence=10, ssrc=0x9999), Camera(sequence=65530 + 20000)],
    ids=["other ssrc", "sequence jump"],
)
def test_restarted_sender_opens_an_epoch_and_numbers_go_on(harness: Harness, again: Camera) -> None:
    channel, _, input = open_video(harness)
    tap = playing_tap(harness, channel)
    harness.plane.push(input, 0, Camera().gop(5))
    first = harness.read(tap, 5)
    harness.wait(0.1)
    harness.plane.push(input, 0, [again.frame(), again.frame(), *again.gop(3)])
    second = harness.read(tap, 3)
    assert second[0][1] > first[-1][1]
    assert second[0][5] & KEY
    assert second[0][2] == first[-1][2] + 1
    assert consecutive([item[6] for item in first + second])
    assert len({ssrc_of(item[6]) for item in first + second}) == 1
    elapsed = (timestamp_of(second[0][6]) - timestamp_of(first[-1][6])) & 0xFFFFFFFF
    assert 0 < elapsed < 90000


def test_publisher_that_returns_as_a_new_source_goes_on(harness: Harness) -> None:
    channel, source, input = open_video(harness)
    tap = playing_tap(harness, channel)
    harness.plane.push(input, 0, Camera().gop(5))
    first = harness.read(tap, 5)
    harness.plane.remove_source(source)
    harness.event(ChannelSilent, channel=channel)
    harness.events.clear()
    again = harness.plane.add_source(channel, 0, [VIDEO])
    input = harness.plane.add_input(again)
    harness.plane.push(input, 0, Camera(sequence=3, timestamp=7, ssrc=5).gop(4))
    second = harness.read(tap, 4)
    assert consecutive([item[6] for item in first + second])
    event = harness.event(SourceActive, source=again)
    assert not event.layout_changed
    assert event.epoch == second[0][1]


def test_readers_keep_the_payload_type_of_the_first_publisher(harness: Harness) -> None:
    channel, source, input = open_video(harness)
    tap = playing_tap(harness, channel)
    harness.plane.push(input, 0, Camera().gop(2))
    first = harness.read(tap, 2)
    harness.plane.remove_source(source)
    other = harness.plane.add_source(channel, 0, [(*VIDEO[:4], 111, *VIDEO[5:])])
    input = harness.plane.add_input(other)
    harness.plane.push(input, 0, Camera(payload_type=111, ssrc=8).gop(2))
    second = harness.read(tap, 2)
    assert [item[6][1] & 0x7F for item in first + second] == [96] * 4


def test_packets_of_another_payload_type_are_rejected(harness: Harness) -> None:
    channel, _, input = open_video(harness)
    assert harness.plane.push(input, 0, Camera(payload_type=99).gop(2)) == 0
    stats = ChannelStats.of(harness.plane.channel_stats(channel))
    assert stats.sources[0].rejected == 2
    assert stats.epoch == 0


def test_counters_of_a_source_and_its_inputs(harness: Harness) -> None:
    channel, source, input = open_video(harness)
    packets = Camera().gop(3)
    harness.plane.push(input, 0, packets)
    harness.event(SourceActive)
    harness.wait(0.02)
    stats = ChannelStats.of(harness.plane.channel_stats(channel))
    (row,) = stats.sources
    assert (row.source, row.active, row.packets) == (source, True, 3)
    assert [(each.input, each.packets) for each in row.inputs] == [(input, 3)]
    assert row.bytes == sum(map(len, packets))
    assert 0 <= row.last_packet_age_ms < 5000
    assert stats.packets == 3
    assert stats.bytes == row.bytes


def test_what_readers_were_sent_still_counts_when_they_are_gone(harness: Harness) -> None:
    channel, _, input = open_video(harness)
    taps = [playing_tap(harness, channel) for _ in range(2)]
    harness.plane.push(input, 0, Camera().gop(3))
    sent = octets = 0
    for tap in taps:
        harness.read(tap, 3)
        row = ReaderStats.of(harness.plane.reader_stats(tap))
        sent, octets = sent + row.packets, octets + row.bytes
    assert sent >= 6
    for left, tap in ((1, taps[0]), (0, taps[1])):
        harness.plane.remove_reader(tap)
        stats = ChannelStats.of(harness.plane.channel_stats(channel))
        assert (stats.readers, stats.packets_out, stats.bytes_out) == (left, sent, octets)
    assert PlaneTotals(**harness.plane.totals()).packets_out == sent


def test_every_counter_of_the_facade_is_there(harness: Harness) -> None:
    channel, _, input = open_video(harness)
    tap = playing_tap(harness, channel)
    harness.plane.push(input, 0, Camera().gop(3))
    harness.event(SourceActive)
    raw = harness.plane.channel_stats(channel)
    for kind, values in (
        (PlaneTotals, harness.plane.totals()),
        (ChannelStats, raw),
        (SourceStats, raw["sources"][0]),
        (InputStats, raw["sources"][0]["inputs"][0]),
        (ReaderStats, harness.plane.reader_stats(tap)),
    ):
        assert {field.name for field in fields(kind)} - set(values) == set()


def test_changed_layout_is_reported(harness: Harness) -> None:
    channel, source, input = open_video(harness)
    harness.plane.push(input, 0, Camera().gop(2))
    harness.event(SourceActive, source=source)
    harness.plane.remove_source(source)
    other = harness.plane.add_source(channel, 0, [VIDEO, AUDIO])
    harness.plane.push(harness.plane.add_input(other), 0, Camera().gop(2))
    assert harness.event(SourceActive, source=other).layout_changed


def test_silent_source_and_channel_are_reported(harness: Harness) -> None:
    channel, source, input = open_video(harness, silence_ms=200)
    harness.plane.push(input, 0, Camera().gop(2))
    harness.event(SourceActive)
    harness.wait(0.3)
    harness.event(SourceSilent, channel=channel, source=source)
    harness.event(ChannelSilent, channel=channel)


def test_source_back_from_silence_is_active_again(harness: Harness) -> None:
    channel, source, input = open_video(harness, silence_ms=200)
    tap = playing_tap(harness, channel)
    camera = Camera()
    harness.plane.push(input, 0, camera.gop(2))
    harness.event(SourceActive)
    harness.wait(0.3)
    harness.event(ChannelSilent)
    harness.plane.push(input, 0, camera.gop(2))
    harness.event(SourceActive, source=source)
    assert consecutive([item[6] for item in harness.read(tap, 4)])


def test_standby_is_ignored_and_takes_over_on_a_keyframe_at_once(harness: Harness) -> None:
    plane = harness.plane
    channel = plane.open_channel(silence_ms=300)
    main = plane.add_source(channel, 0, [VIDEO])
    spare = plane.add_source(channel, 1, [VIDEO])
    main_in, spare_in = plane.add_input(main), plane.add_input(spare)
    tap = playing_tap(harness, channel)
    plane.push(main_in, 0, Camera().gop(5))
    harness.event(SourceActive, source=main)
    plane.push(spare_in, 0, Camera(ssrc=0x77, sequence=40).gop(4))
    first = harness.read(tap, 5)
    assert len(first) == 5
    plane.remove_source(main)
    harness.event(SourceActive, source=spare)
    second = harness.read(tap, 4)
    assert second[0][5] & KEY
    assert consecutive([item[6] for item in first + second])


def test_silence_of_the_active_source_brings_the_standby(harness: Harness) -> None:
    plane = harness.plane
    channel = plane.open_channel(silence_ms=300)
    main = plane.add_source(channel, 0, [VIDEO])
    spare = plane.add_source(channel, 1, [VIDEO])
    main_in, spare_in = plane.add_input(main), plane.add_input(spare)
    spare_camera = Camera(ssrc=0x77, sequence=40)
    plane.push(main_in, 0, Camera().gop(5))
    harness.event(SourceActive, source=main)
    for _ in range(5):
        plane.push(spare_in, 0, spare_camera.gop(3))
        harness.wait(0.1)
    harness.event(SourceSilent, source=main)
    harness.event(SourceActive, source=spare)
    assert not [event for event in harness.poll() if isinstance(event, ChannelSilent)]


def test_better_source_takes_over_again_when_told_to(harness: Harness) -> None:
    plane = harness.plane
    channel = plane.open_channel(silence_ms=300, return_ms=200)
    spare = plane.add_source(channel, 1, [VIDEO])
    spare_in = plane.add_input(spare)
    spare_camera, main_camera = Camera(ssrc=0x77, sequence=40), Camera()
    plane.push(spare_in, 0, spare_camera.gop(3))
    harness.event(SourceActive, source=spare)
    main = plane.add_source(channel, 0, [VIDEO])
    main_in = plane.add_input(main)
    for _ in range(4):
        plane.push(main_in, 0, main_camera.gop(3))
        plane.push(spare_in, 0, spare_camera.gop(3))
        harness.wait(0.1)
    harness.event(SourceActive, source=main)


def test_new_reader_starts_at_the_last_keyframe_held(harness: Harness) -> None:
    channel, _, input = open_video(harness)
    camera = Camera()
    harness.plane.push(input, 0, camera.gop(5) + camera.gop(7))
    tap = harness.plane.add_tap(channel, [0])
    ((track, sequence, timestamp),) = harness.until(lambda: harness.plane.position_reader(tap))
    harness.plane.start_reader(tap)
    items = harness.read(tap, 7)
    assert len(items) == 7
    assert track == 0
    assert (sequence_of(items[0][6]), timestamp_of(items[0][6])) == (sequence, timestamp)
    assert items[0][5] & KEY


def test_who_comes_after_a_flush_begins_with_what_comes_next(harness: Harness) -> None:
    channel, _, input = open_video(harness)
    camera = Camera()
    harness.plane.push(input, 0, camera.gop(3))
    ((track, epoch, newest),) = harness.until(lambda: harness.plane.channel_marks(channel))
    harness.plane.flush_channel(channel)
    tap = playing_tap(harness, channel)
    harness.plane.push(input, 0, camera.gop(2))
    items = harness.read(tap, 2)
    assert [item[:3] for item in items] == [
        (track, epoch, newest + 1),
        (track, epoch, newest + 2),
    ]


def test_paused_reader_gets_nothing_and_goes_on_at_a_keyframe(harness: Harness) -> None:
    channel, _, input = open_video(harness)
    tap = playing_tap(harness, channel)
    camera = Camera()
    harness.plane.push(input, 0, camera.gop(3))
    harness.read(tap, 3)
    harness.plane.pause_reader(tap)
    harness.plane.push(input, 0, camera.gop(3))
    harness.wait(0.05)
    assert harness.plane.read_tap(tap)[0] == []
    assert harness.plane.reader_stats(tap)["state"] == "paused"
    harness.plane.position_reader(tap)
    harness.plane.start_reader(tap)
    assert harness.read(tap, 3)[0][5] & KEY
    assert harness.plane.reader_stats(tap)["state"] == "playing"


def test_frames_are_annex_b_with_parameter_sets_before_the_keyframe(harness: Harness) -> None:
    channel, _, input = open_video(harness)
    tap = playing_tap(harness, channel, frames=True)
    harness.plane.push(input, 0, Camera().gop(3))
    frames = harness.read(tap, 3)
    code = b"\0\0\0\1"
    assert frames[0][6] == code + SPS + code + PPS + code + IDR
    assert frames[0][5] & KEY
    assert [frame[2] - frames[0][2] for frame in frames] == [0, 1, 2]
    steps = [b[3] - a[3] for a, b in itertools.pairwise(frames)]
    assert all(33_000 <= step <= 34_000 for step in steps)
    assert harness.plane.keyframe(channel, 0) == frames[0][6]


def test_fragments_are_joined(harness: Harness) -> None:
    channel, _, input = open_video(harness)
    tap = playing_tap(harness, channel, frames=True)
    indicator, kind = IDR[0] & 0xE0 | 28, IDR[0] & 31
    body = IDR[1:]
    packets = [
        rtp(1, 9000, bytes([indicator, 0x80 | kind]) + body[:10], marker=False),
        rtp(2, 9000, bytes([indicator, kind]) + body[10:20], marker=False),
        rtp(3, 9000, bytes([indicator, 0x40 | kind]) + body[20:]),
    ]
    harness.plane.push(input, 0, packets)
    assert harness.read(tap, 1)[0][6].endswith(b"\0\0\0\1" + IDR)


def test_audio_and_video_keep_together(harness: Harness) -> None:
    plane = harness.plane
    channel = plane.open_channel()
    input = plane.add_input(plane.add_source(channel, 0, [VIDEO, AUDIO]))
    tap = playing_tap(harness, channel, frames=True)
    plane.push(input, 0, Camera().gop(1))
    plane.push(input, 1, [rtp(9, 77, b"opus", ssrc=6, payload_type=97)])
    video, audio = sorted(harness.read(tap, 2), key=lambda item: item[0])
    assert abs(video[3] - audio[3]) < 50_000
    assert audio[6] == b"opus"


def test_full_tap_drops_the_newer_and_counts(harness: Harness) -> None:
    channel, _, input = open_video(harness)
    tap = harness.plane.add_tap(channel, [0], capacity=4)
    harness.plane.start_reader(tap)
    harness.plane.push(input, 0, Camera().gop(10))
    harness.until(lambda: harness.plane.channel_stats(channel)["ring_packets"] >= 10)
    harness.wait(0.05)
    items, dropped = harness.plane.read_tap(tap)
    assert len(items) == 4
    assert dropped >= 6  # sender reports take their place too


@pytest.mark.parametrize(
    "junk",
    [b"", b"\x80", b"\x80" * 11, b"\0" * 40, b"\x8f\x60" + b"\0" * 10, b"\xa0\x60" + b"\xff" * 12],
)
def test_bytes_that_are_no_rtp_are_refused(harness: Harness, junk: bytes) -> None:
    _, _, input = open_video(harness)
    assert harness.plane.push(input, 0, [junk]) == 0


def test_ring_is_bounded_in_bytes(harness: Harness) -> None:
    channel, _, input = open_video(harness, max_bytes=4096, depth_ms=60_000)
    harness.plane.push(input, 0, Camera().gop(500))
    stats = harness.until(
        lambda: (s := harness.plane.channel_stats(channel))["packets"] >= 500 and s
    )
    assert 0 < stats["ring_bytes"] <= 4096


def test_ids_that_are_gone(harness: Harness) -> None:
    plane = harness.plane
    channel, source, input = open_video(harness)
    plane.close_channel(channel)
    for ask in (
        lambda: plane.channel_stats(channel),
        lambda: plane.add_source(channel, 0, [VIDEO]),
        lambda: plane.add_input(source),
        lambda: plane.push(input, 0, []),
        lambda: plane.reader_stats(10**6),
        lambda: plane.position_reader(10**6),
        lambda: plane.read_tap(10**6),
        lambda: plane.keyframe(channel, 0),
    ):
        with pytest.raises(KeyError):
            ask()
    plane.close_channel(channel)
    plane.remove_source(source)
    plane.remove_input(input)
    plane.close_endpoint(10**6)
    plane.conn_close(10**6)
    plane.conn_send(10**6, b"x")
    plane.remove_reader(10**6)
    plane.start_reader(10**6)
    plane.pause_reader(10**6)
