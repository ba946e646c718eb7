"""aiortc: a second WebRTC stack, which lets the test see every picture it decodes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from .clip import Clip
from .program import Program
from .watching import Viewer

_PROGRAM = [sys.executable, "-P", str(Path(__file__).with_name("aiortc_peer.py"))]


def publish(
    file: Path,
    url: str,
    key: str,
    directory: Path,
    *,
    form: str = "plain",
    address: str = "127.0.0.1",
    name: str = "aiortc-publish",
    **named: Any,
) -> Program:
    """Publish ``file`` (H.264 and Opus) by WHIP, without end, in real time and as it is."""
    argv = [*_PROGRAM, "publish", url, key, str(file), address, form]
    return Program(name, argv, directory, **named)


def watch(
    clip: Clip,
    url: str,
    directory: Path,
    *,
    key: str = "",
    address: str = "127.0.0.1",
    relay: bool = False,
    **named: Any,
) -> Viewer:
    """Watch by WHEP; with ``relay`` by the TURN server, too, that the server tells of."""
    argv = [*_PROGRAM, "watch", url, key, address, "{video}", "{audio}"]
    argv += ["relay"] * relay
    return Viewer(clip, "aiortc", argv, directory, pipes=("video", "audio"), **named)
