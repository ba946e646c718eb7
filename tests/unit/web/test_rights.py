"""Private channels, stream keys and view tokens over HTTP and WebSocket."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.web.site import ADMIN, AUDIO, VIDEO, Site, running
from tests.unit.web.test_accounts import API, Browser, account
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from heliograph.catalogue.throttle import ADDRESS_POLICY
from heliograph.catalogue.values import Role
from heliograph.live.publish import PublishKind

YARD = f"{API}/channels/yard"


async def private(site: Site, browser: Browser, **more: Any) -> dict[str, Any]:
    """Anna's private channel, on air."""
    await account(site, "anna")
    await browser.sign_in("anna")
    new = {"name": "yard", "title": "The yard", "private": True} | more
    made = (await browser.http.post(f"{API}/channels", json=new)).json()
    publishing = site.channels.get("yard").publish((VIDEO, AUDIO), PublishKind.PUSH, "127.0.0.1")
    publishing.push(0, site.camera.gop(3))
    await site.until(lambda: site.channels.get("yard").state == "on_air")
    return dict(made)


async def token(browser: Browser, lifetime: int = 60, *, single: bool = False) -> str:
    body = {"subject": "guest", "lifetime_s": lifetime, "single": single}
    made = (await browser.http.post(f"{YARD}/tokens", json=body)).json()
    assert made["url"].endswith(f"/watch/yard?token={made['token']}")
    return str(made["token"])


async def websocket(site: Site, query: str = "", **headers: str) -> int:
    """The status with which the WebSocket of the channel answers."""
    url = f"ws://127.0.0.1:{site.server.port}/ws/yard{query}"
    try:
        async with connect(url, subprotocols=["helio.v1"], additional_headers=headers) as socket:
            await socket.recv()
            return 101
    except InvalidStatus as error:
        return error.response.status_code


async def test_owner_has_a_channel_of_her_own():
    async with running() as site, Browser(site) as browser:
        made = await private(site, browser, guests_chat=False, view_access="invited")
        assert len(made["key"]) == 32
        assert (made["owner"], made["mine"], made["private"]) == ("Anna", True, True)
        assert (made["guests_chat"], made["view_access"]) == (False, "invited")
        listed = (await browser.http.get(f"{API}/channels")).json()["channels"]
        assert [one["name"] for one in listed] == ["demo", "yard"]
        assert [one["mine"] for one in listed] == [False, True]
        assert listed[1]["on_air_since"] == listed[1]["since"] != None  # noqa: E711
        changed = await browser.http.patch(YARD, json={"title": "Mine", "max_readers": 3})
        assert (changed.json()["title"], changed.json()["private"]) == ("Mine", True)
        assert (await browser.http.delete(YARD)).status_code == 204
        assert (await browser.http.get(YARD)).status_code == 404


async def test_owner_does_not_delete_what_an_administrator_closed():
    async with running() as site, Browser(site) as browser:
        await private(site, browser)
        site.context.gate.closed = frozenset({"yard"})
        refused = await browser.http.delete(YARD)
        assert refused.status_code == 403
        assert "closed" in refused.json()["error"]["message"]
        assert (await browser.http.get(YARD)).json()["closed"]
        assert (await site.http.delete(YARD, headers=ADMIN)).status_code == 204
        assert (await browser.http.get(YARD)).status_code == 404


PLACES = ("", "/picture", "/inputs", "/readers", "/keys")


