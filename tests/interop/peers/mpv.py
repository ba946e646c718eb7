"""mpv: plays a channel into a NUT of raw pictures and samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .clip import Clip
from .watching import Viewer


def watch(clip: Clip, url: str, transport: str, directory: Path, **named: Any) -> Viewer:
    """Play ``url`` by ``transport``: udp or tcp of RTSP, or hls."""
    way = [] if transport == "hls" else [f"--rtsp-transport={transport}"]
    argv = ["mpv", "--no-config", "--msg-level=all=warn", *way]
    argv += ["--vf=format=yuv420p", "--audio-channels=mono", "--audio-samplerate=48000"]
    argv += ["--of=nut", "--ovc=rawvideo", "--oac=pcm_s16le", "-o", "/dev/fd/{nut}", url]
    return Viewer(clip, f"mpv-{transport}", argv, directory, pipes=("nut",), **named)
