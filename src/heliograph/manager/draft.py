"""Applying transitions: the only place where a next view is made.

A ``Draft`` is the next view while it is being made. Decisions look at it as at a view, so that the
second group they grant sees the first; ``view`` ends it. Shell, simulator and tests share
``apply``. A transition that does not fit the view, because it is older than what happened since,
raises ``NotFoundError`` or ``ConflictError`` and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from heliograph.manager import transitions as t
from heliograph.manager.observing import observe
from heliograph.manager.tree import above
from heliograph.manager.view import (
    EMPTY,
    STATE_CHANGES,
    Amounts,
    Branch,
    Channel,
    Group,
    Reservation,
    State,
    Unit,
    View,
)
from heliograph.model.errors import ConflictError, NotFoundError


@dataclass(frozen=True, slots=True)
class Decision:
    """What a decision comes to."""

    view: View
    """The next one."""
    transitions: tuple[t.Transition, ...] = ()
    """What leads there, in this order."""

    @property
    def refusals(self) -> tuple[t.Refuse, ...]:
        return tuple(one for one in self.transitions if isinstance(one, t.Refuse))


class Draft:
    """The next view while it is being made."""

    __slots__ = ("_own", "channels", "done", "serial", "units")

    def __init__(self, view: View) -> None:
        self.units = dict(view.units)
        self.channels = dict(view.channels)
        self.serial = view.serial
        self.done: list[t.Transition] = []
        # Channels whose dictionary of branches is this draft's own and may be written to.
        self._own: set[str] = set()

    def do(self, *transitions: t.Transition) -> None:
        """Apply transitions and remember them."""
        for transition in transitions:
            _HANDLERS[type(transition)](self, transition)
            self.done.append(transition)

    def decision(self) -> Decision:
        """End the draft."""
        self._own.clear()
        return Decision(View(self.units, self.channels, self.serial), tuple(self.done))

    # --- look-ups -----------------------------------------------------------------------------

    def unit(self, unit: str) -> Unit:
        """``NotFoundError`` where there is none."""
        try:
            return self.units[unit]
        except KeyError:
            raise NotFoundError(f"no unit {unit[:80]!r}", subject=unit[:80]) from None

    def channel(self, name: str) -> Channel:
        """``NotFoundError`` where it is not open."""
        try:
            return self.channels[name]
        except KeyError:
            raise NotFoundError(f"no channel {name[:80]!r}", subject=name[:80]) from None

    def branch(self, name: str, unit: str) -> Branch:
        """``NotFoundError`` where the unit has nothing of the channel."""
        try:
            return self.channel(name).branches[unit]
        except KeyError:
            raise NotFoundError(f"unit {unit!r} has no {name!r}", subject=name) from None

    def group(self, unit: str, index: int) -> Group:
        """``NotFoundError`` where nobody has it."""
        try:
            return self.unit(unit).groups[index]
        except KeyError:
            raise NotFoundError(f"group {index} of {unit!r} is free", subject=unit) from None

    # --- writing ------------------------------------------------------------------------------

    def put(self, unit: str, **changes: Any) -> None:  # noqa: ANN401 - fields of Unit
        self.units[unit] = replace(self.units[unit], **changes)

    def spend(self, unit: str, amounts: Amounts) -> None:
        self.put(unit, used=self.units[unit].used.plus(amounts))

    def order(self, unit: str) -> None:
        """Note that the unit gets an order; one that is gone gets none."""
        self.serial += 1
        if self.units[unit].state is not State.GONE:
            self.put(unit, ordered=self.serial)

    def branches(self, name: str) -> dict[str, Branch]:
        """The channel's branches, to be written to."""
        channel = self.channels[name]
        if name not in self._own:
            self._own.add(name)
            self.channels[name] = channel = replace(channel, branches=dict(channel.branches))
        assert isinstance(channel.branches, dict)
        return channel.branches

    def set_branch(self, name: str, unit: str, **changes: Any) -> None:  # noqa: ANN401 - of Branch
        branches = self.branches(name)
        branches[unit] = replace(branches[unit], **changes)

    def sit(self, unit: str, index: int, viewers: int, reserved: int, at: float | None) -> None:
        """Count viewers and reserved places in or out, wherever they are counted.

        ``at``: when, if the group may become empty by it.
        """
        group = self.group(unit, index)
        name, count = group.channel, viewers + reserved
        if group.free < count or group.viewers + viewers < 0 or group.reserved + reserved < 0:
            raise ConflictError(f"group {index} of {unit!r} has other places", subject=name)
        viewers, reserved = group.viewers + viewers, group.reserved + reserved
        idle = None if viewers or reserved else (group.idle_since if at is None else at)
        changed = Group(group.index, name, group.places, viewers, reserved, idle)
        machine, channel = self.units[unit], self.channels[name]
        self.put(
            unit,
            groups={**machine.groups, index: changed},
            idle=machine.idle + (idle is not None) - (group.idle_since is not None),
            used=machine.used.plus(channel.seat.times(count)) if count else machine.used,
        )
        if count:
            branch = channel.branches[unit]
            self.set_branch(name, unit, seats=branch.seats + count, free=branch.free - count)
            channel = self.channels[name]
            self.channels[name] = replace(
                channel, seats=channel.seats + count, free=channel.free - count
            )

    def add_branch(self, name: str, unit: str, parent: str | None) -> None:
        """Let a unit carry a channel; those that waited for it find it."""
        branches = self.branches(name)
        channel, machine = self.channels[name], self.unit(unit)
        waiting = tuple(branch.unit for branch in branches.values() if branch.parent == unit)
        branches[unit] = Branch(unit, None, waiting)
        self.put(
            unit,
            carries=machine.carries | {name},
            used=machine.used.plus(channel.carry).plus(channel.seat.times(len(waiting))),
        )
        orphans = channel.orphans.difference(waiting)
        self.channels[name] = replace(
            channel, orphans=orphans if unit == channel.ingest else orphans | {unit}
        )
        if parent is not None:
            self.set_parent(name, unit, parent)

    def drop_branch(self, name: str, unit: str) -> None:
        """Let a unit carry a channel no more; its groups must be gone. Children are orphans."""
        branch = self.branch(name, unit)
        self.set_parent(name, unit, None)
        branches = self.branches(name)
        for child in branch.children:
            branches[child] = replace(branches[child], parent=None)
        del branches[unit]
        channel, machine = self.channels[name], self.units[unit]
        self.put(
            unit,
            carries=machine.carries - {name},
            used=machine.used.minus(channel.carry.plus(channel.seat.times(len(branch.children)))),
        )
        self.channels[name] = replace(
            channel,
            orphans=(channel.orphans - {unit}).union(branch.children),
            ingest=None if channel.ingest == unit else channel.ingest,
            next_ingest=None if channel.next_ingest == unit else channel.next_ingest,
        )

    def set_parent(self, name: str, unit: str, parent: str | None) -> None:
        """From whom a unit takes a channel; a parent that has it not yet leaves it an orphan."""
        branches = self.branches(name)
        old = branches[unit].parent
        if old in branches and old is not None:
            children = tuple(child for child in branches[old].children if child != unit)
            branches[old] = replace(branches[old], children=children)
            self.spend(old, Amounts().minus(self.channels[name].seat))
        branches[unit] = replace(branches[unit], parent=parent)
        channel = self.channels[name]
        if parent is not None and parent in branches:
            branches[parent] = replace(
                branches[parent], children=(*branches[parent].children, unit)
            )
            self.spend(parent, channel.seat)
            orphans = channel.orphans - {unit}
        else:
            orphans = (
                channel.orphans - {unit} if unit == channel.ingest else channel.orphans | {unit}
            )
        self.channels[name] = replace(channel, orphans=orphans)

    def set_ingest(self, name: str, unit: str) -> None:
        """Let the source enter at a unit; the one where it entered before is an orphan."""
        channel = self.channel(name)
        old = channel.ingest
        if unit not in channel.branches:
            self.add_branch(name, unit, None)
        self.set_parent(name, unit, None)
        channel = self.channels[name]
        orphans = channel.orphans if old is None else channel.orphans | {old}
        self.channels[name] = replace(
            channel, ingest=unit, next_ingest=None, bound=False, orphans=orphans - {unit}
        )

    def add_group(self, group: Group, unit: str) -> None:
        """Count a group in, with whoever sits in it."""
        machine, name, seats = self.unit(unit), group.channel, group.viewers + group.reserved
        self.put(
            unit,
            groups={**machine.groups, group.index: group},
            idle=machine.idle + (group.idle_since is not None),
            used=machine.used.plus(self.channels[name].seat.times(seats)),
        )
        branch = self.branch(name, unit)
        self.set_branch(
            name,
            unit,
            groups=(*branch.groups, group.index),
            seats=branch.seats + seats,
            free=branch.free + group.free,
        )
        channel = self.channels[name]
        self.channels[name] = replace(
            channel, seats=channel.seats + seats, free=channel.free + group.free
        )

    def drop_group(self, unit: str, index: int) -> None:
        """Count a group out, with whoever sits in it and the places kept."""
        group, machine = self.group(unit, index), self.units[unit]
        name, seats = group.channel, group.viewers + group.reserved
        for reservation in [one for one in machine.reservations.values() if one.index == index]:
            self.drop_reservation(reservation)
        machine = self.units[unit]
        self.put(
            unit,
            groups={key: one for key, one in machine.groups.items() if key != index},
            idle=machine.idle - (group.idle_since is not None),
            used=machine.used.minus(self.channels[name].seat.times(seats)),
        )
        branch = self.branch(name, unit)
        self.set_branch(
            name,
            unit,
            groups=tuple(one for one in branch.groups if one != index),
            seats=branch.seats - seats,
            free=branch.free - group.free,
        )
        channel = self.channels[name]
        self.channels[name] = replace(
            channel, seats=channel.seats - seats, free=channel.free - group.free
        )

    def keep(self, reservation: Reservation) -> None:
        """Note a reservation, in place of the one of the same id."""
        machine = self.units[reservation.unit]
        kept = {**machine.reservations, reservation.id: reservation}
        self.put(reservation.unit, reservations=kept)
        if reservation.origin is not None:
            channel = self.channels[reservation.channel]
            holds = {**channel.holds, reservation.id: reservation.unit}
            self.channels[reservation.channel] = replace(channel, holds=holds)

    def drop_reservation(self, reservation: Reservation) -> None:
        """Forget a reservation; its places are another matter."""
        machine = self.units[reservation.unit]
        kept = dict(machine.reservations)
        del kept[reservation.id]
        self.put(reservation.unit, reservations=kept)
        channel = self.channels[reservation.channel]
        if reservation.id in channel.holds:
            holds = {key: one for key, one in channel.holds.items() if key != reservation.id}
            self.channels[reservation.channel] = replace(channel, holds=holds)

    def use(self, id: str, unit: str, count: int) -> Reservation:
        """Take places off a reservation; ``NotFoundError`` where there is none, or not so many."""
        reservation = self.unit(unit).reservations.get(id)
        if reservation is None or reservation.count < count:
            raise NotFoundError(f"no reservation {id[:80]!r}", subject=id[:80])
        if reservation.count == count:
            self.drop_reservation(reservation)
        else:
            self.keep(replace(reservation, count=reservation.count - count))
        return reservation


