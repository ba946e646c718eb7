"""The page with reports in Chromium."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from tests.interop.peers.chromium import Chromium, Tab
from tests.system.test_cluster_page import ACCOUNT, COUNT, PATIENCE
from tests.unit.dispatcher.traffic import decisions, play
from tests.unit.web.site import ADMIN, Site, running

from heliograph.catalogue.contents.batches import Addresses, Batch
from heliograph.catalogue.contents.statistics import Decision

pytestmark = pytest.mark.page


async def act(chromium: Chromium, site: Site, look: Callable[[Tab], None]) -> None:
    """Sign in at the page, and look at it in a thread."""
    await site.http.post("/api/v1/accounts", json=ACCOUNT, headers=ADMIN)

    def play_() -> None:
        tab = chromium.open(f"http://127.0.0.1:{site.server.port}/admin/reports")
        tab.click("Sign in")
        tab.until_path("/sign-in", PATIENCE)
        tab.write(name=ACCOUNT["name"], password=ACCOUNT["password"])
        tab.click("Sign in")
        tab.until_path("/admin/reports", PATIENCE)
        look(tab)
        assert tab.complaints == []
        tab.close()

    await asyncio.to_thread(play_)


async def test_where_nothing_was_used_the_page_says_so(chromium: Chromium) -> None:
    def look(tab: Tab) -> None:
        tab.until_text("Nothing was asked for or played in this time", PATIENCE)
        assert tab.evaluate(COUNT, "report-plot") == 0

    async with running() as site:
        await act(chromium, site, look)


async def test_an_administrator_looks_at_reports_and_takes_a_file(chromium: Chromium) -> None:
    now = datetime.now(UTC)
    titles = [one.name for one in decisions(600) if one.status == 302]
    some = [Decision(now.timestamp() - 60, name, 1, 7, "hls", "10.0.0.9", 302) for name in titles]
    batch = Batch()
    batch.count(some, Addresses.NETWORK)
    ago = (now - timedelta(minutes=5)).timestamp() - datetime(
        2026, 3, 1, 12, tzinfo=UTC
    ).timestamp()
    batch.add_plays([play(1, ago, 120, name="yard")])
    batch.records += 1
    most = max(set(titles), key=titles.count)

    def look(tab: Tab) -> None:
        tab.until_text(f"{len(some):,}", PATIENCE)
        tab.until_text(most, PATIENCE)
        tab.until_text("4 records are missing", PATIENCE)
        assert tab.evaluate(COUNT, "report-plot canvas, .plot canvas") == 1
        names = "() => [...document.querySelector('helio-reports').shadowRoot.querySelector("
        names += "'report-table').shadowRoot.querySelectorAll('tbody tr')].map(r => r.innerText)"
        rows = tab.evaluate(names)
        assert rows[0].split("\t")[:2] == [most, str(titles.count(most))]
        text = tab.evaluate(
            "async () => { const a = document.querySelector('helio-reports').shadowRoot"
            ".querySelector('a[download=\"titles.csv\"]'); return (await fetch(a.href)).text(); }"
        )
        found = {row["name"]: row for row in csv.DictReader(io.StringIO(text))}
        assert int(found[most]["redirects"]) == titles.count(most)
        assert found["yard"]["seconds"] == "120.0"
        tab.click("Servers")
        tab.until_text("Server 1, known no more", PATIENCE)
        tab.click("Clients")
        tab.until_text("10.0.0.0/24", PATIENCE)
        tab.click("24 hours")
        tab.until_text("By hour", PATIENCE)

    async with running() as site:
        await site.catalogue.recording.store("one", 0, batch.records, batch)
        await site.catalogue.recording.store("one", batch.records, batch.records + 4, Batch())
        await act(chromium, site, look)
