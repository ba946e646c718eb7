"""coturn: somebody else's TURN server (RFC 8656)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.ports import free_port

from .program import Program, wait_until

USER = "viewer"
PASSWORD = "only-for-relaying"


class Turn(Program):
    """A relay at an address, by UDP."""

    def __init__(self, directory: Path, address: str, **named: Any) -> None:
        self.port = free_port()
        argv = ["turnserver", "-n", "--no-cli", "--no-tls", "--no-dtls", "--log-file=stdout"]
        argv += [f"--listening-ip={address}", f"--relay-ip={address}"]
        argv += [f"--listening-port={self.port}", f"--pidfile={directory / 'turn.pid'}"]
        argv += ["--lt-cred-mech", "--realm=heliograph", f"--user={USER}:{PASSWORD}"]
        argv += [f"--userdb={directory / 'turn.db'}", "--simple-log", "--verbose"]
        super().__init__("coturn", argv, directory, **named)
        self.url = f"turn:{address}:{self.port}?transport=udp"

    def until_ready(self) -> Turn:
        """Wait until it listens."""
        wait_until(lambda: "Total General servers" in self.log, 15.0, "the relay listens")
        return self
