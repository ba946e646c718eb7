"""HLS content steering."""

from __future__ import annotations

import json

import pytest

from heliograph.catalogue.contents.values import Condition, Format, Network
from heliograph.dispatcher import steering
from heliograph.dispatcher.answers import Wish
from heliograph.dispatcher.choose import Options
from heliograph.dispatcher.multivariant import Multivariant, parse_multivariant

from .contents import NOW, Made, server, state

HLS = Format.HLS
WISH = Wish()
CLIENT = "192.0.2.1"


#: What a server of ours, or ffmpeg, says of two pictures and a sound beside them.
LADDER = """\
#EXTM3U
#EXT-X-VERSION:6
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="snd",NAME="Sound, 1",LANGUAGE="de",DEFAULT=YES,URI="snd/a.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=500000,CODECS="avc1.42c01e,opus",RESOLUTION=320x180,AUDIO="snd"

low.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=3000000,CODECS="avc1.64001f,opus",AUDIO="snd",CLOSED-CAPTIONS=NONE
../high.m3u8?x=1
"""
ONE_PICTURE = '#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=9,CODECS="avc1.42c01e"\nx.m3u8\n'


def known(**texts):
    """What files of servers ``s1`` … name; all others name segments."""
    found = {}
    for name, text in texts.items():
        uri = f"http://host{name[1:]}.example/film.m3u8"
        found[uri] = None if text is None else parse_multivariant(text, uri)
    return lambda uri: found.get(uri, Multivariant())


def playlist(at, name, wish, client, now, find=known()):  # noqa: B008
    return steering.playlist(at, find, name, wish, client, now)


def manifest(at, name, wish, client, now, pathway="", find=known()):  # noqa: B008
    return steering.manifest(at, find, name, wish, client, now, pathway)


def priority(at, pathway="", name="film"):
    answer = manifest(at, name, WISH, CLIENT, NOW, pathway)
    assert answer.status == 200
    return json.loads(answer.body)["PATHWAY-PRIORITY"]


def test_keys_are_told_of_all_servers_and_each_once():
    key = '#EXT-X-SESSION-KEY:METHOD=SAMPLE-AES,KEYFORMAT="a",URI="{}"\n'
    texts = {
        "s1": ONE_PICTURE + key.format("http://keys.example/1") + key.format("own"),
        "s2": ONE_PICTURE + key.format("http://keys.example/1"),
    }
    at = Made().title("film", {HLS: (1, 2)}).dispatcher()
    lines = playlist(at, "film", WISH, CLIENT, NOW, known(**texts)).body.decode().splitlines()
    keys = sorted(line for line in lines if line.startswith("#EXT-X-SESSION-KEY"))
    assert [line.rpartition("URI=")[2] for line in keys] == [
        '"http://host1.example/own"',
        '"http://keys.example/1"',
    ]
    assert keys[0].startswith('#EXT-X-SESSION-KEY:METHOD=SAMPLE-AES,KEYFORMAT="a",')
    assert lines.index(keys[0]) < min(
        number for number, line in enumerate(lines) if line.startswith("#EXT-X-STREAM-INF")
    )
    assert "#EXT-X-VERSION:7" in lines
    without = playlist(at, "film", WISH, CLIENT, NOW, known(s1=ONE_PICTURE, s2=ONE_PICTURE))
    assert b"SESSION-KEY" not in without.body


def clones(at, pathway, find):
    answer = manifest(at, "film", WISH, CLIENT, NOW, pathway, find)
    return json.loads(answer.body).get("PATHWAY-CLONES")


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
            f'RESOLUTION=1280x720,STABLE-VARIANT-ID="v0",PATHWAY-ID="s{id}"',
            f"http://host{id}.example/film.m3u8",
        )
    ]
    assert [one.status for one in at.decisions] == [200]


