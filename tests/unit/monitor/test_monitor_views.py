"""Views of other monitors: as messages, and as they are kept."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.catalogue.contents.values import Condition, ProbeKind, ServerState
from heliograph.dispatcher.monitor.views import MAX_MONITORS, MAX_SERVERS, Told, Views
from heliograph.model.errors import MalformedError

AT = datetime(2026, 1, 1, 12, 30, 0, 250_000, tzinfo=UTC)
UP = ServerState(
    1, Condition.UP, 12.5, AT, AT, {ProbeKind.TCP: 12.5, ProbeKind.ICMP: 0.1}, 8e6, "gründlich"
)
DOWN = replace(UP, condition=Condition.DOWN)


def told(seq: int, *states: ServerState, whole: bool = False, start: int = 1, **more) -> Told:
    more = {"doubt": False, "part": (0, 1000) if whole else None, **more}
    return Told(start, seq, states={one.server: one for one in states}, **more)


def test_message_comes_as_it_was_sent() -> None:
    sent = told(7, UP, replace(DOWN, server=2, response_ms=None), doubt=True, gone=(3, 4))
    assert Told.from_json(replace(sent, part=(1, 9)).to_json()).part == (1, 9)
    assert Told.from_json(json.loads(json.dumps(sent.to_json()))) == sent


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=9) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(_JSON)
def test_anything_else_is_refused_with_a_stated_error(value: object) -> None:
    with pytest.raises(MalformedError):
        Told.from_json(value)


@given(st.integers(0, 7), _JSON)
def test_anything_in_a_state_is_a_value_or_a_stated_error(place: int, value: object) -> None:
    message = told(1, UP).to_json()
    message["states"][0][place] = value
    with contextlib.suppress(MalformedError):
        Told.from_json(message)


def test_message_with_too_many_servers_is_refused() -> None:
    message = told(1, UP).to_json()
    message["states"] *= MAX_SERVERS + 1
    with pytest.raises(MalformedError):
        Told.from_json(message)


def test_changes_are_told_and_response_times_are_none() -> None:
    views = Views()
    assert views.hear("a", told(1, UP, whole=True), 0) == {1}
    assert views.hear("a", told(2, replace(UP, response_ms=99.0)), 0) == set()
    assert views.fresh(0)[0].states[1].response_ms == 99.0
    assert views.hear("a", told(3, DOWN), 0) == {1}
    assert views.hear("a", told(4, gone=(1,)), 0) == {1}
    assert not views.fresh(0)[0].states


def test_whole_view_makes_up_for_what_was_lost() -> None:
    views = Views()
    views.hear("a", told(1, UP, whole=True), 0)
    views.hear("a", told(4), 0)
    assert views.missed == 2
    other = replace(UP, server=2)
    assert views.hear("a", told(5, other, whole=True), 0) == {1, 2}
    assert set(views.fresh(0)[0].states) == {2}


def test_part_says_what_there_is_between_its_ends() -> None:
    views = Views()
    servers = [replace(UP, server=id) for id in range(1, 7)]
    views.hear("a", told(1, *servers, whole=True), 0)
    assert views.hear("a", told(2, servers[2], DOWN, part=(1, 4)), 0) == {1, 2, 4}
    assert sorted(views.fresh(0)[0].states) == [1, 3, 5, 6]


def test_late_and_repeated_messages_change_nothing() -> None:
    views = Views()
    views.hear("a", told(5, DOWN, whole=True), 0)
    assert not views.hear("a", told(5, UP, whole=True), 1)
    assert not views.hear("a", told(4, UP, whole=True), 1)
    assert views.fresh(1)[0].states[1] == DOWN


def test_monitor_that_started_anew_is_heard() -> None:
    views = Views()
    views.hear("a", told(500, DOWN, whole=True, start=1), 0)
    assert views.hear("a", told(1, UP, whole=True, start=2), 0) == {1}
    assert views.missed == 0


def test_view_of_which_nothing_is_heard_counts_no_more() -> None:
    views = Views(fresh=3.0)
    views.hear("a", told(1, UP, whole=True), 0)
    views.hear("b", told(1, UP, whole=True), 2)
    assert [view.node for view in views.fresh(3.5)] == ["b"]
    assert views.forget(3.5) == {1}
    # Its clock may have been set back.
    views.hear("a", told(1, UP, whole=True, start=0), 4)
    assert [view.node for view in views.fresh(4)] == ["a", "b"]


def test_monitor_that_is_gone_has_no_say() -> None:
    views = Views()
    views.hear("a", told(1, UP, whole=True), 0)
    assert views.drop("a") == {1}
    assert views.drop("a") == set()
    assert not views.fresh(0)


def test_doubt_concerns_every_server() -> None:
    views = Views()
    views.hear("a", told(1, UP, replace(UP, server=2), whole=True), 0)
    assert views.hear("a", told(2, doubt=True), 0) == {1, 2}
    assert views.fresh(0)[0].doubt


def test_monitors_are_bounded_and_stale_ones_make_room() -> None:
    views = Views()
    for number in range(MAX_MONITORS):
        views.hear(f"node{number}", told(1, UP, whole=True), 0)
    assert not views.hear("late", told(1, UP, whole=True), 1)
    assert views.refused == 1
    assert views.hear("late", told(2, UP, whole=True), 10) == {1}
