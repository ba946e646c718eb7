"""One paced sender of the twin: what is due, how it is numbered, what it tells."""

from __future__ import annotations

import math
import struct
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from heliograph.plane.twin.block import FIRST, KEY, MARKER, Block, Record, parse

#: Later than this a sender puts its clock back instead of sending faster and faster, µs.
MAX_BEHIND_US = 1_000_000
#: Between two sender reports of a track, µs.
REPORT_US = 5_000_000
#: How fast a sender gets ahead of what is due.
PACE = 0.5
#: Factors that ``rate`` and ``scale`` may be.
FASTEST = 64.0

#: Sends (track, packet, whether it is RTCP).
Way = Callable[[int, bytes, bool], None]
TrackSpec = tuple[int, int, int, int, int, int]


@dataclass(slots=True)
class Out:
    """A track as the viewer sees it."""

    ssrc: int
    payload_type: int
    clock: int
    sequence: int
    """Of the next packet; of the title's first one where a node sends its own part."""
    timestamp: int
    packets: int = 0
    octets: int = 0
    reported: int | None = None


@dataclass(slots=True)
class Timeline:
    """How media time, the plane's clock and RTP's timestamps belong together."""

    origin_us: int
    """Media time of the start."""
    line_us: int
    """RTP's time at that, µs since that of the first start."""
    at: int
    """When ``from_us`` is due."""
    from_us: int
    rate: float
    scale: float

    def media(self, now: int) -> int:
        return self.from_us + int(max(0, now - self.at) * (self.rate * self.scale))

    def wall(self, due_us: int) -> int:
        """When that media time is due; what precedes the start, at the start."""
        after = max(0, due_us - self.from_us)
        return self.at + math.ceil(after / (self.rate * self.scale))

    def line(self, media_us: int) -> int:
        return self.line_us + math.floor((media_us - self.origin_us) / self.scale)

    def ticks(self, out: Out, due_us: int, timestamp: int) -> int:
        """The RTP timestamp of a record."""
        near = due_us * out.clock // 1_000_000
        apart = (timestamp - near + (1 << 31)) % (1 << 32) - (1 << 31)
        after = near + apart - self.origin_us * out.clock // 1_000_000
        begin = out.timestamp + self.line_us * out.clock // 1_000_000
        return (begin + math.floor(after / self.scale)) & 0xFFFFFFFF


