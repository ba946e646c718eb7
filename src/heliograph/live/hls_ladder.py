"""A channel in several sizes by HLS: a rendition for each of its publisher's layers, one for sound.

The first picture is the channel's own, the best layer that comes; the others are those below it.
All begin their segments together (``protocols.hls.beats``), at keyframes that are asked for, so
that players change between them at any segment. A publisher without layers that follows fills all
of them with its one picture.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING

import structlog

from heliograph.live.channel import Channel
from heliograph.live.hls_output import (
    ASK_AFTER,
    LEAST_PEAK,
    MAX_BYTES,
    MAX_HELD,
    PEAK,
    WINDOW,
    Output,
    variant,
)
from heliograph.live.hls_writer import Writer
from heliograph.live.layers import Layers, Lower
from heliograph.live.publish import Publishing
from heliograph.live.states import State
from heliograph.model.errors import IncompatibleError
from heliograph.model.media import Kind, Track
from heliograph.plane.types import TapItem
from heliograph.protocols.hls import Answer, Audio, Beats, Directives, Rendition, Targets
from heliograph.protocols.hls.multivariant import render
from heliograph.protocols.hls.segmenter import LEAST

if TYPE_CHECKING:
    from heliograph.live.hls import Hls

log = structlog.get_logger(__name__)

#: Renditions of the picture, and so of a publisher's layers: browsers send three at most.
MAX_PICTURES = 3
#: Bytes of sound kept: half a minute at a megabit a second, listed and not listed any more.
MAX_SOUND_BYTES = 4 << 20
#: Seconds for which the multivariant playlist waits for the pictures beside the first, and for the
#: sound: its process may have to start, and who is not told of it never hears any.
COMPANY, SOUND_COMPANY = 3.0, 10.0
#: Browsers take pictures when the camera has them: so much more than the usual distance is common,
#: and a part must have room for it in its last 15 %.
UNEVEN = 1.25
#: Name of the group of sound.
SOUND = "sound"


@dataclass(slots=True)
class _Picture:
    """A rendition below the best."""

    below: int
    """Places below it."""
    lower: Lower | None = None
    """What feeds it; None: the channel's own picture does."""
    held: list[TapItem] = field(default_factory=list)
    """Units that came before the first rendition began."""


