"""Firefox, told what to do by its Marionette protocol: JSON behind its length, on a socket."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from typing import Any

from .program import Program, wait_until

#: Seconds until Firefox listens: its first start fills a profile.
START_PATIENCE = 40.0
SCRIPT_PATIENCE = 30.0

#: Cameras that need no person, addresses of the loopback, sound that starts by itself.
_SETTINGS = {
    "media.navigator.streams.fake": True,
    "media.navigator.permission.disabled": True,
    "media.peerconnection.ice.loopback": True,
    "media.peerconnection.ice.obfuscate_host_addresses": False,
    "media.autoplay.default": 0,
    "media.gmp-manager.url": "",
    "app.normandy.enabled": False,
    "app.update.enabled": False,
    "browser.safebrowsing.update.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.systemAddon.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "http://127.0.0.1:9/",
    "toolkit.telemetry.enabled": False,
    "marionette.port": 0,
}


def _setting(name: str, value: object) -> str:
    return f'user_pref("{name}", {json.dumps(value)});\n'


class Firefox(Program):
    """A browser of its own, with an empty profile and one page."""

    def __init__(self, directory: Path) -> None:
        self._profile = directory / "firefox"
        self._profile.mkdir()
        settings = "".join(_setting(name, value) for name, value in _SETTINGS.items())
        (self._profile / "user.js").write_text(settings)
        argv = ["firefox-esr", "--headless", "--no-remote", "--marionette", "--profile"]
        env = {"HOME": str(directory), "MOZ_DISABLE_AUTO_SAFE_MODE": "1"}
        super().__init__("firefox", [*argv, str(self._profile)], directory, env=env)
        self._serial = 0
        self._socket: socket.socket | None = None

    def until_ready(self) -> Firefox:
        """Wait until it can be told what to do."""

        def port() -> int:
            assert self.running, f"Firefox ended with {self.process.returncode}:\n{self.log}"
            told = self._profile / "MarionetteActivePort"
            if told.exists() and told.read_text().strip():
                return int(told.read_text())
            found = re.search(r"Listening on port (\d+)", self.log)
            return int(found[1]) if found else 0

        address = ("127.0.0.1", wait_until(port, START_PATIENCE, "Firefox listens"))
        self._socket = socket.create_connection(address, SCRIPT_PATIENCE + 10)
        self._read()  # it says who it is
        self.tell("WebDriver:NewSession", {"capabilities": {}})
        patience = int(SCRIPT_PATIENCE * 1000)
        self.tell("WebDriver:SetTimeouts", {"script": patience, "pageLoad": patience})
        return self

    def _read(self) -> Any:
        assert self._socket is not None
        length = b""
        while not length.endswith(b":"):
            byte = self._socket.recv(1)
            assert byte, f"Firefox hung up:\n{self.log[-2000:]}"
            length += byte
        data = b""
        while len(data) < int(length[:-1]):
            data += self._socket.recv(int(length[:-1]) - len(data))
        return json.loads(data)

    def tell(self, command: str, arguments: dict[str, Any]) -> Any:
        """Do a command; what it gives."""
        assert self._socket is not None
        self._serial += 1
        text = json.dumps([0, self._serial, command, arguments])
        self._socket.sendall(f"{len(text.encode())}:{text}".encode())
        _, serial, error, value = self._read()
        assert serial == self._serial
        assert error is None, f"{command}: {error}"
        return value

    def open(self, url: str) -> None:
        """Open a page in the only tab."""
        self.tell("WebDriver:Navigate", {"url": url})

    def evaluate(self, function: str, argument: object = None) -> Any:
        """Call a function of the page's language with one argument; what its promise gives."""
        script = (
            "const done = arguments[arguments.length - 1];"
            f"Promise.resolve(arguments[0]).then({function}).then("
            "(value) => done({ value: value ?? null }),"
            "(error) => done({ error: String(error) }));"
        )
        given = self.tell("WebDriver:ExecuteAsyncScript", {"script": script, "args": [argument]})
        answer = given["value"]
        assert "error" not in answer, answer["error"]
        return answer["value"]

    def close(self) -> None:
        """Leave the page."""
        self.open("about:blank")

    def stop(self) -> int:
        """End it."""
        if self._socket is not None:
            self._socket.close()
        return super().stop()
