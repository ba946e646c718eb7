"""simple-whip-client on GStreamer 1.28, the first whose certificates are elliptic.

``scripts/whip_client.sh`` puts it with its libraries below ``.cache``; it runs by its own loader,
so that nothing of it meets this system's libraries.
"""

from __future__ import annotations

from pathlib import Path

from .program import Program

ROOT = Path(__file__).parents[3] / ".cache/whip-client/system"
LIBRARIES = ROOT / "usr/lib/x86_64-linux-gnu"

VIDEO = """
filesrc location={file} ! qtdemux name=demux demux.video_0 ! queue ! clocksync
! h264parse config-interval=-1 ! rtph264pay aggregate-mode=zero-latency mtu=1200 pt=96 ssrc=1
! application/x-rtp,media=video,encoding-name=H264,payload=96,clock-rate=90000
"""
AUDIO = """
filesrc location={file} ! qtdemux name=sound sound.audio_0 ! queue ! clocksync
! opusparse ! rtpopuspay pt=97 ssrc=2
! application/x-rtp,media=audio,encoding-name=OPUS,payload=97,clock-rate=48000
"""


def publish(file: Path, url: str, key: str, directory: Path) -> Program:
    """Publish ``file`` (H.264 and Opus) once, in real time and as it is."""
    loader = LIBRARIES / "ld-linux-x86-64.so.2"
    argv = [str(loader), "--library-path", str(LIBRARIES), str(ROOT / "usr/bin/whip-client")]
    argv += ["--url", url, "--token", key, "--disable-colors"]
    argv += ["--video", " ".join(VIDEO.format(file=file).split())]
    argv += ["--audio", " ".join(AUDIO.format(file=file).split())]
    env = {
        "GST_PLUGIN_SYSTEM_PATH": str(LIBRARIES / "plugins"),
        "GST_REGISTRY": str(directory / "whip-client.registry"),
        "GST_REGISTRY_FORK": "no",  # the scanner would be started by this system's loader
    }
    return Program("simple-whip-client", argv, directory, env=env)
