"""Notices from outside that the event loop stands still.

Zenoh's threads go on while the loop does nothing: other nodes would take a process for well that
answers nobody.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

#: Looks within the patience: a loop is noticed to stand at most a quarter later.
LOOKS = 4


class Watchdog:
    """Calls ``stalled``, in a thread of its own, when the loop did nothing for so long, and
    ``recovered``, on the loop, when it goes on."""

    def __init__(
        self, patience: float, stalled: Callable[[], None], recovered: Callable[[], None]
    ) -> None:
        """``patience`` in seconds."""
        self.stalls = 0
        """How often the loop stood still."""
        self._period = patience / LOOKS
        self._stalled = stalled
        self._recovered = recovered
        self._beats = 0
        self._standing = False
        self._over = threading.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._thread = threading.Thread(target=self._watch, name="bus watchdog", daemon=True)

    def start(self) -> None:
        """Begin, on the loop that is watched."""
        self._loop = asyncio.get_running_loop()
        self._beat()
        self._thread.start()

    def close(self) -> None:
        """End; a call of ``stalled`` under way may still come to its end."""
        self._over.set()
        if self._timer is not None:
            self._timer.cancel()

    def _beat(self) -> None:
        self._beats += 1
        if self._standing:
            self._standing = False
            self._recovered()
        self._timer = self._loop.call_later(self._period, self._beat)

    def _watch(self) -> None:
        seen, still = self._beats, 0
        while not self._over.wait(self._period):
            # A process that was stopped as a whole finds no beats either: it counts its own looks,
            # not the time, and the loop has its chance between two of them.
            still = still + 1 if self._beats == seen else 0
            seen = self._beats
            if still == LOOKS:
                self.stalls += 1
                self._stalled()
                self._standing = True
