"""Settings read anew by whole servers of several roles."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from tests.ports import free_port
from tests.system.conftest import start, stop, until

#: Seconds in which a source is connected to by whoever fetches it: at once.
AT_ONCE = 3.0


def settings(directory: Path, http: int, roles: str) -> str:
    return (
        f'[server]\nstate_dir = "{directory / "state"}"\n'
        f'[http]\nhost = "127.0.0.1"\nport = {http}\n'
        f'[rtsp]\nhost = "127.0.0.1"\nport = {free_port()}\nrtp_port = {free_port(pair=True)}\n'
        "[https]\nenabled = false\n[rtmp]\nenabled = false\n[webrtc]\nenabled = false\n"
        f'[mesh]\nhost = "127.0.0.1"\nport = {free_port()}\n[storage]\nport = {free_port()}\n'
        f'[cluster]\nenabled = true\nname = "one"\nhost = "127.0.0.1"\nport = {free_port()}\n'
        f"scouting = false\nroles = {roles}\n"
    )


@pytest.mark.parametrize(
    ("roles", "fetched"), [('["manager"]', False), ('["manager", "portal"]', True)]
)
def test_a_channel_that_is_added_is_fetched_where_media_are_carried(
    tmp_path: Path, roles: str, fetched: bool
) -> None:
    http = free_port()
    config, log = tmp_path / "helio.toml", tmp_path / "server.log"
    before = settings(tmp_path, http, roles)
    config.write_text(before)
    command = [sys.executable, "-m", "heliograph", "serve", "--config", str(config)]
    process = start(command, log)
    try:
        until("the server is ready", lambda: ready(process, http, log))
        with socket.create_server(("127.0.0.1", 0)) as camera:
            camera.settimeout(AT_ONCE)
            url = f"rtsp://127.0.0.1:{camera.getsockname()[1]}/camera"
            config.write_text(
                f'{before}[[channels]]\nname = "yard"\nsources = [{{url = "{url}"}}]\n'
            )
            process.send_signal(signal.SIGHUP)
            until("settings are read anew", lambda: "settings reloaded" in log.read_text())
            if fetched:
                camera.accept()[0].close()
            else:
                with pytest.raises(TimeoutError):
                    camera.accept()
        assert process.poll() is None
        assert "Traceback" not in log.read_text()
    finally:
        stop(process)


def ready(process: subprocess.Popen[bytes], http: int, log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{http}/readyz", timeout=2):
            return True
    except OSError:
        return False
