"""Hands units from the thread that makes them to the event loop, through bounded room."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

from heliograph.cli.publishing.units import Source, Unit
from heliograph.model.media import Kind

#: Units that may wait: two seconds of 50 sound packets and 30 frames. More would be memory for
#: nothing, less would let a slow disk be heard.
MAX_WAITING = 160


class Feed:
    """Runs a source in a thread. Files wait for room; live sources drop what finds none."""

    def __init__(self, source: Source, room: int = MAX_WAITING) -> None:
        self.dropped = 0
        """Units dropped since the loop took them too slowly."""
        self._source = source
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Unit | None] = asyncio.Queue()
        self._room = threading.Semaphore(room)
        self._stopped = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="source", daemon=True)

    async def units(self) -> AsyncIterator[Unit]:
        """The units; raises what the source raised."""
        self._thread.start()
        try:
            while (unit := await self._queue.get()) is not None:
                self._room.release()
                yield unit
            if self._failure is not None:
                raise self._failure
        finally:
            self.stop()

    def stop(self) -> None:
        """End the thread soon."""
        self._stopped.set()
        self._source.stop()
        self._room.release()

    async def join(self) -> None:
        """Wait for the thread; then the source may be closed."""
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        try:
            self._pump()
        except Exception as error:
            self._failure = error
        finally:
            self._hand(None)

    def _pump(self) -> None:
        holed: set[int] = set()  # video tracks that wait for a keyframe after a hole
        for unit in self._source.units():
            if self._stopped.is_set():
                return
            video = self._source.tracks[unit.track].kind is Kind.VIDEO
            if unit.track in holed and unit.key:
                holed.discard(unit.track)
            room = self._room.acquire(blocking=not self._source.live)
            if unit.track in holed or not room:
                self.dropped += 1
                if room:
                    self._room.release()
                elif video:
                    holed.add(unit.track)
                continue
            self._hand(unit)

    def _hand(self, unit: Unit | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._queue.put_nowait, unit)
        except RuntimeError:
            self._stopped.set()  # the loop is closed: nobody waits any more
