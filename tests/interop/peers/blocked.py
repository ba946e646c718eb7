"""A page that watches while its network begins to drop datagrams, and what is seen of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .chromium import Chromium
from .eye import Eye
from .heliograph import Server
from .network import Peer
from .program import wait_until

#: Seconds for pictures to come on a busy machine.
PATIENCE = 30.0
#: Seconds in which pictures must go on when UDP is blocked.
CHANGE = 3.0
#: Pictures that are seen before, and after.
BEFORE, AFTER = 50, 100

_REASON = """
() => document.querySelector("helio-watch").shadowRoot.querySelector("helio-player")
  .shadowRoot.querySelector("way-menu").way.reason
"""


@dataclass(frozen=True, slots=True)
class Blocked:
    """What was seen of one block."""

    stop: float
    """Longest time without a new picture from the block on, s."""
    ways: tuple[str, ...]
    """By which ways pictures came, in order."""
    reason: str
    """Why the page left the first way: ``silence``, ``loss``."""
    stayed: bool
    """Whether the page was not loaded anew."""
    complaints: tuple[str, ...]
    """Errors that the page's scripts did not handle."""


class Watching:
    """A browser in a network of its own that watches one channel of a server."""

    def __init__(self, server: Server, peer: Peer, directory: Path) -> None:
        self._server = server
        self._peer = peer
        # Cameras and WebCodecs want a secure page; here they take this one for it.
        secure = f"--unsafely-treat-insecure-origin-as-secure={server.http}"
        self._chromium = Chromium(secure, namespace=peer.name, directory=directory)

    def block(self, channel: str, share: float = 1.0) -> Blocked:
        """Open the channel's page, drop all datagrams while it plays by WebRTC, or that share of
        those that come, and wait until pictures have gone on by another way for a while; the
        network is whole again afterwards."""
        tab = self._chromium.open(f"{self._server.http}/watch/{channel}")
        try:
            eye = Eye(tab)
            eye.wait(BEFORE, PATIENCE)
            assert eye.ways == ["webrtc"]
            begun = eye.now
            if share < 1:
                self._peer.lose(share)
            else:
                self._peer.block_udp()
            try:
                wait_until(lambda: len(eye.ways) > 1, PATIENCE, "another way")
                eye.wait(AFTER, PATIENCE, since=eye.now)
            finally:
                self._peer.unblock()
            # A page that is loaded anew begins a new clock.
            return Blocked(
                stop=eye.longest_stop(begun),
                ways=tuple(eye.ways),
                reason=tab.evaluate(_REASON),
                stayed=eye.now > begun,
                complaints=tuple(tab.complaints),
            )
        finally:
            tab.close()

    def stop(self) -> None:
        """Close the browser."""
        self._chromium.stop()
