"""The unit that containers take and give."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class TimedUnit:
    """One access unit with its times, which never wrap."""

    track: int
    """Id of its track."""
    dts: int
    """Decoding time in units of the track's clock, any origin, 64 bits."""
    pts: int
    """Presentation time, same clock and origin."""
    key: bool
    """Whether decoding can begin here; always for audio."""
    data: bytes = field(repr=False)
    """As ``protocols.payload.AccessUnit`` has it: Annex B, OBUs with sizes, or as the codec is."""
