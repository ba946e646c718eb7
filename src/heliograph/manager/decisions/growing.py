"""Groups for channels: before places run out, and by hand."""

from __future__ import annotations

from collections.abc import Collection

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
from heliograph.manager.view import Amounts, Branch, Channel, GroupId, State, Unit, View
from heliograph.model.errors import BusyError, MalformedError

#: Free places below which a channel gets another group: somebody joins while it is granted.
MIN_SPARE = 3
#: One spare place for so many viewers: a link to another unit is up in a quarter of a second, and
#: even a channel whose viewers come within four seconds gains no more than this share in that time.
VIEWERS_PER_SPARE = 16
#: More spare places than this are of no use: it is a flash crowd of 250 a second.
MAX_SPARE = 64
#: Groups that one order by hand may add: enough for a unit of default size.
MAX_BY_HAND = 50


def spare(seats: int) -> int:
    """Free places that ``seats`` taken ones call for."""
    return min(MAX_SPARE, max(MIN_SPARE, seats // VIEWERS_PER_SPARE))


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

    Looks at nothing but the unit, so a view that knows only that one will do.
    """
    draft = Draft(view)
    machine, branch = draft.unit(unit), draft.branch(name, unit)
    index = machine.free_index()
    room = machine.room(draft.channels[name].seat)
    if (
        index is not None
        and machine.state is State.UP
        and branch.free < spare(branch.seats)
        and branch.free < room
    ):
        draft.do(t.Grant(name, unit, index, machine.budgets.places, now))
    return draft.decision()


def extend(view: View, name: str, now: float, groups: int = 1, unit: str | None = None) -> Decision:
    """Add groups by hand; they stay even if they are empty.

    On ``unit`` where one is named. All or nothing: ``BusyError`` where there is no room for them.
    """
    if not 1 <= groups <= MAX_BY_HAND:
        raise MalformedError("groups", f"{groups} (1 to {MAX_BY_HAND})")
    draft = Draft(view)
    channel = draft.channel(name)
    kept = channel.groups + groups
    for _ in range(groups):
        if unit is None:
            found = grant_one(draft, name, now)
        else:
            found = grant_on(draft, name, now, draft.unit(unit))
        if found is None:
            if unit is not None:
                raise BusyError(f"unit {unit!r} has no group for it", subject="places")
            raise refusal(draft, draft.channels[name])
    draft.do(t.Keep(name, kept))
    return draft.decision()


def top_up(
    draft: Draft, name: str, now: float, unit: str | None, exclude: Collection[str] = ()
) -> None:
    """Grant groups until there are places to spare."""
    while True:
        channel = draft.channels[name]
        enough = spare(channel.seats)
        if usable(draft, channel, enough, exclude) >= enough:
            return
        if grant_one(draft, name, now, unit, exclude) is None:
            return


def grant_one(
    draft: Draft, name: str, now: float, origin: str | None = None, exclude: Collection[str] = ()
) -> GroupId | None:
    """Grant the channel one group more where it is best; None where nobody has one.

    The unit whose places ran short first, then others that carry the channel, then a further
    unit, which is linked into the tree. A unit far busier than the mean comes last.
    """
    channel = draft.channels[name]
    ahead = ahead_load(draft)
    own = _best_carrier(draft, channel, ahead, origin, exclude)
    if own is not None and load(draft.units[own]) <= ahead:
        return _grant(draft, name, own, now)
    other = best_newcomer(draft, channel, origin or own, exclude)
    if other is not None and (own is None or load(draft.units[other]) <= ahead):
        found = grant_on(draft, name, now, draft.units[other], origin or own, exclude)
        if found is not None:
            return found
    return None if own is None else _grant(draft, name, own, now)


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
    return (
        unit.state is State.UP
        and len(unit.groups) < unit.budgets.groups
        and unit.room(channel.seat) > branch.free
    )


def best_newcomer(
    draft: Draft, channel: Channel, origin: str | None = None, exclude: Collection[str] = ()
) -> str | None:
    """The unit that had best carry the channel next; None where nobody can."""
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
            or len(unit.groups) >= budgets.groups
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
) -> GroupId | None:
    """Grant on a certain unit, linked into the tree if it has to be; None where that cannot be."""
    channel = draft.channels[name]
    branch = channel.branches.get(unit.id)
    if branch is not None:
        return _grant(draft, name, unit.id, now) if _may_grow(unit, channel, branch) else None
    if unit.state is not State.UP or unit.lacks(channel.seat.plus(channel.carry)):
        return None
    if unit.free_index() is None:
        return None
    reach = depths(channel)
    parent = choose_parent(draft, channel, reach, unit.id, origin=origin, exclude=exclude)
    if parent is None:
        return None
    draft.do(t.Link(name, unit.id, parent))
    return _grant(draft, name, unit.id, now)


def _grant(draft: Draft, name: str, unit: str, now: float) -> GroupId | None:
    index = draft.units[unit].free_index()
    if index is None:
        return None
    draft.do(t.Grant(name, unit, index, draft.units[unit].budgets.places, now))
    return GroupId(unit, index)
