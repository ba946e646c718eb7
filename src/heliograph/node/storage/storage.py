"""Titles on this node's disks, and on those of all nodes of its cluster."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from heliograph.bus import Bus, Registration
from heliograph.bus.wire import Json
from heliograph.catalogue.values import Actor
from heliograph.catalogue.volumes import Volumes
from heliograph.live.registry import Channels
from heliograph.model.errors import (
    ConflictError,
    HelioError,
    NotFoundError,
    UnreachableError,
    WrongStateError,
)
from heliograph.model.nodes import NodeId
from heliograph.node.settings.storage import StorageSettings
from heliograph.node.storage.abandoned import Abandoned
from heliograph.node.storage.checks import Checks
from heliograph.node.storage.directories import Directories
from heliograph.node.storage.disks import LocalDisks
from heliograph.node.storage.holdings import Holdings
from heliograph.node.storage.imports import Imports, Upload
from heliograph.node.storage.names import Names
from heliograph.node.storage.peers import Connected
from heliograph.node.storage.recordings import Recordings
from heliograph.node.storage.shelf import Shelf
from heliograph.node.storage.views import Views
from heliograph.storage.sharing import SharedBlocks
from heliograph.storage.values import DEFAULT_BLOCK, Code, DiskId
from heliograph.storage.volume.state import DiskState
from heliograph.vod.manifest import BlockSource, Manifest

if TYPE_CHECKING:  # takes a while to load, and most nodes begin without a volume
    from heliograph.node.storage.holding import Holding
    from heliograph.storage.volume.stores import LocalStore
    from heliograph.storage.volume.volume import Volume

log = structlog.get_logger(__name__)

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
        self._held = Holdings(
            bus,
            volumes,
            self.disks,
            connected,
            self.blocks,
            changed=self._changed,
        )
        self.holdings = self._held.all
        self.states = self._held.states
        self._directories = Directories(bus, self.disks, self.states)
        self.shelf = Shelf(bus, self.holdings)
        self._names = Names(bus, self.shelf)
        self.imports = Imports(
            state_dir / "imports",
            settings.max_upload_bytes,
            self.volume,
            self._claim,
            self._names.confirm,
            self._wrote,
        )
        self._abandoned = Abandoned(
            self.shelf, self._names, self.volume, lambda: self.states.leads, self._wrote
        )
        self.checks = Checks(self.shelf, self._uncached)
        self.views = Views(bus, self.disks, self.holdings, self.shelf, self.imports, self.blocks)
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
            self._directories.start()
        await self._held.start()
        self.views.start()
        await self.shelf.start()
        self._held.look()
        self._abandoned.start()

    async def close(self) -> None:
        """End: what is being read or written has a moment, the rest goes on at the next start."""
        await self._abandoned.close()
        await self._held.stop_looking()
        await self._directories.close()
        await self.imports.close()
        await self.checks.close()
        await self.shelf.close()
        await self.views.close()
        await self._held.stop_following()
        await self._connected.close()
        await self._held.close()
        await self.disks.close()

    # what others of this node use

    @property
    def node(self) -> NodeId:
        """This node."""
        return self._bus.node

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

    async def readable(self, objects: Collection[str]) -> dict[str, int]:
        """Those of these objects of titles of which every block can be read now but those that are
        lost for good, and how many these are."""
        return await self.views.readable(objects)

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
        async with self._directories.prepared(name, disks) as entries:
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
        await self._settle(name)
        return {"name": name, "version": state.version}

    async def add_disk(
        self,
        volume: str,
        *,
        node: str,
        path: str,
        capacity: int | None,
        erase: bool = False,
        by: Actor,
    ) -> dict[str, Any]:
        """Make a directory a further disk; what it is to have moves there while all is served.

        ``erase``: what it holds as a disk of something else is removed."""
        self._holding(volume)
        wish = {"node": node, "path": path, "capacity": capacity, "erase": erase}
        async with self._directories.prepared(volume, [wish]) as (entry,):
            await self.states.change(volume, {"do": "add", "disks": [entry]}, by)
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
        erase: bool = False,
        force: bool = False,
        by: Actor,
    ) -> dict[str, Any]:
        """Put a directory in the place of a disk; ``force``: of one that is gone, whose blocks
        are made anew."""
        old = self._holding(volume).state.disk(DiskId(disk))
        room = capacity or (None if old is None else old.capacity)
        wish = {"node": node, "path": path, "capacity": room, "erase": erase}
        async with self._directories.prepared(volume, [wish]) as (entry,):
            await self.states.change(volume, {"do": "replace", "old": disk, "disk": entry}, by)
            if force and old is not None and old.state is not DiskState.LOST:
                await self.states.change(volume, {"do": "fail", "disks": [disk]}, by)
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
        from heliograph.storage.volume.claims import CLAIMED
        from heliograph.storage.volume.heads import exists

        found, complete = await holding.volume.catalogue()
        if any(exists(serial) for serial in found.values()):
            raise ConflictError(f"volume {volume} has titles", subject=volume)
        under_way = [one for one in self.imports.list() if one["ended"] is None]
        if CLAIMED in found.values() or any(one["volume"] == volume for one in under_way):
            raise ConflictError(f"titles are being imported into {volume}", subject=volume)
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
        self,
        name: str,
        *,
        title: str,
        volume: str,
        file: str,
        size: int | None,
        renditions: int = 0,
        by: Actor,
    ) -> Upload:
        """Receive a file that becomes a title. Without any volume the first one is made here."""
        await self._first_volume(volume, by)
        return self.imports.begin(
            name,
            title=title,
            volume=volume or self._first(),
            file=file,
            size=size,
            renditions=renditions,
        )

    async def add_rendition(self, id: str, *, file: str, size: int | None, by: Actor) -> Upload:
        """Receive the next file of a title."""
        return self.imports.rendition(id, file=file, size=size)

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
            self._claim,
            self._names.hold,
            self._names.confirm,
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

    async def stop_recording(self, name: str, *, drop: bool, by: Actor) -> dict[str, Any]:
        """End a recording, by the name that its title has or began with; ``drop`` as of
        ``Recordings.stop``."""
        placed = self.shelf.placed(name)
        object = None if placed is None else placed.manifest.object
        return await self._recordings().stop(name, object, drop=drop)

    def figures(self) -> tuple[dict[str, float], dict[str, float]]:
        """Counters and gauges of this node, for the metrics."""
        counts, gauges = self.views.figures()
        if self.recordings is not None:
            counts |= self.recordings.counters
        return counts, gauges

    def recorded(self) -> list[dict[str, Any]]:
        """Recordings under way or left by a server that died, and the last that ended."""
        return [] if self.recordings is None else self.recordings.list()

    def _recordings(self) -> Recordings:
        if self.recordings is None:
            raise WrongStateError("this node carries no channels", subject="recording")
        return self.recordings

    async def verify(self, name: str) -> dict[str, Any]:
        """Begin to check a title, or tell how far that is; ``NotFoundError``, ``BusyError``."""
        return self.checks.check(name)

    def _uncached(self, manifest: Manifest) -> BlockSource:
        placed = self.shelf.placed_object(manifest.object)
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

    def _claim(self, name: str) -> Registration:
        """Have a name until what is returned is closed; ``ConflictError`` where there is a title of
        that name, or one comes."""
        recorded = self.recordings is not None and self.recordings.coming(name)
        if recorded or self.imports.coming(name):
            raise ConflictError(f"there is a title {name} already", subject=name)
        self._names.check(name)
        return self._names.hold(name)

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

    async def _settle(self, name: str) -> None:
        await self._held.settle(name)
        self.views.expire()

    def _changed(self) -> None:
        self.shelf.look_soon()

    def _store(self, volume: str) -> LocalStore | None:
        holding = self.holdings.get(volume)
        return None if holding is None else holding.local

    def _wrote(self, volume: str) -> None:
        self.shelf.tell()
        holding = self.holdings.get(volume)
        if holding is not None:
            holding.wake()


class _FromDisks:
    """A ``BlockSource`` past the memory: what lies on the disks is the question."""

    def __init__(self, volume: Volume, manifest: Manifest) -> None:
        self._volume = volume
        self._object = manifest.object

    async def block(self, number: int, deadline: float | None = None) -> bytes:
        return await self._volume.block(self._object, number, deadline)


def _name(placed: Any) -> str:  # noqa: ANN401 - a ``shelf.Placed``
    return str(placed.manifest.name)
