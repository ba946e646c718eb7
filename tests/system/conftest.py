"""A whole server as its own process, and the programs around it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests import nursery
from tests.nursery import Born
from tests.ports import free_port

KEY = "a-key-for-tests"
#: Seconds anything here may take; a busy machine needs a few.
PATIENCE = 45.0


def until(what: str, condition: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """Wait until the condition gives something true, and return it. A command that fails is asked
    again: a cluster that is coming about has no manager yet, and says so."""
    deadline = time.monotonic() + patience
    while True:
        said = ""
        try:
            value = condition()
        except subprocess.CalledProcessError as error:
            value, said = None, f", {error}: {error.stderr}"
        if value:
            return value
        assert time.monotonic() < deadline, f"not in {patience} s: {what}{said}"
        time.sleep(0.05)


@dataclass
class Served:
    """A running ``helio serve``."""

    process: subprocess.Popen[bytes] | Born
    http: str
    rtsp: str
    rtsp_port: int
    log: Path

    def channel(self, name: str = "demo") -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.http}/api/v1/channels/{name}", timeout=5) as answer:
            channel: dict[str, Any] = json.load(answer)
            return channel

    def publish_url(self, name: str = "demo") -> str:
        return f"rtsp://me:{KEY}@127.0.0.1:{self.rtsp_port}/{name}"


def start(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as out:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)


def stop(process: subprocess.Popen[bytes] | Born) -> int:
    """End a process by its own id; its exit code."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return process.returncode


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    http, rtsp, rtp = free_port(), free_port(), free_port(pair=True)
    config = tmp_path / "helio.toml"
    config.write_text(
        f'[server]\nstate_dir = "{tmp_path / "state"}"\n'
        f'[http]\nhost = "127.0.0.1"\nport = {http}\n'
        f'[rtsp]\nhost = "127.0.0.1"\nport = {rtsp}\nrtp_port = {rtp}\n'
        "[https]\nport = 0\n[rtmp]\nport = 0\n[webrtc]\nport = 0\n"
        f'[[channels]]\nname = "demo"\ntitle = "A clip"\nkey = "{KEY}"\n'
    )
    log = tmp_path / "server.log"
    process = nursery.serve(["--config", str(config)], log)
    server = Served(process, f"http://127.0.0.1:{http}", f"rtsp://127.0.0.1:{rtsp}", rtsp, log)

    def ready() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"{server.http}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    try:
        until("the server is ready", ready)
        yield server
        assert process.poll() is None, f"the server died:\n{log.read_text()}"
        assert "Traceback" not in log.read_text()
    finally:
        code = stop(process)
    assert code == 0, log.read_text()


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds of moving pictures and a tone, a keyframe a second."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    subprocess.run(
        ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25"]
        + ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000", "-t", "10"]
        + ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "25"]
        + ["-pix_fmt", "yuv420p", "-c:a", "libopus", str(path)],
        check=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )
    return path


@pytest.fixture
def publish(served: Served, clip: Path, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Start an ffmpeg that publishes the clip over and over; gives its process."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(transport: str = "tcp") -> subprocess.Popen[bytes]:
        process = start(
            ["ffmpeg", "-v", "warning", "-re", "-stream_loop", "-1", "-i", str(clip)]
            + ["-c", "copy", "-f", "rtsp", "-rtsp_transport", transport, served.publish_url()],
            tmp_path / "publisher.log",
        )
        started.append(process)
        until("the channel is on air", lambda: served.channel()["state"] == "on_air")
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
