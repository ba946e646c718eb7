"""What was played, as frozen values (M5). Times are aware and in UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

#: Seconds that one row of a server's uses stands for.
HOURLY, DAILY = 3600, 86_400


class Decision(NamedTuple):
    """One request that a dispatcher answered; a tuple, as a portal makes tens of thousands a
    second."""

    at: float
    """Seconds since 1970."""
    name: str
    """Logical id asked for; cut to 128 characters where it is unknown."""
    server: int
    """Id of the server it was sent to; 0: to none."""
    file: int
    """Id of the file; 0: none, or a live channel."""
    format: str
    """``Format`` it was answered in; empty: none."""
    client: str
    """Numeric address of who asked, or its network where addresses are made anonymous."""
    status: int
    """Status of the answer: 302, 403, 404, 406, 503."""


@dataclass(frozen=True, slots=True)
class Play:
    """One client that played one title or channel at one of our units (PLAY_INFO)."""

    id: str
    """Unique everywhere; a play told twice is counted once."""
    name: str
    """Logical id."""
    unit: str
    """Id of the node that served it."""
    client: str
    """Numeric address, or its network where addresses are made anonymous."""
    way: str
    """``webrtc``, ``rtsp-udp``, ``rtsp-tcp``, ``websocket``, ``hls``."""
    started: datetime
    ended: datetime
    sent_bytes: int
    stalls: int
    """Times the player ran dry or fell behind, as far as the unit can tell."""