class Ladder(Output):
    """One channel's renditions, from the first request to half a minute after the last."""

    def __init__(self, hls: Hls, channel: Channel) -> None:
        """Raises as ``Output``, and ``IncompatibleError`` without a picture."""
        self._writers: list[Writer] = []  # the pictures', best first, then the sound's
        self._feeding: Publishing | None = channel.active
        layers = self._layers
        count = min(MAX_PICTURES, layers.count if layers else 1)
        self._lowers = [_Picture(below) for below in range(1, count)]
        self._beats: Beats | None = None
        self._keyed = 0  # the number whose keyframes were asked for
        self._broken = 0  # discontinuities at which they were
        super().__init__(hls, channel)
        self._feed()

    @property
    def _layers(self) -> Layers | None:
        return None if self._feeding is None else self._feeding.layers

    @property
    def layered(self) -> bool:
        return True

    @property
    def renditions(self) -> Sequence[Rendition]:
        return [writer.rendition for writer in self._writers]

    def has(self, place: int) -> bool:
        # Whether there is sound beside the pictures is known once they have begun.
        return place < (len(self._writers) or len(self._lowers) + 2)

    def pictures(self, place: int) -> bool:
        return place <= len(self._lowers)

    # --- what feeds it ------------------------------------------------------------------------

    def _choose(self) -> None:
        super()._choose()
        sound = len(self._tracks) > 1
        if self._lead.kind is not Kind.VIDEO:
            raise IncompatibleError("no picture any more", subject=self._lead.codec.value)
        if self._writers and sound and len(self._writers) == len(self._lowers) + 1:
            raise IncompatibleError("there is sound now", subject=self._tracks[-1].codec.value)

    def _feed(self) -> None:
        """Let the publisher's layers feed the renditions below the best."""
        for picture in self._lowers:
            if picture.lower is not None:
                picture.lower.close()
                picture.lower = None
            picture.held.clear()
            if self._layers is None or self.ended:
                continue
            try:
                ready = functools.partial(self._read, picture)
                picture.lower = self._layers.open(picture.below, ready, MAX_HELD)
            except KeyError:  # it has gone already; the next one may have layers again
                log.info("hls layer gone", channel=self.channel.name, below=picture.below)

    def end(self, reason: str) -> None:
        super().end(reason)
        for picture in self._lowers:
            if picture.lower is not None:
                picture.lower.close()
                picture.lower = None
            picture.held.clear()

    def ready(self) -> None:
        active = self.channel.active
        if active is not None and active is not self._feeding and not self.ended:
            self._feeding = active
            self._feed()
        super().ready()
        for picture in self._lowers:
            self._read(picture)
        self._catch_up()

    def _restart(self) -> None:
        for writer in self._writers:
            kind = writer.tracks[0].kind
            tracks = [track for track in self._tracks if track.kind is kind]
            if tracks:  # else its sound is missing from now on
                writer.restart(tracks)

    # --- units --------------------------------------------------------------------------------

    def _part(self, gaps: Sequence[float]) -> float:
        return max(super()._part(gaps), UNEVEN * median(gaps) / (1 - LEAST) if gaps else 0.0)

    def _open(self, targets: Targets) -> None:
        beats = self._beats = Beats(targets)

        def writer(track: Track, max_bytes: int) -> Writer:
            rendition = Rendition([track], targets, window=WINDOW, max_bytes=max_bytes, beats=beats)
            return Writer(rendition, [track], self._rhythm)

        self._writers = [writer(self._lead, MAX_BYTES) for _ in range(len(self._lowers) + 1)]
        self._writers += [writer(track, MAX_SOUND_BYTES) for track in self._tracks[1:]]

    def _begin(self, shown: list[int]) -> None:
        super()._begin(shown)
        for picture in self._lowers:
            held, picture.held = picture.held, []
            for item in held:
                self._write(picture.below, item)

    def _read(self, picture: _Picture) -> None:
        while picture.lower is not None:
            items, lost = picture.lower.read()
            self.lost += lost
            if not items:
                return
            for item in items:
                if self._writers:
                    self._write(picture.below, item)
                elif len(picture.held) < MAX_HELD:
                    picture.held.append(item)

    def _push(self, item: TapItem) -> None:
        if item.epoch != self._epoch:
            if self._epoch is not None:
                self._writers[0].interrupt(item.time)
                for writer in self._writers[len(self._lowers) + 1 :]:
                    writer.interrupt(item.time)
            self._epoch = item.epoch
        if item.track != self._lead.id:
            if len(self._writers) > len(self._lowers) + 1:
                self._write(-1, item)
            return
        self._write(0, item)
        for picture in self._lowers:
            if picture.lower is None:
                self._write(picture.below, item)
        self._conduct()

    def _write(self, place: int, item: TapItem) -> None:
        writer = self._writers[place]
        if item.track == writer.tracks[0].id and writer.push(item):
            self._tell()

    def _conduct(self) -> None:
        """Ask for keyframes where segments are to begin."""
        beats = self._beats
        assert beats is not None
        number = beats.latest + 1
        due = beats.due(number)
        if beats.broken != self._broken or (
            number != self._keyed and due is not None and self._writers[0].now >= due + ASK_AFTER
        ):
            self._broken, self._keyed = beats.broken, number
            self.ask()

    def _catch_up(self) -> None:
        """Who has missed a whole segment, while others went on, lists it as missing."""
        if self._beats is None or not self._writers:
            return
        wall = self._writers[0].rendition.playlist.edge
        for writer in self._writers:
            if writer.rendition.skip(self._beats.latest - 1, wall):
                self._tell()

    def ask(self) -> None:
        """Ask for a keyframe of each picture."""
        layers = self._layers
        if layers is None:
            super().ask()
            return
        layers.ask(self.channel.plane_channel)
        for picture in self._lowers:
            if picture.lower is not None:
                layers.ask(picture.lower.channel)

    # --- what viewers ask for -----------------------------------------------------------------

    def _uri(self, place: int, suffix: str) -> str:
        return f"{self.name}-{place}/media.m3u8{suffix}"

    async def index(self, suffix: str = "") -> str:
        await self._first(0)

        def look(waited: float) -> Answer:
            begun = [rendition.playlist.last_part is not None for rendition in self.renditions]
            pictures, sound = begun[: len(self._lowers) + 1], begun[len(self._lowers) + 1 :]
            there = (all(pictures) or waited >= COMPANY) and (all(sound) or waited >= SOUND_COMPANY)
            on_air = self.channel.state is State.ON_AIR
            return Answer.NOW if there or not on_air else Answer.WAIT

        await self._until(look, (COMPANY, SOUND_COMPANY))
        return self._listed(suffix)

    def _listed(self, suffix: str) -> str:
        pictures = self._writers[: len(self._lowers) + 1]
        groups, codecs, extra = [], [], (0, 0)
        for place, writer in enumerate(self._writers[len(pictures) :], len(pictures)):
            rendition = writer.rendition
            if rendition.playlist.last_part is None:
                continue  # what was said to come did not
            codecs += [entry.codec for entry in rendition.entries]
            extra = rendition.rates
            channels = writer.tracks[0].channels or 0
            groups.append(Audio(self._uri(place, suffix), "Sound", SOUND, channels=channels))
        variants, sizes = [], set()
        for place, writer in enumerate(pictures):
            rendition = writer.rendition
            peak, average = rendition.rates
            made = variant(
                rendition,
                self._uri(place, suffix),
                max(round((peak + extra[0]) * PEAK), LEAST_PEAK),
                average=average + extra[1],
                gap=writer.gap,
                sound=codecs,
                group=SOUND if groups else "",
            )
            # One that nothing else comes for shows what another does.
            if rendition.entries and (made.width, made.height) not in sizes:
                sizes.add((made.width, made.height))
                variants.append(made)
        return render(variants, groups)

    async def playlist(self, directives: Directives, place: int = 0, suffix: str = "") -> str:
        rendition = await self._asked_for(directives, place)
        others = [
            other.report(f"../{self._uri(at, suffix)}")
            for at, other in enumerate(self.renditions)
            if other is not rendition
        ]
        return rendition.playlist.render(
            skip=directives.skip, reports=[report for report in others if report is not None]
        )
