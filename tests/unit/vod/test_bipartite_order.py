"""Orders of sessions that several nodes send: what they say, and what is none."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.model.errors import MalformedError
from heliograph.model.nodes import NodeId
from heliograph.protocols.rtsp.sharing import Line, parse_nodes
from heliograph.storage.values import ObjectId
from heliograph.vod.bipartite.conductor import reachable
from heliograph.vod.bipartite.order import (
    MAX_AHEAD_US,
    Lane,
    Member,
    Order,
    decode,
    nodes_header,
)


def member(number: int, node: str, until_us: int | None = None, host: str = "10.0.0.1") -> Member:
    return Member(number, NodeId(node), host, 8554, 8000, 8001, until_us)


ORDER = Order(
    id="0123456789abcdef" * 2,
    epoch=3,
    controller=NodeId("b"),
    version=7,
    title="film",
    object=ObjectId("0123456789abcdef" * 2),
    volume=4,
    peer="10.9.9.9",
    agent="a player",
    extension=1,
    lanes=(Lane(0, 1, 2, 3, 6000, 6001), Lane(1, 4, 5, 6, 6002, 6003)),
    members=(member(0, "a"), member(1, "b", host="fd00::2"), member(2, "c")),
    run=2,
    start_us=1_000_000,
    end_us=None,
    state="playing",
    media_us=5_000_000,
    at_us=1_700_000_000_000_000,
    speed=1.5,
)


def test_an_order_crosses_the_bus_and_is_the_same() -> None:
    for one in (ORDER, replace(ORDER, end_us=9_000_000, state="paused", speed=1)):
        assert decode(json.loads(json.dumps(one.to_json()))) == one


WRONG: list[dict[str, object]] = [
    {"id": "0" * 31},
    {"id": 5},
    {"epoch": 0},
    {"version": True},
    {"version": 1.5},
    {"controller": ""},
    {"object": "../etc"},
    {"peer": "localhost"},
    {"agent": "x" * 257},
    {"extension": 15},
    {"lanes": []},
    {"lanes": [1]},
    {"lanes": [{}]},
    {"lanes": [{"track": 0, "ssrc": -1, "sequence": 0, "timestamp": 0, "rtp": 1, "rtcp": 1}]},
    {"lanes": [{"track": 0, "ssrc": 1, "sequence": 0, "timestamp": 0, "rtp": 0, "rtcp": 1}]},
    {"members": "abc"},
    {"members": [{"number": 1}]},
    {"end_us": 999_999},
    {"end_us": "never"},
    {"state": "ended"},
    {"media_us": 1 << 62},
    {"ahead_us": -1},
    {"ahead_us": MAX_AHEAD_US + 1},
    {"at_us": -1},
    {"speed": 0.1},
    {"speed": "fast"},
    {"speed": None},
    {"speed": float("nan")},
    {"more": 1},
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_what_is_no_order_is_refused(wrong: dict[str, object]) -> None:
    raw = json.loads(json.dumps(ORDER.to_json()))
    with pytest.raises(MalformedError):
        decode(raw | wrong)


@pytest.mark.parametrize("raw", [None, [], 1, "x", {}])
def test_what_is_no_document_is_refused(raw: object) -> None:
    with pytest.raises(MalformedError):
        decode(raw)  # type: ignore[arg-type]


def test_numbers_and_tracks_are_there_once() -> None:
    for change in ({"lanes": (ORDER.lanes[0],) * 2}, {"members": (ORDER.members[0],) * 2}):
        with pytest.raises(MalformedError, match="twice"):
            decode(replace(ORDER, **change).to_json())  # type: ignore[arg-type]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from([*ORDER.to_json()]), _JSON)  # type: ignore[misc]
def test_any_value_gives_an_order_or_malformed(name: str, value: object) -> None:
    raw = dict(ORDER.to_json()) | {name: value}  # type: ignore[arg-type]
    with contextlib.suppress(MalformedError):
        decode(raw)  # type: ignore[arg-type]


def test_media_time_follows_from_the_clock() -> None:
    assert ORDER.position_us(ORDER.at_us - 1) == 5_000_000
    assert ORDER.position_us(ORDER.at_us + 2_000_000) == 8_000_000
    assert replace(ORDER, state="paused").position_us(ORDER.at_us + 9) == 5_000_000


def test_the_higher_epoch_wins_then_the_controller_then_the_version() -> None:
    higher = [
        replace(ORDER, version=8),
        replace(ORDER, controller=NodeId("c"), version=1),
        replace(ORDER, epoch=4, controller=NodeId("a"), version=1),
    ]
    for one in higher:
        assert one.rank > ORDER.rank


def test_a_dead_node_sends_nothing_that_ends_behind_a_margin_before_its_death() -> None:
    now = ORDER.at_us + 4_000_000
    after = ORDER.without("c", now, 1.0)
    assert after.version == ORDER.version + 1
    assert [one.until_us for one in after.members] == [None, None, 8_000_000]
    assert [one.number for one in after.present] == [0, 1]
    assert after.without("c", now + 1, 1.0) is after
    assert after.without("nobody", now, 1.0) is after
    # What is due twice as fast goes twice as far while nobody notices; a lease may be a long one.
    fast = replace(ORDER, speed=2.0, media_us=20_000_000)
    for order, lease, until in ((fast, 1.0, 24_000_000), (ORDER, 3.0, 5_000_000)):
        gone = order.without("c", now, lease).members[-1]
        assert gone.until_us == until
    slow = replace(ORDER, speed=0.5, media_us=20_000_000).without("c", now, 1.0)
    assert slow.members[-1].until_us == 20_000_000
    # It comes again, by another number.
    again = replace(after, members=(*after.members, member(3, "c")))
    found = again.member("c")
    assert found is not None
    assert found.number == 3


def test_deaths_are_noted_by_one_node() -> None:
    assert ORDER.steward(frozenset("abc")) == "b"
    assert ORDER.steward(frozenset("ac")) == "a"
    assert ORDER.without("a", ORDER.at_us, 1.0).steward(frozenset("ac")) == "c"
    assert ORDER.steward(frozenset("xy")) is None


def test_the_header_names_who_sends() -> None:
    order = ORDER.without("a", ORDER.at_us, 1.0)
    nodes = 'clock=17, nodes="1=[fd00::2]:8554/8000-8001;2=10.0.0.1:8554/8000-8001"'
    assert nodes_header(order.members, 17, 0) == f"{nodes}, ahead=0"
    line = 'line="5000000@1700000000000000*1.500000"'
    assert nodes_header(order.members, 17, 4_000, order) == f"{nodes}, ahead=4000, {line}"
    paused = nodes_header(order.members, 17, 0, replace(order, state="paused"))
    assert parse_nodes(paused).line == Line(5_000_000, 1_700_000_000_000_000, 0.0)


@pytest.mark.parametrize(
    ("hosts", "local", "peer", "found"),
    [
        (["10.1.0.2", "10.2.0.2"], "10.2.0.1", "10.2.0.9", "10.2.0.2"),
        (["10.1.0.2", "10.2.0.2"], "10.2.0.1", "192.0.2.9", "10.2.0.2"),  # over a router
        (["fd00::2", "10.1.0.2"], "10.2.0.1", "10.2.0.9", "10.1.0.2"),
        (["fd00::2", "fd01::2"], "fd01::1", "fd01::9", "fd01::2"),
        (["10.1.0.2", "127.0.0.1"], "127.0.0.1", "127.0.0.1", "10.1.0.2"),
        (["127.0.0.1"], "127.0.0.1", "127.0.0.1", "127.0.0.1"),
        (["127.0.0.1", "10.9.0.2"], "126.0.0.1", "126.0.0.2", "10.9.0.2"),
        (["fd00::2"], "10.2.0.1", "10.2.0.9", None),
    ],
)
def test_a_node_is_named_by_the_address_that_the_player_reaches(
    hosts: list[str], local: str, peer: str, found: str | None
) -> None:
    assert reachable(hosts, local, peer) == found
