"""Sessions that portals opened at a unit end with the right to them, whatever portals remember."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.unit.web.test_signalling import offer

from heliograph.bus import Bus, Request
from heliograph.bus.memory import MemoryNetwork
from heliograph.catalogue.rights import Action, Person, Reason
from heliograph.catalogue.tokens import ViewToken
from heliograph.catalogue.values import Role
from heliograph.live import vouching
from heliograph.live.channel import Channel
from heliograph.live.grants import Grant, told
from heliograph.live.offers import OfferLimits, Offers
from heliograph.live.options import ChannelOptions
from heliograph.live.remote import Portal, Viewers, parse_name
from heliograph.live.vouching import AWAY, VOUCH, Voucher
from heliograph.live.webrtc import RtcSession
from heliograph.model.errors import BusyError, MalformedError, NotFoundError, ResourceError
from heliograph.model.nodes import NodeId

from .mesh_site import until
from .portal_site import PORTAL, THIRD, UNIT, Node, Place, Placer

PUBLIC = Grant(Action.VIEW, Reason.PUBLIC)
OWNER = Grant(Action.VIEW, Reason.OWNER, person=Person(7, Role.BROADCASTER))
TOKEN = Grant(Action.VIEW, Reason.TOKEN, token=ViewToken("demo", "eva", 1, 1, 9, "abc"))


@dataclass
class Rights:
    """What a portal's accounts and gate know."""

    gone: set[Reason] = field(default_factory=set)
    away: bool = False
    asked: list[Grant] = field(default_factory=list)

    def holds(self, channel: Channel, grant: Grant, people: Mapping[int, Any]) -> bool:
        assert channel.name == "demo"
        assert grant.person is None or grant.person.id in people
        self.asked.append(grant)
        return grant.reason not in self.gone

    async def people(self, ids: Collection[int]) -> Mapping[int, Any]:
        if self.away:
            raise ResourceError("the database is away")
        return dict.fromkeys(ids)


@dataclass
class Site:
    network: MemoryNetwork
    portal: Node
    unit: Node
    viewers: Viewers
    rights: Rights = field(default_factory=Rights)
    others: list[Bus] = field(default_factory=list)
    voucher: Voucher | None = None

    async def view(self, grant: Grant) -> RtcSession:
        at = Portal(self.portal.bus, self.viewers, Placer(Place(UNIT)))
        opened = await at.view(
            None, self.portal.channel, offer("recvonly"), peer="192.0.2.7", grant=grant
        )
        return self.unit.rtc.find(parse_name(opened.name)[0], "demo")

    def answer(self, bus: Bus, accounts: str = "") -> Rights:
        rights = Rights()
        self.voucher = Voucher(bus, self.portal.channels, rights.holds, rights.people, accounts)
        return rights

    async def die(self) -> None:
        """The portal is killed."""
        self.portal.link.fail()
        await until(lambda: self.unit.bus.nodes() == 1)

    async def start(self, node: NodeId = PORTAL, accounts: str = "") -> Rights:
        """A portal is started, with nothing in memory."""
        bus = await self.network.bus(node)
        self.others.append(bus)
        await until(lambda: self.unit.bus.nodes() == 2)
        return self.answer(bus, accounts)

    async def look(self, times: int = 1) -> None:
        for _ in range(times):
            await self.unit.unit.vouched.look_after()


@contextlib.asynccontextmanager
async def running(accounts: str = "") -> AsyncIterator[Site]:
    network = MemoryNetwork()
    portal, unit = Node(PORTAL), Node(UNIT)
    for node in (portal, unit):
        # Nodes that share a database know its channels by its id.
        await node.start(network, PORTAL, home=PORTAL)
    unit.publish()
    viewers = Viewers(portal.bus, Offers(OfferLimits()), accounts)
    site = Site(network, portal, unit, viewers)
    site.rights = site.answer(portal.bus, accounts)
    try:
        yield site
    finally:
        await viewers.close()
        for bus in site.others:
            await bus.close()
        for node in (portal, unit):
            await node.stop()


async def test_a_session_ends_with_the_right_to_it():
    async with running() as site:
        owner, public, token = [await site.view(one) for one in (OWNER, PUBLIC, TOKEN)]
        await site.look()
        assert [one.ended for one in (owner, public, token)] == [False] * 3
        assert [one.reason for one in site.rights.asked] == [Reason.OWNER, Reason.TOKEN]
        assert site.rights.asked[1].token == ViewToken("demo", "", 1, 1, 9, "abc")
        site.rights.gone = {Reason.OWNER}
        await site.look()
        assert (owner.ended, public.ended, token.ended) == (True, False, False)
        assert len(site.unit.rtc) == 2
        token.end()
        await site.look()
        assert len(site.unit.unit.vouched) == 0


