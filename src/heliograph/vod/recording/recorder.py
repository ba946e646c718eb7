"""Units of a recording to blocks, and its manifest so far. No input or output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import NamedTuple

from heliograph.model.errors import MalformedError, PeerError, UnsupportedError
from heliograph.model.media import Codec, Kind, Track
from heliograph.protocols.payload import (
    AccessUnit,
    Packetizer,
    aac,
    container,
    description,
    h264,
    h265,
    nal,
    packetizer,
)
from heliograph.vod.blocks import RECORD, BlockWriter, Written, WrittenBlock
from heliograph.vod.encoding import MAX_BLOCKS, MAX_COLUMNS, MAX_KEYS
from heliograph.vod.manifest import BlockEntry, KeyPoint, Manifest, TitleTrack
from heliograph.vod.recording.values import MAX_REORDER, RecordedUnit, RecordOptions


def recordable(tracks: Sequence[Track]) -> tuple[tuple[Track, ...], tuple[str, ...]]:
    """Those of a channel's tracks that a title can have, pictures first, and why not the others.

    The ids are still the channel's. ``UnsupportedError`` where there are none.
    """
    taken, remarks = [], []
    for track in tracks:
        try:
            _as_title(track, 0)
        except PeerError as error:
            remarks.append(f"track {track.id} is not recorded: {error.message}")
        else:
            taken.append(track)
    if not taken:
        raise UnsupportedError(f"nothing that can be recorded: {'; '.join(remarks)}")
    taken.sort(key=lambda track: track.kind is not Kind.VIDEO)
    return tuple(taken), tuple(remarks)


def _as_title(track: Track, place: int) -> Track:
    """A channel's track as one of a title; raises ``PeerError`` where it cannot be."""
    codec, fmtp = track.codec, dict(track.fmtp)
    if codec in (Codec.AAC, Codec.AAC_LATM):
        config = description(track)
        if config is None:
            raise MalformedError("aac", "no configuration")
        codec, fmtp = Codec.AAC, aac.fmtp_for(config)
    packetizer(codec, channels=max(1, track.channels))
    if codec is Codec.H264:
        fmtp["packetization-mode"] = "1"
    kind = track.payload_type if track.payload_type < 35 else 96 + place % 32
    return replace(
        track,
        id=place,
        codec=codec,
        fmtp=fmtp,
        encoding=container.ENCODINGS[codec],
        payload_type=kind,
    )


class Replay(NamedTuple):
    """What a journal has."""

    title: Manifest
    """What is recorded, without blocks."""
    block: int
    """Bytes of a block, at most."""
    volume: str
    """Where it goes."""
    state: State | None
    """Before the first unit; None where there is none."""
    units: Iterator[RecordedUnit | State]
    """All of them, and where a later file begins its state; read as they are asked for."""


class State(NamedTuple):
    """Where a writer of blocks can begin again."""

    number: int
    """The next block."""
    due_us: int
    """When its first unit is due."""
    peak_bits: int
    written: tuple[Written, ...]
    """By track, before that block."""


