"""Recorded titles that nobody goes on with: finished as they are, so that they do not seem to grow
for ever."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from heliograph.model.errors import HelioError
from heliograph.node.periodic import Periodic
from heliograph.node.storage.names import Names
from heliograph.node.storage.shelf import Shelf
from heliograph.storage.values import ObjectId
from heliograph.vod.encoding import decode_manifest, encode_manifest

if TYPE_CHECKING:
    from heliograph.storage.volume.volume import Volume

log = structlog.get_logger(__name__)

#: Seconds between two looks.
LOOK_PERIOD = 30.0
#: Seconds for which no node has a title that grows under way: a machine that starts again is back
#: before, and puts what its journal has into the title.
ABANDONED = 900.0


async def finish_title(volume: Volume, object: ObjectId) -> bool:
    """Finish a title that grows by its newest head; False: it does not grow.

    Errors as of ``Volume.reopen``; ``NotFoundError``: there is no such title.
    """
    head = await volume.newest(object, certain=True)
    if not head.exists or not head.open:
        return False
    writer = await volume.reopen(object)
    manifest = await asyncio.to_thread(decode_manifest, head.document)
    document = await asyncio.to_thread(encode_manifest, replace(manifest, live=False))
    await writer.finish(document)
    return True


class Abandoned:
    """Looks for them, at the keeper who comes first."""

    def __init__(
        self,
        shelf: Shelf,
        names: Names,
        volume: Callable[[str], Volume],
        acts: Callable[[], bool],
        wrote: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``volume`` gives one by its name, ``acts`` says whether this node is to finish titles,
        ``wrote`` is told the volume that has a title finished."""
        self._shelf = shelf
        self._names = names
        self._volume = volume
        self._acts = acts
        self._wrote = wrote
        self._clock = clock
        self._since: dict[ObjectId, float] = {}
        """Since when nobody has a title under way."""
        self._looks = Periodic("titles that nobody finishes", LOOK_PERIOD, self.look)

    def start(self) -> None:
        """Look from time to time."""
        self._looks.start()

    async def close(self) -> None:
        """End."""
        await self._looks.stop()

    async def look(self) -> None:
        """Finish what nobody has had under way for long enough."""
        left = [
            one
            for one in self._shelf.all()
            if one.manifest.live and not self._names.written(one.given or one.manifest.name)
        ]
        objects = {one.manifest.object for one in left}
        self._since = {id: at for id, at in self._since.items() if id in objects}
        now = self._clock()
        for one in left:
            object, name = one.manifest.object, one.manifest.name
            since = self._since.setdefault(object, now)
            if now - since < ABANDONED or not self._acts():
                continue
            try:
                done = await finish_title(self._volume(one.volume), object)
            except HelioError as error:  # a node with some of it is away, for one
                log.info("title not finished", title=name, error=error.message)
            else:
                if done:
                    log.warning("title finished that nobody went on with", title=name)
                    self._wrote(one.volume)