def apply(view: View, *transitions: t.Transition) -> View:
    """The view after ``transitions``."""
    draft = Draft(view)
    draft.do(*transitions)
    return draft.decision().view


# --- what each transition does ----------------------------------------------------------------


def _enrol(draft: Draft, one: t.Enrol) -> None:
    if one.unit in draft.units:
        raise ConflictError(f"unit {one.unit!r} is known", subject=one.unit)
    draft.units[one.unit] = Unit(one.unit, one.name, one.location, budgets=one.budgets)


def _change_state(draft: Draft, one: t.ChangeState) -> None:
    old = draft.unit(one.unit).state
    if one.state is not old and one.state not in STATE_CHANGES[old]:
        raise ConflictError(f"unit {one.unit!r} is {old}, not {one.state}", subject=one.unit)
    draft.put(one.unit, state=one.state)
    draft.order(one.unit)


def _lose(draft: Draft, one: t.Lose) -> None:
    unit = draft.unit(one.unit)
    for index in unit.groups:
        draft.drop_group(one.unit, index)
    for name in unit.carries:
        draft.drop_branch(name, one.unit)
    draft.put(
        one.unit, state=State.GONE, used=Amounts(), other=Amounts(), reservations=EMPTY, ordered=0
    )


def _forget(draft: Draft, one: t.Forget) -> None:
    if draft.unit(one.unit).carries:
        raise ConflictError(f"unit {one.unit!r} carries channels", subject=one.unit)
    del draft.units[one.unit]


