"""Files to blocks and a manifest. Blocking; worker only."""

from __future__ import annotations

import hashlib
import itertools
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from av.packet import Packet

from heliograph.model.errors import MalformedError, UnsupportedError
from heliograph.protocols.payload import AccessUnit, Packetizer, packetizer
from heliograph.vod.blocks import MAX_TRACKS, BlockWriter, WrittenBlock
from heliograph.vod.encoding import MAX_BLOCKS, MAX_KEYS, encode_manifest
from heliograph.vod.importing.files import MediaFile
from heliograph.vod.importing.lanes import Lane, LaneUnit, title_streams
from heliograph.vod.importing.merging import Merger
from heliograph.vod.importing.values import MAX_APART, MAX_DURATION, ImportOptions
from heliograph.vod.manifest import BlockEntry, KeyPoint, Manifest, TitleTrack

#: Seconds between two words about the progress.
EVERY = 0.25
#: A file that ends this much before what it says, as a share and in seconds, is cut off.
SHORT_SHARE, SHORT = 0.02, 1.0
#: Seconds by which key pictures of two renditions may lie apart and be taken for the same.
SAME_KEY = 0.02
#: Seconds by which renditions of one picture may differ in length.
SAME_LENGTH = 5.0


@dataclass(slots=True)
class Advance:
    """How far it is; the process that started us makes a forecast of it."""

    bytes: int
    total: int
    media: float
    duration: float


