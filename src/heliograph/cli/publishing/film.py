"""The test pattern as a film: ``python -m heliograph.cli.publishing.film FILE``.

The clock in the picture counts from the film's begin. Pictures are reordered and keyframes two
seconds apart, as in films from elsewhere; the sound is AAC, which every way of watching carries.
"""

from __future__ import annotations

import os
import sys
from fractions import Fraction
from pathlib import Path

import av
import av.error
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.video.frame import VideoFrame

from heliograph.cli.publishing.encoders import AUDIO_CLOCK
from heliograph.cli.publishing.pattern import Painter, second_of_tone
from heliograph.model.errors import ResourceError

#: Long enough to seek in, and made within some seconds.
SECONDS = 24
WIDTH, HEIGHT, FPS = 1280, 720, 25
BITRATE, AUDIO_BITRATE = 1_500_000, 96_000
#: Samples of a frame of AAC.
AAC_FRAME = 1024


def write_film(
    path: Path, *, seconds: int = SECONDS, width: int = WIDTH, height: int = HEIGHT, fps: int = FPS
) -> None:
    """Write an MP4 file of so many seconds; ``ResourceError`` where that cannot be."""
    try:
        with av.open(str(path), "w", format="mp4") as container:
            video = container.add_stream("libx264", rate=fps)
            video.width, video.height, video.pix_fmt = width, height, "yuv420p"
            video.bit_rate, video.gop_size = BITRATE, 2 * fps
            video.options = {
                "preset": "veryfast",
                "x264-params": "colorprim=bt709:transfer=bt709:colormatrix=bt709",
            }
            audio = container.add_stream("aac", rate=AUDIO_CLOCK)
            audio.layout, audio.bit_rate = "stereo", AUDIO_BITRATE
            painter = Painter(width, height, fps, "Demo film")
            sound = _Sound(audio)
            for number in range(seconds * fps):
                picture = painter.paint(number, number * 1_000_000 // fps)
                frame = VideoFrame.from_ndarray(picture, format="yuv420p")
                frame.pts, frame.time_base = number, Fraction(1, fps)
                container.mux(video.encode(frame))
                for tone in sound.until((number + 1) / fps):
                    container.mux(audio.encode(tone))
            container.mux(video.encode(None))
            container.mux(audio.encode(None))
    except (av.error.FFmpegError, OSError) as error:
        raise ResourceError(f"{path}: {error}", subject=str(path)) from error


class _Sound:
    """The tone in frames as the encoder takes them."""

    def __init__(self, stream: AudioStream) -> None:
        self._stream = stream
        self._resampler = av.AudioResampler("fltp", "stereo", AUDIO_CLOCK, frame_size=AAC_FRAME)
        self._second = second_of_tone(AUDIO_CLOCK)
        self._seconds = self._samples = 0

    def until(self, time: float) -> list[AudioFrame]:
        """What is heard before ``time`` and was not given yet, in whole frames."""
        found: list[AudioFrame] = []
        while self._seconds < time:
            whole = AudioFrame.from_ndarray(self._second, format="s16", layout="stereo")
            whole.sample_rate = AUDIO_CLOCK
            whole.pts, whole.time_base = self._seconds * AUDIO_CLOCK, Fraction(1, AUDIO_CLOCK)
            self._seconds += 1
            for frame in self._resampler.resample(whole):
                frame.pts, frame.time_base = self._samples, Fraction(1, AUDIO_CLOCK)
                self._samples += frame.samples
                found.append(frame)
        return found


if __name__ == "__main__":
    os.nice(10)  # whatever is served comes first
    write_film(Path(sys.argv[1]))
