"""The tree by which a channel reaches its viewers, put together from what each node says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from heliograph.model.errors import MalformedError


@dataclass(frozen=True, slots=True)
class Place:
    """What one node says of a channel that it offers."""

    node: str
    name: str
    """What people call the node."""
    path: tuple[str, ...]
    """Nodes from the ingest to this one; empty: the channel does not come here."""
    viewers: int = 0
    media: bool = False
    """Whether its media come here, or are only known of."""

    @classmethod
    def read(cls, node: str, value: object) -> Place:
        """Of a node's answer; ``MalformedError`` for nonsense."""
        try:
            if not isinstance(value, dict):
                raise TypeError
            path = tuple(str(one) for one in value["path"])
            return cls(
                node, str(value["name"])[:100], path, int(value["viewers"]), bool(value["media"])
            )
        except (KeyError, TypeError, ValueError):
            raise MalformedError("place of a channel", f"said by {node}") from None


@dataclass(frozen=True, slots=True)
class Branch:
    """A node with all that hangs from it."""

    place: Place
    branches: tuple[Branch, ...] = ()

    @property
    def viewers(self) -> int:
        """At the node and below."""
        return self.place.viewers + sum(branch.viewers for branch in self.branches)


def grow(places: Iterable[Place]) -> tuple[Branch, ...]:
    """The trees, the largest first: usually one. What hangs from a node that said nothing, or says
    otherwise by now, is a tree of its own; nodes to which the channel does not come are left out.
    """
    known = {place.node: place for place in places if place.path}
    below: dict[str, list[str]] = {}
    roots: list[str] = []
    for node, place in known.items():
        above = place.path[-2] if len(place.path) > 1 else None
        if above in known and node not in known[above].path:
            below.setdefault(above, []).append(node)
        else:
            roots.append(node)

    def branch(node: str) -> Branch:
        lower = sorted(below.get(node, ()), key=lambda one: known[one].name)
        return Branch(known[node], tuple(branch(one) for one in lower))

    return tuple(sorted(map(branch, roots), key=lambda one: (-_size(one), one.place.name)))


def _size(branch: Branch) -> int:
    return 1 + sum(map(_size, branch.branches))
