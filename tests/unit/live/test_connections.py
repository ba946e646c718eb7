"""Kinds of connection over each other: every composition carries a channel, and others are
refused."""

from __future__ import annotations

import pytest
from tests.unit.live.mesh_site import NAME, Node, OnAir, nodes, until
from tests.unit.live.test_casts import groups, heard, more, sent, whole

from heliograph.live.connections.compose import ANYHOW, USUAL_LINK, Connection, LinkKind
from heliograph.live.connections.kinds import KINDS, Carrier, Seal, Spread
from heliograph.live.links import LinkOptions
from heliograph.live.options import ChannelOptions
from heliograph.model.errors import MalformedError

SEALS = [name for name, kind in KINDS.items() if isinstance(kind, Seal)]
SPREADS = [name for name, kind in KINDS.items() if isinstance(kind, Spread)]
CARRIERS = [name for name, kind in KINDS.items() if isinstance(kind, Carrier)]

LINKS = [f"{seal}/{carrier}" for seal in SEALS for carrier in CARRIERS]
SPREAD_LINKS = [
    f"{seal}/{spread}/{carrier}" for seal in SEALS for spread in SPREADS for carrier in CARRIERS
]


def carries(node: Node, source: Node) -> str:
    """What the link is made of by which the channel comes, once it does."""
    feed = node.reflector._incoming._feeds.get(NAME)
    inflow = None if feed is None else feed.inflows.get(source.node)
    return "" if inflow is None or not inflow.delivering else str(inflow.link.kind)


@pytest.mark.parametrize("text", LINKS)
async def test_a_channel_comes_whole_by_links_of_every_composition(text: str):
    async with nodes(2) as (first, one):
        first.keep(connection=Connection.parse(text))
        air = OnAir(first.publish())
        await until(one.has)
        viewer = one.watch()
        await until(lambda: carries(one, first) == text)
        await more([viewer])
        assert text in {link.describe()["connection"] for link in first.links}
        assert whole(viewer)
        await air.stop()


@pytest.mark.parametrize("text", LINKS)
async def test_a_node_opens_links_of_the_kind_that_it_is_set_to(text: str):
    async with nodes(2, options=LinkOptions(LinkKind.parse(text))) as (first, one):
        first.keep()
        air = OnAir(first.publish())
        await until(one.has)
        viewer = one.watch()
        await until(lambda: carries(one, first) == text)
        await more([viewer])
        assert [str(link.kind) for link in one.links] == [text]
        await air.stop()


@pytest.mark.parametrize("text", SPREAD_LINKS)
async def test_a_channel_comes_whole_by_casts_of_every_composition(text: str):
    made_of = Connection.parse(text)
    assert made_of.seal is not None
    async with nodes(2, options=LinkOptions(multicast=groups())) as (first, one):
        first.keep(connection=made_of)
        air = OnAir(first.publish())
        await until(one.has)
        viewer = one.watch()
        await heard(first, 1)
        await until(lambda: carries(one, first) == text.replace("multicast/", ""))
        await more([viewer])
        (cast,) = first.reflector.casts._channels.values()
        assert cast.cast is not None
        assert len(cast.cast.key) == made_of.seal.key_bytes
        assert whole(viewer)
        await air.stop()


async def test_a_cast_is_sealed_anew_when_the_channel_is_to_be_sealed_otherwise(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("heliograph.live.casts.LEAST_LIFE", 0.2)
    async with nodes(2, options=LinkOptions(multicast=groups())) as (first, one):
        kept = first.keep(connection=Connection.parse("multicast"))
        air = OnAir(first.publish())
        await until(one.has)
        viewer = one.watch()
        await heard(first, 1)
        assert len(key(first)) == 16
        options = ChannelOptions(silence_ms=300, connection=Connection.parse("chacha/multicast"))
        first.channels.change(kept, options, None)
        await until(lambda: len(key(first)) == 32)
        await until(lambda: [cast["hearing"] for cast in sent(first)] == [1])
        await more([viewer])
        assert whole(viewer)
        await air.stop()


def key(node: Node) -> bytes:
    casts = [channel.cast for channel in node.reflector.casts._channels.values()]
    return casts[0].key if casts and casts[0] is not None else b""


@pytest.mark.parametrize("text", ["auto", *KINDS, *LINKS, *SPREAD_LINKS, "multicast/tcp"])
def test_a_connection_reads_as_it_was_written(text: str):
    made_of = Connection.parse(text)
    assert str(made_of) == text
    kept = ChannelOptions(connection=made_of)
    assert kept.to_json().get("connection", "auto") == text
    assert ChannelOptions.from_json(kept.to_json()) == kept


@pytest.mark.parametrize(
    ("text", "link", "casts", "enough"),
    [
        ("auto", "chacha/tcp", True, 2),
        ("udp", "chacha/udp", False, 2),
        ("crypto", "crypto/tcp", True, 2),
        ("multicast", "chacha/tcp", True, 1),
        ("crypto/multicast", "crypto/tcp", True, 1),
        ("crypto/multicast/udp", "crypto/udp", True, 1),
        ("crypto/udp", "crypto/udp", False, 2),
    ],
)
def test_what_is_left_out_is_as_the_node_is_set(text: str, link: str, casts: bool, enough: int):
    made_of = Connection.parse(text)
    assert str(made_of.link(LinkKind.parse("chacha/tcp"))) == link
    assert (made_of.casts, made_of.enough) == (casts, enough)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no kind ''"),
        ("plain/udp", "no kind 'plain'"),
        ("udp/crypto", "crypto does not go below udp"),
        ("multicast/crypto/udp", "crypto does not go below multicast"),
        ("crypto/chacha/udp", "chacha does not go below crypto"),
        ("tcp/udp", "udp does not go below tcp"),
        ("udp/multicast", "multicast does not go below udp"),
        ("auto/udp", "no kind 'auto'"),
        ("crypto/" * 50, "does not go below"),
    ],
)
def test_what_does_not_go_over_each_other_is_refused(text: str, why: str):
    with pytest.raises(MalformedError, match=why):
        Connection.parse(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("udp", "nothing travels in clear"),
        ("tcp", "nothing travels in clear"),
        ("crypto", "what carries it"),
        ("crypto/multicast/udp", "beside links"),
        ("auto", "no kind"),
    ],
)
def test_a_link_says_what_carries_it_and_is_never_plain(text: str, why: str):
    with pytest.raises(MalformedError, match=why):
        LinkKind.parse(text)


def test_links_are_sealed_and_go_by_udp_where_nothing_is_said():
    assert str(USUAL_LINK) == "crypto/udp"
    assert ANYHOW.link(USUAL_LINK) is not None
    assert str(ANYHOW.link(USUAL_LINK)) == "crypto/udp"
