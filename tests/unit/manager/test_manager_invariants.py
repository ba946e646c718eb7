"""The judge of all other tests finds what it is there for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.manager.test_manager_decisions import opened, seat
from tests.unit.manager.units import cluster

from heliograph.manager import transitions as t
from heliograph.manager.draft import apply
from heliograph.manager.invariants import check
from heliograph.manager.view import Amounts, Channel, Policy, State, Unit, View


def sound() -> View:
    view = opened(cluster(3, groups=2))
    view = apply(view, t.Link("yard", "2", "1"), t.Grant("yard", "2", 0, 10, 0.0))
    return apply(seat(view, 12), t.Link("yard", "3", "2"))


def unit(view: View, id: str, **changes: Any) -> View:
    return replace(view, units={**view.units, id: replace(view.units[id], **changes)})


def channel(view: View, **changes: Any) -> View:
    changed = replace(view.channels["yard"], **changes)
    return replace(view, channels={"yard": changed})


def branch(view: View, id: str, **changes: Any) -> View:
    branches = view.channels["yard"].branches
    return channel(view, branches={**branches, id: replace(branches[id], **changes)})


def group(view: View, id: str, **changes: Any) -> View:
    groups = view.units[id].groups
    return unit(view, id, groups={**groups, 0: replace(groups[0], **changes)})


def test_a_sound_view_has_no_faults() -> None:
    assert check(sound()) == []


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda v: unit(v, "1", used=Amounts()), "counted"),
        (lambda v: unit(v, "1", budgets=replace(v.units["1"].budgets, groups=0)), "groups of 0"),
        (lambda v: unit(v, "1", carries=frozenset()), "carries"),
        (lambda v: unit(v, "2", state=State.GONE), "gone"),
        (lambda v: unit(v, "1", idle=1), "1 empty groups, there are 0"),
        (lambda v: unit(v, "2", groups={}), "has not the groups"),
        (lambda v: group(v, "1", viewers=11), "of 10"),
        (lambda v: group(v, "1", reserved=1), "reserved"),
        (lambda v: group(v, "1", idle_since=1.0), "idle"),
        (lambda v: channel(v, seats=0), "counts"),
        (lambda v: channel(v, orphans=frozenset("2")), "orphans"),
        (lambda v: channel(v, ingest="2"), "no root"),
        (lambda v: channel(v, policy=Policy(1, 8)), "2 deep of 1"),
        (lambda v: channel(v, policy=Policy(4, 0)), "feeds 1 of 0"),
        (lambda v: branch(v, "2", parent="3"), "from itself"),
        (lambda v: branch(v, "1", children=()), "say so"),
        (lambda v: branch(v, "1", groups=(0, 0)), "not once"),
        (
            lambda v: unit(
                v, "1", budgets=replace(v.units["1"].budgets, limits=Amounts(1, 10**9, 10**12))
            ),
            "above its budget",
        ),
    ],
)
def test_a_fault_is_named(spoil: Callable[[View], View], said: str) -> None:
    assert any(said in fault for fault in check(spoil(sound())))


def test_a_strained_tree_may_exceed_its_bounds_and_nothing_else() -> None:
    view = channel(sound(), policy=Policy(1, 0))
    assert check(view)
    assert check(view, ("yard",)) == []
    assert check(channel(view, seats=0), ("yard",))


def test_records_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Unit("1", "1").state = State.GONE  # type: ignore[misc]
    with pytest.raises(AttributeError):
        Channel.of("yard", 1).bitrate = 2  # type: ignore[misc]
