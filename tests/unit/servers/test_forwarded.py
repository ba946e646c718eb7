"""Whom a request comes from behind proxies: who is believed, and how far."""

from __future__ import annotations

from ipaddress import ip_network

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.unit.web.site import ADMIN, running

from heliograph.live.options import ChannelOptions
from heliograph.servers.forwarded import (
    UNKNOWN,
    Language,
    Origin,
    Trust,
    resolve,
    with_host,
)

PROXY = ("10.0.0.1", 40000)
CLIENT = ("198.51.100.7", 0)
INSIDE = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
OLD = Trust(INSIDE)
NEW = Trust(INSIDE, Language.FORWARDED)


def headers(**lines: str) -> list[tuple[bytes, bytes]]:
    return [(name.replace("_", "-").encode(), value.encode()) for name, value in lines.items()]


def asked(trust: Trust = OLD, peer: tuple[str, int] = PROXY, **lines: str) -> Origin:
    return resolve(peer, "http", headers(**lines), trust)


def test_a_trusted_proxy_names_client_scheme_and_host():
    origin = asked(
        x_forwarded_for="198.51.100.7",
        x_forwarded_proto="https",
        x_forwarded_host="live.example.org:8443",
    )
    assert origin == Origin(CLIENT, "https", "live.example.org:8443")


def test_strangers_are_not_believed():
    stranger = ("203.0.113.9", 1)
    origin = asked(peer=stranger, x_forwarded_for="10.0.0.7", x_forwarded_proto="https")
    assert origin == Origin(stranger, "http", "")
    assert asked(Trust(), x_forwarded_for="10.0.0.7").client == PROXY


@pytest.mark.parametrize(
    ("said", "client"),
    [
        # what the client wrote itself stands to the left of what proxies added
        ("1.2.3.4, 198.51.100.7", CLIENT),
        ("10.0.0.9, 198.51.100.7", CLIENT),
        ("rubbish, 198.51.100.7", CLIENT),
        ("198.51.100.7, 10.0.0.2", CLIENT),
        ("1.2.3.4, 198.51.100.7, 10.3.0.2, 10.0.0.2", CLIENT),
        # every one of them trusted: the farthest
        ("10.0.0.3, 10.0.0.2", ("10.0.0.3", 0)),
        ("198.51.100.7:5123", ("198.51.100.7", 5123)),
        ("[2001:db8::1]:5123", ("2001:db8::1", 5123)),
        ("2001:db8::1", ("2001:db8::1", 0)),
        ("::ffff:198.51.100.7", CLIENT),
        ("unknown", UNKNOWN),
        ("198.51.100.7, secret", UNKNOWN),
        ("198.51.100.7, 10.0.0.256", UNKNOWN),
        ("", PROXY),
        (" , ,", PROXY),
    ],
)
def test_the_client_is_the_nearest_who_is_no_proxy(said: str, client: tuple[str, int]):
    assert asked(x_forwarded_for=said).client == client


def test_lines_of_one_header_are_one_list():
    lines = headers(x_forwarded_for="1.2.3.4") + headers(x_forwarded_for="198.51.100.7")
    assert resolve(PROXY, "http", lines, OLD).client == CLIENT


def test_scheme_and_host_are_those_told_with_the_client():
    origin = asked(
        x_forwarded_for="1.2.3.4, 198.51.100.7, 10.0.0.2",
        x_forwarded_proto="gopher, https, http",
        x_forwarded_host="evil, live.example.org, inner",
    )
    assert origin == Origin(CLIENT, "https", "live.example.org")
    # one word of the nearest proxy holds for all
    assert asked(x_forwarded_for="1.2.3.4, 10.0.0.2", x_forwarded_proto="https").scheme == "https"
    assert asked(x_forwarded_proto="https") == Origin(PROXY, "https", "")


@pytest.mark.parametrize(
    "host", ["", "a b", "a/b", "x\r\nSet-Cookie: a", "user@host", "[::1", "host:123456"]
)
def test_a_host_that_is_none_is_left_out(host: str):
    assert asked(x_forwarded_for="198.51.100.7", x_forwarded_host=host).host == ""


