"""The table of presence, compared with one that simply knows everything."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.bus.presence import (
    MAX_NODES,
    MAX_SESSIONS,
    Arrived,
    Book,
    Changed,
    Event,
    Gone,
    News,
    Table,
)
from heliograph.model.errors import MalformedError
from heliograph.model.nodes import NodeId

NODE = NodeId("a" * 16)


def texts(events: list[Event]) -> list[str]:
    return [f"{type(one).__name__} {one.name.name}={one.name.value}" for one in events]


def test_a_token_makes_its_book_wanted_and_the_book_its_names() -> None:
    table, book = Table(), Book()
    book.change("unit", "u", 1)
    assert table.arrived(NODE, "1") == ([], True)
    assert table.wanted() == [(NODE, "1")]
    events, more = table.book(NODE, "1", book.whole())
    assert (texts(events), more) == (["Arrived u=1"], False)
    assert table.wanted() == []
    assert table.arrived(NODE, "1") == ([], False)
    assert texts(table.gone(NODE, "1")[0]) == ["Gone u=1"]
    assert len(table) == 0


def test_news_change_what_is_known_and_lost_ones_make_the_book_wanted() -> None:
    table, book = Table(), Book()
    table.arrived(NODE, "1")
    table.book(NODE, "1", book.whole())
    events, more = table.news(NODE, "1", book.change("unit", "u", 1))
    assert (texts(events), more) == (["Arrived u=1"], False)
    events, _ = table.news(NODE, "1", book.change("unit", "u", 2))
    assert isinstance(events[0], Changed)
    assert events[0].before == 1
    book.change("unit", "v", 1)  # lost
    assert table.news(NODE, "1", book.withdraw("unit", "u")) == ([], True)
    assert table.wanted() == [(NODE, "1")]
    events, more = table.book(NODE, "1", book.whole())
    assert (texts(events), more) == (["Gone u=2", "Arrived v=1"], False)


def test_a_version_that_was_missed_makes_the_book_wanted() -> None:
    table, book = Table(), Book()
    table.arrived(NODE, "1")
    table.book(NODE, "1", book.whole())
    assert table.news(NODE, "1", News(book.version)) == ([], False)
    book.change("unit", "u", 1)
    assert table.news(NODE, "1", News(book.version)) == ([], True)


def test_news_that_come_before_their_book_are_in_the_next_one() -> None:
    table, book = Table(), Book()
    table.arrived(NODE, "1")
    asked = book.whole()
    assert table.news(NODE, "1", book.change("unit", "u", 1)) == ([], True)
    assert table.book(NODE, "1", asked) == ([], True)
    assert texts(table.book(NODE, "1", book.whole())[0]) == ["Arrived u=1"]


def test_nothing_is_believed_of_who_is_not_there() -> None:
    table, book = Table(), Book()
    assert table.news(NODE, "1", book.change("unit", "u", 1)) == ([], False)
    assert table.book(NODE, "1", book.whole()) == ([], False)
    assert table.gone(NODE, "1") == ([], False)
    assert table.names() == []


def test_a_node_that_was_started_anew_is_another_one() -> None:
    table, old, new = Table(), Book(), Book()
    old.change("unit", "u", 1)
    new.change("unit", "u", 1)
    table.arrived(NODE, "1")
    table.book(NODE, "1", old.whole())
    events, more = table.arrived(NODE, "2")
    assert (texts(events), more) == (["Gone u=1"], True)
    assert table.current(NODE) == "2"
    assert texts(table.book(NODE, "2", new.whole())[0]) == ["Arrived u=1"]
    assert table.news(NODE, "1", old.change("unit", "u", 5)) == ([], False)
    assert table.gone(NODE, "1") == ([], False)
    assert [name.value for name in table.names("unit")] == [1]


def test_the_older_session_counts_again_when_the_newer_is_gone() -> None:
    table, old = Table(), Book()
    old.change("unit", "u", 1)
    table.arrived(NODE, "1")
    table.book(NODE, "1", old.whole())
    table.arrived(NODE, "2")
    events, more = table.gone(NODE, "2")
    assert (texts(events), more) == (["Arrived u=1"], False)


def test_nodes_and_sessions_are_bounded() -> None:
    table = Table()
    for session in range(MAX_SESSIONS + 1):
        table.arrived(NODE, str(session))
    for node in range(MAX_NODES + 1):
        table.arrived(NodeId(f"n{node}"), "1")
    assert len(table) == MAX_NODES
    assert table.refused == 3


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"version": "1", "put": [], "withdrawn": []},
        {"version": 1, "put": [["unit", "u"]], "withdrawn": []},
        {"version": 1, "put": [["unit", "a/b", 1]], "withdrawn": []},
        {"version": 1, "put": [["unit", 1, 1]], "withdrawn": []},
        {"version": 1, "put": [], "withdrawn": [["unit"]]},
    ],
)
def test_what_is_no_news_is_refused(value: object) -> None:
    with pytest.raises(MalformedError):
        News.from_json(value)


@given(st.integers(0, 2**32))
def test_whatever_is_lost_the_table_is_level_when_it_was_asked(seed: int) -> None:  # noqa: C901
    """Three nodes start, end, announce; messages are lost and books come late. The events make
    the same as the table, nothing arrives or goes twice, and in the end all is as it is."""
    draw = random.Random(seed)
    table = Table()
    running: dict[NodeId, tuple[str, Book]] = {}
    held: list[tuple[NodeId, str, News]] = []
    seen: dict[tuple[str, str, str], object] = {}
    starts = 0

    def apply(events: list[Event]) -> None:
        for event in events:
            at = (event.name.node, event.name.kind, event.name.name)
            if isinstance(event, Arrived):
                assert at not in seen
                seen[at] = event.name.value
            elif isinstance(event, Changed):
                assert seen[at] == event.before
                seen[at] = event.name.value
            else:
                assert isinstance(event, Gone)
                assert seen.pop(at) == event.name.value

    for _ in range(60):
        node = NodeId(draw.choice("abc") * 16)
        what = draw.random()
        if node not in running:
            starts += 1
            running[node] = (f"{starts:04}", Book())
            apply(table.arrived(node, running[node][0])[0])
            continue
        session, book = running[node]
        if what < 0.1:
            apply(table.gone(node, session)[0])
            del running[node]
        elif what < 0.7:
            name = draw.choice("xyz")
            if ("unit", name) in book.entries and draw.random() < 0.4:
                news = book.withdraw("unit", name)
            else:
                news = book.change("unit", name, draw.randrange(3))
            if draw.random() < 0.7:
                apply(table.news(node, session, News.from_json(news.to_json()))[0])
        elif what < 0.85:
            held += [
                (wanted, asked, running[wanted][1].whole())
                for wanted, asked in table.wanted()
                if wanted in running and running[wanted][0] == asked
            ]
        elif held:
            apply(table.book(*held.pop(draw.randrange(len(held))))[0])
    for node, (session, book) in running.items():
        apply(table.news(node, session, News(book.version))[0])
    for node, session in table.wanted():
        apply(table.book(node, session, running[node][1].whole())[0])
    assert table.wanted() == []
    assert seen == {
        (node, *place): value
        for node, (_, book) in running.items()
        for place, value in book.entries.items()
    }
    assert seen == {(one.node, one.kind, one.name): one.value for one in table.names()}
