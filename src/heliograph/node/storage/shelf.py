"""The titles of all volumes, by name: what those who serve them find."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from heliograph.bus import Bus, Registration
from heliograph.bus.wire import Json
from heliograph.model.errors import HelioError, NotFoundError
from heliograph.model.nodes import NodeId
from heliograph.node.periodic import Periodic
from heliograph.storage.values import ObjectId
from heliograph.storage.volume.heads import DELETED, exists
from heliograph.vod.encoding import decode_manifest
from heliograph.vod.manifest import BlockSource, Manifest
from heliograph.vod.shelf import distinct

if TYPE_CHECKING:
    from heliograph.node.storage.holding import Holding

log = structlog.get_logger(__name__)

#: What stands before the channel in the source of a title that was recorded: the second of one that
#: not everybody might watch then.
RECORDED, GUARDED = "channel ", "guarded channel "
#: Topic by which a node tells that a title came, grew or went.
TOPIC = "storage/titles"
#: Seconds between two looks at what all disks have: news get lost, nodes come back.
LOOK_PERIOD = 10.0
#: Titles that are known, at most; of more the oldest count.
MAX_TITLES = 100_000
#: Seconds for which a later title keeps the name it was given for an older one's sake, once that is
#: gone: whoever erases the older one twice must not erase both.
KEEP_NAME = 600.0


@dataclass(frozen=True, slots=True)
class Placed:
    """A title and where it is."""

    manifest: Manifest
    volume: str
    serial: int
    """Of its head."""
    given: str = ""
    """The name that it was given, where ``manifest`` has another one as an older title has that;
    empty: it is its name."""


class Shelf:
    """A ``vod.shelf.Shelf`` over this node's holdings."""

    def __init__(self, bus: Bus, holdings: Mapping[str, Holding]) -> None:
        """``holdings`` by volume; it changes as volumes come and go."""
        self._bus = bus
        self._holdings = holdings
        self._objects: dict[ObjectId, Placed] = {}
        self._names: dict[str, Placed] = {}
        self._unread: set[ObjectId] = set()
        self._renamed: dict[ObjectId, float] = {}
        """Those that are told by another name than they were given, and until when they are."""
        self._looks = Periodic("titles of volumes", LOOK_PERIOD, self._look, at_once=True)
        self._registrations: list[Registration] = []
        self._soon: asyncio.Task[None] | None = None
        self._again = False
        self._looking = asyncio.Lock()
        self._listeners: list[Callable[[], None]] = []
        self.looked = False
        """Whether all volumes that are known here were looked at once."""
        self.whole: frozenset[str] = frozenset()
        """Volumes of which these are all titles that there are: all their disks answered."""
        self.erased: frozenset[ObjectId] = frozenset()
        """Objects that were removed, as far as volumes still know."""
        self.carries: Callable[[str], bool] = lambda channel: False
        """Whether there is a channel of a name here."""

    async def start(self) -> None:
        """Begin; what this node's own disks have is known then."""
        self._registrations.append(self._bus.subscribe(TOPIC, self._heard))
        self._looks.start()

    async def close(self) -> None:
        """End."""
        for registration in self._registrations:
            registration.close()
        await self._looks.stop()
        if self._soon is not None:
            self._soon.cancel()
            await asyncio.gather(self._soon, return_exceptions=True)

    def find(self, name: str) -> Manifest | None:
        """The title of that logical id as it is now; None: there is none."""
        found = self._names.get(name)
        return None if found is None else found.manifest

    def placed(self, name: str) -> Placed | None:
        """The same with where it is."""
        return self._names.get(name)

    def placed_object(self, object: ObjectId) -> Placed | None:
        """The same of a title that somebody has in hand, whatever it is called by now."""
        return self._objects.get(object)

    def current(self, manifest: Manifest) -> Manifest | None:
        """A title that somebody has in hand as it is now; None: it is there no more."""
        placed = self._objects.get(manifest.object)
        return None if placed is None else placed.manifest

    def source(self, manifest: Manifest) -> BlockSource:
        """Where its blocks are read."""
        placed = self._objects.get(manifest.object)
        if placed is None or placed.volume not in self._holdings:
            raise NotFoundError(f"there is no title {manifest.name}", subject=manifest.name)
        blocks = None if manifest.live else len(manifest.blocks)
        return self._holdings[placed.volume].volume.source(manifest.object, blocks)

    def titles(self) -> Sequence[Manifest]:
        """All, by name."""
        return [self._names[name].manifest for name in sorted(self._names)]

    def channel(self, manifest: Manifest) -> str:
        """The channel whose rules say who may watch it; empty: everybody may.

        Of what was recorded while not everybody might watch, the rules count even if the channel is
        no more: then nobody may, until there is one of its name again.
        """
        if manifest.source_digest:  # it was imported, from a file that may be called anything
            return ""
        if manifest.source.startswith(GUARDED):
            return manifest.source.removeprefix(GUARDED)
        name = manifest.source.removeprefix(RECORDED)
        return name if name != manifest.source and self.carries(name) else ""

    def all(self) -> Iterable[Placed]:
        """All, with where they are."""
        return self._names.values()

    def other_name(self, object: ObjectId) -> str:
        """The name of a title if, other than now, it had not to make way for an older one of its
        name, or had to."""
        placed = self._objects.get(object)
        if placed is None:
            return ""
        name = placed.manifest.name
        return name if object in self._renamed else distinct(name, object)

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Be told whenever there are other titles."""
        self._listeners.append(listener)

    def tell(self) -> None:
        """A title was written or removed here: look, and let the other nodes look."""
        self._bus.publish(TOPIC, None)

    async def look(self) -> None:
        """Look now."""
        await self._look()

    def _heard(self, node: NodeId, topic: str, value: Json) -> None:
        self.look_soon()

    def look_soon(self) -> None:
        """Look; once more, if that is under way."""
        if self._soon is not None and not self._soon.done():
            self._again = True
            return
        self._soon = asyncio.get_running_loop().create_task(self._run(), name="look at titles")

    async def _run(self) -> None:
        self._again = True
        while self._again:
            self._again = False
            try:
                await self._look()
            except HelioError as error:
                log.info("titles not looked at", error=error.message)

    async def _look(self) -> None:
        async with self._looking:  # an older look must not undo a newer one
            await self._look_once()

    async def _look_once(self) -> None:
        fresh: dict[ObjectId, Placed] = {}
        whole, erased = set(), set()
        for name, holding in [*self._holdings.items()]:
            serials, complete = await holding.volume.catalogue()
            erased |= {object for object, serial in serials.items() if serial & DELETED}
            known = True
            for object, serial in serials.items():
                if not exists(serial):
                    continue
                kept = self._objects.get(object)
                if kept is not None and kept.serial >= serial:
                    fresh[object] = kept
                elif (found := await self._read(name, holding, object) or kept) is not None:
                    fresh[object] = found
                else:
                    known = False
                if len(fresh) >= MAX_TITLES:
                    known = False
                    break
            if complete and known:
                whole.add(name)
            if not complete:  # some disks are away: what was known of them stays
                fresh |= {
                    object: placed
                    for object, placed in self._objects.items()
                    if placed.volume == name and object not in serials
                }
        self.looked = True
        known_now = frozenset(whole), frozenset(erased)
        names = by_name(fresh.values(), self._keep_names(fresh.values()))
        other = names != self._names or known_now != (self.whole, self.erased)
        self.whole, self.erased = known_now
        self._objects = fresh
        if other:
            self._names = names
            for listener in self._listeners:
                listener()

    def _keep_names(self, all: Iterable[Placed]) -> set[ObjectId]:
        """Titles that are not to be told by the name they were given, and how long; the first time
        that is logged."""
        now = asyncio.get_running_loop().time()
        for one in by_name(all).values():
            object = one.manifest.object
            if one.given and object not in self._renamed:
                log.warning(
                    "two titles of one name: the later one has another",
                    title=one.given,
                    later=one.manifest.name,
                    object=object,
                    volume=one.volume,
                )
            if one.given:
                self._renamed[object] = now + KEEP_NAME
        self._renamed = {one: until for one, until in self._renamed.items() if until > now}
        return {*self._renamed}

    async def _read(self, volume: str, holding: Holding, object: ObjectId) -> Placed | None:
        try:
            head = await holding.volume.head(object)
            manifest = await asyncio.to_thread(decode_manifest, head.document)
        except HelioError as error:
            if object not in self._unread:
                self._unread.add(object)
                log.info("title not read", object=object, volume=volume, error=error.message)
            return None
        self._unread.discard(object)
        return Placed(manifest, volume, head.serial)


def by_name(all: Iterable[Placed], renamed: Collection[ObjectId] = ()) -> dict[str, Placed]:
    """Each title by a name of its own. Nodes that were parted may have made two of one name: the
    oldest has it, the others have ``distinct`` ones as long as that is there, and while they are
    among ``renamed``. All who know the same titles come to the same names."""
    found: dict[str, Placed] = {}
    ordered = sorted(all, key=lambda one: (one.manifest.created, one.manifest.object))
    later = [
        one
        for one in ordered
        if one.manifest.object in renamed or found.setdefault(one.manifest.name, one) is not one
    ]
    for one in later:
        given, object = one.manifest.name, one.manifest.object
        for name in (distinct(given, object), str(object)):
            if name not in found:
                found[name] = replace(one, manifest=replace(one.manifest, name=name), given=given)
                break
    return found
