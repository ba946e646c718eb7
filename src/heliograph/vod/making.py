"""Makes what browsers ask for of titles, out of their blocks, and keeps a little of it.

Blocks are taken apart and written anew in a thread: a segment of 5 Mbit/s takes it some 20 ms. What
several ask for at the same time is made once.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import structlog

from heliograph.model.errors import BusyError, MalformedError, ResourceError
from heliograph.model.media import Kind, Track
from heliograph.protocols.mp4 import Entry, Muxer, TimedUnit, describe
from heliograph.vod.download import Layout, Place, carried, fill, lay_out
from heliograph.vod.manifest import BlockSource, KeyPoint, Manifest
from heliograph.vod.segments import Plan, Rendition, Segment, plan
from heliograph.vod.units import gather

log = structlog.get_logger(__name__)

T = TypeVar("T")

#: Bytes of segments and fragments kept: some ten seconds of a dozen titles.
MAX_KEPT = 64 << 20
#: Titles whose cuts are kept, and whose files are laid out: a few hundred bytes a segment.
MAX_PLANS, MAX_LAYOUTS = 32, 8
#: Renditions whose tracks are known.
MAX_ENTRIES = 512
#: Segments in the making at once: each has its blocks in memory, 3 MB at 5 Mbit/s.
AT_ONCE = 4
#: Things that are being made or wait for that.
MAX_WAITING = 256
#: Seconds from a request to what is made: players ask again after 10 to 20.
PATIENCE = 15.0
#: Where the picture that stands for a title is: a share of it, µs at most.
SHOWN_SHARE, SHOWN_US = 8, 120_000_000
#: Seconds within which blocks are wanted: players have a segment or more in hand.
WANTED = 2.0


class Maker:
    """Of all titles of a node. To be closed."""

    def __init__(
        self,
        *,
        max_kept: int = MAX_KEPT,
        max_waiting: int = MAX_WAITING,
        patience: float = PATIENCE,
    ) -> None:
        self.counters = Counter(
            made=0,
            # Taken from what is kept, or together with somebody else.
            shared=0,
            failed=0,
            refused=0,
            timeouts=0,
            # Units that had no room in a file, and that could not be put together.
            left_out=0,
            broken=0,
        )
        """For the metrics."""
        self.kept = 0
        """Bytes held."""
        self._max_kept = max_kept
        self._max_waiting = max_waiting
        self._patience = patience
        self._kept: OrderedDict[Hashable, bytes] = OrderedDict()
        self._plans: OrderedDict[Hashable, Plan] = OrderedDict()
        self._layouts: OrderedDict[Hashable, Layout] = OrderedDict()
        self._entries: OrderedDict[Hashable, tuple[Entry, ...]] = OrderedDict()
        self._making: dict[Hashable, asyncio.Task[Any]] = {}
        self._turns = asyncio.Semaphore(AT_ONCE)
        # One: threads of Python do not compute side by side.
        self._thread = ThreadPoolExecutor(1, "titles")
        self._closed = False

    @property
    def waiting(self) -> int:
        """Things that are being made or wait for that."""
        return len(self._making)

    def plan(self, manifest: Manifest) -> Plan:
        """How a title is cut; raises as ``segments.plan``."""
        found = self._plans.get(manifest.object)
        if found is None or _state(found.manifest) != _state(manifest):
            found = plan(manifest, found)
        _keep(self._plans, manifest.object, found, MAX_PLANS)
        return found

    async def entries(
        self, manifest: Manifest, source: BlockSource, tracks: Sequence[Track]
    ) -> tuple[Entry, ...]:
        """The tracks as files describe them, by their first key units."""
        key = manifest.object, "entries", tuple(track.id for track in tracks)
        found = self._entries.get(key)
        if found is None:
            found = await self._once(key, lambda: self._describe(manifest, source, tracks))
            _keep(self._entries, key, found, MAX_ENTRIES)
        return found

    async def init(self, manifest: Manifest, source: BlockSource, rendition: Rendition) -> bytes:
        """A rendition's initialization segment."""
        return Muxer(await self.entries(manifest, source, rendition.media)).init()

    async def segment(
        self, manifest: Manifest, source: BlockSource, rendition: Rendition, number: int
    ) -> bytes:
        """One segment, counted from 0; raises as ``BlockSource`` does, ``BusyError``."""
        entries = await self.entries(manifest, source, rendition.media)
        segment = rendition.segments[number]

        broken = self._broken(manifest)

        def write(data: Sequence[bytes]) -> bytes:
            return _fragment(entries, rendition, segment, number, data, broken)

        key = manifest.object, rendition.name, number
        return await self._media(key, manifest, source, segment.blocks, write)

    async def picture(self, manifest: Manifest, source: BlockSource) -> tuple[str, bytes] | None:
        """Codec and data of a key unit that stands for the title: not the first ones, which are
        often dark. None where it has no pictures."""
        video = [one for one in manifest.tracks if one.track.kind is Kind.VIDEO]
        track = min(video, key=lambda one: one.rendition).track if video else None
        if track is None:
            return None
        at = min(manifest.duration_us // SHOWN_SHARE, SHOWN_US)
        key = manifest.key_before(at, track.id)
        if key is None:
            return None
        found = manifest.object, "picture", track.id
        made = await self._once(found, lambda: self._unit(manifest, source, track, key))
        return (track.codec.value, made) if made else None

    async def layout(self, manifest: Manifest, source: BlockSource) -> Layout:
        """A whole title as one file; raises as ``download.carried`` does, too."""
        key = _state(manifest)
        found = self._layouts.get(key)
        if found is None:
            tracks = [one.track for one in carried(manifest)]
            entries = await self.entries(manifest, source, tracks)
            found = await self._once(
                ("layout", key), lambda: self._compute(lay_out, manifest, entries)
            )
            _keep(self._layouts, key, found, MAX_LAYOUTS)
        return found

    async def place(
        self, manifest: Manifest, source: BlockSource, layout: Layout, place: Place
    ) -> bytes:
        """One fragment of that file, with what fills its place."""
        tracks = [entry.track for entry in layout.muxer.entries]
        broken = self._broken(manifest)

        def write(data: Sequence[bytes]) -> bytes:
            made, left = fill(layout, place, gather(data, tracks, 0, broken=broken))
            if left:
                self.counters["left_out"] += left
                log.warning("no room in a file", title=manifest.name, units=left)
            return made

        key = manifest.object, "file", place.number
        return await self._media(key, manifest, source, place.blocks, write)

    async def close(self) -> None:
        """End what is being made; nothing is made any more."""
        self._closed = True
        tasks = list(self._making.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._kept.clear()
        self.kept = 0

    # --- making -------------------------------------------------------------------------------

    async def _describe(
        self, manifest: Manifest, source: BlockSource, tracks: Sequence[Track]
    ) -> tuple[Entry, ...]:
        found = []
        for track in tracks:
            unit = b""
            if track.kind is Kind.VIDEO:
                unit = await self._first(manifest, source, track)
            found.append(describe(track, unit))
        return tuple(found)

    async def _first(self, manifest: Manifest, source: BlockSource, track: Track) -> bytes:
        """The first key unit of a track."""
        keys = (one for one in manifest.keys if one.track == track.id)
        key = min(keys, key=lambda one: one.due_us, default=None)
        return b"" if key is None else await self._unit(manifest, source, track, key)

    async def _unit(
        self, manifest: Manifest, source: BlockSource, track: Track, key: KeyPoint
    ) -> bytes:
        last = max(key.block, manifest.block_at(key.due_us))
        data = await _read(source, range(key.block, last + 1))

        def take() -> list[TimedUnit]:
            return gather(data, [track], key.due_us, key.due_us + 1)

        units = await self._compute(take)
        return next((unit.data for unit in units if unit.key), b"")

    def _broken(self, manifest: Manifest) -> Callable[[int], None]:
        """Counts units that could not be put together."""

        def count(units: int) -> None:
            self.counters["broken"] += units
            log.warning("broken units", title=manifest.name, units=units)

        return count

    async def _media(
        self,
        key: Hashable,
        manifest: Manifest,
        source: BlockSource,
        blocks: range,
        write: Callable[[Sequence[bytes]], bytes],
    ) -> bytes:
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            self.counters["shared"] += 1
            return found

        async def make() -> bytes:
            data = await self._compute(write, await _read(source, blocks))
            self.counters["made"] += 1
            self._hold(key, data)
            return data

        return await self._once(key, make)

    async def _compute(self, work: Callable[..., T], *given: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *given)

    async def _once(self, key: Hashable, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        task: asyncio.Task[T] | None = self._making.get(key)
        if task is not None:
            self.counters["shared"] += 1
        else:
            if self._closed or len(self._making) >= self._max_waiting:
                self.counters["refused"] += 1
                raise BusyError("too many segments wait", subject="titles", retry_after=2)
            task = asyncio.create_task(self._make(make))
            self._making[key] = task
            task.add_done_callback(lambda done: self._ended(key, done))
        # Who asked may go away; others wait for the same.
        return await asyncio.shield(task)

    async def _make(self, make: Callable[[], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(self._patience), self._turns:
                return await make()
        except TimeoutError:
            self.counters["timeouts"] += 1
            raise BusyError("its blocks come too slowly", subject="titles", retry_after=2) from None
        except MalformedError as error:  # our fault, not that of who asks
            raise ResourceError(f"a title's block cannot be used: {error.message}") from error

    def _ended(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        self._making.pop(key, None)
        if not task.cancelled() and task.exception() is not None:
            self.counters["failed"] += 1

    def _hold(self, key: Hashable, data: bytes) -> None:
        if len(data) > self._max_kept // 4 or self._closed:
            return
        self._kept[key] = data
        self.kept += len(data)
        while self.kept > self._max_kept:
            _, old = self._kept.popitem(last=False)
            self.kept -= len(old)


def _state(manifest: Manifest) -> Hashable:
    """What changes when a title has grown."""
    return manifest.object, len(manifest.blocks), manifest.duration_us, manifest.live


def _keep(kept: OrderedDict[Hashable, T], key: Hashable, value: T, most: int) -> None:
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > most:
        kept.popitem(last=False)


async def _read(source: BlockSource, numbers: range) -> list[bytes]:
    deadline = asyncio.get_running_loop().time() + WANTED
    return await asyncio.gather(*(source.block(number, deadline) for number in numbers))


def _fragment(
    entries: Sequence[Entry],
    rendition: Rendition,
    segment: Segment,
    number: int,
    data: Sequence[bytes],
    broken: Callable[[int], None],
) -> bytes:
    units = gather(data, rendition.media, segment.start_us, segment.end_us, broken=broken)
    if number == 0 and rendition.independent:  # nothing can be decoded before
        units = _from_key(units, rendition.lead.id)
    following = {}
    if rendition.pictures and segment.end_us is not None:
        lead = rendition.lead
        following[lead.id] = round(segment.end_us * lead.clock_rate / 1e6)
    return Muxer(entries).fragment(number + 1, units, following)


def _from_key(units: list[TimedUnit], lead: int) -> list[TimedUnit]:
    """Without the leading track's units before its first key unit."""
    entered, found = False, []
    for unit in units:
        entered |= unit.key and unit.track == lead
        if entered or unit.track != lead:
            found.append(unit)
    return found
