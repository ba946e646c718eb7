"""HTTPS of a node: the server, and its certificate, which is renewed while that runs."""

from __future__ import annotations

from pathlib import Path

from heliograph.model.errors import MalformedError, SettingsError
from heliograph.node.certificates import PERIOD, Keeper
from heliograph.node.options import certificate_source, https_options
from heliograph.node.periodic import Periodic
from heliograph.node.settings import Settings
from heliograph.plane import Plane
from heliograph.servers.http import HttpServer
from heliograph.servers.https import HttpsServer


class Https:
    """Made by ``open``; it listens."""

    def __init__(self, server: HttpsServer, certificate: Keeper) -> None:
        self._server = server
        self.certificate = certificate
        self._looks = Periodic("certificate", PERIOD, certificate.look)
        self._looks.start()

    @classmethod
    async def open(
        cls, settings: Settings, state_dir: Path, http: HttpServer, plane: Plane
    ) -> Https:
        """Listen, for what ``http`` serves. ``SettingsError``: the certificate is of no use."""
        source = certificate_source(settings, state_dir)
        certificate = source.load()
        server = HttpsServer(http, plane, https_options(settings))
        try:
            await server.start(certificate.pem)
        except MalformedError as error:
            raise SettingsError(f"https.certificate: {error.reason}") from error
        return cls(server, Keeper(source, certificate, server.certify))

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.port

    def figures(self) -> dict[str, float]:
        """For the metrics."""
        ends = self.certificate.current.not_after.timestamp()
        return {**self._server.counters(), "certificate_ends": ends}

    async def stop(self) -> None:
        """End."""
        await self._looks.stop()
        await self._server.stop()
