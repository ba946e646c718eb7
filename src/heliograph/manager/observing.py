"""Taking a unit's report into the view: what runs is right, what was decided is not.

A report from before the last order to its unit shows a state that is on its way out: of such a
one only viewers and measurements count. So an order and a report that cross on their way
neither undo each other nor need a memory of what was ordered.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from heliograph.manager.reports import BranchReport, Report
from heliograph.manager.tree import above
from heliograph.manager.view import Amounts, Channel, Group, State, Unit

if TYPE_CHECKING:
    from heliograph.manager.draft import Draft

#: Bits a second of a channel that a unit carries and nobody else told us of: a usual webcam's.
NOMINAL_BITRATE = 2_000_000


def observe(draft: Draft, report: Report) -> None:
    """Make the view agree with what a unit says it runs."""
    if report.unit not in draft.units:
        draft.units[report.unit] = Unit(report.unit, report.name)
    known = draft.units[report.unit]
    current = report.serial >= known.ordered
    draft.serial = max(draft.serial, report.serial)
    draft.put(
        report.unit,
        name=report.name,
        location=report.location,
        domain=report.domain,
        budgets=report.budgets,
        state=_state(known.state, report.state, current),
    )
    for id in report.taken:
        if id in draft.units[report.unit].reservations:
            index = draft.use(id, report.unit, 1).index
            draft.sit(report.unit, index, 0, -1, report.at)
    if current:
        _take_structure(draft, report)
    _take_viewers(draft, report)
    if report.measured is not None:
        unit = draft.units[report.unit]
        model = unit.used.minus(unit.other)
        beyond = report.measured.minus(model)
        other = Amounts(max(0, beyond[0]), max(0, beyond[1]), max(0, beyond[2]))
        draft.put(report.unit, other=other, used=model.plus(other))


def _state(ours: State, theirs: State, current: bool) -> State:
    if current or ours is State.GONE:
        return theirs
    # The order to drain, or to come back, is still on its way; pressure is the unit's to say.
    return ours if State.DRAINING in (ours, theirs) else theirs


def _take_structure(draft: Draft, report: Report) -> None:
    branches = {branch.channel: branch for branch in report.branches}
    groups: dict[int, str] = {}
    for one in report.groups:
        if 0 <= one.index < report.budgets.groups and one.channel in branches:
            groups.setdefault(one.index, one.channel)
    unit = draft.units[report.unit]
    for index, group in unit.groups.items():
        if groups.get(index) != group.channel or group.places != report.budgets.places:
            draft.drop_group(report.unit, index)
    for name in unit.carries.difference(branches):
        draft.drop_branch(name, report.unit)
    for branch in branches.values():
        _take_branch(draft, report.unit, branch)
    for index, name in groups.items():
        if index not in draft.units[report.unit].groups:
            group = Group(index, name, report.budgets.places, idle_since=report.at)
            draft.add_group(group, report.unit)


def _take_branch(draft: Draft, unit: str, said: BranchReport) -> None:
    name = said.channel
    if name not in draft.channels:
        draft.channels[name] = Channel.of(name, said.bitrate or NOMINAL_BITRATE)
    channel = draft.channels[name]
    if unit not in channel.branches:
        draft.add_branch(name, unit, None)
    if said.ingest and said.epoch >= channel.epoch:
        if channel.ingest != unit:
            draft.set_ingest(name, unit)
    elif channel.ingest != unit:
        # Where sources entered on both sides of a partition, the higher epoch has the channel.
        source = None if said.ingest else said.source
        branches = draft.channels[name].branches
        if source is not None and unit in above(branches, source):
            source = None
        if branches[unit].parent != source:
            draft.set_parent(name, unit, source)
    channel = draft.channels[name]
    bound = said.bound if channel.ingest == unit else channel.bound
    draft.channels[name] = replace(channel, epoch=max(channel.epoch, said.epoch), bound=bound)


def _take_viewers(draft: Draft, report: Report) -> None:
    for said in report.groups:
        group = draft.units[report.unit].groups.get(said.index)
        if group is None or group.channel != said.channel:
            continue
        viewers = max(0, min(said.viewers, group.places))
        _make_way(draft, report, group, viewers)
        group = draft.units[report.unit].groups[said.index]
        if viewers != group.viewers:
            draft.sit(report.unit, said.index, viewers - group.viewers, 0, report.at)


def _make_way(draft: Draft, report: Report, group: Group, viewers: int) -> None:
    """Give up kept places on which a unit has seated others, the last to lapse first."""
    excess = viewers + group.reserved - group.places
    kept = draft.units[report.unit].reservations.values()
    for one in sorted(kept, key=lambda one: (-one.expires, one.id)):
        if excess <= 0:
            return
        if one.index == group.index:
            count = min(excess, one.count)
            draft.use(one.id, report.unit, count)
            draft.sit(report.unit, group.index, 0, -count, report.at)
            excess -= count
