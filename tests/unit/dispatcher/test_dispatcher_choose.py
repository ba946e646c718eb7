"""Who is sent where, and who nowhere."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from heliograph.catalogue.contents.values import Condition, Format, Network
from heliograph.dispatcher import choose
from heliograph.dispatcher.answers import Wish
from heliograph.dispatcher.barring import Refusal
from heliograph.dispatcher.begun import KEPT_S, Begun
from heliograph.dispatcher.choose import Options
from heliograph.dispatcher.snapshot import building

from .contents import NOW, Made, moment, server, state

MP4, HLS, RTSP = Format.MP4, Format.HLS, Format.RTSP


def status(dispatcher, name="film", *formats, client="192.0.2.1"):
    found = dispatcher.decide(name, Wish(formats or (MP4, HLS, RTSP)), client, NOW)
    return found.status if isinstance(found, Refusal) else 302


def servers(dispatcher, name="film", *formats, client="192.0.2.1", count=200):
    """How often each server is chosen."""
    found = Counter()
    for _ in range(count):
        one = dispatcher.decide(name, Wish(formats or (MP4, HLS, RTSP)), client, NOW)
        found[0 if isinstance(one, Refusal) else one.server.id] += 1
    return found


def test_every_decision_is_recorded():
    at = Made().title("film").dispatcher()
    found = at.decide("film", Wish(), "192.0.2.1", NOW)
    at.decide("x" * 500, Wish((HLS,)), "2001:db8::1", NOW + 1)
    first, second = at.decisions
    assert (first.at, first.name, first.format, first.client) == (NOW, "film", MP4, "192.0.2.1")
    assert (first.server, first.file, first.status) == (found.server.id, found.file, 302)
    assert (second.name, second.server, second.file) == ("x" * 128, 0, 0)
    assert (second.format, second.status) == (HLS, 404)
    assert {status for status, count in at.statuses.items() if count == 1} == {302, 404}
    assert at.chosen["power-of-two"] == 1


def test_what_is_not_there_not_published_or_held_by_nobody_is_not_found():
    made = Made().title("hidden", published=False).title("empty", {MP4: ()})
    at = made.dispatcher()
    assert status(at, "nothing") == 404
    assert status(at, "hidden") == 404
    assert status(at, "empty") == 404
    assert not at.knows("hidden")


def test_formats_are_taken_in_the_order_wanted_as_far_as_servers_can_be_used():
    made = Made(3).title("film", {MP4: (1,), HLS: (2, 3)})
    at = made.dispatcher()
    assert servers(at, "film", MP4, HLS) == {1: 200}
    assert set(servers(at, "film", HLS, MP4)) == {2, 3}
    assert status(at, "film", RTSP) == 406
    made.states[1] = state(1, Condition.DOWN)
    at.observe(made.states, NOW)
    assert set(servers(at, "film", MP4, HLS)) == {2, 3}
    assert status(at, "film", MP4) == 503


@pytest.mark.parametrize("condition", [Condition.DOWN, Condition.UNKNOWN, None])
def test_nobody_is_sent_to_a_server_that_is_not_known_to_be_up(condition):
    made = Made().title("film")
    if condition is None:
        del made.states[1]
    else:
        made.states[1] = state(1, condition)
    at = made.dispatcher()
    assert servers(at) == {2: 200}
    made.states[2] = state(2, Condition.DOWN)
    at.observe(made.states, NOW)
    assert status(at) == 503
    made.states[1] = state(1)
    at.observe(made.states, NOW)
    assert servers(at) == {1: 200}


def test_drained_and_disabled_servers_get_nobody():
    made = Made([server(1, drained=True), server(2, enabled=False), server(3)])
    at = made.title("film").dispatcher()
    assert servers(at) == {3: 200}


@pytest.mark.parametrize(
    ("first", "second", "down", "words"),
    [
        ({"drained": True}, {"enabled": False}, (), "is out of service for now; try again later"),
        ({"drained": True}, {}, (2,), "is out of service for now, or cannot be reached"),
        ({}, {}, (1, 2), "no server that holds this title can be reached now"),
    ],
)
def test_a_refusal_tells_servers_that_were_withdrawn_from_those_not_reached(
    first, second, down, words
):
    made = Made([server(1, **first), server(2, **second)]).title("film", {MP4: (1,), HLS: (2,)})
    for id in down:
        made.states[id] = state(id, Condition.DOWN)
    at = made.dispatcher()
    found = at.decide("film", Wish((MP4, HLS)), "192.0.2.1", NOW)
    assert isinstance(found, Refusal)
    assert found.status == 503
    assert words in found.text


def test_a_server_that_came_back_gets_a_growing_share():
    made = Made(2).title("film", policy="round-robin")
    made.states[1] = state(1, Condition.STARTING, since=moment())
    at = made.dispatcher()
    shares = []
    for seconds in (0, 15, 27):
        at.observe(made.states, NOW + seconds)
        shares.append(servers(at, count=2000)[1] / 2000)
    assert shares[0] == pytest.approx(0.05, abs=0.03)
    assert shares[1] == pytest.approx(0.25, abs=0.05)
    assert shares[2] == pytest.approx(0.45, abs=0.05)
    made.states[2] = state(2, Condition.DOWN)
    at.observe(made.states, NOW)
    assert servers(at) == {1: 200}  # there is no other


def test_round_robin_goes_on_while_a_server_is_coming_back():
    made = Made(3).title("film", policy="round-robin")
    made.states[1] = state(1, Condition.STARTING, since=moment())
    found = servers(made.dispatcher(), count=900)
    assert found[2] == pytest.approx(found[3], rel=0.15)


def test_titles_have_policies_of_their_own_and_the_rest_what_is_set():
    made = (
        Made(4).title("quick", policy="least-response-time").title("film").title("odd", policy="?")
    )
    made.states[3] = state(3, response_ms=0.1)
    at = made.dispatcher()
    assert servers(at, "quick") == {3: 200}
    assert len(servers(at, "film", count=2000)) == 4
    assert len(servers(at, "odd")) == 4  # a policy that nobody knows is none
    at.configure(Options(policy="least-response-time"), NOW)
    assert servers(at, "film") == {3: 200}
    assert at.chosen["least-response-time"] == 400
    assert at.chosen["power-of-two"] == 2200


def test_clients_of_refused_networks_and_regions_without_licence_get_nothing():
    made = Made().title("film").title("ours", regions=("eu",))
    made.networks = [
        Network("10.0.0.0/8", "eu/de"),
        Network("10.9.0.0/16", "", refused=True),
        Network("2001:db8::/32", "us"),
    ]
    at = made.dispatcher()
    assert status(at, "film", client="10.9.1.1") == 403
    assert status(at, "film", client="2001:db8::5") == 302
    assert status(at, "ours", client="10.1.1.1") == 302
    assert status(at, "ours", client="2001:db8::5") == 451
    assert status(at, "ours", client="203.0.113.1") == 451
    assert status(at, "ours", client="10.9.1.1") == 403


def test_a_title_with_licences_is_for_nobody_whose_region_is_not_known():
    assert status(Made().title("ours", regions=("eu",)).dispatcher(), "ours") == 451


def test_the_nearest_policy_goes_by_the_clients_network():
    made = Made([server(1, region="eu"), server(2, region="us")]).title("film", policy="nearest")
    made.networks = [Network("10.0.0.0/8", "eu/de"), Network("11.0.0.0/8", "us")]
    at = made.dispatcher()
    assert servers(at, client="10.0.0.1") == {1: 200}
    assert servers(at, client="11.0.0.1") == {2: 200}
    assert len(servers(at, client="12.0.0.1")) == 2


def test_servers_take_no_more_sessions_than_they_may():
    made = Made([server(1, max_sessions=10), server(2, max_sessions=20)]).title("film")
    at = made.dispatcher(Options(decay=100.0))
    at.tick(NOW)
    assert servers(at, count=50) == {1: 10, 2: 20, 0: 20}
    assert status(at) == 503
    at.tick(NOW + 10)  # some have gone, as far as can be guessed
    assert status(at) == 302


def test_of_several_copies_on_a_server_the_best_is_given():
    made = Made(1).title("film", {MP4: (1,)}, file={"bits_per_second": 1_000_000})
    best = replace(
        made.files[0], id=9, uri="http://host1.example/hd.mp4", bits_per_second=9_000_000
    )
    made.files.append(best)
    at = made.dispatcher()
    assert at.decide("film", Wish((MP4,)), "", NOW).uri == best.uri
    assert at.fleet.committed(at.fleet.members[1])[0] == 9_000_000


def test_loads_outlive_a_new_snapshot_and_titles_are_known_at_once():
    made = Made(2).title("film")
    at = made.dispatcher()
    servers(at, count=100)
    carried = at.fleet.committed(at.fleet.members[1])[0]
    assert status(at, "new") == 404
    made.title("new", {MP4: (1,)})
    made.servers[3] = server(3)
    made.states[3] = state(3)
    made.title("film2")
    at.replace(made.snapshot(), NOW)
    assert at.fleet.committed(at.fleet.members[1])[0] == carried
    assert status(at, "new") == 302
    assert servers(at, "film2", count=60)[3] > 30  # whenever it is drawn: it carries nothing yet
    del made.servers[2]
    made.files = [one for one in made.files if one.server != 2]
    at.replace(made.snapshot(), NOW)
    assert 2 not in servers(at)


def test_what_is_known_of_titles_that_did_not_change_stays():
    made = Made(2).title("film").title("clip").title("gone")
    at = made.dispatcher()
    before = {name: at.route(name) for name in ("film", "clip", "gone")}
    made.files = [one for one in made.files if one.title != 2 or one.server == 1]
    made.titles.pop()
    snapshots = [*building(made.contents(), at.snapshot)]
    at.replace(snapshots[-1].with_states(made.states), NOW)
    assert at.route("film") is before["film"]
    while at.carry(1):
        pass
    assert at.route("film") is before["film"]
    assert at.route("clip") is not before["clip"]
    assert at.route("gone") is None
    assert servers(at, "clip") == {1: 200}
    assert set(servers(at, "film", count=1000)) == {1, 2}
    at.replace(snapshots[-1].with_states({2: state(2)}), NOW)
    assert servers(at, "film") == {2: 200}


def test_files_of_servers_that_are_gone_are_left_out():
    made = Made(2).title("film")
    del made.servers[1]
    assert servers(made.dispatcher()) == {2: 200}


def test_what_is_kept_of_titles_is_bounded(monkeypatch):
    monkeypatch.setattr(choose, "MAX_ROUTES", 10)
    made = Made(1)
    for number in range(100):
        made.title(f"t{number}")
    at = made.dispatcher()
    for number in range(100):
        assert status(at, f"t{number}") == 302
        assert len(at.routes) <= 10


def test_a_file_is_read_on_where_it_was_begun():
    at = Made(4).title("film", {MP4: (1, 2, 3, 4), HLS: (1, 2, 3, 4)}).dispatcher()
    later = Wish((MP4,), later=True)
    for number in range(50):
        client = f"192.0.2.{number}"
        begun = at.decide("film", Wish((MP4,)), client, NOW)
        load = sum(one.load for one in at.fleet.members.values())
        at.tick(NOW + 1)
        again = [at.decide("film", later, client, NOW).server for _ in range(5)]
        assert again == [begun.server] * 5
        # it is one player, not six
        assert sum(one.load for one in at.fleet.members.values()) == load
    # of others nothing is known, and where the copy cannot be had another may be the same
    assert len({at.decide("film", later, f"198.51.100.{n}", NOW).server.id for n in range(99)}) == 4
    down = replace(state(begun.server.id), condition=Condition.DOWN)
    at.observe({**at.snapshot.states, begun.server.id: down}, NOW)
    assert at.decide("film", later, client, NOW).server is not begun.server


def test_who_reads_a_file_on_is_counted_once():
    at = Made(2).title("film", {MP4: (1, 2)}).dispatcher()
    client, later = "192.0.2.1", Wish((MP4,), later=True)
    at.decide("film", Wish((MP4,)), client, NOW)
    for _ in range(5):
        at.decide("film", later, client, NOW)
    assert len(at.decisions) == 1
    assert (at.statuses[302], at.chosen["power-of-two"]) == (6, 1)
    at.decide("film", Wish((MP4,)), client, NOW)  # he plays it once more
    assert len(at.decisions) == 2
    at.decide("film", later, "192.0.2.2", NOW)  # of whom nothing was known, as after a start
    at.decide("film", later, "192.0.2.2", NOW)
    assert [one.client for one in at.decisions[2:]] == ["192.0.2.2"]
    for _ in range(3):  # the same where it is played at the portal
        at.decided("own", 302, client, NOW, MP4, later)
    assert [one.name for one in at.decisions[3:]] == ["own"]
    at.decided("own", 302, client, NOW, MP4, Wish((MP4,)))
    assert len(at.decisions) == 5


def test_who_asks_only_for_a_head_takes_no_place_and_reads_what_he_was_told_of():
    made = Made([server(id, max_sessions=20) for id in range(1, 9)])
    at = made.title("film", {MP4: range(1, 9), HLS: range(1, 9)}).dispatcher()
    head, later = Wish((MP4,), head=True), Wish((MP4,), later=True)
    for number in range(50):
        client = f"192.0.2.{number}"
        found = at.decide("film", head, client, NOW)
        assert at.decide("film", head, client, NOW).server is found.server
        at.decide("film", Wish((HLS,), head=True), client, NOW)
        assert sum(one.load for one in at.fleet.members.values()) == 0
        assert at.decisions == []
        assert at.decide("film", later, client, NOW).server is found.server
        assert at.decide("film", head, client, NOW).server is found.server
        assert at.decide("film", later, client, NOW).server is found.server
        (decision,) = at.decisions
        assert (decision.server, decision.format) == (found.server.id, MP4)
        assert at.fleet.committed(found.server)[1] == pytest.approx(1)
        at.decisions.clear()
        found.server.load = found.server.sessions = 0.0
    looked = at.decide("film", head, "198.51.100.1", NOW).server.id
    made.servers[looked] = server(looked, drained=True)
    at.replace(made.snapshot(), NOW)
    assert at.decide("film", later, "198.51.100.1", NOW).server.id != looked  # he is new there
    at.decided("demo", 302, client, NOW, HLS, head)
    assert len(at.decisions) == 1
    assert isinstance(at.decide("nothing", head, client, NOW), Refusal)
    assert at.decisions[-1].status == 404


def test_who_plays_a_file_on_a_server_that_is_drained_goes_on_there():
    made = Made(2).title("film", {MP4: (1, 2), HLS: (1, 2)}).title("clip", {MP4: (1,)})
    at = made.dispatcher()
    later, client = Wish((MP4,), later=True), "192.0.2.1"
    begun = at.decide("film", Wish((MP4,)), client, NOW).server.id
    at.decide("clip", Wish((MP4,)), client, NOW)

    def change(id: int, **more: bool) -> None:
        made.servers[id] = server(id, **more)
        at.replace(made.snapshot(), NOW)

    change(begun, drained=True)
    for wish in (later, Wish((HLS, MP4), later=True)):
        found = at.decide("film", wish, client, NOW)
        assert (found.server.id, found.uri[-4:]) == (begun, ".mp4")
    assert at.decide("film", Wish((HLS,), later=True), client, NOW).server.id != begun
    assert at.decide("film", later, "192.0.2.2", NOW).server.id != begun  # he is new
    assert at.decide("film", Wish((MP4,)), client, NOW).server.id != begun  # he begins anew
    change(begun)
    change(1, drained=True)  # no other has this one
    assert at.decide("clip", later, client, NOW).server.id == 1
    assert status(at, "clip", MP4, client="192.0.2.2") == 503
    made.states[1] = state(1, Condition.DOWN)
    at.observe(made.states, NOW)
    assert isinstance(at.decide("clip", later, client, NOW), Refusal)
    made.states[1] = state(1)
    change(1, enabled=False)
    assert isinstance(at.decide("clip", later, client, NOW), Refusal)


def test_what_players_have_begun_is_forgotten_after_a_while_and_bounded(monkeypatch):
    monkeypatch.setattr("heliograph.dispatcher.begun.MOST", 100)
    found = Begun()
    found.tick(NOW)
    for number in range(1000):
        found.note(f"client {number}", "film", number)
        assert len(found) <= 200
    assert found.find("client 999", "film") == 999
    assert found.find("client 1", "film") is None
    found.tick(NOW + KEPT_S)
    assert found.find("client 999", "film") == 999
    found.tick(NOW + 2 * KEPT_S)
    assert found.find("client 999", "film") is None
