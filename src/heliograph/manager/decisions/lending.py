"""Groups are lent: who is watched gets one that nobody uses, before anybody is refused."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from heliograph.manager.decisions.growing import grant_on, grant_one, idle_group
from heliograph.manager.decisions.shrinking import give_back
from heliograph.manager.draft import Draft
from heliograph.manager.ranking import choose_parent, cut_off, rank
from heliograph.manager.tree import depths
from heliograph.manager.view import Channel, GroupId, State


def grant_or_borrow(
    draft: Draft, name: str, now: float, exclude: Collection[str] = ()
) -> GroupId | None:
    """Grant one group more, another channel's empty one where none is free; None without one."""
    return grant_one(draft, name, now, exclude=exclude) or borrow(draft, name, now, exclude=exclude)


def borrow(
    draft: Draft,
    name: str,
    now: float,
    *,
    at: str | None = None,
    exclude: Collection[str] = (),
) -> GroupId | None:
    """Give back an empty group of another channel at once, and grant it; None without one.

    Only where the unit has no free one. Units that carry the channel come first, then those with
    the least load; there the group that has been empty longest. ``at``: of this unit.
    """
    channel = draft.channels[name]
    here = [id for id in channel.branches if at in (None, id)]
    unit = next(_lenders(draft, channel, here, exclude), None)
    if unit is None:
        further = [id for id in draft.units if at in (None, id) and id not in channel.branches]
        unit = next(_lenders(draft, channel, further, exclude), None)
        # Whether there is a parent is the same for all units that have not the channel yet.
        if unit is None or not choose_parent(
            draft, channel, depths(channel), unit, exclude=exclude
        ):
            return None
    group = idle_group(draft, unit, name)
    assert group is not None
    give_back(draft, group.channel, GroupId(unit, group.index))
    return grant_on(draft, name, now, draft.units[unit], exclude=exclude)


def _lenders(
    draft: Draft, channel: Channel, units: Iterable[str], exclude: Collection[str]
) -> Iterator[str]:
    """Units with room for a viewer of the channel and a group to lend, the least loaded first."""
    cut = cut_off(channel)
    first = channel.seat.plus(channel.carry)
    found = []
    for id in units:
        unit = draft.units[id]
        if not unit.idle or unit.free_groups > 0 or unit.state is not State.UP:
            continue
        branch = channel.branches.get(id)
        lacks = unit.lacks(first) if branch is None else unit.room(channel.seat) <= branch.free
        if not lacks and id not in cut and id not in exclude:
            found.append(rank(unit, 0))
    for *_, id in sorted(found):
        if idle_group(draft, id, channel.name) is not None:
            yield id
