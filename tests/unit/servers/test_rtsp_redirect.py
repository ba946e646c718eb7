"""RTSP viewers who are sent to another unit, and let in there by a ticket."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.unit.live.portal_site import Place, Placer, Seats

from heliograph.bus import Bus, Request
from heliograph.bus.bus import MAX_HANDLERS
from heliograph.bus.memory import MemoryNetwork
from heliograph.catalogue.rights import Action, Reason
from heliograph.live.grants import Grant
from heliograph.live.options import ChannelOptions
from heliograph.live.placing import ATTEMPTS, MAX_AVOIDED, MOVED, SOON
from heliograph.live.readers import Reader
from heliograph.live.tickets import LEEWAY, LIFETIME, Tickets
from heliograph.model.errors import BusyError, HelioError, NotFoundError
from heliograph.model.nodes import NodeId, node_id
from heliograph.servers import rtsp_places
from heliograph.servers.rtsp_places import RtspPlaces

from .rtsp_site import SDP, Client, Site, running

KEYS = [Ed25519PrivateKey.generate() for _ in range(2)]
PORTAL, UNIT = (node_id(key.public_key().public_bytes_raw()) for key in KEYS)
PLAYED = ChannelOptions(key="secret", view_key="sesame")


@dataclass
class Cluster:
    network: MemoryNetwork
    portal: Site
    unit: Site
    portal_bus: Bus
    unit_bus: Bus
    placer: Placer
    tickets: Tickets
    seats: Seats = field(default_factory=Seats)
    placer_at_unit: Placer = field(default_factory=lambda: Placer(None))
    """The unit is a portal, too."""
    mover_at_unit: Placer = field(default_factory=Placer)
    """Says where those go whom the unit sends away."""
    full: bool = False
    """Whether the unit takes nobody more."""
    now: float = 1_760_000_000.0

    async def redirected(self, client: Client, query: str = "?key=sesame") -> str:
        """Where the portal sends a client."""
        status, fields, _ = await client.ask("DESCRIBE", client.base + query)
        assert status == 302
        return fields["location"]

    @contextlib.asynccontextmanager
    async def frozen(self) -> AsyncIterator[NodeId]:
        """A third unit, which is there and answers nothing."""
        thawed = asyncio.Event()

        async def never(_: Request) -> None:
            await thawed.wait()

        bus = await self.network.bus(NodeId("f" * 16))
        bus.announce("node", "frozen", {"rtsp": {"host": "127.0.0.1", "port": 9}})
        bus.serve(rtsp_places.READY, never)
        await self.unit_bus.until_present("node", 3)
        yield bus.node
        thawed.set()
        await bus.close()

    async def watching(self) -> tuple[Client, Reader]:
        """A client that plays from the unit."""
        client = await self.unit.client()
        client.base += "?key=sesame"
        self.placer_at_unit.places = [None]
        assert (await client.ask("DESCRIBE"))[0] == 200
        client.base = client.base.partition("?")[0]
        lanes = "RTP/AVP/TCP;unicast;interleaved=0-1"
        assert (await client.ask("SETUP", f"{client.base}/trackID=0", Transport=lanes))[0] == 200
        assert (await client.ask("PLAY"))[0] == 200
        (reader,) = self.unit.channel.audience.readers.values()
        return client, reader

    async def at(self, url: str) -> Client:
        """A client that was sent to the unit."""
        client = await self.unit.client()
        assert urlsplit(url).port == self.unit.server.port
        client.base = url
        return client


@contextlib.asynccontextmanager
async def cluster(
    *places: Place | HelioError | None, channel: ChannelOptions = PLAYED, laid_out: bool = True
) -> AsyncIterator[Cluster]:
    network = MemoryNetwork()
    buses = [await network.bus(node) for node in (PORTAL, UNIT)]
    async with running(channel) as portal, running(channel) as unit:
        for bus, site in zip(buses, (portal, unit), strict=True):
            where = {"host": "127.0.0.1", "port": site.server.port}
            bus.announce("node", "a", {"rtsp": where})
        for bus in buses:
            await bus.until_present("node", 2)
        tickets = Tickets(UNIT, {PORTAL, UNIT}.__contains__)
        site = Cluster(network, portal, unit, *buses, Placer(*places), tickets)
        at_portal = Tickets(PORTAL, lambda node: True)
        portal.server.places = RtspPlaces(
            buses[0],
            portal.channels,
            KEYS[0],
            at_portal,
            placer=site.placer,
            clock=lambda: site.now,
        )
        unit.server.places = RtspPlaces(
            buses[1],
            unit.channels,
            KEYS[1],
            site.tickets,
            placer=site.placer_at_unit,
            mover=site.mover_at_unit,
            full=lambda: site.full,
            seats=site.seats,
            clock=lambda: site.now,
        )
        # The portal keeps the channel; the unit has it from there.
        unit.channel.keeper = PORTAL
        for one in (portal, unit) if laid_out else (portal,):
            publisher = await one.client()
            assert await publisher.publish() == 200
        yield site
    for bus in buses:
        await bus.close()


async def test_a_viewer_is_sent_to_the_unit_and_needs_no_key_there():
    async with cluster(Place(UNIT, "place-1", 2)) as at:
        url = await at.redirected(await at.portal.client())
        assert urlsplit(url).path == "/demo"
        assert at.placer.asked == [("demo", "127.0.0.1", "")]
        client = await at.at(url)
        assert (await client.ask("DESCRIBE"))[0] == 200
        # Players leave the query out of what they set up.
        client.base = url.partition("?")[0]
        lanes = "RTP/AVP/TCP;unicast;interleaved=0-1"
        assert (await client.ask("SETUP", f"{client.base}/trackID=0", Transport=lanes))[0] == 200
        assert (await client.ask("PLAY"))[0] == 200
        assert at.seats.expected == [("place-1", "demo", 2)]
        (reader,) = at.unit.channel.audience.readers.values()
        assert reader.grant.reservation == "place-1"
        assert at.portal.channel.audience.readers == {}
        assert at.placer_at_unit.asked == []  # who was sent here is not sent on


async def test_setup_without_describe_is_sent_on_too():
    async with cluster(Place(UNIT)) as at:
        client = await at.portal.client()
        url, lanes = f"{client.base}/trackID=0?key=sesame", "RTP/AVP/TCP;unicast;interleaved=0-1"
        status, fields, _ = await client.ask("SETUP", url, Transport=lanes)
        assert status == 302
        assert (await (await at.at(fields["location"])).ask("DESCRIBE"))[0] == 200


async def test_a_ticket_is_good_again_for_the_same_player_until_it_expires():
    async with cluster(Place(UNIT)) as at:
        url = await at.redirected(await at.portal.client())
        for _ in range(2):
            assert (await (await at.at(url)).ask("DESCRIBE"))[0] == 200
        at.now += LIFETIME + LEEWAY + 1
        assert (await (await at.at(url)).ask("DESCRIBE"))[0] == 401
        # A key is good where the ticket is no more.
        assert (await (await at.at(f"{url}&key=sesame")).ask("DESCRIBE"))[0] == 200


@pytest.mark.parametrize("text", ["", "x", "AQ" * 100])
async def test_what_is_no_ticket_lets_nobody_in(text):
    async with cluster() as at:
        client = await at.unit.client()
        assert (await client.ask("DESCRIBE", f"{client.base}?ticket={text}"))[0] == 401


async def test_a_ticket_opens_no_other_channel_and_does_not_publish():
    async with cluster(Place(UNIT)) as at:
        url = await at.redirected(await at.portal.client())
        at.unit.channels.create("other", PLAYED, keeper=PORTAL)
        other = await at.at(url.replace("/demo", "/other"))
        assert (await other.ask("DESCRIBE"))[0] == 401
        publisher = await at.at(url)
        assert (await publisher.ask("ANNOUNCE", "", SDP))[0] == 401


async def test_only_who_may_watch_is_sent_on_and_no_publisher():
    async with cluster() as at:
        client = await at.portal.client()
        assert (await client.ask("DESCRIBE"))[0] == 401
        again = await at.portal.client()
        assert (await again.publish()) == 409  # somebody is on air; nobody is sent on
        assert at.placer.asked == []


@pytest.mark.parametrize(
    "place", [None, Place(PORTAL, "mine"), NotFoundError("no manager knows it")]
)
async def test_without_another_unit_he_is_served_here_and_asked_for_once(place):
    async with cluster(place) as at:
        client = await at.portal.client()
        client.base += "?key=sesame"
        for _ in range(2):
            assert (await client.ask("DESCRIBE"))[0] == 200
        assert len(at.placer.asked) == 1


async def test_units_without_rtsp_are_left_out():
    async with cluster(Place(UNIT)) as at:
        at.unit_bus.announce("unit", "b", {"location": ""})
        others = [await at.network.bus(NodeId(one * 16)) for one in "acdefghijklm"]
        for bus in others:
            bus.announce("unit", bus.node, {"location": ""})
        await at.portal_bus.until_present("unit", 1 + len(others))
        await at.redirected(await at.portal.client())
        (avoided,) = at.placer.avoided
        assert len(avoided) == MAX_AVOIDED - ATTEMPTS
        assert set(avoided) < {bus.node for bus in others}
        # Not all can be told at once: one that is named all the same is left out, too.
        one = next(bus.node for bus in others if bus.node not in avoided)
        at.placer.places = [Place(one), Place(UNIT)]
        await at.redirected(await at.portal.client())
        assert at.placer.avoided[1:] == [avoided, (*avoided, one)]
        for bus in others:
            await bus.close()


async def test_a_viewer_goes_to_the_next_unit_where_the_first_is_gone():
    async with cluster(Place("a" * 16), Place(UNIT, "place-1")) as at:
        url = await at.redirected(await at.portal.client())
        assert urlsplit(url).port == at.unit.server.port
        assert at.placer.avoided == [(), ("a" * 16,)]


async def test_a_unit_that_is_gone_and_named_again_is_no_place_to_wait_for():
    gone = Place("a" * 16)
    async with cluster(gone, gone, Place(UNIT)) as at:
        client = await at.portal.client()
        status, fields, _ = await client.ask("DESCRIBE", f"{client.base}?key=sesame")
        assert (status, fields["retry-after"]) == (503, str(SOON))
        assert at.portal.channel.audience.readers == {}
        assert urlsplit(await at.redirected(client)).port == at.unit.server.port


async def test_nobody_is_sent_to_a_unit_that_froze(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rtsp_places, "ANSWER_TIMEOUT", 0.05)
    async with cluster() as at, at.frozen() as frozen:
        at.placer.places = [Place(frozen), Place(frozen)]
        client = await at.portal.client()
        status, fields, _ = await client.ask("DESCRIBE", f"{client.base}?key=sesame")
        assert (status, fields["retry-after"]) == (503, str(SOON))


async def test_who_rushes_to_a_unit_that_was_just_told_of_the_channel_keeps_it_from_nothing(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(rtsp_places, "AGAIN", 0.2)
    monkeypatch.setattr(rtsp_places, "LAYOUT", 30.0)
    monkeypatch.setattr(rtsp_places, "ANSWER_TIMEOUT", 30.0)
    many = MAX_HANDLERS + 6
    async with cluster(*many * [Place(UNIT)], laid_out=False) as at:
        places, bus = at.portal.server.places, at.unit_bus
        assert places is not None
        grant = Grant(Action.VIEW, Reason.KEY)
        asked = [
            asyncio.create_task(places.find(at.portal.channel, grant, "192.0.2.7"))
            for _ in range(many)
        ]
        await at.unit.until(lambda: bus.counters()["requests"] >= 2)  # it is not laid out yet
        bus.serve("manager.order", _at_once)
        assert await at.portal_bus.call(UNIT, "manager.order", {}, 30.0) == "done"
        assert not any(one.done() for one in asked)
        publisher = await at.unit.client()
        assert await publisher.publish() == 200
        assert {type(where) for where in await asyncio.gather(*asked)} == {str}
        assert bus.counters()["requests"] < many


async def _at_once(_: Request) -> str:
    return "done"


async def test_a_unit_where_nobody_knows_what_the_channel_carries_is_no_place_to_be_sent_to(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(rtsp_places, "LAYOUT", 0.0)
    async with cluster(Place(UNIT), Place(UNIT), laid_out=False) as at:
        at.portal.channel.tell_on_air(True)
        client = await at.portal.client()
        assert (await client.ask("DESCRIBE", f"{client.base}?key=sesame"))[0] == 503


async def test_nobody_is_sent_to_a_unit_that_has_not_got_the_channel():
    async with cluster(Place(UNIT), Place(UNIT)) as at:
        at.unit.channel.keeper = UNIT  # another one of that name
        at.portal.channel.tell_on_air(True)
        client = await at.portal.client()
        assert (await client.ask("DESCRIBE", f"{client.base}?key=sesame"))[0] == 503


async def test_a_unit_without_media_says_when_to_come_again_where_those_that_have_them_are_gone():
    async with cluster() as at:
        other = at.unit.channels.create("other", ChannelOptions(), keeper=PORTAL)
        other.tell_on_air(True)
        at.placer_at_unit.places = [Place("a" * 16), Place("a" * 16)]
        client = await at.unit.client()
        status, fields, _ = await client.ask("DESCRIBE", client.base.replace("/demo", "/other"))
        assert (status, fields["retry-after"]) == (503, str(SOON))


async def test_without_any_place_a_portal_refuses_him_each_time():
    full = BusyError("no room", subject="units", retry_after=2)
    async with cluster(full, full, Place(UNIT)) as at:
        client = await at.portal.client()
        for _ in range(2):
            status, fields, _ = await client.ask("DESCRIBE", f"{client.base}?key=sesame")
            assert (status, fields["retry-after"]) == (503, "2")
        assert urlsplit(await at.redirected(client)).port == at.unit.server.port


async def test_a_portal_with_places_of_its_own_looks_whether_there_is_one():
    async with cluster() as at:
        at.placer_at_unit.places[:] = [BusyError("no room", subject="units")]
        client = await at.unit.client()
        assert (await client.ask("DESCRIBE", f"{client.base}?key=sesame"))[0] == 200


async def test_a_unit_whose_places_are_gone_says_so():
    async with cluster(Place(UNIT, "late")) as at:
        at.seats.error = BusyError("full", subject="places", retry_after=3)
        url = await at.redirected(await at.portal.client())
        status, fields, _ = await (await at.at(url)).ask("DESCRIBE")
        assert (status, fields["retry-after"]) == (503, "3")


async def test_a_viewer_of_a_unit_that_is_emptied_is_told_where_to_go_and_let_in_there():
    async with cluster() as at:
        at.mover_at_unit.places = [Place("a" * 16, "place-1"), Place(PORTAL, "place-2")]
        client, reader = await at.watching()
        reader.kick(MOVED)
        said = (await client.ended()).decode("latin-1")
        # Places may be held for the viewers of this unit, whoever else takes nobody.
        assert at.mover_at_unit.asked == 2 * [("demo", "127.0.0.1", UNIT)]
        redirect, teardown = said.index("REDIRECT rtsp://"), said.index("TEARDOWN rtsp://")
        assert redirect < teardown
        url = said[redirect:].partition("Location: ")[2].partition("\r\n")[0]
        assert urlsplit(url).port == at.portal.server.port
        there = await at.portal.client()
        there.base = url
        assert (await there.ask("DESCRIBE"))[0] == 200
        assert at.unit.channel.audience.readers == {}


async def test_a_viewer_is_told_where_to_go_though_the_first_unit_asked_is_frozen():
    async with cluster() as at, at.frozen() as frozen:
        at.mover_at_unit.places = [Place(frozen), Place(PORTAL, "place-2")]
        client, reader = await at.watching()
        reader.kick(MOVED)
        said = (await client.ended()).decode("latin-1")
        assert at.mover_at_unit.avoided == [(), (frozen,)]
        url = said.partition("Location: ")[2].partition("\r\n")[0]
        assert urlsplit(url).port == at.portal.server.port


@pytest.mark.parametrize("place", [None, BusyError("no room", subject="units")])
async def test_where_nobody_knows_a_place_he_is_just_sent_away(place):
    async with cluster() as at:
        at.mover_at_unit.places = [place]
        client, reader = await at.watching()
        reader.kick(MOVED)
        said = await client.ended()
        assert b"TEARDOWN" in said
        assert b"REDIRECT" not in said


async def test_who_comes_to_a_unit_that_takes_nobody_more_is_sent_on_by_whatever_unit_it_is():
    async with cluster() as at:
        at.full = True
        at.mover_at_unit.places = [Place(PORTAL, "place-3")]
        client = await at.unit.client()
        status, fields, _ = await client.ask("DESCRIBE", client.base + "?key=sesame")
        assert status == 302
        assert urlsplit(fields["location"]).port == at.portal.server.port
        assert at.mover_at_unit.asked == [("demo", "127.0.0.1", UNIT)]
        assert at.placer_at_unit.asked == []


async def test_a_publisher_is_sent_to_where_the_channel_is_to_enter():
    async with cluster() as at:
        at.unit.channel.entrance = PORTAL
        client = await at.unit.client()
        assert (await client.ask("ANNOUNCE", body=SDP))[0] == 401  # who may not learns nothing
        status, fields, _ = await client.ask("ANNOUNCE", f"{client.base}?key=secret", SDP)
        assert (status, fields["location"]) == (
            302,
            f"rtsp://127.0.0.1:{at.portal.server.port}/demo",
        )
        at.unit.channel.entrance = "nobody knows it"
        assert (await client.ask("ANNOUNCE", f"{client.base}?key=secret", SDP))[0] == 503
