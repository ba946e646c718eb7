"""What another node has to know to go on with a viewer's session when this one dies: pure values.

A session tells its ``Control`` at each change; whoever keeps it (a neighbour, over the bus) gives
it to ``PlaySession.adopt`` there. Between changes it stays true by itself: media time follows from
the clock, sequence numbers from the title's counts.
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_right
from dataclasses import asdict, dataclass
from typing import Any

from heliograph.model.errors import MalformedError
from heliograph.storage.values import ObjectId, check_object
from heliograph.vod.blocks import MAX_TIME_US, MAX_TRACKS
from heliograph.vod.manifest import Manifest

#: Bytes of a control, encoded: 32 lanes and some names.
MAX_CONTROL = 8192
#: Sequence numbers left out by whoever goes on, so that none is used twice: what was sent is known
#: from the title's counts to some packets. Receivers take it for a loss, and up to 3000 for no more
#: (RFC 3550 appendix A.1).
GAP = 500
STATES = ("idle", "playing", "paused", "ended", "closed")

_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Lane:
    """How a track is numbered for its viewer."""

    track: int
    ssrc: int
    sequence: int
    """Of the next packet at ``Control.media_us``."""
    timestamp: int
    """RTP time of ``Control.media_us``."""


@dataclass(frozen=True, slots=True)
class Control:
    """A session as it was changed last."""

    id: str
    """32 hexadecimal digits, the same wherever it goes on."""
    version: int
    """Grows with each change: the highest is right."""
    title: str
    """Logical id."""
    object: ObjectId
    peer: str
    """Numeric address of the viewer, how it is served, and what it calls itself."""
    way: str
    agent: str
    lanes: tuple[Lane, ...]
    state: str
    """One of ``STATES``."""
    media_us: int
    """Media time at ``at_us``."""
    at_us: int
    """Unix µs."""
    scale: float
    speed: float
    end_us: int | None
    """Where to stop; None: at the end."""

    def position_us(self, now_us: int) -> int:
        """Media time at a Unix time in µs."""
        if self.state != "playing":
            return self.media_us
        passed = max(now_us - self.at_us, 0)
        return self.media_us + round(passed * self.scale * self.speed)

    def encode(self) -> bytes:
        """As JSON; see ``decode``."""
        return json.dumps(asdict(self), separators=(",", ":")).encode()


def decode(data: bytes) -> Control:
    """A control that another node told; ``MalformedError`` for what is none."""
    if len(data) > MAX_CONTROL:
        raise _malformed(f"{len(data)} bytes")
    try:
        raw = json.loads(data)
        lanes = tuple(Lane(**lane) for lane in raw.pop("lanes"))
        control = Control(lanes=lanes, **raw)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _malformed(type(error).__name__) from None
    _check(control)
    return control


def _check(control: Control) -> None:
    texts = (control.id, control.title, control.object, control.peer, control.way, control.agent)
    if not all(isinstance(text, str) and len(text) <= 256 for text in texts):
        raise _malformed("texts")
    check_object(control.object)
    if not _ID.fullmatch(control.id) or control.state not in STATES:
        raise _malformed("id or state")
    end = 0 if control.end_us is None else control.end_us
    _whole("version", control.version, 1 << 53)
    _whole("at", control.at_us, 1 << 62)
    _whole("media time", control.media_us, MAX_TIME_US)
    _whole("end", end, MAX_TIME_US)
    for factor in (control.scale, control.speed):
        good = isinstance(factor, int | float) and math.isfinite(factor)
        if not good or not 1 / 64 <= factor <= 64:
            raise _malformed("scale or speed")
    if not 1 <= len(control.lanes) <= MAX_TRACKS:
        raise _malformed(f"{len(control.lanes)} lanes")
    for lane in control.lanes:
        _whole("track", lane.track, 255)
        _whole("ssrc", lane.ssrc, 0xFFFFFFFF)
        _whole("sequence", lane.sequence, 0xFFFF)
        _whole("timestamp", lane.timestamp, 0xFFFFFFFF)
    if len({lane.track for lane in control.lanes}) != len(control.lanes):
        raise _malformed("a track twice")


def _whole(what: str, value: Any, most: int) -> None:  # noqa: ANN401 - what JSON gives
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise _malformed(what)


def _malformed(reason: str) -> MalformedError:
    return MalformedError("control", reason)


def packets_between(manifest: Manifest, track: int, from_us: int, to_us: int) -> int:
    """About how many packets of a track are due between two media times."""
    return max(
        _packets_before(manifest, track, to_us) - _packets_before(manifest, track, from_us), 0
    )


def _packets_before(manifest: Manifest, track: int, at_us: int) -> int:
    blocks = manifest.blocks
    number = max(bisect_right(blocks, at_us, key=lambda one: one.due_us) - 1, 0)
    block = blocks[number]
    if number + 1 < len(blocks):
        after = blocks[number + 1].first[track]
    else:
        after = next((o.packets for o in manifest.tracks if o.track.id == track), 0)
    length = max(block.end_us - block.due_us, 1)
    part = min(max((at_us - block.due_us) / length, 0.0), 1.0)
    return block.first[track] + math.ceil(part * (after - block.first[track]))


def lanes_at(
    control: Control, manifest: Manifest, position_us: int, begin_us: int
) -> tuple[Lane, ...]:
    """How a node numbers that goes on at ``position_us`` and sends from ``begin_us``, a key unit
    before it, on: timestamps as they were, sequence numbers behind all that may have been sent."""
    clocks = {one.track.id: one.track.clock_rate for one in manifest.tracks}
    found = []
    for lane in control.lanes:
        ticks = (begin_us - control.media_us) / control.scale * clocks[lane.track] / 1e6
        sent = 0
        if control.state == "playing":
            sent = packets_between(manifest, lane.track, control.media_us, position_us) + GAP
        found.append(
            Lane(
                lane.track,
                lane.ssrc,
                (lane.sequence + sent) & 0xFFFF,
                (lane.timestamp + math.floor(ticks)) & 0xFFFFFFFF,
            )
        )
    return tuple(found)
