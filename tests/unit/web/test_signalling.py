"""Offers by HTTP: how many are taken from one address, and what becomes of a session's URL."""

from heliograph.live.offers import OfferLimits
from heliograph.live.options import ChannelOptions
from heliograph.protocols.ice_servers import IceServer

from .site import ADMIN, AUDIO, VIDEO, Site, running

SDP = {"Content-Type": "application/sdp"}
PUBLISHER = {**SDP, "Authorization": "Bearer secret"}


def offer(direction: str, *, number: int = 1) -> str:
    """Of a peer that knows H.264 and Opus; nobody ever comes to its candidates."""
    head = (
        f"v=0\r\no=- {number} 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n"
        "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n"
        f"a=fingerprint:sha-256 {':'.join(['AB'] * 32)}\r\na=setup:actpass\r\n"
    )
    common = f"c=IN IP4 0.0.0.0\r\na=rtcp-mux\r\na={direction}\r\n"
    return (
        f"{head}m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n{common}a=mid:0\r\n"
        "a=rtpmap:111 opus/48000/2\r\n"
        f"m=video 9 UDP/TLS/RTP/SAVPF 102\r\n{common}a=mid:1\r\na=rtpmap:102 H264/90000\r\n"
        "a=fmtp:102 packetization-mode=1;profile-level-id=42e01f\r\n"
    )


async def watched(site: Site) -> str:
    """The URL of a session that watches."""
    answer = await site.http.post("/whep/demo", content=offer("recvonly"), headers=SDP)
    assert answer.status_code == 201, answer.text
    return answer.headers["location"]


async def test_offers_above_the_rate_are_told_when_to_come_again():
    async with running(offers=OfferLimits(per_minute=6)) as site:
        nonsense = {"content": "v=0", "headers": PUBLISHER}
        for _ in range(3):
            assert (await site.http.post("/whip/demo", **nonsense)).status_code == 400
        refused = await site.http.post("/whip/demo", **nonsense)
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 10
        # Watching is an offer like any other; looking at the channel is none.
        assert (await site.http.post("/whep/demo", **nonsense)).status_code == 429
        assert (await site.get("/api/v1/channels/demo")).status_code == 200
        assert "helio_webrtc_offers_too_often_total 2.0" in (await site.get("/metrics")).text


async def test_offers_with_names_that_an_answer_would_change_are_malformed():
    async with running(offers=OfferLimits()) as site:
        names = "picture01;picture02", ";".join("123456789")
        layers = (f"a=simulcast:send {rids}\r\n" for rids in names)
        bad = [offer("sendonly") + line for line in layers]
        bad.append(offer("sendonly").replace("a=mid:1", "a=mid:video-1"))
        for content in bad:
            answer = await site.http.post("/whip/demo", content=content, headers=PUBLISHER)
            assert answer.status_code == 400, answer.text
            assert "a=mid" in answer.text or "a=simulcast" in answer.text
        assert "helio_webrtc_faults_total 0.0" in (await site.get("/metrics")).text


async def test_sessions_of_one_address_are_bounded_and_ending_one_makes_room():
    async with running(offers=OfferLimits(sessions=2)) as site:
        site.publish(VIDEO, AUDIO)
        urls = [await watched(site), await watched(site)]
        third = await site.http.post("/whep/demo", content=offer("recvonly"), headers=SDP)
        assert third.status_code == 429
        assert third.json()["error"]["subject"] == "sessions"
        assert int(third.headers["retry-after"]) > 0
        assert (await site.http.delete(urls[0])).status_code == 200
        await watched(site)
        assert "helio_webrtc_offers_too_many_total 1.0" in (await site.get("/metrics")).text


async def test_a_kicked_viewers_page_learns_that_it_was_kicked():
    async with running(offers=OfferLimits()) as site:
        site.publish(VIDEO, AUDIO)
        kicked, other = await watched(site), await watched(site)
        rows = (await site.get("/api/v1/channels/demo/readers", headers=ADMIN)).json()["readers"]
        first = min(row["id"] for row in rows if row["kind"] == "whep")
        url = f"/api/v1/channels/demo/readers/{first}"
        assert (await site.http.delete(url, headers=ADMIN)).status_code == 204
        assert (await site.http.delete(kicked)).status_code == 410
        assert (await site.http.delete(kicked)).status_code == 410
        assert (await site.http.delete(other)).status_code == 200
        assert (await site.http.delete(other)).status_code == 404


SERVERS = (
    IceServer("stun:stun.example.net"),
    IceServer("turns:turn.example.net:443?transport=tcp", "anna", 'pass"word'),
)
LINKS = [
    '<stun:stun.example.net>; rel="ice-server"',
    '<turns:turn.example.net:443?transport=tcp>; rel="ice-server"; username="anna"; '
    'credential="pass\\"word"; credential-type="password"',
]


async def test_who_is_let_in_is_told_of_stun_and_turn_servers_and_nobody_else():
    context = {"ice_servers": SERVERS}
    async with running(ChannelOptions(key="secret", view_key="letmein8"), offers=OfferLimits(),
                       context=context) as site:  # fmt: skip
        refused = await site.http.post("/whip/demo", content=offer("sendonly"), headers=SDP)
        assert refused.status_code == 401
        assert "link" not in refused.headers
        asked = await site.http.options("/whip/demo")
        assert asked.status_code == 204
        assert "link" not in asked.headers
        told = await site.http.post("/whip/demo", content=offer("sendonly"), headers=PUBLISHER)
        assert told.status_code == 201, told.text
        assert told.headers.get_list("link") == LINKS
        assert "link" in told.headers["access-control-expose-headers"].lower()
        site.publish(VIDEO, AUDIO)
        stranger = await site.http.post("/whep/demo", content=offer("recvonly"), headers=SDP)
        assert stranger.status_code == 401
        assert "link" not in stranger.headers
        viewer = {**SDP, "Authorization": "Bearer letmein8"}
        seen = await site.http.post("/whep/demo", content=offer("recvonly"), headers=viewer)
        assert seen.status_code == 201, seen.text
        assert seen.headers.get_list("link") == LINKS


async def test_without_such_servers_there_is_no_link():
    async with running(offers=OfferLimits()) as site:
        told = await site.http.post("/whip/demo", content=offer("sendonly"), headers=PUBLISHER)
        assert told.status_code == 201
        assert "link" not in told.headers
