"""Groups that people gave a channel: they outlive their units."""

from __future__ import annotations

import pytest
from tests.unit.manager.site import EVA, site
from tests.unit.manager.test_manager_decisions import opened, seat
from tests.unit.manager.units import cluster
from tests.unit.manager.waiting import until

from heliograph.manager import decisions as d
from heliograph.manager import transitions as t
from heliograph.manager.decisions.shrinking import IDLE_S
from heliograph.manager.draft import Decision
from heliograph.manager.invariants import check
from heliograph.manager.upkeep import lose_unit, tidy
from heliograph.manager.view import View


def settled(view: View, drained: str = "") -> Decision:
    """After a while of looking after it; what the last look came to."""
    done = Decision(view)
    for second in range(2, int(2 * IDLE_S)):
        if drained:
            view = d.drain(view, drained, second).view
        done = tidy(view, "yard", second)
        view = d.shrink(done.view, second).view
        assert check(view) == []
    return Decision(view, done.transitions)


def extended(units: int, groups: int = 5) -> View:
    view = opened(cluster(units, groups))
    return d.extend(view, "yard", 0.0, 4, "2").view


def test_groups_of_a_unit_that_died_are_granted_elsewhere() -> None:
    view = lose_unit(extended(3), "2", 1.0, ()).view
    assert view.channels["yard"].groups == 1
    done = settled(view)
    assert done.view.channels["yard"].groups == done.view.channels["yard"].kept == 5
    assert not done.refusals


def test_groups_of_a_unit_that_is_drained_are_granted_elsewhere() -> None:
    done = settled(extended(3), drained="2")
    assert d.progress(done.view, "2").done
    assert done.view.channels["yard"].groups == 5
    assert not done.transitions


def test_where_there_is_no_room_one_refusal_says_for_how_many() -> None:
    done = settled(lose_unit(extended(2, groups=3 + 1), "2", 1.0, ()).view)
    assert done.view.channels["yard"].groups == 4
    assert [(one.budget, one.count) for one in done.refusals] == [("groups", 1)]


def test_what_is_given_back_by_hand_is_not_granted_again() -> None:
    done = settled(d.reduce(extended(3), "yard", 3).view)
    assert done.view.channels["yard"].groups == 2


def test_a_channel_to_which_people_gave_nothing_is_granted_nothing() -> None:
    view = seat(opened(cluster(3)), 3)
    assert not any(isinstance(one, t.Grant) for one in tidy(view, "yard", 1.0).transitions)


@pytest.mark.parametrize("way", ["dies", "is drained"])
async def test_a_manager_gives_them_to_others_by_itself(way: str) -> None:
    async with site() as made:
        manager = (await made.add_manager("left")).manager
        units = [await made.add_unit(name) for name in ("one", "two", "three")]
        units[0].enter("yard")
        portal = await made.add_portal()
        await until(lambda: manager.serving and units[0].groups and portal.active())
        other = units[1].id
        await portal.command("extend", EVA, channel="yard", groups=3, unit=other)
        await until(lambda: len(units[1].groups) == 3)
        if way == "dies":
            made.kill("two")
        else:
            await portal.command("drain", EVA, unit=other)
        await until(lambda: len(units[0].groups) + len(units[2].groups) == 4)
        assert manager.view.channels["yard"].groups == 4
