"""What must hold of every view, counted from scratch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from heliograph.manager.tree import above, below, depths
from heliograph.manager.view import Amounts, Channel, Cluster, State, Unit


def check(cluster: Cluster, strained: Collection[str] = ()) -> list[str]:
    """Everything that is wrong, in words; empty: nothing is.

    ``strained``: channels for which a ``Refuse`` said that their units do not fit into a tree
    within its bounds; such trees may be deeper, or wider, until they do.

    No unit above a budget, no group or viewer counted twice, every tree without rings and within
    its bounds, every sum that the view keeps equal to a count from scratch. What is cut off from
    a tree is no fault: it is named in ``Channel.orphans`` and waits for a link.
    """
    wrong: list[str] = []
    spent = committed(cluster)
    for unit in cluster.units.values():
        wrong += _unit(cluster, unit, spent[unit.id])
    for channel in cluster.channels.values():
        wrong += _channel(cluster, channel, channel.name in strained)
    return wrong


def committed(cluster: Cluster) -> dict[str, Amounts]:
    """What the seats, links and channels of each unit take, counted from scratch."""
    total = dict.fromkeys(cluster.units, Amounts())
    for unit in cluster.units.values():
        for group in unit.groups.values():
            seats = cluster.channels[group.channel].seat.times(group.viewers + group.reserved)
            total[unit.id] = total[unit.id].plus(seats)
    for channel in cluster.channels.values():
        for branch in channel.branches.values():
            total[branch.unit] = total[branch.unit].plus(channel.carry)
            if branch.parent is not None and branch.parent in channel.branches:
                total[branch.parent] = total[branch.parent].plus(channel.seat)
    return total


def _unit(cluster: Cluster, unit: Unit, total: Amounts) -> Iterable[str]:
    at = f"unit {unit.id}"
    if total.plus(unit.other) != unit.used:
        yield f"{at}: {unit.used} used, {total} committed and {unit.other} other counted"
    for name, spent, limit in zip(Amounts._fields, total, unit.budgets.limits, strict=True):
        if spent > limit:
            yield f"{at}: {name} {spent} above its budget {limit}"
    if len(unit.groups) > unit.budgets.groups:
        yield f"{at}: {len(unit.groups)} groups of {unit.budgets.groups}"
    if unit.state is State.GONE and (unit.groups or unit.carries or unit.reservations):
        yield f"{at}: gone, and has something"
    there = {name for name, one in cluster.channels.items() if unit.id in one.branches}
    if there != unit.carries:
        yield f"{at}: carries {sorted(unit.carries ^ there)}, or does not"
    empty = sum(not (one.viewers or one.reserved) for one in unit.groups.values())
    if unit.idle != empty:
        yield f"{at}: counts {unit.idle} empty groups, there are {empty}"
    yield from _reservations(cluster, unit)
    yield from _groups(cluster, unit)


def _reservations(cluster: Cluster, unit: Unit) -> Iterable[str]:
    at = f"unit {unit.id}"
    for id, one in unit.reservations.items():
        group = unit.groups.get(one.index)
        if id != one.id or one.unit != unit.id or one.count < 1:
            yield f"{at}: reservation {id} is not itself"
        if group is None or group.channel != one.channel:
            yield f"{at}: reservation {id} is for a group it has not"
        if one.origin is not None and cluster.channels[one.channel].holds.get(id) != unit.id:
            yield f"{at}: hold {id} cannot be found"


def _groups(cluster: Cluster, unit: Unit) -> Iterable[str]:
    at = f"unit {unit.id}"
    reserved: Counter[int] = Counter()
    for one in unit.reservations.values():
        reserved[one.index] += one.count
    for index, group in unit.groups.items():
        if index != group.index or not 0 <= index < unit.budgets.groups:
            yield f"{at}: group {index} is not itself"
        if min(group.viewers, group.reserved, group.free) < 0:
            yield f"{at}: group {index} has {group.viewers}+{group.reserved} of {group.places}"
        if group.reserved != reserved[index]:
            yield f"{at}: group {index} keeps {group.reserved}, {reserved[index]} are reserved"
        if (group.idle_since is None) != bool(group.viewers or group.reserved):
            yield f"{at}: group {index} is idle since {group.idle_since}"
        branch = cluster.channels[group.channel].branches.get(unit.id)
        if branch is None or branch.groups.count(index) != 1:
            yield f"{at}: group {index} is not once in its channel"


def _channel(cluster: Cluster, channel: Channel, strained: bool) -> Iterable[str]:
    at = f"channel {channel.name}"
    branches, policy = channel.branches, channel.policy
    seats = free = 0
    for unit, branch in branches.items():
        if branch.unit != unit or unit not in cluster.units:
            yield f"{at}: branch {unit} is not itself"
            continue
        groups = [cluster.units[unit].groups.get(index) for index in branch.groups]
        here = [one for one in groups if one is not None and one.channel == channel.name]
        if len(here) != len(branch.groups):
            yield f"{at}: {unit} has not the groups {branch.groups}"
        counted = sum(one.viewers + one.reserved for one in here), sum(one.free for one in here)
        if counted != (branch.seats, branch.free):
            yield f"{at}: {unit} counts {(branch.seats, branch.free)}, there are {counted}"
        seats, free = seats + counted[0], free + counted[1]
        takers = sorted(one.unit for one in branches.values() if one.parent == unit)
        if sorted(branch.children) != takers:
            yield f"{at}: {unit} feeds {branch.children}, {takers} say so"
        if len(branch.children) > policy.max_fan_out and not strained:
            yield f"{at}: {unit} feeds {len(branch.children)} of {policy.max_fan_out}"
        if unit in above(branches, branch.parent):
            yield f"{at}: {unit} takes it from itself"
    if (seats, free) != (channel.seats, channel.free):
        yield f"{at}: counts {(channel.seats, channel.free)}, there are {(seats, free)}"
    orphans = {
        one.unit
        for one in branches.values()
        if one.unit != channel.ingest and (one.parent is None or one.parent not in branches)
    }
    if orphans != channel.orphans:
        yield f"{at}: orphans {sorted(channel.orphans)}, there are {sorted(orphans)}"
    if channel.ingest is not None:
        if channel.ingest not in branches or branches[channel.ingest].parent is not None:
            yield f"{at}: its source enters at {channel.ingest}, which is no root"
        else:
            yield from _bounds(channel, orphans, strained)


def _bounds(channel: Channel, orphans: Iterable[str], strained: bool) -> Iterable[str]:
    reach = depths(channel)
    deepest = max(reach.values())
    if deepest > channel.policy.max_depth and not strained:
        yield f"channel {channel.name}: {deepest} deep of {channel.policy.max_depth}"
    found = set(reach)
    for orphan in orphans:
        found.update(below(channel.branches, orphan))
    if len(found) != len(channel.branches):
        yield f"channel {channel.name}: {sorted(set(channel.branches) - found)} hang nowhere"
