"""Whom others see and we do not: decided here, asked for by the directory.

Zenoh does not always connect anew to a node that was frozen. Both then see everybody but each
other, and nothing that either hears tells of it; a third node knows.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TypeAlias

from heliograph.model.nodes import NodeId

#: One start of a node.
Session: TypeAlias = tuple[NodeId, str]

#: Seconds for which others have to see a session that we do not: tokens take milliseconds, and
#: one whose process has died is there for a lease. Of the two the one of the lower name acts
#: first, the other after twice the time.
PARTED = 10.0
#: Seconds after which what was told last counts no more.
STALE = 30.0
#: Seconds between two times that this makes the link anew, doubled up to the second: where a
#: network parts two nodes for good that helps nobody, and parts us from all others for a moment.
PAUSE_FIRST, PAUSE_MOST = 30.0, 600.0
#: Sessions that are remembered.
MAX_UNSEEN = 1000


@dataclass(slots=True)
class _Told:
    first: float
    last: float


class Unseen:
    """Of one node."""

    def __init__(self, node: NodeId) -> None:
        self._node = node
        self._told: dict[Session, _Told] = {}
        self._pause = PAUSE_FIRST
        self._rest_until = 0.0

    def told(
        self, theirs: Collection[Session], ours: Collection[Session], now: float
    ) -> Session | None:
        """Note whom another node sees; one from whom we are parted, if it is time to do something
        about it. ``now`` in seconds."""
        newest = dict(sorted(ours))
        for session in [*self._told]:
            if session in ours or now - self._told[session].last > STALE:
                del self._told[session]
        for session in theirs:
            node, start = session
            # Where we see a later start of the node, theirs has only not ended for them yet.
            if node == self._node or newest.get(node, "") >= start:
                continue
            if session in self._told:
                self._told[session].last = now
            elif len(self._told) < MAX_UNSEEN:
                self._told[session] = _Told(now, now)
        if now < self._rest_until:
            return None
        for session, told in self._told.items():
            waits = PARTED if self._node < session[0] else 2 * PARTED
            if now - told.first >= waits:
                self._rest_until = now + self._pause
                self._pause = min(PAUSE_MOST, 2 * self._pause)
                self._told.clear()
                return session
        if not self._told:
            self._pause = PAUSE_FIRST
        return None
