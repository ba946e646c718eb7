"""ffmpeg: publishes the clip, plays a channel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .clip import Clip
from .program import Program
from .watching import Viewer

_QUIET = ["ffmpeg", "-nostdin", "-hide_banner", "-v", "warning"]


def publish(
    file: Path, url: str, transport: str, directory: Path, *, name: str = "", **named: Any
) -> Program:
    """Publish ``file`` without end, in real time and as it is."""
    argv = [*_QUIET, "-re", "-stream_loop", "-1", "-i", str(file), "-c", "copy"]
    argv += ["-f", "rtsp", "-rtsp_transport", transport, url]
    return Program(name or f"ffmpeg-publish-{transport}", argv, directory, **named)


def publish_vp8(file: Path, url: str, directory: Path) -> Program:
    """Publish ``file`` without end in real time, its pictures as VP8."""
    argv = [*_QUIET, "-re", "-stream_loop", "-1", "-i", str(file), "-c:a", "copy"]
    argv += ["-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-b:v", "1500k"]
    argv += ["-g", "25", "-lag-in-frames", "0", "-error-resilient", "1"]
    argv += ["-f", "rtsp", "-rtsp_transport", "tcp", url]
    return Program("ffmpeg-publish-vp8", argv, directory)


def publish_rtmp(
    file: Path, url: str, directory: Path, *, name: str = "ffmpeg-publish-rtmp"
) -> Program:
    """Publish ``file`` by RTMP, without end, in real time and as it is."""
    argv = [*_QUIET, "-re", "-stream_loop", "-1", "-i", str(file), "-c", "copy", "-f", "flv", url]
    return Program(name, argv, directory)


def send_rtp(
    file: Path, host: str, port: int, sdp: Path, directory: Path, *, ttl: int = 1, **named: Any
) -> Program:
    """Send plain RTP, video to ``port`` and audio to ``port + 2``, and write its SDP."""
    argv = [*_QUIET, "-re", "-stream_loop", "-1", "-i", str(file), "-c", "copy"]
    argv += ["-map", "0:v", "-f", "rtp", f"rtp://{host}:{port}?ttl={ttl}&pkt_size=1300"]
    argv += ["-c", "copy", "-map", "0:a", "-f", "rtp"]
    argv += [f"rtp://{host}:{port + 2}?ttl={ttl}", "-sdp_file", str(sdp)]
    return Program("ffmpeg-rtp", argv, directory, **named)


def watch(
    clip: Clip, url: str, transport: str, directory: Path, *, name: str = "", **named: Any
) -> Viewer:
    """Play ``url`` by ``transport``: udp, tcp or udp_multicast of RTSP, or hls."""
    way = [] if transport == "hls" else ["-rtsp_transport", transport]
    argv = [*_QUIET, *way, "-i", url]
    argv += ["-map", "0:v", "-fps_mode", "passthrough", "-pix_fmt", "yuv420p"]
    argv += ["-f", "rawvideo", "pipe:{video}"]
    argv += ["-map", "0:a", "-ac", "1", "-ar", "48000", "-f", "s16le", "pipe:{audio}"]
    pipes = ("video", "audio")
    return Viewer(clip, name or f"ffmpeg-{transport}", argv, directory, pipes=pipes, **named)
