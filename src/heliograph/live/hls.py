"""Low-latency HLS of channels, made on demand.

The first request for a channel taps its frames; the last one was half a minute ago, and the tap is
gone. All viewers share one rendition of picture and sound together, and what it keeps is bounded.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import structlog

from heliograph.live.channel import Channel
from heliograph.live.hls_viewers import HlsViewers
from heliograph.live.readers import Reader, ReaderHooks
from heliograph.live.states import State
from heliograph.live.transcoding import Transcodes, Wish
from heliograph.model.errors import (
    BusyError,
    HelioError,
    IncompatibleError,
    MalformedError,
    NotFoundError,
)
from heliograph.model.media import Codec, Kind, Track
from heliograph.plane.types import TapFlag, TapItem
from heliograph.protocols.hls import (
    Answer,
    Directives,
    Rendition,
    Targets,
    Timing,
    Variant,
    answer_part,
    answer_playlist,
    gaps_of,
    give_up_after,
    part_target,
    reorder_depth,
    usual,
)
from heliograph.protocols.hls.multivariant import render
from heliograph.protocols.mp4 import TimedUnit, writable

log = structlog.get_logger(__name__)

#: Seconds after the last request until a channel's rendition is given up.
IDLE = 30.0
#: Wished seconds of a part and of a segment.
PART, SEGMENT = 0.2, 2.0
#: Seconds of segments listed.
WINDOW = 30.0
#: Bytes of media kept for one channel.
MAX_BYTES = 32 << 20
#: Channels that have a rendition at once.
MAX_OUTPUTS = 64
#: Requests that wait at once, of all channels.
MAX_WAITING = 2000
#: Units of the leading track by which the distance of pictures and their order are learnt, and the
#: seconds after which fewer will do.
LEARN_UNITS, LEARN_SECONDS = 17, 2.0
#: Seconds to wait for the first unit of sound that is made here.
SOUND_PATIENCE = 3.0
#: Units held while learning, and by the tap: a group of pictures of 20 s and its sound.
MAX_HELD = 4096
#: Seconds to wait for the first part.
FIRST_PATIENCE = 12.0
#: Microseconds before the first unit at which the clock of the files is 0: reordered pictures are
#: decoded before they are shown.
MARGIN = 10_000_000

_PART = re.compile(r"p([0-9]{1,18})\.([0-9]{1,9})\.m4s", re.ASCII)


def carried(tracks: Sequence[Track], derived: Sequence[Track] = ()) -> tuple[Track, ...]:
    """The first track of video and the first of audio, if files can carry them.

    Sound is AAC, which every player takes: as it came, or made of what came (``derived``). Without
    either it is what came if files can carry it, and is left out where there is a picture. Raises
    ``NotFoundError`` where there are no tracks, ``IncompatibleError`` where the picture, or all
    there is, does not fit.
    """
    sound = [track for track in (*tracks, *derived) if track.kind is Kind.AUDIO]
    video = next((track for track in tracks if track.kind is Kind.VIDEO), None)
    audio = next((track for track in sound if track.codec is Codec.AAC), next(iter(sound), None))
    chosen = video, audio
    lead = video or audio
    if lead is None:
        raise NotFoundError("nothing to see or hear on air yet")
    if not writable(lead.codec):
        raise IncompatibleError(
            f"HLS cannot carry {lead.codec.value}: watch by another way", subject=lead.codec.value
        )
    return tuple(track for track in chosen if track is not None and writable(track.codec))


class Output(ReaderHooks):
    """One channel's rendition, from the first request to half a minute after the last."""

    def __init__(self, hls: Hls, channel: Channel) -> None:
        """Raises as ``carried`` does."""
        self.channel = channel
        self.name = secrets.token_hex(4)
        """Names it in URLs: another rendition of the channel never has the same ones."""
        self.rendition: Rendition | None = None
        """None until the pictures' distance is known."""
        self.ended = False
        self.lost = 0
        """Units lost as the event loop was late."""
        self._hls = hls
        self._tracks: tuple[Track, ...] = ()
        self._layout = channel.tracks
        self._wish: Wish | None = None
        self._choose()
        self._held: list[TapItem] = []
        self._held_since = hls.clock()
        self._epoch: int | None = None
        self._origin: int | None = None
        self._timings: dict[int, Timing] = {}
        self._depth, self._gap = 0, 0
        self._ahead = 0  # seconds, in µs, by which key units are decoded before they are shown
        self._news = asyncio.Event()
        self._asked = hls.clock()
        self._tap: Reader = channel.add_tap(
            hooks=self, frames=True, capacity=MAX_HELD, of=lambda: self._tracks
        )
        self._tap.start()
        self._timer = asyncio.get_running_loop().call_later(IDLE, self._look)

    def _choose(self) -> None:
        """Choose the tracks, and have sound made where they need it; raises as ``carried``."""
        channel, old = self.channel, self._wish
        self._wish = None
        try:
            self._tracks = carried(channel.tracks, channel.derived)
            made = next((track for track in self._tracks if track in channel.derived), None)
            if made is not None:
                try:
                    self._wish = self._hls.transcodes.want(channel, made)
                except BusyError as error:
                    log.warning("hls without AAC", channel=channel.name, reason=error.message)
                    self._tracks = carried(channel.tracks)
        finally:
            if old is not None:
                old.leave()

    @property
    def _lead(self) -> Track:
        return self._tracks[0]

    # --- life ---------------------------------------------------------------------------------

    def touch(self) -> None:
        """Somebody asked."""
        self._asked = self._hls.clock()

    def _look(self) -> None:
        rest = self._asked + IDLE - self._hls.clock()
        if rest <= 0:
            self.end("nobody asks")
        else:
            self._timer = asyncio.get_running_loop().call_later(rest, self._look)

    def end(self, reason: str) -> None:
        """Give it up; who waits is told."""
        if self.ended:
            return
        self.ended = True
        self._timer.cancel()
        if not self._tap.closed:
            self._tap.remove()
        if self._wish is not None:
            self._wish.leave()
        self._held.clear()
        self._hls.forget(self)
        self._tell()
        log.info("hls stopped", channel=self.channel.name, reason=reason, lost=self.lost)

    def closed(self, reason: str) -> None:
        self.end(reason)

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    # --- units --------------------------------------------------------------------------------

    def tracks_changed(self, tracks: tuple[Track, ...]) -> None:
        self._relayout(tracks)

    def _relayout(self, tracks: tuple[Track, ...]) -> None:
        self._layout = tracks
        try:
            self._choose()
        except HelioError as error:
            self.end(error.message)
            return
        self._held.clear()
        self._held_since = self._hls.clock()
        if self.rendition is not None:
            self.rendition.restart(self._tracks)
        self._timings.clear()
        self._learnt(())
        self._tell()

    def ready(self) -> None:
        if self.ended:
            return
        if self.channel.tracks != self._layout:  # only format parameters, which nobody tells
            self._relayout(self.channel.tracks)
        while not self.ended:
            items, lost = self.channel.plane.read_tap(self._tap.plane_reader)
            self.lost += lost
            if not items:
                return
            for raw in items:
                self._take(TapItem(*raw))

    def _take(self, item: TapItem) -> None:
        if all(track.id != item.track for track in self._tracks):
            return
        if self.rendition is not None:
            self._push(item)
            return
        if self._held and self._held[-1].epoch != item.epoch:
            self._held.clear()
        self._held.append(item)
        shown = [one.time for one in self._held if one.track == self._lead.id]
        waited = self._hls.clock() - self._held_since
        if self._wish is not None and waited < SOUND_PATIENCE and len(self._held) < MAX_HELD:
            sound = self._tracks[-1].id  # its process may have to start
            if all(one.track != sound for one in self._held):
                return
        if (
            len(shown) >= LEARN_UNITS
            or (waited >= LEARN_SECONDS and len(shown) > 1)
            or len(self._held) >= MAX_HELD
        ):
            self._begin(shown)

    def _learnt(self, shown: tuple[int, ...] | list[int]) -> None:
        """Reordering and distance of the leading track's units."""
        self._depth = reorder_depth(shown) if self._lead.kind is Kind.VIDEO else 0
        self._gap = usual(gaps_of(shown), 40_000)

    def _begin(self, shown: list[int]) -> None:
        self._learnt(shown)
        # the last ones may lack pictures that are shown before them and still to come
        gaps = gaps_of(shown)[: max(1, len(shown) - 1 - self._depth)]
        if len(gaps) > LEARN_UNITS // 2:  # one may be where a report set the source's clock right
            gaps.remove(max(gaps, key=lambda gap: abs(gap - self._gap)))
        part = min(part_target(PART, [gap / 1e6 for gap in gaps]), SEGMENT)
        self.rendition = Rendition(
            self._tracks, Targets(part, SEGMENT), window=WINDOW, max_bytes=MAX_BYTES
        )
        held, self._held = self._held, []
        for item in held:
            self._push(item)

    def _push(self, item: TapItem) -> None:
        assert self.rendition is not None
        if item.epoch != self._epoch:
            if self._epoch is not None:
                self.rendition.restart()
                self._timings.clear()
            self._epoch = item.epoch
        track = next(track for track in self._tracks if track.id == item.track)
        if self._origin is None:
            self._origin = item.time - MARGIN
        timing = self._timings.get(track.id) or self._timing(track, item.time)
        decoded, shown = timing.times(item.time)
        lead = track is self._lead
        key = track.kind is not Kind.VIDEO or bool(item.flags & TapFlag.KEYFRAME)
        if lead and key:
            self._ahead = round((shown - decoded) * 1e6 / track.clock_rate)
        wall = self._origin + round(decoded * 1e6 / track.clock_rate) + self._ahead
        if self.rendition.push(TimedUnit(track.id, decoded, shown, key, item.data), wall):
            self._tell()

    def _timing(self, track: Track, first: int) -> Timing:
        assert self._origin is not None
        gap = round(self._gap * track.clock_rate / 1e6)
        depth = self._depth if track.kind is Kind.VIDEO else None
        timing = Timing(track.clock_rate, self._origin, first, gap=gap, depth=depth)
        self._timings[track.id] = timing
        return timing

    # --- what viewers ask for -----------------------------------------------------------------

    async def index(self, suffix: str = "") -> str:
        """The multivariant playlist; ``suffix``: what to add to the media playlist's address."""
        rendition = await self._first()
        entries = rendition.entries
        picture = next((entry for entry in entries if entry.width), None)
        # A generous peak: it is for choosing among variants, and there is but one.
        peak = max(self.channel.bitrate * 3 // 2, 200_000)
        variant = Variant(
            f"{self.name}/media.m3u8{suffix}",
            peak,
            [entry.codec for entry in entries],
            width=picture.width if picture else 0,
            height=picture.height if picture else 0,
            frame_rate=1e6 / self._gap if picture and self._gap else 0.0,
        )
        return render([variant])

    async def playlist(self, directives: Directives) -> str:
        """The media playlist, once it has what is asked for."""
        rendition = await self._first(whole=directives.msn is None)
        playlist = rendition.playlist
        await self._until(lambda waited: answer_playlist(playlist, directives, waited))
        return playlist.render(skip=directives.skip)

    async def resource(self, name: str) -> bytes:
        """An initialization segment, a part or a segment; the part hinted at is waited for."""
        rendition = await self._first()
        match = _PART.fullmatch(name)
        if match is not None:
            msn, index = int(match[1]), int(match[2])
            playlist = rendition.playlist
            await self._until(lambda waited: answer_part(playlist, msn, index, waited))
        data = rendition.resource(name)
        if data is None:
            raise NotFoundError(f"{name[:80]!r} is not there, or not any more", subject=name[:80])
        return data

    async def _first(self, *, whole: bool = False) -> Rendition:
        """Wait for the first part, or the first whole segment.

        Players that know nothing of parts take a playlist without segments for an empty one.
        """

        def look(waited: float) -> Answer:
            last = None if self.rendition is None else self.rendition.playlist.last_part
            if self.rendition is not None and last is not None:
                playlist = self.rendition.playlist
                if not whole or playlist.first_msn < playlist.next_part[0]:
                    return Answer.NOW
            if self.channel.state is not State.ON_AIR:
                return Answer.GONE
            return Answer.BUSY if waited >= FIRST_PATIENCE else Answer.WAIT

        await self._until(look)
        assert self.rendition is not None
        return self.rendition

    async def _until(self, look: Callable[[float], Answer]) -> None:
        began = self._hls.clock()
        while True:
            self.touch()
            waited = self._hls.clock() - began
            answer = Answer.GONE if self.ended else look(waited)
            match answer:
                case Answer.NOW:
                    return
                case Answer.BAD:
                    raise MalformedError("hls", "too far ahead")
                case Answer.GONE:
                    raise NotFoundError(
                        f"channel {self.channel.name!r} has nothing of this now",
                        subject=self.channel.name,
                    )
                case Answer.BUSY:
                    self._hls.counters["hls_timeouts"] += 1
                    raise BusyError(
                        "it should have come by now", subject=self.channel.name, retry_after=1
                    )
            # The whole wait at once: nothing but news, or the time, changes the answer.
            patience = FIRST_PATIENCE
            if self.rendition is not None:
                patience = give_up_after(self.rendition.playlist)
            with self._hls.waiting():
                try:
                    async with asyncio.timeout(max(0.01, patience - waited)):
                        await self._news.wait()
                except TimeoutError:
                    continue


class _Place:
    """One of the requests that wait."""

    def __init__(self, hls: Hls) -> None:
        self._hls = hls

    def __enter__(self) -> None:
        if self._hls.held >= MAX_WAITING:
            self._hls.counters["hls_refused"] += 1
            raise BusyError("too many requests wait", subject="hls", retry_after=1)
        self._hls.held += 1

    def __exit__(self, *_: object) -> None:
        self._hls.held -= 1


class Hls:
    """The renditions of all channels."""

    def __init__(
        self,
        transcodes: Transcodes | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``clock``: seconds of any origin."""
        self.transcodes = Transcodes() if transcodes is None else transcodes
        """Makes sound that players take."""
        self.clock = clock
        self.viewers = HlsViewers(clock=clock)
        """Who watches."""
        self.held = 0
        """Requests that wait now."""
        self.counters = Counter(hls_started=0, hls_refused=0, hls_timeouts=0)
        """For the metrics."""
        self._outputs: dict[str, Output] = {}
        self._closed = False

    def __iter__(self) -> Iterator[Output]:
        return iter(list(self._outputs.values()))

    def __len__(self) -> int:
        return len(self._outputs)

    def open(self, channel: Channel) -> Output:
        """The channel's rendition, started if there is none.

        Raises ``NotFoundError``, ``IncompatibleError`` or ``BusyError``.
        """
        found = self._outputs.get(channel.name)
        if found is not None:
            found.touch()
            return found
        if channel.state is not State.ON_AIR or channel.closed:
            raise NotFoundError(f"channel {channel.name!r} is not on air", subject=channel.name)
        if self._closed or len(self._outputs) >= MAX_OUTPUTS:
            self.counters["hls_refused"] += 1
            raise BusyError("too many channels are sent by HLS", subject="hls", retry_after=5)
        output = Output(self, channel)
        self._outputs[channel.name] = output
        self.counters["hls_started"] += 1
        log.info("hls started", channel=channel.name)
        return output

    def find(self, channel: Channel, name: str) -> Output:
        """The rendition of this name; ``NotFoundError`` where it was given up."""
        found = self._outputs.get(channel.name)
        if found is None or found.name != name:
            raise NotFoundError("this rendition has ended: ask for index.m3u8", subject=name[:80])
        found.touch()
        return found

    def forget(self, output: Output) -> None:
        """It ended."""
        if self._outputs.get(output.channel.name) is output:
            del self._outputs[output.channel.name]

    def waiting(self) -> _Place:
        """A place among the requests that wait; ``BusyError`` where there is none."""
        return _Place(self)

    def close(self) -> None:
        """End all."""
        self._closed = True
        self.viewers.close()
        for output in self:
            output.end("server stopping")
