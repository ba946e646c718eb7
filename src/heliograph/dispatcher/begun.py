"""Who plays a file goes on with the copy with which he began.

Players of a file ask for it by ranges (RFC 9110 section 14), many at the logical address each
time, as redirects are not to be kept. On servers of different make a title is different bytes: with
the index of one copy the media of another are noise.
"""

from __future__ import annotations

from typing import final

#: Clients and titles remembered, twice: of a client are known 200 bytes.
MOST = 50_000
#: Seconds for which it is remembered at least, since the last request: a player that paused.
KEPT_S = 600.0


@final
class Begun:
    """By client and title, the server to which he was sent last; 0: he plays it at this portal."""

    __slots__ = ("_newer", "_older", "_since")

    def __init__(self) -> None:
        # By client and title the server's id, less than 0 of one that was only looked at.
        self._newer: dict[tuple[str, str], int] = {}
        self._older: dict[tuple[str, str], int] = {}
        self._since = 0.0

    def __len__(self) -> int:
        return len(self._newer) + len(self._older)

    def note(self, client: str, name: str, server: int) -> None:
        """Remember where a client was sent for a title; those not heard of longest are forgotten
        where there is no room."""
        if len(self._newer) >= MOST:
            self._turn()
        self._newer[client, name] = server

    def look(self, client: str, name: str, server: int) -> None:
        """Remember of which copy a client was told who did not begin to play yet."""
        self.note(client, name, -server)

    def find(self, client: str, name: str) -> int | None:
        """Where he was sent, or less than 0: he looked at the server of ``-find``. None: nothing
        is known of him."""
        key = client, name
        server = self._newer.get(key)
        return self._older.get(key) if server is None else server

    def tick(self, now: float) -> None:
        """Let time pass. ``now``: seconds of any clock."""
        if not 0 <= now - self._since < KEPT_S:  # a clock may be set back
            self._since = now
            self._turn()

    def _turn(self) -> None:
        self._newer, self._older = {}, self._newer
