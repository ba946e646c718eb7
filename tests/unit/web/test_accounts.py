"""Setting up, signing in and out, accounts and the audit log over HTTP."""

from __future__ import annotations

from typing import Any, NoReturn

import httpx
import pytest
from tests.unit.web.site import ADMIN, KEY, PATIENCE, TLS, Site, running

from heliograph.catalogue.engine import Database
from heliograph.catalogue.throttle import ACCOUNT_POLICY
from heliograph.catalogue.values import Role
from heliograph.live.offers import OfferLimits
from heliograph.model.errors import ResourceError

PASSWORD = "a rather long sentence"
API = "/api/v1"


class Browser:
    """A browser on a page of ours: it keeps cookies and says where it is."""

    def __init__(self, site: Site, origin: str = "") -> None:
        base = str(site.http.base_url).rstrip("/")
        self.http = httpx.AsyncClient(
            base_url=base, timeout=PATIENCE, verify=TLS, headers={"Origin": origin or base}
        )

    async def sign_in(self, name: str, password: str = PASSWORD) -> httpx.Response:
        body = {"name": name, "password": password}
        return await self.http.post(f"{API}/session", json=body)

    async def __aenter__(self) -> Browser:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()


async def account(site: Site, name: str, role: Role = Role.BROADCASTER) -> None:
    await site.catalogue.accounts.create(name, PASSWORD, role, display_name=name.title())


async def test_first_administrator_is_made_with_the_servers_key():
    async with running() as site, Browser(site) as browser:
        before = (await browser.http.get(f"{API}/session")).json()
        assert before == {"account": None, "administrator": False, "domains": [], "setup": True}
        new = {"key": "guess", "name": "root", "password": PASSWORD, "display_name": "Root"}
        assert (await browser.http.post(f"{API}/setup", json=new)).status_code == 401
        done = await browser.http.post(f"{API}/setup", json=new | {"key": KEY})
        assert done.json() == {
            "account": {"name": "root", "display_name": "Root", "role": "administrator"},
            "administrator": True,
            "domains": [],
            "setup": False,
        }
        assert (await browser.http.get(f"{API}/session")).json() == done.json()
        again = await browser.http.post(f"{API}/setup", json=new | {"key": KEY, "name": "two"})
        assert again.status_code == 401


async def test_signing_in_and_out():
    async with running() as site, Browser(site) as browser:
        await account(site, "anna")
        answer = await browser.sign_in("Anna")
        assert answer.json()["account"]["display_name"] == "Anna"
        words = [word.strip().lower() for word in answer.headers["set-cookie"].split(";")]
        assert {"httponly", "samesite=lax", "path=/"} <= set(words)
        assert "secure" not in words
        assert PASSWORD not in answer.text
        assert (await browser.http.get(f"{API}/session")).json()["account"]["name"] == "anna"
        assert (await browser.http.delete(f"{API}/session")).status_code == 204
        assert (await browser.http.get(f"{API}/session")).json()["account"] is None
        assert (await browser.sign_in("anna", "wrong password")).status_code == 401
        assert (await browser.sign_in("nobody")).status_code == 401


async def test_who_cannot_be_looked_up_just_now_is_a_guest(monkeypatch: pytest.MonkeyPatch):
    def away(self: Database) -> NoReturn:
        raise ResourceError("the database is away", subject="database")

    guest = {"account": None, "administrator": False, "domains": [], "setup": False}
    async with running(offers=OfferLimits()) as site, Browser(site) as known, Browser(site) as new:
        site.publish()
        await account(site, "anna", Role.ADMINISTRATOR)
        await known.sign_in("anna")
        assert (await known.http.get(f"{API}/session")).json()["account"]["name"] == "anna"
        new.http.cookies.set("helio_session", "of-a-sign-in-at-another-node")
        monkeypatch.setattr(Database, "read", away)
        monkeypatch.setattr(Database, "write", away)
        assert (await site.get(f"{API}/session")).json() == guest
        assert (await new.http.get(f"{API}/session")).json() == guest
        assert (await known.http.get(f"{API}/session")).json()["account"]["name"] == "anna"
        assert (await new.http.get(f"{API}/channels/demo")).status_code == 200
        watching = await new.http.post(
            "/whep/demo", content="v=0", headers={"Content-Type": "application/sdp"}
        )
        assert watching.status_code == 400  # he was let in; only his offer is none
        refused = await new.http.post(f"{API}/channels", json={"name": "more"})
        assert refused.status_code == 503


