"""The player itself: feeds, streams, clock and outputs joined, on the event loop.

Each tick hands what is due to the decoders, asks again for what is lost, steers the servers, and
shows what is decoded and due. Network, control and decoders go on beside each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from enum import StrEnum

from heliograph.model.errors import HelioError, UnsupportedError
from heliograph.model.media import Kind
from heliograph.player.arrivals import Arrival
from heliograph.player.beginning import Beginning
from heliograph.player.clock import PlayoutClock
from heliograph.player.decode import Decoder
from heliograph.player.network import Feed
from heliograph.player.options import PlayOptions
from heliograph.player.pipeline import ASK_MARGIN, DECODE_LEAD, Pipeline
from heliograph.player.presenting import Outputs, Presenter
from heliograph.player.steering import Steering
from heliograph.player.streams import Stream
from heliograph.player.synchrony import MAX_STREAMS
from heliograph.player.timeline import Origin
from heliograph.player.video import Command
from heliograph.player.writing import Writer

#: Seconds between ticks: a quarter of a frame at 60 a second.
TICK = 0.004
#: Seconds a channel's buffer holds beyond what is wanted: bursts at the start.
LIVE_SLACK = 4.0
#: Seconds in a title's buffer that are enough to begin.
BEGIN_AT = 1.0
#: Bytes of one stream's buffer: 10 s of 45 Mbit/s.
MAX_BYTES = 64 << 20
#: Seconds that an arrow key seeks.
SEEK_STEP = 10.0
#: A channel's level is looked at over so many seconds before its clock is shifted.
LIVE_LOOK = 5.0
#: Share of the wanted level by which it may differ without that.
LIVE_SLACKNESS = 0.25
#: Remarks kept; each is said once.
MAX_REMARKS = 100
#: Seconds at the end for what is decoded still.
DRAIN_PATIENCE = 3.0


class State(StrEnum):
    """What the player is doing."""

    OPENING = "opening"
    BUFFERING = "buffering"
    PLAYING = "playing"
    PAUSED = "paused"
    SEEKING = "seeking"
    ENDED = "ended"


class Player:
    """Plays some URLs together. ``run`` it; ``stop`` ends it cleanly."""

    def __init__(self, urls: Sequence[str], options: PlayOptions, outputs: Outputs) -> None:
        self._urls, self._options, self._outputs = list(urls), options, outputs
        self._loop = asyncio.get_running_loop()
        self._clock = PlayoutClock()
        self._stopping = asyncio.Event()
        self._presenter: Presenter | None = None
        self._writer: Writer | None = None
        self._steerings: list[Steering] = []
        self._control: asyncio.Task[None] | None = None
        self._begun = False
        self._beginning: Beginning | None = None
        self._priming = False
        self._live_levels: tuple[float, float] | None = None  # smoothed level, when last shifted
        self.state = State.OPENING
        self._feed_of: dict[int, Feed] = {}  # by stream
        self.feeds: list[Feed] = []
        self.pipelines: dict[int, Pipeline] = {}
        """By stream."""
        self.rebuffered = 0
        """Times playout stood still for want of media."""
        self.remarks: list[str] = []
        """What people should know."""

    # --- what callers see ---------------------------------------------------------------------

    @property
    def position(self) -> float:
        """Media time being shown, in seconds."""
        return self._clock.position(self._loop.time())

    @property
    def duration(self) -> float | None:
        """Seconds of the longest title; ``None`` if a channel is among them."""
        found = [feed.duration for feed in self.feeds]
        known = [one for one in found if one is not None]
        return max(known) if known and len(known) == len(found) else None

    @property
    def streams(self) -> list[Stream]:
        """All streams."""
        return [stream for feed in self.feeds for stream in feed.streams]

    @property
    def presenter(self) -> Presenter | None:
        """What is shown; ``None`` before it is known what is played."""
        return self._presenter

    @property
    def steerings(self) -> Sequence[Steering]:
        """By feed: its flow control."""
        return self._steerings

    def remark(self, text: str) -> None:
        """Keep what people should know, once."""
        if text not in self.remarks and len(self.remarks) < MAX_REMARKS:
            self.remarks.append(text)

    def stop(self) -> None:
        """End soon."""
        self._stopping.set()

    def command(self, command: Command) -> None:
        """Do as a key says; one at a time, others are ignored meanwhile."""
        if command is Command.QUIT:
            self.stop()
        elif self._control is None or self._control.done():
            self._control = asyncio.create_task(self._obey(command), name="player control")

    # --- life ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Play until the end, ``stop`` or a failure, which is raised."""
        try:
            if await self._open():
                await self._loop_until_end()
        finally:
            await self._close()

    async def _open(self) -> bool:
        """Connect to all and have them send; False if it was stopped meanwhile."""
        options = self._options
        first = 0
        origin = Origin()
        for url in self._urls:
            feed = Feed(
                url,
                self,
                first_stream=first,
                origin=origin,
                udp=not options.tcp,
                share=not options.gathered,
                key=options.key,
                margin=DECODE_LEAD + ASK_MARGIN,
            )
            self.feeds.append(feed)
            if not await self._unless_stopped(feed.open()):
                return False
            first += len(feed.streams)
            self._feed_of |= {stream.index: feed for stream in feed.streams}
        if first > MAX_STREAMS:
            raise UnsupportedError(f"{first} streams; at most {MAX_STREAMS} are played together")
        self._make_outputs()
        self._begin(options.start)
        # All are asked from the same media time, at the same moment.
        starting = asyncio.gather(*(feed.start(options.start) for feed in self.feeds))
        if not await self._unless_stopped(starting):
            return False
        self._steerings = [
            Steering(feed, self._capacity(feed), options.flow) for feed in self.feeds
        ]
        return True

    async def _unless_stopped(self, work: Awaitable[object]) -> bool:
        """Wait for something; False if a stop came first, and cancelled it."""
        task = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                return False
            task.result()
            return True
        finally:
            stop.cancel()
            if not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError, HelioError):
                    await task

    def _capacity(self, feed: Feed) -> float:
        wanted = self._options.buffer
        return wanted or (1.0 if feed.live else 5.0)

    def _begin_level(self, feed: Feed) -> float:
        # What is handed to decoders is no more in the buffer, so it has to come beforehand.
        capacity = self._capacity(feed)
        return (capacity if feed.live else min(BEGIN_AT, capacity / 2)) + DECODE_LEAD

    def _make_outputs(self) -> None:
        streams = self.streams
        self._presenter = presenter = Presenter(self._outputs, streams)
        self._writer = presenter.writer
        raw = self._writer is not None and self._writer.raw
        for feed in self.feeds:
            room = self._capacity(feed) + (LIVE_SLACK if feed.live else 0.0) + 2 * DECODE_LEAD
            room += feed.ahead
            for stream in feed.streams:
                wanted = self._options.decode or raw
                if stream.track.kind is Kind.VIDEO:
                    wanted |= presenter.screen is not None
                else:
                    wanted |= presenter.loudspeaker is not None
                self.pipelines[stream.index] = Pipeline(
                    stream.index,
                    stream.track,
                    seconds=room,
                    max_bytes=MAX_BYTES,
                    decoder=Decoder(stream.index, stream.track) if wanted else None,
                    on_unit=None if self._writer is None else self._writer.unit,
                )

    async def _loop_until_end(self) -> None:
        began: float | None = None
        while not self._stopping.is_set():
            now = self._loop.time()
            self._judge()
            self._tick(now)
            if self._clock.running and began is None:
                began = self._clock.position(now)
            if self._over(now, began):
                break
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), TICK)
        self.state = State.ENDED

    async def _close(self) -> None:
        if self._control is not None:
            self._control.cancel()
            await asyncio.gather(self._control, return_exceptions=True)
        for steering in self._steerings:
            await steering.close()
        await asyncio.gather(*(feed.close() for feed in self.feeds), return_exceptions=True)
        if self._writer is not None and self._writer.failure is None:
            for pipeline in self.pipelines.values():
                pipeline.finish()
            await self._drain()
        if self._presenter is not None:
            self._presenter.close()
        closing = [pipeline.close for pipeline in self.pipelines.values()]
        if self._writer is not None:
            closing.append(self._writer.close)
        for close in closing:
            await asyncio.to_thread(close)
        if self._writer is not None and self._writer.failure is not None:
            raise self._writer.failure

    async def _drain(self) -> None:
        """What is in the decoders goes to the file as well."""
        until = self._loop.time() + DRAIN_PATIENCE
        while self._loop.time() < until:
            busy = False
            for pipeline in self.pipelines.values():
                if pipeline.decoder is not None:
                    for decoded in pipeline.decoder.due(float("inf")):
                        if self._writer is not None:
                            self._writer.decoded(decoded)
                    busy |= not pipeline.drained and pipeline.decoder.busy
            if not busy:
                return
            await asyncio.sleep(TICK)

    # --- what comes (Receiver) ----------------------------------------------------------------

    def arrived(self, arrival: Arrival, media: float) -> None:
        """A packet came."""
        pipeline = self.pipelines.get(arrival.stream)
        if pipeline is not None:
            # Before it begins nothing is due: the position is where this packet is.
            position = self.position if self._begun else media - BEGIN_AT
            self._feed_of[arrival.stream].incoming.losses.arrived(arrival, media, position)
            pipeline.arrived(arrival, media)

    def moved(self, stream: int, seconds: float) -> None:
        """Media times of a stream were too low by so much."""
        if stream in self.pipelines:
            self.pipelines[stream].moved(seconds)

    def restarted(self, stream: int, start: float, first: int | None) -> None:
        """Media of a stream begin anew."""
        pipeline = self.pipelines.get(stream)
        if pipeline is not None:
            pipeline.restarted(start, first)

    # --- each tick ----------------------------------------------------------------------------

    def _judge(self) -> None:
        """Raise what makes going on impossible."""
        for feed in self.feeds:
            for remark in feed.remarks:
                self.remark(remark)
            over = feed.ended(self._newest(feed)) or self.state is State.ENDED
            # What several nodes have sent is played out, whatever became of its control.
            left = feed.shared is not None and self.level(feed) > 0
            if feed.failed.done() and not over and not left:
                raise feed.failed.result()
        for pipeline in self.pipelines.values():
            if pipeline.decoder is not None and pipeline.decoder.failure is not None:
                raise pipeline.decoder.failure
        if self._writer is not None and self._writer.failure is not None:
            raise self._writer.failure
        if self._control is not None and self._control.done():
            control, self._control = self._control, None
            if not control.cancelled() and (error := control.exception()) is not None:
                if not isinstance(error, HelioError):
                    raise error
                self.remark(error.message)

    def _newest(self, feed: Feed) -> float:
        return max((self.pipelines[s.index].newest for s in feed.streams), default=0.0)

    def _tick(self, now: float) -> None:
        for feed in self.feeds:
            over, tolerates = feed.ended(self._newest(feed)), feed.tolerates(now)
            for stream in feed.streams:
                buffer = self.pipelines[stream.index].buffer
                buffer.ended, buffer.tolerates = over, tolerates
        if self.state is State.BUFFERING:
            self._perhaps_begin(now)
        position = self._clock.position(now)
        self._ask(now, position)
        if self.state is State.PLAYING:
            for pipeline in self.pipelines.values():
                pipeline.advance(position)
                if pipeline.buffer.ended and not len(pipeline.buffer):
                    pipeline.finish()
            self._perhaps_wait(now)
        if self.state in (State.PLAYING, State.BUFFERING):
            self._steer(now)
        self._present(self._clock.position(now))

    def _perhaps_begin(self, now: float) -> None:
        beginning, presenter = self._beginning, self._presenter
        assert beginning is not None
        assert presenter is not None
        if not self._priming:
            if not beginning.enough(now):
                return
            for stream in beginning.waiting_for:
                self.remark(beginning.lack(stream))
                self._feed_of[stream].waits = False  # the next gap would take as long
                self.pipelines[stream].buffer.pass_over()
            self._clock.jump(now, beginning.position())
            self._begun = self._priming = True
        position = self._clock.position(now)
        for pipeline in self.pipelines.values():
            pipeline.advance(position)
            if pipeline.decoder is not None and pipeline.is_video:
                presenter.take(pipeline.decoder.due(position))
        if beginning.primed(now, position):
            self._clock.start(now)
            self.state = State.PLAYING

    def _begin(self, at: float | None, level: float | None = None) -> None:
        """Stand still until there is enough from ``at`` on."""
        wanted = min(self._begin_level(feed) for feed in self.feeds)
        lives = [self._capacity(feed) for feed in self.feeds if feed.live]
        self._beginning = Beginning(
            self.pipelines,
            self.feeds,
            level=wanted if level is None else level,
            at=at,
            latency=max(lives) + DECODE_LEAD if lives and not self._begun else None,
        )
        self._priming = False
        self.state = State.BUFFERING

    def _perhaps_wait(self, now: float) -> None:
        """Stand still where a stream has run dry, until all have enough again."""
        dry = [p for p in self.pipelines.values() if p.buffer.starving or p.buffer.held_up]
        out = [p for p in dry if p.decoder is None or p.decoder.next_media() is None]
        # Sound that falls silent, or a picture that stands, is no reason to stop the others.
        if out and any(self._alone(pipeline) for pipeline in out):
            self.rebuffered += 1
            self._clock.pause(now)
            level = min(self._begin_level(feed) for feed in self.feeds)
            self._begin(self._clock.position(now), max(0.2, level - DECODE_LEAD))

    def _alone(self, pipeline: Pipeline) -> bool:
        """Whether all of the feed's streams wait as this one, or a node owes what it waits for: the
        network, not the programme."""
        if pipeline.buffer.held_up:
            return True
        feed = next(f for f in self.feeds if any(s.index == pipeline.stream for s in f.streams))
        return all(self.pipelines[s.index].buffer.starving for s in feed.streams)

    def _ask(self, now: float, position: float) -> None:
        for feed in self.feeds:
            at = position if self._begun else self._newest(feed) - BEGIN_AT
            for request in feed.incoming.losses.requests(now, at):
                feed.ask(request)

    def _steer(self, now: float) -> None:
        levels = [self.level(feed) for feed in self.feeds]
        for feed, steering, level in zip(self.feeds, self._steerings, levels, strict=True):
            if feed.paused or not feed.all_sent(self._newest(feed)):
                steering.report(level, levels, now)
        follows = any(feed.live for feed in self.feeds) and self._writer is None
        if not follows or self.state is not State.PLAYING:
            return
        # A channel cannot be steered: our clock follows its sender's instead.
        wanted = max(self._capacity(feed) for feed in self.feeds)
        level = min(levels)
        smoothed, since = self._live_levels or (level, now)
        smoothed += (level - smoothed) * TICK / LIVE_LOOK
        if now - since >= LIVE_LOOK:
            since = now
            off = smoothed - wanted
            self._clock.shift(now, off if abs(off) > LIVE_SLACKNESS * wanted else 0.0)
        self._live_levels = (smoothed, since)

    def level(self, feed: Feed) -> float:
        """Seconds in the emptiest buffer of a feed's streams that are not silent; what came before
        it was due is not counted, as nodes may stop that at any time."""
        levels = [self.pipelines[s.index].buffer.level for s in feed.streams]
        level = max(levels) if levels and min(levels) == 0.0 else min(levels, default=0.0)
        now = self._loop.time()
        due = feed.due(now)
        return level if due is None else min(level, max(0.0, due - self._clock.position(now)))

    def _over(self, now: float, began: float | None) -> bool:
        position = self._clock.position(now)
        wanted = self._options.seconds
        if wanted is not None and began is not None and position - began >= wanted:
            return True
        if not self.feeds or not all(feed.ended(self._newest(feed)) for feed in self.feeds):
            return False
        if self.state is State.BUFFERING and not self._begun:
            return all(not len(p.buffer) for p in self.pipelines.values())
        drained = all(pipeline.drained for pipeline in self.pipelines.values())
        return drained and position >= max(p.newest for p in self.pipelines.values())

    # --- showing ------------------------------------------------------------------------------

    def _present(self, position: float) -> None:
        presenter = self._presenter
        assert presenter is not None
        if self.state in (State.PLAYING, State.PAUSED):
            for pipeline in self.pipelines.values():
                if pipeline.decoder is not None:
                    # The device plays sound some time after it is given.
                    ahead = 0.0 if pipeline.is_video else DECODE_LEAD
                    presenter.take(pipeline.decoder.due(position + ahead))
        for command in presenter.present(position, self._clock.running):
            self.command(command)

    # --- control ------------------------------------------------------------------------------

    async def _obey(self, command: Command) -> None:
        if any(feed.live for feed in self.feeds):
            self.remark("a channel cannot be paused or sought in")
            return
        if command is Command.PAUSE:
            await (self._go_on() if self.state is State.PAUSED else self._pause())
        elif command in (Command.BACK, Command.FORWARD):
            step = SEEK_STEP if command is Command.FORWARD else -SEEK_STEP
            await self.seek(self.position + step)

    async def _pause(self) -> None:
        """Stand still; servers go on until buffers are full, then they are paused too."""
        if self.state is State.PLAYING:
            self._clock.pause(self._loop.time())
            self.state = State.PAUSED
            await asyncio.gather(*(steering.hold() for steering in self._steerings))

    async def _go_on(self) -> None:
        await asyncio.gather(*(steering.release() for steering in self._steerings))
        self._clock.start(self._loop.time())
        self.state = State.PLAYING

    async def seek(self, seconds: float) -> None:
        """Go to another time of all titles."""
        duration = self.duration
        target = max(0.0, seconds if duration is None else min(seconds, duration - 1.0))
        self._clock.pause(self._loop.time())
        self.state = State.SEEKING
        try:
            for steering in self._steerings:
                steering.forget()
            await asyncio.gather(*(feed.seek(target) for feed in self.feeds))
        finally:
            now = self._loop.time()
            if self._presenter is not None:
                self._presenter.clear()
            self._clock.jump(now, target)
            self._begin(target)
