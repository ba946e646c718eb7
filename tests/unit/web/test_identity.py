"""Who asks: the administrator's key, the cookie of a session, and pages of other sites."""

from __future__ import annotations

import pytest
from tests.unit.web.site import ADMIN, Site, running

from heliograph.catalogue.throttle import ADDRESS_POLICY
from heliograph.catalogue.values import Role
from heliograph.model.errors import BusyError, ForbiddenError
from heliograph.web.identity import identify

PASSWORD = "a rather long sentence"
OWN = {"host": "tv.example.org:8080", "origin": "http://tv.example.org:8080"}
HEADERS = {name.lower(): value for name, value in ADMIN.items()}


async def signed_in(site: Site, role: Role = Role.BROADCASTER) -> dict[str, str]:
    """The header of a browser that signed in as anna."""
    account = await site.catalogue.accounts.create("anna", PASSWORD, role)
    made = await site.catalogue.sessions.create(account)
    return {"cookie": f"theme=dark; helio_session={made.token}"}


async def test_administrators_key_is_known():
    async with running() as site:
        found = await identify(site.context, HEADERS, "192.0.2.1")
        assert (found.account, found.administrator) == (None, True)
        assert (found.actor.name, found.actor.address) == ("api-key", "192.0.2.1")


async def test_cookie_of_a_session_is_known_until_it_is_signed_out():
    async with running() as site:
        browser = await signed_in(site)
        found = await identify(site.context, browser | OWN, "192.0.2.1")
        assert found.account is not None
        assert (found.account.name, found.administrator) == ("anna", False)
        await site.catalogue.sessions.sign_out(browser["cookie"].partition("session=")[2])
        assert (await identify(site.context, browser | OWN, "192.0.2.1")).account is None


async def test_administrator_by_role():
    async with running() as site:
        browser = await signed_in(site, Role.ADMINISTRATOR)
        assert (await identify(site.context, browser, "192.0.2.1", safe=True)).administrator


@pytest.mark.parametrize("headers", [{}, {"cookie": "helio_session=x"}, {"cookie": "a; b=c"}])
async def test_strangers_are_nobody(headers: dict[str, str]):
    async with running() as site:
        found = await identify(site.context, headers | OWN, "192.0.2.1")
        assert (found.account, found.administrator, found.person) == (None, False, None)


@pytest.mark.parametrize(
    "page",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://[broken"},
        {"origin": "http://tv.example.org:8080.evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {},
    ],
)
async def test_cookie_is_good_for_changes_from_our_own_pages_only(page: dict[str, str]):
    async with running() as site:
        browser = await signed_in(site) | {"host": "tv.example.org:8080"} | page
        with pytest.raises(ForbiddenError):
            await identify(site.context, browser, "192.0.2.1")
        assert (await identify(site.context, browser, "192.0.2.1", safe=True)).account


@pytest.mark.parametrize(
    "page", [OWN, {"sec-fetch-site": "same-origin"}, {"origin": "https://public.example"}]
)
async def test_pages_of_ours_may_change_things(page: dict[str, str]):
    async with running(context={"public_host": "public.example"}) as site:
        browser = await signed_in(site) | page
        assert (await identify(site.context, browser, "192.0.2.1")).account


async def test_guessing_the_administrators_key_is_slowed():
    async with running() as site:
        for _ in range(ADDRESS_POLICY.free + 1):
            await identify(site.context, {"authorization": "Bearer guess"}, "192.0.2.1")
        with pytest.raises(BusyError):
            await identify(site.context, HEADERS, "192.0.2.1")
        assert (await identify(site.context, HEADERS, "192.0.2.2")).administrator
