"""Channels: opened, closed, and entered by their sources at another unit."""

from __future__ import annotations

from heliograph.manager import transitions as t
from heliograph.manager.decisions.growing import best_newcomer
from heliograph.manager.decisions.mending import mend_tree
from heliograph.manager.decisions.shrinking import prune
from heliograph.manager.draft import Decision, Draft
from heliograph.manager.ranking import cut_off, rank, refusal
from heliograph.manager.tree import depths
from heliograph.manager.view import Policy, State, View
from heliograph.model.errors import MalformedError
from heliograph.model.media import check_channel_name


def open_channel(
    view: View, name: str, bitrate: int, now: float, policy: Policy | None = None
) -> Decision:
    """Open a channel and grant its first group on the least loaded unit: there its source enters.

    Where no group is free it gets one when somebody watches. ``ConflictError`` where it is open,
    ``BusyError`` where no unit has room for it.
    """
    if bitrate <= 0:
        raise MalformedError("bit rate", f"{bitrate} bit/s")
    draft = Draft(view)
    draft.do(t.OpenChannel(check_channel_name(name), bitrate, policy or Policy()))
    if not plant(draft, name, now):
        raise refusal(draft, draft.channels[name])
    return draft.decision()


def close_channel(view: View, name: str) -> Decision:
    """End a channel everywhere."""
    draft = Draft(view)
    units = tuple(sorted(draft.channel(name).branches))
    draft.do(t.CloseChannel(name, units))
    return draft.decision()


def move_ingest(view: View, name: str, unit: str) -> Decision:
    """The source has entered at ``unit``: the tree grows from there now.

    What was the root takes the channel like any other unit, or is done with it. No unit may
    be told no by this: the source is there.
    """
    draft = Draft(view)
    old = draft.channel(name).ingest
    draft.unit(unit)
    if old != unit:
        draft.do(t.Ingest(name, unit))
        mend_tree(draft, name)
        if old is not None and old in draft.channels[name].branches:
            prune(draft, name, old)
    return draft.decision()


def plant(draft: Draft, name: str, now: float) -> bool:
    """Let a channel without an ingest unit begin anew on the least loaded unit, if there is one.

    One with a free group if there is any.
    """
    channel = draft.channels[name]
    unit = best_newcomer(draft, channel) or best_newcomer(draft, channel, bare=True)
    if unit is None:
        return False
    draft.do(t.Ingest(name, unit))
    grant_first(draft, name, unit, now)
    return True


def grant_first(draft: Draft, name: str, unit: str, now: float) -> None:
    """Grant the lowest free group of a unit, if there is one."""
    index = draft.units[unit].free_index()
    if index is not None:
        draft.do(t.Grant(name, unit, index, draft.units[unit].budgets.places, now))


def successor(draft: Draft, name: str, now: float, leaving: str | None = None) -> str | None:
    """Where the source had best enter next: a unit that has the channel, the fewest moves away.

    ``leaving``: the unit it enters now. Without such a unit a further one is linked; None where
    there is none.
    """
    channel = draft.channels[name]
    cut = cut_off(channel) if channel.ingest is not None else ()
    best: tuple[bool, int, tuple[int, int, int, float, str]] | None = None
    for id, branch in channel.branches.items():
        unit = draft.units[id]
        if id == leaving or id in cut or unit.state is not State.UP:
            continue
        key = (branch.parent != leaving, -len(branch.children), rank(unit, 0))
        if best is None or key < best:
            best = key
    if best is not None:
        return best[2][4]
    if channel.ingest is None or leaving is None:
        return None
    further = best_newcomer(draft, channel, leaving, (leaving,))
    if further is None:
        further = best_newcomer(draft, channel, leaving, (leaving,), bare=True)
    if further is not None:
        # All that have the channel are to go, or under pressure: the nearest to the root with room
        # makes one copy more, for the moment until the source has moved.
        for id, depth in depths(channel).items():
            narrow = len(channel.branches[id].children) >= channel.policy.max_fan_out
            deep = depth >= channel.policy.max_depth
            if not narrow and not deep and not draft.units[id].lacks(channel.seat):
                draft.do(t.Link(name, further, id))
                grant_first(draft, name, further, now)
                return further
    return None
