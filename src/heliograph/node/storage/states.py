"""Which volumes there are, and in what state: as this node knows it, and how it is changed.

A node that has the cluster's database is a *keeper*: it writes states there by compare-and-swap and
announces their versions. All others ask a keeper for what is newer than what they know. Disks of
this node have copies, with which it begins while no keeper answers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from heliograph.bus import Announcement, Arrived, Bus, Changed, Event, Registration, Request
from heliograph.bus.wire import Json
from heliograph.catalogue.values import Actor
from heliograph.catalogue.volumes import VolumeRecord, Volumes
from heliograph.model.errors import (
    HelioError,
    MalformedError,
    NotFoundError,
    PreconditionError,
    UnreachableError,
)
from heliograph.node.periodic import Periodic
from heliograph.node.storage.orders import apply, create
from heliograph.storage.volume import encoding
from heliograph.storage.volume.state import VolumeState

log = structlog.get_logger(__name__)

#: Kind of the names by which keepers tell the versions of states; the name is the volume's.
STATE = "volume-state"
#: Kind of the name by which keepers are found.
KEEPER = "volume-keeper"
#: Methods of keepers.
GET, CHANGE = "storage.state", "storage.change"
#: Seconds between two looks of a keeper at what other keepers wrote.
LOOK_PERIOD = 10.0
#: Seconds that a keeper has to make a change.
PATIENCE = 10.0
#: Times that a change is made anew because somebody else's was first.
TRIES = 5

#: Seconds until a keeper is asked again that gave no answer, or an older one than is told of.
AGAIN = (0.2, 1.0, 5.0, 10.0)

#: Told of each state that is newer than what was known; None: the volume is no more.
Listener = Callable[[str, VolumeState | None], None]


class States:
    """Started when the bus and the database are there."""

    def __init__(self, bus: Bus, volumes: Volumes | None, listener: Listener) -> None:
        """``volumes``: where states are written; None: this node is no keeper."""
        self._bus = bus
        self._volumes = volumes
        self._listener = listener
        self.known: dict[str, VolumeState] = {}
        self._kept: set[str] = set()
        """Volumes that the database had: of those alone it can say that they are gone."""
        self._told: dict[str, Announcement] = {}
        self._registrations: list[Registration] = []
        self._fetches: dict[str, asyncio.Task[None]] = {}
        self._looks = Periodic("states of volumes", LOOK_PERIOD, self._look, at_once=True)

    @property
    def keeps(self) -> bool:
        """Whether this node writes states."""
        return self._volumes is not None

    async def start(self) -> None:
        """Begin; a keeper knows the database's states then, unless that is away."""
        if self._volumes is not None:
            with contextlib.suppress(HelioError):
                await self._look()
            self._looks.start()
            self._registrations += [
                self._bus.serve(GET, self._asked),
                self._bus.serve(CHANGE, self._asked_to_change),
                self._bus.announce(KEEPER, "database"),
            ]
        self._registrations.append(self._bus.watch(STATE, self._seen))

    async def close(self) -> None:
        """End."""
        await self._looks.stop()
        for registration in (*self._registrations, *self._told.values()):
            registration.close()
        for task in [*self._fetches.values()]:
            task.cancel()
        await asyncio.gather(*self._fetches.values(), return_exceptions=True)

    def take(self, state: VolumeState) -> bool:
        """A state was learnt, of a disk for one; whether it was news."""
        known = self.known.get(state.name)
        if known is not None and known.version >= state.version:
            return False
        self.known[state.name] = state
        self._tell(state)
        self._listener(state.name, state)
        return True

    async def newest(self, name: str) -> VolumeState:
        """The state as a keeper has it; ``NotFoundError``, ``UnreachableError``."""
        document = await self._get(name)
        state = encoding.decode(document.encode())
        self.take(state)
        return self.known[name]

    async def change(self, name: str, order: Mapping[str, Json], by: Actor) -> VolumeState:
        """Change a volume, or make one (``orders``); the new state.

        What the order raises, and ``UnreachableError`` where no keeper answers.
        """
        if self._volumes is None:
            asked = {"volume": name, "order": dict(order), "by": by.name, "address": by.address}
            document = await self._bus.call(self._keeper(), CHANGE, asked, PATIENCE)
            state = encoding.decode(str(document).encode())
        else:
            state = await self._change(name, order, by)
        self.take(state)
        return state

    async def remove(self, name: str, by: Actor) -> None:
        """Forget a volume; at a keeper."""
        if self._volumes is None:
            asked = {"volume": name, "order": None, "by": by.name, "address": by.address}
            await self._bus.call(self._keeper(), CHANGE, asked, PATIENCE)
            return
        await self._volumes.remove(name, by)
        self._forget(name)

    # at a keeper

    async def _change(self, name: str, order: Mapping[str, Json], by: Actor) -> VolumeState:
        assert self._volumes is not None
        for _ in range(TRIES):
            with contextlib.suppress(PreconditionError):
                if order.get("do") == "create":
                    state, before = create(name, order), 0
                else:
                    record = await self._volumes.get(name)
                    found = encoding.decode(record.document.encode())
                    state, before = apply(found, order), record.version
                    if state == found:
                        return found
                document = encoding.encode(state).decode()
                await self._volumes.put(
                    VolumeRecord(name, state.version, document),
                    before,
                    f"volume.{order.get('do')}",
                    by,
                )
                self._kept.add(name)
                log.info("volume", volume=name, change=order.get("do"), version=state.version)
                return state
        raise PreconditionError(f"volume {name} is being changed by others")

    async def _look(self) -> None:
        """Take what the database has: other keepers write there as well."""
        assert self._volumes is not None
        kept = {*self._kept}
        records = await self._volumes.load()
        for record in records:
            known = self.known.get(record.name)
            if known is None or known.version < record.version:
                with contextlib.suppress(MalformedError):
                    self.take(encoding.decode(record.document.encode()))
        names = {record.name for record in records}
        for name in kept - names:
            self._forget(name)
        self._kept |= names

    def _tell(self, state: VolumeState) -> None:
        if self._volumes is None:
            return
        value = {"version": state.version}
        told = self._told.get(state.name)
        if told is None:
            self._told[state.name] = self._bus.announce(STATE, state.name, value)
        else:
            told.update(value)

    def _forget(self, name: str) -> None:
        self._kept.discard(name)
        told = self._told.pop(name, None)
        if told is not None:
            told.close()
        if self.known.pop(name, None) is not None:
            self._listener(name, None)

    async def _asked(self, request: Request) -> Json:
        assert self._volumes is not None
        return (await self._volumes.get(_name(request.value, "volume"))).document

    async def _asked_to_change(self, request: Request) -> Json:
        value = request.value
        name = _name(value, "volume")
        assert isinstance(value, dict)
        by = Actor(_name(value, "by"), str(value.get("address", ""))[:64])
        order = value.get("order")
        if order is None:
            await self.remove(name, by)
            return None
        if not isinstance(order, dict):
            raise MalformedError("storage.change", "no order")
        state = await self._change(name, order, by)
        self.take(state)
        return encoding.encode(state).decode()

    # at all others

    def _seen(self, event: Event) -> None:
        """A keeper has, or has no more, a state."""
        name, value = event.name.name, event.name.value
        if not isinstance(event, Arrived | Changed):
            told = any(one == name for _, one in self._bus.present(STATE))
            if not told and name in self.known and self._keepers():
                self._fetch(name)  # a keeper says whether it is gone
            return
        version = value.get("version") if isinstance(value, dict) else None
        known = self.known.get(name)
        if isinstance(version, int) and (known is None or known.version < version):
            self._fetch(name)

    def _fetch(self, name: str) -> None:
        task = self._fetches.get(name)
        if task is not None and not task.done():
            return

        async def fetch() -> None:
            for pause in AGAIN:
                try:
                    await self.newest(name)
                except NotFoundError:
                    self._forget(name)
                    return
                except HelioError as error:
                    log.info("state of a volume not learnt", volume=name, error=error.message)
                if not self._behind(name):  # what was told meanwhile counts too
                    return
                await asyncio.sleep(pause)

        def over(done: asyncio.Task[None]) -> None:
            if self._fetches.get(name) is done:
                del self._fetches[name]

        task = asyncio.get_running_loop().create_task(fetch(), name="volume state")
        self._fetches[name] = task
        task.add_done_callback(over)

    def _behind(self, name: str) -> bool:
        """Whether a keeper tells of a newer state than is known."""
        known = self.known.get(name)
        version = 0 if known is None else known.version
        told = [
            value.get("version")
            for (_, one), value in self._bus.present(STATE).items()
            if one == name and isinstance(value, dict)
        ]
        return any(isinstance(one, int) and one > version for one in told)

    async def _get(self, name: str) -> str:
        if self._volumes is not None:
            document = (await self._volumes.get(name)).document
            self._kept.add(name)
            return document
        return str(await self._bus.call(self._keeper(), GET, {"volume": name}, PATIENCE))

    def _keepers(self) -> list[str]:
        return sorted(node for node, _ in self._bus.present(KEEPER))

    def _keeper(self) -> str:
        keepers = self._keepers()
        if not keepers:
            raise UnreachableError("no node with the cluster's database is there", subject="volume")
        return keepers[0]


def _name(value: Any, member: str) -> str:  # noqa: ANN401 - what came over the bus
    found = value.get(member) if isinstance(value, dict) else None
    if not isinstance(found, str) or not 0 < len(found) <= 64:
        raise MalformedError("storage", f"no {member}")
    return found
