"""What people see of storage: volumes, disks, titles, imports, of all nodes together."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

from heliograph.bus import Bus, Registration, Request
from heliograph.bus.wire import Json
from heliograph.model.errors import HelioError
from heliograph.node.storage.disks import LocalDisks
from heliograph.node.storage.imports import Imports
from heliograph.node.storage.shelf import Placed, Shelf
from heliograph.storage.reading import DiskReader
from heliograph.storage.sharing import SharedBlocks
from heliograph.storage.values import DiskId, ObjectId
from heliograph.storage.volume.state import DiskEntry, DiskState, VolumeState

if TYPE_CHECKING:
    from heliograph.node.storage.holding import Holding

#: Method by which each node tells of its own disks.
PART = "storage.part"
#: Seconds that nodes have for it.
PATIENCE = 2.0
#: Seconds that one disk has to say how full it is.
ANSWER = 1.0
#: Seconds that an answer is good: many pages may look at once.
FRESH = 0.5
#: Objects of which a node tells what they lost, a volume: half a message of the bus.
MAX_LOST = 10_000
#: Titles of which it is remembered whether they can be read without the disks that are away.
MAX_JUDGED = 10_000

#: Object, its blocks, whether it grows, version of the volume, disks that answer.
_Judged: TypeAlias = tuple[ObjectId, int, bool, int, frozenset[DiskId]]


class Views:
    """Asks all nodes, and puts together."""

    def __init__(
        self,
        bus: Bus,
        disks: LocalDisks,
        holdings: Mapping[str, Holding],
        shelf: Shelf,
        imports: Imports,
        blocks: SharedBlocks,
    ) -> None:
        self._bus = bus
        self._disks = disks
        self._holdings = holdings
        self._shelf = shelf
        self._imports = imports
        self._blocks = blocks
        self._lost: dict[str, int] = {}
        """Blocks of titles that are gone for good, by object, as all nodes told last."""
        self._unreadable: dict[_Judged, int] = {}
        """Groups that cannot be read, of what was asked for while disks were away."""
        self._registrations: list[Registration] = []
        self._newest: tuple[float, dict[str, Any]] | None = None
        self._asking = asyncio.Lock()

    def start(self) -> None:
        """Answer other nodes."""
        self._registrations.append(self._bus.serve(PART, self._asked))

    async def close(self) -> None:
        """End."""
        for registration in self._registrations:
            registration.close()

    def expire(self) -> None:
        """Something was ordered: who looks next sees it."""
        self._newest = None

    def figures(self) -> tuple[dict[str, float], dict[str, float]]:
        """Counters and gauges of this node, for the metrics: sums over its volumes and disks."""
        counts: Counter[str] = Counter()
        for holding in self._holdings.values():
            counts.update(asdict(holding.volume.counters))
            counts.update({f"blocks_{name}": value for name, value in holding.counters.items()})
        for reader in self._disks.open.values():
            disk = reader.counters
            counts.update(disk_reads=disk.reads, disk_late=disk.late, disk_refused=disk.refused)
            counts.update(disk_hung=disk.hung, disk_errors=disk.errors.total())
        cache = self._blocks.cache
        counts.update(cache_hits=cache.counters.hits, cache_misses=cache.counters.misses)
        gauges = {
            "volumes": len(self._holdings),
            "disks": len(self._disks.open),
            "disks_at_fault": len(self._disks.faults),
            "cache_bytes": cache.used,
            "imports": sum(one["ended"] is None for one in self._imports.list()),
        }
        return dict(counts), dict(gauges)

    def title(self, placed: Placed) -> dict[str, Any]:
        """One title, for the API."""
        manifest = placed.manifest
        return {
            "name": manifest.name,
            "given_name": placed.given or manifest.name,
            "title": manifest.title,
            "volume": placed.volume,
            "object": manifest.object,
            "duration": manifest.duration_us / 1e6,
            "bytes": sum(one.bytes for one in manifest.blocks),
            "blocks": len(manifest.blocks),
            "peak_bps": manifest.peak_bps,
            "created": manifest.created,
            "source": manifest.source,
            "live": manifest.live,
            "tracks": [
                {
                    "id": one.track.id,
                    "kind": one.track.kind.value,
                    "codec": one.track.codec.value,
                    "language": one.language,
                    "rendition": one.rendition,
                    "bytes": one.bytes,
                }
                for one in manifest.tracks
            ],
        }

    async def whole(self) -> dict[str, Any]:
        """Everything; not older than ``FRESH`` seconds."""
        loop = asyncio.get_running_loop()
        async with self._asking:
            if self._newest is None or loop.time() - self._newest[0] > FRESH:
                self._newest = loop.time(), await self._whole()
            return self._newest[1]

    async def _whole(self) -> dict[str, Any]:
        parts = await self._bus.ask(PART, None, PATIENCE)
        names = {str(node): name for node, name in self._bus.present("node")}
        found = {str(node): value for node, value in parts if isinstance(value, dict)}
        self._lost = {}
        volumes = [self._volume(one, found, names) for _, one in sorted(self._holdings.items())]
        return {
            "volumes": volumes,
            "imports": self._imports.list(),
            "cache": {
                "bytes": self._blocks.cache.used,
                "limit": self._blocks.cache.limit,
                "shared": self._blocks.shared,
                **asdict(self._blocks.cache.counters),
            },
        }

    async def readable(self, objects: Collection[str]) -> dict[str, int]:
        """Those of these objects of which every block can be read now but those that are lost for
        good, and how many these are."""
        asked = frozenset(objects)
        whole = await self.whole()
        volumes = {one["name"]: one["disks"] for one in whole["volumes"]}
        there = {
            name: frozenset(DiskId(one["id"]) for one in disks if one["up"] and not one["fault"])
            for name, disks in volumes.items()
        }
        wanted = [one for one in self._shelf.all() if one.manifest.object in asked]
        found = await asyncio.to_thread(self._readable, wanted, there)
        return {object: self._lost.get(object, 0) for object in found}

    def _readable(
        self, titles: Iterable[Placed], there: Mapping[str, frozenset[DiskId]]
    ) -> frozenset[str]:
        from heliograph.storage.volume.planning import Plan  # loads numpy

        found = set()
        for one in titles:
            holding, manifest = self._holdings.get(one.volume), one.manifest
            if holding is None or one.volume not in there:  # nothing is known against it yet
                found.add(str(manifest.object))
                continue
            state, up = holding.state, there[one.volume]
            away = [disk for disk in state.disks if disk.id not in up]
            if len(away) > state.scheme.parity:  # of fewer no group misses too much
                key = manifest.object, len(manifest.blocks), manifest.live, state.version, up
                bad = self._unreadable.get(key)
                if bad is None:
                    if len(self._unreadable) >= MAX_JUDGED:
                        self._unreadable.clear()
                    bad = Plan(state).unreadable(*key[:3], up)
                    self._unreadable[key] = bad
                if bad:
                    continue
            found.add(str(manifest.object))
        return frozenset(found)

    def _volume(
        self, holding: Holding, parts: Mapping[str, Any], names: Mapping[str, str]
    ) -> dict[str, Any]:
        state = holding.state
        mine = [
            found
            for part in parts.values()
            if isinstance(found := part.get("volumes", {}).get(state.name), dict)
        ]
        disks = [self._disk(one, parts, names) for one in state.disks]
        there = [one for one in disks if one["up"]]
        titles = [one for one in self._shelf.all() if one.volume == state.name]
        told: Counter[str] = Counter()
        for part in mine:
            told.update(part["lost"])
        ours = [str(one.manifest.object) for one in titles]
        lost = {object: told[object] for object in ours if told[object]}
        self._lost |= lost
        return {
            "name": state.name,
            "version": state.version,
            "scheme": {
                "data": state.scheme.data,
                "parity": state.scheme.parity,
                "code": state.scheme.code.value,
                "block": state.scheme.block,
            },
            "policy": state.policy,
            "limits": asdict(state.limits),
            "space": {
                name: sum(one[name] or 0 for one in there) for name in ("capacity", "used", "free")
            },
            "titles": len(titles),
            "change": _change(state, mine),
            "scrub": _scrub(mine),
            "lost": {
                "blocks": sum(lost.values()),
                "titles": sorted(
                    one.manifest.name for one in titles if one.manifest.object in lost
                ),
            },
            "warnings": _warnings(state, disks, mine),
            "disks": disks,
            "groups": {"logical": len(state.table.disks)},
        }

    def _disk(
        self, entry: DiskEntry, parts: Mapping[str, Any], names: Mapping[str, str]
    ) -> dict[str, Any]:
        part = parts.get(entry.node, {})
        told = part.get("disks", {}).get(entry.id)
        fault = next(
            (str(one[1]) for one in part.get("faults", []) if one[0] == entry.path),
            "" if part else "its node is away",
        )
        return {
            "id": entry.id,
            "node": entry.node,
            "node_name": names.get(entry.node, ""),
            "path": entry.path,
            "state": entry.state.value,
            "up": told is not None,
            "bandwidth": entry.bandwidth,
            "fault": fault,
            **(
                {"capacity": entry.capacity, "used": None, "free": None, "blocks": None}
                | {"read_bps": None, "late": None, "errors": None, "bytes_read": None}
                | (told or {})
            ),
        }

    async def _asked(self, request: Request) -> Json:
        """This node's part: its disks, and how far it is with each volume."""
        readers = dict(self._disks.open)
        told = await asyncio.gather(*map(self._told, readers.values()))
        return {
            "disks": dict(zip(readers, told, strict=True)),
            "faults": [[one.path, one.reason] for one in self._disks.faults.values()],
            "volumes": {name: self._part(one) for name, one in self._holdings.items()},
        }

    async def _told(self, found: DiskReader) -> Json:
        counters = found.counters
        told: dict[str, Json] = {
            "late": counters.late,
            "errors": counters.errors.total(),
            "bytes_read": counters.bytes_read,
        }
        try:
            async with asyncio.timeout(ANSWER):  # a disk that hangs holds a thread of its own
                usage = await found.call(found.disk.usage)
        except HelioError as error:
            return told | {"fault": error.message}
        except TimeoutError:
            return told | {"fault": "it does not answer"}
        return told | {
            "capacity": usage.capacity,
            "used": usage.used,
            "free": usage.free,
            "blocks": usage.blocks,
        }

    def _part(self, holding: Holding) -> dict[str, Json]:
        part: dict[str, Json] = {"lost": {}, "progress": None}
        if holding.reconciler is not None:
            lost = holding.reconciler.missing()
            part["lost"] = dict(islice(lost.items(), MAX_LOST))
            progress = asdict(holding.reconciler.progress)
            part["progress"] = progress | {"phase": holding.reconciler.progress.phase.value}
        return part


