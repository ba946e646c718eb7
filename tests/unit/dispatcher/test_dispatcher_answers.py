"""What requests want, and the answers."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.catalogue.contents.values import Format
from heliograph.dispatcher.answers import ORDER, goes_on, location, redirect, refusal, wish_of

MP4, HLS, RTSP, WHEP = Format.MP4, Format.HLS, Format.RTSP, Format.WHEP
CHROMIUM = (
    "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,"
    "*/*;q=0.8,application/signed-exchange;v=b3;q=0.7"
)


@pytest.mark.parametrize(
    ("accept", "formats"),
    [
        ("", ORDER),
        ("*/*", ORDER),
        (CHROMIUM, ORDER),
        ("application/vnd.apple.mpegurl", (HLS,)),
        ("Application/X-MpegURL , video/mp4;q=0.5", (HLS, MP4)),
        ("application/vnd.apple.mpegurl;q=0.2, */*;q=0.1", (HLS, MP4, RTSP, WHEP)),
        ("video/*", (MP4, HLS)),
        ("video/mp4;q=0, */*", (HLS, RTSP, WHEP)),
        ("application/sdp", (WHEP,)),
        ("application/x-rtsp, */*;q=0.1", (RTSP, MP4, HLS, WHEP)),
        ("image/png", ()),
        ("*/*;q=0", ()),
        ("video/mp4;q=rubbish", (MP4,)),
        (",;,;q=1,", ORDER),
    ],
)
def test_accept_says_what_a_client_takes(accept, formats):
    assert wish_of(accept, "").formats == formats


def test_a_format_can_be_named():
    assert wish_of(CHROMIUM, "format=hls").formats == (HLS,)
    assert wish_of("image/png", "x=1&format=RTSP").formats == (RTSP,)
    assert wish_of("", "format=avi").formats == ()
    assert wish_of("", "format=").formats == ()
    assert wish_of("", "format=hls").named
    assert not wish_of("", "").named


def test_only_browsers_get_pages():
    assert wish_of(CHROMIUM, "").page
    assert not wish_of("*/*", "").page
    assert not wish_of("text/html;q=0", "").page


def test_the_order_can_be_set():
    assert wish_of("", "", (HLS, MP4)).formats == (HLS, MP4)
    assert wish_of("*/*", "", (HLS, MP4)).formats == (HLS, MP4)


def test_tokens_are_read_and_nothing_else():
    assert wish_of("", "token=a%20b&x=1&key=c%26d").shown == "token=a%20b&key=c%26d"
    assert wish_of("", "token=").shown == ""
    assert wish_of("", "token=" + "x" * 5000).shown == ""


@given(st.text(max_size=300), st.text(max_size=300))
def test_whatever_is_asked_there_is_a_wish(accept, query):
    wish = wish_of(accept, query)
    assert set(wish.formats) <= set(Format)
    assert len(set(wish.formats)) == len(wish.formats)


def test_a_location_has_what_is_shown_in_its_query():
    assert location("http://a/b", "token=x") == "http://a/b?token=x"
    assert location("http://a/b?c=d#e", "token=x") == "http://a/b?c=d&token=x#e"


@given(st.text(min_size=1, max_size=80))
def test_no_address_ends_the_header(uri):
    answer = redirect(f"http://a/{uri}")
    where = dict(answer.headers)[b"location"]
    assert all(0x21 <= byte <= 0x7E for byte in where)
    assert answer.tail().count(b"\r\n") == len(answer.headers) + 1


def test_redirects_are_kept_by_nobody():
    headers = dict(redirect("http://a/").headers)
    assert headers[b"cache-control"] == b"no-store"
    assert headers[b"vary"] == b"accept"
    assert headers[b"content-length"] == b"0"


def test_what_is_shown_of_a_request_is_escaped():
    text = 'no “<script>alert("x")</script>”'
    page = refusal(404, text, page=True)
    assert b"<script>" not in page.body
    assert b"&lt;script&gt;" in page.body
    assert dict(page.headers)[b"content-type"] == b"text/html; charset=utf-8"
    assert int(dict(page.headers)[b"content-length"]) == len(page.body)
    plain = refusal(503, text, page=False, retry_after=2)
    assert dict(plain.headers)[b"content-type"].startswith(b"text/plain")
    assert dict(plain.headers)[b"x-content-type-options"] == b"nosniff"
    assert dict(plain.headers)[b"retry-after"] == b"2"


def test_people_get_a_page_whose_style_its_policy_lets_through():
    answer = refusal(503, "no server for <this> & that", page=True, retry_after=2)
    page = answer.body.decode()
    assert "<p>No server for &lt;this&gt; &amp; that.</p>" in page
    assert "Try again" in page
    assert "Try again" not in refusal(404, "nothing", page=True).body.decode()
    style = page.partition("<style>")[2].partition("</style>")[0]
    digest = b64encode(sha256(style.encode()).digest()).decode()
    policy = dict(answer.headers)[b"content-security-policy"].decode()
    assert f"style-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")


@pytest.mark.parametrize(
    ("value", "later"),
    [
        ("bytes=0-", False),
        ("bytes=000-99", False),
        ("bytes=1-", True),
        ("Bytes = 4096-8191", True),
        ("bytes=-500", True),
        ("items=5-", False),
        ("bytes=x", False),
        ("", False),
    ],
)
def test_a_range_that_is_not_the_beginning_goes_on_with_a_file(value, later):
    headers = [(b"accept", b"*/*"), (b"range", value.encode())]
    assert goes_on(headers) is later
    assert not goes_on(headers[:1])
