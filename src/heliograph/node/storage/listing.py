"""Titles of volumes in the catalogue: kept by nodes that have its database."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

import structlog

from heliograph.catalogue.contents.stored import StoredTitle
from heliograph.node.periodic import Periodic
from heliograph.storage.values import ObjectId
from heliograph.vod.manifest import Manifest

log = structlog.get_logger(__name__)

#: Seconds between two looks whether anything changed.
LOOK_PERIOD = 1.0
#: Seconds after which all is compared although nothing seems to have changed: other nodes write as
#: well, and names that were taken become free.
ANEW = 60.0


class Shown(Protocol):
    """The titles of all volumes: ``shelf.Shelf``."""

    @property
    def whole(self) -> Collection[str]:
        """Volumes of which all titles are known, as all disks answered."""
        ...

    @property
    def erased(self) -> Collection[ObjectId]:
        """Objects that were removed."""
        ...

    def titles(self) -> Sequence[Manifest]:
        """By name."""
        ...

    def other_name(self, object: ObjectId) -> str:
        """As of ``shelf.Shelf``."""
        ...

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Be told whenever there are others."""
        ...


class Kept(Protocol):
    """The catalogue: ``contents.stored.StoredQueries``."""

    async def stored(self) -> dict[str, StoredTitle]: ...
    async def keep_stored(self, titles: Sequence[StoredTitle]) -> list[StoredTitle]: ...
    async def forget_stored(self, objects: Collection[str]) -> None: ...


class Listing:
    """Keeps the catalogue in step with the volumes."""

    def __init__(
        self,
        shelf: Shown,
        kept: Kept,
        volumes: Callable[[], Collection[str]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``volumes``: names of all that there are. ``clock``: seconds of any origin."""
        self._shelf = shelf
        self._kept = kept
        self._volumes = volumes
        self._clock = clock
        self._changed = True
        self._anew = 0.0
        self._missed: dict[str, float] = {}
        """Objects that no volume has, and since when: one may only be about to become known."""
        self._refused: set[str] = set()
        """Objects whose names are somebody else's, as was said."""
        self._looks = Periodic("titles of volumes in the catalogue", LOOK_PERIOD, self.look)

    def start(self) -> None:
        """Begin."""
        self._shelf.subscribe(self._note)
        self._looks.start()

    async def close(self) -> None:
        """End."""
        await self._looks.stop()

    async def look(self) -> None:
        """Bring the catalogue up to date where something may have changed."""
        now = self._clock()
        if not self._changed and now < self._anew:
            return
        self._changed = False
        try:
            await self._compare()
        except BaseException:
            self._changed = True
            raise
        self._anew = now + ANEW

    def _note(self) -> None:
        self._changed = True

    async def _compare(self) -> None:
        whole = {*self._volumes()} <= {*self._shelf.whole}
        wanted = {
            str(one.object): _listed(one, self._shelf.other_name(one.object))
            for one in self._shelf.titles()
        }
        erased = {str(one) for one in self._shelf.erased}
        keep, missing = difference(wanted, await self._kept.stored())
        now = self._clock()
        self._missed = {one: self._missed.get(one, now) for one in missing if whole}
        forget = [one for one in missing if one in erased]
        forget += [one for one, since in self._missed.items() if now - since >= ANEW]
        if forget:  # first: what comes may have the name of what goes
            await self._kept.forget_stored(forget)
        refused = await self._kept.keep_stored(keep) if keep else []
        for one in refused:
            if one.object not in self._refused:
                log.warning("title not listed: its name is taken in the catalogue", title=one.name)
        self._refused = {one.object for one in refused}


def difference(
    wanted: Mapping[str, StoredTitle], known: Mapping[str, StoredTitle]
) -> tuple[list[StoredTitle], list[str]]:
    """What is to be kept anew, and which objects are not wanted.

    What people called a title stays; how long it is they do not know better, and which of two of
    one name has it neither.
    """
    keep = [
        one
        for object, one in wanted.items()
        if object not in known
        or known[object].duration != one.duration
        or known[object].name == one.other
    ]
    return keep, [object for object in known if object not in wanted]


def _listed(manifest: Manifest, other: str) -> StoredTitle:
    seconds = manifest.duration_us / 1e6
    return StoredTitle(
        str(manifest.object),
        manifest.name,
        manifest.title[:200],
        None if manifest.live or seconds <= 0 else seconds,
        other,
    )
