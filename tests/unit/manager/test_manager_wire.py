"""What is sent is what was meant, and nonsense is refused by name."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.catalogue.values import Actor
from heliograph.manager import transitions as t
from heliograph.manager import wire
from heliograph.manager.reports import BranchReport, GroupReport, Report
from heliograph.manager.view import Amounts, Budgets, GroupId, State
from heliograph.model.errors import MalformedError

units = st.from_regex(r"[a-z2-7]{16}", fullmatch=True)
channels = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True)
numbers = st.integers(0, 2**53)
groups = st.integers(0, 1000)
names = st.text(st.characters(codec="utf-8", categories=("L", "N", "P")), max_size=50)
ids = st.from_regex(r"[!-~]{1,60}", fullmatch=True)
states = st.sampled_from([State.UP, State.PRESSED, State.DRAINING])
amounts = st.builds(Amounts, numbers, numbers, numbers)
group_ids = st.builds(GroupId, units, groups)

reports = st.builds(
    Report,
    units,
    names,
    st.just(7.0),
    names,
    states,
    st.builds(Budgets, groups, st.integers(1, 1000), amounts),
    st.none() | amounts,
    numbers,
    st.lists(
        st.builds(
            BranchReport,
            channels,
            st.none() | units,
            st.booleans(),
            numbers,
            numbers,
            st.booleans(),
        ),
        max_size=5,
    ).map(tuple),
    st.lists(st.builds(GroupReport, groups, channels, groups), max_size=5).map(tuple),
    st.lists(ids, max_size=5).map(tuple),
)
orders = st.one_of(
    st.builds(t.ChangeState, units, states),
    st.builds(t.CloseChannel, channels),
    st.builds(t.Ingest, channels, units),
    st.builds(t.MoveIngest, channels, units, units, st.just(1030.0)),
    st.builds(t.Link, channels, units, units),
    st.builds(t.Unlink, channels, units),
    st.builds(t.Grant, channels, units, groups, st.integers(1, 1000), st.just(3.0), st.booleans()),
    st.builds(t.Revoke, channels, units, groups),
    st.builds(t.MoveViewers, ids, channels, group_ids, group_ids, groups, st.just(23.0)),
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
)


def sent(value: Any) -> Any:
    """As it arrives."""
    return json.loads(json.dumps(value, allow_nan=False))


def good() -> Report:
    return Report(
        "a" * 16,
        "left",
        0.0,
        branches=(BranchReport("yard"),),
        groups=(GroupReport(0, "yard", 3),),
        taken=("r1",),
    )


@given(reports)
def test_a_report_arrives_as_it_was_made(report: Report) -> None:
    assert wire.parse_report(sent(wire.report_json(report)), report.unit, 7.0) == report


@given(st.lists(orders, max_size=6).map(tuple), numbers, numbers)
def test_orders_arrive_as_they_were_given(
    given_ones: tuple[t.Transition, ...], epoch: int, serial: int
) -> None:
    given_all = wire.Orders(epoch, serial, given_ones)
    assert wire.parse_orders(sent(wire.orders_json(given_all, 3.0)), 3.0) == given_all


def test_every_kind_of_order_can_be_sent() -> None:
    here = GroupId("a" * 16, 1)
    samples: dict[type, t.Transition] = {
        t.ChangeState: t.ChangeState("a", State.UP),
        t.CloseChannel: t.CloseChannel("yard"),
        t.Ingest: t.Ingest("yard", "a"),
        t.MoveIngest: t.MoveIngest("yard", "a", "b", 1.0),
        t.Link: t.Link("yard", "a", "b"),
        t.Unlink: t.Unlink("yard", "a"),
        t.Grant: t.Grant("yard", "a", 0, 10, 0.0),
        t.Revoke: t.Revoke("yard", "a", 0),
        t.MoveViewers: t.MoveViewers("h", "yard", here, here, 1, 1.0),
    }
    for kind in t.ORDERS:
        assert wire.parse_order(sent(wire.order_json(samples[kind], 0.0)), 0.0) == samples[kind]
    with pytest.raises(MalformedError):
        wire.order_json(t.Forget("a"), 0.0)


def test_times_are_those_of_the_clock_that_reads_them() -> None:
    here = GroupId("a", 1)
    hold = wire.order_json(t.MoveViewers("h", "yard", here, here, 1, 120.0), now=100.0)
    assert wire.parse_order(hold, now=5.0) == t.MoveViewers("h", "yard", here, here, 1, 25.0)
    late = wire.order_json(t.MoveViewers("h", "yard", here, here, 1, 120.0), now=130.0)
    assert wire.parse_order(late, now=5.0) == t.MoveViewers("h", "yard", here, here, 1, 5.0)
    granted = wire.order_json(t.Grant("yard", "a", 0, 10, 100.0), now=100.0)
    assert wire.parse_order(granted, now=5.0) == t.Grant("yard", "a", 0, 10, 5.0)


@given(anything)
def test_nonsense_is_malformed_and_nothing_else(value: Any) -> None:
    for parse in (
        lambda: wire.parse_report(value, "a" * 16, 0.0),
        lambda: wire.parse_orders(value, 0.0),
        lambda: wire.parse_order(value, 0.0),
        lambda: wire.parse_asked(value),
        lambda: wire.parse_seat(value),
        lambda: wire.parse_command(value),
        lambda: wire.parse_closed(value),
    ):
        with pytest.raises(MalformedError):
            parse()


@given(st.data())
def test_a_report_with_one_thing_wrong_is_malformed_or_still_a_report(data: st.DataObject) -> None:
    value = sent(wire.report_json(good()))
    spot = value
    while True:
        keys = list(spot) if isinstance(spot, dict) else list(range(len(spot)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(spot[key], dict | list) or not spot[key] or data.draw(st.booleans()):
            break
        spot = spot[key]
    spot[key] = data.draw(anything)
    try:
        report = wire.parse_report(value, "a" * 16, 0.0)
    except MalformedError:
        return
    assert wire.parse_report(sent(wire.report_json(report)), "a" * 16, 0.0) == report


@pytest.mark.parametrize(
    "change",
    [
        {"groups": [{"index": 0, "channel": "yard", "viewers": 0}] * (wire.MAX_ITEMS + 1)},
        {"taken": ["r"] * (wire.MAX_ITEMS + 1)},
        {"taken": ["r" * 201]},
        {"name": "n" * 201},
        {"name": "two\nlines"},
        {"serial": -1},
        {"serial": 2**60},
        {"serial": True},
        {"state": "gone"},
        {"measured": [1, 2]},
        {"budgets": {"groups": 1, "places": 0, "limits": [1, 1, 1]}},
        {"branches": [{"channel": "no such/name", "source": None, "ingest": True}]},
    ],
)
def test_what_is_too_long_or_impossible_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(MalformedError):
        wire.parse_report({**wire.report_json(good()), **change}, "a" * 16, 0.0)


def test_what_a_later_version_adds_is_left_alone() -> None:
    value = {**wire.report_json(good()), "mood": "fine"}
    assert wire.parse_report(value, "a" * 16, 1.0) == replace(good(), at=1.0)


def test_a_command_tells_of_which_domains_whoever_gave_it_is() -> None:
    for domains in (None, (), ("asia", "eu")):
        command = wire.Command("drain", Actor("eva", "192.0.2.7"), {"unit": "u1"}, domains)
        assert wire.parse_command(sent(wire.command_json(command))) == command
    for wrong in (7, "asia", [7], ["x" * 1000], ["x"] * 1000, None):
        with pytest.raises(MalformedError):
            wire.parse_command({"command": "drain", "by": "eva", "domains": wrong})


def test_requests_for_places_and_their_answers_arrive() -> None:
    asked = wire.Asked("yard", "eu/de", "a" * 16, "", ("b" * 16, "c"))
    assert wire.parse_asked(sent(wire.asked_json(asked))) == asked
    assert wire.parse_asked({"channel": "yard"}) == wire.Asked("yard")
    seat = wire.Seat("r1", "a" * 16, 3, 7, 9.5)
    assert wire.parse_seat(sent(wire.seat_json(seat))) == seat


def test_a_command_has_only_plain_arguments() -> None:
    command = wire.Command(
        "drain", Actor("eva", "192.0.2.7"), {"unit": "a", "groups": 2, "quick": True}
    )
    assert wire.parse_command(sent(wire.command_json(command))) == command
    assert command.text("unit") == "a"
    assert command.whole("groups", 1) == 2
    with pytest.raises(MalformedError):
        command.text("groups")
    with pytest.raises(MalformedError):
        command.text("channel")
    for wrong in ({"unit": ["a"]}, {"Unit": "a"}, {"unit": "x" * 1001}, {"n": 2**60}):
        with pytest.raises(MalformedError):
            wire.parse_command({"command": "drain", "by": "eva", **wrong})
    with pytest.raises(MalformedError):
        wire.parse_command(
            {"command": "drain", "by": "eva", **{f"a{'x' * n}": 1 for n in range(21)}}
        )