async def test_cookie_stays_within_https():
    async with running() as site:
        await account(site, "anna")
        transport = httpx.ASGITransport(site.app)
        async with httpx.AsyncClient(transport=transport, base_url="https://tv.lan") as client:
            body = {"name": "anna", "password": PASSWORD}
            answer = await client.post(f"{API}/session", json=body)
            assert "secure" in answer.headers["set-cookie"].lower()


async def test_guessing_passwords_is_slowed():
    async with running() as site, Browser(site) as browser:
        await account(site, "anna")
        for _ in range(ACCOUNT_POLICY.free + 1):
            assert (await browser.sign_in("anna", "wrong password")).status_code == 401
        slowed = await browser.sign_in("anna")
        assert slowed.status_code == 429
        assert int(slowed.headers["retry-after"]) >= 1
        assert site.context.counters["sign_ins_refused"] == ACCOUNT_POLICY.free + 2


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/channels", {"name": "x"}),
        ("PATCH", "/channels/yard", {"title": "x"}),
        ("DELETE", "/channels/yard", None),
        ("POST", "/channels/yard/keys", {}),
        ("POST", "/channels/yard/tokens", {"subject": "x", "lifetime_s": 5}),
        ("DELETE", "/channels/yard/tokens", None),
        ("DELETE", "/session", None),
        ("POST", "/session/password", {"old": PASSWORD, "new": "another sentence"}),
        ("POST", "/accounts", {"name": "eve", "password": PASSWORD}),
        ("PATCH", "/accounts/anna", {"role": "viewer"}),
        ("DELETE", "/accounts/anna", None),
    ],
)
@pytest.mark.parametrize("origin", ["https://evil.example", ""])
async def test_other_sites_cannot_use_the_cookie(method: str, path: str, body: Any, origin: str):
    async with running() as site, Browser(site) as browser:
        await account(site, "anna", Role.ADMINISTRATOR)
        await site.roster.create("yard", owner="anna")
        await browser.sign_in("anna")
        if origin:
            browser.http.headers["Origin"] = origin
        else:
            del browser.http.headers["Origin"]
        answer = await browser.http.request(method, API + path, json=body)
        assert answer.status_code == 403
        assert [channel.name for channel in site.channels] == ["demo", "yard"]
        assert (await browser.http.get(f"{API}/session")).json()["account"]["name"] == "anna"


async def test_other_sites_cannot_sign_anybody_in():
    async with running() as site, Browser(site, "https://evil.example") as browser:
        await account(site, "anna")
        assert (await browser.sign_in("anna")).status_code == 403
        new = {"key": KEY, "name": "root", "password": PASSWORD}
        assert (await browser.http.post(f"{API}/setup", json=new)).status_code == 403


async def test_own_password_is_changed_and_other_browsers_are_signed_out():
    async with running() as site, Browser(site) as one, Browser(site) as two:
        await account(site, "anna")
        await one.sign_in("anna")
        await two.sign_in("anna")
        change = {"old": "wrong password", "new": "another long sentence"}
        assert (await one.http.post(f"{API}/session/password", json=change)).status_code == 401
        change["old"] = PASSWORD
        assert (await one.http.post(f"{API}/session/password", json=change)).status_code == 200
        assert (await one.http.get(f"{API}/session")).json()["account"] is not None
        assert (await two.http.get(f"{API}/session")).json()["account"] is None
        assert (await two.sign_in("anna")).status_code == 401
        assert (await two.sign_in("anna", "another long sentence")).status_code == 200


