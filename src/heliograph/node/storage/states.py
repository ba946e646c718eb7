"""Which volumes there are, and in what state: as this node knows it, and how it is changed.

A node that has the cluster's database is a *keeper*: it writes states there by compare-and-swap and
announces their versions. All others ask a keeper for what is newer than what they know. Disks of
this node have copies, with which it begins while no keeper answers. Where the database has less
than they, as it was lost, or an older copy of it is in its place, what they have is written there:
the newest state of a volume counts, unless the database knows that the volume was removed.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from heliograph.bus import Announcement, Arrived, Bus, Changed, Event, Registration, Request
from heliograph.bus.wire import Json
from heliograph.catalogue.values import Actor
from heliograph.catalogue.volumes import VolumeRecord, Volumes
from heliograph.model.errors import (
    BusyError,
    ConflictError,
    GoneError,
    HelioError,
    MalformedError,
    NotFoundError,
    PreconditionError,
    UnreachableError,
)
from heliograph.model.nodes import NodeId
from heliograph.node.periodic import Periodic
from heliograph.node.storage.orders import apply, create
from heliograph.storage.volume import encoding
from heliograph.storage.volume.state import VolumeState

log = structlog.get_logger(__name__)

#: Kind of the names by which keepers tell the versions of states; the name is the volume's.
STATE = "volume-state"
#: Kind of the name by which keepers are found.
KEEPER = "volume-keeper"
#: Kind of the name by which a node tells which volume it has under that name, which version of its
#: state it goes by, and for which one all is where it is to be.
HERE = "volume-here"
#: Methods of keepers.
GET, CHANGE, OFFER = "storage.state", "storage.change", "storage.offer"
#: Seconds between two looks of a keeper at what other keepers wrote.
LOOK_PERIOD = 10.0
#: Seconds that a keeper has to make a change.
PATIENCE = 10.0
#: Times that a change is made anew because somebody else's was first.
TRIES = 5

#: Who gives a database what it lost, in the audit log.
RESTORER = Actor("storage", "")

#: Seconds until a keeper is asked again that gave no answer, or an older one than is told of, or
#: has less than is known here; the last one for as long as a keeper is there.
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
        self._kept: dict[str, str] = {}
        """Id of the volume that the database has under a name, as far as this node was told."""
        self._told: dict[str, Announcement] = {}
        self._registrations: list[Registration] = []
        self._fetches: dict[str, asyncio.Task[None]] = {}
        self._looks = Periodic("states of volumes", LOOK_PERIOD, self._look, at_once=True)

    @property
    def keeps(self) -> bool:
        """Whether this node writes states."""
        return self._volumes is not None

    @property
    def leads(self) -> bool:
        """Whether this node is the keeper that does what one alone has to do."""
        return self.keeps and self._keepers()[:1] == [self._bus.node]

    async def start(self) -> None:
        """Begin; a keeper knows the database's states then, unless that is away."""
        if self._volumes is not None:
            with contextlib.suppress(HelioError):
                await self._look()
            self._looks.start()
            self._registrations += [
                self._bus.serve(GET, self._asked),
                self._bus.serve(CHANGE, self._asked_to_change),
                self._bus.serve(OFFER, self._offered),
                self._bus.announce(KEEPER, "database"),
            ]
        self._registrations.append(self._bus.watch(STATE, self._seen))
        if self._volumes is None:
            self._registrations.append(self._bus.watch(KEEPER, self._keeper_seen))

    async def close(self) -> None:
        """End."""
        await self._looks.stop()
        for registration in (*self._registrations, *self._told.values()):
            registration.close()
        for task in [*self._fetches.values()]:
            task.cancel()
        await asyncio.gather(*self._fetches.values(), return_exceptions=True)

    def take(self, state: VolumeState, *, kept: bool = False) -> bool:
        """A state was learnt, of a disk for one; whether it was news.

        ``kept``: the database has it, which says what a name stands for where another volume had it
        before."""
        if kept:
            self._kept[state.name] = _id(state)
        known = self.known.get(state.name)
        if known is not None:
            older = known.version >= state.version
            if older if known.seed == state.seed else not kept:
                return False
        self.known[state.name] = state
        self._tell(state)
        self._listener(state.name, state)
        return True

    def learn(self, state: VolumeState) -> None:
        """Take what a disk has that came back, and see what keepers say to it."""
        if self.take(state) and not self.keeps:
            self._fetch(state.name)

    async def newest(self, name: str) -> VolumeState:
        """The state as a keeper has it, who is given what is known here where that is newer.

        ``NotFoundError``, ``GoneError`` (it was removed), ``UnreachableError``.
        """
        known = self.known.get(name)
        try:
            try:
                state = encoding.decode((await self._get(name)).encode())
            except NotFoundError:
                if known is None:
                    raise
                state = await self._offer(known)
            else:
                if known is not None and _newer(known, state):
                    state = await self._offer(known)
        except GoneError:
            self._forget(name)
            raise
        self.take(state, kept=True)
        return self.known.get(name, state)

    async def change(self, name: str, order: Mapping[str, Json], by: Actor) -> VolumeState:
        """Change a volume, or make one (``orders``); the new state.

        What the order raises, and ``UnreachableError`` where no keeper answers.
        """
        if self._volumes is None:
            if self._ahead(name):
                await self.newest(name)
            asked = {"volume": name, "order": dict(order), "by": by.name, "address": by.address}
            document = await self._bus.call(self._keeper(), CHANGE, asked, PATIENCE)
            state = encoding.decode(str(document).encode())
        else:
            state = await self._change(name, order, by)
        self.take(state, kept=True)
        return state

    async def remove(self, name: str, by: Actor) -> None:
        """Forget a volume; at a keeper."""
        if self._volumes is None:
            asked = {"volume": name, "order": None, "by": by.name, "address": by.address}
            await self._bus.call(self._keeper(), CHANGE, asked, PATIENCE)
            return
        state = await self.newest(name)
        await self._volumes.remove(name, _id(state), by)
        self._forget(name)

    # at a keeper

    async def _change(self, name: str, order: Mapping[str, Json], by: Actor) -> VolumeState:
        assert self._volumes is not None
        for _ in range(TRIES):
            with contextlib.suppress(PreconditionError):
                if order.get("do") == "create":
                    state, before = create(name, order), 0
                else:
                    found = await self.newest(name)
                    self._check_newest(found)
                    state, before = apply(found, order), found.version
                    if state == found:
                        return found
                await self._volumes.put(_record(state), before, f"volume.{order.get('do')}", by)
                log.info("volume", volume=name, change=order.get("do"), version=state.version)
                return state
        raise PreconditionError(f"volume {name} is being changed by others")

    def _check_newest(self, state: VolumeState) -> None:
        """``BusyError`` where nodes go by a newer state: they are about to offer that, and an order
        carried out on this one would be lost."""
        for node, (version, _) in holders(self._bus, state).items():
            if version > state.version:
                raise BusyError(
                    f"node {node} has version {version} of volume {state.name}, the database"
                    f" {state.version}: it is being brought up to date",
                    subject=state.name,
                    retry_after=2,
                )

    async def _look(self) -> None:
        """Take what the database has: other keepers write there as well; give it what it lacks."""
        assert self._volumes is not None
        level: set[str] = set()
        for record in await self._volumes.load():
            known = self.known.get(record.name)
            same = known is not None and self._kept.get(record.name) == _id(known)
            if same and known is not None and known.version == record.version:
                level.add(record.name)
                continue
            with contextlib.suppress(MalformedError):
                if self.take(encoding.decode(record.document.encode()), kept=known is None or same):
                    level.add(record.name)
        for name in self.known.keys() - level:  # by now the database may have it
            with contextlib.suppress(HelioError):
                await self.newest(name)

    async def _keep(self, state: VolumeState) -> VolumeState:
        """The state of a volume that counts, of what the database has and another that is known.

        ``GoneError``: it was removed.
        """
        assert self._volumes is not None
        name = state.name
        for _ in range(TRIES):
            with contextlib.suppress(PreconditionError, ConflictError):
                try:
                    record = await self._volumes.get(name)
                except NotFoundError:
                    if await self._volumes.erased(_id(state)):
                        raise GoneError(f"volume {name} was removed", subject=name) from None
                    before = 0
                else:
                    found = encoding.decode(record.document.encode())
                    if not _newer(state, found):
                        return found
                    before = record.version
                await self._volumes.put(_record(state), before, "volume.restore", RESTORER)
                log.warning("volume restored", volume=name, version=state.version, before=before)
                return state
        raise PreconditionError(f"volume {name} is being changed by others")

    def _tell(self, state: VolumeState) -> None:
        if self._volumes is None:
            return
        value: dict[str, Json] = {"version": state.version, "id": _id(state)}
        told = self._told.get(state.name)
        if told is None:
            self._told[state.name] = self._bus.announce(STATE, state.name, value)
        else:
            told.update(value)

    def _forget(self, name: str) -> None:
        self._kept.pop(name, None)
        told = self._told.pop(name, None)
        if told is not None:
            told.close()
        if self.known.pop(name, None) is not None:
            self._listener(name, None)

    async def _asked(self, request: Request) -> Json:
        return encoding.encode(await self.newest(_name(request.value, "volume"))).decode()

    async def _offered(self, request: Request) -> Json:
        value = request.value
        document = value.get("document") if isinstance(value, dict) else None
        if not isinstance(document, str):
            raise MalformedError("storage.offer", "no document")
        state = await self._keep(encoding.decode(document.encode()))
        self.take(state, kept=True)
        return encoding.encode(state).decode()

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
        self.take(state, kept=True)
        return encoding.encode(state).decode()

    # at all others

    def _seen(self, event: Event) -> None:
        """A keeper has, or has no more, a state."""
        name = event.name.name
        if not isinstance(event, Arrived | Changed):
            told = any(one == name for _, one in self._bus.present(STATE))
            if not told and name in self.known and self._keepers():
                self._fetch(name)  # a keeper says whether it is gone
            return
        if name not in self.known or self._behind(name) or (not self.keeps and self._ahead(name)):
            self._fetch(name)

    def _keeper_seen(self, event: Event) -> None:
        """A keeper came: what it does not tell of it may have lost."""
        if isinstance(event, Arrived):
            for name in self.known:
                if self._ahead(name):
                    self._fetch(name)

    def _fetch(self, name: str) -> None:
        task = self._fetches.get(name)
        if task is not None and not task.done():
            return

        async def fetch() -> None:
            for pause in itertools.chain(AGAIN, itertools.repeat(AGAIN[-1])):
                level = False  # whether the database has what is known here
                try:
                    await self.newest(name)
                    level = True
                except NotFoundError:
                    return
                except HelioError as error:
                    log.info("state of a volume not learnt", volume=name, error=error.message)
                more = self._behind(name)  # what was told meanwhile counts too
                if not more and (level or not self._ahead(name) or not self._keepers()):
                    return
                await asyncio.sleep(pause)

        def over(done: asyncio.Task[None]) -> None:
            if self._fetches.get(name) is done:
                del self._fetches[name]

        task = asyncio.get_running_loop().create_task(fetch(), name="volume state")
        self._fetches[name] = task
        task.add_done_callback(over)

    def _behind(self, name: str) -> bool:
        """Whether a keeper tells of a newer state than is known, or of another volume."""
        known = self.known.get(name)
        if known is None:
            return bool(self._versions_told(name))
        return any(
            id != _id(known) or version > known.version for version, id in self._versions_told(name)
        )

    def _ahead(self, name: str) -> bool:
        """Whether no keeper tells of a state of a volume as new as what is known here."""
        known = self.known.get(name)
        return known is not None and not any(
            id == _id(known) and version >= known.version
            for version, id in self._versions_told(name)
        )

    def _versions_told(self, name: str) -> list[tuple[int, str]]:
        """Versions that keepers tell of the volume of a name, with its id."""
        found = []
        for (_, one), value in self._bus.present(STATE).items():
            if one == name and isinstance(value, dict):
                version, id = value.get("version"), value.get("id")
                if isinstance(version, int) and isinstance(id, str):
                    found.append((version, id))
        return found

    async def _offer(self, state: VolumeState) -> VolumeState:
        """What counts, of what a keeper has and of this; errors as of ``_keep``."""
        if self._volumes is not None:
            return await self._keep(state)
        asked: dict[str, Json] = {"document": encoding.encode(state).decode()}
        document = await self._bus.call(self._keeper(), OFFER, asked, PATIENCE)
        return encoding.decode(str(document).encode())

    async def _get(self, name: str) -> str:
        if self._volumes is not None:
            return (await self._volumes.get(name)).document
        return str(await self._bus.call(self._keeper(), GET, {"volume": name}, PATIENCE))

    def _keepers(self) -> list[str]:
        return sorted(node for node, _ in self._bus.present(KEEPER))

    def _keeper(self) -> str:
        keepers = self._keepers()
        if not keepers:
            raise UnreachableError("no node with the cluster's database is there", subject="volume")
        return keepers[0]


