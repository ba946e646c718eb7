"""Where titles are found by those who serve them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from heliograph.vod.manifest import BlockSource, Manifest

#: Digits of an object's id that tell a title from an older one of its name, and how much of the
#: name stays before them: names have 64 characters at most.
DIGITS, MAX_BASE = 8, 55


class Shelf(Protocol):
    """The titles of this node's volumes."""

    def find(self, name: str) -> Manifest | None:
        """The title of that logical id as it is now; None: there is none."""

    def current(self, manifest: Manifest) -> Manifest | None:
        """A title that somebody has in hand as it is now, whatever it is called; None: it is there
        no more."""

    def source(self, manifest: Manifest) -> BlockSource:
        """Where its blocks are read."""

    def titles(self) -> Sequence[Manifest]:
        """All, by name."""

    def channel(self, manifest: Manifest) -> str:
        """The channel whose rules say who may watch it, as of a recording; empty: everybody may."""


class Published:
    """A shelf without the titles that are withheld from everybody: viewers are served from it.

    Those who have a title in hand may play it to its end.
    """

    def __init__(self, shelf: Shelf, withheld: Callable[[Manifest], bool]) -> None:
        """``withheld``: whether a title of ``shelf`` is unknown to viewers; it may change."""
        self._shelf = shelf
        self._withheld = withheld

    def find(self, name: str) -> Manifest | None:
        """The title of that logical id as it is now; None: there is none that anybody gets."""
        found = self._shelf.find(name)
        return None if found is None or self._withheld(found) else found

    def current(self, manifest: Manifest) -> Manifest | None:
        """A title in hand as it is now, withheld or not; None: it is there no more."""
        return self._shelf.current(manifest)

    def source(self, manifest: Manifest) -> BlockSource:
        """Where its blocks are read."""
        return self._shelf.source(manifest)

    def titles(self) -> Sequence[Manifest]:
        """All that somebody gets, by name."""
        return [one for one in self._shelf.titles() if not self._withheld(one)]

    def channel(self, manifest: Manifest) -> str:
        """The channel whose rules say who may watch it; empty: everybody may."""
        return self._shelf.channel(manifest)


def distinct(name: str, object: str) -> str:
    """What a title is called whose name an older one has. ``object``: its id, or the first
    ``DIGITS`` of that at least."""
    return f"{name[:MAX_BASE]}-{object[:DIGITS]}"


def played(shelf: Shelf, name: str, object: str) -> Manifest | None:
    """The title that was called by a name when somebody began to play it, though it has made way
    for an older one of its name since, or the older one is gone. ``object``: as of ``distinct``."""
    found = shelf.find(name)
    for other in (distinct(name, object), name.removesuffix(f"-{object[:DIGITS]}")):
        if found is not None and found.object.startswith(object):
            break
        found = shelf.find(other)
    return found
