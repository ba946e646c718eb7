"""Which unit is the least loaded, who may take more, and what is spent where nobody may."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping

from heliograph.live.admission import RETRY_AFTER
from heliograph.manager.tree import below
from heliograph.manager.view import Amounts, Channel, Cluster, Order, State, Unit
from heliograph.model.errors import BusyError

#: Bands of committed bandwidth within which units count as equally loaded, so that CPU and then
#: the viewer's location decide: 5 % each.
BANDWIDTH_BANDS = 20
#: Bands of CPU: 10 % each, as it is measured and known less well.
CPU_BANDS = 10
#: A unit below this share of its bandwidth has no reason to leave growth to others: its viewers
#: would gain nothing by the link.
BUSY = 0.5
#: So far above the mean load of all units a busy one leaves growth to others.
AHEAD = 0.1


def load(unit: Unit) -> float:
    """Committed bandwidth against capacity; 1: full."""
    return unit.used[0] / (unit.budgets.limits[0] or 1)


def ahead_load(cluster: Cluster) -> float:
    """The load above which a unit had better leave growth to others."""
    total = count = 0.0
    for unit in cluster.units.values():
        if unit.state is State.UP:
            total += unit.used[0] / (unit.budgets.limits[0] or 1)
            count += 1
    return max(BUSY, total / (count or 1) + AHEAD)


def distances(location: str) -> Callable[[str], int]:
    """Steps of this location that another one does not share; 0 where either is not known.

    What the other says beyond them does not count: who is in ``eu/de`` is as near to
    ``eu/de/berlin`` as to ``eu/de/bonn``, and nearer than to ``eu/fr``.
    """
    here = location.split("/") if location else []
    known: dict[str, int] = {"": 0, location: 0}

    def distance(other: str) -> int:
        steps = known.get(other)
        if steps is None:
            there = other.split("/")
            common = 0
            for ours, theirs in zip(here, there, strict=False):
                if ours != theirs:
                    break
                common += 1
            steps = len(here) - common
            known[other] = steps
        return steps

    return distance


def bandwidth_band(unit: Unit) -> int:
    """The first of what ``rank`` looks at; it alone tells most units apart."""
    return unit.used[0] * BANDWIDTH_BANDS // (unit.budgets.limits[0] or 1)


def rank(unit: Unit, distance: int) -> tuple[int, int, int, float, str]:
    """Least is best: committed bandwidth, CPU, the viewer's location, then exactly, then by id."""
    used, limits = unit.used, unit.budgets.limits
    bandwidth = limits[0] or 1
    return (
        used[0] * BANDWIDTH_BANDS // bandwidth,
        used[1] * CPU_BANDS // (limits[1] or 1),
        distance,
        used[0] / bandwidth,
        unit.id,
    )


def cut_off(channel: Channel) -> Collection[str]:
    """Units that have the channel and get nothing of it."""
    if channel.ingest is None:
        return channel.branches
    cut: set[str] = set()
    for orphan in channel.orphans:
        cut.update(below(channel.branches, orphan))
    return cut


def seat_unit(
    cluster: Cluster, channel: Channel, location: str = "", exclude: Collection[str] = ()
) -> str | None:
    """The unit with a free place for the channel and the least load; None without one."""
    units, seat = cluster.units, channel.seat
    distance = distances(location)
    cut = cut_off(channel)
    best: tuple[int, int, int, float, str] | None = None
    for id, branch in channel.branches.items():
        if branch.free <= 0 or id in cut or id in exclude:
            continue
        unit = units[id]
        if unit.state is not State.UP or unit.lacks(seat):
            continue
        # This loop is what a decision to join costs.
        if best is not None and bandwidth_band(unit) > best[0]:
            continue
        key = rank(unit, distance(unit.location))
        if best is None or key < best:
            best = key
    return None if best is None else best[4]


def seat_group(cluster: Cluster, channel: Channel, unit: str) -> int:
    """The first group of a unit with a free place: later ones empty first, and are given back."""
    groups = cluster.units[unit].groups
    return next(index for index in channel.branches[unit].groups if groups[index].free > 0)


def usable(cluster: Cluster, channel: Channel, enough: int, exclude: Collection[str] = ()) -> int:
    """Free places that budgets allow to be used; counting ends at ``enough``."""
    seat, found = channel.seat, 0
    cut = cut_off(channel)
    for id, branch in channel.branches.items():
        if branch.free > 0 and id not in cut and id not in exclude:
            unit = cluster.units[id]
            if unit.state is State.UP:
                found += min(branch.free, unit.room(seat))
                if found >= enough:
                    break
    return found


def choose_parent(
    cluster: Cluster,
    channel: Channel,
    reach: Mapping[str, int],
    child: str,
    *,
    origin: str | None = None,
    height: int = 0,
    exclude: Collection[str] = (),
) -> str | None:
    """From whom a unit had best take a channel; None where bounds or budgets leave nobody.

    ``reach``: links from the ingest unit to each that may be asked. ``height``: links below the
    child, which come along. ``origin``: the unit it grows from.
    """
    policy = channel.policy
    distance = distances(cluster.units[child].location)
    best: tuple[int, int, tuple[int, int, int, float, str]] | None = None
    for id, depth in reach.items():
        if depth + 1 + height > policy.max_depth or id == child or id in exclude:
            continue
        unit, branch = cluster.units[id], channel.branches[id]
        full = len(branch.children) >= policy.max_fan_out
        if full or unit.state is not State.UP or unit.lacks(channel.seat):
            continue
        steps = distance(unit.location)
        match policy.order:
            case Order.GROWN:
                first, second = int(id != origin), depth
            case Order.SHALLOW:
                first, second = depth, steps
            case Order.NEAR:
                first, second = steps, depth
        if best is not None and (first, second) > best[:2]:
            continue
        key = (first, second, rank(unit, steps))
        if best is None or key < best:
            best = key
    return None if best is None else best[2][4]


# --- refusals -----------------------------------------------------------------------------------


def shortage(cluster: Cluster, channel: Channel) -> str:
    """The budget that keeps most units from one more viewer.

    ``places`` (all groups are granted and full), ``bandwidth``, ``cpu``, ``memory``, ``tree`` (a
    unit has room, and none that has the channel may pass it on) or ``units`` (none is up).
    """
    cut = cut_off(channel)
    spent: Counter[str] = Counter()
    first: Amounts = channel.seat.plus(channel.carry)
    for unit in cluster.units.values():
        if unit.state is not State.UP:
            continue
        branch = channel.branches.get(unit.id)
        lacks = unit.lacks(channel.seat if branch is not None else first)
        if lacks:
            spent[lacks] += 1
        elif (branch is None or branch.free <= 0) and unit.free_index() is None:
            spent["places"] += 1
        elif branch is None or unit.id in cut:
            spent["tree"] += 1
    if not spent:
        return "units"
    if "tree" in spent:  # there is room; what keeps viewers from it is the shape of the tree
        return "tree"
    return min(spent, key=lambda budget: (-spent[budget], budget))


def refusal(cluster: Cluster, channel: Channel) -> BusyError:
    """What a viewer is told for whom there is no room."""
    budget = shortage(cluster, channel)
    said = {
        "places": "all groups of all units are full",
        "bandwidth": "no unit has bandwidth left",
        "cpu": "no unit has CPU left",
        "memory": "no unit has memory left",
        "tree": "no unit that has it may pass it on",
        "units": "no unit takes viewers now",
    }[budget]
    return BusyError(f"channel {channel.name!r}: {said}", subject=budget, retry_after=RETRY_AFTER)
