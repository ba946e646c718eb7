"""This node's monitor: servers from the database, states into it, by the node's settings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import structlog

from heliograph.bus import Bus, Registration
from heliograph.catalogue.contents.values import Server, ServerState
from heliograph.dispatcher.monitor.agreement import View
from heliograph.dispatcher.monitor.health import HealthOptions
from heliograph.dispatcher.monitor.history import Row
from heliograph.dispatcher.monitor.monitor import Monitor, MonitorOptions
from heliograph.dispatcher.monitor.probes import ProbeOptions, Prober
from heliograph.dispatcher.monitor.views import MAX_SERVERS
from heliograph.model.errors import HelioError
from heliograph.node.periodic import Periodic
from heliograph.node.settings.monitor import MonitorSettings

log = structlog.get_logger(__name__)

#: Seconds between two looks whether servers were added, changed or removed.
LOOK_PERIOD = 0.5
#: Servers of one question to the database.
PAGE = 200
#: Seconds that the database has to tell the servers.
PATIENCE = 10.0

#: Told the agreed states whenever they are others.
Listener = Callable[[Mapping[int, ServerState]], None]


class Store(Protocol):
    """Where servers are; ``ContentStore``."""

    async def version(self) -> int:
        """Grows with each change of a server."""
        ...

    async def list_servers(
        self, *, search: str = "", after: str = "", limit: int = PAGE
    ) -> list[Server]: ...

    async def load_states(self) -> list[ServerState]: ...

    async def save_states(
        self, states: Sequence[ServerState], responses: Sequence[Row] = ()
    ) -> None: ...


class Monitoring:
    """Started when the bus and the database are there."""

    def __init__(self, settings: MonitorSettings, bus: Bus, store: Store, home: str = "") -> None:
        """``home``: id of the database where several nodes share it."""
        self._store = store
        self._prober = Prober(_probe_options(settings))
        self.monitor = Monitor(
            bus,
            self._prober,
            _options(settings),
            of=home,
            save=store.save_states,
            changed=self._changed,
        )
        self._looks = Periodic("servers to monitor", LOOK_PERIOD, self._look, at_once=True)
        self._listeners: list[Listener] = []
        self._version = -1
        self._servers: Mapping[int, Server] = {}
        self._away = False

    async def start(self) -> None:
        """Begin; a database that is away is asked again and again."""
        self.monitor.start()
        self._looks.start()

    async def close(self) -> None:
        """End, and save what is new."""
        await self._looks.stop()
        await self.monitor.close()

    def begin_with(self, servers: Iterable[Server], states: Iterable[ServerState]) -> None:
        """Watch these until the database has said which there are: for a start without it."""
        if self._version < 0:
            found = [*servers]
            self.monitor.remember(states)
            self._watch(found)

    def configure(self, settings: MonitorSettings) -> None:
        """Go on by other settings."""
        self._prober.options = _probe_options(settings)
        self.monitor.configure(_options(settings))

    @property
    def states(self) -> Mapping[int, ServerState]:
        """What all monitors say together, by server."""
        return self.monitor.states

    @property
    def servers(self) -> Mapping[int, Server]:
        """Those that are watched, by id."""
        return self._servers

    @property
    def doubt(self) -> bool:
        """Whether this node's monitor doubts itself."""
        return self.monitor.doubt

    def views(self) -> list[View]:
        """What the monitors say, each for itself; this node's first."""
        return self.monitor.views()

    def counts(self) -> Mapping[str, int]:
        """Since the start, for the metrics."""
        return {**self.monitor.counts(), "look_failures": self._looks.failures}

    def follow(self, listener: Listener) -> Registration:
        """Be told the states whenever they are others, and those of now, if there are any."""
        self._listeners.append(listener)
        if self.states:
            listener(self.states)
        return Registration(lambda: self._listeners.remove(listener))

    def _changed(self, states: Mapping[int, ServerState]) -> None:
        for listener in [*self._listeners]:
            try:
                listener(states)
            except Exception:  # one that fails must not take the news from the others
                log.exception("listener to the monitor failed")

    async def _look(self) -> None:
        """Watch the servers that the database has by now."""
        try:
            async with asyncio.timeout(PATIENCE):
                version = await self._store.version()
                if version == self._version:
                    return
                servers = await self._list()
                if self._version < 0:
                    self.monitor.remember(await self._store.load_states())
        except (HelioError, TimeoutError) as error:
            if not self._away:
                log.warning("servers not read: those that are known are watched", error=str(error))
            self._away = True
            return
        self._away = False
        self._version = version
        self._watch(servers)

    def _watch(self, servers: list[Server]) -> None:
        self._servers = {one.id: one for one in servers if one.enabled}
        self.monitor.replace_servers(servers)

    async def _list(self) -> list[Server]:
        found: list[Server] = []
        while len(found) <= MAX_SERVERS:
            page = await self._store.list_servers(after=found[-1].name if found else "", limit=PAGE)
            found += page
            if len(page) < PAGE:
                break
        return found


def _options(settings: MonitorSettings) -> MonitorOptions:
    never = 2.0  # a share that there is not
    return MonitorOptions(
        HealthOptions(
            misses=settings.misses,
            successes=settings.successes,
            slow_start=settings.slow_start_s,
            smoothing=settings.smoothing,
            doubt_share=settings.doubt_percent / 100 or never,
            doubt_servers=settings.doubt_servers,
            recheck=settings.recheck_s,
            timeout=settings.timeout_s,
        ),
        measures=settings.enabled,
        concurrency=settings.concurrency,
        save_period=settings.save_s,
    )


def _probe_options(settings: MonitorSettings) -> ProbeOptions:
    return ProbeOptions(range_bytes=settings.range_bytes, verify_tls=settings.verify_tls)
