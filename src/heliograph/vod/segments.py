"""How a title is cut for browsers: renditions, segments, playlists. Pure, without reading a block.

Pictures are cut at key units, near every four seconds: each segment can be played without another.
Sound of its own playlist is cut evenly, at whole frames. All of it follows from the manifest, and
what is added to a title that is being recorded changes nothing of what was cut before; so every
node names the same segments. See ``docs/wire/hls.md``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from heliograph.model.errors import IncompatibleError, NotFoundError
from heliograph.model.media import Codec, Kind, Track
from heliograph.protocols.hls import Audio, Variant
from heliograph.protocols.hls.multivariant import render as render_index
from heliograph.protocols.hls.ondemand import Listing, target_of
from heliograph.protocols.mp4 import Entry, writable
from heliograph.vod.manifest import KeyPoint, Manifest, TitleTrack

#: µs between cuts that are aimed at, and that there are at least: seeks go to the begin of a
#: segment, and each is a request.
WISHED = 4_000_000
LEAST = 2_000_000
#: µs of a segment at most; where no key unit comes it is cut elsewhere, and players that enter
#: there begin with the next one. Encoders that are left alone write a key every 10 s.
LONGEST = 30_000_000
#: µs that a segment is said to last at least, whatever a title says of its times.
SHORTEST = 1_000
#: Seconds of the target duration at least, the same for most titles: while one is recorded it must
#: not change, and nobody knows what comes.
TARGET = 6
#: Bits a second that every variant is said to have at least.
LEAST_PEAK = 100_000
#: Boxes and sizes beside the media, at most a share of it.
OVERHEAD = 1.02
#: Of all sound there is; players choose by language.
SOUND = "sound"
#: Frames of codecs that have one length, in samples.
_FRAMES = {Codec.AAC: 1024, Codec.AAC_LATM: 1024, Codec.OPUS: 960}
#: Renditions of a title at most; names have two digits.
MAX_RENDITIONS = 100


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of media time of a rendition."""

    start_us: int
    """Units due from then on are in it; µs of media time."""
    end_us: int | None
    """Units due from then on are in the next one; None: it goes to the title's end."""
    duration_us: int
    """How long it is shown."""
    blocks: range
    """Which hold its packets."""


@dataclass(frozen=True, slots=True)
class Rendition:
    """What has a media playlist: pictures, sound, or both."""

    name: str
    """In addresses; another object never has the same."""
    tracks: tuple[TitleTrack, ...]
    """The first leads."""
    segments: tuple[Segment, ...] = field(repr=False)
    independent: bool
    """Whether each segment begins with a key unit."""

    @property
    def lead(self) -> Track:
        """What it is cut by."""
        return self.tracks[0].track

    @property
    def media(self) -> tuple[Track, ...]:
        """As depacketizers and muxer take them."""
        return tuple(one.track for one in self.tracks)

    @property
    def pictures(self) -> bool:
        """Whether there is something to see."""
        return self.lead.kind is Kind.VIDEO


@dataclass(frozen=True, slots=True)
class Plan:
    """A title as its playlists have it."""

    manifest: Manifest = field(repr=False)
    variants: tuple[Rendition, ...]
    """To choose one of: pictures, the best first, or the only sound."""
    sounds: tuple[Rendition, ...]
    """That go with pictures; empty where the sound is in the pictures' segments."""
    target: int
    """TARGETDURATION of all playlists, seconds."""

    def find(self, name: str) -> Rendition:
        """A rendition by its name; ``NotFoundError``."""
        for one in (*self.variants, *self.sounds):
            if one.name == name:
                return one
        raise NotFoundError("no such rendition: ask for index.m3u8", subject=name[:80])

    def listing(self, rendition: Rendition) -> Listing:
        """A rendition for its media playlist; ``NotFoundError`` while it has no segment."""
        if not rendition.segments:
            title = self.manifest.name
            raise NotFoundError(f"nothing of title {title!r} is there yet", subject=title)
        return Listing(
            [one.duration_us for one in rendition.segments],
            self.target,
            ended=not self.manifest.live,
            independent=rendition.independent,
        )


