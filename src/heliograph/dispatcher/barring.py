"""Who is served nothing, and which titles nobody gets, or not where he is.

A portal knows that of its dispatcher's snapshot; whoever has not the cluster's catalogue is told.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Protocol, final

from heliograph.dispatcher.answers import RETRY_AFTER, Answer, Wish
from heliograph.dispatcher.answers import refusal as page
from heliograph.dispatcher.conditions import Locality, licensed
from heliograph.dispatcher.snapshot import Snapshot
from heliograph.model.errors import ForbiddenError


@final
@dataclass(frozen=True, slots=True)
class Refusal:
    """Why somebody is sent nowhere."""

    status: int
    """403, 404, 406, 451 or 503."""
    text: str
    """For people."""

    def answer(self, wish: Wish) -> Answer:
        """As HTTP has it."""
        retry = RETRY_AFTER if self.status == 503 else 0
        return page(self.status, self.text, page=wish.page, retry_after=retry)


_REFUSED = Refusal(403, "clients of your network are not served")
_UNLICENSED = Refusal(451, "this title may not be shown where you are")


def barred(regions: Collection[str], where: Locality) -> Refusal | None:
    """Why a client who is there may not have a title that is licensed for these regions, or for
    all if there are none; None: he may."""
    if where.refused:
        return _REFUSED
    return None if licensed(regions, where.region) else _UNLICENSED


class Knowing(Protocol):
    """Whoever has a snapshot of its own: a dispatcher."""

    snapshot: Snapshot


#: What a node knows that was told nothing.
UNTOLD = Snapshot()


class Barring:
    """Of one node: by the catalogue that it has, if it has one, and by what it was told of the
    cluster's. What either of them bars is barred."""

    def __init__(self, own: Knowing | None = None) -> None:
        self.told = UNTOLD
        """What the cluster's catalogue bars, as this node was told; see ``extract``."""
        self._own = own

    def refused(self, client: str) -> Refusal | None:
        """Why a client gets nothing at all, be it a title or a channel; None: his network is
        served. Costs next to nothing where no network is refused."""
        for one in self._known():
            if one.networks.refusing and one.networks.find(client).refused:
                return _REFUSED
        return None

    def why(self, client: str) -> str:
        """The same in words; empty: his network is served."""
        refusal = self.refused(client)
        return "" if refusal is None else refusal.text

    def barred(self, name: str, client: str) -> Refusal | None:
        """Why a client may not have a title of that name, whoever holds it; None: he may."""
        for one in self._known():
            found = _barred_by(one, name, client)
            if found is not None:
                return found
        return None

    def barred_beside(self, name: str, client: str) -> Refusal | None:
        """The same, by what this node was told alone."""
        return _barred_by(self.told, name, client)

    def check(self, name: str, client: str) -> None:
        """``ForbiddenError`` where a client may not have a title of that name."""
        refusal = self.barred(name, client)
        if refusal is not None:
            raise ForbiddenError(refusal.text, subject=name)

    def withheld(self, object: str, name: str) -> bool:
        """Whether nobody gets a title that our volumes have under a name."""
        return any(one.withheld(object, name) for one in self._known())

    def _known(self) -> Iterator[Snapshot]:
        yield self.told
        if self._own is not None:
            yield self._own.snapshot


def _barred_by(known: Snapshot, name: str, client: str) -> Refusal | None:
    entry = known.entries.get(name)
    if entry is None and not known.networks.refusing:
        return None
    regions = () if entry is None else entry.title.regions
    return barred(regions, known.networks.find(client))
