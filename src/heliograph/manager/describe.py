"""The cluster for people: what pages and the command line show, as plain values of JSON.

::

    {"epoch": 7, "manager": "left", "at": 1760000000.0, "whole": true,
     "units": [{"id", "name", "domain", "location", "state", "load", "viewers", "places",
                "used": {"bandwidth", "cpu", "memory"}, "limits": {the same},
                "budget": {"groups", "places"},
                "groups": {"yard": [[index, viewers, reserved, places], …]}}],
     "channels": [{"name", "viewers", "reserved", "places", "groups", "kept", "bitrate",
                   "epoch", "ingest", "next_ingest", "orphans": [unit, …],
                   "tree": [[unit, parent or null], …]}],
     "closed": ["hall", …], "removed": [{"id", "name"}]}

``load`` is committed bandwidth against capacity, ``epoch`` of the view the lease's and of a channel
its source's, ``at`` seconds since 1970. Where that is too long for one message, ``whole`` is
false and units and channels have only the numbers that change: no ``groups`` of units by channel,
no trees, no budgets.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from heliograph.manager.decisions.draining import Progress
from heliograph.manager.ranking import load
from heliograph.manager.tree import depths
from heliograph.manager.view import Amounts, Channel, Cluster, Unit


def describe(
    cluster: Cluster,
    *,
    epoch: int,
    manager: str,
    at: float,
    whole: bool = True,
    removed: Collection[str] = (),
) -> dict[str, Any]:
    """The cluster for people. ``manager``: who says it; empty without an active one. ``removed``:
    units that are not shown as long as they have nothing."""
    return {
        "epoch": epoch,
        "manager": manager,
        "at": round(at, 3),
        "whole": whole,
        "units": [
            _unit(unit, whole)
            for unit in sorted(cluster.units.values(), key=lambda one: (one.name, one.id))
            if unit.id not in removed or unit.carries
        ],
        "channels": [
            _channel(cluster, channel, whole)
            for channel in sorted(cluster.channels.values(), key=lambda one: one.name)
        ],
    }


def describe_progress(found: Progress) -> dict[str, Any]:
    """What a unit that is drained still has."""
    return {
        "unit": found.unit,
        "channels": found.channels,
        "groups": found.groups,
        "viewers": found.viewers,
        "reserved": found.reserved,
        "ingests": found.ingests,
        "links": found.links,
        "bound": found.bound,
        "done": found.done,
    }


def describe_removed(cluster: Cluster, removed: Collection[str]) -> list[dict[str, str]]:
    """Units that were removed, ``id`` and ``name``; the name of one that is away is not known."""
    found = []
    for id in sorted(removed):
        unit = cluster.units.get(id)
        found.append({"id": id, "name": "" if unit is None else unit.name})
    return found


def describe_closing(channel: Channel | None, name: str, busy: Sequence[str]) -> dict[str, Any]:
    """What is left of a channel that was closed; ``busy``: units that have not said it is gone."""
    units = {*busy, *(() if channel is None else channel.branches)}
    return {
        "channel": name,
        "units": len(units),
        "groups": 0 if channel is None else channel.groups,
        "viewers": 0 if channel is None else channel.seats,
        "done": not units,
    }


def describe_opened(channel: Channel) -> dict[str, Any]:
    """Where a channel that was opened is expected, and what it has."""
    return {
        "channel": channel.name,
        "unit": channel.ingest,
        "groups": channel.groups,
        "places": channel.seats + channel.free,
        "done": True,
    }


def _unit(unit: Unit, whole: bool) -> dict[str, Any]:
    groups = unit.groups.values()
    found: dict[str, Any] = {
        "id": unit.id,
        "name": unit.name,
        "state": unit.state.value,
        "load": round(load(unit), 4),
        "viewers": unit.viewers,
        "places": sum(one.places for one in groups),
    }
    if whole:
        by_channel: dict[str, list[list[int]]] = {}
        for one in groups:
            numbers = [one.index, one.viewers, one.reserved, one.places]
            by_channel.setdefault(one.channel, []).append(numbers)
        found |= {
            "domain": unit.domain,
            "location": unit.location,
            "used": _amounts(unit.used),
            "limits": _amounts(unit.budgets.limits),
            "budget": {"groups": unit.budgets.groups, "places": unit.budgets.places},
            "groups": {name: sorted(by_channel[name]) for name in sorted(by_channel)},
        }
    return found


def _channel(cluster: Cluster, channel: Channel, whole: bool) -> dict[str, Any]:
    groups = [
        cluster.units[branch.unit].groups[index]
        for branch in channel.branches.values()
        for index in branch.groups
    ]
    found: dict[str, Any] = {
        "name": channel.name,
        "viewers": sum(one.viewers for one in groups),
        "reserved": sum(one.reserved for one in groups),
        "places": sum(one.places for one in groups),
        "groups": len(groups),
    }
    if whole:
        reach = list(depths(channel))
        rest = sorted(set(channel.branches).difference(reach))
        found |= {
            "kept": channel.kept,
            "bitrate": channel.bitrate,
            "epoch": channel.epoch,
            "ingest": channel.ingest,
            "next_ingest": channel.next_ingest,
            "orphans": sorted(channel.orphans),
            "tree": [[unit, channel.branches[unit].parent] for unit in (*reach, *rest)],
        }
    return found


def _amounts(amounts: Amounts) -> dict[str, int]:
    return {"bandwidth": amounts.bandwidth, "cpu": amounts.cpu, "memory": amounts.memory}
