"""Requests of the client's machine, before they are bytes."""

from __future__ import annotations

from dataclasses import dataclass, field

from heliograph.protocols.rtsp.headers import Transport

#: Purposes that change what an answer means.
KEEPALIVE = "keepalive"
TAKE_OVER = "take over"
RESTART = "restart"


@dataclass(slots=True)
class Call:
    """A request to be sent, or under way."""

    method: str
    url: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = field(default=b"", repr=False)
    track: int = -1
    transport: Transport | None = None
    last_setup: bool = False
    purpose: str = ""
    attempts: int = 0
    cseq: int = 0
    session: str | None = None
    """Session to name where it is not the current one."""
