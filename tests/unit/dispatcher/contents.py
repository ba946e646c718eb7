"""Catalogues made up for tests: servers ``s1`` …, titles by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from heliograph.catalogue.contents.statistics import Decision
from heliograph.catalogue.contents.values import (
    Condition,
    Contents,
    File,
    Format,
    Network,
    Server,
    ServerState,
    Title,
)
from heliograph.dispatcher.choose import Dispatcher, Options
from heliograph.dispatcher.snapshot import Snapshot

NOW = 1_760_000_000.0


def moment(seconds: float = 0.0) -> datetime:
    return datetime.fromtimestamp(NOW, UTC) + timedelta(seconds=seconds)


def state(id: int, condition: Condition = Condition.UP, **more: Any) -> ServerState:
    values = {"response_ms": 5.0, "since": moment(), "measured": moment()} | more
    return ServerState(id, condition, **values)


def server(id: int, **more: Any) -> Server:
    return Server(id, f"s{id}", f"host{id}.example", **more)


class Made:
    """Contents in the making; all servers are up unless it is said otherwise."""

    def __init__(self, servers: int | Iterable[Server] = 2, version: int = 1) -> None:
        rows = [server(id) for id in range(1, servers + 1)] if isinstance(servers, int) else servers
        self.servers = {one.id: one for one in rows}
        self.titles: list[Title] = []
        self.files: list[File] = []
        self.networks: list[Network] = []
        self.states = {id: state(id) for id in self.servers}
        self.version = version

    def title(
        self,
        name: str,
        held: Mapping[Format | str, Iterable[int]] | None = None,
        *,
        file: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Made:
        """A title; ``held``: servers by format, all servers in MP4 if it is left out."""
        id = len(self.titles) + 1
        self.titles.append(Title(id, name, name.upper(), **more))
        for format, servers in (held or {Format.MP4: self.servers}).items():
            for holder in servers:
                scheme = "rtsp" if format == Format.RTSP else "http"
                ending = "m3u8" if format == Format.HLS else format
                uri = f"{scheme}://host{holder}.example/{name}.{ending}"
                row = File(len(self.files) + 1, id, holder, Format(format), uri, **(file or {}))
                self.files.append(row)
        return self

    def contents(self) -> Contents:
        return Contents(
            self.version,
            tuple(self.servers.values()),
            tuple(self.titles),
            tuple(self.files),
            tuple(self.networks),
        )

    def snapshot(self) -> Snapshot:
        return Snapshot.of(self.contents()).with_states(self.states)

    def dispatcher(self, options: Options | None = None, **more: Any) -> Told:
        told = Told(options, **more)
        told.replace(self.snapshot(), NOW)
        return told


class Told(Dispatcher):
    """A dispatcher that keeps what it recorded."""

    def __init__(self, options: Options | None = None, **more: Any) -> None:
        self.decisions: list[Decision] = []
        super().__init__(self.decisions.append, options, **more)
