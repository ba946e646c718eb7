"""Directories of any node of the cluster that become disks, and cease to be."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import structlog

from heliograph.bus import Bus, Registration, Request
from heliograph.bus.wire import Json
from heliograph.model.errors import (
    ConflictError,
    HelioError,
    MalformedError,
    NotFoundError,
    PeerError,
    UnreachableError,
)
from heliograph.node.periodic import Periodic
from heliograph.node.storage.disks import LocalDisks
from heliograph.node.storage.orders import disk_json, disk_of
from heliograph.node.storage.states import States
from heliograph.storage.reading import DiskReader
from heliograph.storage.values import DiskId
from heliograph.storage.volume.state import DiskState

log = structlog.get_logger(__name__)

#: Methods by which any node has another make a directory a disk, or let go of it.
PREPARE, RELEASE = "storage.prepare", "storage.release"
#: Seconds that measuring a disk on another node may take.
PREPARING = 20.0
#: Seconds in which the order for which a directory was made a disk is written, or never will be:
#: longer than a keeper may take. Meanwhile no other volume has it.
ORDERING = 30.0
#: Seconds after which a disk that no order put into a volume is let go of. An order waits until all
#: its directories are disks, which takes many of them minutes; that of one more comes all the same.
WAITING = 300.0
#: Seconds between two looks for such disks.
LOOK_PERIOD = 10.0


class Directories:
    """Asks other nodes, and does what they ask of this one."""

    def __init__(self, bus: Bus, disks: LocalDisks, states: States) -> None:
        """``states`` of all volumes: a disk that is in one is not let go of."""
        self._bus = bus
        self._disks = disks
        self._states = states
        self._registrations: list[Registration] = []
        self._ordered: dict[DiskId, float] = {}
        """Until when a disk waits for the order that puts it into a volume."""
        self._waiting: dict[DiskId, float] = {}
        """Since when a disk is open that is in no volume."""
        self._looks = Periodic("disks that wait for an order", LOOK_PERIOD, self.look)

    def start(self) -> None:
        """Do what others ask of this node's disks."""
        self._registrations += [
            self._bus.serve(PREPARE, self._asked_to_prepare),
            self._bus.serve(RELEASE, self._asked_to_release),
        ]
        self._looks.start()

    async def close(self) -> None:
        """End."""
        for registration in self._registrations:
            registration.close()
        await self._looks.stop()

    async def look(self) -> None:
        """Let go of disks for which no order came: who prepared them was killed, for one."""
        now = asyncio.get_running_loop().time()
        found = {id: one for id, one in self._disks.open.items() if not self._known(one)}
        self._waiting = {id: self._waiting.get(id, now) for id in found}
        for id, reader in found.items():
            if now - self._waiting[id] < WAITING or not await self._unused(reader):
                continue
            if self._ordered.get(id, 0.0) > now:
                continue  # prepared anew: its order is on its way
            if self._known(reader) or id not in self._disks.open:
                continue  # while that was asked
            disk = reader.disk
            await self._disks.release(id)
            self._ordered.pop(id, None)
            self._waiting.pop(id, None)
            log.warning(
                "disk let go of that no order put into its volume",
                disk=id,
                path=disk.path,
                volume=disk.volume,
            )

    def _known(self, reader: DiskReader) -> bool:
        """Whether its volume has a disk, as far as this node knows."""
        state = self._states.known.get(reader.disk.volume)
        return state is not None and state.disk(reader.disk.id) is not None

    async def _unused(self, reader: DiskReader) -> bool:
        """Whether a disk is, for certain, in no volume, and was in none."""
        try:
            if await self._named(reader):
                return False
            return await reader.call(reader.disk.state) is None
        except HelioError:  # no keeper is there, or the disk does not tell
            return False

    @contextlib.asynccontextmanager
    async def prepared(
        self, volume: str, wishes: Iterable[Mapping[str, Any]]
    ) -> AsyncIterator[list[Json]]:
        """Directories made disks, for an order that puts them into a volume; let go of where it is
        refused. Where it is not known whether it was done they stay as they are, and can be
        prepared again. Errors as of ``prepare``."""
        entries: list[Json] = []
        try:
            for one in wishes:
                entries += [await self.prepare(volume, one)]
        except BaseException:  # no order has named them yet
            await self._release(entries)
            raise
        try:
            yield entries
        except PeerError:
            await self._release(entries)
            raise

    async def prepare(self, volume: str, wish: Mapping[str, Any]) -> Json:
        """Make a directory a disk, ``{"node", "path", "capacity", "erase"}``; the disk as orders
        name it.

        ``UnreachableError``: there is no such node. What that one raises goes through.
        """
        node = str(wish.get("node") or self._bus.node)
        path, capacity = wish.get("path"), wish.get("capacity")
        if not isinstance(path, str) or len(path) > 4096:
            raise MalformedError("disk", "no path")
        if capacity is not None and (type(capacity) is not int or capacity < 1):
            raise MalformedError("disk", "a capacity that is no number of bytes")
        value: dict[str, Json] = {"volume": volume, "path": path, "capacity": capacity}
        value["erase"] = wish.get("erase") is True
        return await self._bus.call(self._node(node), PREPARE, value, PREPARING)

    async def _release(self, entries: Iterable[Json]) -> None:
        """Let go of directories that did not get into a volume; errors are passed over."""
        for one in entries:
            with contextlib.suppress(HelioError):
                entry = disk_of(one)
                await self._bus.call(entry.node, RELEASE, {"disk": entry.id}, PREPARING)

    def _node(self, wanted: str) -> str:
        """A node by its id, or by its name where one alone has it."""
        found = {node for (node, name) in self._bus.present("node") if wanted in (node, name)} | (
            {wanted} if wanted == self._bus.node else set()
        )
        if len(found) != 1:
            raise UnreachableError(f"there is no node {wanted}", subject=wanted[:64])
        return found.pop()

    async def _asked_to_prepare(self, request: Request) -> Json:
        value = request.value if isinstance(request.value, dict) else {}
        volume, path = str(value.get("volume", "")), str(value.get("path", ""))
        erase = value.get("erase") is True
        if erase:
            self._check_unused(path)
        await self._take_over(volume, path, erase)
        entry = await self._disks.prepare(volume, path, _capacity(value), erase=erase)
        self._ordered[entry.id] = asyncio.get_running_loop().time() + ORDERING
        log.info("disk prepared", disk=entry.id, path=entry.path, read_bps=entry.bandwidth)
        return disk_json(entry)

    def _check_unused(self, path: str) -> None:
        """Raise ``ConflictError`` for a disk that a volume has, be it open or not."""
        path = os.path.normpath(path)
        for state in self._states.known.values():
            for one in state.disks_of(self._bus.node):
                if one.path == path and one.state is not DiskState.LOST:
                    raise ConflictError(f"{path} is in volume {state.name}", subject=path)

    async def _take_over(self, volume: str, path: str, erase: bool) -> None:
        """Let go of a disk that was prepared and got into no volume: who ordered that was killed,
        or heard no answer. Prepared for the same volume it may stay as it is.

        ``ConflictError``: it is in a volume, or may get into one still; as of ``_named``.
        """
        found = self._disks.at(path)
        if found is None:
            return
        if await self._named(found):
            raise ConflictError(
                f"{path} is disk {found.disk.id} of volume {found.disk.volume} already",
                subject=path,
            )
        if found.disk.volume == volume and not erase:
            return
        left = self._ordered.get(found.disk.id, 0.0) - asyncio.get_running_loop().time()
        if left > 0:
            raise ConflictError(
                f"{path} is becoming a disk of volume {found.disk.volume}:"
                f" unless that is done it is free in {left:.0f} s",
                subject=path,
            )
        await self._disks.release(found.disk.id)

    async def _named(self, reader: DiskReader) -> bool:
        """Whether its volume has a disk, for certain; ``RemoteError`` where no keeper says so."""
        volume = reader.disk.volume
        try:
            state = await self._states.newest(volume)
        except NotFoundError:
            known = self._states.known.get(volume)
            if known is None:
                return False
            state = known
        return state.disk(reader.disk.id) is not None

    async def _asked_to_release(self, request: Request) -> Json:
        value = request.value if isinstance(request.value, dict) else {}
        disk = DiskId(str(value.get("disk", "")))
        found = self._disks.open.get(disk)
        if found is None:
            return None
        if await self._named(found):
            volume = found.disk.volume
            raise ConflictError(f"disk {disk} is in volume {volume}", subject=disk)
        self._ordered.pop(disk, None)
        await self._disks.release(disk)
        return None


def _capacity(value: Mapping[str, Any]) -> int | None:
    found = value.get("capacity")
    return found if type(found) is int and found > 0 else None
