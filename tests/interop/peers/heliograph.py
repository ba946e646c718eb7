"""Our server as its users know it: a configuration file, a command and two ports."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests import nursery
from tests.nursery import Born
from tests.ports import free_port

from .program import Program, wait_until

KEY = "a-publishers-key"

#: Seconds until the server must be ready: starting Python and FastAPI on a busy machine.
START_PATIENCE = 45.0


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(member)}" for key, member in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml(member) for member in value) + "]"
    return json.dumps(value)


class Server(Program):
    """``helio serve`` with the channels given."""

    def __init__(
        self,
        directory: Path,
        channels: list[dict[str, Any]],
        *,
        settings: dict[str, dict[str, Any]] | None = None,
        namespace: str | None = None,
        name: str = "server",
        host: str = "127.0.0.1",
    ) -> None:
        self.host = host
        self.http_port = free_port()
        self.https_port = free_port()
        self.rtsp_port = free_port()
        self.rtmp_port = free_port()
        self.rtp_port = free_port(pair=True)
        sections: dict[str, dict[str, Any]] = {
            "server": {"log_format": "text", "log_level": "info"},
            "http": {"host": host, "port": self.http_port},
            "https": {"host": host, "port": self.https_port},
            "rtsp": {"host": host, "port": self.rtsp_port, "rtp_port": self.rtp_port},
            "rtmp": {"host": host, "port": self.rtmp_port},
            "webrtc": {"port": 0},
        }
        for section, values in (settings or {}).items():
            sections.setdefault(section, {}).update(values)
        self.http_port = sections["http"]["port"]
        self.rtsp_port = sections["rtsp"]["port"]
        text = "".join(
            f"[{section}]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in values.items())
            for section, values in sections.items()
        )
        for channel in channels:
            text += "[[channels]]\n"
            text += "".join(f"{key} = {_toml(value)}\n" for key, value in channel.items())
        config = directory / f"{name}.toml"
        config.write_text(text)
        self.state = directory / f"{name}-state"
        self._arguments = ["--config", str(config), "--state", str(self.state)]
        self._namespace = namespace
        argv = [sys.executable, "-m", "heliograph", "serve", *self._arguments]
        super().__init__(name, argv, directory, namespace=namespace)

    def _begin(self, *command: Any) -> subprocess.Popen[bytes] | Born:
        if self._namespace:
            return super()._begin(*command)
        return nursery.serve(self._arguments, self.log_path)

    def until_ready(self) -> Server:
        """Wait until the server says that it is ready."""

        def look() -> bool:
            assert self.running, f"the server ended with {self.process.returncode}:\n{self.log}"
            return self.get("/readyz")[0] == 200

        wait_until(look, START_PATIENCE, "server ready")
        return self

    @property
    def http(self) -> str:
        return f"http://{self.host}:{self.http_port}"

    @property
    def https(self) -> str:
        return f"https://{self.host}:{self.https_port}"

    def rtsp(self, channel: str, *, key: str = "", user: str = "me") -> str:
        login = f"{user}:{key}@" if key else ""
        return f"rtsp://{login}{self.host}:{self.rtsp_port}/{channel}"

    def rtmp(self, channel: str, *, key: str) -> str:
        return f"rtmp://{self.host}:{self.rtmp_port}/live/{channel}?key={key}"

    def get(self, path: str) -> tuple[int, str]:
        """GET a path; status 0 where nobody answers."""
        try:
            with urllib.request.urlopen(self.http + path, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def channel(self, name: str) -> dict[str, Any]:
        code, text = self.get(f"/api/v1/channels/{name}")
        assert code == 200, text
        answer: dict[str, Any] = json.loads(text)
        return answer

    def manage(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """A request below ``/api/v1`` by the administrator: status, and the answer if any."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.http}/api/v1{path}", data, method=method)
        if data is not None:
            request.add_header("Content-Type", "application/json")
        request.add_header("Authorization", f"Bearer {self.administrator_key}")
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                body = answer.read()
                return answer.status, json.loads(body) if body else None
        except urllib.error.HTTPError as error:
            with error:
                return error.code, None

    @property
    def administrator_key(self) -> str:
        return (self.state / "administrator.key").read_text().strip()

    def until_state(self, channel: str, state: str, seconds: float = 15) -> None:
        """Wait until the channel is idle, waiting or on_air."""
        wait_until(
            lambda: self.channel(channel)["state"] == state, seconds, f"{channel} is {state}"
        )

    def memory(self) -> int:
        """Resident bytes."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")
