"""What an RTSP connection serves: live channels and titles do it each in their way."""

from __future__ import annotations

from typing import Protocol

from heliograph.protocols.rtsp.events import (
    DescribeRequested,
    PauseRequested,
    PlayRequested,
    SetupRequested,
)

#: Why a session is over here that goes on at another node.
LEFT = "left to another node"


class Service(Protocol):
    """One connection's part of a service. Requests are answered by the connection's session;
    errors refuse them."""

    @property
    def subject(self) -> str:
        """Name of the channel or title of the session; empty without one."""

    def describe(self, event: DescribeRequested) -> None: ...
    def setup(self, event: SetupRequested) -> None: ...
    def play(self, event: PlayRequested) -> None: ...
    def pause(self, event: PauseRequested) -> None: ...

    def age(self) -> float | None:
        """Seconds since the client's media gave a sign of life; None without any."""

    def survives(self) -> bool:
        """Whether the session lives on although its connection is gone: what goes by UDP may, until
        it gives no sign of life (RFC 2326 section 1.1: a session is not tied to a connection)."""

    @property
    def hands_on(self) -> bool:
        """Whether the session goes on elsewhere when this server stops."""

    def detach(self, reason: str) -> None:
        """The session is over."""
