"""The twin's channels: numbering, epochs, choice of the source, the ring and its readers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from heliograph.plane.twin.media import Rtp, assemble, rewrite, starts_keyframe

#: A sequence number further from the newest than this is another stream's, not a late packet's
#: (RFC 3550 appendix A.1, MAX_DROPOUT).
MAX_JUMP = 3000
#: Numbers that are left out where others may have seen packets that never came here.
SUCCESSION_STEP = 256

TrackSpec = tuple[int, str, str, int, int, list[bytes], tuple[int, int, int]]
KEYFRAME, DISCONTINUITY, RTCP, MARKER = 1, 2, 4, 8


@dataclass(slots=True)
class Item:
    """A packet or a frame in a ring."""

    track: int
    epoch: int
    number: int
    time: int
    arrival: int
    flags: int
    data: bytes
    video: bool


@dataclass(slots=True)
class Ring:
    """Items of all tracks in the order they came; ``base`` counts those thrown away."""

    items: list[Item] = field(default_factory=list)
    base: int = 0
    key: int = -1
    """Position of the newest video keyframe's first item, -1 without one."""

    @property
    def end(self) -> int:
        return self.base + len(self.items)

    @property
    def size(self) -> int:
        return sum(len(item.data) for item in self.items)

    def append(self, item: Item) -> None:
        if item.video and item.flags & KEYFRAME:
            self.key = self.end
        self.items.append(item)

    def clear(self) -> None:
        """Forget everything; positions count on."""
        self.base = self.end
        self.items.clear()
        self.key = -1

    def trim(self, oldest_arrival: int, max_bytes: int) -> None:
        """Keep what is young or not older than the last keyframe, and never above ``max_bytes``."""
        size = self.size
        drop = 0
        for position, item in enumerate(self.items, self.base):
            old = item.arrival < oldest_arrival and (self.key < 0 or position < self.key)
            if not old and size <= max_bytes:
                break
            size -= len(item.data)
            drop += 1
        del self.items[:drop]
        self.base += drop
        if self.key < self.base:
            self.key = -1


@dataclass(slots=True)
class OutTrack:
    """Numbering of a track as readers see it, over all epochs."""

    format: tuple[int, str, str, int]
    ssrc: int
    offset: int
    payload_type: int
    next_number: int = 0
    last_time: int = 0
    frame_number: int = 0
    frame: list[Item] = field(default_factory=list)
    frame_key: bool = False


@dataclass(slots=True)
class InTrack:
    """What is known of a track of the active source since its epoch began."""

    ssrc: int
    first: int
    """Extended sequence number of the epoch's first packet."""
    base: int
    """Its number in the channel."""
    highest: int
    time_in: int
    time_out: int
    seen: set[int]
    wait_key: bool
    key_time: int | None = None


@dataclass(slots=True)
class Source:
    """One announced source with what it needs while active or standing by."""

    id: int
    priority: int
    specs: dict[int, TrackSpec]
    inputs: dict[int, list[int]] = field(default_factory=dict)
    """Input → packets and bytes it brought."""
    tracks: dict[int, InTrack] = field(default_factory=dict)
    standby: list[tuple[int, bytes, Rtp, int]] = field(default_factory=list)
    last_packet: int | None = None
    well_since: int | None = None
    silent: bool = True
    counters: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            ("packets", "lost", "duplicates", "reordered", "rejected"), 0
        )
    )