def _change(state: VolumeState, parts: list[Any]) -> dict[str, Any] | None:
    """How far a change is, over all nodes; None where there is none."""
    found = [one["progress"] for one in parts if one["progress"] is not None]
    leaving = any(one.state is DiskState.LEAVING for one in state.disks)
    busy = any(one["bytes_all"] for one in found)
    if not state.before and not leaving and not busy:
        return None
    forecasts = [one["seconds"] for one in found if one["seconds"] is not None]
    return {
        "since_version": state.version,
        "bytes_done": sum(one["bytes_done"] for one in found),
        "bytes_total": sum(one["bytes_all"] for one in found),
        "moved": sum(one["moved"] for one in found),
        "lacking": sum(one["members_lacking"] for one in found),
        "forecast_s": max(forecasts, default=None),
        "waiting": sorted({one["waiting"] for one in found if one["waiting"]}),
    }


def _scrub(parts: list[Any]) -> dict[str, Any]:
    found = [one["progress"] for one in parts if one["progress"] is not None]
    shares = [one["scrub_share"] for one in found]
    return {
        "share": sum(shares) / len(shares) if shares else 0.0,
        "rounds": min((one["scrub_rounds"] for one in found), default=0),
        "found": sum(one["damaged"] for one in found),
        "mended": sum(one["mended"] for one in found),
    }


def _warnings(state: VolumeState, disks: list[dict[str, Any]], parts: list[Any]) -> list[str]:
    found = [
        f"disk {one['path']} of {one['node_name'] or one['node']}: {one['fault'] or 'away'}"
        for one in disks
        if not one["up"] and one["state"] != DiskState.LOST.value
    ]
    if state.scheme.parity == 0:
        found.append("a disk that fails takes its blocks with it: there is no redundancy")
    elif len(state.nodes) < state.scheme.width and len(state.active) >= state.scheme.width:
        found.append("a node that fails may take more than one member of a group with it")
    full = [one for one in disks if one["free"] is not None and one["capacity"]]
    found += [
        f"disk {one['path']} of {one['node_name'] or one['node']} is nearly full"
        for one in full
        if one["free"] < 0.03 * one["capacity"]
    ]
    return found
