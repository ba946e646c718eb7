"""Who asks: the administrator's key, the cookie of a session, and pages of other sites."""

from __future__ import annotations

import pytest
from tests.unit.web.site import ADMIN, Site, running

from heliograph.catalogue.throttle import ADDRESS_POLICY
from heliograph.catalogue.values import Role
from heliograph.live.identity import check_origin
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


@pytest.mark.parametrize(
    ("page", "host", "public"),
    [
        ("http://tv.example:8080", "tv.example:8080", ""),
        ("https://TV.example", "tv.example", ""),
        ("http://[2001:db8::1]:8080", "[2001:db8::1]:8080", ""),
        # proxies that name the port all the same, or nothing but our own address
        ("https://tv.example", "tv.example:443", ""),
        ("http://tv.example", "tv.example:80", ""),
        ("https://tv.example", "127.0.0.1:8080", "tv.example"),
        ("http://tv.example", "127.0.0.1:8080", "TV.example"),
        ("https://tv.example:443", "127.0.0.1:8080", "tv.example"),
        ("https://[2001:db8::1]", "127.0.0.1:8080", "2001:db8::1"),
    ],
)
def test_pages_of_the_host_and_port_asked_for_or_of_the_public_host_are_ours(
    page: str, host: str, public: str
):
    check_origin({"origin": page, "host": host}, public)


@pytest.mark.parametrize(
    ("page", "host", "public"),
    [
        ("http://tv.example:9000", "tv.example:8080", ""),
        ("http://tv.example:9000", "tv.example", ""),
        ("http://tv.example", "tv.example:8080", ""),
        # whoever has another port of that host
        ("http://tv.example:9000", "tv.example:8080", "tv.example"),
        ("http://tv.example:9000", "127.0.0.1:8080", "tv.example"),
        ("https://tv.example:80", "tv.example:8080", "tv.example"),
        ("http://tv.example:443", "tv.example:8080", "tv.example"),
        ("ftp://tv.example", "tv.example", "tv.example"),
        ("https://tv.example.evil", "tv.example", "tv.example"),
        ("https://tv.example:x", "tv.example", "tv.example"),
        ("https://evil.example", "tv.example:x", ""),
        ("https://", "", ""),
        ("null", "", ""),
    ],
)
@pytest.mark.parametrize("site", [None, "same-site", "cross-site"])
def test_pages_of_other_hosts_and_ports_are_not(
    page: str, host: str, public: str, site: str | None
):
    said = {"origin": page, "host": host} | ({} if site is None else {"sec-fetch-site": site})
    with pytest.raises(ForbiddenError):
        check_origin(said, public)


def test_a_browser_that_calls_the_page_ours_is_believed_behind_any_proxy():
    page = {"origin": "https://tv.example:8443", "host": "127.0.0.1:8080"}
    with pytest.raises(ForbiddenError):
        check_origin(page, "tv.example")
    check_origin(page | {"sec-fetch-site": "same-origin"})


async def test_guessing_the_administrators_key_is_slowed():
    async with running() as site:
        for _ in range(ADDRESS_POLICY.free + 1):
            await identify(site.context, {"authorization": "Bearer guess"}, "192.0.2.1")
        with pytest.raises(BusyError):
            await identify(site.context, HEADERS, "192.0.2.1")
        assert (await identify(site.context, HEADERS, "192.0.2.2")).administrator