class Channel:
    """A channel of the twin; times in µs of the simulated Unix clock."""

    def __init__(
        self, id: int, options: dict[str, int], emit: Callable[..., None], now: int
    ) -> None:
        self.id = id
        self.options = options
        self.emit = emit
        self.opened = now
        self.sources: dict[int, Source] = {}
        self.active: Source | None = None
        self.last_active: int | None = None
        self.epoch = 0
        self.layout: list[tuple[int, str, str, int]] | None = None
        self.out: dict[int, OutTrack] = {}
        self.packets = Ring()
        self.frames = Ring()
        self.counters = dict.fromkeys(("packets", "bytes", "packets_out", "bytes_out"), 0)
        self.recent: list[tuple[int, int]] = []

    # sources

    def remove(self, source: Source) -> None:
        self.sources.pop(source.id, None)
        if self.active is source:
            self.active = None
            if not self._activate_next(source.last_packet or self.opened):
                self.emit("channel-silent", self.id)

    def overtake(self, epoch: int, reached: dict[int, int]) -> None:
        """The source that is relayed goes on in the next epoch, above numbers others have."""
        assert self.active is not None
        self.epoch = epoch + 1
        for track, out in self.out.items():
            step = max(0, reached.get(track, 0) + 1 - out.next_number) + SUCCESSION_STEP
            out.next_number += step
            if track in self.active.tracks:
                self.active.tracks[track].base += step
        self.emit("source-active", self.id, self.active.id, self.epoch, False)

    def tick(self, now: int) -> None:
        """Notice sources that fell silent, and the better one that has been well for long."""
        for source in list(self.sources.values()):
            if source.silent or source.last_packet is None:
                continue
            if now - source.last_packet >= self.options["silence_ms"] * 1000:
                source.silent = True
                source.well_since = None
                source.standby.clear()
                self.emit("source-silent", self.id, source.id)
                if source is self.active:
                    self.active = None
                    if not self._activate_next(now):
                        self.emit("channel-silent", self.id)
        self._trim(now)

    def _activate_next(self, now: int) -> bool:
        ready = [source for source in self.sources.values() if not source.silent]
        if not ready:
            return False
        self._activate(min(ready, key=lambda source: (source.priority, source.id)), now)
        return True

    def _activate(self, source: Source, now: int) -> None:
        going_on = self.last_active == source.id and bool(source.tracks)
        self.active = source
        self.last_active = source.id
        layout = [spec[:4] for _, spec in sorted(source.specs.items())]
        changed = self.layout is not None and layout != self.layout
        if not going_on:
            self.epoch += 1
            source.tracks.clear()
        if layout != self.layout:
            self.layout = layout
            # A track whose format stays keeps numbering and payload type.
            self.out = {
                track: known
                if (known := self.out.get(track)) and known.format == spec[:4]
                else OutTrack(spec[:4], 0x48000000 | self.id << 8 | track, 1000 * track, spec[4])
                for track, spec in source.specs.items()
            }
        self.emit("source-active", self.id, source.id, self.epoch, changed)
        waiting, source.standby = source.standby, []
        for track, data, rtp, arrival in waiting:
            self._relay(source, track, data, rtp, arrival)

    # packets

    def receive(self, source: Source, track: int, data: bytes, rtp: Rtp, now: int) -> bool:
        """Take a packet of a source; whether it was accepted."""
        if track not in source.specs:
            return False
        if rtp.payload_type != source.specs[track][4]:
            source.counters["rejected"] += 1
            return False
        source.counters["packets"] += 1
        source.last_packet = now
        if source.silent:
            source.silent = False
            source.well_since = now
        if self.active is None:
            self._activate(source, now)
        if source is self.active:
            return self._relay(source, track, data, rtp, now)
        self._stand_by(source, track, data, rtp, now)
        return True

    def _stand_by(self, source: Source, track: int, data: bytes, rtp: Rtp, now: int) -> None:
        spec = source.specs[track]
        video = spec[1] == "video"
        key = video and starts_keyframe(spec[2], rtp.payload)
        if key and not any(
            t == track and old.timestamp == rtp.timestamp for t, _, old, _ in source.standby
        ):
            source.standby.clear()
        if not video and all(s[1] != "video" for s in source.specs.values()):
            source.standby.clear()
        if len(source.standby) < MAX_JUMP:
            source.standby.append((track, data, rtp, now))
        after = self.options["return_ms"]
        assert self.active is not None
        if (
            after >= 0
            and source.priority < self.active.priority
            and source.well_since is not None
            and now - source.well_since >= after * 1000
            and (key or all(s[1] != "video" for s in source.specs.values()))
        ):
            self._activate(source, now)

    def _relay(self, source: Source, track: int, data: bytes, rtp: Rtp, now: int) -> bool:
        spec, out = source.specs[track], self.out[track]
        state = self._in_track(source, track, rtp, now)
        extended = state.highest + _signed16(rtp.sequence - state.highest)
        number = extended - state.first + state.base
        if extended < state.first or number in state.seen:
            source.counters["duplicates" if number in state.seen else "rejected"] += 1
            return False
        state.seen.add(number)
        if extended > state.highest:
            source.counters["lost"] += extended - state.highest - 1
            state.highest = extended
            state.seen = {old for old in state.seen if old > number - MAX_JUMP}
        elif extended < state.highest:
            source.counters["reordered"] += 1
            source.counters["lost"] -= 1
        video = spec[1] == "video"
        key = not video or starts_keyframe(spec[2], rtp.payload)
        if state.wait_key:
            if not key:
                source.counters["rejected"] += 1
                return False
            # What is dropped before the first keyframe has no number: readers see no gap.
            state.wait_key = False
            state.first, state.base, number = extended, out.next_number, out.next_number
            state.seen = {number}
        flags = MARKER if rtp.marker else 0
        if video and key and state.key_time != rtp.timestamp:
            state.key_time = rtp.timestamp
            flags |= KEYFRAME
        time = (state.time_out + _signed32(rtp.timestamp - state.time_in)) & 0xFFFFFFFF
        out.next_number = max(out.next_number, number + 1)
        out.last_time = time
        data = rewrite(data, out.payload_type, (number + out.offset) & 0xFFFF, time, out.ssrc)
        item = Item(track, self.epoch, number, time, now, flags, data, video)
        self.packets.append(item)
        self.counters["packets"] += 1
        self.counters["bytes"] += len(data)
        self.recent.append((now, len(rtp.payload)))
        self._frame(spec, out, item, rtp)
        self._trim(now)
        return True

    def _in_track(self, source: Source, track: int, rtp: Rtp, now: int) -> InTrack:
        state = source.tracks.get(track)
        if state is not None:
            jump = _signed16(rtp.sequence - state.highest)
            if state.ssrc == rtp.ssrc and abs(jump) <= MAX_JUMP:
                return state
            self.epoch += 1  # the sender began anew
            self.emit("source-active", self.id, source.id, self.epoch, False)
        spec, out = source.specs[track], self.out[track]
        mapped = (now - self.opened) * spec[3] // 1_000_000
        if out.next_number and _signed32(mapped - out.last_time) <= 0:
            mapped = out.last_time + 1
        first = rtp.sequence + 65536
        state = InTrack(
            rtp.ssrc,
            first,
            out.next_number,
            first,
            rtp.timestamp,
            mapped & 0xFFFFFFFF,
            set(),
            spec[1] == "video",
        )
        source.tracks[track] = state
        return state

    def _frame(self, spec: TrackSpec, out: OutTrack, item: Item, rtp: Rtp) -> None:
        if out.frame and out.frame[0].time != item.time:
            self._finish_frame(spec, out)
        out.frame.append(item)
        out.frame_key |= bool(item.flags & KEYFRAME)
        if rtp.marker or spec[1] != "video":
            self._finish_frame(spec, out)

    def _finish_frame(self, spec: TrackSpec, out: OutTrack) -> None:
        parts = sorted(out.frame, key=lambda part: part.number)
        key = out.frame_key or spec[1] != "video"
        payloads = [part.data[_header_length(part.data) :] for part in parts]
        data = assemble(spec[2], payloads, spec[5] if key else [])
        presented = self.opened + parts[0].time * 1_000_000 // spec[3]
        flags = KEYFRAME if key else 0
        whole = [part.number for part in parts] == list(
            range(parts[0].number, parts[0].number + len(parts))
        )
        if not whole:
            flags |= DISCONTINUITY
        frame = Item(
            parts[0].track,
            parts[0].epoch,
            out.frame_number,
            presented,
            parts[-1].arrival,
            flags,
            data,
            spec[1] == "video",
        )
        out.frame_number += 1
        out.frame, out.frame_key = [], False
        self.frames.append(frame)

    def _trim(self, now: int) -> None:
        oldest = now - self.options["depth_ms"] * 1000
        for ring in (self.packets, self.frames):
            ring.trim(oldest, self.options["max_bytes"])
        self.recent = [entry for entry in self.recent if entry[0] > now - 1_000_000]

    def stats(self, now: int) -> dict[str, Any]:
        sources = [
            {
                "source": source.id,
                "priority": source.priority,
                "state": "active"
                if source is self.active
                else ("silent" if source.silent else "standby"),
                **source.counters,
                "jitter_us": 0,
                "last_packet_age_ms": (
                    -1 if source.last_packet is None else (now - source.last_packet) // 1000
                ),
                "inputs": [
                    {"input": id, "packets": packets, "bytes": size}
                    for id, (packets, size) in source.inputs.items()
                ],
            }
            for source in self.sources.values()
        ]
        return {
            **self.counters,
            "epoch": self.epoch,
            "numbered_here": self.last_active is not None,
            "ring_packets": len(self.packets.items),
            "ring_bytes": self.packets.size,
            "bitrate_bps": 8 * sum(size for _, size in self.recent),
            "sources": sources,
        }


def _header_length(data: bytes) -> int:
    length = 12 + 4 * (data[0] & 15)
    if data[0] & 0x10:
        length += 4 + 4 * int.from_bytes(data[length + 2 : length + 4])
    return length


def _signed16(value: int) -> int:
    return (value + 0x8000) % 0x10000 - 0x8000


def _signed32(value: int) -> int:
    return (value + 0x80000000) % 0x100000000 - 0x80000000
