"""How to play."""

from __future__ import annotations

from dataclasses import dataclass, field

from heliograph.player.steering import FlowOptions


@dataclass(frozen=True, slots=True)
class PlayOptions:
    """How to play."""

    tcp: bool = False
    """Media within the RTSP connection from the start."""
    gathered: bool = False
    """Have one server send a title's packets, though all nodes that hold it could."""
    start: float | None = None
    """Seconds from the beginning of titles."""
    seconds: float | None = None
    """End after so many seconds of media."""
    buffer: float | None = None
    """Seconds of the circular buffer; else 5 for titles, 1 for channels."""
    flow: FlowOptions = field(default_factory=FlowOptions)
    decode: bool = True
    """Whether media are decoded where no output asks for it."""
    key: str = ""
    """Shown as a password where URLs have none."""
