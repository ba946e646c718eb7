"""Ten thousand WebSockets that say nothing, beside a running channel."""

from __future__ import annotations

import base64
import contextlib
import os
import resource
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.interop.peers import aio, ffmpeg
from tests.interop.peers.clip import Clip, make
from tests.interop.peers.heliograph import KEY, Server
from tests.interop.peers.program import Program, wait_until

pytestmark = [pytest.mark.probe, pytest.mark.timeout(240)]

Keep = Callable[[Program], Program]

CROWD = 10_000
#: What one idle WebSocket may cost the server, bytes.
EACH = 40_000
PATIENCE = 30.0


def open_websocket(server: Server, number: int) -> socket.socket:
    """Shake hands for a channel that nobody is on air on."""
    connection = socket.create_connection(
        (server.host, server.http_port), 10, source_address=(f"127.0.1.{number % 250 + 1}", 0)
    )
    key = base64.b64encode(os.urandom(16)).decode()
    connection.sendall(
        f"GET /ws/empty HTTP/1.1\r\nHost: {server.host}:{server.http_port}\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: helio.v1\r\n\r\n".encode()
    )
    head = b""
    while b"\r\n\r\n" not in head:
        piece = connection.recv(4096)
        assert piece, "hung up"
        head += piece
    assert head.startswith(b"HTTP/1.1 101 "), head
    return connection


def test_ten_thousand_idle_websockets_disturb_nobody(
    clip: Clip, serve: Callable[..., Server], run: Keep, tmp_path: Path
) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))
    server = serve({"name": "clip", "key": KEY}, {"name": "empty", "key": KEY})
    run(ffmpeg.publish(clip.opus, server.rtsp("clip", key=KEY), "tcp", tmp_path))
    server.until_state("clip", "on_air")
    viewers = [
        aio.watch(clip, f"{server.http}/whep/clip", tmp_path),
        ffmpeg.watch(clip, server.rtsp("clip"), "tcp", tmp_path),
    ]
    for viewer in viewers:
        run(viewer)
    for viewer in viewers:
        viewer.wait_pictures(make.RATE, PATIENCE)
    before = server.memory()
    with contextlib.ExitStack() as stack:
        begun = time.monotonic()
        for number in range(CROWD):
            stack.enter_context(open_websocket(server, number))
        opened = time.monotonic() - begun
        growth = server.memory() - before
        print(f"{CROWD} in {opened:.1f} s, {growth / CROWD:.0f} bytes each")
        assert server.channel("empty")["readers"] == CROWD
        for viewer in viewers:
            viewer.wait_pictures(4 * make.RATE, PATIENCE, since=viewer.record.mark())
        assert server.get("/readyz")[0] == 200
        assert growth < CROWD * EACH
    wait_until(lambda: server.channel("empty")["readers"] == 0, PATIENCE, "all are gone")
    for viewer in viewers:
        viewer.stop()
    # A minute's clip goes round: its number is then the first again.
    wrong = [fault for viewer in viewers for fault in viewer.judge(5 * make.RATE)]
    assert wrong == []
