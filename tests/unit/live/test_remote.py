"""WHEP over the bus: offers forwarded by a portal, taken by a unit."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from tests.unit.web.test_signalling import offer

from heliograph.bus import Request
from heliograph.bus.memory import MemoryNetwork
from heliograph.catalogue.rights import Action, Reason
from heliograph.live import remote
from heliograph.live.grants import Grant
from heliograph.live.offers import OfferLimits, Offers
from heliograph.live.placing import SOON
from heliograph.live.remote import ALIVE, OPEN, Portal, Unit, Viewers, named, parse_name
from heliograph.live.seats import Seats, Spend
from heliograph.model.errors import (
    BusyError,
    GoneError,
    IncompatibleError,
    MalformedError,
    NotFoundError,
    PreconditionError,
    TooManyError,
)

from .mesh_site import until
from .portal_site import PORTAL, THIRD, UNIT, Node, Place, Placer

PEER = "192.0.2.7"
PUBLIC = Grant(Action.VIEW, Reason.PUBLIC)


@dataclass
class Site:
    portal: Node
    unit: Node
    viewers: Viewers

    async def view(self, placer: Placer | None = None, **other: Any) -> Any:
        at = Portal(self.portal.bus, self.viewers, placer, self.portal.seats)
        asked = {"peer": PEER, "grant": PUBLIC, "agent": "test", **other}
        return await at.view(self.portal.rtc, self.portal.channel, offer("recvonly"), **asked)


@contextlib.asynccontextmanager
async def running(limits: OfferLimits | None = None) -> AsyncIterator[Site]:
    network = MemoryNetwork()
    nodes = [Node(PORTAL), Node(UNIT)]
    for node in nodes:
        await node.start(network, PORTAL)
    nodes[1].publish()
    viewers = Viewers(nodes[0].bus, Offers(limits or OfferLimits()))
    try:
        yield Site(*nodes, viewers)
    finally:
        await viewers.close()
        for node in nodes:
            await node.stop()


async def test_a_viewer_is_served_by_the_unit_that_was_named():
    async with running() as site:
        placer = Placer(Place(UNIT, "place-1", 4))
        opened = await site.view(placer, origin=THIRD)
        assert placer.asked == [("demo", PEER, THIRD)]
        session, unit = parse_name(opened.name)
        assert unit == UNIT
        served = site.unit.rtc.find(session, "demo")
        assert (served.peer, opened.answer, opened.etag) == (PEER, served.answer, served.etag)
        assert served.reader is not None
        assert served.reader.grant == Grant(Action.VIEW, Reason.PUBLIC, reservation="place-1")
        assert served.reader.agent == "test"
        assert site.unit.seats.expected == [("place-1", "demo", 4)]
        assert len(site.portal.rtc) == 0
        assert await site.viewers.look(UNIT, session, "demo") == served.channel.state

        await site.viewers.end(UNIT, session, "demo")
        assert len(site.unit.rtc) == len(site.viewers) == 0
        with pytest.raises(NotFoundError):
            await site.viewers.look(UNIT, session, "demo")


async def test_without_another_unit_he_is_served_here():
    async with running() as site:
        site.portal.publish()
        for placer in (None, Placer(None), Placer(Place(PORTAL, "mine"))):
            opened = await site.view(placer)
            assert parse_name(opened.name)[1] == PORTAL
        assert len(site.portal.rtc) == 3
        assert site.portal.seats.expected == [("mine", "demo", 0)]


async def test_a_unit_that_refuses_or_is_not_there_is_not_asked_again():
    async with running() as site:
        site.portal.publish()
        site.unit.seats.error = BusyError("full", subject="places", retry_after=2)
        placer = Placer(Place(UNIT, "a"), Place(THIRD, "b"))
        opened = await site.view(placer, origin="lost")
        # A place that is held for those whose unit died is theirs at the second attempt, too.
        assert [origin for _, _, origin in placer.asked] == ["lost", "lost"]
        assert placer.avoided == [(), (UNIT,)]
        assert parse_name(opened.name)[1] == PORTAL


async def test_a_unit_that_is_named_again_though_it_refused_is_passed_over():
    async with running() as site:
        site.portal.publish()
        site.unit.seats.error = BusyError("full", subject="places")
        placer = Placer(Place(UNIT, "a"), Place(UNIT, "b"))
        assert parse_name((await site.view(placer)).name)[1] == PORTAL
        assert site.unit.bus.counters()["requests"] == 1


async def test_a_viewer_goes_to_the_next_unit_where_the_first_is_gone():
    async with running() as site:
        site.portal.seats = None
        placer = Placer(Place(THIRD, "a"), Place(UNIT, "b"))
        assert parse_name((await site.view(placer)).name)[1] == UNIT
        assert placer.avoided == [(), (THIRD,)]


async def test_a_unit_that_froze_holds_a_viewer_up_for_so_long_and_no_longer(monkeypatch):
    monkeypatch.setattr(remote, "ANSWER_TIMEOUT", 0.05)
    async with running() as site:
        site.portal.seats = None
        frozen = asyncio.Event()
        site.unit.unit.close()

        async def never(_: Request) -> None:
            await frozen.wait()

        site.unit.bus.serve(OPEN, never)
        with pytest.raises(BusyError) as refused:
            await site.view(Placer(Place(UNIT, "a"), Place(UNIT, "b")))
        assert (refused.value.subject, refused.value.retry_after) == ("units", SOON)
        frozen.set()


@pytest.mark.parametrize("again", [Place(THIRD, "b"), Place("a" * 16, "b")])
async def test_a_portal_that_is_no_unit_serves_nobody_whose_units_are_gone(again: Place):
    async with running() as site:
        site.portal.publish()
        site.portal.seats = None
        with pytest.raises(BusyError) as refused:
            await site.view(Placer(Place(THIRD, "a"), again))
        assert (refused.value.status, refused.value.retry_after) == (503, SOON)
        assert site.portal.channel.audience.places == 0


@pytest.mark.parametrize("on_air", [True, False])
async def test_a_channel_on_air_is_not_said_to_be_unknown_because_a_unit_died(on_air: bool):
    async with running() as site:
        site.portal.channel.tell_on_air(on_air)
        site.unit.unit.close()

        async def unknown(_: Request) -> None:
            raise NotFoundError("not on air here yet")

        site.unit.bus.serve(OPEN, unknown)
        with pytest.raises(BusyError if on_air else NotFoundError) as refused:
            await site.view(Placer(Place(UNIT, "a"), Place(UNIT, "b")))
        assert getattr(refused.value, "retry_after", None) == (SOON if on_air else None)


async def test_where_nobody_has_room_the_error_is_the_units():
    async with running() as site:
        site.unit.seats.error = BusyError("full", subject="places", retry_after=2)
        with pytest.raises(BusyError) as refused:
            await site.view(Placer(Place(UNIT, "a"), BusyError("no room", subject="units")))
        assert (refused.value.subject, refused.value.retry_after) == ("places", 2)


@pytest.mark.parametrize("refused", [False, True])
async def test_a_portal_that_is_no_unit_lets_nobody_in_where_all_units_are_full(refused: bool):
    async with running() as site:
        site.portal.publish()
        site.portal.seats = None
        site.unit.unit.close()  # and takes nobody
        before = [Place(UNIT, "a")] if refused else []
        full = BusyError("all groups of all units are full", subject="places", retry_after=10)
        with pytest.raises(BusyError) as told:
            await site.view(Placer(*before, full))
        # A unit that is left out may have had room: it is back, or replaced, in a moment.
        wanted = ("units", SOON) if refused else ("places", 10)
        assert (told.value.subject, told.value.retry_after) == wanted
        assert site.portal.channel.audience.places == 0


async def test_an_unknown_channel_at_the_manager_hides_nothing_of_what_is_wrong_here():
    async with running() as site:
        with pytest.raises(NotFoundError, match="not on air"):
            await site.view(Placer(NotFoundError("no channel is open")))


async def test_a_place_kept_at_the_unit_is_the_viewers():
    async with running() as site:
        seats = Seats(1, Spend(10**9, 10**9, 10**9))
        site.unit.channels.seating = seats
        seats.grant(0, "demo", 2)
        site.unit.unit.close()
        Unit(site.unit.bus, site.unit.channels, site.unit.rtc, seats)
        await site.view(Placer(Place(UNIT, "place-1", 0)))
        assert seats.taken() == ("place-1",)
        await site.view(Placer(Place(UNIT, "place-1", 0)))  # comes late, and finds another
        assert seats.taken() == ("place-1",)
        assert [group.viewers for group in seats.groups()] == [2]
        with pytest.raises(BusyError):
            await site.view(Placer(Place(UNIT, "place-2", 0), None))


async def test_a_place_that_lapsed_is_not_shown():
    async with running() as site:
        site.unit.seats.error = NotFoundError("lapsed")
        session, _ = parse_name((await site.view(Placer(Place(UNIT, "late")))).name)
        served = site.unit.rtc.find(session, "demo")
        assert served.reader is not None
        assert served.reader.grant == PUBLIC


async def test_what_no_unit_can_mend_is_told_at_once():
    async with running() as site:
        placer = Placer(Place(UNIT), Place(UNIT))
        portal = Portal(site.portal.bus, site.viewers, placer)
        channel = site.portal.channel
        with pytest.raises(MalformedError):
            await portal.view(None, channel, "v=0", peer=PEER, grant=PUBLIC)
        other = offer("recvonly").replace("H264", "H265").replace("opus", "nothing")
        with pytest.raises(IncompatibleError):
            await portal.view(None, channel, other, peer=PEER, grant=PUBLIC)
        assert len(placer.asked) == 2


async def test_sessions_of_an_address_are_bounded_at_the_portal():
    async with running(OfferLimits(sessions=1)) as site:
        place = Place(UNIT)
        session, _ = parse_name((await site.view(Placer(place))).name)
        with pytest.raises(TooManyError):
            await site.view(Placer(place))
        site.unit.rtc.find(session, "demo").end("the page is gone")
        await site.viewers.look_after()
        await site.view(Placer(place))


async def test_a_session_whose_unit_is_gone_is_gone():
    async with running(OfferLimits(sessions=1)) as site:
        session, _ = parse_name((await site.view(Placer(Place(UNIT)))).name)
        site.unit.link.fail()
        await until(lambda: site.portal.bus.nodes() == 1)
        with pytest.raises(NotFoundError):
            await site.viewers.look(UNIT, session, "demo")
        assert len(site.viewers) == 0
        site.viewers.offers.check(PEER)


async def test_a_kicked_viewer_learns_it_over_the_bus():
    async with running() as site:
        session, _ = parse_name((await site.view(Placer(Place(UNIT)))).name)
        reader = site.unit.rtc.find(session, "demo").reader
        assert reader is not None
        reader.kick()
        with pytest.raises(GoneError):
            await site.viewers.end(UNIT, session, "demo")


async def test_candidates_need_the_session_as_it_is():
    async with running() as site:
        opened = await site.view(Placer(Place(UNIT)))
        session, _ = parse_name(opened.name)
        fragment = (
            "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\nm=audio 9 RTP/AVP 0\r\n"
            "a=mid:0\r\na=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\n"
        )
        ask = site.viewers.patch
        for match, status in (("", 428), ('"old"', 412)):
            with pytest.raises(PreconditionError) as refused:
                await ask(UNIT, session, "demo", fragment, match)
            assert refused.value.status == status
        assert await ask(UNIT, session, "demo", fragment, opened.etag) == (None, opened.etag)
        restart = fragment.replace("abcd", "efgh").partition("a=candidate")[0]
        answer, etag = await ask(UNIT, session, "demo", restart, "*")
        assert answer is not None
        assert "ice-ufrag" in answer
        assert etag not in ("", opened.etag)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"channel": 7},
        {"channel": "demo", "home": PORTAL},
        {"channel": "demo", "home": PORTAL, "grant": {"r": "hidden"}},
        {"channel": "demo", "home": PORTAL, "grant": {"r": "token", "t": [1, 2]}},
        {"channel": "demo", "home": PORTAL, "grant": {"r": "owner", "p": "7"}},
        {"channel": "demo", "home": PORTAL, "grant": {"r": "public"}, "index": -1},
        {"channel": "demo", "home": PORTAL, "grant": {"r": "public"}, "accounts": 7},
        {"channel": "demo", "home": UNIT, "grant": {"r": "public"}},
    ],
)
async def test_nonsense_on_the_bus_is_refused(value):
    async with running() as site:
        with pytest.raises((MalformedError, NotFoundError)):
            await site.portal.bus.call(UNIT, OPEN, value)
        with pytest.raises(MalformedError):
            await site.portal.bus.call(UNIT, ALIVE, "x")


def test_names_of_sessions():
    assert parse_name(named("a-b_C", UNIT)) == ("a-b_C", UNIT)
    assert parse_name("a-b_C") == ("a-b_C", "")
    for wrong in ("a~", "~" + UNIT, f"a/b~{UNIT}", f"a~{UNIT}~{UNIT}", f"a~{UNIT.upper()}"):
        with pytest.raises(NotFoundError):
            parse_name(wrong)


async def test_a_publisher_enters_at_the_unit_that_is_named_in_place_of_this_one():
    async with running(OfferLimits(sessions=1)) as site:
        channel = site.portal.channel
        at = Portal(site.portal.bus, site.viewers)
        asked = {"peer": PEER, "grant": Grant(Action.PUBLISH, Reason.KEY, key=5), "agent": "test"}

        async def publish() -> Any:
            return await at.publish(site.portal.rtc, channel, offer("sendonly"), **asked)

        for one in [*site.unit.channel.publishings.values()]:
            one.close()
        channel.entrance = UNIT
        session, unit = parse_name((await publish()).name)
        assert unit == UNIT
        served = site.unit.rtc.find(session, "demo")
        assert served.publishing is not None
        assert (served.publishing.grant, served.publishing.agent) == (asked["grant"], "test")
        with pytest.raises(TooManyError):
            await publish()
        await site.viewers.end(UNIT, session, "demo")
        assert len(site.unit.rtc) == len(site.portal.rtc) == 0

        channel.entrance = THIRD  # and gone
        with pytest.raises(BusyError):
            await publish()
        channel.entrance = ""
        assert parse_name((await publish()).name)[1] == PORTAL
