"""This node's directories that are disks of volumes: remembered in a file, opened at the start."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import structlog

from heliograph.model.errors import (
    ConflictError,
    HelioError,
    MalformedError,
    ResourceError,
    UnsupportedError,
)
from heliograph.model.files import write_private
from heliograph.model.nodes import NodeId
from heliograph.storage.disks import reuse
from heliograph.storage.disks.disk import Disk
from heliograph.storage.disks.measure import measure
from heliograph.storage.errors import CorruptError
from heliograph.storage.reading import DiskReader
from heliograph.storage.values import DiskId
from heliograph.storage.volume import encoding
from heliograph.storage.volume.state import DiskEntry, VolumeState

log = structlog.get_logger(__name__)

#: Directories of one node, at most.
MAX_DISKS = 256
#: Share of a file system that a disk without a given capacity may fill: what is left is for moves,
#: and for whatever else lives there.
SHARE = 0.95
#: Bytes a second beyond which disks count as equally fast: what a network takes of one is less, and
#: measurements of what is faster differ from one second to the next.
MOST_BANDWIDTH = 400_000_000


@dataclass(frozen=True, slots=True)
class Fault:
    """A directory that is no disk now."""

    volume: str
    path: str
    reason: str


class LocalDisks:
    """Opens and closes them. Calls that touch a disk are made in threads."""

    def __init__(self, state_dir: Path, node: NodeId) -> None:
        self._file = state_dir / "disks.json"
        self._node = node
        self._paths: dict[str, str] = {}
        """Volume by path."""
        self.open: dict[DiskId, DiskReader] = {}
        self._saving = asyncio.Lock()
        self._opening = asyncio.Lock()
        self.faults: dict[str, Fault] = {}
        """By path."""

    async def start(self) -> None:
        """Open what is remembered; what cannot be opened is a fault, and tried again later."""
        self._paths = await asyncio.to_thread(_read, self._file)
        await self.retry()

    async def retry(self) -> list[DiskId]:
        """Open what is not open yet; those that are now."""
        async with self._opening:  # two who open one find it in use
            return await self._retry()

    async def take(self, volume: str, disks: Iterable[DiskEntry]) -> None:
        """Remember and open disks of this node that a volume has, though they were let go of."""
        fresh = [one.path for one in disks if one.path not in self._paths]
        if fresh:
            log.warning("disks taken that were let go of", volume=volume, paths=fresh)
            self._paths |= dict.fromkeys(fresh, volume)
            await self._save()
            await self.retry()

    async def _retry(self) -> list[DiskId]:
        known = {one.disk.path for one in self.open.values()}
        found = []
        for path, volume in [*self._paths.items()]:
            if path in known:
                continue
            try:
                disk = await asyncio.to_thread(Disk.open, path)
                if disk.volume != volume:
                    await asyncio.to_thread(disk.close)
                    raise ConflictError(f"{path} is of volume {disk.volume}", subject=path)
            except HelioError as error:
                if path not in self.faults:
                    log.warning("disk not opened", path=path, volume=volume, error=error.message)
                self.faults[path] = Fault(volume, path, error.message)
                continue
            self.faults.pop(path, None)
            self.open[disk.id] = DiskReader(disk)
            found.append(disk.id)
        return found

    async def prepare(
        self, volume: str, path: str, capacity: int | None, *, erase: bool = False
    ) -> DiskEntry:
        """Make a directory a disk, measure it, open it and remember it.

        One that was a disk of the volume before is taken back with its blocks; one that was
        prepared for it, and is open, is as it is. ``erase``: what another disk holds there is
        removed; it is refused otherwise. ``MalformedError``, ``ConflictError``, ``DiskError``.
        """
        if not path.startswith("/"):
            raise MalformedError("disk", f"{path[:80]!r} is no absolute path")
        there = self.at(path)
        if there is not None:
            if there.disk.volume != volume or erase:
                raise ConflictError(f"{path} is disk {there.disk.id} already", subject=path)
            return await self._entry(there.disk, capacity)
        if len(self._paths) >= MAX_DISKS:
            raise ConflictError(f"this node has {MAX_DISKS} disks already", subject=path)
        await asyncio.to_thread(_make_ready, volume, path, erase)
        disk = await asyncio.to_thread(Disk.create, path, volume, None, capacity)
        try:
            entry = await self._entry(disk, capacity)
            self._paths[disk.path] = volume
            await self._save()
        except BaseException:
            self._paths.pop(disk.path, None)
            await asyncio.to_thread(disk.close)
            raise
        self.faults.pop(disk.path, None)
        self.open[disk.id] = DiskReader(disk)
        return entry

    async def _entry(self, disk: Disk, capacity: int | None) -> DiskEntry:
        """A disk as volumes have it, measured now."""
        speed = await asyncio.to_thread(measure, disk.path)
        usage = await asyncio.to_thread(disk.usage)
        room = min(capacity, usage.capacity) if capacity else int(usage.capacity * SHARE)
        bandwidth = min(max(1, int(speed.read_bps)), MOST_BANDWIDTH)
        return DiskEntry(disk.id, self._node, disk.path, room, bandwidth)

    def at(self, path: str) -> DiskReader | None:
        """The open disk that a directory is."""
        path = os.path.abspath(path)
        return next((one for one in self.open.values() if one.disk.path == path), None)

    async def release(self, disk: DiskId) -> None:
        """Close a disk that has left its volume, and forget where it was."""
        found = self.open.pop(disk, None)
        if found is None:
            return
        self._paths.pop(found.disk.path, None)
        try:
            await self._save()
        finally:
            await found.close()
            await asyncio.to_thread(found.disk.close)

    def of(self, volume: str) -> dict[DiskId, DiskReader]:
        """Open disks of a volume."""
        return {id: one for id, one in self.open.items() if one.disk.volume == volume}

    def volumes(self) -> set[str]:
        """Volumes that have disks here."""
        return {*self._paths.values()}

    async def states(self) -> list[VolumeState]:
        """States of volumes as the disks have them."""
        found = []
        for one in [*self.open.values()]:
            try:
                kept = await asyncio.to_thread(one.disk.state)
                if kept is not None:
                    found.append(encoding.decode(kept[1]))
            except HelioError as error:
                log.warning("state on a disk not read", disk=one.disk.id, error=error.message)
        return found

    async def close(self) -> None:
        """Close all."""
        while self.open:
            _, one = self.open.popitem()
            await one.close()
            await asyncio.to_thread(one.disk.close)

    async def _save(self) -> None:
        async with self._saving:
            document = json.dumps({"disks": self._paths}, indent=2)
            try:
                await asyncio.to_thread(write_private, self._file, document)
            except OSError as error:
                raise ResourceError(f"{self._file}: {error.strerror}", subject="disks") from error


def _make_ready(volume: str, path: str, erase: bool) -> None:
    """Let a directory that was a disk before become one again."""
    try:
        found = reuse.former(path)
    except (CorruptError, UnsupportedError):
        if not erase:
            raise
        reuse.erase(path)
        return
    if found is None:
        return
    if erase:
        reuse.erase(path)
        log.info("disk erased", path=path, disk=found.id, volume=found.volume, blocks=found.blocks)
    elif found.volume != volume:
        raise ConflictError(
            f"{path} is disk {found.id} of volume {found.volume}, with {found.blocks} blocks"
            f" ({found.bytes} bytes): to use it all the same, say that it is to be erased",
            subject=path,
        )
    elif found.documents:
        reuse.take_back(path)
        log.info("disk taken back", path=path, disk=found.id, blocks=found.blocks)


def _read(file: Path) -> dict[str, str]:
    try:
        found = json.loads(file.read_bytes())
        return {str(path): str(volume) for path, volume in found["disks"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise MalformedError("disks.json", f"{file}: {error}") from error
