"""A portal's pages: viewers by WebRTC who are served by another node."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from tests.unit.live.portal_site import PORTAL, UNIT, Node, Place, Placer

from heliograph.bus.memory import MemoryNetwork
from heliograph.live.offers import OfferLimits, Offers
from heliograph.live.options import ChannelOptions
from heliograph.live.remote import Portal, Viewers
from heliograph.model.errors import BusyError

from .site import VIDEO, Site, running
from .test_signalling import SDP, offer

FRAGMENT = {"Content-Type": "application/trickle-ice-sdpfrag"}
CANDIDATE = (
    "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\nm=audio 9 RTP/AVP 0\r\n"
    "a=mid:0\r\na=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\n"
)


@dataclass
class Two:
    portal: Site
    unit: Node

    async def watch(self, query: str = "") -> str:
        """The URL of a session."""
        answer = await self.portal.http.post(
            "/whep/demo" + query, content=offer("recvonly"), headers=SDP
        )
        assert answer.status_code == 201, answer.text
        assert answer.text.startswith("v=0")
        return answer.headers["location"]


@contextlib.asynccontextmanager
async def two(
    placer: Placer | None, channel: ChannelOptions | None = None, *, media_here: bool = True
) -> AsyncIterator[Two]:
    network = MemoryNetwork()
    bus = await network.bus(PORTAL)
    unit = Node(UNIT)
    await unit.start(network, PORTAL)
    unit.publish()
    viewers = Viewers(bus, Offers(OfferLimits()))
    portal = Portal(bus, viewers, placer)
    try:
        async with running(channel, context={"portal": portal}, offers=OfferLimits()) as site:
            if media_here:
                site.publish(VIDEO)
            yield Two(site, unit)
    finally:
        await viewers.close()
        await unit.stop()
        await bus.close()


async def test_a_page_talks_to_the_portal_and_is_served_by_the_unit():
    placer = Placer(Place(UNIT, "place-1"))
    async with two(placer) as at:
        url = await at.watch(f"?from={PORTAL}")
        assert placer.asked == [("demo", "127.0.0.1", PORTAL)]
        assert url.startswith("/whep/demo/")
        assert url.endswith(f"~{UNIT}")
        assert (len(at.unit.rtc), len(at.portal.context.rtc or ())) == (1, 0)

        looked = await at.portal.http.head(url)
        assert (looked.status_code, looked.headers["heliograph-state"]) == (200, "idle")
        match = {**FRAGMENT, "If-Match": "*"}
        restart = CANDIDATE.replace("abcd", "efgh").partition("a=candidate")[0]
        patched = await at.portal.http.patch(url, content=restart, headers=match)
        assert patched.status_code == 200
        assert "ice-ufrag" in patched.text
        match["If-Match"] = patched.headers["etag"]
        again = CANDIDATE.replace("abcd", "efgh")
        patched = await at.portal.http.patch(url, content=again, headers=match)
        assert patched.status_code == 204
        assert (
            await at.portal.http.patch(url, content=CANDIDATE, headers=FRAGMENT)
        ).status_code == 428

        assert (await at.portal.http.delete(url)).status_code == 200
        assert len(at.unit.rtc) == 0
        assert (await at.portal.http.head(url)).status_code == 404


async def test_sessions_of_the_portal_itself_are_named_alike():
    async with two(None) as at:
        url = await at.watch()
        assert url.endswith(f"~{PORTAL}")
        assert (await at.portal.http.head(url)).status_code == 200
        assert (await at.portal.http.delete(url)).status_code == 200
        assert (await at.portal.http.delete(url)).status_code == 404


async def test_a_page_whose_unit_died_hears_it_at_once():
    async with two(Placer(Place(UNIT), None)) as at:
        url = await at.watch()
        at.unit.link.fail()
        portal = at.portal.context.portal
        assert portal is not None
        await at.portal.until(lambda: portal.viewers._bus.nodes() == 1)
        gone = await at.portal.http.head(url)
        assert gone.status_code == 404
        assert gone.headers["access-control-allow-origin"] == "*"
        assert (await at.watch(f"?from={UNIT}")).endswith(f"~{PORTAL}")


async def test_a_full_unit_is_told_to_the_page():
    full = BusyError("no room", subject="units", retry_after=3)
    async with two(Placer(full), media_here=False) as at:
        answer = await at.portal.http.post("/whep/demo", content=offer("recvonly"), headers=SDP)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")


async def test_the_portal_judges_who_may_watch():
    placer = Placer(Place(UNIT))
    async with two(placer, ChannelOptions(view_key="sesame")) as at:
        refused = await at.portal.http.post("/whep/demo", content=offer("recvonly"), headers=SDP)
        assert refused.status_code == 401
        assert placer.asked == []
        await at.watch("?key=sesame")


async def test_what_names_no_session_is_not_asked_for():
    async with two(None) as at:
        for name in ("x~y", f"x~{UNIT}", f"~{UNIT}", "x"):
            answer = await at.portal.http.delete(f"/whep/demo/{name}")
            assert answer.status_code == 404, name
        answer = await at.portal.http.post(
            "/whep/demo?from=nobody", content=offer("recvonly"), headers=SDP
        )
        assert answer.status_code == 400


async def test_a_node_alone_names_no_unit():
    async with running(offers=OfferLimits()) as site:
        site.publish(VIDEO)
        answer = await site.http.post("/whep/demo", content=offer("recvonly"), headers=SDP)
        url = answer.headers["location"]
        assert "~" not in url
        looked = await site.http.head(url)
        assert (looked.status_code, looked.headers["heliograph-state"]) == (200, "idle")
        assert (await site.http.head(f"{url}~{UNIT}")).status_code == 404
        assert (await site.http.delete(url)).status_code == 200
        assert (await site.http.head(url)).status_code == 404
