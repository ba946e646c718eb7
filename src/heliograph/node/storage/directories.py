"""Directories of any node of the cluster that become disks, and cease to be."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog

from heliograph.bus import Bus, Registration, Request
from heliograph.bus.wire import Json
from heliograph.model.errors import ConflictError, HelioError, MalformedError, UnreachableError
from heliograph.node.storage.disks import LocalDisks
from heliograph.node.storage.orders import disk_json, disk_of
from heliograph.storage.values import DiskId
from heliograph.storage.volume.state import DiskState, VolumeState

log = structlog.get_logger(__name__)

#: Methods by which any node has another make a directory a disk, or let go of it.
PREPARE, RELEASE = "storage.prepare", "storage.release"
#: Seconds that measuring a disk on another node may take.
PREPARING = 20.0


class Directories:
    """Asks other nodes, and does what they ask of this one."""

    def __init__(
        self, bus: Bus, disks: LocalDisks, states: Callable[[], Iterable[VolumeState]]
    ) -> None:
        """``states`` of all volumes: a disk that is in one is not let go of."""
        self._bus = bus
        self._disks = disks
        self._states = states
        self._registrations: list[Registration] = []

    def start(self) -> None:
        """Do what others ask of this node's disks."""
        self._registrations += [
            self._bus.serve(PREPARE, self._asked_to_prepare),
            self._bus.serve(RELEASE, self._asked_to_release),
        ]

    def close(self) -> None:
        """End."""
        for registration in self._registrations:
            registration.close()

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

    async def release(self, entries: Iterable[Json]) -> None:
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
        entry = await self._disks.prepare(volume, path, _capacity(value), erase=erase)
        log.info("disk prepared", disk=entry.id, path=entry.path, read_bps=entry.bandwidth)
        return disk_json(entry)

    def _check_unused(self, path: str) -> None:
        """Raise ``ConflictError`` for a disk that a volume has, be it open or not."""
        path = os.path.normpath(path)
        for state in self._states():
            for one in state.disks_of(self._bus.node):
                if one.path == path and one.state is not DiskState.LOST:
                    raise ConflictError(f"{path} is in volume {state.name}", subject=path)

    async def _asked_to_release(self, request: Request) -> Json:
        value = request.value if isinstance(request.value, dict) else {}
        disk = DiskId(str(value.get("disk", "")))
        for state in self._states():
            if state.disk(disk) is not None:
                raise ConflictError(f"disk {disk} is in volume {state.name}", subject=disk)
        await self._disks.release(disk)
        return None


def _capacity(value: Mapping[str, Any]) -> int | None:
    found = value.get("capacity")
    return found if type(found) is int and found > 0 else None