async def test_accounts_are_the_administrators():
    async with running() as site, Browser(site) as browser:
        new = {"name": "Berta", "password": PASSWORD, "role": "broadcaster"}
        made = await site.http.post(f"{API}/accounts", json=new, headers=ADMIN)
        assert (made.status_code, made.json()["name"]) == (201, "berta")
        assert "password" not in made.text
        taken = await site.http.post(f"{API}/accounts", json=new, headers=ADMIN)
        assert taken.status_code == 409
        listed = (await site.http.get(f"{API}/accounts", headers=ADMIN)).json()["accounts"]
        assert [one["name"] for one in listed] == ["berta"]
        await browser.sign_in("berta")
        assert (await browser.http.get(f"{API}/accounts")).status_code == 403
        assert (await browser.http.get(f"{API}/audit")).status_code == 403
        assert (await site.http.get(f"{API}/accounts")).status_code == 401
        path = f"{API}/accounts/berta"
        changed = await site.http.patch(path, json={"role": "viewer"}, headers=ADMIN)
        assert changed.json()["role"] == "viewer"
        no_channel = await browser.http.post(f"{API}/channels", json={"name": "x"})
        assert no_channel.status_code == 403
        disabled = await site.http.patch(path, json={"disabled": True}, headers=ADMIN)
        assert disabled.json()["disabled"]
        assert (await browser.http.get(f"{API}/session")).json()["account"] is None
        assert (await site.http.delete(path, headers=ADMIN)).status_code == 204
        assert (await site.http.delete(path, headers=ADMIN)).status_code == 404


async def test_last_administrator_stays():
    async with running() as site:
        await account(site, "root", Role.ADMINISTRATOR)
        path = f"{API}/accounts/root"
        for change in ({"role": "viewer"}, {"disabled": True}):
            answer = await site.http.patch(path, json=change, headers=ADMIN)
            assert answer.status_code == 409
        assert (await site.http.delete(path, headers=ADMIN)).status_code == 409


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": "x", "password": PASSWORD}, 400),
        ({"name": "<b>", "password": PASSWORD}, 400),
        ({"name": "eve", "password": "short"}, 400),
        ({"name": "eve", "password": "x" * 300}, 413),
        ({"name": "eve", "password": PASSWORD, "display_name": "a\u202eb"}, 400),
        ({"name": "eve", "password": PASSWORD, "role": "god"}, 400),
        ({"name": "eve", "password": PASSWORD, "more": 1}, 400),
    ],
)
async def test_accounts_that_cannot_be(body: dict[str, Any], status: int):
    async with running() as site:
        answer = await site.http.post(f"{API}/accounts", json=body, headers=ADMIN)
        assert answer.status_code == status
        assert await site.catalogue.accounts.count() == 0


async def test_what_was_done_is_in_the_audit_log():
    async with running() as site, Browser(site) as browser:
        await account(site, "anna")
        await browser.sign_in("anna")
        made = await browser.http.post(f"{API}/channels", json={"name": "yard"})
        token = {"subject": "a guest", "lifetime_s": 60}
        text = (await browser.http.post(f"{API}/channels/yard/tokens", json=token)).json()["token"]
        answer = await site.http.get(f"{API}/audit", headers=ADMIN)
        told = [(one["actor"], one["action"], one["subject"]) for one in answer.json()["entries"]]
        assert told[:4] == [
            ("anna", "token.issue", "yard"),
            ("anna", "key.create", "yard"),
            ("anna", "channel.create", "yard"),
            ("anna", "session.open", "anna"),
        ]
        assert answer.json()["entries"][0]["address"] == "127.0.0.1"
        for secret in (made.json()["key"], text, PASSWORD):
            assert secret not in answer.text
        first = answer.json()["entries"][0]["id"]
        older = await site.http.get(f"{API}/audit?before={first}&limit=1", headers=ADMIN)
        assert [one["action"] for one in older.json()["entries"]] == ["key.create"]
