"""Other people's proxies in front of our server, set up with the text of our documentation."""

from __future__ import annotations

import re
import socket
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from tests.ports import free_port

from heliograph.node.certificates import Names, make

from .heliograph import Server
from .program import Program, wait_until

DOCUMENT = Path(__file__).parents[3] / "docs" / "operate" / "proxy.md"
#: The name in the documentation's examples.
NAME = "live.example.org"
#: Where Debian has what only administrators run.
NGINX = "/usr/sbin/nginx"


def example(language: str) -> str:
    """The documentation's block in a language."""
    found = re.search(rf"^```{language}\n(.*?)^```", DOCUMENT.read_text(), re.M | re.S)
    assert found, language
    return found[1]


def replaced(text: str, *changes: tuple[str, str]) -> str:
    """An example with what differs in a test; each must be there."""
    for old, new in changes:
        assert old in text, f"{old!r} is not in\n{text}"
        text = text.replace(old, new)
    return text


class Proxy(Program):
    """A proxy on a port of its own, with a certificate for ``localhost``."""

    def __init__(self, kind: str, server: Server, directory: Path) -> None:
        self.port = free_port()
        self.certificate = directory / "proxy.pem"
        key = ec.generate_private_key(ec.SECP256R1())
        names = Names(("localhost",), (ip_address("127.0.0.1"),))
        self.certificate.write_bytes(make(key, names, datetime.now(UTC)))
        config = directory / f"{kind}.conf"
        ours = f"127.0.0.1:{server.http_port}"
        if kind == "nginx":
            config.write_text(self._nginx(ours, directory))
            argv = [NGINX, "-c", str(config), "-p", str(directory), "-g", "daemon off;"]
        else:
            config.write_text(self._caddy(ours, directory))
            argv = ["caddy", "run", "--adapter", "caddyfile", "--config", str(config)]
        home = {"HOME": str(directory), "XDG_DATA_HOME": str(directory)}
        super().__init__(kind, argv, directory, env=home)

    def _nginx(self, ours: str, directory: Path) -> str:
        text = replaced(
            example("nginx"),
            ("listen 443 ", f"listen 127.0.0.1:{self.port} "),
            ("127.0.0.1:8080", ours),
            (f"server_name {NAME}", "server_name localhost"),
            (f"/etc/ssl/{NAME}.pem", str(self.certificate)),
            (f"/etc/ssl/{NAME}.key", str(self.certificate)),
        )
        places = "".join(
            f"{name}_temp_path {directory}/{name};\n"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        return (
            f"pid {directory}/nginx.pid;\nerror_log stderr warn;\nevents {{}}\n"
            f"http {{\naccess_log off;\n{places}{text}}}\n"
        )

    def _caddy(self, ours: str, directory: Path) -> str:
        text = replaced(
            example("caddyfile"),
            (f"{NAME} {{\n", f"https://localhost:{self.port} {{\n\tbind 127.0.0.1\n"
             f"\ttls {self.certificate} {self.certificate}\n"),
            ("127.0.0.1:8080", ours),
        )  # fmt: skip
        return f"{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n{text}"

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def until_ready(self) -> Proxy:
        """Wait until it listens."""

        def look() -> bool:
            assert self.running, self.log
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0

        wait_until(look, 20, f"{self.name} listens")
        return self
