"""Which starts of which nodes are there: what one was writing ends with it."""

from __future__ import annotations

import time
from collections.abc import Callable

from heliograph.bus import Announcement, Bus, Event, Gone, Registration
from heliograph.storage.volume.claims import Claim, Claims, new_run

#: Kind of the name by which a node tells its run.
RUN = "storage-run"
#: Seconds that a run is gone until it counts as ended though its node has shown no later one:
#: far more than a cut that heals by itself takes, as what it writes is lost to it then.
GONE = 60.0


class Runs:
    """Of this node, and of those that are seen; started with the bus."""

    def __init__(self, bus: Bus, clock: Callable[[], float] = time.monotonic) -> None:
        self._bus = bus
        self._clock = clock
        self.run = new_run()
        self._gone: dict[Claim, float] = {}
        """Since when a run is gone, or was asked for and had never been seen."""
        self._announcement: Announcement | None = None
        self._watch: Registration | None = None

    def start(self) -> None:
        """Show this one, and see those of others come and go."""
        self._announcement = self._bus.announce(RUN, self.run)
        self._watch = self._bus.watch(RUN, self._seen)

    def close(self) -> None:
        """Show it no more."""
        if self._watch is not None:
            self._watch.close()
        if self._announcement is not None:
            self._announcement.close()

    def claims(self) -> Claims:
        """For a volume."""
        return Claims(self._bus.node, self.run, self.ended)

    def ended(self, claim: Claim) -> bool:
        """Whether a run has ended: its node shows a later one, or it has been gone for long."""
        seen = self._bus.present(RUN)
        if (claim.node, claim.run) in seen:
            return False
        # An earlier one is of a node that has just started: what is seen of it is old.
        if any(node == claim.node and run > claim.run for node, run in seen):
            return True
        now = self._clock()
        return now - self._gone.setdefault(claim, now) >= GONE

    def _seen(self, event: Event) -> None:
        node, run = event.name.node, event.name.name
        if isinstance(event, Gone):
            self._gone[Claim(node, run)] = self._clock()
            return
        for one in [*self._gone]:  # earlier ones have ended, however long ago
            if one.node == node and one.run <= run:
                del self._gone[one]