def _open(draft: Draft, one: t.OpenChannel) -> None:
    if one.channel in draft.channels:
        raise ConflictError(f"channel {one.channel!r} is open", subject=one.channel)
    draft.channels[one.channel] = Channel.of(one.channel, one.bitrate, one.policy)


def _close(draft: Draft, one: t.CloseChannel) -> None:
    branches = draft.channel(one.channel).branches
    for branch in tuple(branches.values()):
        for index in branch.groups:
            draft.drop_group(branch.unit, index)
    for unit in tuple(branches):
        draft.drop_branch(one.channel, unit)
        draft.order(unit)
    del draft.channels[one.channel]


def _ingest(draft: Draft, one: t.Ingest) -> None:
    draft.set_ingest(one.channel, one.unit)
    draft.order(one.unit)


def _move_ingest(draft: Draft, one: t.MoveIngest) -> None:
    draft.branch(one.channel, one.target)
    draft.channels[one.channel] = replace(
        draft.channels[one.channel], next_ingest=one.target, move_expires=one.expires
    )
    draft.order(one.source)
    draft.order(one.target)


def _give_up_move(draft: Draft, one: t.GiveUpMove) -> None:
    draft.channels[one.channel] = replace(draft.channel(one.channel), next_ingest=None)


def _link(draft: Draft, one: t.Link) -> None:
    branches = draft.channel(one.channel).branches
    draft.branch(one.channel, one.parent)
    if one.unit in above(branches, one.parent):
        raise ConflictError(f"{one.parent!r} takes it from {one.unit!r}", subject=one.channel)
    if one.unit in branches:
        draft.set_parent(one.channel, one.unit, one.parent)
    else:
        draft.add_branch(one.channel, one.unit, one.parent)
    draft.order(one.unit)