def held(state: VolumeState, done: int) -> dict[str, Json]:
    """What a node announces of a volume that it has: ``done`` is the version for which all is where
    it is to be."""
    return {"id": _id(state), "version": state.version, "done": done}


def holders(bus: Bus, state: VolumeState) -> dict[NodeId, tuple[int, int]]:
    """Nodes that have a volume, by what they announce: the version they go by, and the one that is
    done there. Who has another volume of its name, such as one that was removed, is none."""
    found: dict[NodeId, tuple[int, int]] = {}
    for (node, name), value in bus.present(HERE).items():
        if name == state.name and isinstance(value, dict) and value.get("id") == _id(state):
            version, done = value.get("version"), value.get("done")
            if isinstance(version, int) and isinstance(done, int):
                found[node] = version, done
    return found


def _id(state: VolumeState) -> str:
    """What tells a volume from all others, also of its name."""
    return f"{state.seed:016x}"


def _newer(state: VolumeState, other: VolumeState) -> bool:
    """Whether one is a later state of the same volume."""
    return state.seed == other.seed and state.version > other.version


def _record(state: VolumeState) -> VolumeRecord:
    return VolumeRecord(state.name, state.version, encoding.encode(state).decode())


def _name(value: Any, member: str) -> str:  # noqa: ANN401 - what came over the bus
    found = value.get(member) if isinstance(value, dict) else None
    if not isinstance(found, str) or not 0 < len(found) <= 64:
        raise MalformedError("storage", f"no {member}")
    return found
