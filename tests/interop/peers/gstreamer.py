"""GStreamer: publishes with rtspclientsink, plays with rtspsrc, serves with its RTSP server."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

from .clip import Clip
from .program import Program, wait_until
from .watching import Viewer

#: Debian's Python: the only one with GStreamer's bindings.
PYTHON = "/usr/bin/python3"


def publish(file: Path, url: str, transport: str, directory: Path) -> Program:
    """Publish ``file`` (H.264 and Opus) once, in real time."""
    pipeline = f"""
        rtspclientsink name=s location={url} protocols={transport}
        filesrc location={file} ! qtdemux name=d
        d.video_0 ! queue ! h264parse config-interval=-1 ! s.
        d.audio_0 ! queue ! opusparse ! s.
    """
    argv = ["gst-launch-1.0", "-q", *pipeline.split()]
    return Program(f"gstreamer-publish-{transport}", argv, directory)


def publish_whip(file: Path, url: str, key: str, directory: Path, *, rsa: bool = False) -> Program:
    """Publish ``file`` (H.264 and Opus) once by WHIP, in real time and as it is.

    ``rsa``: with the certificate that GStreamer makes for itself; otherwise an elliptic one.
    """
    argv = [PYTHON, str(Path(__file__).with_name("gst_whip.py")), url, key, str(file)]
    if not rsa:
        pem = directory / "elliptic.pem"
        make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        make += ["-nodes", "-subj", "/CN=gstreamer", "-keyout", "-"]
        made = subprocess.run(make, capture_output=True, check=True, timeout=10)
        pem.write_bytes(made.stdout)
        argv.append(str(pem))
    return Program("gstreamer-publish-whip", argv, directory)


def watch(
    clip: Clip,
    url: str,
    transport: str,
    directory: Path,
    *,
    name: str = "",
    login: tuple[str, str] | None = None,
    **named: Any,
) -> Viewer:
    """Play ``url`` by ``transport``: udp, tcp or udp-mcast."""
    script = str(Path(__file__).with_name("gst_rtsp_player.py"))
    argv = [PYTHON, script, url, transport, "{video}", "{audio}", *(login or ())]
    pipes = ("video", "audio")
    return Viewer(clip, name or f"gstreamer-{transport}", argv, directory, pipes=pipes, **named)


def decode_vp9(url: str, pictures: int, directory: Path) -> Program:
    """Play so many pictures of VP9 and end; ffmpeg takes no VP9 as browsers packet it."""
    pipeline = f"rtspsrc location={url} protocols=tcp ! rtpvp9depay ! vp9dec"
    argv = ["gst-launch-1.0", "-q", *pipeline.split(), "!", "fakesink", f"num-buffers={pictures}"]
    return Program("gstreamer-vp9", argv, directory)


def serve(file: Path, directory: Path) -> tuple[Program, str]:
    """Serve ``file`` to anybody, in real time; the program and the URL."""
    script = Path(__file__).with_name("gst_rtsp_server.py")
    server = Program("gstreamer-server", [PYTHON, str(script), str(file)], directory)
    found = wait_until(lambda: re.search(r"^port (\d+)$", server.log, re.M), 10, "GStreamer serves")
    return server, f"rtsp://127.0.0.1:{found[1]}/clip"
