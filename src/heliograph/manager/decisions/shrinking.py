"""Groups given back."""

from __future__ import annotations

from heliograph.manager import transitions as t
from heliograph.manager.decisions.growing import kept_free, spare
from heliograph.manager.draft import Decision, Draft
from heliograph.manager.ranking import cut_off, usable
from heliograph.manager.tree import depths
from heliograph.manager.view import Channel, Group, GroupId, State, View
from heliograph.model.errors import ConflictError

#: Seconds a group stays empty before it is given back: somebody who leaves is often followed by
#: somebody who comes, and a group costs nothing while nobody needs it.
IDLE_S = 30.0
#: So many times the places that growth calls for must be left after a group is given back. Growth
#: begins below one time, so a channel between the two does neither.
HYSTERESIS = 2


def shrink(view: View, now: float, name: str | None = None) -> Decision:
    """Give back groups that have long been empty, of one channel or all; leaf groups first.

    Where a unit has few left, those that growth would not grant again, down to the last of a
    channel.
    """
    draft = Draft(view)
    names = list(view.channels) if name is None else [draft.channel(name).name]
    for one in names:
        while True:
            channel = draft.channels[one]
            if channel.groups <= max(1, channel.kept) or not _has_plenty(draft, channel):
                break
            leaf = _leaf(draft, channel, now - IDLE_S)
            if leaf is None:
                break
            give_back(draft, one, leaf)
    for unit in list(draft.units if name is None else draft.channels[name].branches):
        _lend(draft, unit, now - IDLE_S, name)
    return draft.decision()


def _lend(draft: Draft, unit: str, before: float, name: str | None) -> None:
    """Give back groups until a unit has as many free as it keeps free, the longest empty first."""
    machine = draft.units[unit]
    missing = kept_free(machine) - machine.free_groups
    if missing <= 0 or not machine.idle or machine.state is not State.UP:
        return
    empty = [
        (one.idle_since, one.index, one)
        for one in machine.groups.values()
        if one.idle_since is not None and one.idle_since <= before
    ]
    for _, _, group in sorted(empty, key=lambda one: one[:2]):
        channel = draft.channels[group.channel]
        if (
            name in (None, channel.name)
            and channel.ingest is not None  # without one its units would be known no more
            and channel.groups > channel.by_hand
            and not _wanted(draft, channel, unit, group)
        ):
            give_back(draft, channel.name, GroupId(unit, group.index))
            missing -= 1
            if not missing:
                return


def _wanted(draft: Draft, channel: Channel, unit: str, group: Group) -> bool:
    """Whether growth would grant an empty group again if it were given back."""
    if not channel.seats:
        return False
    enough = spare(channel.seats)
    left = usable(draft, channel, enough, (unit,))
    if unit not in cut_off(channel):
        left += min(channel.branches[unit].free - group.free, draft.units[unit].room(channel.seat))
    return left < enough


def reduce(view: View, name: str, groups: int = 1) -> Decision:
    """Give back groups by hand, as soon as they are empty.

    ``ConflictError`` where the channel has only one and none by hand, or where none of them is
    empty.
    """
    draft = Draft(view)
    channel = draft.channel(name)
    left = max(1, channel.groups - groups)
    if left >= max(channel.groups, channel.kept):
        raise ConflictError(f"channel {name!r} has one group only", subject=name)
    draft.do(t.Keep(name, min(channel.kept, left)))
    while draft.channels[name].groups > left:
        leaf = _leaf(draft, draft.channels[name], None)
        if leaf is None:
            if draft.channels[name].groups == channel.groups > left:
                raise ConflictError(f"no group of channel {name!r} is empty", subject=name)
            break
        give_back(draft, name, leaf)
    return draft.decision()


def give_back(draft: Draft, name: str, group: GroupId) -> None:
    """Revoke an empty group, and the links to its unit that nothing else needs."""
    draft.do(t.Revoke(name, group.unit, group.number))
    unit: str | None = group.unit
    while unit is not None and unit in draft.channels[name].branches:
        parent = draft.channels[name].branches[unit].parent
        prune(draft, name, unit)
        unit = parent if unit not in draft.channels[name].branches else None


def prune(draft: Draft, name: str, unit: str) -> None:
    """Unlink a unit that neither watches a channel, nor passes it on, nor is where it enters."""
    channel = draft.channels[name]
    branch = channel.branches[unit]
    wanted = branch.groups or branch.children or unit in (channel.ingest, channel.next_ingest)
    if not wanted:
        draft.do(t.Unlink(name, unit))


def _has_plenty(draft: Draft, channel: Channel) -> bool:
    places = max((draft.units[one].budgets.places for one in channel.branches), default=0)
    enough = HYSTERESIS * spare(channel.seats) + places
    return channel.free >= enough and usable(draft, channel, enough) >= enough


def _leaf(draft: Draft, channel: Channel, before: float | None) -> GroupId | None:
    """The empty group farthest from the root; None where none is.

    The last group of a unit that passes the channel on, or where it enters, stays.
    """
    reach = depths(channel)
    # What is cut off is farther than anything.
    far = channel.policy.max_depth + 1
    for branch in sorted(
        channel.branches.values(), key=lambda one: (-reach.get(one.unit, far), one.unit)
    ):
        groups = draft.units[branch.unit].groups
        needed = branch.children or branch.unit in (channel.ingest, channel.next_ingest)
        if needed and len(branch.groups) == 1:
            continue
        for index in reversed(branch.groups):
            idle = groups[index].idle_since
            if idle is not None and (before is None or idle <= before):
                return GroupId(branch.unit, index)
    return None
