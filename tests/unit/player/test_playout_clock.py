"""The playout clock, the numbering of packets, and media times of timestamps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.player.arrivals import Numbering
from heliograph.player.clock import MAX_SLEW, PlayoutClock
from heliograph.player.timeline import Timeline
from heliograph.protocols.rtp import RtpPacket


def test_it_runs_stands_and_jumps() -> None:
    clock = PlayoutClock(10.0)
    assert clock.position(5.0) == 10.0
    clock.start(100.0)
    assert clock.position(101.5) == 11.5
    clock.pause(102.0)
    assert clock.position(200.0) == 12.0
    clock.start(200.0)
    assert clock.position(201.0) == 13.0
    clock.jump(201.0, 3.0)
    assert clock.position(202.0) == 4.0


@given(st.floats(-2, 2), st.lists(st.floats(0, 100), max_size=20))
def test_a_shift_comes_little_by_little_and_in_all(shift: float, steps: list[float]) -> None:
    clock = PlayoutClock()
    clock.start(0.0)
    clock.shift(0.0, shift)
    now = before = 0.0
    for step in steps:
        now += step
        position = clock.position(now)
        assert abs(position - before - step) <= step * MAX_SLEW + 1e-9
        before = position
    whole = now + abs(shift) / MAX_SLEW
    assert clock.position(whole) == pytest.approx(whole + shift)


def packet(sequence: int) -> RtpPacket:
    return RtpPacket(96, sequence & 0xFFFF, 0, 1)


def numbers(*sequences: int) -> list[int | None]:
    numbering = Numbering(0)
    made = [numbering.number(packet(s), 0.0) for s in sequences]
    return [None if one is None else one.number for one in made]


def test_numbers_go_on_over_the_wrap() -> None:
    assert numbers(65_534, 65_535, 1, 0, 2) == [65_534, 65_535, 65_537, 65_536, 65_538]


def test_a_stray_packet_is_left_out_and_a_restart_goes_on_behind() -> None:
    assert numbers(10, 11, 40_000, 12) == [10, 11, None, 12]
    assert numbers(10, 11, 40_000, 40_001, 40_003, 40_002) == [10, 11, None, 12, 14, 13]


def test_titles_are_told_by_the_answer_to_play() -> None:
    timeline = Timeline({0: 90_000, 1: 48_000})
    timeline.begin(12.5, [(0, 0xFFFFFFFF), (1, 1000)])
    assert timeline.media(0, 89_999, 0.0) == 13.5  # over the wrap
    assert timeline.media(1, 1000 - 4800, 7.0) == 12.4
    assert timeline.related


def test_channels_are_told_by_reports_and_until_then_by_arrival() -> None:
    timeline = Timeline({0: 90_000, 1: 48_000})
    timeline.begin(0.0)
    assert timeline.media(0, 5000, 100.0) == 0.0
    assert timeline.media(1, 77, 100.25) == 0.25
    assert not timeline.related
    # Both began at the same instant by the sender's clock; track 1 was only slower on its way.
    timeline.report(0, 1e9, 5000)
    timeline.report(1, 1e9, 77)
    assert timeline.related
    assert timeline.media(0, 5000, 101.0) == pytest.approx(0.0)
    assert timeline.media(1, 77, 101.0) == pytest.approx(0.0)
    timeline.report(1, 1e9 + 1, 77 + 48_000 - 480)  # trembles by 10 ms: worked in gently
    assert timeline.media(1, 77 + 48_000, 102.0) == pytest.approx(1 + 0.01 / 8)
    assert timeline.jumps == 0
    timeline.report(1, 1e9 + 5, 77 + 48_000)
    assert timeline.media(1, 77 + 48_000, 102.0) == pytest.approx(5.0)
    assert timeline.jumps == 1


def test_long_streams_go_over_many_wraps() -> None:
    timeline = Timeline({0: 90_000})
    timeline.begin(0.0, [(0, 0)])
    for second in range(0, 200_000, 500):
        assert timeline.media(0, second * 90_000 & 0xFFFFFFFF, 0.0) == pytest.approx(second)
