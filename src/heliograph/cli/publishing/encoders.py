"""Encoding for live use, by libav: no B frames, a keyframe each second, headers repeated."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import cast

import av
import av.error
import numpy as np
from av.audio.frame import AudioFrame
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from heliograph.cli.publishing.units import Unit
from heliograph.model.errors import SettingsError, UnsupportedError
from heliograph.model.media import Codec, Track
from heliograph.protocols.payload import container

VIDEO_CLOCK = 90_000
AUDIO_CLOCK = 48_000
#: Samples of an Opus packet: 20 ms, which every receiver expects.
AUDIO_FRAME = 960
AUDIO_BITRATE = 96_000
#: One thread up to this many pixels a second (720p30): more cost their switching, not less time.
ONE_THREAD = 1280 * 720 * 30

_ENCODERS = {Codec.H264: ("libx264", "h264"), Codec.VP8: ("libvpx", "vp8")}


class VideoEncoder:
    """H.264 or VP8."""

    def __init__(
        self, track_id: int, codec: Codec, width: int, height: int, fps: int, bitrate: int
    ) -> None:
        """``bitrate``: bits a second, kept over one second."""
        if codec not in _ENCODERS:
            raise SettingsError(f"video codec {codec.value}: only h264 and vp8 can be encoded")
        self._arguments = (codec, width, height, fps, bitrate)
        self._track_id = track_id
        self._context = _open_video(*self._arguments)
        self.size = (width, height)
        """Width and height in pixels."""

    def describe(self) -> Track:
        """The track; encodes one grey frame aside to learn the parameter sets."""
        width, height = self.size
        blank = np.full((height * 3 // 2, width), 128, dtype=np.uint8)
        trial = _open_video(*self._arguments)
        frame = VideoFrame.from_ndarray(blank, format="yuv420p")
        frame.pts, frame.time_base = 0, Fraction(1, VIDEO_CLOCK)
        packets = [bytes(packet) for packet in (*trial.encode(frame), *trial.encode(None))]
        name = _ENCODERS[self._arguments[0]][1]
        track = container.describe(name, track_id=self._track_id, first_packet=packets[0])
        assert track is not None
        return track

    def encode(self, frame: VideoFrame | None, pts: int = 0) -> Iterator[Unit]:
        """Units of a frame shown at ``pts`` (1/90 000 s); ``None`` for what is left."""
        if frame is not None:
            frame.pts, frame.time_base = pts, Fraction(1, VIDEO_CLOCK)
        for packet in self._context.encode(frame):
            time = pts if packet.pts is None else packet.pts
            yield Unit(
                self._track_id, time / VIDEO_CLOCK, time, bool(packet.is_keyframe), bytes(packet)
            )


def _open_video(codec: Codec, width: int, height: int, fps: int, bitrate: int) -> VideoCodecContext:
    try:
        context = cast(VideoCodecContext, av.CodecContext.create(_ENCODERS[codec][0], "w"))
    except av.error.FFmpegError as error:
        raise UnsupportedError(f"this libav cannot encode {codec.value}: {error}") from error
    context.width, context.height, context.pix_fmt = width, height, "yuv420p"
    context.time_base, context.framerate = Fraction(1, VIDEO_CLOCK), Fraction(fps)
    context.gop_size, context.max_b_frames = fps, 0
    context.bit_rate = bitrate
    context.thread_count = 1 if width * height * fps <= ONE_THREAD else 0
    limits = {"maxrate": str(bitrate), "bufsize": str(bitrate)}
    if codec is Codec.H264:
        # Without a global header x264 writes the parameter sets before each keyframe.
        context.options = {
            **limits,
            "preset": "ultrafast",
            "tune": "zerolatency",
            "profile": "baseline",
            "x264-params": f"keyint={fps}:min-keyint={fps}:scenecut=0:colorprim=bt709:"
            "transfer=bt709:colormatrix=bt709",
        }
    else:
        context.options = {
            **limits,
            "deadline": "realtime",
            "cpu-used": "8",
            "lag-in-frames": "0",
            "error-resilient": "default",
        }
    return context


class OpusEncoder:
    """Stereo Opus in packets of 20 ms; takes any audio."""

    def __init__(self, track_id: int) -> None:
        self._track_id = track_id
        self._context = av.CodecContext.create("libopus", "w")
        self._context.sample_rate, self._context.layout = AUDIO_CLOCK, "stereo"
        self._context.format, self._context.bit_rate = "s16", AUDIO_BITRATE
        self._context.time_base = Fraction(1, AUDIO_CLOCK)
        self._resampler = av.AudioResampler("s16", "stereo", AUDIO_CLOCK, frame_size=AUDIO_FRAME)
        self._at: int | None = None  # samples at the next frame

    def describe(self) -> Track:
        """The track."""
        track = container.describe(
            "opus", track_id=self._track_id, sample_rate=AUDIO_CLOCK, channels=2
        )
        assert track is not None
        return track

    def encode(self, frame: AudioFrame | None, pts: int = 0) -> Iterator[Unit]:
        """Units of samples that begin at ``pts`` (1/48 000 s); ``None`` for what is left.

        Samples are taken for continuous unless they are half a second off.
        """
        if self._at is None or (frame is not None and abs(pts - self._at) > AUDIO_CLOCK // 2):
            self._at = pts
        pieces = [] if frame is None else self._resampler.resample(frame)
        for piece in pieces:
            piece.pts, piece.time_base = self._at, Fraction(1, AUDIO_CLOCK)
            self._at += piece.samples
            yield from self._units(piece)
        if frame is None:
            yield from self._units(None)

    def _units(self, piece: AudioFrame | None) -> Iterator[Unit]:
        for packet in self._context.encode(piece):
            time = packet.pts or 0  # begins below 0 by the encoder's look-ahead
            yield Unit(self._track_id, time / AUDIO_CLOCK, time, True, bytes(packet))