class Digest:
    """SHA-256 of a file, made beside the work."""

    def __init__(self, path: Path) -> None:
        self._value = ""
        self._path = path
        self._stop = False
        self._thread = threading.Thread(target=self._run, name="digest", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        digest = hashlib.sha256()
        with self._path.open("rb") as file:
            while not self._stop and (data := file.read(1 << 20)):
                digest.update(data)
        self._value = digest.hexdigest()

    def result(self) -> str:
        """Wait for it."""
        self._thread.join()
        return self._value

    def stop(self) -> None:
        """It is not wanted any more."""
        self._stop = True
        self._thread.join()


class Titling:
    """Makes one title of one file and its renditions."""

    def __init__(
        self,
        paths: Sequence[Path],
        options: ImportOptions,
        put: Callable[[bytes], None],
        tell: Callable[[Advance], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``put`` takes blocks; ``tell`` hears of the progress."""
        self._options, self._put, self._tell, self._clock = options, put, tell, clock
        self._paths = paths
        self._told = -EVERY
        self.remarks: list[str] = []
        self._entries: list[BlockEntry] = []
        self._keys: list[KeyPoint] = []
        self._lanes: list[Lane] = []
        self._files: list[MediaFile] = []
        self._packets = self._damaged = 0

    def run(self) -> Manifest:
        """Do it all. Raises ``PeerError`` for files that cannot be taken, ``OSError``."""
        with ExitStack() as stack:
            names = (self._options.source, *self._options.called)
            for place, path in enumerate(self._paths):
                file = MediaFile(path, names[place] if place < len(names) else "")
                stack.callback(file.close)
                self._files.append(file)
            digest = Digest(self._paths[0])
            stack.callback(digest.stop)
            self._open_lanes()
            manifest = self._convert(digest)
            self._advance(end=True)
        return manifest

    # --- tracks -------------------------------------------------------------------------------

    def _open_lanes(self) -> None:
        found = self._lanes_of(self._files[0], 0)
        for file in self._files[1:]:
            own = self._lanes_of(file, len(found), pictures_only=True)
            if not own:
                raise file.unsupported("no picture in it that could be a rendition")
            found += own
        if not found:
            raise self._files[0].unsupported("no picture and no sound in it")
        if len(found) > MAX_TRACKS:
            raise self._files[0].unsupported(f"{len(found)} tracks (at most {MAX_TRACKS})")
        if not self._options.partial:
            for file in self._files:
                file.check_whole([lane.stream for lane in found if lane.file is file])
        # The best picture first: whoever takes but one takes that.
        found.sort(key=lambda lane: (not lane.video, -lane.width * lane.height, lane.index))
        for index, lane in enumerate(found):
            lane.index = index
        self._lanes = found

    def _lanes_of(self, file: MediaFile, first: int, *, pictures_only: bool = False) -> list[Lane]:
        found: list[Lane] = []
        refused: list[str] = []
        streams, remarks = title_streams(file)
        self.remarks += remarks if not pictures_only else []
        for stream in streams:
            if pictures_only and stream.type != "video":
                continue
            try:
                found.append(Lane(file, stream, first + len(found)))
            except UnsupportedError as error:
                if stream.type == "video" or not self._options.leave_out:
                    refused.append(error.message)
                else:
                    self.remarks.append(f"left out: {error.message}")
        if refused:
            raise file.unsupported("; ".join(refused))
        return found

    # --- units --------------------------------------------------------------------------------

    def _units(self) -> Iterator[LaneUnit]:
        """Units of all lanes by due."""
        merger = Merger(len(self._lanes))
        sources = {
            id(file): file.packets([lane.stream for lane in self._lanes if lane.file is file])
            for file in self._files
        }
        by_stream = {(id(lane.file), lane.stream.index): lane for lane in self._lanes}
        while True:
            hungry = merger.hungry()
            if hungry is None:
                popped = merger.pop()
                if popped is None:
                    return
                yield cast(LaneUnit, popped[1])
                continue
            key = id(self._lanes[hungry].file)
            packet = self._next(sources[key], self._lanes[hungry].file)
            if packet is None:
                for lane in self._lanes:
                    if id(lane.file) == key:
                        for unit in lane.finish():
                            merger.push(lane.index, unit)
                        merger.end(lane.index)
                continue
            lane = by_stream[key, packet.stream_index]
            for unit in lane.take(packet):
                merger.push(lane.index, unit)

    def _next(self, packets: Iterator[Packet[Any]], file: MediaFile) -> Packet[Any] | None:
        while True:
            try:
                packet = next(packets, None)
            except MalformedError as error:
                if not self._options.partial or not self._packets:
                    raise
                self.remarks.append(f"taken as far as it goes: {error.message}")
                return None
            if packet is None or not packet.is_corrupt:
                self._packets += 1
                return packet
            if not self._options.partial:
                raise file.malformed(
                    f"a packet of track {packet.stream_index} is damaged or cut off", packet.pos
                )
            self._damaged += 1

    def _convert(self, digest: Digest) -> Manifest:
        units = self._units()
        first = next(units, None)
        if first is None:
            raise self._files[0].malformed("no media in it")
        for lane in [one for one in self._lanes if one.track is None]:
            self.remarks.append(f"{lane.where} is left out: nothing comes of it at the begin")
        lanes = [lane for lane in self._lanes if lane.track is not None]
        writer = _Writer(lanes, first.due_us, self._options, self._block)
        known = {lane.index for lane in lanes}
        for unit in itertools.chain((first,), units):
            # A track that shows what it is only now is too late: how many there are is written.
            if unit.lane in known:
                writer.unit(unit)
            self._advance(writer.due / 1e6)
        return self._finish(writer, lanes, digest)

    def _block(self, block: WrittenBlock) -> None:
        self._entries.append(block.entry)
        self._keys += block.keys
        if len(self._entries) > MAX_BLOCKS or len(self._keys) > MAX_KEYS:
            raise self._files[0].unsupported(f"more than {MAX_BLOCKS} blocks")
        self._put(block.data)

    def _advance(self, media: float = 0.0, *, end: bool = False) -> None:
        now = self._clock()
        if now - self._told < EVERY and not end:
            return
        self._told = now
        total = sum(file.size for file in self._files)
        read = total if end else sum(file.position for file in self._files)
        duration = max(file.duration for file in self._files)
        self._tell(Advance(read, total, duration if end else media, duration))

    # --- what came of it ----------------------------------------------------------------------

    def _finish(self, writer: _Writer, lanes: list[Lane], digest: Digest) -> Manifest:
        for lane in lanes:
            if lane.video and lane.units == 0:
                raise lane.file.malformed(f"{lane.where}: no picture at which decoding can begin")
        self._check_length(lanes)
        duration = writer.finish()
        self._remark(writer, lanes)
        for file in self._files:
            file.check_unchanged()
        main = self._files[0]
        options = self._options
        tracks = [
            TitleTrack(
                track=lane.with_id(index),
                packets=wrote.packets,
                units=wrote.units,
                bytes=wrote.bytes,
                language=_language(lane),
                rendition=index if lane.video else 0,
                begin_us=writer.us(index, lane.begin or 0),
                end_us=writer.us(index, lane.end),
            )
            for index, (lane, wrote) in enumerate(zip(lanes, writer.blocks.written, strict=True))
        ]
        manifest = Manifest(
            name=options.name,
            object=options.object,
            title=_plain(options.title or main.container.metadata.get("title", ""))
            or _plain(Path(main.name).stem),
            duration_us=duration,
            tracks=tuple(tracks),
            blocks=self._entries,
            keys=sorted(self._keys),
            peak_bps=writer.blocks.peak_bits,
            source=_plain(main.name),
            source_digest=digest.result(),
            created=round(time.time(), 3),
        )
        encode_manifest(manifest)  # what cannot be kept is refused here, with its reason
        return manifest

    def _check_length(self, lanes: list[Lane]) -> None:
        for file in self._files:
            own = [lane for lane in lanes if lane.file is file]
            for lane in own:
                assert lane.track is not None
                told = lane.stream.duration
                if not told or not lane.stream.time_base:
                    continue
                said = float(told * lane.stream.time_base)
                if abs(said - file.duration) < 0.01:
                    continue  # FFmpeg's guess where a track says nothing: judged below
                there = (lane.end - (lane.begin or 0)) / lane.track.clock_rate
                if there < said - max(SHORT, SHORT_SHARE * said):
                    self._short(file, f"{lane.where} lasts {there:.3f} s, not {said:.3f} s")
            there = max(lane.end / lane.track.clock_rate for lane in own if lane.track)
            if there < file.duration - max(SHORT, SHORT_SHARE * file.duration):
                self._short(file, f"it lasts {there:.3f} s, not {file.duration:.3f} s as it says")

    def _short(self, file: MediaFile, reason: str) -> None:
        if not self._options.partial:
            raise file.malformed(reason, file.position)
        self.remarks.append(f"{file.name}: {reason}")

    def _remark(self, writer: _Writer, lanes: list[Lane]) -> None:
        for lane in lanes:
            if lane.dropped:
                self.remarks.append(
                    f"{lane.where}: {lane.dropped} pictures before the first key picture left out"
                )
            if lane.reordered:
                self.remarks.append(f"{lane.where}: {lane.reordered} units were out of order")
            if not lane.units:
                self.remarks.append(f"{lane.where} is empty")
        if self._damaged:
            self.remarks.append(f"{self._damaged} damaged packets are left out")
        if writer.late:
            self.remarks.append(f"{writer.late} units are sent late: tracks are badly interleaved")
        pictures = [lane for lane in lanes if lane.video]
        for lane in pictures[1:]:
            self.remarks.append(self._compare(pictures[0], lane))

    def _compare(self, best: Lane, other: Lane) -> str:
        """How a rendition fits the best one."""
        assert best.track is not None
        assert other.track is not None
        lengths = [
            (one.end - (one.begin or 0)) / one.track.clock_rate
            for one in (best, other)
            if one.track
        ]
        if abs(lengths[0] - lengths[1]) > SAME_LENGTH:
            raise other.file.unsupported(
                f"{other.where} lasts {lengths[1]:.1f} s, the best rendition {lengths[0]:.1f} s"
            )
        keys = sorted(other.keys)
        alone = sum(not _near(keys, key) for key in best.keys)
        what = f"rendition {other.index} ({other.width}×{other.height})"
        if not alone and len(keys) == len(best.keys):
            return f"{what}: all {len(keys)} key pictures are those of the best one"
        if not alone:
            return f"{what}: beside each key picture of the best one is one of its {len(keys)}"
        return (
            f"{what}: {alone} of {len(best.keys)} key pictures of the best one have none of its "
            f"{len(keys)} beside them; viewers cannot change there"
        )


class _Writer:
    """Packetizes units and puts their times on the title's clock."""

    def __init__(
        self,
        lanes: Sequence[Lane],
        zero_us: int,
        options: ImportOptions,
        put: Callable[[WrittenBlock], None],
    ) -> None:
        self._put = put
        self._zero = zero_us
        self._lanes = lanes
        self._place = {lane.index: place for place, lane in enumerate(lanes)}
        self.blocks = BlockWriter(
            len(lanes),
            pictures=[place for place, lane in enumerate(lanes) if lane.video],
            limit=options.block,
        )
        self.late = 0
        tracks = [lane.track for lane in lanes if lane.track is not None]
        self._clocks = [track.clock_rate for track in tracks]
        self._shift = [(zero_us * clock + 500_000) // 1_000_000 for clock in self._clocks]
        self._packetizers: list[Packetizer] = [
            packetizer(track.codec, channels=max(1, track.channels)) for track in tracks
        ]

    @property
    def due(self) -> int:
        """When the newest unit is due."""
        return self.blocks.due_us

    def us(self, place: int, ticks: int) -> int:
        """A time of a lane, as on its file's clock, on the title's, in µs."""
        clock = self._clocks[place]
        return max(0, (2_000_000 * (ticks - self._shift[place]) + clock) // (2 * clock))

    def unit(self, unit: LaneUnit) -> None:
        """Write one. Raises ``MalformedError`` with the track."""
        place = self._place[unit.lane]
        lane = self._lanes[place]
        due = unit.due_us - self._zero
        newest = self.blocks.due_us
        if due < newest:
            if due < newest - MAX_APART * 1e6:
                raise lane.file.malformed(
                    f"{lane.where} at {due / 1e6:.1f} s follows other tracks at "
                    f"{newest / 1e6:.1f} s: not interleaved",
                    lane.file.position,
                )
            self.late += 1
            due = newest
        if due > MAX_DURATION * 1e6:
            raise lane.file.unsupported(f"longer than {MAX_DURATION:.0f} s")
        ticks = unit.pts - self._shift[place]
        try:
            payloads = self._packetizers[place].packetize(
                AccessUnit(unit.data, ticks & 0xFFFFFFFF, unit.key)
            )
        except (MalformedError, IndexError) as error:
            raise lane.file.malformed(
                f"{lane.where} at {due / 1e6:.3f} s: {error}", lane.file.position
            ) from error
        shown = self.us(place, unit.pts)
        for block in self.blocks.add(place, due, shown, ticks, unit.key, payloads):
            self._put(block)

    def finish(self) -> int:
        """Write the rest; how long the title is, in µs."""
        end = max(self.us(place, lane.end) for place, lane in enumerate(self._lanes))
        end = max(end, self.blocks.due_us)
        for block in self.blocks.finish(end):
            self._put(block)
        return end


def _near(keys: list[int], key: int) -> bool:
    """Whether one of the sorted ``keys`` lies beside ``key``, in µs."""
    at = bisect_left(keys, key - int(SAME_KEY * 1e6))
    return at < len(keys) and keys[at] <= key + SAME_KEY * 1e6


def _language(lane: Lane) -> str:
    text = (lane.stream.language or "").lower()
    plain = text.isascii() and text.isalpha() and len(text) <= 8
    return text if plain and text != "und" else ""


def _plain(text: str) -> str:
    """One line of text that can be written as UTF-8; file names need not be."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line.encode("utf-8", "replace").decode()[:1000]