def _unlink(draft: Draft, one: t.Unlink) -> None:
    if draft.branch(one.channel, one.unit).groups:
        raise ConflictError(f"unit {one.unit!r} has groups", subject=one.channel)
    draft.drop_branch(one.channel, one.unit)
    draft.order(one.unit)


def _grant(draft: Draft, one: t.Grant) -> None:
    unit = draft.unit(one.unit)
    if one.index in unit.groups or not 0 <= one.index < unit.budgets.groups:
        raise ConflictError(f"group {one.index} of {one.unit!r} is not free", subject=one.unit)
    draft.branch(one.channel, one.unit)
    draft.add_group(Group(one.index, one.channel, one.places, idle_since=one.at), one.unit)
    draft.order(one.unit)


def _revoke(draft: Draft, one: t.Revoke) -> None:
    group = draft.group(one.unit, one.index)
    if group.channel != one.channel or group.viewers or group.reserved:
        raise ConflictError(f"group {one.index} of {one.unit!r} is in use", subject=one.channel)
    draft.drop_group(one.unit, one.index)
    draft.order(one.unit)


def _keep(draft: Draft, one: t.Keep) -> None:
    draft.channels[one.channel] = replace(draft.channel(one.channel), kept=one.groups)


def _reserve(draft: Draft, one: t.Reserve) -> None:
    _hold(draft, Reservation(one.id, one.channel, one.unit, one.index, one.expires))


def _move_viewers(draft: Draft, one: t.MoveViewers) -> None:
    unit, index = one.target
    _hold(draft, Reservation(one.id, one.channel, unit, index, one.expires, one.count, one.source))
    draft.order(one.source.unit)


def _hold(draft: Draft, reservation: Reservation) -> None:
    group = draft.group(reservation.unit, reservation.index)
    if (
        group.channel != reservation.channel
        or reservation.id in draft.units[reservation.unit].reservations
    ):
        raise ConflictError(f"no place for {reservation.id!r}", subject=reservation.channel)
    draft.sit(reservation.unit, reservation.index, 0, reservation.count, None)
    draft.keep(reservation)


def _take(draft: Draft, one: t.Take) -> None:
    reservation = draft.use(one.id, one.unit, 1)
    draft.sit(one.unit, reservation.index, 1, -1, None)


def _lapse(draft: Draft, one: t.Lapse) -> None:
    reservation = draft.use(one.id, one.unit, one.count)
    draft.sit(one.unit, reservation.index, 0, -one.count, one.at)


def _leave(draft: Draft, one: t.Leave) -> None:
    draft.sit(one.unit, one.index, -one.count, 0, one.at)


def _refuse(draft: Draft, one: t.Refuse) -> None:
    pass


def _observe(draft: Draft, one: t.Observe) -> None:
    observe(draft, one.report)


_HANDLERS: dict[type, Callable[[Draft, Any], None]] = {
    t.Enrol: _enrol,
    t.ChangeState: _change_state,
    t.Lose: _lose,
    t.Forget: _forget,
    t.OpenChannel: _open,
    t.CloseChannel: _close,
    t.Ingest: _ingest,
    t.MoveIngest: _move_ingest,
    t.GiveUpMove: _give_up_move,
    t.Link: _link,
    t.Unlink: _unlink,
    t.Grant: _grant,
    t.Revoke: _revoke,
    t.Keep: _keep,
    t.Reserve: _reserve,
    t.MoveViewers: _move_viewers,
    t.Take: _take,
    t.Lapse: _lapse,
    t.Leave: _leave,
    t.Refuse: _refuse,
    t.Observe: _observe,
}
