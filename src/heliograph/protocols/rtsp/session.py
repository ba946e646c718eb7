"""What a server keeps of one session."""

from __future__ import annotations

from dataclasses import dataclass, field

from heliograph.protocols.rtsp.headers import Transport
from heliograph.protocols.rtsp.states import TRANSITIONS, State


@dataclass(slots=True)
class Session:
    """From a connection's begin, or the end of the session before, to its own end."""

    state: State = State.INIT
    id: str | None = None
    """None in state ``INIT``."""
    transports: dict[int, Transport] = field(default_factory=dict)
    """Agreed transport of each track that was set up, in that order."""
    path: str | None = None
    """Channel path."""
    record: bool = False
    """Whether the client is or was going to send."""
    seekable: bool = False
    """Whether PLAY and PAUSE are asked about in every state, as of a title; live goes on."""
    setup_urls: dict[int, str] = field(default_factory=dict)
    """By track: the URL with which it was set up."""

    def move(self, method: str) -> None:
        """A method succeeded; it was one that the state allows."""
        self.state = TRANSITIONS[self.state, method]
