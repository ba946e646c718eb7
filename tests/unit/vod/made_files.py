"""Small media files for tests, made by PyAV: moving pictures and a tone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

RATE = 25
_X264 = {"preset": "veryfast", "g": "25", "bf": "2", "threads": "1", "sc_threshold": "0"}
VIDEO: Mapping[str, tuple[str, dict[str, str]]] = {
    "h264": ("libx264", _X264),
    "h265": (
        "libx265",
        {
            "preset": "ultrafast",
            "tag": "hvc1",
            "x265-params": "keyint=25:bframes=2:log-level=none:pools=1:frame-threads=1",
        },
    ),
    "vp8": ("libvpx", {"g": "25", "deadline": "realtime", "cpu-used": "8"}),
    "vp9": ("libvpx-vp9", {"g": "25", "deadline": "realtime", "cpu-used": "8"}),
    "av1": ("libsvtav1", {"g": "25", "preset": "12", "svtav1-params": "lp=1"}),
    "mpeg2": ("mpeg2video", {"g": "15", "bf": "2", "b": "1M"}),
}


@dataclass(frozen=True)
class Made:
    """What is to be in a file."""

    video: str | None = "h264"
    audio: Sequence[str] = ("aac",)
    seconds: float = 2.0
    size: tuple[int, int] = (160, 90)
    sizes: Sequence[tuple[int, int]] = ()
    """Further video streams."""
    languages: Sequence[str] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    """The container's."""
    encoder: Mapping[str, str] = field(default_factory=dict)
    """The video encoder's."""


def pictures(count: int, width: int, height: int) -> Iterator[VideoFrame]:
    """A block that moves over a slope: every picture is another one."""
    slope = np.add.outer(np.arange(height), np.arange(width)).astype(np.uint16)
    for number in range(count):
        luma = ((slope + 3 * number) & 255).astype(np.uint8)
        at = 5 * number % (width - 16)
        luma[8:24, at : at + 16] = 235
        chroma = np.full((height // 2, width), 128, np.uint8)
        plain = np.concatenate([luma.ravel(), chroma.ravel()])[: width * height * 3 // 2]
        plain = plain.reshape(height * 3 // 2, width)
        frame = VideoFrame.from_ndarray(plain, format="yuv420p")
        frame.pts, frame.time_base = number, Fraction(1, RATE)
        yield frame


@contextlib.contextmanager
def ordinary_priority() -> Iterator[None]:
    """Come out with the scheduling one had.

    Run by root, SVT-AV1 gives the thread that opens it the highest real-time priority and leaves it
    there: all that this process starts later would take the machine from everybody else.
    """
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def make(path: Path, made: Made = Made()) -> Path:
    """Write a file; its container is that of the name's end."""
    with ordinary_priority(), av.open(str(path), "w", options=dict(made.options)) as out:
        videos: list[tuple[Any, Iterator[VideoFrame]]] = []
        if made.video:
            name, options = VIDEO[made.video]
            for width, height in (made.size, *made.sizes):
                stream = out.add_stream(name, rate=RATE, options={**options, **made.encoder})
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                stream.thread_count = 1
                videos.append((stream, pictures(int(made.seconds * RATE), width, height)))
        audios = []
        for index, codec in enumerate(made.audio):
            sound = out.add_stream(codec, rate=48_000)
            sound.layout = "stereo"
            if index < len(made.languages):
                sound.metadata["language"] = made.languages[index]
            audios.append((sound, _tone(made.seconds, 440 * (index + 1), sound.format.name)))
        # One picture's time of each by turns, as encoders of live streams interleave.
        for _ in range(int(made.seconds * RATE)):
            for stream, frames in videos:
                out.mux(stream.encode(next(frames)))
            for sound, tones in audios:
                out.mux(sound.encode(next(tones)))
        for stream, _ in (*videos, *audios):
            out.mux(stream.encode(None))
    return path


def _tone(seconds: float, hertz: int, sample_format: str) -> Iterator[AudioFrame]:
    step = 48_000 // RATE
    resampler = av.AudioResampler(sample_format, "stereo", 48_000)
    for number in range(int(seconds * RATE)):
        times = np.arange(number * step, (number + 1) * step) / 48_000
        wave = (8000 * np.sin(2 * np.pi * hertz * times)).astype(np.int16)
        frame = AudioFrame.from_ndarray(np.repeat(wave, 2)[None], format="s16", layout="stereo")
        frame.sample_rate, frame.pts = 48_000, number * step
        frame.time_base = Fraction(1, 48_000)
        yield from resampler.resample(frame)


@dataclass
class Packets:
    """What a demuxer finds in a file, for comparison."""

    payloads: list[bytes]
    pts: list[float]
    dts: list[float | None]
    keys: list[bool]


def demuxed(path: Path, stream: int) -> Packets:
    """Packets of a stream, times in seconds."""
    found = Packets([], [], [], [])
    with av.open(str(path)) as file:
        for packet in file.demux(file.streams[stream]):
            if packet.size:
                base = packet.time_base
                assert packet.pts is not None
                found.payloads.append(bytes(packet))
                found.pts.append(float(packet.pts * base))
                found.dts.append(None if packet.dts is None else float(packet.dts * base))
                found.keys.append(packet.is_keyframe)
    return found