@dataclass(slots=True)
class Sender:
    """A viewer's sender. Media that is fed waits in ``blocks``; time is an argument."""

    id: int
    outs: dict[int, Out]
    emit: Callable[..., None]
    cname: str
    low_us: int
    max_bytes: int
    node: tuple[int, int] | None
    keep_us: int
    way: Way | None = None
    takes: Callable[[], bool] = lambda: True
    """Whether the way takes something now."""
    roomy: Callable[[], bool] = lambda: False
    """Whether packets may go before they are due."""
    ahead_us: int = 0
    """By how much, µs."""
    lead: tuple[float, int] = (0.0, 0)
    """How much may go before it is due, µs, and since when."""
    reaches: frozenset[int] = frozenset()
    """Tracks that have a destination."""
    conn: int | None = None
    endpoint: int | None = None
    controls: frozenset[tuple[str, int]] = frozenset()
    blocks: deque[Block] = field(default_factory=deque)
    end_us: int = 0
    """Up to which media time it is fed."""
    finished: bool = False
    fresh: bool = True
    playing: bool = False
    ended: bool = False
    settled: bool = False
    keys_only: bool = False
    until_us: int | None = None
    wanted: frozenset[int] | None = None
    time: Timeline | None = None
    stopped: tuple[int, int, int] = (0, 0, 0)
    """Media time, RTP's time and the clock when it stopped."""
    stalled_since: int | None = None
    low_told: bool = False
    dry: bool = False
    node_sequence: int = 0
    kept: dict[int, tuple[int, int, bytes]] = field(default_factory=dict)
    """By node sequence number: when it was sent, track, packet."""
    last_rtcp: int | None = None
    loss_permille: int = 0
    jitter: int = 0
    counters: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            (
                "packets",
                "bytes",
                "late_1ms",
                "late_5ms",
                "late_20ms",
                "late_100ms",
                "late_max_us",
                "underruns",
                "slipped_us",
                "stalled_us",
                "send_errors",
                "resent",
                "resend_refused",
            ),
            0,
        )
    )

    # what Python orders

    def feed(self, data: bytes) -> None:
        if self.finished:
            raise ValueError("the sender was told that nothing more is fed")
        block = parse(data)
        if block.due_us < self.end_us and self.node is None:
            raise ValueError("a block out of order")
        if self.queued_bytes() + block.size > self.max_bytes:
            raise BlockingIOError(11, "too much is fed already")
        later = (n for n, one in enumerate(self.blocks) if one.due_us > block.due_us)
        self.blocks.insert(next(later, len(self.blocks)), block)
        self.end_us = max(self.end_us, block.end_us)
        self.low_told = self.dry = False

    def start(
        self,
        now: int,
        from_us: int,
        at: int,
        rate: float,
        scale: float,
        keys_only: bool,
        until_us: int | None,
        tracks: frozenset[int] | None,
    ) -> list[tuple[int, int, int]]:
        if until_us is not None and until_us < from_us:
            raise ValueError("an end before the beginning")
        line = 0
        if self.node is not None:
            line = from_us
        elif self.time is not None:
            line = self.line(now) + max(0, at - now) + self.preroll(from_us)
        self.time = Timeline(from_us, line, at, from_us, rate, scale)
        self.keys_only, self.until_us, self.wanted = keys_only, until_us, tracks
        self.playing, self.ended, self.settled = True, False, False
        self.lead = 0.0, at
        self.low_told = self.dry = False
        clock = self.time
        return [
            (track, out.sequence & 0xFFFF, clock.ticks(out, from_us, from_us * out.clock // 10**6))
            for track, out in sorted(self.outs.items())
        ]

    def stop(self, now: int) -> int:
        position = self.position(now)
        if self.playing and self.time is not None:
            self.stopped = position, self.time.line(position), now
            self.playing = False
            self._resumed(now)
        return position

    def set_rate(self, at: int, rate: float, from_us: int | None) -> None:
        if self.time is not None:
            if from_us is None:
                from_us, at = self.time.media(at), max(at, self.time.at)
            self.time = replace(self.time, from_us=from_us, at=at, rate=rate)

    def flush(self, now: int) -> None:
        self.stop(now)
        self.blocks.clear()
        self.end_us = 0
        self.fresh, self.finished, self.ended = True, False, False

    # where it is

    def line(self, now: int) -> int:
        """RTP's time now: it goes on while nothing is sent."""
        if self.time is None:
            return 0
        if self.playing:
            return self.time.line(self.time.media(now))
        _, line, since = self.stopped
        return line + now - since

    def queued_bytes(self) -> int:
        return sum(block.size for block in self.blocks)

    def position(self, now: int) -> int:
        if not self.playing or self.time is None:
            return self.stopped[0]
        media = self.time.media(now)
        if not self.settled:
            return min(media, self.time.origin_us)
        stop = self.stop_us()
        ends = [] if stop is None else [stop]
        return min([media, *ends, *(record.due_us for record in self._next())])

    def _records(self) -> Iterator[Record]:
        return (record for block in self.blocks for record in block.records)

    def _next(self) -> list[Record]:
        """The next packet that is not sent, if one is fed."""
        return list(islice(self._records(), 1))

    # where it begins

    def _entries(self, from_us: int) -> dict[int, Record]:
        """By track: the first packet of the last key unit due at ``from_us`` or before."""
        return {
            record.track: record
            for record in self._records()
            if record.flags & KEY and record.flags & FIRST and record.due_us <= from_us
        }

    def preroll(self, from_us: int) -> int:
        """How much media before ``from_us`` goes out at once."""
        dues = [from_us, *(record.due_us for record in self._entries(from_us).values())]
        return from_us - min(dues)

    def settle(self) -> None:
        """Throw away what precedes the start, once everything that matters for it is fed."""
        assert self.time is not None
        from_us = self.time.origin_us
        if self.settled or (self.stop_us() is None and self.end_us <= from_us):
            return
        self.settled = True
        entries = self._entries(from_us)

        def stays(record: Record) -> bool:
            if self.node is not None and not self.fresh:
                return True
            entry = entries.get(record.track)
            if entry is not None:
                return record.total >= entry.total
            return not self.fresh or record.due_us >= from_us

        self.blocks = deque(
            replace(block, records=tuple(r for r in block.records if stays(r)))
            for block in self.blocks
        )
        self.fresh = False

    # what goes out

    def wants(self, record: Record) -> bool:
        if record.track not in self.outs or record.track not in self.reaches:
            return False
        if self.wanted is not None and record.track not in self.wanted:
            return False
        return bool(record.flags & KEY) or not self.keys_only

    def pump(self, now: int) -> None:
        """Send what is due and tell what there is to tell."""
        if not self.playing or self.time is None:
            return
        self.settle()
        if self.takes():
            self._resumed(now)
        elif self.stalled_since is None and any(due <= now for due in self.dues()):
            self.stalled_since = now
        while self.settled and self.blocks and self.takes():
            block = self.blocks[0]
            if not block.records:
                self.blocks.popleft()
                continue
            record = block.records[0]
            due = self.time.wall(record.due_us)
            early = due > now and not self._may_lead(due, now)
            if early or (self.until_us is not None and record.due_us >= self.until_us):
                break
            if self.wants(record):
                self.lead = max(0, due - now), now
            self.blocks[0] = replace(block, records=block.records[1:])
            if self.wants(record):
                self._send(record, due, now)
        self._tell(now)

    def _may_lead(self, due: int, now: int) -> bool:
        """Whether what is due then may go now."""
        assert self.time is not None
        had, since = self.lead
        most = self.ahead_us / max(1.0, self.time.rate * self.time.scale)
        return self.roomy() and due - now <= min(most, had + PACE * max(0, now - since))

    def _resumed(self, now: int) -> None:
        """Count how long packets that were due waited."""
        if self.stalled_since is not None:
            self.counters["stalled_us"] += now - self.stalled_since
            self.stalled_since = None

    def _send(self, record: Record, due: int, now: int) -> None:
        assert self.time is not None
        assert self.way is not None
        late = max(0, now - due)
        if late > MAX_BEHIND_US and self.node is None:
            self.counters["slipped_us"] += late - MAX_BEHIND_US
            self.time.at += late - MAX_BEHIND_US
            late = MAX_BEHIND_US
        out = self.outs[record.track]
        if out.reported is None or now - out.reported >= REPORT_US:
            out.reported = now
            self.way(record.track, self.report(out, now), True)
        packet = self.packet(out, record)
        if self.node is not None:
            self.kept = {n: k for n, k in self.kept.items() if now - k[0] <= self.keep_us}
            self.kept[self.node_sequence] = now, record.track, packet
            self.node_sequence = (self.node_sequence + 1) & 0xFFFFFFFF
        self.way(record.track, packet, False)
        out.packets += 1
        out.octets += len(record.payload)
        self.counters["packets"] += 1
        self.counters["bytes"] += len(packet)
        for limit in (1, 5, 20, 100):
            self.counters[f"late_{limit}ms"] += late > limit * 1000
        self.counters["late_max_us"] = max(self.counters["late_max_us"], late)

    def packet(self, out: Out, record: Record) -> bytes:
        assert self.time is not None
        first, extension, sequence = 0x80, b"", out.sequence
        if self.node is None:
            out.sequence += 1
        else:
            number, id = self.node
            first = 0x90
            sequence += record.number
            extension = struct.pack("!HHB", 0xBEDE, 3, id << 4 | 9) + struct.pack(
                "!IHIx", record.total & 0xFFFFFFFF, number, self.node_sequence
            )
        timestamp = self.time.ticks(out, record.due_us, record.timestamp)
        second = bool(record.flags & MARKER) << 7 | out.payload_type
        head = struct.pack("!BBHII", first, second, sequence & 0xFFFF, timestamp, out.ssrc)
        return head + extension + record.payload

    def stop_us(self) -> int | None:
        """The media time where it ends, as far as it is known and fed."""
        if self.finished:
            return self.end_us if self.until_us is None else min(self.end_us, self.until_us)
        if self.until_us is not None and self.until_us <= self.end_us:
            return self.until_us
        return None

    def _tell(self, now: int) -> None:
        assert self.time is not None
        media = self.time.media(now)
        stop = self.stop_us()
        left = any(stop is None or record.due_us < stop for record in self._records())
        if stop is not None and media >= stop and not left:
            self.stop(now)
            self.ended = True
            self.goodbye(now)
            self.emit("sender-ended", self.id)
            return
        queued = max(0, self.end_us - (self.position(now) if self.settled else media))
        if stop is None:
            faster = max(1.0, self.time.rate * self.time.scale)
            if queued < self.low_us * faster and not self.low_told:
                self.low_told = True
                self.emit("sender-low", self.id, queued)
            if media > self.end_us and not (left and self.settled) and not self.dry:
                self.dry = True
                self.counters["underruns"] += self.node is None

    def dues(self) -> list[int]:
        """When there is something to do, as far as it is known."""
        if not self.playing or self.time is None:
            return []
        dues = [self.end_us, *(record.due_us for record in self._next())]
        return [self.time.wall(due) for due in dues]

    # RTCP

    def report(self, out: Out, now: int) -> bytes:
        """A sender report and a description (RFC 3550 section 6.4.1)."""
        assert self.time is not None
        line = self.line(now)
        rtp = (out.timestamp + line * out.clock // 1_000_000) & 0xFFFFFFFF
        ntp = now // 10**6 + 2_208_988_800, -(-((now % 10**6) << 32) // 10**6)
        head = struct.pack("!BBHI", 0x80, 200, 6, out.ssrc)
        body = struct.pack("!IIIII", *ntp, rtp, out.packets & 0xFFFFFFFF, out.octets & 0xFFFFFFFF)
        name = self.cname.encode()[:255]
        item = struct.pack("!IBB", out.ssrc, 1, len(name)) + name + b"\0"
        item += bytes(-len(item) % 4)
        return head + body + struct.pack("!BBH", 0x81, 202, len(item) // 4) + item

    def goodbye(self, now: int) -> None:
        """Tell the receiver of each track that had packets that no more come."""
        if self.way is not None:
            for track, out in self.outs.items():
                if out.reported is not None:
                    bye = struct.pack("!BBHI", 0x81, 203, 1, out.ssrc)
                    self.way(track, self.report(out, now) + bye, True)
                    out.reported = None

    def resend(self, now: int, numbers: Sequence[int]) -> int:
        if self.node is None or self.way is None:
            raise ValueError("only a sender that is a node's keeps packets")
        sent = 0
        for number in numbers:
            when, track, packet = self.kept.pop(number, (0, 0, b""))
            if packet and now - when <= self.keep_us:
                self.way(track, packet, False)
                sent += 1
        self.counters["resent"] += sent
        self.counters["resend_refused"] += len(numbers) - sent
        return sent

    def stats(self, now: int) -> dict[str, Any]:
        position = self.position(now)
        stalled = 0 if self.stalled_since is None else now - self.stalled_since
        state = "playing" if self.playing else "ended" if self.ended else "paused"
        return {
            **self.counters,
            "stalled_us": self.counters["stalled_us"] + stalled,
            "state": state if self.time is not None else "idle",
            "position_us": position,
            "queued_us": max(0, self.end_us - position) if self.blocks else 0,
            "queued_bytes": self.queued_bytes(),
            "rr_loss_permille": self.loss_permille,
            "rr_jitter_us": self.jitter,
            "last_rtcp_age_ms": -1 if self.last_rtcp is None else (now - self.last_rtcp) // 1000,
        }
