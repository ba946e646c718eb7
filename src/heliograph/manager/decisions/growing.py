"""Groups for channels: before places run out, and by hand."""

from __future__ import annotations

import math
from collections.abc import Collection

from heliograph.live.admission import RETRY_AFTER
from heliograph.manager import transitions as t
from heliograph.manager.draft import Decision, Draft
from heliograph.manager.ranking import (
    ahead_load,
    bandwidth_band,
    choose_parent,
    cut_off,
    distances,
    load,
    rank,
    refusal,
    usable,
)
from heliograph.manager.tree import depths
from heliograph.manager.view import (
    Amounts,
    Branch,
    Channel,
    Cluster,
    Group,
    GroupId,
    State,
    Unit,
    View,
)
from heliograph.model.errors import BusyError, MalformedError

#: Free places below which a channel gets another group: somebody joins while it is granted.
MIN_SPARE = 3
#: One spare place for so many viewers: a link to another unit is up in a quarter of a second, and
#: even a channel whose viewers come within four seconds gains no more than this share in that time.
VIEWERS_PER_SPARE = 16
#: More spare places than this are of no use: it is a flash crowd of 250 a second.
MAX_SPARE = 64
#: Of so many groups of a unit one is kept free, one at least, for channels that somebody wants to
#: watch: a flash crowd over channels that have none here finds them before any has to be lent.
LENT = 10
#: Groups that one order by hand may add: enough for a unit of default size.
MAX_BY_HAND = 50


