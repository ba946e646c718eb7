"""The dispatcher of a portal: kept up to date with the database, and going on without it."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import structlog

from heliograph.catalogue.contents.stored import StoredTitle
from heliograph.catalogue.contents.values import Contents, Format, ServerState
from heliograph.dispatcher.choose import Dispatcher, Options, Recording
from heliograph.dispatcher.doors import Door
from heliograph.dispatcher.keeping import lines, parse
from heliograph.dispatcher.snapshot import STEP, Snapshot, building
from heliograph.model.errors import HelioError
from heliograph.node.periodic import Periodic
from heliograph.node.settings.dispatcher import DispatcherSettings
from heliograph.node.settings.monitor import MonitorSettings

log = structlog.get_logger(__name__)

#: Seconds between two looks at the database.
EVERY = 1.0
#: Share of the time that reading everything anew may take: a large catalogue that changes all the
#: time is read less often.
READING = 0.2
#: Least seconds between two copies on the disk.
KEEP_EVERY = 30.0
#: Within the state directory.
FILE = "contents.snapshot"


class Source(Protocol):
    """Where contents come from: ``catalogue.contents``."""

    async def load(self, before: Contents | None = None) -> Contents:
        """All of them; with those of ``before`` only what changed is read."""
        ...

    async def version(self) -> int:
        """Of the newest; grows with each change."""
        ...

    async def load_states(self) -> Sequence[ServerState]:
        """What monitors found last."""
        ...

    async def stored(self) -> Mapping[str, StoredTitle]:
        """Titles that are there because our volumes have them, by object."""
        ...


class Nodes(Protocol):
    """The cluster's nodes, as they serve titles: ``storage.doors.Doors``."""

    def all(self) -> Sequence[Door]:
        """Those to which players may be sent."""
        ...

    def titles(self) -> Mapping[str, tuple[str, int]]:
        """What our volumes have: by object the title's name, and bits a second of its player."""
        ...


def options_of(settings: DispatcherSettings, monitor: MonitorSettings) -> Options:
    """What the settings say; those of the monitor say how a server returns."""
    return Options(
        settings.policy,
        tuple(map(Format, settings.formats)),
        settings.decay_s,
        settings.steering_ttl_s,
        monitor.slow_start_s,
    )


