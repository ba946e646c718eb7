"""Titles on this node's disks, and on those of all nodes of its cluster."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from heliograph.bus import Announcement, Bus, Registration, Request
from heliograph.bus.wire import Json
from heliograph.catalogue.values import Actor
from heliograph.catalogue.volumes import Volumes
from heliograph.live.registry import Channels
from heliograph.model.errors import (
    ConflictError,
    HelioError,
    MalformedError,
    NotFoundError,
    UnreachableError,
    WrongStateError,
)
from heliograph.node.periodic import Periodic
from heliograph.node.settings.storage import StorageSettings
from heliograph.node.storage.checks import Checks
from heliograph.node.storage.disks import LocalDisks
from heliograph.node.storage.imports import Imports, Upload
from heliograph.node.storage.orders import disk_json, disk_of
from heliograph.node.storage.peers import Connected
from heliograph.node.storage.recordings import Recordings
from heliograph.node.storage.shelf import Shelf
from heliograph.node.storage.states import States
from heliograph.node.storage.views import Views
from heliograph.storage.sharing import SharedBlocks
from heliograph.storage.values import DEFAULT_BLOCK, Code, DiskId
from heliograph.storage.volume.progress import Event, Lost, Settled
from heliograph.storage.volume.state import DiskState, VolumeState
from heliograph.vod.manifest import BlockSource, Manifest

if TYPE_CHECKING:  # takes a while to load, and most nodes begin without a volume
    from heliograph.node.storage.holding import Holding
    from heliograph.storage.volume.stores import LocalStore
    from heliograph.storage.volume.volume import Volume

log = structlog.get_logger(__name__)

#: Methods by which any node has another make a directory a disk, or let go of it.
PREPARE, RELEASE = "storage.prepare", "storage.release"
#: Kind of the name by which a node tells which version of a volume's state it goes by, and for
#: which one all is where it is to be.
HERE = "volume-here"
#: Seconds that an order waits until all nodes of its volume go by it: who writes at once must find
#: them ready. Those that are away learn of it later.
KNOWN = 3.0
#: Seconds that measuring a disk on another node may take.
PREPARING = 20.0
#: Seconds between two looks whether a change is done everywhere, and disks that were away are back.
LOOK_PERIOD = 2.0
#: The volume that is made when a title is imported and there is none.
FIRST = "main"


class Storage:
    """Started when the bus and the database are there; see ``web.storage.StorageFace``."""

    def __init__(
        self,
        settings: StorageSettings,
        state_dir: Path,
        bus: Bus,
        volumes: Volumes | None,
        connected: Connected,
        *,
        holds: bool = True,
    ) -> None:
        """``volumes``: where states are written, None: this node has not the cluster's database.

        ``holds``: whether disks may be added here.
        """
        self._settings = settings
        self._state_dir = state_dir
        self._bus = bus
        self._connected = connected
        self._holds = holds
        self.disks = LocalDisks(state_dir, bus.node)
        self.blocks = SharedBlocks(settings.cache_bytes)
        self.holdings: dict[str, Holding] = {}
        self.states = States(bus, volumes, self._told)
        self.shelf = Shelf(bus, self.holdings)
        self.imports = Imports(
            state_dir / "imports",
            settings.max_upload_bytes,
            self.volume,
            lambda name: self.shelf.find(name) is not None,
            self._wrote,
        )
        self.checks = Checks(self.shelf, self._uncached)
        self.views = Views(bus, self.disks, self.holdings, self.shelf, self.imports, self.blocks)
        self._here: dict[str, Announcement] = {}
        self._done: dict[str, int] = {}
        self._registrations: list[Registration] = []
        self._updates: dict[str, asyncio.Task[None]] = {}
        self._looks = Periodic("changes of volumes", LOOK_PERIOD, self._look)
        self._making = asyncio.Lock()
        self.recordings: Recordings | None = None
        """None: this node carries no channels, or has not begun to."""

    async def start(self) -> None:
        """Open the disks of this node, and begin with what they know of their volumes."""
        await asyncio.to_thread(self.imports.start)
        await self._connected.start()
        if self._holds:
            await self.disks.start()
            await self._connected.serve(self._store)
            self._registrations += [
                self._bus.serve(PREPARE, self._asked_to_prepare),
                self._bus.serve(RELEASE, self._asked_to_release),
            ]
        for state in await self.disks.states():
            self.states.take(state)
        await self.states.start()
        self.views.start()
        await self.shelf.start()
        self._looks.start()

    async def close(self) -> None:
        """End: what is being read or written has a moment, the rest goes on at the next start."""
        await self._looks.stop()
        for registration in (*self._registrations, *self._here.values()):
            registration.close()
        await self.imports.close()
        await self.checks.close()
        await self.shelf.close()
        await self.views.close()
        await self.states.close()
        for task in [*self._updates.values()]:
            task.cancel()
        await asyncio.gather(*self._updates.values(), return_exceptions=True)
        await self._connected.close()
        for holding in self.holdings.values():
            await holding.close()
        await self.disks.close()

    # what others of this node use

    def volume(self, name: str) -> Volume:
        """A volume, ``NotFoundError`` where it is not known here; "": the first one."""
        return self._holding(name).volume

    def _holding(self, name: str) -> Holding:
        found = self.holdings.get(name or self._first())
        if found is None:
            raise NotFoundError(f"there is no volume {name}", subject=name)
        return found

    def _first(self) -> str:
        return FIRST if FIRST in self.holdings else min(self.holdings, default=FIRST)

    # orders of administrators

    async def view(self) -> dict[str, Any]:
        """All there is to be seen of storage."""
        return await self.views.whole()

    async def create_volume(
        self,
        name: str,
        *,
        data: int,
        parity: int,
        code: str,
        block: int,
        policy: str,
        disks: Sequence[Mapping[str, Any]],
        by: Actor,
    ) -> dict[str, Any]:
        """Make a volume over directories, each ``{"node", "path", "capacity"}``."""
        if name in self.holdings:
            raise ConflictError(f"there is a volume {name} already", subject=name)
        entries: list[Json] = []
        try:
            for one in disks:
                entries += [await self._prepare(name, one)]
            order: dict[str, Json] = {
                "do": "create",
                "data": data,
                "parity": parity,
                "code": code,
                "block": block,
                "policy": policy,
                "seed": secrets.randbits(64),
                "disks": entries,
            }
            state = await self.states.change(name, order, by)
        except BaseException:
            await self._release(entries)
            raise
        await self._settle(name)
        return {"name": name, "version": state.version}

    async def add_disk(
        self, volume: str, *, node: str, path: str, capacity: int | None, by: Actor
    ) -> dict[str, Any]:
        """Make a directory a further disk; what it is to have moves there while all is served."""
        self._holding(volume)
        entry = await self._prepare(volume, {"node": node, "path": path, "capacity": capacity})
        try:
            await self.states.change(volume, {"do": "add", "disks": [entry]}, by)
        except BaseException:
            await self._release([entry])
            raise
        await self._settle(volume)
        return dict(entry) if isinstance(entry, dict) else {}

    async def remove_disk(
        self, volume: str, disk: str, *, force: bool, by: Actor
    ) -> dict[str, Any]:
        """Let a disk leave: what it has moves elsewhere first; with ``force`` it is gone now."""
        order = {"do": "fail" if force else "remove", "disks": [disk]}
        state = await self.states.change(volume, order, by)
        await self._settle(volume)
        return {"volume": volume, "disk": disk, "version": state.version}

    async def replace_disk(
        self,
        volume: str,
        disk: str,
        *,
        node: str,
        path: str,
        capacity: int | None,
        force: bool = False,
        by: Actor,
    ) -> dict[str, Any]:
        """Put a directory in the place of a disk; ``force``: of one that is gone, whose blocks
        are made anew."""
        old = self._holding(volume).state.disk(DiskId(disk))
        room = capacity or (None if old is None else old.capacity)
        entry = await self._prepare(volume, {"node": node, "path": path, "capacity": room})
        try:
            await self.states.change(volume, {"do": "replace", "old": disk, "disk": entry}, by)
            if force and old is not None and old.state is not DiskState.LOST:
                await self.states.change(volume, {"do": "fail", "disks": [disk]}, by)
        except BaseException:
            await self._release([entry])
            raise
        await self._settle(volume)
        return dict(entry) if isinstance(entry, dict) else {}

    async def set_limits(
        self, volume: str, *, move: int | None, scrub: int | None, by: Actor
    ) -> dict[str, Any]:
        """Set bytes a second for moving and for checking, by node."""
        order = {"do": "limits", "move": move, "scrub": scrub}
        state = await self.states.change(volume, order, by)
        return {"volume": volume, "version": state.version}

    async def set_policy(self, volume: str, policy: str, *, by: Actor) -> dict[str, Any]:
        """Place blocks by another function: nearly all of them move."""
        state = await self.states.change(volume, {"do": "policy", "policy": policy}, by)
        return {"volume": volume, "version": state.version}

    async def remove_volume(self, volume: str, by: Actor) -> None:
        """Forget a volume without titles; its directories stay, and are nobody's."""
        holding = self._holding(volume)
        from heliograph.storage.volume.heads import DELETED

        found, complete = await holding.volume.catalogue()
        under_way = [one for one in self.imports.list() if one["ended"] is None]
        coming = any(one["volume"] == volume for one in under_way)
        if coming or any(not serial & DELETED for serial in found.values()):
            raise ConflictError(f"volume {volume} has titles", subject=volume)
        if not complete:
            raise UnreachableError(
                f"not all disks of volume {volume} answer: it may have titles", subject=volume
            )
        await self.states.remove(volume, by)

    # titles

    async def titles(self) -> list[dict[str, Any]]:
        """All titles, by name."""
        return [self.views.title(one) for one in sorted(self.shelf.all(), key=_name)]

    async def begin_import(
        self, name: str, *, title: str, volume: str, file: str, size: int | None, by: Actor
    ) -> Upload:
        """Receive a file that becomes a title. Without any volume the first one is made here."""
        await self._first_volume(volume, by)
        return self.imports.begin(
            name, title=title, volume=volume or self._first(), file=file, size=size
        )

    def imported(self) -> list[dict[str, Any]]:
        """Imports under way, and the last that ended."""
        return self.imports.list()

    async def cancel_import(self, id: str, by: Actor) -> None:
        """End an import."""
        await self.imports.cancel(id)

    def record(self, channels: Channels) -> None:
        """Let channels be recorded, and finish what was being recorded when the server died."""
        self.shelf.carries = lambda name: channels.find(name) is not None
        self.recordings = Recordings(
            self._state_dir / "recordings",
            channels,
            self.volume,
            lambda: [*self.holdings],
            lambda name: self.shelf.find(name) is not None,
            self._wrote,
        )
        self.recordings.start()

    async def end_recordings(self) -> None:
        """End all; before the channels do."""
        if self.recordings is not None:
            await self.recordings.close()
            self.recordings = None

    async def begin_recording(
        self,
        channel: str,
        name: str,
        *,
        title: str,
        volume: str,
        max_seconds: float,
        max_bytes: int,
        by: Actor,
    ) -> dict[str, Any]:
        """Record a channel into a title; errors as of ``Recordings.begin``."""
        await self._first_volume(volume, by)
        return await self._recordings().begin(
            channel,
            name,
            title=title,
            volume=volume,
            max_seconds=max_seconds,
            max_bytes=max_bytes,
        )

    async def stop_recording(self, name: str, by: Actor) -> dict[str, Any]:
        """End a recording."""
        return await self._recordings().stop(name)

    def recorded(self) -> list[dict[str, Any]]:
        """Recordings under way, and the last that ended."""
        return [] if self.recordings is None else self.recordings.list()

    def _recordings(self) -> Recordings:
        if self.recordings is None:
            raise WrongStateError("this node carries no channels", subject="recording")
        return self.recordings

    async def verify(self, name: str) -> dict[str, Any]:
        """Begin to check a title, or tell how far that is; ``NotFoundError``, ``BusyError``."""
        return self.checks.check(name)

    def _uncached(self, manifest: Manifest) -> BlockSource:
        placed = self.shelf.placed(manifest.name)
        return _FromDisks(self.volume("" if placed is None else placed.volume), manifest)

    async def remove_title(self, name: str, by: Actor) -> None:
        """Remove a title; ``NotFoundError``."""
        placed = self.shelf.placed(name)
        if placed is None:
            raise NotFoundError(f"there is no title {name}", subject=name)
        holding = self._holding(placed.volume)
        await holding.volume.delete(placed.manifest.object)
        self.blocks.cache.forget(placed.manifest.object)
        log.info("title removed", title=name, volume=placed.volume, by=by.name)
        self._wrote(placed.volume)
        with contextlib.suppress(HelioError):
            await self.shelf.look()

    async def _first_volume(self, wanted: str, by: Actor) -> None:
        """One machine needs nothing to be set up: a directory of its own is the first disk."""
        async with self._making:
            if self.holdings or not self._holds or wanted not in ("", FIRST):
                return
            path = str((self._state_dir / "disks" / "0").absolute())
            await self.create_volume(
                FIRST,
                data=1,
                parity=0,
                code=Code.COPIES.value,
                block=DEFAULT_BLOCK,
                policy="",
                disks=[{"node": "", "path": path, "capacity": None}],
                by=by,
            )

    # disks of any node

    async def _prepare(self, volume: str, wish: Mapping[str, Any]) -> Json:
        node = str(wish.get("node") or self._bus.node)
        path, capacity = wish.get("path"), wish.get("capacity")
        if not isinstance(path, str) or len(path) > 4096:
            raise MalformedError("disk", "no path")
        if capacity is not None and (type(capacity) is not int or capacity < 1):
            raise MalformedError("disk", "a capacity that is no number of bytes")
        value: dict[str, Json] = {"volume": volume, "path": path, "capacity": capacity}
        return await self._bus.call(self._node(node), PREPARE, value, PREPARING)

    def _node(self, wanted: str) -> str:
        """A node by its id, or by its name where one alone has it."""
        found = {node for (node, name) in self._bus.present("node") if wanted in (node, name)} | (
            {wanted} if wanted == self._bus.node else set()
        )
        if len(found) != 1:
            raise UnreachableError(f"there is no node {wanted}", subject=wanted[:64])
        return found.pop()

    async def _release(self, entries: list[Json]) -> None:
        for one in entries:
            with contextlib.suppress(HelioError):
                entry = disk_of(one)
                await self._bus.call(entry.node, RELEASE, {"disk": entry.id}, PREPARING)

    async def _asked_to_prepare(self, request: Request) -> Json:
        value = request.value if isinstance(request.value, dict) else {}
        entry = await self.disks.prepare(
            str(value.get("volume", "")), str(value.get("path", "")), _capacity(value)
        )
        log.info("disk prepared", disk=entry.id, path=entry.path, read_bps=entry.bandwidth)
        return disk_json(entry)

    async def _asked_to_release(self, request: Request) -> Json:
        value = request.value if isinstance(request.value, dict) else {}
        disk = DiskId(str(value.get("disk", "")))
        for state in self.states.known.values():
            if state.disk(disk) is not None:
                raise ConflictError(f"disk {disk} is in volume {state.name}", subject=disk)
        await self.disks.release(disk)
        return None

    # states and holdings

    def _told(self, name: str, state: VolumeState | None) -> None:
        """A state is new: one after the other for each volume, and the newest counts."""
        before = self._updates.get(name)
        if before is None or before.done():

            def over(done: asyncio.Task[None]) -> None:
                if self._updates.get(name) is done:
                    del self._updates[name]

            task = asyncio.get_running_loop().create_task(self._follow(name), name="volume update")
            self._updates[name] = task
            task.add_done_callback(over)

    async def _follow(self, name: str) -> None:
        """Go on until this node's view is what is known."""
        try:
            while True:
                state, holding = self.states.known.get(name), self.holdings.get(name)
                if state is None:
                    if holding is None:
                        return
                    del self.holdings[name]
                    self._here.pop(name).close()
                    await holding.close()
                    for disk in [*self.disks.of(name)]:
                        await self.disks.release(disk)
                elif holding is None:
                    self.holdings[name] = self._hold(state)
                    await self.holdings[name].begin()
                    self._tell(name)
                elif holding.followed < state.version:
                    await holding.update(state)
                    self._tell(name)
                else:
                    self.shelf.look_soon()
                    return
        except Exception:
            log.exception("volume not followed", volume=name)

    async def _settle(self, name: str) -> None:
        """Wait until this node's view is what is known, and for others who are there, a while."""
        task = self._updates.get(name)
        if task is not None:
            await asyncio.wait([task])
        self.views.expire()
        state = self.states.known.get(name)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KNOWN):
                while state is not None and not self._known(state):  # noqa: ASYNC110 - of others
                    await asyncio.sleep(0.02)

    def _known(self, state: VolumeState) -> bool:
        """Whether all nodes of a volume go by its state."""
        here = self._told_by(state.name)
        return all(here.get(node, (0, 0))[0] >= state.version for node in state.nodes)

    def _told_by(self, name: str) -> dict[str, tuple[int, int]]:
        """By node: the version it goes by, and the one that is done there."""
        found: dict[str, tuple[int, int]] = {}
        for (node, volume), value in self._bus.present(HERE).items():
            if volume == name and isinstance(value, list) and len(value) == 2:
                found[node] = value[0], value[1]
        return found

    def _tell(self, name: str) -> None:
        value: list[Json] = [self.holdings[name].state.version, self._done.get(name, 0)]
        here = self._here.get(name)
        if here is None:
            self._here[name] = self._bus.announce(HERE, name, value)
        else:
            here.update(value)

    def _hold(self, state: VolumeState) -> Holding:
        from heliograph.node.storage.holding import Holding

        name = state.name

        async def newest() -> VolumeState:
            return await self.states.newest(name)

        return Holding(
            self._bus.node,
            state,
            self.disks,
            self._connected.of(name),
            self.blocks,
            newest,
            self._heard,
        )

    def _store(self, volume: str) -> LocalStore | None:
        holding = self.holdings.get(volume)
        return None if holding is None else holding.local

    def _wrote(self, volume: str) -> None:
        self.shelf.tell()
        holding = self.holdings.get(volume)
        if holding is not None:
            holding.wake()

    def _heard(self, volume: str, event: Event) -> None:
        if isinstance(event, Settled):
            self._done[volume] = event.version
            if volume in self._here:
                self._tell(volume)
        elif isinstance(event, Lost):
            self.views.note_lost(volume, event)

    async def _look(self) -> None:
        """Settle what is done at all nodes, and take back disks that were away."""
        if self.disks.faults and await self.disks.retry():
            for holding in self.holdings.values():
                await holding.refresh()
        if not self.states.keeps:
            return
        for name, state in [*self.states.known.items()]:
            leaving = any(one.state is not DiskState.ACTIVE for one in state.disks)
            if not state.before and not leaving:
                continue
            here = self._told_by(name)
            if state.nodes and all(
                here.get(one, (0, 0))[1] == state.version for one in state.nodes
            ):
                with contextlib.suppress(ConflictError):
                    order: dict[str, Json] = {"do": "settled", "version": state.version}
                    await self.states.change(name, order, Actor("storage", ""))


class _FromDisks:
    """A ``BlockSource`` past the memory: what lies on the disks is the question."""

    def __init__(self, volume: Volume, manifest: Manifest) -> None:
        self._volume = volume
        self._object = manifest.object

    async def block(self, number: int, deadline: float | None = None) -> bytes:
        return await self._volume.block(self._object, number, deadline)


def _capacity(value: Mapping[str, Any]) -> int | None:
    found = value.get("capacity")
    return found if type(found) is int and found > 0 else None


def _name(placed: Any) -> str:  # noqa: ANN401 - a ``shelf.Placed``
    return str(placed.manifest.name)
