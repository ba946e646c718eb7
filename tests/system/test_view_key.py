"""Other people's players show a view key: Digest with a count (ffmpeg), and without (GStreamer)."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system.conftest import Served, start, stop, until

VIEW_KEY = "a-view-key-for-tests"
KEY = "another-key-for-tests"


@pytest.fixture
def closed(served: Served, clip: Path, tmp_path: Path) -> Iterator[Served]:
    """A server with the channel ``closed`` on air, which asks viewers for a key."""
    administrator = (tmp_path / "state" / "administrator.key").read_text().strip()
    body = json.dumps({"name": "closed", "key": KEY, "view_key": VIEW_KEY}).encode()
    request = urllib.request.Request(
        f"{served.http}/api/v1/channels",
        body,
        {"Authorization": f"Bearer {administrator}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert answer.status == 201
    publisher = start(
        ["ffmpeg", "-v", "warning", "-re", "-stream_loop", "-1", "-i", str(clip), "-c", "copy"]
        + ["-f", "rtsp", f"rtsp://me:{KEY}@127.0.0.1:{served.rtsp_port}/closed"],
        tmp_path / "publisher.log",
    )
    try:
        until("the channel is on air", lambda: served.channel("closed")["state"] == "on_air")
        yield served
    finally:
        stop(publisher)


def play(command: list[str]) -> tuple[int, str]:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_ffmpeg_plays_with_the_key_and_only_with_it(closed: Served, transport: str) -> None:
    def ffmpeg(key: str) -> tuple[int, str]:
        url = f"rtsp://me:{key}@127.0.0.1:{closed.rtsp_port}/closed"
        return play(
            ["ffmpeg", "-v", "error", "-rtsp_transport", transport, "-i", url]
            + ["-frames:v", "10", "-f", "null", "-"]
        )

    for _ in range(2):  # each time with a nonce of its own
        code, said = ffmpeg(VIEW_KEY)
        assert code == 0, said
    code, said = ffmpeg("wrong-key")
    assert code != 0
    assert "401" in said


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
def test_gstreamer_plays_with_the_key_and_only_with_it(closed: Served, protocol: str) -> None:
    def gstreamer(key: str) -> tuple[int, str]:
        url = f"rtsp://127.0.0.1:{closed.rtsp_port}/closed"
        return play(
            ["gst-launch-1.0", "rtspsrc", f"location={url}", "user-id=me", f"user-pw={key}"]
            + [f"protocols={protocol}", "!", "fakesink", "num-buffers=30"]
        )

    # The exit code tells of the farewell too, which rtspsrc may fail when it has just begun.
    _, said = gstreamer(VIEW_KEY)
    assert "Got EOS" in said, said
    code, said = gstreamer("wrong-key")
    assert code != 0
    assert "Got EOS" not in said
