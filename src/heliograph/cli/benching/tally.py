"""Counting what viewers get. Pure: times are passed in, totals only grow.

Far lighter than ``probing.meter``: a packet costs a few lookups, since one process counts for
hundreds of viewers.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from heliograph.model.errors import MalformedError
from heliograph.protocols import rtcp
from heliograph.protocols.rtp import JitterEstimator, timestamp_distance

#: Lower edge of the first class of delays, ms: clocks of one machine are not read more exactly.
FIRST_MS = 0.1
#: Width of each class beside the one below: percentiles are good to ± 2.5 %.
WIDTH = 1.05
#: Classes: up to 5 minutes, beyond which nobody calls it live.
CLASSES = 306
#: A sender report further off than this, in µs, was not written by this machine's clock.
SAME_CLOCK_US = 1_000_000
#: Seconds without a packet after which a viewer counts as starved: two keyframe distances.
STARVED_S = 2.0

#: Streams whose clocks are kept: tracks of a channel, and some restarts of its publisher.
MAX_CLOCKS = 64

_HEAD = struct.Struct("!2xHII")
_WIDTH_LOG = math.log(WIDTH)


def delay_class(ms: float) -> int:
    """The class that a delay belongs to."""
    if ms <= FIRST_MS:
        return 0
    return min(int(math.log(ms / FIRST_MS) / _WIDTH_LOG), CLASSES - 1)


def percentile(counts: Mapping[int, int], share: float) -> float | None:
    """The delay in ms that ``share`` (0–1) of those counted by class do not exceed."""
    left = share * sum(counts.values())
    for number in sorted(counts):
        left -= counts[number]
        if left <= 0 and counts[number]:
            return float(FIRST_MS * WIDTH ** (number + 0.5))
    return None


@dataclass(slots=True)
class Delays:
    """What all viewers of a process have found of delays together.

    A relay sends everybody the same stream: a sender report that one viewer had tells the clock
    of the stream to all of them, those who join later included.
    """

    counts: list[int] = field(default_factory=lambda: [0] * CLASSES)
    """First packets of frames by class of delay."""
    clocks: dict[int, tuple[int, int]] = field(default_factory=dict)
    """By SSRC: time in µs since 1970 and the RTP timestamp of that instant."""

    def learn(self, report: rtcp.SenderReport, unix_us: int) -> None:
        """Take a sender report that came at ``unix_us``."""
        sent_us = rtcp.unix_us_from_ntp(report.ntp)
        room = report.ssrc in self.clocks or len(self.clocks) < MAX_CLOCKS
        if room and abs(unix_us - sent_us) < SAME_CLOCK_US:
            self.clocks[report.ssrc] = (sent_us, report.rtp_timestamp)

    def take(self, ssrc: int, stamp: int, clock_rate: int, unix_us: int) -> None:
        """The first packet of a frame came."""
        clock = self.clocks.get(ssrc)
        if clock is not None:
            media_ms = timestamp_distance(clock[1], stamp) * 1000 / clock_rate
            self.counts[delay_class((unix_us - clock[0]) / 1000 - media_ms)] += 1


class TrackTally:
    """Counts one track of one viewer."""

    __slots__ = (
        "_clock_rate",
        "_delays",
        "_jitter",
        "_number",
        "_ssrc",
        "_stamp",
        "bytes",
        "expected",
        "last",
        "received",
    )

    def __init__(self, clock_rate: int, delays: Delays) -> None:
        """``delays``: shared by all viewers of a process."""
        self.expected = 0
        """Packets from the first to the highest number."""
        self.received = 0
        """Packets that came."""
        self.bytes = 0
        """Bytes of RTP in them."""
        self.last = 0.0
        """When the last one came, in seconds; 0 before the first."""
        self._clock_rate = clock_rate
        self._delays = delays
        self._jitter = JitterEstimator(clock_rate)
        self._ssrc = -1
        self._number = 0
        self._stamp = -1

    @property
    def jitter_ms(self) -> float:
        """Interarrival jitter (RFC 3550 §6.4.1), of the first packet of each frame."""
        return 1000 * self._jitter.seconds

    def take_rtp(self, data: bytes, now: float, unix_us: int) -> None:
        """A packet came at ``now`` seconds, ``unix_us`` by the wall clock."""
        if len(data) < 12:
            return
        number, stamp, ssrc = _HEAD.unpack_from(data)
        if ssrc != self._ssrc:
            self._ssrc, self._number = ssrc, (number - 1) & 0xFFFF
            self._jitter = JitterEstimator(self._clock_rate)
        step = (number - self._number) & 0xFFFF
        if step < 0x8000:
            self.expected += step
            self._number = number
        self.received += 1
        self.bytes += len(data)
        self.last = now
        if stamp != self._stamp:
            self._stamp = stamp
            self._jitter.update(now, stamp)
            self._delays.take(ssrc, stamp, self._clock_rate, unix_us)

    def take_rtcp(self, data: bytes, unix_us: int) -> None:
        """A compound came; a sender report in it ties timestamps to the clock."""
        try:
            packets = rtcp.parse(data)
        except MalformedError:
            return
        for packet in packets:
            if isinstance(packet, rtcp.SenderReport):
                self._delays.learn(packet, unix_us)


@dataclass(frozen=True, slots=True)
class Totals:
    """What all viewers of one worker, or of all, have counted since they began."""

    playing: int = 0
    """Viewers that play now."""
    failed: int = 0
    """Viewers refused, or ended by the server."""
    starved: int = 0
    """Of those that play, viewers without a packet for ``STARVED_S``."""
    expected: int = 0
    """Packets that the viewers should have had."""
    received: int = 0
    """Packets they had."""
    bytes: int = 0
    """Bytes of RTP in them."""
    dropped: int = 0
    """Packets that came to this machine and found the viewer's socket full: our own fault."""
    cpu_s: tuple[float, ...] = ()
    """CPU seconds of each worker."""
    late_ms: float = 0.0
    """How late a worker's timers were at most since the totals before, in ms."""
    jitter_ms: float = 0.0
    """Median of the viewers, in ms; over several workers their mean."""
    delays: Mapping[int, int] = field(default_factory=dict)
    """First packets of frames by class of delay."""
    reasons: Mapping[str, int] = field(default_factory=dict)
    """Why viewers failed, and how many."""


def add_counts(one: Mapping[int, int], other: Mapping[int, int], sign: int = 1) -> dict[int, int]:
    """Both together, or with ``sign`` -1 what ``one`` has more."""
    found = dict(one)
    for key, count in other.items():
        found[key] = found.get(key, 0) + sign * count
    return {key: count for key, count in found.items() if count}


def together(parts: list[Totals]) -> Totals:
    """The totals of several workers."""
    delays: dict[int, int] = {}
    reasons: dict[str, int] = {}
    for part in parts:
        delays = add_counts(delays, part.delays)
        for reason, count in part.reasons.items():
            reasons[reason] = reasons.get(reason, 0) + count
    return Totals(
        playing=sum(part.playing for part in parts),
        failed=sum(part.failed for part in parts),
        starved=sum(part.starved for part in parts),
        expected=sum(part.expected for part in parts),
        received=sum(part.received for part in parts),
        bytes=sum(part.bytes for part in parts),
        dropped=sum(part.dropped for part in parts),
        cpu_s=tuple(second for part in parts for second in part.cpu_s),
        late_ms=max((part.late_ms for part in parts), default=0.0),
        jitter_ms=sum(part.jitter_ms for part in parts) / max(len(parts), 1),
        delays=delays,
        reasons=reasons,
    )
