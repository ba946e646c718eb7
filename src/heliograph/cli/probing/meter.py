"""What can be told of a track from its packets and their arrival. Pure: times are passed in.

Counts by itself rather than with the relay's own accounts, so that tests have a second opinion.
"""

from __future__ import annotations

import statistics
from collections import deque
from dataclasses import asdict, dataclass

from heliograph.model.errors import MalformedError, PeerError, UnsupportedError
from heliograph.model.media import Kind, Track
from heliograph.protocols import payload, rtcp
from heliograph.protocols.rtp import (
    JitterEstimator,
    LossAccount,
    RtpPacket,
    Unwrapper,
    timestamp_distance,
)

#: Sequence numbers remembered to tell late packets from repeated ones: 1 s of 40 Mbit/s.
WINDOW = 4096
#: Instants kept for delays: 10 s of sound in packets of 20 ms; the median forgets the burst with
#: which servers fill a player's buffer.
SAMPLES = 512
#: A sender report whose clock is off by more than this was not written by this machine's clock.
SAME_CLOCK = 1_000_000


@dataclass(frozen=True, slots=True)
class TrackReport:
    """What was found of one track."""

    id: int
    """Place in the description."""
    kind: str
    """``video``, ``audio`` or ``data``."""
    codec: str
    """Name of the codec."""
    codec_string: str | None
    """As WebCodecs names it, profile and level included; where it can be told."""
    encoding: str
    """Name in the description."""
    payload_type: int
    """RTP payload type."""
    clock_rate: int
    """Timestamp units a second."""
    channels: int
    """Audio channels; 0 for video."""
    first_packet_ms: float | None
    """From asking to play until the first packet."""
    packets: int
    """That came, each counted once."""
    bytes: int
    """Payload bytes in them."""
    bitrate: int
    """Payload bits a second of media time."""
    expected: int
    """Packets between the first and the last sequence number."""
    lost: int
    """Of them, those that did not come."""
    loss: float
    """``lost / expected``."""
    late: int
    """Packets that came after one with a higher number."""
    repeated: int
    """Packets that came more than once."""
    malformed: int
    """Datagrams that are not RTP, or units that are not of the codec."""
    restarts: int
    """Changes of the source (SSRC) after the first."""
    jitter_ms: float
    """Interarrival jitter at the end (RFC 3550 §6.4.1)."""
    units: int
    """Whole frames or sound packets; 0 for codecs not understood."""
    broken: int
    """Units after a hole."""
    rate: float | None
    """Units a second of media time."""
    keyframes: int
    """Video units where decoding can begin."""
    keyframe_interval: float | None
    """Seconds between them, mean."""
    keyframe_interval_max: float | None
    """The longest."""
    sender_reports: int
    """That came by RTCP."""
    same_clock: bool
    """Whether they were written by this machine's clock."""
    delay_ms: float | None
    """From the sender's clock reading to arrival, median; only with the same clock."""
    first_key: int | None
    """Timestamp of the first key unit."""

    def as_json(self) -> dict[str, object]:
        """For ``--json``."""
        return asdict(self)