async def test_a_portal_that_was_started_anew_ends_nobody_but_those_whose_right_is_gone():
    async with running() as site:
        owner, token = [await site.view(one) for one in (OWNER, TOKEN)]
        await site.die()
        await site.look(AWAY - 1)
        rights = await site.start()
        await site.look(AWAY)
        assert (owner.ended, token.ended) == (False, False)
        rights.gone = {Reason.OWNER}
        await site.look()
        assert (owner.ended, token.ended) == (True, False)


async def test_whom_nobody_answers_for_is_sent_away_where_an_account_let_him_in():
    async with running() as site:
        owner, public, token = [await site.view(one) for one in (OWNER, PUBLIC, TOKEN)]
        await site.look()
        await site.die()
        await site.look(AWAY - 1)
        assert not owner.ended
        await site.look()
        assert (owner.ended, public.ended, token.ended) == (True, False, False)


async def test_another_portal_with_the_same_accounts_answers_and_one_with_others_does_not():
    async with running("accounts") as site:
        owner = await site.view(OWNER)
        await site.die()
        strange = await site.start(THIRD)
        await site.look(AWAY - 1)
        assert strange.asked == []
        assert not owner.ended
        await site.others.pop().close()
        await until(lambda: site.unit.bus.nodes() == 1)
        known = await site.start(THIRD, "accounts")
        await site.look(AWAY)
        assert not owner.ended
        assert len(known.asked) == AWAY
        known.gone = {Reason.OWNER}
        await site.look()
        assert owner.ended


async def test_while_the_database_is_away_what_the_portal_knows_counts():
    async with running() as site:
        owner, token = [await site.view(one) for one in (OWNER, TOKEN)]
        site.rights.away = True
        site.rights.gone = {Reason.OWNER, Reason.TOKEN}
        await site.look(AWAY)
        assert (owner.ended, token.ended) == (False, True)
        site.rights.away = False
        await site.look()
        assert owner.ended


async def test_a_portal_that_has_too_much_to_do_ends_nobody():
    async def busy(request: Request) -> None:
        raise BusyError("the node has too much to do")

    async with running() as site:
        owner = await site.view(OWNER)
        assert site.voucher is not None
        site.voucher.close()
        site.portal.bus.serve(VOUCH, busy)
        await site.look(2 * AWAY)
        assert not owner.ended


async def test_a_channel_of_that_name_that_is_another_says_nothing():
    async with running() as site:
        owner = await site.view(OWNER)
        site.portal.channels.delete("demo")
        site.portal.channels.create("demo", ChannelOptions(), home=THIRD)
        site.rights.gone = {Reason.OWNER}
        await site.look(AWAY)
        assert not owner.ended


async def test_sessions_are_looked_after_by_themselves(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(vouching, "EVERY", 0.01)
    async with running() as site:
        owner = await site.view(OWNER)
        await until(lambda: len(site.rights.asked) > 2)
        site.rights.gone = {Reason.OWNER}
        await until(lambda: owner.ended)


async def test_grants_go_in_requests_of_bounded_length(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(vouching, "MAX_ASKED", 2)
    async with running() as site:
        some = [await site.view(OWNER) for _ in range(5)]
        before = site.portal.bus.counters()["requests"]
        await site.look()
        assert site.portal.bus.counters()["requests"] == before + 3
        assert len(site.rights.asked) == 5
        await site.die()
        await site.look(AWAY)
        assert all(one.ended for one in some)


@pytest.mark.parametrize(
    "value",
    [None, [], {}, {"accounts": PORTAL}, {"accounts": PORTAL, "grants": [1]},
     {"accounts": PORTAL, "grants": [["demo", PORTAL]]},
     {"accounts": PORTAL, "grants": [["demo", PORTAL, {"r": "hidden"}]]},
     {"accounts": PORTAL, "grants": [["demo", PORTAL, {"r": "owner"}]] * 1001}],
)  # fmt: skip
async def test_nonsense_is_refused(value: Any):
    async with running() as site:
        with pytest.raises(MalformedError):
            await site.unit.bus.call(PORTAL, VOUCH, value)
        with pytest.raises(NotFoundError):
            await site.unit.bus.call(PORTAL, VOUCH, {"accounts": UNIT, "grants": []})


def test_of_a_person_the_id_is_told():
    assert told({"r": "owner", "p": 7}, "demo").person == Person(7, Role.VIEWER)
    with pytest.raises(MalformedError):
        told({"r": "owner", "p": True}, "demo")
