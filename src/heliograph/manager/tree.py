"""The tree of a channel: who takes it from whom, and how it is drawn.

The tree has units for nodes, as only links between units cost anything. The groups of a unit
hang on one another in the order in which they were granted, and the first of them on the first of
the unit above: ``5-2 → 5-7 → 5-49``, ``5-2 → 1-20 → 1-5``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from heliograph.manager.view import Branch, Channel, Cluster, GroupId
from heliograph.model.errors import NotFoundError


@dataclass(frozen=True, slots=True)
class Node:
    """A unit in the tree of a channel."""

    unit: str
    name: str
    groups: tuple[int, ...]
    viewers: int
    places: int
    depth: int
    """Links from the ingest unit; from the top of what hangs together where it is cut off."""
    children: tuple[Node, ...] = ()

    def lines(self) -> Iterable[str]:
        """The paths of groups from here, in the paper's notation, one for each leaf."""
        own = tuple(f"{self.name}-{index}" for index in self.groups) or (self.name,)
        if len(own) > 1 or not self.children:
            yield " → ".join(own)
        for child in self.children:
            for line in child.lines():
                yield f"{own[0]} → {line}"


@dataclass(frozen=True, slots=True)
class Tree:
    """A channel drawn."""

    channel: str
    root: Node | None
    """The ingest unit; None where the channel has none."""
    orphans: tuple[Node, ...] = ()
    """What is cut off from it."""

    def __str__(self) -> str:
        """One path a line, such as ``5-2 → 1-20 → 1-5``; what is cut off after ``?``."""
        lines = [] if self.root is None else list(self.root.lines())
        lines += [f"? → {line}" for orphan in self.orphans for line in orphan.lines()]
        return "\n".join(lines)


def above(branches: Mapping[str, Branch], unit: str | None) -> list[str]:
    """The unit and those above it, up to the ingest unit, the top of an orphan, or a loop's end."""
    path: list[str] = []
    while unit is not None and unit in branches and unit not in path:
        path.append(unit)
        unit = branches[unit].parent
    return path


def depths(channel: Channel) -> dict[str, int]:
    """Links from the ingest unit to each that is joined with it, the nearest first."""
    found = {} if channel.ingest is None else {channel.ingest: 0}
    queue = list(found)
    for unit in queue:  # grows while it is walked
        for child in channel.branches[unit].children:
            if child not in found:
                found[child] = found[unit] + 1
                queue.append(child)
    return found


def below(branches: Mapping[str, Branch], unit: str) -> dict[str, int]:
    """Links from a unit to each below it, itself included."""
    found = {unit: 0}
    queue = [unit]
    for one in queue:
        for child in branches[one].children:
            if child not in found:
                found[child] = found[one] + 1
                queue.append(child)
    return found


def parent_group(cluster: Cluster, group: GroupId) -> GroupId | None:
    """The group from which one has its channel; None at the root, and without one there."""
    branches = cluster.channels[cluster.units[group.unit].groups[group.number].channel].branches
    branch = branches[group.unit]
    place = branch.groups.index(group.number)
    if place:
        return GroupId(group.unit, branch.groups[place - 1])
    parent = branches.get(branch.parent or "")
    return GroupId(parent.unit, parent.groups[0]) if parent is not None and parent.groups else None


def tree(cluster: Cluster, name: str) -> Tree:
    """Draw a channel; ``NotFoundError`` where it is not open."""
    channel = cluster.channels.get(name)
    if channel is None:
        raise NotFoundError(f"no channel {name[:80]!r}", subject=name[:80])
    seen: set[str] = set()

    def node(unit: str, depth: int) -> Node:
        seen.add(unit)
        branch, machine = channel.branches[unit], cluster.units[unit]
        groups = [machine.groups[index] for index in branch.groups]
        return Node(
            unit,
            machine.name,
            branch.groups,
            sum(group.viewers for group in groups),
            sum(group.places for group in groups),
            depth,
            tuple(node(child, depth + 1) for child in branch.children if child not in seen),
        )

    root = None if channel.ingest is None else node(channel.ingest, 0)
    return Tree(name, root, tuple(node(unit, 0) for unit in sorted(channel.orphans)))