def plan(manifest: Manifest, known: Plan | None = None) -> Plan:
    """Cut a title. ``known``: what was cut of it before, which stays as it is.

    Raises ``IncompatibleError`` where nothing of it can be carried by MP4, or its pictures cannot,
    and ``NotFoundError`` for a title without blocks.
    """
    if not manifest.blocks:
        raise NotFoundError(f"title {manifest.name!r} is empty", subject=manifest.name)
    video = sorted(_of(manifest, Kind.VIDEO), key=lambda one: one.rendition)
    sound = _of(manifest, Kind.AUDIO)
    pictures = [one for one in video if writable(one.track.codec)]
    heard = [one for one in sound if writable(one.track.codec)]
    if (video and not pictures) or not (pictures or heard):
        codec = next((one.track.codec.value for one in video or sound), "nothing")
        raise IncompatibleError(f"HLS cannot carry {codec}: watch by RTSP", subject=manifest.name)
    prefix = f"t{manifest.object[:12]}"
    if len(pictures) == 1 and len(heard) <= 1:
        groups = [(pictures[0], *heard)]
    else:
        groups = [(one,) for one in (*pictures, *heard)]
    made = [
        _rendition(manifest, f"{prefix}-{number}", tracks, known)
        for number, tracks in enumerate(groups[:MAX_RENDITIONS])
    ]
    lengths = [one.duration_us for rendition in made for one in rendition.segments]
    chosen = len(pictures) or len(made)
    return Plan(manifest, tuple(made[:chosen]), tuple(made[chosen:]), target_of(lengths, TARGET))


def _of(manifest: Manifest, kind: Kind) -> list[TitleTrack]:
    return [one for one in manifest.tracks if one.track.kind is kind and one.packets]


# --- cuts ---------------------------------------------------------------------------------------


def _rendition(
    manifest: Manifest, name: str, tracks: tuple[TitleTrack, ...], known: Plan | None
) -> Rendition:
    lead, end = tracks[0].track, _end(manifest)
    keys = [one for one in manifest.keys if one.track == lead.id]
    if lead.kind is not Kind.VIDEO or not keys:
        whole = _segments(_even(lead, end), manifest)
        return Rendition(name, tracks, whole, lead.kind is not Kind.VIDEO)
    before = () if known is None else _listed(known, name)
    dues = [one.due_us for one in keys]
    at = bisect_left(dues, before[-1].end_us) if before and before[-1].end_us else 0
    if before and (at >= len(dues) or dues[at] != before[-1].end_us):
        before, at = (), 0
    chosen = _chosen(keys, dues, at, end)
    # Slides stand for minutes: a segment without one would show nothing.
    dense = tracks[0].units * LONGEST >= 2 * end
    points = _split(chosen, end) if dense else chosen
    independent = len(points) == len(chosen)
    made = _segments(points, manifest, begin=0 if not before else points[0][0])
    return Rendition(name, tracks, (*before, *made), independent)


def _listed(known: Plan, name: str) -> tuple[Segment, ...]:
    """Segments of a rendition that begin and end with key units: they stay whatever comes."""
    for one in (*known.variants, *known.sounds):
        if one.name == name and one.independent and known.manifest.live:
            return one.segments
    return ()


def _chosen(
    keys: Sequence[KeyPoint], dues: Sequence[int], at: int, end: int
) -> list[tuple[int, int]]:
    """Where to cut, from key unit ``at`` on: due and shown, µs.

    No cut is made before ``end`` that what may still be recorded could make elsewhere.
    """
    found = [(keys[at].due_us, keys[at].pts_us)]
    while True:
        start = dues[at]
        first = bisect_left(dues, start + LEAST, lo=at + 1)
        beyond = bisect_left(dues, start + WISHED, lo=at + 1)
        # What comes after that is further from the wish than any that is there.
        settled = beyond < len(keys) or end >= start + 2 * WISHED - LEAST
        if first >= len(keys) or not settled:
            return found
        near = keys[first : beyond + 1]
        best = min(near, key=lambda one: abs(one.due_us - start - WISHED))
        at = first + near.index(best)
        found.append((best.due_us, best.pts_us))


