"""Connections composed of kinds by their names, such as ``crypto/multicast/udp``: the upper first.

A link has a carrier and a seal, both named. How a channel is to travel may leave out what is to be
as at each node: ``tcp`` is TCP under that node's seal, ``auto`` everything as it is there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from heliograph.live.connections.kinds import (
    CRYPTO,
    KINDS,
    UDP,
    Carrier,
    Seal,
    Spread,
)
from heliograph.model.errors import MalformedError

#: Everything as each node is set.
AUTO = "auto"
#: Neighbours from which on one stream for all is less than one for each: where a channel does not
#: say how it is carried, it is cast then.
ENOUGH = 2

_SYNTAX = "connection"
#: Characters that are looked at: the longest composition has a fourth of that.
_MAX_TEXT = 100


@dataclass(frozen=True, slots=True)
class LinkKind:
    """What a link to one neighbour is made of."""

    seal: Seal
    carrier: Carrier

    @classmethod
    def parse(cls, text: str) -> LinkKind:
        """Read ``SEAL/CARRIER``; ``MalformedError`` for anything else, and what is not sealed."""
        found = _parts(text)
        if found.spread is not None:
            raise MalformedError(_SYNTAX, f"{found.spread.name} is no link, it goes beside links")
        if found.carrier is None:
            raise MalformedError(_SYNTAX, f"{text!r} does not say what carries it")
        if found.seal is None:
            raise MalformedError(_SYNTAX, f"{text!r} is not sealed: nothing travels in clear")
        return cls(found.seal, found.carrier)

    def __str__(self) -> str:
        return f"{self.seal.name}/{self.carrier.name}"


#: Where nothing is said.
USUAL_LINK = LinkKind(CRYPTO, UDP)


@dataclass(frozen=True, slots=True)
class Connection:
    """How a channel travels between the nodes of a cluster."""

    seal: Seal | None = None
    """None: as the links of the node that asks for it, or casts it."""
    spread: Spread | None = None
    carrier: Carrier | None = None
    """None: as the links of the node that asks for it."""

    @classmethod
    def parse(cls, text: str) -> Connection:
        """Read kinds joined by ``/``, or ``auto``; ``MalformedError`` says what is wrong."""
        return ANYHOW if text == AUTO else _parts(text)

    def __str__(self) -> str:
        kinds = (self.seal, self.spread, self.carrier)
        return "/".join(kind.name for kind in kinds if kind is not None) or AUTO

    def link(self, own: LinkKind) -> LinkKind:
        """The kind of link by which it goes, of a node whose links are of a kind."""
        return LinkKind(self.seal or own.seal, self.carrier or own.carrier)

    @property
    def casts(self) -> bool:
        """Whether it may go to several neighbours by one stream; where a carrier is named alone,
        that one carries all of it."""
        return self.spread is not None or self.carrier is None

    @property
    def enough(self) -> int:
        """Neighbours that make that worth its while."""
        return ENOUGH if self.spread is None else self.spread.enough


#: As each node is set, in everything.
ANYHOW = Connection()


def _parts(text: str) -> Connection:
    """Kinds over each other, each in its place."""
    found = ANYHOW
    for name in text[:_MAX_TEXT].split("/"):
        match KINDS.get(name):
            case Seal() as kind if found == ANYHOW:
                found = replace(found, seal=kind)
            case Spread() as kind if found.spread is None and found.carrier is None:
                found = replace(found, spread=kind)
            case Carrier() as kind if found.carrier is None:
                found = replace(found, carrier=kind)
            case None:
                raise MalformedError(_SYNTAX, f"no kind {name!r}; there are {', '.join(KINDS)}")
            case _:
                raise MalformedError(_SYNTAX, f"{name} does not go below {found}")
    return found
