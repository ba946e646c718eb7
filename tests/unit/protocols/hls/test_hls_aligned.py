"""Segments of several renditions begin together, whatever keyframes each has."""

from __future__ import annotations

from collections.abc import Collection

from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.model.media import Codec, Kind, Track
from heliograph.protocols.hls.aligned import AlignedSegmenter
from heliograph.protocols.hls.beats import MAX_BREAKS, Beats
from heliograph.protocols.hls.segmenter import Part, Targets
from heliograph.protocols.mp4 import TimedUnit

VIDEO = Track(0, Kind.VIDEO, Codec.H264, 90000, 96)
SOUND = Track(1, Kind.AUDIO, Codec.AAC, 48000, 97)
TARGETS = Targets(0.2)
#: Pictures a second, and units of sound at 1024 samples each.
RATE = 25


class Lane:
    """A rendition, and the segments it has begun: number, seconds, discontinuity."""

    def __init__(self, beats: Beats, keys: Collection[int] = (), track: Track = VIDEO) -> None:
        self.segmenter = AlignedSegmenter([track], TARGETS, beats)
        self.keys = keys
        self.track = track
        self.parts: list[Part] = []

    def picture(self, number: int) -> None:
        time = number * 90000 // RATE
        unit = TimedUnit(0, time, time, number in self.keys, b"")
        self.parts += self.segmenter.push(unit)

    def sound(self, until: float) -> None:
        """All units that begin before this second."""
        while (at := getattr(self, "at", 0)) < until * 48000:
            self.parts += self.segmenter.push(TimedUnit(1, at, at, True, b""))
            self.at = at + 1024

    @property
    def begun(self) -> dict[int, float]:
        return {part.msn: part.start for part in self.parts if part.index == 0}

    @property
    def longest(self) -> float:
        lengths: dict[int, float] = {}
        for part in self.parts:
            lengths[part.msn] = lengths.get(part.msn, 0.0) + part.duration
        return max(lengths.values())


def play(lanes: list[Lane], first: int, last: int) -> None:
    for number in range(first, last):
        for lane in lanes:
            if lane.track is VIDEO:
                lane.picture(number)
            else:
                lane.sound(number / RATE)


def test_keyframes_a_picture_apart_begin_the_same_segments() -> None:
    beats = Beats(TARGETS)
    one = Lane(beats, range(0, 1000, 50))
    other = Lane(beats, range(1, 1000, 50))
    sound = Lane(beats, track=SOUND)
    play([one, other, sound], 0, 500)
    assert list(one.begun) == list(other.begun) == list(range(10))
    assert all(abs(one.begun[n] - other.begun[n]) <= 0.041 for n in range(10))
    assert all(-0.011 < sound.begun[n] - one.begun[n] < 0.03 for n in range(1, 10))


def test_who_has_no_keyframe_begins_without() -> None:
    beats = Beats(TARGETS)
    one, other = Lane(beats, range(0, 1000, 50)), Lane(beats, {3})
    play([one, other], 0, 500)
    assert list(other.begun) == list(range(10))
    assert other.longest <= TARGETS.duration
    assert [part.msn for part in other.parts if part.independent] == [0]


def test_a_discontinuity_of_one_is_one_of_all() -> None:
    beats = Beats(TARGETS)
    one, other = Lane(beats, range(0, 1000, 50)), Lane(beats, range(0, 1000, 25))
    play([one, other], 0, 120)
    one.parts += one.segmenter.interrupt(120 / RATE)
    one.keys = range(120, 1000, 50)
    play([one, other], 120, 400)
    broken = [[part.msn for part in lane.parts if part.discontinuity] for lane in (one, other)]
    assert broken == [[3], [3]]
    assert one.begun[3] == 4.8
    assert other.begun[3] == 5.0
    # another one at the same place is the same one
    assert beats.awaited(2, 4.8)
    assert (beats.broken, beats.breaks_before(3), beats.breaks_before(4)) == (1, 0, 1)


def test_who_comes_later_or_was_away_has_the_number_of_the_others() -> None:
    beats = Beats(TARGETS)
    one, late = Lane(beats, range(0, 1000, 50)), Lane(beats, range(0, 1000, 50))
    play([one], 0, 150)
    play([one, late], 150, 260)
    assert min(late.begun) == 3
    late.parts += late.segmenter.skip(7)
    play([one], 260, 420)
    play([one, late], 420, 600)
    assert sorted(late.begun) == [3, 4, 5, 9, 10, 11]
    assert late.begun[10] == one.begun[10]


def test_what_is_remembered_is_bounded() -> None:
    beats = Beats(TARGETS)
    for number in range(3 * MAX_BREAKS):
        beats.begin(number, number * 2.0)
        beats.interrupt(number * 2.0 + 1)
    assert beats.breaks_before(10**9) == 3 * MAX_BREAKS
    assert beats.number(1e9) == 3 * MAX_BREAKS
    assert len(beats._from) + len(beats._begun) + len(beats._breaks) < MAX_BREAKS + 50


@settings(max_examples=40, deadline=None)
@given(st.sets(st.integers(1, 600)), st.sets(st.integers(1, 600)), st.integers(0, 100))
def test_any_keyframes_give_every_number_once_and_no_segment_too_long(
    keys: set[int], others: set[int], after: int
) -> None:
    beats = Beats(TARGETS)
    one, other = Lane(beats, {0, *keys}), Lane(beats, {after, *others})
    play([one, other], 0, 600)
    for lane in (one, other):
        numbers = list(lane.begun)
        assert numbers == list(range(min(numbers), max(numbers) + 1))
        assert lane.longest <= TARGETS.duration + 1e-6
    assert abs(max(one.begun) - max(other.begun)) <= 1