class Dispatching:
    """Owns the dispatcher and what feeds it."""

    def __init__(
        self,
        settings: DispatcherSettings,
        source: Source,
        state_dir: Path,
        *,
        monitor: MonitorSettings | None = None,
        record: Recording | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``monitor``: None: the usual ones. ``record`` is told of each decision. ``clock``:
        seconds since 1970."""
        options = options_of(settings, monitor or MonitorSettings())
        self.dispatcher = Dispatcher(record, options)
        self.loads: Callable[[], Mapping[str, float]] = dict
        """What units of the cluster say that they send now, bits a second by name."""
        self.counters: Counter[str] = Counter(
            snapshots=0,
            # Looks at the database that failed.
            snapshot_failures=0,
            # Copies that could not be kept on the disk.
            snapshots_not_kept=0,
        )
        self._source = source
        self._path = state_dir / FILE
        self._clock = clock
        self._confirmed = 0.0
        """When the database said last that the snapshot is right; 0: never."""
        self._rest_until = 0.0
        self._keep_from = 0.0
        self._contents: Contents | None = None
        """As the database gave them last, or as they were kept; None: neither yet."""
        self._nodes: Nodes | None = None
        self._stored: Mapping[str, str] = {}
        """As ``Snapshot.stored``, of the same time as the contents."""
        self._taken: Mapping[str, int] = {}
        """Titles of volumes that the snapshot has."""
        self._unkept = False
        """Whether the copy on the disk is older."""
        self._away = False
        self._ticks = Periodic("dispatcher", EVERY, self._tick, at_once=True)
        self._looks = Periodic("contents", EVERY, self.look)

    async def start(self) -> None:
        """Begin with what the database has, or with what was kept; both may be nothing."""
        await self.look()
        if self._away:
            await self._restore()
        self._ticks.start()
        self._looks.start()

    async def close(self) -> None:
        """End; what is newer than the copy on the disk is kept."""
        await self._looks.stop()
        await self._ticks.stop()
        self._keep_from = 0.0
        await self._keep()

    def configure(self, settings: DispatcherSettings, monitor: MonitorSettings) -> None:
        """Take other settings while it runs."""
        options = options_of(settings, monitor)
        if options != self.dispatcher.options:
            self.dispatcher.configure(options, self._clock())

    def observe(self, states: Mapping[int, ServerState]) -> None:
        """Take what the monitor says, by the server's id. Of servers that it says nothing of, as
        when it has just begun, what was known stays."""
        known = _watched(self.dispatcher.snapshot.states, self.dispatcher.snapshot)
        self.dispatcher.observe({**known, **states}, self._clock())

    def send_to(self, nodes: Nodes) -> None:
        """Send players to these nodes for what our volumes have. To be called once."""
        self._nodes = nodes
        self.nodes_changed()

    def nodes_changed(self) -> None:
        """Other nodes are there: players are sent to no other from now on."""
        doors = () if self._nodes is None else self._nodes.all()
        self.dispatcher.replace(self.dispatcher.snapshot.with_doors(doors), self._clock())

    def region(self, client: str) -> str:
        """Where a client is, by his numeric address; empty: not known."""
        return self.dispatcher.snapshot.networks.find(client).region

    def age(self) -> float:
        """Seconds since the database said that the snapshot is right; infinite: never."""
        return time.monotonic() - self._confirmed if self._confirmed else float("inf")

    def figures(self) -> dict[str, float]:
        """For the metrics: counters, and ``snapshot_age`` as of ``age``."""
        return {**self.counters, "snapshot_age": self.age()}

    async def look(self) -> None:
        """Read the contents where they changed."""
        if time.monotonic() < self._rest_until:
            return
        try:
            version = await self._source.version()
            if version != self.dispatcher.snapshot.version or not self._confirmed:
                await self._read()
        except HelioError as error:
            self.counters["snapshot_failures"] += 1
            if not self._away:
                log.warning("contents not read; the last ones stay", error=error.message)
            self._away = True
            await self._take_held()
            return
        self._away = False
        self._confirmed = time.monotonic()
        await self._take_held()
        await self._keep()

    async def _take_held(self) -> None:
        """Go on with what volumes have now: that is known without the database as well."""
        if self._contents is not None and self._held() != self._taken:
            await self._take(self._contents, self.dispatcher.snapshot.states)

    async def _read(self) -> None:
        began = time.monotonic()
        contents = await self._source.load(self._contents if self._confirmed else None)
        stored = await self._source.stored()
        self._stored = {object: one.name for object, one in stored.items()}
        states = self.dispatcher.snapshot.states
        if not states:  # until the monitor says more
            states = {state.server: state for state in await self._source.load_states()}
        await self._take(contents, states)
        self._contents, self._unkept = contents, True
        taken = time.monotonic() - began
        self._rest_until = time.monotonic() + taken * (1 / READING - 1)
        log.info(
            "contents read",
            version=contents.version,
            servers=len(contents.servers),
            titles=len(contents.titles),
            files=len(contents.files),
            seconds=round(taken, 3),
        )

    async def _take(self, contents: Contents, states: Mapping[int, ServerState]) -> None:
        held = self._held()
        steps = building(contents, self.dispatcher.snapshot, held)
        while (made := next(steps)) is None:  # noqa: ASYNC110 - nothing is waited for
            await asyncio.sleep(0)  # requests come first
        newest = _watched(self.dispatcher.snapshot.states or states, made)
        doors = () if self._nodes is None else self._nodes.all()
        made = made.with_states(newest).with_stored(self._stored).with_doors(doors)
        self.dispatcher.replace(made, self._clock())
        self._taken = held
        self.counters["snapshots"] += 1
        while self.dispatcher.carry(STEP):  # noqa: ASYNC110 - nothing is waited for
            await asyncio.sleep(0)

    def _held(self) -> dict[str, int]:
        """Titles that our volumes have, as the catalogue has them; bits a second by name."""
        found = {} if self._nodes is None else self._nodes.titles()
        return {
            name: bps for object, (name, bps) in found.items() if self._stored.get(object) == name
        }

    async def _tick(self) -> None:
        now = self._clock()
        self.dispatcher.tick(now)
        self.dispatcher.fleet.report(self.loads())
        if self.dispatcher.fleet.starting:  # shares grow with time
            self.dispatcher.observe(self.dispatcher.snapshot.states, now)

    # the copy on the disk

    async def _restore(self) -> None:
        def read() -> tuple[Contents, dict[int, ServerState], dict[str, str]]:
            with self._path.open("rb") as file:
                return parse(file)

        try:
            contents, states, self._stored = await asyncio.to_thread(read)
        except FileNotFoundError:
            return
        except (OSError, HelioError) as error:
            log.warning("kept contents not read", path=str(self._path), error=str(error))
            return
        await self._take(contents, states)
        self._contents = contents
        log.warning("begun with kept contents", version=contents.version)

    async def _keep(self) -> None:
        contents = self._contents
        now = time.monotonic()
        if contents is None or not self._unkept or now < self._keep_from:
            return
        self._keep_from, self._unkept = now + KEEP_EVERY, False
        states, stored = self.dispatcher.snapshot.states, self._stored
        beside = self._path.with_suffix(".new")

        def write() -> None:
            with beside.open("wb") as file:
                file.writelines(lines(contents, states, stored))
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path)

        try:
            await asyncio.to_thread(write)
        except OSError as error:
            self._unkept = True
            self.counters["snapshots_not_kept"] += 1
            log.warning("contents not kept", path=str(self._path), error=str(error))


def _watched(states: Mapping[int, ServerState], snapshot: Snapshot) -> dict[int, ServerState]:
    """Without servers that are not enabled: nobody measures them, and what was known ages."""
    off = {id for id, one in snapshot.servers.items() if not one.enabled}
    return {id: state for id, state in states.items() if id not in off}
