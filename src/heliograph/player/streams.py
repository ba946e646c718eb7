"""What a description offers to a player. Pure."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from heliograph.model.errors import HelioError, MalformedError
from heliograph.model.media import Kind, Track
from heliograph.protocols import payload
from heliograph.protocols.rtsp.headers import parse_range
from heliograph.protocols.sdp import SessionDescription


@dataclass(frozen=True, slots=True)
class Stream:
    """One track that is played."""

    index: int
    """Among all streams of the player."""
    track: Track
    url: str
    """Where it comes from, without credentials."""


def duration_of(description: SessionDescription) -> float | None:
    """Seconds a title lasts; ``None`` for what has no end: a live channel."""
    attributes = [*description.attributes, *(a for m in description.media for a in m.attributes)]
    for attribute in attributes:
        if attribute.name.lower() == "range" and attribute.value:
            with contextlib.suppress(MalformedError):
                wanted = parse_range(attribute.value)
                if wanted.end_seconds is not None:
                    return wanted.end_seconds - (wanted.start_seconds or 0.0)
    return None


def playable(tracks: Sequence[Track]) -> tuple[list[Track], list[str]]:
    """The tracks that can be played, and why others cannot."""
    good, remarks = [], []
    for track in tracks:
        if track.kind is Kind.DATA:
            continue
        try:
            payload.depacketizer(track)
        except HelioError as error:
            name = track.encoding or track.codec.value
            remarks.append(f"track {track.id} ({name}) is left out: {error.message}")
        else:
            good.append(track)
    return good, remarks


def answering(description: SessionDescription, streams: Sequence[Stream]) -> frozenset[int]:
    """Streams whose description offers generic NACKs (RFC 4585 §4.2)."""
    formats = {
        (attribute.value or "").partition(" ")[0]
        for medium in description.media
        for attribute in medium.attributes
        if attribute.name.lower() == "rtcp-fb"
        and (attribute.value or "").partition(" ")[2].strip().lower() == "nack"
    }
    return frozenset(
        s.index for s in streams if "*" in formats or str(s.track.payload_type) in formats
    )
