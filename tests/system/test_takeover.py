"""A channel's source falls silent: how long until the packets of the next one go out."""

from __future__ import annotations

import select
import time
from dataclasses import dataclass

import pytest
from tests.contract.rtp import AUDIO, rtp

from heliograph.plane import Plane, SourceActive, open_plane
from heliograph.plane.types import parse_event

pytestmark = [pytest.mark.alone, pytest.mark.timeout(60)]

ROUNDS = 60
#: Seconds between two packets, as of Opus.
STEP = 0.02
#: Packets that both send before the one that is relayed stops.
WHILE = 5
#: The channel's ``silence_ms``.
SILENCE_MS = 40
#: Seconds from the last packet of one to the first of the other, in so many of the rounds: in those
#: left the threads had to wait for their turn.
BOUND, SHARE = 0.05, 0.8


@dataclass
class Speaker:
    """A source of sound."""

    plane: Plane
    source: int
    input: int
    number: int = 0
    spoke: float = 0.0

    def speak(self) -> None:
        self.number += 1
        packet = rtp(self.number, self.number * 960, b"opus", ssrc=self.source, payload_type=97)
        self.spoke = time.monotonic()
        self.plane.push(self.input, 1, [packet])


def active(plane: Plane, before: int, until: float) -> tuple[int, float]:
    """The source that is relayed, and when that was told; waits until then."""
    while (rest := until - time.monotonic()) > 0:
        if not select.select([plane], [], [], rest)[0]:
            break
        told = time.monotonic()
        events = [parse_event(raw) for raw in plane.drain()]
        found = [event.source for event in events if isinstance(event, SourceActive)]
        if found and found[-1] != before:
            return found[-1], told
    return before, 0.0


def test_the_next_source_is_relayed_within_50_ms_of_the_last_packet() -> None:
    plane = open_plane()
    try:
        channel = plane.open_channel(silence_ms=SILENCE_MS)
        sources = [plane.add_source(channel, priority, [AUDIO]) for priority in (0, 1)]
        speakers = {source: Speaker(plane, source, plane.add_input(source)) for source in sources}
        current, gaps = sources[0], []
        for _ in range(ROUNDS):
            due = time.monotonic()
            for _ in range(WHILE):
                for speaker in sorted(speakers.values(), key=lambda one: one.source != current):
                    speaker.speak()
                due += STEP
                current, _ = active(plane, current, due)
                time.sleep(max(0.0, due - time.monotonic()))
            silent, told = speakers[current], 0.0
            other = next(one for one in speakers.values() if one is not silent)
            while not told and time.monotonic() - silent.spoke < 1.0:
                other.speak()
                due += STEP
                current, told = active(plane, silent.source, due)
            assert current == other.source
            gaps.append(told - silent.spoke)
        gaps.sort()
        print(
            f"{ROUNDS} times: {1000 * gaps[0]:.1f} to {1000 * gaps[-1]:.1f} ms, median "
            f"{1000 * gaps[ROUNDS // 2]:.1f}, p90 {1000 * gaps[ROUNDS * 9 // 10]:.1f}"
        )
        assert gaps[0] >= SILENCE_MS / 1000
        assert gaps[int(ROUNDS * SHARE)] <= BOUND
    finally:
        plane.close()