async def test_private_channel_is_unknown_to_strangers():
    async with running() as site, Browser(site) as browser, Browser(site) as other:
        await private(site, browser)
        await account(site, "berta")
        for name in ("berta", ""):
            if name:
                await other.sign_in(name)
            listed = (await other.http.get(f"{API}/channels")).json()["channels"]
            assert [one["name"] for one in listed] == ["demo"]
            none = (await other.http.get(f"{API}/channels/none")).json()["error"]
            for method, path in [
                ("GET", YARD),
                ("GET", f"{YARD}/picture"),
                ("GET", f"{YARD}/keys"),
                ("PATCH", YARD),
                ("DELETE", YARD),
                ("POST", "/whep/yard"),
                ("POST", "/whip/yard"),
                ("GET", "/hls/yard/index.m3u8"),
            ]:
                body = {"json": {}} if method == "PATCH" else {}
                answer = await other.http.request(method, path, **body)
                assert answer.status_code == 404, path
                assert answer.json()["error"] == {
                    **none,
                    "message": "no channel 'yard'",
                    "subject": "yard",
                }
            assert await websocket(site) == 404
            metrics = (await other.http.get("/metrics")).text
            assert 'channel="demo"' in metrics
            assert "yard" not in metrics
        assert 'channel="yard"' in (await site.http.get("/metrics", headers=ADMIN)).text
        assert (await browser.http.get(YARD)).status_code == 200


async def test_token_opens_every_way_to_watch():
    async with running() as site, Browser(site) as browser:
        await private(site, browser)
        text = await token(browser)
        for given in (
            {"params": {"token": text}},
            {"headers": {"Authorization": f"Bearer {text}"}},
        ):
            details = await site.http.get(YARD, **given)
            assert details.json()["title"] == "The yard"
            assert not details.json()["mine"]
            site.http.cookies.clear()
            picture = await site.http.get(f"{YARD}/picture", **given)
            assert picture.json()["error"]["message"].endswith("no picture now")
            whep = await site.http.post("/whep/yard", **given)
            assert whep.status_code == 503, "there is no WebRTC here; the door was open"
            # It lets watch, and nothing else.
            assert (await site.http.patch(YARD, json={}, **given)).status_code == 404
            assert (await site.http.post("/whip/yard", **given)).status_code == 404
        assert await websocket(site, f"?token={text}") == 101
        assert await websocket(site, Authorization=f"Bearer {text}") == 101
        assert await websocket(site, f"?token={text}x") == 404
        # It opens this channel alone.
        await site.roster.create("other", private=True)
        assert (await site.http.get(f"{API}/channels/other?token={text}")).status_code == 404


async def test_single_token_opens_one_browsers_page_and_no_second():
    async with running() as site, Browser(site) as owner:
        await private(site, owner)
        text = await token(owner, single=True)
        async with Browser(site) as guest, Browser(site) as thief:
            opened = await guest.http.get(f"{YARD}?token={text}")
            assert opened.status_code == 200
            cookie = opened.headers["set-cookie"].lower()
            assert "httponly" in cookie
            assert "samesite=lax" in cookie
            for _ in range(2):  # the page asks again and again, and tries several ways
                assert (await guest.http.get(f"{YARD}?token={text}")).status_code == 200
                assert (await guest.http.post(f"/whep/yard?token={text}")).status_code == 503
                jar = "; ".join(f"{name}={value}" for name, value in guest.http.cookies.items())
                own = str(guest.http.base_url).rstrip("/")
                assert await websocket(site, f"?token={text}", Cookie=jar, Origin=own) == 101
            listed = (await guest.http.get(f"{API}/channels")).json()["channels"]
            assert [one["name"] for one in listed] == ["demo", "yard"]
            assert (await thief.http.get(f"{YARD}?token={text}")).status_code == 404
            assert await websocket(site, f"?token={text}") == 404
            assert (await thief.http.post(f"/whep/yard?token={text}")).status_code == 404
            # The cookie is no good for pages of other sites.
            evil = {"Cookie": jar, "Origin": "https://evil.example"}
            assert await websocket(site, **evil) == 404


async def test_withdrawn_tokens_end_what_they_opened():
    async with running() as site, Browser(site) as browser:
        await private(site, browser)
        text = await token(browser)
        url = f"ws://127.0.0.1:{site.server.port}/ws/yard?token={text}"
        async with connect(url, subprotocols=["helio.v1"]) as socket:
            await socket.recv()
            assert (await browser.http.delete(f"{YARD}/tokens")).status_code == 204
            ended = False
            async for message in socket:
                ended = ended or (isinstance(message, str) and "no right any more" in message)
            assert ended
        assert await websocket(site, f"?token={text}") == 404
        assert (await site.http.get(f"{YARD}?token={text}")).status_code == 404
        assert (await site.http.get(f"{YARD}?token={await token(browser)}")).status_code == 200


