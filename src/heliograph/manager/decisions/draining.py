"""Units that are to go, and those that come back."""

from __future__ import annotations

from dataclasses import dataclass

from heliograph.live.admission import RETRY_AFTER
from heliograph.manager import transitions as t
from heliograph.manager.decisions.channels import successor
from heliograph.manager.decisions.mending import mend_tree
from heliograph.manager.decisions.moving import ENTER_S, relocate
from heliograph.manager.decisions.shrinking import give_back, prune
from heliograph.manager.draft import Decision, Draft
from heliograph.manager.view import Cluster, GroupId, State, View
from heliograph.model.errors import ConflictError, NotFoundError


@dataclass(frozen=True, slots=True)
class Progress:
    """What a unit that is drained still has."""

    unit: str
    channels: int
    groups: int
    viewers: int
    reserved: int
    """Places kept for those on their way; they lapse by themselves."""
    ingests: int
    """Channels whose source still enters there."""
    links: int
    """Units that still take a channel from it."""
    bound: int
    """Channels whose source nobody can send elsewhere: the unit fetches it itself, until it is told
    to no more, or the publisher comes back to it whatever it is told."""

    @property
    def done(self) -> bool:
        """Whether it may be removed and nobody notices."""
        return not self.channels


def progress(cluster: Cluster, unit: str) -> Progress:
    """What a unit has; ``NotFoundError`` where there is none."""
    machine = cluster.units.get(unit)
    if machine is None:
        raise NotFoundError(f"no unit {unit[:80]!r}", subject=unit[:80])
    channels = [cluster.channels[name] for name in machine.carries]
    return Progress(
        unit,
        len(channels),
        len(machine.groups),
        machine.viewers,
        sum(group.reserved for group in machine.groups.values()),
        sum(channel.ingest == unit for channel in channels),
        sum(len(channel.branches[unit].children) for channel in channels),
        sum(channel.ingest == unit and channel.bound for channel in channels),
    )


def drain(view: View, unit: str, now: float) -> Decision:
    """Move everything away from a unit, as far as that goes now.

    To be called again as reports come in, until ``progress`` says that it is done: sources and
    viewers move when they do, and each call orders only what has not been ordered. Links move
    first, then sources and viewers, and a group is given back when it is empty. One that is gone
    has nothing, and stays so: who then brought it back would be given a unit that is not there.
    """
    draft = Draft(view)
    if draft.unit(unit).state is State.GONE:
        return draft.decision()
    if draft.units[unit].state is not State.DRAINING:
        draft.do(t.ChangeState(unit, State.DRAINING))
    for name in sorted(draft.units[unit].carries):
        _move_source(draft, name, unit, now)
        # The successor of a source takes the channel from here until it has entered there.
        if draft.channels[name].ingest != unit:
            mend_tree(draft, name, (unit,))
        for index in draft.channels[name].branches[unit].groups:
            group = draft.units[unit].groups[index]
            away = group.viewers - _held(draft, name, GroupId(unit, index))
            if away > 0:
                relocate(draft, name, GroupId(unit, index), away, now, (unit,))
            if not group.viewers and not group.reserved:
                give_back(draft, name, GroupId(unit, index))
        if unit in draft.channels[name].branches:
            prune(draft, name, unit)
    return draft.decision()


def _move_source(draft: Draft, name: str, unit: str, now: float) -> None:
    channel = draft.channels[name]
    if channel.ingest != unit:
        return
    if channel.bound:
        draft.do(t.Refuse(name, "bound", 1, RETRY_AFTER, unit))
        return
    waits = channel.next_ingest is not None and now < channel.move_expires
    if waits and draft.units[channel.next_ingest or ""].state is State.UP:
        return
    target = successor(draft, name, now, leaving=unit)
    if target is None:
        draft.do(t.Refuse(name, "units", 1, RETRY_AFTER, unit))
    elif target != unit:
        draft.do(t.MoveIngest(name, unit, target, now + ENTER_S))


def _held(draft: Draft, name: str, source: GroupId) -> int:
    """Places kept for viewers of a group, on units that are not to go themselves."""
    held = 0
    for id, unit in draft.channels[name].holds.items():
        hold = draft.units[unit].reservations[id]
        if hold.origin == source and draft.units[unit].state is not State.DRAINING:
            held += hold.count
    return held


def remove(view: View, unit: str) -> Decision:
    """Take a unit out; ``ConflictError`` while it carries anything or may be given something."""
    draft = Draft(view)
    machine = draft.unit(unit)
    if machine.state not in (State.DRAINING, State.GONE):
        raise ConflictError(f"unit {machine.name!r} has to be drained first", subject=unit)
    if machine.carries:
        has = f"{len(machine.carries)} channels and {machine.viewers} viewers"
        raise ConflictError(
            f"unit {machine.name!r} still carries {has}: wait until it has nothing, or stop it",
            subject=unit,
        )
    draft.do(t.Forget(unit))
    return draft.decision()


def bring_back(view: View, unit: str) -> Decision:
    """Let a unit that was drained, or that had gone, be given things again."""
    draft = Draft(view)
    if draft.unit(unit).state is not State.UP:
        draft.do(t.ChangeState(unit, State.UP))
    return draft.decision()


def press(view: View, unit: str, pressed: bool) -> Decision:
    """A unit is under pressure, or no more: it gets nothing, or again what others get.

    One that is drained or gone stays so.
    """
    draft = Draft(view)
    before, after = (State.UP, State.PRESSED) if pressed else (State.PRESSED, State.UP)
    if draft.unit(unit).state is before:
        draft.do(t.ChangeState(unit, after))
    return draft.decision()
