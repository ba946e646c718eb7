"""HLS content steering."""

from __future__ import annotations

import json

import pytest

from heliograph.catalogue.contents.values import Condition, Format, Network
from heliograph.dispatcher.answers import Wish
from heliograph.dispatcher.choose import Options
from heliograph.dispatcher.steering import manifest, playlist

from .contents import NOW, Made, server, state

HLS = Format.HLS
WISH = Wish()
CLIENT = "192.0.2.1"


def priority(at, pathway="", name="film"):
    answer = manifest(at, name, WISH, CLIENT, NOW, pathway)
    assert answer.status == 200
    return json.loads(answer.body)["PATHWAY-PRIORITY"]


def test_the_playlist_has_every_server_that_can_be_used_as_a_pathway():
    made = Made(3).title(
        "film",
        {HLS: (1, 2, 3), Format.MP4: (1,)},
        file={"bits_per_second": 3_000_000, "codecs": "avc1.64001f,mp4a.40.2", "width": 1280,
              "height": 720},
    )  # fmt: skip
    made.states[2] = state(2, Condition.DOWN)
    at = made.dispatcher()
    answer = playlist(at, "film", WISH, CLIENT, NOW)
    assert answer.status == 200
    assert dict(answer.headers)[b"content-type"] == b"application/vnd.apple.mpegurl"
    assert dict(answer.headers)[b"access-control-allow-origin"] == b"*"
    lines = answer.body.decode().splitlines()
    first = at.decisions[0].server
    assert lines[0] == "#EXTM3U"
    assert lines[1] == (
        f'#EXT-X-CONTENT-STEERING:SERVER-URI="/steering/film",PATHWAY-ID="s{first}"'
    )
    other = 4 - first
    assert lines[2:] == [
        line
        for id in (first, other)
        for line in (
            '#EXT-X-STREAM-INF:BANDWIDTH=3000000,CODECS="avc1.64001f,mp4a.40.2",'
            f'RESOLUTION=1280x720,PATHWAY-ID="s{id}"',
            f"http://host{id}.example/film.m3u8",
        )
    ]
    assert [one.status for one in at.decisions] == [200]


def test_a_player_stays_while_its_server_answers_and_moves_when_it_does_not():
    made = Made(3).title("film", {HLS: (1, 2, 3)})
    at = made.dispatcher()
    at.fleet.report(2, 9e9, 4000)  # however much it carries
    assert priority(at, "s2")[0] == "s2"
    assert at.decisions == []
    made.states[2] = state(2, Condition.DOWN)
    at.observe(made.states, NOW)
    moved = priority(at, "s2")
    assert sorted(moved) == ["s1", "s3"]
    assert at.moved == 1
    (decision,) = at.decisions
    assert f"s{decision.server}" == moved[0]


def test_who_plays_from_a_drained_server_stays_and_nobody_else_comes():
    made = Made([server(1, drained=True), server(2)]).title("film", {HLS: (1, 2)})
    at = made.dispatcher()
    assert priority(at, "s1") == ["s1", "s2"]
    assert priority(at, "s2") == ["s2"]
    assert priority(at) == ["s2"]


def test_the_manifest_names_when_and_where_to_ask_again_with_what_was_shown():
    at = Made(1).title("film", {HLS: (1,)}).dispatcher(Options(steering_ttl=7))
    wish = Wish(shown="token=abc")
    told = json.loads(manifest(at, "film", wish, CLIENT, NOW).body)
    assert told == {
        "VERSION": 1,
        "TTL": 7,
        "RELOAD-URI": "/steering/film?token=abc",
        "PATHWAY-PRIORITY": ["s1"],
    }


def test_tokens_go_to_servers_of_ours_only():
    made = Made([server(1, make="heliograph"), server(2, make="nginx")])
    at = made.title("film", {HLS: (1, 2)}).dispatcher()
    text = playlist(at, "film", Wish(shown="token=abc"), CLIENT, NOW).body.decode()
    assert "http://host1.example/film.m3u8?token=abc\n" in text
    assert "http://host2.example/film.m3u8\n" in text


@pytest.mark.parametrize("make", [playlist, manifest])
def test_refusals_are_those_of_redirects(make):
    made = Made(1).title("film", {Format.MP4: (1,)}).title("ours", {HLS: (1,)}, regions=("eu",))
    made.title("gone", {HLS: (1,)})
    made.networks = [Network("10.0.0.0/8", "eu"), Network("11.0.0.0/8", "", refused=True)]
    at = made.dispatcher()
    assert make(at, "nothing", WISH, CLIENT, NOW).status == 404
    assert make(at, "film", WISH, CLIENT, NOW).status == 406
    assert make(at, "ours", WISH, CLIENT, NOW).status == 451
    assert make(at, "ours", WISH, "10.1.1.1", NOW).status == 200
    assert make(at, "gone", WISH, "11.1.1.1", NOW).status == 403
    at.observe({1: state(1, Condition.DOWN)}, NOW)
    answer = make(at, "gone", WISH, CLIENT, NOW)
    assert answer.status == 503
    assert int(dict(answer.headers)[b"retry-after"]) > 0


def test_nobody_stays_at_a_server_that_is_disabled():
    at = Made([server(1, enabled=False), server(2)]).title("film", {HLS: (1, 2)}).dispatcher()
    assert priority(at, "s1") == ["s2"]