def test_a_player_stays_while_its_server_answers_and_moves_when_it_does_not():
    made = Made(3).title("film", {HLS: (1, 2, 3)})
    at = made.dispatcher()
    at.fleet.add(at.fleet.members[2], 9_000_000_000)  # however much it carries
    assert priority(at, "s2")[0] == "s2"
    assert at.decisions == []
    made.states[2] = state(2, Condition.DOWN)
    at.observe(made.states, NOW)
    moved = priority(at, "s2")
    assert sorted(moved) == ["s1", "s3"]
    assert at.moved == 1
    (decision,) = at.decisions
    assert f"s{decision.server}" == moved[0]


def test_who_plays_from_a_drained_server_is_moved_while_there_is_another():
    made = Made([server(1, drained=True), server(2)]).title("film", {HLS: (1, 2)})
    at = made.dispatcher()
    assert priority(at, "s1") == ["s2"]
    assert at.moved == 1
    assert priority(at, "s2") == ["s2"]
    assert priority(at) == ["s2"]
    made.states[2] = state(2, Condition.DOWN)
    at.observe(made.states, NOW)
    at.decisions.clear()
    assert priority(at, "s1") == ["s1"]
    assert (at.moved, at.decisions) == (1, [])


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


def test_variants_of_multivariant_files_are_joined_each_with_groups_of_its_own():
    made = Made([server(1, make="heliograph"), server(2)]).title("film", {HLS: (1, 2)})
    at = made.dispatcher(draw=lambda: 0.0)
    find = known(s1=LADDER, s2=LADDER)
    text = playlist(at, "film", Wish(shown="token=abc"), CLIENT, NOW, find).body.decode()
    lines = text.splitlines()
    assert lines[:3] == ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-INDEPENDENT-SEGMENTS"]
    for id, shown in ((1, True), (2, False)):
        host, token = f"http://host{id}.example", "token=abc" if shown else ""
        begin = lines.index(
            f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="s{id}/{id}/snd",NAME="Sound, 1",LANGUAGE="de",'
            f'DEFAULT=YES,STABLE-RENDITION-ID="r0",URI="{host}/snd/a.m3u8{"?" if shown else ""}'
            f'{token}"'
        )
        assert lines[begin + 1 : begin + 5] == [
            '#EXT-X-STREAM-INF:BANDWIDTH=3000000,CODECS="avc1.64001f,opus",'
            f'AUDIO="s{id}/{id}/snd",CLOSED-CAPTIONS=NONE,STABLE-VARIANT-ID="v0",'
            f'PATHWAY-ID="s{id}"',
            f"{host}/high.m3u8?x=1{'&' if shown else ''}{token}",
            '#EXT-X-STREAM-INF:BANDWIDTH=500000,CODECS="avc1.42c01e,opus",RESOLUTION=320x180,'
            f'AUDIO="s{id}/{id}/snd",STABLE-VARIANT-ID="v1",PATHWAY-ID="s{id}"',
            f"{host}/low.m3u8{'?' if shown else ''}{token}",
        ]
    assert len(lines) == 4 + 2 * 5


def test_a_file_that_could_not_be_read_is_left_out_unless_there_is_no_other():
    at = Made(2).title("film", {HLS: (1, 2)}).dispatcher()
    for _ in range(5):
        text = playlist(at, "film", WISH, CLIENT, NOW, known(s1=None, s2=LADDER)).body.decode()
        assert "host1.example" not in text
        assert 'PATHWAY-ID="s2"\n' in text.partition("#EXT-X-MEDIA")[0]
    text = playlist(at, "film", WISH, CLIENT, NOW, known(s1=None, s2=None)).body.decode()
    assert "http://host1.example/film.m3u8\n" in text
    assert "http://host2.example/film.m3u8\n" in text


