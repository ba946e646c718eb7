"""What administrators of a part of the cluster may order."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError
from tests.unit.manager.site import EVA, carriers, site, three
from tests.unit.manager.units import cluster
from tests.unit.manager.waiting import until

from heliograph.catalogue.names import check_domains
from heliograph.manager import decisions as d
from heliograph.manager.domains import outside
from heliograph.manager.upkeep import move_source
from heliograph.manager.view import State, View
from heliograph.manager.wire import Command, command_json, parse_command
from heliograph.model.errors import ForbiddenError, MalformedError, NotFoundError
from heliograph.model.nodes import MAX_DOMAINS
from heliograph.node.settings.cluster import ClusterSettings

ASIA, EUROPE = ("asia",), ("europe",)


def two_domains() -> tuple[View, str]:
    """Units 1 and 2 of Asia, 3 of Europe, 4 of none; and where the channel *yard* enters."""
    view = cluster(4)
    of = {"1": "asia", "2": "asia", "3": "europe", "4": ""}
    units = {id: replace(unit, domain=of[id]) for id, unit in view.units.items()}
    view = d.open_channel(replace(view, units=units), "yard", 1_000_000, 0.0).view
    ingest = view.channels["yard"].ingest
    assert ingest == "1"
    return view, ingest


def may(
    view: View, domains: tuple[str, ...] | None, command: str, channel: str = "", unit: str = ""
) -> bool:
    what = {"channel": channel, "unit": unit}
    given = {key: value for key, value in what.items() if value}
    return outside(view, Command(command, EVA, given, domains)) is None


@pytest.mark.parametrize("order", ["drain", "return", "remove", "extend"])
def test_orders_about_a_unit_are_for_whoever_administers_its_domain(order: str) -> None:
    view, _ = two_domains()
    mine = [may(view, ASIA, order, unit=unit) for unit in ("1", "2", "3", "4", "gone")]
    assert mine == [True, True, False, False, False]
    assert may(view, ("asia", "europe"), order, unit="3")
    assert may(view, None, order, unit="4")
    assert not may(view, (), order, unit="4")


def test_a_source_is_moved_within_the_domains() -> None:
    view, _ = two_domains()
    assert may(view, ASIA, "move", "yard", "2")
    assert not may(view, ASIA, "move", "yard", "3")
    assert not may(view, EUROPE, "move", "yard", "3")  # it enters in Asia
    assert may(view, ("europe", "asia"), "move", "yard", "3")


def test_a_move_under_way_is_undone_by_whoever_administers_where_it_goes() -> None:
    view, _ = two_domains()
    view = d.extend(view, "yard", 0.0, unit="3").view
    view = move_source(view, "yard", "3", 0.0).view
    assert view.channels["yard"].next_ingest == "3"
    assert not may(view, ASIA, "move", "yard", "2")
    assert may(view, ("asia", "europe"), "move", "yard", "2")
    view = d.move_ingest(view, "yard", "3").view  # it has arrived
    assert may(view, EUROPE, "move", "yard", "3")
    assert not may(view, ASIA, "move", "yard", "2")


def test_groups_are_taken_back_by_whoever_administers_all_that_have_the_channel() -> None:
    view, _ = two_domains()
    assert may(view, ASIA, "reduce", "yard")
    assert not may(view, EUROPE, "reduce", "yard")
    view = d.extend(view, "yard", 0.0, unit="3").view
    assert not may(view, ASIA, "reduce", "yard")
    assert may(view, ("asia", "europe"), "reduce", "yard")


@pytest.mark.parametrize("order", ["open", "close", "extend", "forget", "of a later version"])
def test_what_concerns_the_whole_cluster_is_for_administrators(order: str) -> None:
    view, _ = two_domains()
    assert not may(view, ("asia", "europe"), order, "yard")
    assert may(view, None, order, "yard")


@pytest.mark.parametrize(
    ("name", "good"), [("asia", True), ("eu-2", True), ("x" * 32, True), ("x" * 33, False),
                       ("A", False), ("a b", False), ("asia\n", False)]
)  # fmt: skip
def test_units_and_accounts_take_the_same_names(name: str, good: bool) -> None:
    for takes in (lambda: ClusterSettings(domain=name), lambda: check_domains([name])):
        if good:
            takes()
            continue
        with pytest.raises((MalformedError, ValidationError)):
            takes()


def test_an_order_tells_of_all_domains_that_an_account_may_administer() -> None:
    most = check_domains(f"{number:032}" for number in range(MAX_DOMAINS))
    order = Command("drain", EVA, {"unit": "1"}, most)
    assert parse_command(command_json(order)) == order


async def test_an_order_outside_of_the_domain_does_nothing_and_is_in_the_audit_log() -> None:
    async with site() as made:
        manager, units = await three(made)
        units[0].domain = units[1].domain = "asia"
        units[2].domain = "europe"
        portal = await made.add_portal()
        await until(lambda: portal.active())
        await until(
            lambda: (
                [one.domain for one in map(manager.view.units.get, (u.id for u in units)) if one]
                == ["asia", "asia", "europe"]
            )
        )
        for command, what in (
            ("drain", {"unit": units[2].id}),
            ("move", {"channel": "yard", "unit": units[2].id}),
            ("extend", {"channel": "yard", "groups": 1, "unit": units[2].id}),
            ("close", {"channel": "yard"}),
        ):
            with pytest.raises(ForbiddenError) as refused:
                await portal.command(command, EVA, ASIA, **what)
            assert refused.value.status == 403
            assert command in refused.value.message
            assert made.database.written.pop() == (f"order.refused {[*what.values()][-1]}", "eva")
        assert made.database.written == []
        assert units[2].state is State.UP
        assert carriers(made) == {units[0].id}
        with pytest.raises(NotFoundError):
            await portal.command("reduce", EVA, ASIA, channel="hall")

        shown = {one["name"]: one["domain"] for one in (await portal.view())["units"]}
        assert shown == {"one": "asia", "two": "asia", "three": "europe"}
        assert (await portal.command("drain", EVA, ASIA, unit=units[1].id))["done"] is not None
        await until(lambda: units[1].state is State.DRAINING)
        assert made.database.drained == {units[1].id}
