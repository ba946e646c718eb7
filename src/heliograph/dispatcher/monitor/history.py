"""Measurements on their way to the database: thinned, bounded, without input or output.

Of the measurements of one server by one kind of probe between two savings one row is kept with
their mean, and one where any was a miss. What the database does not take waits, up to a bound.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TypeAlias

from heliograph.catalogue.contents.values import ProbeKind

#: Rows that wait: a minute of a thousand servers with two kinds of probes, saved every three
#: seconds; some ten megabytes.
MAX_ROWS = 40_000

#: Rows of one transaction; ``ContentStore.save_states`` takes twice as many.
MAX_TAKEN = 5_000

#: Server, kind, seconds since 1970, milliseconds (None: a miss), as ``ContentStore.save_states``
#: takes them.
Row: TypeAlias = tuple[int, ProbeKind, float, float | None]


class History:
    """What is to be saved."""

    def __init__(self, most: int = MAX_ROWS) -> None:
        self.lost = 0
        """Rows that found no room; the oldest go."""
        self._rows: deque[Row] = deque()
        self._most = most
        self._sums: dict[tuple[int, ProbeKind], tuple[float, int]] = {}
        self._missed: set[tuple[int, ProbeKind]] = set()

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, server: int, kind: ProbeKind, ms: float | None) -> None:
        """A measurement; ``ms``: None is a miss."""
        if ms is None:
            self._missed.add((server, kind))
            return
        total, count = self._sums.get((server, kind), (0.0, 0))
        self._sums[server, kind] = total + ms, count + 1

    def take(self, at: float) -> Sequence[Row]:
        """The oldest ``MAX_TAKEN`` that are to be saved; what was added counts as of ``at``."""
        for (server, kind), (total, count) in self._sums.items():
            self._put((server, kind, at, total / count))
        for server, kind in self._missed:
            self._put((server, kind, at, None))
        self._sums.clear()
        self._missed.clear()
        return [self._rows.popleft() for _ in range(min(MAX_TAKEN, len(self._rows)))]

    def give_back(self, rows: Sequence[Row]) -> None:
        """Rows that could not be saved wait again, as far as there is room."""
        room = max(0, self._most - len(self._rows))
        kept = rows[len(rows) - min(room, len(rows)) :]
        self.lost += len(rows) - len(kept)
        self._rows.extendleft(reversed(kept))

    def clear(self) -> None:
        """Somebody else saves: keep nothing."""
        self._rows.clear()
        self._sums.clear()
        self._missed.clear()

    def _put(self, row: Row) -> None:
        if len(self._rows) >= self._most:
            self._rows.popleft()
            self.lost += 1
        self._rows.append(row)
