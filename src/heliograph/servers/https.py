"""HTTPS: the plane ends TLS, the web server answers what is inside.

What arrives here are connections whose handshake is done, as sockets for plaintext; nothing of TLS
passes through Python. A WebSocket is handed over like any other, and the plane takes the whole.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass

import structlog

from heliograph.model.errors import MalformedError, ResourceError
from heliograph.plane import Plane, TlsPort
from heliograph.servers.http import BACKLOG, HttpConnection, HttpServer, Secured
from heliograph.servers.listening import bind_tcp, told

log = structlog.get_logger(__name__)

#: Connections taken at one wake-up; the rest keeps the descriptor readable.
BATCH = 64


@dataclass(frozen=True, slots=True)
class HttpsOptions:
    """How the port listens."""

    address: str = "0.0.0.0"
    """Numeric; ``::`` serves IPv4 as well."""
    port: int = 8443
    """0: any free one."""
    max_connections: int = 20_000
    """Without those of WebSockets, which the HTTP server's bound counts; more are closed at once.
    """
    handshake_timeout: float = 5.0
    """Seconds for the handshake."""


@dataclass(frozen=True, slots=True)
class Pem:
    """A certificate for the server, as files have it."""

    chain: bytes
    """Certificates in PEM, the server's own first."""
    key: bytes
    """Its private key in PEM, not encrypted."""

    def __repr__(self) -> str:
        return "Pem(…)"


class HttpsServer:
    """Listens on one port, and lets ``http`` serve what comes."""

    def __init__(self, http: HttpServer, plane: Plane, options: HttpsOptions) -> None:
        self.options = options
        self.port = 0
        """The port really listened on."""
        self._http = http
        self._plane = plane
        self._tls: TlsPort | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, pem: Pem) -> None:
        """Listen. ``ResourceError`` says which port is taken, ``MalformedError`` what is wrong with
        the certificate."""
        options = self.options
        with told("https", options.address, options.port):
            listener = bind_tcp(options.address, options.port, BACKLOG)
        with listener:
            self.port = listener.getsockname()[1]
            try:
                self._tls = self._plane.tls_open(
                    listener.fileno(),
                    pem.chain,
                    pem.key,
                    connections=options.max_connections,
                    handshake_ms=round(options.handshake_timeout * 1000),
                )
            except ValueError as error:
                raise MalformedError("certificate", str(error)) from error
            except OSError as error:
                raise ResourceError(f"HTTPS: {error}", subject="https") from error
        asyncio.get_running_loop().add_reader(self._tls.fileno(), self._accept)
        log.info("https listening", address=options.address, port=self.port)

    def certify(self, pem: Pem) -> None:
        """Use another certificate from now on; ``MalformedError``: the old one stays."""
        if self._tls is not None:
            try:
                self._tls.certify(pem.chain, pem.key)
            except ValueError as error:
                raise MalformedError("certificate", str(error)) from error

    def counters(self) -> dict[str, int]:
        """What the port counts; empty before the start."""
        return {} if self._tls is None else self._tls.counters()

    async def stop(self) -> None:
        """Listen no more. The HTTP server, which stops next, ends what is open; the plane sends
        what was written."""
        if self._tls is None:
            return
        asyncio.get_running_loop().remove_reader(self._tls.fileno())
        self._tls.shut()
        while self._accept():
            pass  # who came before is heard still
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1)

    def _accept(self) -> bool:
        """Serve the next who have come; whether there were any."""
        assert self._tls is not None
        accepted = self._tls.accept(BATCH)
        for fd, address, port in accepted:
            task = asyncio.ensure_future(self._serve(socket.socket(fileno=fd), (address, port)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return bool(accepted)

    async def _serve(self, plain: socket.socket, client: tuple[str, int]) -> None:
        """Give one connection to a protocol, which is done at once."""
        secured = Secured(client, (self.options.address, self.port))
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: HttpConnection(self._http, secured), plain
            )
        except (OSError, ValueError) as error:
            log.warning("https connection not served", peer=client[0], error=str(error))
            plain.close()
