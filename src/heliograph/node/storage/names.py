"""Names of titles that come: each node shows which it writes, so that a name becomes one title's.

Two who begin at the same moment do not see each other yet: before a title begins to exist its
writer looks again, and whoever was later gives way.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass

from heliograph.bus import Announcement, Bus, Registration
from heliograph.model.errors import ConflictError, HelioError
from heliograph.node.storage.shelf import Shelf
from heliograph.storage.values import ObjectId

#: Kind of the name by which a node tells of a title that it writes, or has something left of.
COMING = "title-coming"


@dataclass(slots=True)
class _Held:
    """A name of this node."""

    since: float
    announcement: Announcement
    count: int = 1
    """Who hold it: of what a killed server left several may have one name."""


class Names:
    """Of one node."""

    def __init__(self, bus: Bus, shelf: Shelf) -> None:
        self._bus = bus
        self._shelf = shelf
        self._held: dict[str, _Held] = {}

    def check(self, name: str) -> None:
        """``ConflictError`` where there is a title of a name, or one comes at another node."""
        if self._shelf.find(name) is not None or self._others(name):
            raise _taken(name)

    def hold(self, name: str, since: float | None = None) -> Registration:
        """Have a name until what is returned is closed; ``since`` when, Unix time, None: now."""
        found = self._held.get(name)
        if found is None:
            since = time.time() if since is None else since
            told = self._bus.announce(COMING, name, since)
            self._held[name] = found = _Held(since, told)
        else:
            found.count += 1
        held = found

        def let_go() -> None:
            held.count -= 1
            if not held.count:
                del self._held[name]
                held.announcement.close()

        return Registration(let_go)

    async def confirm(self, name: str, object: ObjectId) -> None:
        """Look again before a title begins to exist; ``ConflictError``: another one has the name,
        or comes and was first."""
        mine = self._held.get(name)
        own = (float("inf") if mine is None else mine.since, self._bus.node)
        if any(other < own for other in self._others(name)):
            raise _taken(name)
        with contextlib.suppress(HelioError):  # what cannot be asked now decides nothing
            await self._shelf.look()
        found = self._shelf.find(name)
        if found is not None and found.object != object:
            raise _taken(name)

    def written(self, name: str) -> bool:
        """Whether some node has a title of that name under way, or something left of it."""
        return any(one == name for _, one in self._bus.present(COMING))

    def _others(self, name: str) -> list[tuple[float, str]]:
        """Other nodes with a title of a name, and since when."""
        return [
            (float(value) if isinstance(value, int | float) else 0.0, node)
            for (node, one), value in self._bus.present(COMING).items()
            if one == name and node != self._bus.node
        ]


def _taken(name: str) -> ConflictError:
    return ConflictError(f"there is a title {name} already", subject=name)
