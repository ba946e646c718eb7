"""Units that do as they are told, and say so."""

from __future__ import annotations

from heliograph.manager import transitions as t
from heliograph.manager.draft import apply
from heliograph.manager.reports import BranchReport, GroupReport, Report
from heliograph.manager.view import Amounts, Budgets, View

#: Enough for anything.
PLENTY = Amounts(10**12, 10**9, 10**12)


def cluster(count: int, groups: int = 5, places: int = 10, limits: Amounts = PLENTY) -> View:
    """Units ``1``, ``2``, …, alike and empty."""
    view = View()
    for number in range(1, count + 1):
        name = str(number)
        view = apply(view, t.Enrol(name, name, budgets=Budgets(groups, places, limits)))
    return view


def report_of(view: View, unit: str, at: float) -> Report:
    """What a unit says that does just what the view has of it."""
    machine = view.units[unit]
    branches = []
    for name in sorted(machine.carries):
        channel = view.channels[name]
        branch = channel.branches[unit]
        ingest = channel.ingest == unit
        branches.append(BranchReport(name, branch.parent, ingest, channel.epoch, channel.bitrate))
    groups = [
        GroupReport(index, name, machine.groups[index].viewers)
        for name in sorted(machine.carries)
        for index in view.channels[name].branches[unit].groups
    ]
    return Report(
        unit,
        machine.name,
        at,
        machine.location,
        machine.state,
        machine.budgets,
        serial=view.serial,
        branches=tuple(branches),
        groups=tuple(groups),
    )
