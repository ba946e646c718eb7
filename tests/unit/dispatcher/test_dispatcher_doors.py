"""Nodes of ours are chosen among for what our volumes have, as servers are for their files."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from tests.unit.dispatcher.contents import NOW, Made, Told, server

from heliograph.catalogue.contents.values import Condition, Format
from heliograph.dispatcher import steering
from heliograph.dispatcher.answers import Wish
from heliograph.dispatcher.barring import Refusal
from heliograph.dispatcher.choose import Candidate, Options
from heliograph.dispatcher.doors import Door
from heliograph.dispatcher.policies import POLICIES
from heliograph.dispatcher.snapshot import Snapshot, building

CLIENT = "192.0.2.1"
DOORS = [Door(f"s{id}", f"http://node{id}:8080", f"rtsp://node{id}:8554") for id in (1, 2, 3)]


def ours(id: int, **more):
    return server(id, make="heliograph", **more)


def snapshot(made: Made, stored=None, before=None) -> Snapshot:
    found = [*building(made.contents(), before, stored or {"film": 2_000_000})][-1]
    assert found is not None
    return found.with_states(made.states)


def dispatcher(made: Made | None = None, policy: str = "power-of-two", doors=DOORS) -> Told:
    made = made or Made([ours(1), ours(2), ours(3)]).title("film", {Format.MP4: ()})
    found = Told(Options(policy=policy), draw=random.Random(7).random)
    found.replace(snapshot(made).with_doors(doors), NOW)
    return found


def go(told: Told, *formats: Format, count: int = 1) -> list[str]:
    """Where so many players are sent; a status instead of a place where they are not."""
    wish = Wish(formats or (Format.HLS,))
    answers = [told.decide("film", wish, CLIENT, NOW) for _ in range(count)]
    return [one.uri if isinstance(one, Candidate) else str(one.status) for one in answers]


def test_a_title_has_an_address_at_each_node_and_format():
    found = {
        format: {one.uri for one in held} for format, held in dispatcher().copies("film").items()
    }
    assert found == {
        Format.HLS: {f"http://node{id}:8080/hls/film/index.m3u8" for id in (1, 2, 3)},
        Format.MP4: {f"http://node{id}:8080/titles/film.mp4" for id in (1, 2, 3)},
        Format.RTSP: {f"rtsp://node{id}:8554/film?sent=1" for id in (1, 2, 3)},
    }


def test_a_node_whose_pages_are_not_for_others_has_titles_by_rtsp_only():
    told = dispatcher(doors=[replace(DOORS[0], http=""), DOORS[1]])
    assert len(told.copies("film")[Format.HLS]) == 1
    assert len(told.copies("film")[Format.RTSP]) == 2
    told = dispatcher(doors=[replace(one, http="") for one in DOORS])
    assert not told.for_here("film", Wish((Format.RTSP, Format.HLS)))
    for formats in ((Format.HLS,), (Format.MP4, Format.RTSP), (Format.WHEP,), ()):
        assert told.for_here("film", Wish(formats))  # who was asked has it, or knows why not


@pytest.mark.parametrize("policy", sorted(POLICIES.keys() - {"least-response-time", "rendezvous"}))
def test_policies_spread_players_over_nodes(policy):
    places = go(dispatcher(policy=policy), count=300)
    counts = [places.count(one) for one in set(places)]
    assert len(counts) == 3
    assert min(counts) > 60


def test_load_drain_and_death_count_as_of_any_server():
    told = dispatcher()
    told.fleet.report({"s1": 9e9, "s2": 9e9})  # what nodes say that they send
    many = go(told, count=200)
    assert sum("node3" in uri for uri in many) > 120  # whoever is drawn beside it has more
    made = Made([ours(1), ours(2, drained=True), ours(3)]).title("film", {Format.MP4: ()})
    del made.states[3]
    assert set(go(dispatcher(made), count=20)) == {"http://node1:8080/hls/film/index.m3u8"}
    made.servers[1] = ours(1, drained=True)
    told = dispatcher(made)
    assert go(told) == ["503"]
    assert not told.for_here("film", Wish((Format.HLS,)))  # somebody decided it
    made = Made([ours(1), ours(2)]).title("film", {Format.MP4: ()})
    made.states.clear()
    told = dispatcher(made)
    assert go(told) == ["503"]
    assert told.for_here("film", Wish((Format.HLS,)))


def test_decisions_name_the_node():
    told = dispatcher(doors=DOORS[1:2])
    go(told, Format.RTSP)
    (one,) = told.decisions
    assert (one.name, one.server, one.file, one.format, one.status) == (
        "film",
        2,
        0,
        Format.RTSP,
        302,
    )


def test_servers_with_a_copy_are_candidates_beside_the_nodes():
    made = Made([ours(1), ours(2), server(3)]).title("film", {Format.HLS: (3,)})
    places = {uri.split("/")[2] for uri in go(dispatcher(made), count=100)}
    assert places == {"node1:8080", "node2:8080", "host3.example"}


def test_nodes_that_go_and_come_are_known_at_once():
    told = dispatcher()
    go(told)
    told.replace(told.snapshot.with_doors(DOORS[:1]), NOW)
    assert set(go(told, count=20)) == {"http://node1:8080/hls/film/index.m3u8"}
    told.replace(told.snapshot.with_doors(()), NOW)
    assert go(told) == ["404"]
    assert not told.sends("film")


def test_a_title_that_volumes_have_no_more_is_at_no_node():
    made = Made([ours(1)]).title("film", {Format.MP4: ()})
    told = dispatcher(made, doors=DOORS[:1])
    assert told.stored("film")
    assert len(go(told)) == 1
    later = snapshot(made, {"other": 1}, told.snapshot).with_doors(DOORS[:1])
    told.replace(later, NOW)
    while told.carry(10):
        pass
    assert not told.stored("film")
    assert go(told) == ["404"]


def test_players_of_hls_move_between_nodes():
    told = dispatcher()
    answer = steering.playlist(told, lambda uri: None, "film", Wish((Format.HLS,)), CLIENT, NOW)
    body = answer.body.decode()
    for id in (1, 2, 3):
        assert f"http://node{id}:8080/hls/film/index.m3u8" in body
        assert f'PATHWAY-ID="s{id}"' in body


def test_a_bound_on_sessions_holds_for_nodes():
    made = Made([ours(1, max_sessions=1)]).title("film", {Format.MP4: ()})
    told = dispatcher(made, doors=DOORS[:1])
    assert go(told, count=2)[1] == "503"
    found = told.decide("film", Wish((Format.HLS,)), CLIENT, NOW)
    assert isinstance(found, Refusal)
    assert told.snapshot.states[1].condition is Condition.UP
