"""What a viewer of a title asks for and gets: values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

#: How many times as fast as usual blocks are read at most where only key units are shown: enough
#: for several pictures a second.
MOST_PACE = 4.0
#: Starts elsewhere in a title at once, and each second after them: each reads some blocks, which
#: were promised once only.
SEEKS, SEEKS_A_SECOND = 6, 1.5
#: Scale (how fast a title is shown) and Speed (how fast it is sent) that can be had.
SCALES, SPEEDS = (0.125, 32.0), (0.25, 4.0)


class PlayState(StrEnum):
    """What a session does."""

    IDLE = "idle"
    PLAYING = "playing"
    PAUSED = "paused"
    ENDED = "ended"
    """What was asked for is sent; it may be played again."""
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Wish:
    """What a viewer asks to be played."""

    start_us: int | None = None
    """None: from where it is, or the start after the end."""
    end_us: int | None = None
    """None: to the end."""
    scale: float = 1.0
    speed: float = 1.0


@dataclass(frozen=True, slots=True)
class Started:
    """What is played."""

    start_us: int
    """Media time of the first packets: that of a key unit."""
    end_us: int
    scale: float
    """That was chosen, as is the speed."""
    speed: float
    starts: dict[int, tuple[int, int]]
    """By track: next RTP sequence number, RTP timestamp of ``start_us``."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who watches, and how."""

    peer: str
    """Numeric address."""
    way: str
    """``rtsp-udp``, ``rtsp-tcp``."""
    agent: str = ""
    """What the player calls itself."""


def choose_scale(wanted: float, pictures: bool) -> float:
    """The scale that can be had: forwards, and where there are pictures to be shown so."""
    if not pictures or wanted <= 0:
        return 1.0
    return min(max(wanted, SCALES[0]), SCALES[1])


class Turns:
    """How often a viewer may begin elsewhere: whoever drags a slider waits a little."""

    def __init__(self) -> None:
        self._left = float(SEEKS)
        self._at = 0.0

    def take(self, now: float) -> float:
        """Seconds to wait until the next start; ``now`` in seconds, of any origin."""
        self._left = min(self._left + max(now - self._at, 0.0) * SEEKS_A_SECOND, SEEKS) - 1
        self._at = now
        return max(-self._left / SEEKS_A_SECOND, 0.0)
