"""Storage that is made up, behind the API and the page."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection, Mapping, Sequence
from types import TracebackType
from typing import Any

from heliograph.catalogue.values import Actor
from heliograph.model.errors import TooLargeError

EMPTY: dict[str, Any] = {
    "volumes": [],
    "imports": [],
    "cache": {"bytes": 0, "limit": 1 << 28, "hits": 0, "misses": 0},
}


def disk(number: int, node: str, **more: Any) -> dict[str, Any]:
    """One that is well, with 1 TB of which 400 GB are used."""
    return {
        "id": f"{number:032x}",
        "node": node * 16,
        "node_name": f"node-{node}",
        "path": f"/mnt/{number}",
        "state": "active",
        "up": True,
        "bandwidth": 180_000_000,
        "fault": "",
        "capacity": 10**12,
        "used": 4 * 10**11,
        "free": 6 * 10**11,
        "blocks": 400_000,
        "read_bps": None,
        "late": 0,
        "errors": 0,
        "bytes_read": 0,
    } | more


def volume(name: str = "films", **more: Any) -> dict[str, Any]:
    """One over three nodes that survives any of them."""
    return {
        "name": name,
        "version": 3,
        "scheme": {"data": 2, "parity": 1, "code": "xor", "block": 1 << 20},
        "policy": "rendezvous",
        "limits": {"move": 50_000_000, "scrub": 10_000_000},
        "space": {"capacity": 3 * 10**12, "used": 12 * 10**11, "free": 18 * 10**11},
        "titles": 1,
        "change": None,
        "scrub": {"share": 0.25, "rounds": 2, "found": 0, "mended": 0},
        "lost": {"blocks": 0, "titles": []},
        "warnings": [],
        "disks": [disk(1, "a"), disk(2, "b"), disk(3, "c")],
        "groups": {"logical": 3},
    } | more


def title(name: str = "tides", **more: Any) -> dict[str, Any]:
    """A film of an hour and a half."""
    track = {"bytes": 10**9, "rendition": "0"}
    return {
        "name": name,
        "title": "Tides",
        "volume": "films",
        "object": "f" * 32,
        "duration": 5400.0,
        "bytes": 2 * 10**9,
        "blocks": 1908,
        "peak_bps": 4_000_000,
        "created": "2026-11-02T10:00:00Z",
        "source": "tides.mp4",
        "live": False,
        "tracks": [
            track | {"id": 0, "kind": "video", "codec": "h264", "language": ""},
            track | {"id": 1, "kind": "audio", "codec": "aac", "language": "eng"},
        ],
    } | more


def import_(name: str, state: str, **more: Any) -> dict[str, Any]:
    """A file on its way."""
    return {
        "id": f"id-{name}",
        "name": name,
        "title": "",
        "volume": "films",
        "file": f"{name}.mp4",
        "state": state,
        "bytes": 0,
        "total": None,
        "media": 0.0,
        "duration": 0.0,
        "remaining": None,
        "renditions": 0,
        "came": 0,
        "remarks": [],
        "error": "",
        "began": 1.8e9,
        "ended": None,
    } | more


def check(name: str, done: int, **more: Any) -> dict[str, Any]:
    """How far the check of a title is."""
    return {
        "name": name,
        "done": done,
        "total": 1908,
        "began": 1.8e9,
        "ended": None,
        "error": "",
        "good": None,
        "missing": [],
        "count": 0,
        "faults": [],
        "digest": "",
    } | more


class Receiving:
    """A file that is being received."""

    def __init__(self, stored: Stored, name: str, values: dict[str, Any]) -> None:
        self.name = name
        self.values = values
        self.pieces: list[int] = []
        self.received = 0
        self.finished = False
        self.left: str | None = None
        """Why it was left: a class of errors, empty for none; None while it is not."""
        self._stored = stored

    async def __aenter__(self) -> Receiving:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.left = "" if kind is None else kind.__name__

    async def write(self, data: bytes) -> None:
        if self._stored.hold is not None:
            await asyncio.to_thread(self._stored.hold.wait)
        self.pieces.append(len(data))
        self.received += len(data)
        if self.received > self._stored.most:
            raise TooLargeError(f"more than {self._stored.most} bytes", subject=self.name)

    async def finish(self) -> dict[str, Any]:
        self.finished = True
        return import_(self.name, "waiting", bytes=self.received, total=self.received)


class Stored:
    """A ``StorageFace`` that notes what is ordered of it."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = EMPTY
        self.kept: list[dict[str, Any]] = []
        """Titles."""
        self.recordings: list[dict[str, Any]] = []
        self.checks: list[dict[str, Any]] = []
        """What ``verify`` tells, one after the other; the last again and again."""
        self.orders: list[tuple[str, str, dict[str, Any]]] = []
        """What, by whom, with which values."""
        self.received: list[Receiving] = []
        self.most = 1 << 30
        self.hold: threading.Event | None = None
        """What pieces of files wait for."""
        self.error: Exception | None = None

    def _note(self, what: str, by: Actor, **values: Any) -> dict[str, Any]:
        self.orders.append((what, by.name, values))
        if self.error is not None:
            raise self.error
        return values

    async def view(self) -> dict[str, Any]:
        if self.error is not None:
            raise self.error
        return self.found

    async def readable(self, objects: Collection[str]) -> dict[str, int]:
        return dict.fromkeys(objects, 0)

    async def create_volume(
        self, name: str, *, by: Actor, disks: Sequence[Mapping[str, Any]], **scheme: Any
    ) -> dict[str, Any]:
        return self._note("create", by, name=name, disks=[dict(one) for one in disks], **scheme)

    async def remove_volume(self, volume: str, by: Actor) -> None:
        self._note("forget", by, volume=volume)

    async def add_disk(self, volume: str, *, by: Actor, **wish: Any) -> dict[str, Any]:
        return self._note("add", by, volume=volume, **wish)

    async def remove_disk(
        self, volume: str, disk: str, *, force: bool, by: Actor
    ) -> dict[str, Any]:
        return self._note("remove", by, volume=volume, disk=disk, force=force)

    async def replace_disk(
        self, volume: str, disk: str, *, by: Actor, **wish: Any
    ) -> dict[str, Any]:
        return self._note("replace", by, volume=volume, disk=disk, **wish)

    async def set_limits(self, volume: str, *, by: Actor, **limits: Any) -> dict[str, Any]:
        return self._note("limits", by, volume=volume, **limits)

    async def set_policy(self, volume: str, policy: str, *, by: Actor) -> dict[str, Any]:
        return self._note("policy", by, volume=volume, policy=policy)

    async def titles(self) -> list[dict[str, Any]]:
        return self.kept

    async def begin_import(
        self, name: str, *, size: int | None, renditions: int, by: Actor, **said: str
    ) -> Receiving:
        values = self._note("import", by, name=name, **said)
        self.received.append(
            Receiving(self, name, values | {"size": size, "renditions": renditions})
        )
        return self.received[-1]

    async def add_rendition(self, id: str, *, file: str, size: int | None, by: Actor) -> Receiving:
        values = self._note("rendition", by, id=id, file=file)
        self.received.append(Receiving(self, id, values | {"size": size}))
        return self.received[-1]

    def imported(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.found["imports"]
        return found

    async def cancel_import(self, id: str, by: Actor) -> None:
        self._note("cancel", by, id=id)

    async def begin_recording(
        self, channel: str, name: str, *, by: Actor, **values: Any
    ) -> dict[str, Any]:
        return self._note("record", by, channel=channel, name=name, **values)

    async def stop_recording(self, name: str, *, drop: bool, by: Actor) -> dict[str, Any]:
        return self._note("stop", by, name=name, drop=drop)

    def recorded(self) -> list[dict[str, Any]]:
        return self.recordings

    async def verify(self, name: str) -> dict[str, Any]:
        if self.error is not None:
            raise self.error
        return self.checks.pop(0) if len(self.checks) > 1 else self.checks[0]

    async def remove_title(self, name: str, by: Actor) -> None:
        self._note("erase", by, name=name)
        self.kept = [one for one in self.kept if one["name"] != name]