def spare(seats: int) -> int:
    """Free places that ``seats`` taken ones call for."""
    return min(MAX_SPARE, max(MIN_SPARE, seats // VIEWERS_PER_SPARE))


def kept_free(unit: Unit) -> int:
    """Groups of a unit that channels nobody watches are not given, and give back.

    A unit of one group keeps none free: nobody would ever have it.
    """
    return min(unit.budgets.groups - 1, max(1, unit.budgets.groups // LENT))


def has_plenty(unit: Unit) -> bool:
    """Whether a unit may give a group to a channel that nobody watches."""
    return unit.free_groups > kept_free(unit)


def grow(view: View, name: str, now: float, unit: str | None = None) -> Decision:
    """Grant groups until a channel has places to spare, or nobody has one left.

    ``unit``: the one whose places ran short, where growth begins.
    """
    draft = Draft(view)
    draft.channel(name)
    top_up(draft, name, now, unit)
    return draft.decision()


def grow_alone(view: View, name: str, unit: str, now: float) -> Decision:
    """What a unit does by itself: another of its own groups when its places run short.

    Where no place is left, and no group is free, an empty one of another channel. Looks at nothing
    but the unit, so a view that knows only that one will do.
    """
    draft = Draft(view)
    machine, branch = draft.unit(unit), draft.branch(name, unit)
    room = machine.room(draft.channels[name].seat)
    if machine.state is not State.UP or branch.free >= spare(branch.seats) or branch.free >= room:
        return draft.decision()
    index = machine.free_index()
    if index is None and branch.free <= 0:
        lent = idle_group(draft, unit, name)
        if lent is not None:
            draft.do(t.Revoke(lent.channel, unit, lent.index))
            index = lent.index
    if index is not None:
        draft.do(t.Grant(name, unit, index, machine.budgets.places, now))
    return draft.decision()


def idle_group(cluster: Cluster, unit: str, name: str) -> Group | None:
    """The empty group of a unit that another channel than ``name`` needs least; None without one.

    Those of channels that nobody watches come first, then the longest empty; groups added by hand
    stay.
    """
    best: Group | None = None
    least = (True, math.inf)
    machine = cluster.units[unit]
    for group in machine.groups.values() if machine.idle else ():
        if group.idle_since is None or group.channel == name:
            continue
        owner = cluster.channels[group.channel]
        key = (owner.seats > 0, group.idle_since)
        if (best is None or key < least) and owner.groups > owner.by_hand:
            best, least = group, key
    return best


def extend(view: View, name: str, now: float, groups: int = 1, unit: str | None = None) -> Decision:
    """Add groups by hand; they stay even if they are empty.

    On ``unit`` where one is named. All or nothing: ``BusyError`` where there is no room for them.
    """
    if not 1 <= groups <= MAX_BY_HAND:
        raise MalformedError("groups", f"{groups} (1 to {MAX_BY_HAND})")
    draft = Draft(view)
    channel = draft.channel(name)
    kept = max(1, channel.groups) + groups
    for _ in range(groups):
        if unit is None:
            found = grant_one(draft, name, now, by_hand=True)
        else:
            found = grant_on(draft, name, now, draft.unit(unit), by_hand=True)
        if found is None:
            if unit is not None:
                raise BusyError(f"unit {unit!r} has no group for it", subject="places")
            raise refusal(draft, draft.channels[name])
    draft.do(t.Keep(name, kept))
    return draft.decision()


def top_up(
    draft: Draft, name: str, now: float, unit: str | None, exclude: Collection[str] = ()
) -> None:
    """Grant groups until there are places to spare.

    A channel that nobody watches gets none where groups are scarce.
    """
    while True:
        channel = draft.channels[name]
        idle = not channel.seats
        if idle and _scarce(draft, channel):
            return
        enough = spare(channel.seats)
        if usable(draft, channel, enough, exclude) >= enough:
            return
        if grant_one(draft, name, now, unit, exclude, idle=idle) is None:
            return


def restore(draft: Draft, name: str, now: float) -> None:
    """Grant again what a channel lost of the groups that people gave it, with a unit that died or
    was drained; where there is no room for all, one refusal says for how many."""
    channel = draft.channels[name]
    missing = channel.by_hand - channel.groups
    while missing > 0 and grant_one(draft, name, now, by_hand=True) is not None:
        missing -= 1
    if missing > 0:
        draft.do(t.Refuse(name, "groups", missing, RETRY_AFTER))


def _scarce(draft: Draft, channel: Channel) -> bool:
    """Whether a unit that has the channel keeps its free groups for others.

    A link to another unit for nobody would take bandwidth of this one on top.
    """
    units = (draft.units[id] for id in channel.branches)
    return any(unit.state is State.UP and not has_plenty(unit) for unit in units)


def grant_one(
    draft: Draft,
    name: str,
    now: float,
    origin: str | None = None,
    exclude: Collection[str] = (),
    *,
    idle: bool = False,
    by_hand: bool = False,
) -> GroupId | None:
    """Grant the channel one group more where it is best; None where nobody has one.

    The unit whose places ran short first, then others that carry the channel, then a further
    unit, which is linked into the tree. A unit far busier than the mean comes last. ``idle``:
    nobody watches, and no unit is to give one of the groups it keeps free.
    """
    channel = draft.channels[name]
    ahead = ahead_load(draft)
    own = _best_carrier(draft, channel, ahead, origin, exclude)
    if own is not None and load(draft.units[own]) <= ahead:
        return _grant(draft, name, own, now, by_hand)
    if idle:
        exclude = {*exclude, *(id for id, unit in draft.units.items() if not has_plenty(unit))}
    other = best_newcomer(draft, channel, origin or own, exclude)
    if other is not None and (own is None or load(draft.units[other]) <= ahead):
        found = grant_on(
            draft, name, now, draft.units[other], origin or own, exclude, by_hand=by_hand
        )
        if found is not None:
            return found
    return None if own is None else _grant(draft, name, own, now, by_hand)


def _best_carrier(
    draft: Draft, channel: Channel, ahead: float, origin: str | None, exclude: Collection[str]
) -> str | None:
    cut = cut_off(channel)
    best: tuple[bool, bool, float, str] | None = None
    for id, branch in channel.branches.items():
        unit = draft.units[id]
        if id in cut or id in exclude or not _may_grow(unit, channel, branch):
            continue
        key = (load(unit) > ahead, id != origin, load(unit), id)
        if best is None or key < best:
            best = key
    return None if best is None else best[3]


def _may_grow(unit: Unit, channel: Channel, branch: Branch) -> bool:
    """Whether one more group here would be places that can be used."""
    return unit.state is State.UP and unit.free_groups > 0 and unit.room(channel.seat) > branch.free


def best_newcomer(
    draft: Draft,
    channel: Channel,
    origin: str | None = None,
    exclude: Collection[str] = (),
    *,
    bare: bool = False,
) -> str | None:
    """The unit that had best carry the channel next; None where nobody can.

    ``bare``: without a group, which it gets when somebody watches.
    """
    seat = channel.seat
    first = seat.plus(channel.carry)
    near = draft.units[origin].location if origin is not None and origin in draft.units else ""
    distance = distances(near)
    whole: dict[int, Amounts] = {}
    best: tuple[bool, tuple[int, int, int, float, str]] | None = None
    for id, unit in draft.units.items():
        budgets = unit.budgets
        if (
            unit.state is not State.UP
            or id in channel.branches
            or id in exclude
            or (unit.free_groups <= 0 and not bare)
            or unit.lacks(first)
        ):
            continue
        if budgets.places not in whole:
            whole[budgets.places] = seat.times(budgets.places).plus(channel.carry)
        short = bool(unit.lacks(whole[budgets.places]))
        if best is not None and (short, bandwidth_band(unit)) > (best[0], best[1][0]):
            continue
        key = (short, rank(unit, distance(unit.location)))
        if best is None or key < best:
            best = key
    return None if best is None else best[1][4]


def grant_on(
    draft: Draft,
    name: str,
    now: float,
    unit: Unit,
    origin: str | None = None,
    exclude: Collection[str] = (),
    *,
    by_hand: bool = False,
) -> GroupId | None:
    """Grant on a certain unit, linked into the tree if it has to be; None where that cannot be."""
    channel = draft.channels[name]
    branch = channel.branches.get(unit.id)
    if branch is not None:
        if not _may_grow(unit, channel, branch):
            return None
        return _grant(draft, name, unit.id, now, by_hand)
    if unit.state is not State.UP or unit.lacks(channel.seat.plus(channel.carry)):
        return None
    if unit.free_index() is None:
        return None
    reach = depths(channel)
    parent = choose_parent(draft, channel, reach, unit.id, origin=origin, exclude=exclude)
    if parent is None:
        return None
    draft.do(t.Link(name, unit.id, parent))
    return _grant(draft, name, unit.id, now, by_hand)


def _grant(draft: Draft, name: str, unit: str, now: float, by_hand: bool) -> GroupId | None:
    index = draft.units[unit].free_index()
    if index is None:
        return None
    draft.do(t.Grant(name, unit, index, draft.units[unit].budgets.places, now, by_hand))
    return GroupId(unit, index)