@pytest.mark.parametrize(
    ("said", "origin"),
    [
        (
            'for=198.51.100.7;proto=https;host="live.example.org"',
            Origin(CLIENT, "https", "live.example.org"),
        ),
        ('FOR="198.51.100.7:99" ; by=x', Origin(("198.51.100.7", 99), "http", "")),
        ('For="[2001:db8::1]:4711"', Origin(("2001:db8::1", 4711), "http", "")),
        ("for=1.2.3.4, for=198.51.100.7;proto=https, for=10.0.0.2", Origin(CLIENT, "https", "")),
        ("for=_hidden", Origin(UNKNOWN, "http", "")),
        ("for=unknown;proto=https", Origin(UNKNOWN, "https", "")),
        ("proto=https", Origin(UNKNOWN, "https", "")),
        # who opens a quotation swallows what the proxy adds, and gains nothing by it
        ('for="1.2.3.4, for="[2001:db8::1]"', Origin(UNKNOWN, "http", "")),
        ("nonsense", Origin(UNKNOWN, "http", "")),
    ],
)
def test_forwarded_is_read_as_its_rfc_says(said: str, origin: Origin):
    assert asked(NEW, forwarded=said) == origin


def test_only_the_language_of_the_settings_is_read():
    both = {"forwarded": "for=1.2.3.4", "x_forwarded_for": "198.51.100.7"}
    assert asked(OLD, **both).client == CLIENT
    assert asked(NEW, **both).client == ("1.2.3.4", 0)


@given(st.text(alphabet='for=",;:[]. \\1234567890abc_-hostprouby', max_size=60))
@example('for="\\')
@example("=;,=")
def test_whatever_is_said_gives_an_origin(said: str):
    for trust in (OLD, NEW):
        origin = asked(trust, forwarded=said, x_forwarded_for=said, x_forwarded_host=said)
        assert origin.scheme in ("http", "https")
        assert origin.client[1] in range(65536)
        # nobody becomes the proxy by what is said
        assert origin.client != PROXY or not said.strip(" ,;")


@given(st.text(alphabet='for=",;:[]. \\1234567890_-', max_size=60))
def test_what_a_client_says_first_never_replaces_what_the_proxy_adds(said: str):
    lines = headers(x_forwarded_for=f"{said}, 198.51.100.7")
    assert resolve(PROXY, "http", lines, OLD).client == CLIENT
    lines = headers(forwarded=f"{said}, for=198.51.100.7")
    assert resolve(PROXY, "http", lines, NEW).client in (CLIENT, UNKNOWN)


def test_the_host_is_replaced_once():
    before = [(b"host", b"127.0.0.1"), (b"accept", b"*/*"), (b"host", b"x")]
    assert with_host(before, "a.b") == [(b"host", b"a.b"), (b"accept", b"*/*")]


LOCAL = Trust((ip_network("127.0.0.1"),))
TOLD = {
    "X-Forwarded-For": "198.51.100.7",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "live.example.org",
}


async def test_links_are_as_the_client_sees_them_request_by_request():
    async with running(trust=LOCAL) as site:
        urls = (await site.get("/api/v1/channels/demo", headers=TOLD)).json()["urls"]
        assert urls["page"] == "https://live.example.org/watch/demo"
        assert urls["websocket"] == "wss://live.example.org/ws/demo"
        # the next request on the same connection is that of somebody else
        urls = (await site.get("/api/v1/channels/demo")).json()["urls"]
        assert urls["page"] == f"http://127.0.0.1:{site.server.port}/watch/demo"


async def test_networks_of_viewers_hold_for_clients_behind_a_proxy():
    options = ChannelOptions(key="secret", view_from=("198.51.100.0/24",))
    async with running(options, trust=LOCAL) as site:
        await site.on_air()
        async with site.viewer(additional_headers=TOLD) as viewer:
            await viewer.text("start")
            await viewer.take(1)
            answer = await site.get("/api/v1/channels/demo/readers", headers=ADMIN)
            (reader,) = answer.json()["readers"]
            assert reader["peer"] == "198.51.100.7"
        for said in ("203.0.113.9", "hidden"):
            refused = await site.get(
                "/hls/demo/index.m3u8", headers=TOLD | {"X-Forwarded-For": said}
            )
            assert refused.status_code == httpx.codes.FORBIDDEN


async def test_a_page_behind_a_proxy_may_watch_under_the_proxys_name():
    async with running(trust=LOCAL) as site:
        await site.on_air()
        async with site.viewer(
            additional_headers=TOLD, origin="https://live.example.org"
        ) as viewer:
            await viewer.text("start")
