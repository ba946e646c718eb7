"""Administrators of a part of the cluster, by the pages' API and by command."""

from __future__ import annotations

import asyncio
import functools
import io
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.unit.web.site import ADMIN, PATIENCE, Site, running
from tests.unit.web.test_accounts import PASSWORD, Browser, account
from tests.unit.web.test_cluster_api import Managers

from heliograph.bus.memory import MemoryNetwork
from heliograph.cli import REFUSED, main
from heliograph.model.errors import ForbiddenError
from heliograph.model.nodes import NodeId
from heliograph.web.streams import EventStream

API = "/api/v1"
UNITS = [
    {"id": "u1", "name": "tokyo", "state": "up", "domain": "asia", "load": 0, "viewers": 0},
    {"id": "u2", "name": "bonn", "state": "up", "domain": "europe", "load": 0, "viewers": 0},
]


@pytest.fixture
async def managers() -> Managers:
    made = Managers()
    units = [{**one, "places": 0} for one in UNITS]
    made.found = {**made.found, "units": units, "channels": [], "removed": []}
    return made


@pytest.fixture
async def site(managers: Managers) -> AsyncIterator[Site]:
    bus = await MemoryNetwork().bus(NodeId("b" * 16))
    cluster = SimpleNamespace(bus=bus, node=bus.node)
    async with running(context={"managers": managers, "cluster": cluster}) as found:
        await account(found, "anna")
        yield found
    await bus.close()


async def give(site: Site, *domains: str) -> None:
    answer = await site.http.patch(f"{API}/accounts/anna", json={"domains": domains}, headers=ADMIN)
    assert answer.status_code == 200
    assert answer.json()["domains"] == sorted(domains)


async def test_an_account_orders_in_the_name_of_its_domains(site: Site, managers: Managers):
    async with Browser(site) as browser:
        assert (await browser.sign_in("anna")).json()["domains"] == []
        assert (await browser.http.get(f"{API}/cluster")).status_code == 403
        assert (await browser.http.post(f"{API}/units/u1/drain")).status_code == 403
        assert managers.orders == []
        await give(site, "europe", "asia")
        assert (await browser.http.get(f"{API}/session")).json()["domains"] == ["asia", "europe"]
        assert (await browser.http.get(f"{API}/cluster")).json()["units"][0]["domain"] == "asia"
        assert (await browser.http.post(f"{API}/units/u1/drain")).status_code == 200
        assert managers.orders == [("drain", "anna", {"unit": "u1"})]
        assert managers.domains == [("asia", "europe")]
        # No administrator of anything else.
        for path in ("/accounts", "/audit", "/logs", "/names"):
            assert (await browser.http.get(API + path)).status_code == 403, path
        await give(site)
        assert (await browser.http.post(f"{API}/units/u1/drain")).status_code == 403


async def test_administrators_order_everywhere(site: Site, managers: Managers):
    assert (await site.http.post(f"{API}/units/u1/drain", headers=ADMIN)).status_code == 200
    assert managers.domains == [None]


async def test_who_administers_nothing_any_more_hears_no_more(
    site: Site, monkeypatch: pytest.MonkeyPatch
):
    quick = functools.partial(EventStream, keep_alive=0.05)
    monkeypatch.setattr("heliograph.web.cluster.EventStream", quick)
    await give(site, "asia")
    async with Browser(site) as browser:
        await browser.sign_in("anna")
        async with browser.http.stream("GET", f"{API}/cluster/events") as events:
            lines = events.aiter_lines()
            await anext(lines)
            await give(site)
            async with asyncio.timeout(PATIENCE):
                async for _ in lines:
                    pass


@pytest.mark.parametrize(
    "names", [["a b"], ["Asia"], [""], ["x" * 33], [f"d{n}" for n in range(21)]]
)
async def test_names_of_domains_are_plain_and_few(site: Site, names: list[str]):
    answer = await site.http.patch(f"{API}/accounts/anna", json={"domains": names}, headers=ADMIN)
    assert answer.status_code == 400


async def test_commands_are_given_in_the_name_of_an_account(
    site: Site,
    managers: Managers,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    await give(site, "asia")
    server, file = str(site.http.base_url).rstrip("/"), tmp_path / "anna.session"

    async def helio(*words: str) -> int:
        return await asyncio.to_thread(main, [*words, "--server", server])

    monkeypatch.setattr("sys.stdin", io.StringIO("wrong\n"))
    assert await helio("account", "login", "anna", "--to", str(file)) == REFUSED
    assert not file.exists()
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{PASSWORD}\n"))
    assert await helio("account", "login", "anna", "--to", str(file)) == 0
    assert file.stat().st_mode & 0o777 == 0o600
    key = ("--key-file", str(file))
    capsys.readouterr()
    assert await helio("unit", "list", "--domain", "asia", *key) == 0
    shown = capsys.readouterr().out
    assert "tokyo" in shown
    assert "bonn" not in shown
    assert await helio("unit", "return", "tokyo", *key) == 0
    assert managers.orders == [("return", "anna", {"unit": "u1"})]
    assert managers.domains == [("asia",)]
    managers.error = ForbiddenError("drain: unit 'bonn' is of domain 'europe'")
    assert await helio("unit", "return", "bonn", *key) == REFUSED
    assert "'europe'" in capsys.readouterr().err
    assert await helio("account", "list", *key) == REFUSED