def _split(points: list[tuple[int, int]], end: int) -> list[tuple[int, int]]:
    """Cut in between where key units are too far apart."""
    found = []
    for at, (due, shown) in enumerate(points):
        lasts = (points[at + 1][0] if at + 1 < len(points) else end) - due
        pieces = max(1, -(-lasts // LONGEST))
        found += [(due + n * LONGEST, shown + n * LONGEST) for n in range(pieces)]
    return found


def _even(lead: Track, end: int) -> list[tuple[int, int]]:
    """Cuts at whole frames of sound, so that each segment lasts as long as is said of it."""
    frame = _FRAMES.get(lead.codec, 1)
    step = max(1, round(WISHED * lead.clock_rate / 1_000_000 / frame)) * frame
    found = []
    for number in range(end * lead.clock_rate // (step * 1_000_000) + 1):
        shown = number * step * 1_000_000 // lead.clock_rate
        # A due time may be rounded down; the frame before is far from it.
        found.append((max(0, shown - 1), shown))
    return found


def _end(manifest: Manifest) -> int:
    """When the title ends, µs of media time."""
    return max(manifest.blocks[-1].end_us, 0 if manifest.live else manifest.duration_us)


def _segments(
    points: Sequence[tuple[int, int]], manifest: Manifest, begin: int = 0
) -> tuple[Segment, ...]:
    """``begin``: of the first one. Sound may be there before the first picture."""
    dues = [one.due_us for one in manifest.blocks]
    starts = [begin, *(due for due, _ in points[1:])]
    found = [
        Segment(start, end, max(after - shown, SHORTEST), _blocks(dues, start, end))
        for start, ((_, shown), (end, after)) in zip(starts, pairwise(points), strict=False)
    ]
    if not manifest.live:
        lasts = max(_end(manifest) - points[-1][1], SHORTEST)
        found.append(Segment(starts[-1], None, lasts, _blocks(dues, starts[-1], None)))
    return tuple(found)


def _blocks(dues: Sequence[int], start: int, end: int | None) -> range:
    """Blocks that may hold what is due in a span; ``dues``: when each block begins.

    What is due when a block begins may be in the one before as well.
    """
    first = max(0, bisect_left(dues, start) - 1)
    return range(first, len(dues) if end is None else bisect_left(dues, end))


# --- the multivariant playlist ------------------------------------------------------------------


def index(plan: Plan, entries: Mapping[str, Sequence[Entry]], suffix: str = "") -> str:
    """The multivariant playlist as text.

    ``entries``: of each rendition by name, as its initialization segment has them. ``suffix``:
    added to the addresses of media playlists.
    """

    def uri(rendition: Rendition) -> str:
        return f"{rendition.name}/media.m3u8{suffix}"

    sounds, codecs = [], []
    for number, one in enumerate(plan.sounds):
        codecs += [entry.codec for entry in entries[one.name]]
        language = one.tracks[0].language
        language = "" if language == "und" else language
        name = f"Sound {number + 1} {language}".strip()
        channels = one.lead.channels
        sounds.append(
            Audio(uri(one), name, SOUND, language, channels=channels, default=number == 0)
        )
    loudest = max((_rate(plan.manifest, one) for one in plan.sounds), default=0)
    variants = []
    for one in plan.variants:
        own = entries[one.name]
        picture = next((entry for entry in own if entry.width), None)
        average = _rate(plan.manifest, one) + loudest
        variants.append(
            Variant(
                uri(one),
                max(_peak(plan.manifest, average), LEAST_PEAK),
                list(dict.fromkeys([*(entry.codec for entry in own), *codecs])),
                average=average,
                width=picture.width if picture else 0,
                height=picture.height if picture else 0,
                frame_rate=_frame_rate(plan.manifest, one) if picture else 0.0,
                audio=SOUND if sounds else "",
            )
        )
    independent = all(one.independent for one in (*plan.variants, *plan.sounds))
    return render_index(variants, sounds, independent=independent)


def _rate(manifest: Manifest, rendition: Rendition) -> int:
    """Bits a second on average."""
    size = sum(one.bytes for one in rendition.tracks)
    return round(8 * size * OVERHEAD * 1_000_000 / max(1, _end(manifest)))


def _peak(manifest: Manifest, average: int) -> int:
    """Bits a second at most, where all renditions swell alike."""
    size = sum(one.bytes for one in manifest.tracks)
    whole = 8 * size * 1_000_000 / max(1, _end(manifest))
    return round(average * max(1.0, manifest.peak_bps / max(1.0, whole)))


def _frame_rate(manifest: Manifest, rendition: Rendition) -> float:
    """Pictures a second while they are shown: the title begins before, by their reordering, and
    sound may go on after them."""
    lead = rendition.tracks[0]
    return lead.units * 1e6 / max(1, (lead.end_us or _end(manifest)) - lead.begin_us)
