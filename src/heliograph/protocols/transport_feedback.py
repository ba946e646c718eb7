"""Transport-wide congestion feedback, one message of RTCP.

draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1. Carried by ``rtcp``; a file of its own
because its packing is larger than all the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import pack, unpack_from

from heliograph.model.errors import MalformedError

#: §3.1.5: receive deltas count in 250 µs.
DELTA_US = 250
#: §3.1: the reference time counts in 64 ms.
REFERENCE_US = 64_000
#: §3.1.3: a run length has 13 bits.
MAX_RUN = 0x1FFF
#: A two-bit status vector holds so many packets (§3.1.4).
VECTOR = 7


@dataclass(frozen=True, slots=True)
class TransportFeedback:
    """When each packet of a transport arrived, or that it did not."""

    sender: int
    """Who reports, 32 bits."""
    media: int
    """A stream of the transport, 32 bits."""
    base_sequence: int
    """Transport-wide number of the first packet reported on, 0–65 535."""
    reference_time: int
    """In 64 ms, signed 24 bits; the first delta counts from here."""
    feedback_count: int
    """0–255, one more for every message; a gap is a lost message."""
    deltas: tuple[int | None, ...]
    """For each packet the time since the previous arrival in 250 µs (16 bits), or ``None``."""

    def arrivals_us(self) -> list[int | None]:
        """Arrival of each packet in µs of the receiver's clock; ``None`` where it did not come."""
        now = self.reference_time * REFERENCE_US
        arrivals: list[int | None] = []
        for delta in self.deltas:
            if delta is not None:
                now += delta * DELTA_US
            arrivals.append(None if delta is None else now)
        return arrivals


def _malformed(reason: str) -> MalformedError:
    return MalformedError("rtcp", f"transport feedback: {reason}")


def parse(sender: int, media: int, control: bytes) -> TransportFeedback:
    """Read the feedback control information. Raises ``MalformedError``."""
    if len(control) < 8:
        raise _malformed(f"{len(control)} bytes")
    base, count, time_and_number = unpack_from("!HHI", control)
    reference = time_and_number >> 8
    if reference & 0x800000:
        reference -= 0x1000000
    statuses: list[int] = []
    at = 8
    while len(statuses) < count:
        if at + 2 > len(control):
            raise _malformed("ends within the status chunks")
        chunk = int.from_bytes(control[at : at + 2], "big")
        at += 2
        if not chunk & 0x8000:  # §3.1.3: run length
            statuses += [chunk >> 13 & 3] * min(chunk & MAX_RUN, count - len(statuses))
            if not chunk & MAX_RUN:
                raise _malformed("a run of no packets")
        elif chunk & 0x4000:  # §3.1.4: seven symbols of two bits
            statuses += [chunk >> shift & 3 for shift in range(12, -1, -2)]
        else:  # fourteen symbols of one bit
            statuses += [chunk >> shift & 1 for shift in range(13, -1, -1)]
    deltas: list[int | None] = []
    for status in statuses[:count]:
        if status == 3:
            raise _malformed("a reserved status")
        if at + status > len(control):
            raise _malformed("ends within the deltas")
        delta = int.from_bytes(control[at : at + status], "big", signed=status == 2)
        deltas.append(delta if status else None)
        at += status
    return TransportFeedback(sender, media, base, reference, time_and_number & 0xFF, tuple(deltas))


def build(feedback: TransportFeedback) -> bytes:
    """The feedback control information, padded with zeros to 32 bits."""
    statuses = [_status(delta) for delta in feedback.deltas]
    if len(statuses) > 0xFFFF:
        raise _malformed(f"{len(statuses)} packets")
    body = bytearray(
        pack(
            "!HHI",
            feedback.base_sequence,
            len(statuses),
            (feedback.reference_time & 0xFFFFFF) << 8 | feedback.feedback_count,
        )
    )
    at = 0
    while at < len(statuses):
        run = 1
        while run < MAX_RUN and at + run < len(statuses) and statuses[at + run] == statuses[at]:
            run += 1
        if run >= VECTOR or at + run == len(statuses):
            body += pack("!H", statuses[at] << 13 | run)
            at += run
            continue
        chunk = 0xC000
        for place, status in enumerate(statuses[at : at + VECTOR]):
            chunk |= status << (12 - 2 * place)
        body += pack("!H", chunk)
        at += VECTOR
    for delta, status in zip(feedback.deltas, statuses, strict=True):
        if delta is not None:
            body += delta.to_bytes(status, "big", signed=status == 2)
    return bytes(body) + bytes(-len(body) % 4)


def _status(delta: int | None) -> int:
    """0 not received, 1 small delta, 2 large or negative delta: the delta's size in bytes."""
    if delta is None:
        return 0
    if not -0x8000 <= delta <= 0x7FFF:
        raise _malformed(f"a delta of {delta}")
    return 1 if 0 <= delta <= 255 else 2