class Recorder:
    """Makes blocks. Goes on from ``manifest``, whose blocks from ``number`` on come again."""

    def __init__(
        self, manifest: Manifest, *, block: int, number: int = 0, written: Sequence[Written] = ()
    ) -> None:
        self._manifest = manifest
        self._tracks = [one.track for one in manifest.tracks]
        self._entries: list[BlockEntry] = list(manifest.blocks[:number])
        self._keys: list[KeyPoint] = [key for key in manifest.keys if key.block < number]
        self._block = block
        self._writer = BlockWriter(
            len(self._tracks),
            pictures=[one.id for one in self._tracks if one.kind is Kind.VIDEO],
            limit=block,
            number=number,
            written=written,
        )
        self._packetizers: list[Packetizer] = [
            packetizer(one.codec, channels=max(1, one.channels)) for one in self._tracks
        ]
        self._begin = [one.begin_us if one.packets else None for one in manifest.tracks]
        self._ends = [one.end_us for one in manifest.tracks]
        self._last = [0] * len(self._tracks)
        self.broken = 0
        """Units that could not be packetized."""
        self.fresh: State | None = None
        """What was written before the newest unit, where a block begins with it."""
        self.bytes = sum(entry.bytes for entry in self._entries)

    @classmethod
    def begin(cls, options: RecordOptions, tracks: Sequence[Track], created: float) -> Recorder:
        """A new title of tracks that are ``recordable``."""
        pictures = 0
        taken = []
        for place, track in enumerate(tracks):
            taken.append(TitleTrack(_as_title(track, place), 0, 0, 0, rendition=pictures))
            pictures += track.kind is Kind.VIDEO
        taken = [
            one if one.track.kind is Kind.VIDEO else replace(one, rendition=0) for one in taken
        ]
        manifest = Manifest(
            name=options.name,
            object=options.object,
            title=options.title or options.name,
            duration_us=0,
            tracks=tuple(taken),
            blocks=(),
            keys=(),
            peak_bps=0,
            source=options.source,
            created=round(created, 3),
            live=True,
        )
        return cls(manifest, block=options.block)

    @classmethod
    def again(cls, replay: Replay, head: Manifest | None) -> tuple[Recorder, list[WrittenBlock]]:
        """What a journal has, made again: the recorder, and the blocks since the journal's begin.

        ``head``: the volume's manifest, None where there is none. Raises ``MalformedError`` where
        the two do not fit.
        """
        known = 0 if head is None else len(head.blocks)
        state = replay.state
        if state is None:  # killed before a unit was written: what the volume has is all
            tracks = (head or replay.title).tracks
            counts = tuple(Written(one.packets, one.units, one.bytes) for one in tracks)
            state = State(known, 0, 0, counts)
        if known < state.number or (head is not None and head.object != replay.title.object):
            raise MalformedError(
                "journal", f"begins with block {state.number}, the volume has {known}"
            )
        recorder = cls(
            head or replay.title, block=replay.block, number=state.number, written=state.written
        )
        done: list[WrittenBlock] = []
        for one in replay.units:
            if isinstance(one, State):
                if recorder.number < one.number:
                    done += recorder.cut(one.due_us)
                continue
            clock = recorder._tracks[one.track].clock_rate
            apart = one.pts * 1_000_000 // clock - one.due_us
            if one.due_us < recorder.due_us or abs(apart) > MAX_REORDER * 1e6:
                raise MalformedError("journal", f"a unit due at {one.due_us} µs")
            done += recorder.add(one)
        return recorder, done

    @property
    def number(self) -> int:
        """The next block."""
        return self._writer.number

    @property
    def written(self) -> tuple[Written, ...]:
        """By track, in blocks that are full (packets) and in all (units, bytes)."""
        return tuple(Written(w.packets, w.units, w.bytes) for w in self._writer.written)

    @property
    def due_us(self) -> int:
        """When the newest unit is due."""
        return self._writer.due_us

    @property
    def end_us(self) -> int:
        """Where what was recorded so far ends."""
        return max(self._writer.due_us, *self._ends)

    @property
    def last_end_us(self) -> int:
        """Where the last full block ends; 0 where there is none."""
        return self._entries[-1].end_us if self._entries else 0

    @property
    def state(self) -> State:
        """What was written, where no unit waits for its block to be full."""
        return State(self.number, self.last_end_us, self._writer.peak_bits, self.written)

    @property
    def full(self) -> bool:
        """Whether a manifest has hardly room for more."""
        blocks, keys = len(self._entries), len(self._keys)
        columns = 8 * (blocks * (2 + len(self._tracks)) + 4 * keys)
        return max(blocks - MAX_BLOCKS, keys - MAX_KEYS) > -4096 or columns > MAX_COLUMNS - (
            1 << 20
        )

    @property
    def waiting(self) -> int:
        """Bytes in the block that is not full."""
        return self._writer.waiting

    @property
    def base(self) -> Manifest:
        """What the title is, without blocks."""
        tracks = tuple(replace(one, packets=0, units=0, bytes=0) for one in self._manifest.tracks)
        return replace(self._manifest, tracks=tracks, blocks=(), keys=(), duration_us=0)

    def add(self, unit: RecordedUnit) -> list[WrittenBlock]:
        """Take a unit; the blocks that it completes."""
        place = unit.track
        track = self._tracks[place]
        data = unit.data
        if track.kind is Kind.VIDEO and unit.key:
            self._learn_sets(place, data)
        try:
            access = AccessUnit(data, unit.pts & 0xFFFFFFFF, unit.key)
            payloads = self._packetizers[place].packetize(access)
        except (PeerError, IndexError):
            self.broken += 1
            return []
        shown = unit.pts * 1_000_000 // track.clock_rate
        before = self.written
        done: list[WrittenBlock] = []
        if payloads and payloads[0].timestamp_offset == 0 and payloads[-1].timestamp_offset:
            for one in payloads:  # sampled sound: each packet is a unit
                alone = [one._replace(timestamp_offset=0)]
                pts = unit.pts + one.timestamp_offset
                at = pts * 1_000_000 // track.clock_rate
                done += self._writer.add(place, unit.due_us, at, pts, True, alone)
        else:
            done += self._writer.add(place, unit.due_us, shown, unit.pts, unit.key, payloads)
        size = sum(len(one.data) + RECORD.size for one in payloads)
        self.fresh = None
        if payloads and self._writer.waiting == size:
            self.fresh = State(
                self._writer.number,
                unit.due_us,
                self._writer.peak_bits,
                tuple(
                    Written(now.packets, one.units, one.bytes)
                    for now, one in zip(self._writer.written, before, strict=True)
                ),
            )
        begin = self._begin[place]
        self._begin[place] = shown if begin is None else min(begin, shown)
        step = shown - self._last[place]
        self._last[place] = shown
        self._ends[place] = max(self._ends[place], shown + (step if 0 < step < 1_000_000 else 0))
        self._took(done)
        return done

    def _took(self, done: list[WrittenBlock]) -> None:
        for block in done:
            self._entries.append(block.entry)
            self._keys += block.keys
            self.bytes += len(block.data)

    def cut(self, due_us: int) -> list[WrittenBlock]:
        """End the block here: the next unit, due then, begins another one."""
        done = self._writer.finish(due_us)
        self._took(done)
        return done

    def finish(self) -> list[WrittenBlock]:
        """The rest as a block."""
        done = self._writer.finish(self.end_us)
        self._took(done)
        return done

    def manifest(self, *, live: bool) -> Manifest:
        """Of all blocks that are full."""
        written = self._writer.written
        blocks = tuple(self._entries)
        end = blocks[-1].end_us if blocks else 0
        old = self._manifest.tracks
        tracks = tuple(
            replace(
                one,
                track=self._tracks[place],
                packets=written[place].packets,
                units=written[place].units if blocks else 0,
                bytes=written[place].bytes if blocks else 0,
                begin_us=self._begin[place] or 0,
                end_us=self._ends[place] if blocks else 0,
            )
            for place, one in enumerate(old)
        )
        return replace(
            self._manifest,
            duration_us=end,
            tracks=tracks,
            blocks=blocks,
            keys=tuple(sorted(self._keys, key=attrgetter("due_us"))),
            peak_bps=max(self._manifest.peak_bps, self._writer.peak_bits),
            live=live,
        )

    def _learn_sets(self, place: int, data: bytes) -> None:
        """Tell of the parameter sets in SDP as well, where the channel did not."""
        track = self._tracks[place]
        match track.codec:
            case Codec.H264 if "sprop-parameter-sets" not in track.fmtp:
                kinds: tuple[int, ...] = (h264.SPS, h264.PPS)
                found = [one for one in nal.split_annexb(data) if h264.nal_type(one) in kinds]
                fmtp = h264.fmtp_for(found)
            case Codec.H265 if "sprop-sps" not in track.fmtp:
                kinds = (h265.VPS, h265.SPS, h265.PPS)
                found = [one for one in nal.split_annexb(data) if h265.nal_type(one) in kinds]
                fmtp = h265.fmtp_for(found)
            case _:
                return
        self._tracks[place] = replace(track, fmtp={**track.fmtp, **fmtp})