class TrackMeter:
    """Counts one track."""

    def __init__(self, track: Track, began: float) -> None:
        """``began``: when playing was asked for, in seconds."""
        self.track = track
        self.key_unit: payload.AccessUnit | None = None
        """The first unit decoding can begin with."""
        self.on_unit: list[payload.AccessUnit] | None = None
        """Collects whole units where somebody wants them."""
        self._began = began
        self._first: float | None = None
        self._last = 0.0
        self._packets = self._bytes = self._late = self._repeated = self._malformed = 0
        self._ssrc: int | None = None
        self._restarts = 0
        self._expected_before = 0
        self._account = LossAccount()
        self._jitter = JitterEstimator(track.clock_rate)
        self._instants: deque[tuple[int, int]] = deque(maxlen=SAMPLES)
        self._reports = 0
        self._clock: tuple[int, int] | None = None  # Unix µs, RTP timestamp
        self._heard: tuple[int, int] | None = None  # middle of the NTP time, arrival in Unix µs
        self._same_clock = False
        self._units = self._broken = 0
        self._keys: list[int] = []
        self._start_source()
        try:
            self._depacketizer: payload.Depacketizer | None = payload.depacketizer(track)
        except (MalformedError, UnsupportedError):
            self._depacketizer = None

    def _start_source(self) -> None:
        self._numbers = Unwrapper.sequence()
        self._stamps = Unwrapper.timestamp()
        self._recent: set[int] = set()
        self._lowest: int | None = None
        self._highest = 0
        self._span: list[int] = []

    @property
    def packets(self) -> int:
        """Packets that came so far."""
        return self._packets

    def take_rtp(self, data: bytes, now: float, unix_us: int) -> None:
        """A datagram came at ``now`` seconds, ``unix_us`` by the wall clock."""
        try:
            packet = RtpPacket.parse(data)
        except MalformedError:
            self._malformed += 1
            return
        if packet.payload_type != self.track.payload_type:
            return  # comfort noise, retransmissions: another stream in the same place
        if packet.ssrc != self._ssrc:
            self._change_source(packet.ssrc)
        self._account.update(packet.sequence_number)
        if not self._is_new(self._numbers.extend(packet.sequence_number)):
            self._repeated += 1
            return
        if self._first is None:
            self._first = now
        self._last = now
        self._packets += 1
        self._bytes += len(packet.payload)
        self._jitter.update(now, packet.timestamp)
        if not self._instants or self._instants[-1][0] != packet.timestamp:
            self._instants.append((packet.timestamp, unix_us))
        stamp = self._stamps.extend(packet.timestamp)
        self._span = [min([*self._span[:1], stamp]), max([*self._span[1:], stamp])]
        self._assemble(packet)

    def _change_source(self, ssrc: int) -> None:
        if self._ssrc is not None:
            self._restarts += 1
            self._expected_before += self._expected_now
            self._account = LossAccount()
            self._start_source()
        self._ssrc = ssrc

    def _is_new(self, number: int) -> bool:
        """Count a sequence number; False if it was there before."""
        if self._lowest is None:
            self._lowest = self._highest = number
        elif number in self._recent:
            return False
        elif number < self._highest:
            self._late += 1
            self._lowest = min(self._lowest, number)
        self._highest = max(self._highest, number)
        self._recent.add(number)
        if len(self._recent) > 2 * WINDOW:
            self._recent = {n for n in self._recent if n > self._highest - WINDOW}
        return True

    def _assemble(self, packet: RtpPacket) -> None:
        if self._depacketizer is None:
            return
        try:
            units = self._depacketizer.push(packet)
        except PeerError:
            self._malformed += 1
            return
        for unit in units:
            self._units += 1
            self._broken += unit.after_loss
            if unit.key:
                self.key_unit = self.key_unit or unit
                if self.track.kind is Kind.VIDEO:
                    self._keys.append(unit.timestamp)
            if self.on_unit is not None:
                self.on_unit.append(unit)

    def take_rtcp(self, data: bytes, unix_us: int) -> bool:
        """A compound came; True if it held a sender report, which wants an answer."""
        try:
            packets = rtcp.parse(data)
        except MalformedError:
            self._malformed += 1
            return False
        found = False
        for packet in packets:
            if isinstance(packet, rtcp.SenderReport):
                found = True
                self._reports += 1
                sent_us = rtcp.unix_us_from_ntp(packet.ntp)
                self._clock = (sent_us, packet.rtp_timestamp)
                self._heard = (rtcp.ntp_middle(packet.ntp), unix_us)
                self._same_clock = abs(unix_us - sent_us) < SAME_CLOCK
        return found

    def receiver_report(self, own_ssrc: int, unix_us: int) -> bytes:
        """What the sender is told of its loss (RFC 3550 §6.4.2)."""
        last, since = 0, 0
        if self._heard is not None:
            last = self._heard[0]
            since = max(0, unix_us - self._heard[1]) * 65_536 // 1_000_000
        block = rtcp.ReportBlock(
            self._ssrc or 0,
            self._account.fraction_lost(),
            self._account.lost,
            self._account.extended_highest & 0xFFFFFFFF,
            self._jitter.jitter,
            last,
            min(since, 0xFFFFFFFF),
        )
        blocks = () if self._ssrc is None else (block,)
        return rtcp.serialize((rtcp.ReceiverReport(own_ssrc, blocks),))

    @property
    def _expected_now(self) -> int:
        return 0 if self._lowest is None else self._highest - self._lowest + 1

    def delay(self) -> float | None:
        """Median seconds from the sender's clock to arrival, whosever clock that is."""
        if self._clock is None or not self._instants:
            return None
        sent_us, reference = self._clock
        rate = self.track.clock_rate
        delays = [
            arrival - sent_us - timestamp_distance(reference, stamp) * 1_000_000 / rate
            for stamp, arrival in self._instants
        ]
        return statistics.median(delays) / 1e6

    def report(self) -> TrackReport:
        """Everything found so far."""
        track = self.track
        media = (self._span[1] - self._span[0]) / track.clock_rate if self._span else 0.0
        clock = self._last - self._first if self._first is not None else 0.0
        expected = self._expected_before + self._expected_now
        lost = max(0, expected - self._packets)
        gaps = [
            timestamp_distance(a, b) / track.clock_rate
            for a, b in zip(self._keys, self._keys[1:], strict=False)
        ]
        delay = self.delay() if self._same_clock else None
        key = self.key_unit
        return TrackReport(
            id=track.id,
            kind=str(track.kind),
            codec=str(track.codec),
            codec_string=payload.codec_string(track, key.data if key is not None else b""),
            encoding=track.encoding,
            payload_type=track.payload_type,
            clock_rate=track.clock_rate,
            channels=track.channels,
            first_packet_ms=_ms(None if self._first is None else self._first - self._began),
            packets=self._packets,
            bytes=self._bytes,
            bitrate=round(8 * self._bytes / max(media, clock, 0.001)) if self._packets > 1 else 0,
            expected=expected,
            lost=lost,
            loss=round(lost / expected, 6) if expected else 0.0,
            late=self._late,
            repeated=self._repeated,
            malformed=self._malformed,
            restarts=self._restarts,
            jitter_ms=round(1000 * self._jitter.seconds, 2),
            units=self._units,
            broken=self._broken,
            rate=round((self._units - 1) / media, 2) if self._units > 1 and media > 0 else None,
            keyframes=len(self._keys),
            keyframe_interval=round(sum(gaps) / len(gaps), 3) if gaps else None,
            keyframe_interval_max=round(max(gaps), 3) if gaps else None,
            sender_reports=self._reports,
            same_clock=self._same_clock,
            delay_ms=_ms(delay),
            first_key=None if key is None else key.timestamp,
        )


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 1)
