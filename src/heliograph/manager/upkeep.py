"""What the shell decides beyond single decisions: pure, and of the same kind.

Channels of a cluster are made by the nodes that keep them: the manager knows those that units
carry, and begins with another when somebody wants to watch it, or opens it by hand.
``offered`` are the channels that nodes announce, ``keepers`` the nodes that announce one.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from heliograph.manager import transitions as t
from heliograph.manager.decisions import Joined, join, replace_unit
from heliograph.manager.decisions.growing import grant_on, restore, top_up
from heliograph.manager.decisions.lending import borrow, grant_or_borrow
from heliograph.manager.decisions.mending import mend_tree
from heliograph.manager.decisions.moving import ENTER_S
from heliograph.manager.decisions.reconciling import prune_if_bare
from heliograph.manager.decisions.replacing import revive
from heliograph.manager.draft import Decision, Draft
from heliograph.manager.observing import NOMINAL_BITRATE
from heliograph.manager.ranking import refusal
from heliograph.manager.view import Channel, State, View
from heliograph.manager.wire import Asked
from heliograph.model.errors import BusyError, ConflictError, NotFoundError
from heliograph.model.media import check_channel_name


def is_live(channel: Channel) -> bool:
    """Whether it has a source, or had one and is watched."""
    return channel.ingest is not None or channel.groups > 0


def tidy(view: View, name: str, now: float, keepers: Collection[str] = ()) -> Decision:
    """Bring one channel in order: a root, one tree within its bounds, the groups that people gave
    it, places to spare.

    One that no unit carries is forgotten. Harmless where it is not known.
    """
    draft = Draft(view)
    channel = draft.channels.get(name)
    if channel is None:
        return draft.decision()
    if not channel.branches:
        draft.do(t.CloseChannel(name))
    elif is_live(channel):
        revive(draft, name, now)
        _prune(draft, name, keepers)  # who is to have the channel no more needs no link
        mend_tree(draft, name)
        _prune(draft, name, keepers)
        restore(draft, name, now)
        top_up(draft, name, now, None)
    return draft.decision()


def _prune(draft: Draft, name: str, keepers: Collection[str]) -> None:
    for unit in sorted(draft.channels[name].branches):
        if unit not in keepers:  # those have the channel whatever they are told
            prune_if_bare(draft, name, unit)


def seat(view: View, asked: Asked, id: str, now: float, offered: Collection[str]) -> Joined:
    """Keep a place for a viewer; errors as of ``decisions.join``.

    A channel without a source gets a unit where one is expected, so that its viewers can wait.
    """
    draft = Draft(view)
    name = asked.channel
    if name not in draft.channels:
        if name not in offered:
            raise NotFoundError(f"no channel {name!r} in the cluster", subject=name)
        draft.do(t.OpenChannel(name, NOMINAL_BITRATE))
    if draft.channels[name].ingest is None:
        revive(draft, name, now)
        if draft.channels[name].ingest is None:
            raise refusal(draft, draft.channels[name])
        mend_tree(draft, name)
    begun = draft.decision()
    joined = join(
        begun.view,
        name,
        id,
        now,
        location=asked.location,
        origin=asked.origin,
        at=asked.at,
        avoid=asked.avoid,
    )
    return replace(joined, transitions=begun.transitions + joined.transitions)


def begin(view: View, name: str, now: float) -> Decision:
    """Open a channel by hand: a unit where its source is expected, and a group there or wherever
    one is free, before anybody comes. Nothing where it has both.

    ``BusyError`` where no unit has room for it.
    """
    draft = Draft(view)
    if name not in draft.channels:
        draft.do(t.OpenChannel(check_channel_name(name), NOMINAL_BITRATE))
    if draft.channels[name].ingest is None:
        revive(draft, name, now)
    channel = draft.channels[name]
    if channel.ingest is None or not (channel.groups or grant_or_borrow(draft, name, now)):
        raise refusal(draft, draft.channels[name])
    return draft.decision()


def lose_unit(view: View, unit: str, now: float, offered: Collection[str]) -> Decision:
    """A unit is gone: as ``decisions.replace_unit``, but a channel that nobody else has is over."""
    draft = Draft(view)
    for name in sorted(draft.unit(unit).carries):
        if set(draft.channels[name].branches) == {unit} and name not in offered:
            draft.do(t.CloseChannel(name))
    over = draft.decision()
    replaced = replace_unit(over.view, unit, now)
    return Decision(replaced.view, over.transitions + replaced.transitions)


def move_source(view: View, name: str, unit: str, now: float) -> Decision:
    """Send a channel's publisher to another unit; it has moved when that one reports it.

    ``ConflictError`` without a source, or with one that is bound to its unit; ``BusyError``
    where the unit cannot take the channel.
    """
    draft = Draft(view)
    channel = draft.channel(name)
    machine = draft.unit(unit)
    if channel.ingest is None:
        raise ConflictError(f"channel {name!r} has no source", subject=name)
    if channel.ingest == unit:
        return draft.decision()
    if channel.bound:
        raise ConflictError(
            f"the source of channel {name!r} is bound to unit {channel.ingest!r}, which fetches it,"
            " or to whose address alone it comes",
            subject=name,
        )
    if machine.state is not State.UP:
        raise BusyError(f"unit {unit!r} takes nothing more", subject="units", retry_after=10)
    granted = unit in channel.branches or grant_on(draft, name, now, machine)
    if not (granted or borrow(draft, name, now, at=unit)):
        raise BusyError(f"unit {unit!r} has no group for it", subject="places", retry_after=10)
    draft.do(t.MoveIngest(name, channel.ingest, unit, now + ENTER_S))
    return draft.decision()


def receivers(order: t.Transition) -> tuple[str, ...]:
    """The units that are told; nobody for what is no order."""
    match order:
        case (
            t.ChangeState(unit=unit)
            | t.Ingest(unit=unit)
            | t.Link(unit=unit)
            | t.Unlink(unit=unit)
            | t.Grant(unit=unit)
            | t.Revoke(unit=unit)
        ):
            return (unit,)
        case t.MoveIngest(source=source, target=target):
            return (source, target)
        case t.MoveViewers(source=source):
            return (source.unit,)
        case t.CloseChannel(units=units):
            return units
    return ()
