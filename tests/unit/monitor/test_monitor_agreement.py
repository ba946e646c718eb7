"""What several monitors say together, compared with a second, naive implementation."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.catalogue.contents.values import Condition, ProbeKind, ServerState
from heliograph.dispatcher.monitor.agreement import View, agree

START = datetime(2026, 1, 1, tzinfo=UTC)
UNKNOWN, UP, STARTING, DOWN = (
    Condition.UNKNOWN,
    Condition.UP,
    Condition.STARTING,
    Condition.DOWN,
)


def state(condition: Condition, ms: float | None = 10.0, since: int = 0, server: int = 1):
    at = START + timedelta(seconds=since)
    responses = {} if ms is None else {ProbeKind.TCP: ms}
    reason = "refused" if condition is DOWN else ""
    return ServerState(server, condition, ms, at, at, responses, None, reason)


def views(*found: Condition | tuple[Condition, bool]) -> list[View]:
    """One of each monitor, a, b, c, …; a pair is its state and whether it doubts itself."""
    made = []
    for name, one in zip("abcdefgh", found, strict=False):
        condition, doubt = one if isinstance(one, tuple) else (one, False)
        made.append(View(name, doubt, {1: state(condition)}))
    return made


@pytest.mark.parametrize(
    ("found", "agreed"),
    [
        ([UP], UP),
        ([DOWN], DOWN),
        ([UP, UP, DOWN], UP),
        ([UP, DOWN, DOWN], DOWN),
        ([UP, DOWN], DOWN),
        ([UP, STARTING], STARTING),
        ([UP, UP, STARTING], UP),
        ([UP, STARTING, STARTING, DOWN], STARTING),
        ([UP, UNKNOWN, UNKNOWN], UP),
        ([UNKNOWN, DOWN], DOWN),
        ([UNKNOWN, UNKNOWN], UNKNOWN),
        ([(DOWN, True), UP], UP),
        ([(UP, True), (UP, True), DOWN], DOWN),
        ([(UP, True), (UP, True)], UP),
        ([(UP, True), UNKNOWN], UP),
    ],
)
def test_majority_of_those_without_doubt_decides(found, agreed: Condition) -> None:
    for order in permutations(views(*found)):
        assert agree(order, "a")[1].condition is agreed


def test_reason_says_how_many_see_it() -> None:
    assert agree(views(DOWN))[1].reason == "refused"
    assert agree(views(DOWN, DOWN, UP))[1].reason == "refused (2 of 3 monitors)"
    assert agree(views(UP, DOWN, UP), "a")[1].reason == "refused (1 of 3 monitors)"
    assert agree(views(UP, UP))[1].reason == ""


def test_response_time_is_the_own_one_where_there_is_one() -> None:
    told = [
        View(name, states={1: state(UP, ms)}) for name, ms in zip("abc", (1, 5, 90), strict=True)
    ]
    assert agree(told, "c")[1].response_ms == 90
    assert agree(told, "")[1].response_ms == 5
    told[2] = View("c", states={1: state(UNKNOWN, None)})
    assert agree(told, "c")[1].response_ms == 3
    assert agree(told, "c")[1].responses == {ProbeKind.TCP: 3}


def test_own_response_time_of_a_monitor_in_doubt_is_not_taken() -> None:
    told = [View("a", True, {1: state(UP, 900.0)}), View("b", False, {1: state(UP, 5.0)})]
    assert agree(told, "a")[1].response_ms == 5.0


def test_slow_start_counts_from_the_latest_and_all_else_from_the_earliest() -> None:
    def told(condition: Condition) -> list[View]:
        return [
            View(n, states={1: state(condition, since=s)})
            for n, s in zip("abc", (3, 9, 6), strict=True)
        ]

    for condition, seconds in ((STARTING, 9), (UP, 3), (DOWN, 3)):
        assert agree(told(condition))[1].since == START + timedelta(seconds=seconds)


def test_only_servers_asked_for_are_looked_at() -> None:
    told = [View("a", states={1: state(UP), 2: state(UP, server=2)})]
    assert set(agree(told, servers=[2, 3])) == {2}


def naive(told: list[View], id: int) -> tuple[Condition, datetime | None] | None:
    """Counting only, by the text of the documentation."""
    known = [v for v in told if id in v.states]
    if not known:
        return None
    for voters in ([v for v in known if not v.doubt], known):
        voices = [v.states[id] for v in voters if v.states[id].condition != UNKNOWN]
        if voices:
            break
    else:
        return UNKNOWN, None
    count = Counter(one.condition for one in voices)
    alive = count[UP] + count[STARTING]
    if count[DOWN] > alive or count[DOWN] == alive:
        winner = DOWN
    elif count[STARTING] > count[UP] or count[STARTING] == count[UP]:
        winner = STARTING
    else:
        winner = UP
    times = sorted(one.since for one in voices if one.condition == winner)
    return winner, times[-1] if winner is STARTING else times[0]


_STATES = st.builds(
    state,
    st.sampled_from(list(Condition)),
    st.none() | st.floats(0, 1e4),
    st.integers(0, 100),
    st.just(0),
)


@st.composite
def _views(draw: st.DrawFn) -> list[View]:
    names = draw(st.lists(st.sampled_from("abcdefgh"), unique=True, max_size=8))
    return [
        View(name, draw(st.booleans()), draw(st.dictionaries(st.integers(1, 4), _STATES)))
        for name in names
    ]


@given(_views(), st.sampled_from(["", *"abcdefgh"]))
def test_agrees_with_counting(told: list[View], own: str) -> None:
    agreed = agree(told, own)
    assert set(agreed) == {id for view in told for id in view.states}
    for id, found in agreed.items():
        wanted = naive(told, id)
        assert wanted is not None
        assert found.condition is wanted[0]
        if wanted[1] is not None:
            assert found.since == wanted[1]


@given(_views())
def test_every_node_comes_to_the_same_conditions(told: list[View]) -> None:
    nodes = [
        {id: (one.condition, one.since) for id, one in agree(told, own).items()}
        for own in ["", *(view.node for view in told)]
    ]
    known = [{id: value for id, value in node.items() if value[0] is not UNKNOWN} for node in nodes]
    assert all(node == known[0] for node in known)
