"""Which starts of which nodes are there: what one was writing ends with it."""

from __future__ import annotations

import time
from collections.abc import Callable

from heliograph.bus import Announcement, Bus
from heliograph.storage.volume.claims import Claim, Claims, new_run

#: Kind of the name by which a node tells its run.
RUN = "storage-run"
#: Seconds that a run is not seen until it counts as ended though its node has shown no later one:
#: far more than a cut that heals by itself takes, as what it writes is lost to it then.
GONE = 60.0


class Runs:
    """Of this node, and of those that are seen; started with the bus."""

    def __init__(self, bus: Bus, clock: Callable[[], float] = time.monotonic) -> None:
        self._bus = bus
        self._clock = clock
        self.run = new_run()
        self._absent: dict[Claim, float] = {}
        """Since when a run that is asked for is not seen."""
        self._announcement: Announcement | None = None

    def start(self) -> None:
        """Show this one."""
        self._announcement = self._bus.announce(RUN, self.run)

    def close(self) -> None:
        """Show it no more."""
        if self._announcement is not None:
            self._announcement.close()

    def claims(self) -> Claims:
        """For a volume."""
        return Claims(self._bus.node, self.run, self.ended)

    def ended(self, claim: Claim) -> bool:
        """Whether a run has ended: its node began another, or has not been seen for long."""
        seen = self._bus.present(RUN)
        if (claim.node, claim.run) in seen:
            self._absent.pop(claim, None)
            return False
        if any(node == claim.node for node, _ in seen):
            return True
        now = self._clock()
        return now - self._absent.setdefault(claim, now) >= GONE
