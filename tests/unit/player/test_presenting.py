"""Pictures of one instant are shown together, and nobody waits for long."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import av
import pytest
from av.video.frame import VideoFrame

from heliograph.model.media import Codec, Kind, Track
from heliograph.player.decode import Picture
from heliograph.player.presenting import HOLD, Presenter
from heliograph.player.streams import Stream
from heliograph.player.video import Command

FRAME = 1 / 30


class Screen:
    def __init__(self) -> None:
        self.shown: list[tuple[int, ...]] = []

    def show(self, frames: Mapping[int, VideoFrame]) -> None:
        self.shown.append(tuple(sorted(frames)))

    def commands(self) -> list[Command]:
        return []

    def close(self) -> None:
        pass


class Outputs:
    def __init__(self) -> None:
        self.window = Screen()

    def screen(self, streams: Sequence[Stream]) -> Screen:
        return self.window

    def loudspeaker(self, streams: Sequence[Stream]) -> None:
        return None

    def writer(self, streams: Sequence[Stream]) -> None:
        return None


def presenter(videos: int) -> tuple[Presenter, Screen]:
    outputs = Outputs()
    track = Track(0, Kind.VIDEO, Codec.H264, 90_000, 96)
    return Presenter(outputs, [Stream(n, track, "") for n in range(videos)]), outputs.window


def picture(stream: int, media: float) -> Picture:
    return Picture(stream, media, av.VideoFrame(16, 16, "yuv420p"))


def test_one_decoder_s_delay_does_not_part_the_panorama() -> None:
    made, screen = presenter(2)
    made.take([picture(0, 0.0), picture(1, 0.0)])
    made.present(0.0, True)
    made.take([picture(0, FRAME)])
    made.present(FRAME, True)  # the other is being decoded still
    made.take([picture(1, FRAME)])
    made.present(FRAME + 0.004, True)
    assert screen.shown == [(0, 1), (0, 1)]
    assert made.skews.statistics().worst == 0.0


def test_a_stream_that_fails_does_not_stop_the_others() -> None:
    made, screen = presenter(2)
    made.take([picture(0, 0.0), picture(1, 0.0)])
    made.present(0.0, True)
    made.take([picture(0, FRAME)])
    made.present(FRAME + HOLD + 0.001, True)
    assert screen.shown == [(0, 1), (0,)]
    assert made.skews.statistics().worst == pytest.approx(FRAME)


def test_a_player_that_was_held_up_leaves_pictures_out_and_tells() -> None:
    made, screen = presenter(2)
    made.take(picture(stream, n * FRAME) for n in range(5) for stream in (0, 1))
    made.present(5 * FRAME, True)
    assert screen.shown == [(0, 1)]
    assert (made.pictures, made.skipped) == (2, 8)


def test_after_a_seek_nothing_of_before_is_shown() -> None:
    made, screen = presenter(1)
    made.take([picture(0, 7.0)])
    made.clear()
    made.present(0.0, True)
    assert screen.shown == []
