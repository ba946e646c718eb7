"""Multivariant playlists of others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.dispatcher.multivariant import (
    MAX_TAGS,
    MAX_TEXT,
    Cuts,
    parse_cuts,
    parse_multivariant,
)
from heliograph.model.errors import HelioError, MalformedError, TooLargeError

BASE = "http://cdn.example/films/one/index.m3u8?key=1"
VARIANT = '#EXT-X-STREAM-INF:BANDWIDTH=1280000,NAME="a, b",FRAME-RATE=25.000\n'


def test_attributes_stay_as_they_are_and_addresses_become_absolute():
    text = (
        '\ufeff#EXTM3U\r\n#EXT-X-SESSION-KEY:METHOD=AES-128,URI="/key"\r\n'
        '#EXT-X-MEDIA:TYPE=CLOSED-CAPTIONS,GROUP-ID="cc",INSTREAM-ID="CC1",NAME="E"\r\n'
        '#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=9,URI="i.m3u8",PATHWAY-ID="theirs"\r\n'
        + VARIANT.replace("\n", "\r\n")
        + "# a comment\r\n\r\nhigh quality/v.m3u8\r\n"
        '#EXT-X-CONTENT-STEERING:SERVER-URI="/theirs"\r\n'
    )
    found = parse_multivariant(text, BASE)
    (variant,) = found.variants
    assert variant.uri == "http://cdn.example/films/one/high%20quality/v.m3u8"
    assert variant.attributes == (
        ("BANDWIDTH", "1280000"), ("NAME", '"a, b"'), ("FRAME-RATE", "25.000"),
    )  # fmt: skip
    assert variant.bandwidth == 1_280_000
    (captions,) = found.renditions
    assert captions.uri == ""
    (trick,) = found.tricks
    assert trick.uri == "http://cdn.example/films/one/i.m3u8"
    assert trick.get("PATHWAY-ID") == ""
    assert [one.uri for one in found.keys] == ["http://cdn.example/key"]
    assert not found.independent


def media(*durations, first=0, ended=True):
    lines = ["#EXTM3U", "#EXT-X-TARGETDURATION:9", f"#EXT-X-MEDIA-SEQUENCE:{first}"]
    lines += [f"#EXTINF:{seconds},\ns.m4s" for seconds in durations]
    return "\n".join([*lines, *(["#EXT-X-ENDLIST"] if ended else []), ""])


def test_a_playlist_of_segments_is_told_apart():
    found = parse_multivariant(media(4, 4, 2.5), BASE)
    assert found.variants == ()
    assert found.cuts == parse_cuts(media(4, 4, 2.5))


def test_segments_are_alike_where_the_same_number_is_of_the_same_time():
    film = parse_cuts(media(4, 4, 2.5))
    assert film.alike(parse_cuts(media(4.1, 3.9, 2.51)))
    assert not film.alike(parse_cuts(media(2, 2, 4, 2.5)))
    assert not film.alike(parse_cuts(media(4, 4)))
    assert not film.alike(parse_cuts(media(4, 4, 2.5, first=1)))
    growing = parse_cuts(media(4, 4, ended=False))
    assert growing.alike(film)
    assert film.alike(growing)
    assert not growing.alike(parse_cuts(media(4, 4.5, 4, ended=False)))
    unknown = parse_cuts("#EXTM3U\n#EXTINF:x,\ns\n")
    assert unknown == parse_cuts("") == Cuts()
    assert unknown.alike(Cuts())
    assert not unknown.alike(film)
    assert not film.alike(unknown)
    assert parse_cuts(media(-1, 1e300)) == Cuts()


@pytest.mark.parametrize(
    "text",
    [
        "<html>",
        "",
        f"#EXTM3U\n{VARIANT}",
        f"#EXTM3U\n{VARIANT}#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH\nx\n",
        f'#EXTM3U\n#EXT-X-DEFINE:NAME="a",VALUE="b"\n{VARIANT}x\n',
        f"#EXTM3U\n{VARIANT}http://[::1\n",
        f"#EXTM3U\n{VARIANT}{'x' * 3000}\n",
    ],
)
def test_what_is_none_is_refused(text):
    with pytest.raises(MalformedError):
        parse_multivariant(text, BASE)


def test_bounds_hold():
    with pytest.raises(TooLargeError):
        parse_multivariant(f"#EXTM3U\n{VARIANT}x\n" + "#" * MAX_TEXT, BASE)
    with pytest.raises(TooLargeError):
        parse_multivariant("#EXTM3U\n" + f"{VARIANT}x\n" * (MAX_TAGS + 1), BASE)


@given(st.text(alphabet='#EXTM3U-SREAINF:=",\n /x', max_size=200))
def test_any_text_gives_a_value_or_a_typed_error(text):
    try:
        found = parse_multivariant(f"#EXTM3U\n{VARIANT}{text}", BASE)
    except HelioError:
        return
    assert all("://" in one.uri and '"' not in one.uri for one in found.variants)