async def test_stream_keys_are_told_once_and_revoked():
    async with running() as site, Browser(site) as browser:
        made = await private(site, browser)
        second = (await browser.http.post(f"{YARD}/keys", json={"label": "phone"})).json()
        assert second["key"] not in ("", made["key"])
        listed = await browser.http.get(f"{YARD}/keys")
        assert [one["label"] for one in listed.json()["keys"]] == ["phone", ""]
        assert listed.json()["keys"][0]["hint"] == second["key"][-4:]
        for key in (made["key"], second["key"]):
            assert key not in listed.text
            assert (await site.http.post(f"/whip/yard?key={key}")).status_code == 503
        gone = await browser.http.delete(f"{YARD}/keys/{second['id']}")
        assert gone.status_code == 204
        refused = await site.http.post(f"/whip/yard?key={second['key']}")
        assert refused.status_code == 404
        assert (await browser.http.delete(f"{YARD}/keys/99999")).status_code == 404
        assert (await browser.http.delete(f"{YARD}/keys/{10**30}")).status_code == 400
        log = (await site.http.get(f"{API}/audit?limit=1", headers=ADMIN)).json()["entries"]
        assert log[0]["action"] == "key.revoke"


async def test_signed_in_owner_goes_on_air_by_the_cookie_alone():
    async with running() as site, Browser(site) as browser:
        await private(site, browser)
        assert (await browser.http.post("/whip/yard")).status_code == 503  # no WebRTC here
        browser.http.headers["Origin"] = "https://evil.example"
        assert (await browser.http.post("/whip/yard")).status_code == 403


async def test_channels_for_accounts_and_for_the_invited():
    async with running() as site, Browser(site) as browser, Browser(site) as other:
        await private(site, browser, private=False, view_access="accounts")
        assert (await site.http.get(YARD)).status_code == 200
        assert await websocket(site) == 401
        assert (await site.http.post("/whep/yard")).status_code == 401
        await account(site, "berta", Role.VIEWER)
        await other.sign_in("berta")
        assert (await other.http.post("/whep/yard")).status_code == 503
        await browser.http.patch(YARD, json={"view_access": "invited"})
        assert (await other.http.post("/whep/yard")).status_code == 403
        given = await token(browser)
        assert (await other.http.post(f"/whep/yard?token={given}")).status_code == 503


async def test_guessing_keys_is_slowed_and_told():
    async with running() as site:
        for _ in range(ADDRESS_POLICY.free + 1):
            assert (await site.http.post("/whip/demo?key=guess")).status_code == 401
        slowed = await site.http.post("/whip/demo?key=secret")
        assert slowed.status_code == 429
        assert int(slowed.headers["retry-after"]) >= 1
        metrics = (await site.http.get("/metrics")).text
        assert f"helio_access_keys_wrong_total {ADDRESS_POLICY.free + 1}.0" in metrics
        assert "helio_access_guesses_slowed_total 1.0" in metrics


@pytest.mark.parametrize("body", [{"lifetime_s": 0}, {"lifetime_s": 10**9}, {"subject": "x" * 65}])
async def test_tokens_that_cannot_be(body: dict[str, Any]):
    async with running() as site:
        new = {"subject": "guest", "lifetime_s": 60} | body
        path = f"{API}/channels/demo/tokens"
        answer = await site.http.post(path, json=new, headers=ADMIN)
        assert answer.status_code == 400


async def test_only_administrators_choose_keys():
    async with running() as site, Browser(site) as browser:
        await account(site, "anna")
        await browser.sign_in("anna")
        new = {"name": "yard", "key": "chosen-by-anna"}
        assert (await browser.http.post(f"{API}/channels", json=new)).status_code == 403
        made = await site.http.post(f"{API}/channels", json=new, headers=ADMIN)
        assert made.json()["key"] == "chosen-by-anna"
        assert made.json()["owner"] is None
