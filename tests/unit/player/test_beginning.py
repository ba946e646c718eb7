"""What is said of a stream that playout begins without."""

from __future__ import annotations

import pytest

from heliograph.player.arrivals import Arrival
from heliograph.player.beginning import Beginning
from heliograph.player.pipeline import Pipeline
from heliograph.protocols.rtp import RtpPacket

from .made import film


@pytest.mark.parametrize(
    ("numbers", "owed"),
    [([], False), ([0, 1, 2], False), ([0, 1, 3], False), ([0, 1, 5], True), ([5, 6], True)],
)
def test_a_part_that_is_left_out_is_told_from_a_stream_that_does_not_come(
    numbers: list[int], owed: bool
) -> None:
    pipeline = Pipeline(3, film().track, seconds=10.0, max_bytes=1000, decoder=None)
    pipeline.restarted(0.0, 0)
    pipeline.buffer.tolerates = 1
    for number in numbers:
        packet = RtpPacket(96, number, 3600 * number, 1, b"x")
        pipeline.arrived(Arrival(3, number, 0, number, packet, 0.0), number / 25)
    said = Beginning({3: pipeline}, [], level=1.0, at=0.0).lack(3)
    assert ("a part of stream 3 (h264)" in said) is owed
    assert ("playing without it" in said) is not owed
    # Where nobody owes anything, nothing is a gap.
    pipeline.buffer.tolerates = None
    assert "playing without it" in Beginning({3: pipeline}, [], level=1.0, at=0.0).lack(3)
