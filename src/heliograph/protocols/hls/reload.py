"""Delivery directives and what to answer (draft-ietf-hls-rfc8216bis §6.2.5)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from heliograph.model.errors import MalformedError
from heliograph.protocols.hls.playlist import MediaPlaylist

#: §6.2.5.2: how many segments ahead of the last one a client may ask.
ADVANCE_SEGMENTS = 2
#: §6.2.5.2: seconds of parts ahead likewise; parts of a second or more: as many parts.
ADVANCE_PARTS = 3
#: §6.2.5.2: target durations after which a request that still waits is given up.
PATIENCE = 3
#: Digits of a number in a query: 2⁶³ has 19.
MAX_DIGITS = 18


class Answer(Enum):
    """What to do with a request now."""

    NOW = 200
    """Send the playlist, or the part, as it is."""
    WAIT = 0
    """Ask again after the next part, or when ``give_up_after`` has passed."""
    BAD = 400
    """Refuse: too far ahead, or without sense."""
    GONE = 404
    """Refuse: it is not there and will not come."""
    BUSY = 503
    """Refuse: it should have come by now."""


@dataclass(frozen=True, slots=True)
class Directives:
    """What a playlist request asks for beside the playlist."""

    msn: int | None = None
    """``_HLS_msn``: wait until this segment is listed."""
    part: int | None = None
    """``_HLS_part``: or this part of it."""
    skip: bool = False
    """``_HLS_skip``: a delta update will do."""


def parse_directives(query: Mapping[str, str]) -> Directives:
    """Read a query's parameters; others are left alone. Raises ``MalformedError`` (400)."""

    def number(name: str) -> int | None:
        text = query.get(name)
        if text is None:
            return None
        if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
            raise MalformedError("hls", f"{name}={text[:20]}")
        return int(text)

    msn, part = number("_HLS_msn"), number("_HLS_part")
    if part is not None and msn is None:
        raise MalformedError("hls", "_HLS_part without _HLS_msn")
    # A value of a later version of the protocol gets the whole playlist, which always is right.
    return Directives(msn, part, query.get("_HLS_skip") in ("YES", "v2"))


def give_up_after(playlist: MediaPlaylist) -> float:
    """Seconds a request may wait."""
    return float(PATIENCE * playlist.targets.duration)


def answer_playlist(playlist: MediaPlaylist, directives: Directives, waited: float = 0.0) -> Answer:
    """What to do with a playlist request that has waited so many seconds."""
    msn, part, last = directives.msn, directives.part, playlist.last_part
    if playlist.ended:
        return Answer.NOW
    if last is not None:
        if msn is None:
            return Answer.NOW
        if part is None:  # a whole segment, so not the growing one
            if msn < playlist.next_part[0]:
                return Answer.NOW
        # A part beyond a segment's last one is part 0 of the next, which is there if that is.
        elif msn < last[0] or (msn == last[0] and part <= last[1]):
            return Answer.NOW
    # With nothing in it yet a playlist is no use to a player: it waits for the first part.
    if msn is not None and _too_far(playlist, msn, part):
        return Answer.BAD
    return Answer.BUSY if waited >= give_up_after(playlist) else Answer.WAIT


def _too_far(playlist: MediaPlaylist, msn: int, part: int | None) -> bool:
    last_msn, last_part = playlist.last_part or (playlist.next_part[0], -1)
    if msn > last_msn + ADVANCE_SEGMENTS:
        return True
    target = playlist.targets.part
    advance = math.ceil(ADVANCE_PARTS / target) if target < 1 else ADVANCE_PARTS
    # Only within the segment at hand can it be told how far ahead a part is.
    return part is not None and msn == last_msn and part > last_part + advance


def answer_part(playlist: MediaPlaylist, msn: int, index: int, waited: float = 0.0) -> Answer:
    """What to do with a request for a part: the one hinted at is worth waiting for."""
    if (msn, index) < playlist.next_part:
        return Answer.NOW  # whether it is still there, and was, the store knows
    if (msn, index) != playlist.next_part or playlist.ended:
        return Answer.GONE
    return Answer.BUSY if waited >= give_up_after(playlist) else Answer.WAIT
