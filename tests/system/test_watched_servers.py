"""A whole server that watches others: by API, settings that change, a restart."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.ports import free_port
from tests.system.conftest import start, stop, until

PATIENCE = 45.0


class Watcher:
    """``helio serve``, and its administrator."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.port = directory, free_port()
        self.config = directory / "watcher.toml"
        self.state = directory / "state"
        self.configure(30.0)
        self.process: subprocess.Popen[bytes]

    def configure(self, slow_start: float) -> None:
        self.config.write_text(
            f'[server]\nstate_dir = "{self.state}"\n'
            f'[http]\nhost = "127.0.0.1"\nport = {self.port}\n'
            f'[rtsp]\nhost = "127.0.0.1"\nport = {free_port()}\nrtp_port = {free_port(pair=True)}\n'
            "[https]\nenabled = false\n[rtmp]\nenabled = false\n[webrtc]\nenabled = false\n"
            f"[monitor]\nslow_start_s = {slow_start}\nsave_s = 1.0\n"
        )

    def start(self) -> None:
        command = [sys.executable, "-m", "heliograph", "serve", "--config", str(self.config)]
        self.process = start(command, self.directory / "watcher.log")
        until("the server is ready", self._ready)

    def _ready(self) -> bool:
        assert self.process.poll() is None, (self.directory / "watcher.log").read_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2):
                return True
        except OSError:
            return False

    def ask(self, path: str, body: Any = None, method: str | None = None) -> Any:
        key = (self.state / "administrator.key").read_text().strip()
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self.port}/api/v1{path}"
        with urllib.request.urlopen(
            urllib.request.Request(url, data, headers, method=method), timeout=10
        ) as answer:
            return json.loads(answer.read() or b"null")

    def state_of(self, name: str) -> dict[str, Any]:
        states = self.ask("/monitor/states")["states"]
        return next((one for one in states if one["server"] == name), {"condition": "none"})

    def until(self, name: str, condition: str) -> dict[str, Any]:
        found: dict[str, Any] = until(
            f"{name} is {condition}",
            lambda: (one := self.state_of(name))["condition"] == condition and one,
        )
        return found


@pytest.fixture
def watcher(tmp_path: Path) -> Iterator[Watcher]:
    found = Watcher(tmp_path)
    found.start()
    yield found
    stop(found.process)


def listener(port: int = 0) -> socket.socket:
    return socket.create_server(("127.0.0.1", port))


def test_server_is_watched_from_the_moment_it_is_added(watcher: Watcher) -> None:
    sock = listener()
    port = sock.getsockname()[1]
    probes = [{"kind": "tcp", "interval": 0.3, "port": port}, {"kind": "icmp", "interval": 0.5}]
    began = time.monotonic()
    watcher.ask("/servers", {"name": "films", "host": "localhost", "probes": probes})
    state = watcher.until("films", "up")
    assert time.monotonic() - began < 10
    assert state["responses"]["tcp"] == state["response_ms"]
    until("the other probe came as well", lambda: "icmp" in watcher.state_of("films")["responses"])

    sock.close()
    state = watcher.until("films", "down")
    assert state["reason"] == "TCP: Connection refused"

    sock = listener(port)
    state = watcher.until("films", "starting")
    watcher.configure(slow_start=0.5)
    watcher.process.send_signal(signal.SIGHUP)
    watcher.until("films", "up")

    # A restart begins with what was known, though nothing can be measured any more.
    until("it was saved", lambda: (watcher.ask("/servers/films")["state"] or {}) != {})
    before = watcher.state_of("films")["since"]
    assert stop(watcher.process) == 0
    watcher.start()
    state = watcher.until("films", "up")
    assert state["since"] == before

    watcher.ask("/servers/films", {"probes": [{**probes[0], "interval": 3600}]}, "PATCH")
    sock.close()
    watcher.ask("/servers/films", method="DELETE")
    until("it is watched no more", lambda: watcher.state_of("films")["condition"] == "none")
