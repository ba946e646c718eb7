"""One channel by HLS: what its tap gives becomes a rendition, which requests ask and wait for."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import structlog

from heliograph.live.channel import Channel
from heliograph.live.hls_writer import LEARN_UNITS, Rhythm, Writer
from heliograph.live.readers import Reader, ReaderHooks
from heliograph.live.states import State
from heliograph.live.transcoding import Wish
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
    Variant,
    answer_part,
    answer_playlist,
    gaps_of,
    give_up_after,
    part_target,
)
from heliograph.protocols.hls.multivariant import render
from heliograph.protocols.hls.segmenter import EARLY
from heliograph.protocols.mp4 import writable

if TYPE_CHECKING:
    from heliograph.live.hls import Hls

log = structlog.get_logger(__name__)

#: Seconds after the last request until a channel's rendition is given up.
IDLE = 30.0
#: Wished seconds of a part and of a segment.
PART, SEGMENT = 0.2, 2.0
#: Seconds from when a segment may begin until a keyframe is asked for: publishers that send one
#: every two seconds by themselves are not bothered.
ASK_AFTER = 0.25
#: Microseconds after a keyframe at which the next one is asked for.
KEY_GAP = round((EARLY * SEGMENT + ASK_AFTER) * 1e6)
#: Seconds of segments listed.
WINDOW = 30.0
#: Bytes of media kept of one rendition with pictures.
MAX_BYTES = 32 << 20
#: Seconds of learning after which fewer units than ``LEARN_UNITS`` will do.
LEARN_SECONDS = 2.0
#: Seconds to wait for the first unit of sound that is made here.
SOUND_PATIENCE = 3.0
#: Units held while learning, and by the tap: a group of pictures of 20 s and its sound.
MAX_HELD = 4096
#: Seconds to wait for the first part.
FIRST_PATIENCE = 12.0
#: Peaks are said to be so much higher than they were seen: pictures may get busier.
PEAK = 1.5
#: Bits a second that every variant is said to have at least.
LEAST_PEAK = 200_000

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


def variant(
    rendition: Rendition,
    uri: str,
    peak: int,
    *,
    average: int = 0,
    gap: int = 0,
    sound: Sequence[str] = (),
    group: str = "",
) -> Variant:
    """How the multivariant playlist offers a rendition; ``sound``: codecs of the ``group``,
    ``gap``: microseconds between its pictures."""
    entries = rendition.entries
    picture = next((entry for entry in entries if entry.width), None)
    return Variant(
        uri,
        peak,
        [*(entry.codec for entry in entries), *sound],
        average=average,
        width=picture.width if picture else 0,
        height=picture.height if picture else 0,
        frame_rate=1e6 / gap if picture and gap else 0.0,
        audio=group,
    )


class Output(ReaderHooks):
    """One channel's rendition, from the first request to half a minute after the last."""

    def __init__(self, hls: Hls, channel: Channel) -> None:
        """Raises as ``carried`` does."""
        self.channel = channel
        self.name = secrets.token_hex(4)
        """Names it in URLs: another rendition of the channel never has the same ones."""
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
        self._keyed = 0  # when the last keyframe came, or was asked for, µs since 1970
        self._rhythm = Rhythm()
        self._writer: Writer | None = None
        self._news = asyncio.Event()
        self._asked = hls.clock()
        self._tap: Reader = channel.audience.add_tap(
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

    @property
    def layered(self) -> bool:
        """Whether it has renditions of several sizes."""
        return False

    @property
    def renditions(self) -> Sequence[Rendition]:
        """All there are; empty until the pictures' distance is known."""
        return () if self._writer is None else (self._writer.rendition,)

    def has(self, place: int) -> bool:
        """Whether there is, or will be, a rendition at this place."""
        return place == 0

    def pictures(self, place: int) -> bool:
        """Whether the rendition at this place has pictures."""
        return any(track.kind is Kind.VIDEO for track in self.channel.tracks)

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

    def state_changed(self, state: State) -> None:
        """Who waits for the first part is told that the source has gone."""
        self._tell()

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
        self._rhythm.learn((), self._lead.kind)
        self._restart()
        self._tell()

    def _restart(self) -> None:
        """What comes next are units of the tracks chosen now."""
        if self._writer is not None:
            self._writer.restart(self._tracks)

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
        if self.renditions:
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

    def _begin(self, shown: list[int]) -> None:
        rhythm = self._rhythm
        rhythm.learn(shown, self._lead.kind)
        # the last ones may lack pictures that are shown before them and still to come
        gaps = gaps_of(shown)[: max(1, len(shown) - 1 - rhythm.depth)]
        if len(gaps) > LEARN_UNITS // 2:  # one may be where a report set the source's clock right
            gaps.remove(max(gaps, key=lambda gap: abs(gap - rhythm.gap)))
        part = self._part([gap / 1e6 for gap in gaps])
        self._open(Targets(min(part, SEGMENT), SEGMENT))
        held, self._held = self._held, []
        for item in held:
            self._push(item)

    def _part(self, gaps: Sequence[float]) -> float:
        """Seconds of a part of pictures that come at such distances."""
        return part_target(PART, gaps)

    def _open(self, targets: Targets) -> None:
        rendition = Rendition(self._tracks, targets, window=WINDOW, max_bytes=MAX_BYTES)
        self._writer = Writer(rendition, self._tracks, self._rhythm)

    def _push(self, item: TapItem) -> None:
        assert self._writer is not None
        if item.epoch != self._epoch:
            if self._epoch is not None:
                self._writer.restart()
            self._epoch = item.epoch
        if self._writer.push(item):
            self._tell()
        if item.track == self._lead.id and self._lead.kind is Kind.VIDEO:
            self._conduct_picture(item)

    def _conduct_picture(self, item: TapItem) -> None:
        """Ask for a keyframe where a segment is to begin: browsers send none by themselves, and
        nobody can begin to play without."""
        if item.flags & TapFlag.KEYFRAME:
            self._keyed = item.time
        elif item.time - self._keyed >= KEY_GAP:
            self._keyed = item.time
            self.ask()

    def ask(self) -> None:
        """Ask for a keyframe."""
        self.channel.plane.want_keyframe(self.channel.plane_channel, self._lead.id)

    # --- what viewers ask for -----------------------------------------------------------------

    async def index(self, suffix: str = "") -> str:
        """The multivariant playlist; ``suffix``: what to add to the media playlists' addresses."""
        rendition = await self._first(0)
        # For choosing among variants, and there is but one.
        peak = max(round(self.channel.bitrate * PEAK), LEAST_PEAK)
        uri = f"{self.name}/media.m3u8{suffix}"
        return render([variant(rendition, uri, peak, gap=self._rhythm.gap)])

    async def playlist(self, directives: Directives, place: int = 0, suffix: str = "") -> str:
        """A media playlist, once it has what is asked for; ``suffix`` as above, for the others."""
        rendition = await self._asked_for(directives, place)
        return rendition.playlist.render(skip=directives.skip)

    async def _asked_for(self, directives: Directives, place: int) -> Rendition:
        """A rendition once its playlist has what is asked for."""
        rendition = await self._first(place, whole=directives.msn is None)
        playlist = rendition.playlist
        await self._until(lambda waited: answer_playlist(playlist, directives, waited))
        return rendition

    async def resource(self, name: str, place: int = 0) -> bytes:
        """An initialization segment, a part or a segment; the part hinted at is waited for."""
        rendition = await self._first(place)
        match = _PART.fullmatch(name)
        if match is not None:
            msn, index = int(match[1]), int(match[2])
            playlist = rendition.playlist
            await self._until(lambda waited: answer_part(playlist, msn, index, waited))
        data = rendition.resource(name)
        if data is None:
            raise NotFoundError(f"{name[:80]!r} is not there, or not any more", subject=name[:80])
        return data

    async def _first(self, place: int, *, whole: bool = False) -> Rendition:
        """Wait for a rendition's first part, or its first whole segment.

        Players that know nothing of parts take a playlist without segments for an empty one.
        """

        def look(waited: float) -> Answer:
            if self.renditions:
                if place >= len(self.renditions):
                    return Answer.GONE
                playlist = self.renditions[place].playlist
                if playlist.last_part is not None and (
                    not whole or playlist.first_msn < playlist.next_part[0]
                ):
                    return Answer.NOW
            if self.channel.state is not State.ON_AIR:
                return Answer.BUSY if self.channel.lately_on_air else Answer.GONE
            return Answer.BUSY if waited >= FIRST_PATIENCE else Answer.WAIT

        await self._until(look)
        return self.renditions[place]

    async def _until(self, look: Callable[[float], Answer], patience: Sequence[float] = ()) -> None:
        """Wait until ``look``, given the seconds waited, has an answer; ``patience``: after how
        many it may have one without news, where that is sooner than usual."""
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
            until = FIRST_PATIENCE
            if self.renditions:
                until = give_up_after(self.renditions[0].playlist)
            until = next((one for one in patience if waited < one), until)
            with self._hls.waiting():
                try:
                    async with asyncio.timeout(max(0.01, until - waited)):
                        await self._news.wait()
                except TimeoutError:
                    continue
