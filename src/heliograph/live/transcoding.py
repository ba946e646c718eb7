"""Sound made anew for players that do not take it as it came: once per channel, while asked for.

A tap on the channel feeds a process (``transcode_worker``); what it makes is pushed to the source
as a further track, with sender reports, so that it keeps to the picture as any other sound.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sys
from collections import Counter
from collections.abc import Sequence

import structlog

from heliograph.live.channel import Channel
from heliograph.live.readers import Reader, ReaderHooks
from heliograph.live.transcode_units import MADE, MAX_UNIT, UNIT
from heliograph.model.errors import BusyError, NotFoundError
from heliograph.model.media import Kind, Track
from heliograph.plane.types import TapItem
from heliograph.protocols.payload import AccessUnit, description
from heliograph.protocols.rtp_stream import REPORT_INTERVAL, Numbers, RtpStream

log = structlog.get_logger(__name__)

#: Processes at once: one takes 2 % of a core and 60 MB.
MAX_TRANSCODES = 16
#: Seconds for which one goes on after the last who wanted it: viewers come back, pages are loaded
#: anew.
LINGER = 15.0
#: Units that wait in the tap: ten seconds of sound.
CAPACITY = 512
#: Bytes that wait for the process; more means that it hangs, and is lost.
MAX_QUEUED = 256 << 10
#: Seconds between a process's death and the next one, doubled each time up to the second value.
AGAIN, AGAIN_MOST = 0.5, 30.0

_COMMAND = (sys.executable, "-m", "heliograph.live.transcode_worker")


class Transcode(ReaderHooks):
    """One made track of one channel."""

    def __init__(
        self, transcodes: Transcodes, channel: Channel, source: Track, made: Track
    ) -> None:
        self.channel = channel
        self.source = source
        self.made = made
        self.wanted = 0
        """How many want it now."""
        self.ended = False
        self._transcodes = transcodes
        self._counters = transcodes.counters
        self._end_timer: asyncio.TimerHandle | None = None
        self._stdin: asyncio.StreamWriter | None = None
        numbers = Numbers(*(int.from_bytes(os.urandom(size)) for size in (4, 2, 4)))
        self._stream = RtpStream(made, numbers, f"made-{secrets.token_hex(4)}")
        self._process: asyncio.subprocess.Process | None = None
        self._epoch: int | None = None
        self._renewed = False  # the source's configuration is another one
        self._position = 0  # what positions of the present process count from
        self._behind = 0
        self._reported: float | None = None
        self._tap: Reader = channel.audience.add_tap(
            hooks=self, frames=True, capacity=CAPACITY, of=self._sources
        )
        self._tap.start()
        self._task = asyncio.create_task(self._run(), name=f"transcode {channel.name}")
        self._task.add_done_callback(self._on_done)

    def _sources(self) -> Sequence[Track]:
        return [track for track in self.channel.tracks if track.id == self.source.id]

    # --- who wants it -------------------------------------------------------------------------

    def want(self) -> None:
        self.wanted += 1
        if self._end_timer is not None:
            self._end_timer.cancel()
            self._end_timer = None

    def leave(self) -> None:
        self.wanted -= 1
        if self.wanted == 0 and not self.ended:
            loop = asyncio.get_running_loop()
            self._end_timer = loop.call_later(LINGER, self.end, "nobody listens")

    def end(self, reason: str) -> None:
        """Stop; harmless twice."""
        if self.ended:
            return
        self.ended = True
        if self._end_timer is not None:
            self._end_timer.cancel()
        if not self._tap.closed:
            self._tap.remove()
        self._transcodes.forget(self)
        self._task.cancel()
        log.info("transcode ended", channel=self.channel.name, reason=reason)

    async def ending(self) -> None:
        """Wait for the process's end."""
        await asyncio.wait([self._task])

    def closed(self, reason: str) -> None:
        self.end(reason)

    def tracks_changed(self, tracks: tuple[Track, ...]) -> None:
        self.end("format changed")

    def _on_done(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            log.error("transcode failed", channel=self.channel.name, exc_info=task.exception())
        self.end("failed")

    # --- units --------------------------------------------------------------------------------

    def ready(self) -> None:
        # What came before the process was there waits in the tap.
        while not self.ended and self._stdin is not None:
            items, lost = self.channel.plane.read_tap(self._tap.plane_reader)
            self._counters["transcode_units_lost"] += lost
            if not items:
                return
            for item in items:
                self._take(TapItem(*item))

    def _take(self, item: TapItem) -> None:
        if item.epoch != self._epoch:
            self._epoch = item.epoch
            self._look()
        stdin = self._stdin
        full = stdin is None or stdin.transport.get_write_buffer_size() > MAX_QUEUED
        if stdin is None or full or len(item.data) > MAX_UNIT:
            self._counters["transcode_units_lost"] += 1
            return
        stdin.write(UNIT.pack(item.time, len(item.data)) + item.data)

    def _look(self) -> None:
        """Another source: its sound may need another decoder."""
        source = next(iter(self._sources()), self.source)
        old, self.source = self.source, source
        if description(source) != description(old) and self._process is not None:
            self._renewed = True
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    def _give(self, time: int, position: int, data: bytes) -> None:
        publishing = self.channel.active
        if publishing is None or self.made not in publishing.derived:
            return
        position += self._position
        self._behind = max(self._behind, position)
        unit = AccessUnit(data, position, key=True)
        publishing.push(self.made.id, self._stream.packetize(unit))
        self._counters["transcode_units_made"] += 1
        now = asyncio.get_running_loop().time()
        if self._reported is None or now - self._reported >= REPORT_INTERVAL:
            self._reported = now
            report = self._stream.report(time, position / self.made.clock_rate)
            publishing.push_rtcp(self.made.id, report)

    # --- the process --------------------------------------------------------------------------

    async def _run(self) -> None:
        pause = AGAIN
        while True:
            began = asyncio.get_running_loop().time()
            try:
                await self._serve()
            except (OSError, ValueError, asyncio.IncompleteReadError) as error:
                if self._renewed:
                    self._renewed = False
                    self._start_anew(began)
                    continue
                self._counters["transcode_crashes"] += 1
                log.warning("transcode process ended", channel=self.channel.name, error=repr(error))
            # One that worked for a while was not at fault from the start.
            lasted = asyncio.get_running_loop().time() - began
            pause = AGAIN if lasted > AGAIN_MOST else min(2 * pause, AGAIN_MOST)
            await asyncio.sleep(pause)
            self._start_anew(began)

    def _start_anew(self, began: float) -> None:
        """Positions of the next process must not repeat those of this one, and time has passed."""
        passed = asyncio.get_running_loop().time() - began
        self._position = max(
            self._behind + self.made.clock_rate,
            self._position + round(passed * self.made.clock_rate),
        )
        self._reported = None

    async def _serve(self) -> None:
        source = self.source
        process = await asyncio.create_subprocess_exec(
            *_COMMAND,
            source.codec.value,
            str(source.clock_rate),
            str(source.channels or 1),
            (description(source) or b"").hex() or "-",
            self.made.codec.value,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        self._process, self._stdin = process, process.stdin
        self._counters["transcodes_started"] += 1
        self.ready()
        try:
            while True:
                head = await process.stdout.readexactly(MADE.size)
                time, position, size = MADE.unpack(head)
                if size > MAX_UNIT:
                    raise ValueError("unit too large")
                self._give(time, position, await process.stdout.readexactly(size))
        finally:
            self._process = self._stdin = None
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.stdin.close()
            await process.wait()


class Wish:
    """Somebody's wish for a made track, until ``leave``."""

    def __init__(self, transcode: Transcode) -> None:
        self._transcode: Transcode | None = transcode
        transcode.want()

    def leave(self) -> None:
        """It is wanted no more; harmless twice."""
        transcode, self._transcode = self._transcode, None
        if transcode is not None:
            transcode.leave()


class Transcodes:
    """The made tracks of all channels."""

    def __init__(self, *, most: int = MAX_TRANSCODES) -> None:
        """``most``: processes at once."""
        self.most = most
        self.counters = Counter(
            transcodes_started=0,
            transcodes_refused=0,
            transcode_crashes=0,
            transcode_units_made=0,
            transcode_units_lost=0,
        )
        """For the metrics."""
        self._running: dict[tuple[str, int], Transcode] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._running)

    def want(self, channel: Channel, made: Track) -> Wish:
        """Have a track of ``channel.derived`` made until the wish is over.

        ``BusyError`` where too many are made already, ``NotFoundError`` where the channel cannot.
        """
        found = self._running.get((channel.name, made.id))
        if found is not None and found.channel is channel and found.made == made:
            return Wish(found)
        if found is not None:
            found.end("format changed")
        source = next((track for track in channel.tracks if track.kind is Kind.AUDIO), None)
        if source is None or made not in channel.derived:
            raise NotFoundError(f"channel {channel.name!r} has no such sound", subject=channel.name)
        if self._closed or len(self._running) >= self.most:
            self.counters["transcodes_refused"] += 1
            raise BusyError(
                f"sound of {self.most} channels is made anew already",
                subject="transcodes",
                retry_after=5,
            )
        transcode = Transcode(self, channel, source, made)
        self._running[channel.name, made.id] = transcode
        log.info(
            "transcode started",
            channel=channel.name,
            source=source.codec.value,
            made=made.codec.value,
        )
        return Wish(transcode)

    def forget(self, transcode: Transcode) -> None:
        """It ends; its process is waited for."""
        key = transcode.channel.name, transcode.made.id
        if self._running.get(key) is transcode:
            del self._running[key]
        task = asyncio.create_task(transcode.ending())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        """End all, and wait for their processes."""
        self._closed = True
        for transcode in list(self._running.values()):
            transcode.end("server stopping")
        if self._ending:
            await asyncio.wait(self._ending)
