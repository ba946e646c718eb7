"""Cuts: parts and segments keep the durations that players hold us to, whatever comes in."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.model.media import Codec, Kind, Track
from heliograph.protocols.hls import Part, Segmenter, Targets, part_target
from heliograph.protocols.hls.segmenter import LEAST
from heliograph.protocols.mp4 import TimedUnit

VIDEO = Track(0, Kind.VIDEO, Codec.H264, 90_000, 96)
AUDIO = Track(1, Kind.AUDIO, Codec.AAC, 48_000, 97, 2)


def video(second: float, key: bool = False) -> TimedUnit:
    ticks = round(second * 90_000)
    return TimedUnit(0, ticks, ticks, key, b"v")


def audio(second: float) -> TimedUnit:
    ticks = round(second * 48_000)
    return TimedUnit(1, ticks, ticks, True, b"a")


def parts_of(
    rate: float, seconds: float, keys: float, targets: Targets, *, milliseconds: bool = False
) -> tuple[list[Part], Segmenter]:
    """The parts of a steady stream with a keyframe every ``keys`` seconds."""
    segmenter, found = Segmenter([VIDEO], targets), []
    every = max(1, round(keys * rate))
    for number in range(int(rate * seconds)):
        at = round(number / rate, 3) if milliseconds else number / rate
        found += segmenter.push(video(at, number % every == 0))
    return found, segmenter


def segments(parts: list[Part]) -> list[list[Part]]:
    """Whole segments."""
    found: dict[int, list[Part]] = {}
    for part in parts:
        found.setdefault(part.msn, []).append(part)
    return [own for own in found.values() if own[-1].last]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([10, 15, 20, 23.976, 24, 25, 29.97, 30, 50, 60]),
    st.sampled_from([0.5, 1.0, 1.9, 2.0, 3.0, 10.0]),
    st.booleans(),
)
def test_steady_streams_keep_every_rule(rate: float, keys: float, milliseconds: bool) -> None:
    gaps = [round((n + 1) / rate, 3) - round(n / rate, 3) for n in range(60)]
    targets = Targets(part=part_target(0.2, gaps if milliseconds else [1 / rate] * 60))
    parts, segmenter = parts_of(rate, 25, keys, targets, milliseconds=milliseconds)
    assert segmenter.short == segmenter.overlong == segmenter.dropped == 0
    for part in parts:
        assert part.duration <= targets.part
        assert part.last or part.duration >= LEAST * targets.part - 1e-6
    for own in segments(parts):
        assert sum(part.duration for part in own) <= targets.duration
        assert [part.index for part in own] == list(range(len(own)))
        if keys <= 3:
            assert own[0].units[0].key
            assert own[0].independent
    assert [own[0].msn for own in segments(parts)] == list(range(len(segments(parts))))


def test_segments_begin_with_the_first_keyframe_that_is_due() -> None:
    parts, _ = parts_of(25, 13, 1.0, Targets(part=0.2))
    assert [round(sum(p.duration for p in own), 6) for own in segments(parts)] == [2.0] * 6
    # keyframes that are too rare are not waited for beyond the target duration
    parts, _ = parts_of(25, 13, 10.0, Targets(part=0.2))
    assert all(sum(p.duration for p in own) <= 4 for own in segments(parts))
    assert [p.independent for p in parts].count(True) == 2


def test_every_unit_is_in_one_part_and_the_other_track_goes_along() -> None:
    segmenter, found = Segmenter([AUDIO, VIDEO], Targets()), []
    sent = sorted(
        [video(n / 25, n % 25 == 0) for n in range(100)] + [audio(n * 0.02) for n in range(200)],
        key=lambda unit: unit.dts / (90_000 if unit.track == 0 else 48_000),
    )
    for unit in sent[1:] if sent[0].track else sent:
        found += segmenter.push(unit)
    found += segmenter.restart()
    assert [u for part in found for u in part.units if u.track == 0] == [
        u for u in sent if u.track == 0
    ]
    assert sum(len(part.units) for part in found) + segmenter.dropped == len(sent)
    assert segmenter.dropped <= 1


def test_nothing_begins_before_a_keyframe() -> None:
    segmenter = Segmenter([VIDEO], Targets())
    for number in range(10):
        assert segmenter.push(video(number / 25)) == []
    assert segmenter.dropped == 10
    segmenter.push(video(0.4, key=True))
    (part,) = segmenter.restart()
    assert part.units[0].key
    assert not part.discontinuity


def test_audio_leads_where_there_is_no_video() -> None:
    segmenter, found = Segmenter([AUDIO], Targets(part=0.2)), []
    for number in range(500):
        found += segmenter.push(audio(number * 0.02))
    assert all(part.independent for part in found)
    assert {round(part.duration, 6) for part in found} == {0.2}


@pytest.mark.parametrize("jump", [-5.0, 100.0])
def test_a_jump_of_the_times_is_a_discontinuity(jump: float) -> None:
    segmenter, found = Segmenter([VIDEO], Targets()), []
    for number in range(30):
        found += segmenter.push(video(10 + number / 25, number == 0))
    found += segmenter.push(video(10 + jump))
    assert found[-1].last
    for number in range(30):
        found += segmenter.push(video(10 + jump + number / 25, number == 5))
    after = [part for part in found if part.msn == 1]
    assert after[0].discontinuity
    assert after[0].units[0].key
    assert not any(part.discontinuity for part in found if part is not after[0])


def test_a_pause_of_the_source_is_never_said_to_be_longer_than_the_target() -> None:
    segmenter, found = Segmenter([VIDEO], Targets(part=0.2)), []
    for second in (0, 0.04, 0.08, 1.5, 1.54, 1.58):
        found += segmenter.push(video(second, second == 0))
    assert segmenter.overlong == 1
    assert found[0].duration == 0.2


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30_000), st.booleans()), max_size=200))
def test_any_times_keep_the_upper_bounds(steps: list[tuple[int, bool]]) -> None:
    segmenter, found, at = Segmenter([VIDEO], Targets()), [], 0
    for step, key in steps:
        at += step
        found += segmenter.push(TimedUnit(0, at, at, key, b"v"))
    found += segmenter.restart()
    assert all(part.duration <= segmenter.targets.part for part in found)
    for own in segments(found):
        assert sum(part.duration for part in own) <= segmenter.targets.duration + 1e-6
    assert sum(len(part.units) for part in found) + segmenter.dropped == len(steps)


def test_targets_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="part"):
        Targets(part=3.0, segment=2.0)
    with pytest.raises(ValueError, match="duration"):
        Targets(segment=4.0, duration=4)