def test_servers_that_came_later_are_clones_of_the_one_in_use():
    at = Made(4).title("film", {HLS: (1, 2, 3, 4)}).dispatcher()
    find = known(s1=LADDER, s2=LADDER, s3=ONE_PICTURE, s4=None)
    # Not s3, which has other pictures, nor s4, of which nobody knows what it has.
    assert clones(at, "s1", find) == [
        {
            "BASE-ID": "s1",
            "ID": "s2",
            "URI-REPLACEMENT": {
                "PER-VARIANT-URIS": {
                    "v0": "http://host2.example/high.m3u8?x=1",
                    "v1": "http://host2.example/low.m3u8",
                },
                "PER-RENDITION-URIS": {"r0": "http://host2.example/snd/a.m3u8"},
            },
        }
    ]
    assert clones(at, "", find) is None
    assert clones(at, "s4", find) is None
    assert clones(at, "s3", find) == []


def test_nobody_is_moved_between_sounds_within_and_beside_the_pictures():
    at = Made(4).title("film", {HLS: (1, 2, 3, 4)}).dispatcher()
    find = known(s1=LADDER, s2=LADDER, s3=ONE_PICTURE)
    for _ in range(8):
        text = playlist(at, "film", WISH, CLIENT, NOW, find).body.decode()
        named = {one for one in ("s1", "s2", "s3", "s4") if f'PATHWAY-ID="{one}"' in text}
        assert named in ({"s1", "s2"}, {"s3", "s4"})
    told = json.loads(manifest(at, "film", WISH, CLIENT, NOW, "s1", find).body)
    assert told["PATHWAY-PRIORITY"] == ["s1", "s2"]
    told = json.loads(manifest(at, "film", WISH, CLIENT, NOW, "s3", find).body)
    assert told["PATHWAY-PRIORITY"] == ["s3", "s4"]


def test_nobody_is_moved_between_segments_that_are_cut_otherwise():
    at = Made(3).title("film", {HLS: (1, 2, 3)}).dispatcher()
    media = "#EXTM3U\n" + "#EXTINF:{},\ns\n" * 3 + "#EXT-X-ENDLIST\n"
    find = known(s1=media.format(4, 4, 2), s2=media.format(2, 4, 4), s3=media.format(4, 4.1, 2))
    for _ in range(8):
        text = playlist(at, "film", WISH, CLIENT, NOW, find).body.decode()
        named = {one for one in ("s1", "s2", "s3") if f'PATHWAY-ID="{one}"' in text}
        assert named in ({"s1", "s3"}, {"s2"})
    told = json.loads(manifest(at, "film", WISH, CLIENT, NOW, "s1", find).body)
    assert told["PATHWAY-PRIORITY"] == ["s1", "s3"]
    assert [one["ID"] for one in told["PATHWAY-CLONES"]] == ["s3"]


def test_a_playlist_names_no_more_servers_than_help():
    at = Made(40).title("film", {HLS: range(1, 41)}).dispatcher()
    text = playlist(at, "film", WISH, CLIENT, NOW).body.decode()
    assert text.count("#EXT-X-STREAM-INF") == steering.MAX_PATHWAYS
    assert len(steering.addresses(at, "film")) == steering.MAX_PATHWAYS
    assert len(priority(at, "s40")) == steering.MAX_PATHWAYS
    assert priority(at, "s40")[0] == "s40"


def test_all_pathways_have_as_many_variants_some_of_them_more_than_once():
    at = Made(2).title("film", {HLS: (1, 2)}).dispatcher()
    three = LADDER + "#EXT-X-STREAM-INF:BANDWIDTH=100\nx.m3u8\n"
    text = playlist(at, "film", WISH, CLIENT, NOW, known(s1=three, s2=LADDER)).body.decode()
    lines = text.splitlines()
    found = [
        (line.partition("BANDWIDTH=")[2].partition(",")[0], uri.rpartition("/")[2])
        for line, uri in zip(lines, lines[1:] + [""], strict=True)
        if line.startswith("#EXT-X-STREAM-INF") and 'PATHWAY-ID="s2"' in line
    ]
    assert found == [
        ("3000001", "high.m3u8?x=1"), ("3000000", "high.m3u8?x=1"), ("500000", "low.m3u8"),
    ]  # fmt: skip
    assert text.count('PATHWAY-ID="s1"\nhttp') == 3
