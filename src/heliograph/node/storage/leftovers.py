"""Recordings that a killed server left, until what their journals have is in their volumes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from heliograph.bus import Registration
from heliograph.model.errors import (
    BusyError,
    HelioError,
    NotFoundError,
    ResourceError,
    UnreachableError,
)
from heliograph.node.storage.shelf import GUARDED, RECORDED
from heliograph.storage.values import ObjectId
from heliograph.vod.manifest import Manifest
from heliograph.vod.recording import Journal, journals

log = structlog.get_logger(__name__)

#: Seconds until it is tried again to finish a recording; doubled while none can be finished.
RECOVER = 10.0
#: Seconds at most: a volume that is back should not wait for what belongs to it.
RECOVER_MOST = 160.0


def channel_of(title: Manifest) -> str:
    """The channel that was recorded."""
    return title.source.removeprefix(GUARDED).removeprefix(RECORDED)


@dataclass(slots=True)
class _Left:
    """A journal, and why it is still there."""

    journal: Journal
    name: str
    channel: str = ""
    volume: str = ""
    began: float | None = None
    error: str = ""
    hopeless: bool = False
    """It is not tried again before the next start."""
    dropped: bool = False
    """Nobody wants what it has."""
    held: Registration | None = None
    """The name is the title's until this is closed; None: it is not known."""

    def let_go(self) -> None:
        """Nothing is left."""
        if self.held is not None:
            self.held.close()

    def to_json(self) -> dict[str, Any]:
        """For the API, as of a recording."""
        return {
            "name": self.name,
            "channel": self.channel,
            "volume": self.volume,
            "remarks": [],
            "began": self.began,
            "ended": None,
            "error": self.error,
            "waiting": True,
        }


class Leftovers:
    """Started once volumes are there."""

    def __init__(
        self,
        root: Path,
        recover: Callable[[Journal], Awaitable[None]],
        finish: Callable[[str, ObjectId], Awaitable[None]],
        hold: Callable[[str, float], Registration],
    ) -> None:
        """``root``: where journals are kept. ``recover`` takes one over, or raises. ``finish`` ends
        the title in a volume as it is there. ``hold`` has a name since a time."""
        self._root = root
        self._recover = recover
        self._finish = finish
        self._hold = hold
        self._all: list[_Left] = []
        self._known = asyncio.Event()
        self._turn = asyncio.Lock()  # of those who may do away with a journal
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Go on, in the background, until there are none."""
        self._task = asyncio.create_task(self._run(), name="recover recordings")

    async def close(self) -> None:
        """What is left is left to the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def known(self) -> None:
        """Wait until names are read."""
        await self._known.wait()

    def has(self, name: str) -> bool:
        """Whether something waits that will be a title of that name."""
        return any(one.name == name for one in self._all)

    def name_of(self, object: ObjectId) -> str:
        """The name under which what waits of a title was recorded; empty: nothing waits of it."""
        return next((one.name for one in self._all if one.journal.path.name == object), "")

    def list(self) -> list[dict[str, Any]]:
        """All."""
        return [one.to_json() for one in self._all]

    async def drop(self, name: str) -> dict[str, Any]:
        """Forget what a journal has and its volume has not, and finish what that has, now or, if
        it is away, once it is seen that nobody else does; ``NotFoundError``, ``ResourceError``.

        Cut short, it can be ordered again, and is done at the next start anyhow."""
        async with self._turn:
            found = next((one for one in self._all if one.name == name), None)
            if found is None:
                raise NotFoundError(f"nothing is left of a recording {name}", subject=name)
            await asyncio.to_thread(found.journal.drop)
            found.dropped = True
            await self._drop(found)
        return found.to_json()

    async def _drop(self, found: _Left) -> None:
        """Each step may be done already."""
        if found.volume:
            try:
                await self._finish(found.volume, ObjectId(found.journal.path.name))
            except HelioError as error:
                log.warning("title not finished yet", title=found.name, error=error.message)
        await asyncio.to_thread(found.journal.delete)
        self._all.remove(found)
        found.let_go()
        log.info("what was left of a recording is dropped", title=found.name, volume=found.volume)

    async def _run(self) -> None:
        try:
            await self._find()
        except HelioError as error:
            log.error("recordings not recovered", error=error.message)
        finally:
            self._known.set()
        pause = RECOVER
        while True:
            before = len(self._all)
            for one in [*self._all]:
                if one.dropped or not one.hopeless:
                    await self._try(one)
            if all(one.hopeless for one in self._all):
                return
            if len(self._all) < before:
                pause = RECOVER
            await asyncio.sleep(pause)
            pause = min(2 * pause, RECOVER_MOST)

    async def _find(self) -> None:
        for journal in await asyncio.to_thread(journals, self._root):
            found = _Left(journal, journal.path.name)
            try:
                found.dropped = await asyncio.to_thread(lambda: journal.dropped)  # noqa: B023
                replay = await asyncio.to_thread(journal.replay)
            except HelioError as error:
                self._failed(found, error)
            else:
                title = replay.title
                found.name, found.volume, found.began = title.name, replay.volume, title.created
                found.channel = channel_of(title)
                with contextlib.suppress(HelioError):  # it is recovered all the same
                    found.held = self._hold(title.name, title.created)
            self._all.append(found)

    async def _try(self, found: _Left) -> None:
        async with self._turn:
            if found not in self._all:
                return
            try:
                if found.dropped:
                    await self._drop(found)
                    return
                await self._recover(found.journal)
            except HelioError as error:
                self._failed(found, error)
            except Exception:
                found.error, found.hopeless = "internal error", True
                log.exception("recording not recovered", title=found.name)
            else:
                self._all.remove(found)
                found.let_go()

    def _failed(self, found: _Left, error: HelioError) -> None:
        again = NotFoundError, UnreachableError, ResourceError, BusyError
        if not isinstance(error, again):
            found.hopeless = True
            log.error("recording not recovered", title=found.name, error=error.message)
        elif found.error != error.message:  # its volume is not known here yet, or away
            log.warning("recording not recovered yet", title=found.name, error=error.message)
        found.error = error.message
