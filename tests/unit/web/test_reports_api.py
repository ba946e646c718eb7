"""Reports by the API, and plays of this server's own viewers in them."""

from __future__ import annotations

import asyncio
import csv
import io
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.unit.dispatcher.traffic import START, counted, decisions, play
from tests.unit.web.site import ADMIN, PATIENCE, Site, running
from tests.unit.web.test_accounts import API, Browser
from tests.unit.web.test_rights import private

from heliograph.bus.memory import MemoryNetwork
from heliograph.catalogue.contents.batches import Addresses, Batch
from heliograph.catalogue.contents.statistics import Decision
from heliograph.dispatcher.statistics.ranks import Ranks
from heliograph.model.nodes import NodeId
from heliograph.node.settings.statistics import StatisticsSettings
from heliograph.node.statistics import Statistics

REPORTS = f"{API}/reports"
SPAN = {"from": "2026-03-01T00:00:00Z", "to": "2026-03-05T00:00:00+00:00"}


async def fill(site: Site, some: list[Decision]) -> None:
    batch = Batch()
    batch.count(some, Addresses.NETWORK)
    batch.add_plays([play(1, 0, 90)])
    batch.records += 1
    await site.catalogue.recording.store("one", 0, batch.records, batch)


async def test_reports_as_json_and_csv() -> None:
    some = decisions(400)
    wanted = counted(some)
    async with running() as site:
        await fill(site, some)
        for name in ("titles", "servers", "clients", "periods"):
            answer = await site.get(f"{REPORTS}/{name}", params=SPAN, headers=ADMIN)
            assert answer.status_code == 200, answer.text
            found = answer.json()
            redirects = sum(one.status == 302 for one in some)
            assert found["totals"]["redirects"] == redirects
            assert sum(line["redirects"] for line in found["lines"]) == redirects
            assert (found["totals"]["plays"], found["totals"]["seconds"]) == (1, 90)
            assert (found["count"], found["missing"]) == (len(found["lines"]), 0)
            for how in ({"params": SPAN | {"format": "csv"}}, {"params": SPAN}):
                headers = ADMIN if "format" in how["params"] else ADMIN | {"accept": "text/csv"}
                answer = await site.get(f"{REPORTS}/{name}", headers=headers, **how)
                assert answer.headers["content-type"].startswith("text/csv")
                assert f'filename="{name}-2026030' in answer.headers["content-disposition"]
                rows = [*csv.DictReader(io.StringIO(answer.text))]
                assert [int(row["redirects"]) for row in rows] == [
                    line["redirects"] for line in found["lines"]
                ]
        few = await site.get(f"{REPORTS}/titles", params=SPAN | {"limit": 2}, headers=ADMIN)
        assert len(few.json()["lines"]) == 2
        assert few.json()["totals"]["redirects"] == redirects
        params: Any = [*SPAN.items(), ("name", "title-0"), ("step", "hour")]
        of_one = await site.get(f"{REPORTS}/periods", params=params, headers=ADMIN)
        assert of_one.json()["totals"]["redirects"] == wanted["title", "title-0"]
        assert len(of_one.json()["lines"]) == 96


async def test_copies_of_one_title() -> None:
    some = decisions(400)
    async with running() as site:
        await fill(site, some)
        path = f"{REPORTS}/files"
        params = SPAN | {"name": "title-0"}
        answer = await site.get(path, params=params, headers=ADMIN)
        assert answer.status_code == 200, answer.text
        wanted = counted(some)["title", "title-0"]
        found = answer.json()
        assert found["totals"] == {"redirects": wanted}
        assert sum(line["redirects"] for line in found["lines"]) == wanted > 0
        answer = await site.get(path, params=params | {"format": "csv"}, headers=ADMIN)
        head, *rows = csv.reader(io.StringIO(answer.text))
        assert head == ["id", "server", "format", "uri", "redirects"]
        assert [int(row[0]) for row in rows] == [line["id"] for line in found["lines"]]
        assert (await site.get(path, params=SPAN, headers=ADMIN)).status_code == 400
        assert (await site.get(path, params=params)).status_code == 401


async def test_a_name_that_a_spreadsheet_would_run_is_quoted() -> None:
    async with running() as site:
        at = START.timestamp()
        await fill(site, [Decision(at, "=HYPERLINK(1)", 0, 0, "", "10.0.0.1", 503)])
        answer = await site.get(f"{REPORTS}/titles", params=SPAN | {"format": "csv"}, headers=ADMIN)
        assert "\n'=HYPERLINK(1)," in answer.text


@pytest.mark.parametrize(
    "wrong",
    [
        {"from": "yesterday"},
        {"from": "2026-03-01T00:00:00"},
        {"from": "2026-03-02T00:00:00Z", "to": "2026-03-01T00:00:00Z"},
        {"from": "1900-03-02T00:00:00Z"},
        {"to": "0001-01-02T00:00:00Z"},
        {"from": "9999-12-31T00:00:00Z", "to": "9999-12-31T23:30:00Z"},
        {"limit": "0"},
        {"format": "xml"},
    ],
)
async def test_what_is_no_report_is_refused(wrong: dict[str, str]) -> None:
    async with running() as site:
        answer = await site.get(f"{REPORTS}/titles", params=wrong, headers=ADMIN)
        assert answer.status_code == 400, answer.text


async def test_reports_are_for_administrators_and_owners_of_channels() -> None:
    async with running() as site, Browser(site) as browser:
        await private(site, browser)
        at = START.timestamp()
        await fill(site, [Decision(at, name, 0, 0, "", "", 302) for name in ("yard", "demo")])
        for name in ("titles", "servers", "clients", "periods", "popularity"):
            assert (await site.get(f"{REPORTS}/{name}")).status_code == 401
        for name in ("servers", "clients", "popularity"):
            assert (await browser.http.get(f"{REPORTS}/{name}")).status_code == 403
        own = (await browser.http.get(f"{REPORTS}/titles", params=SPAN)).json()
        assert [(one["name"], one["title"]) for one in own["lines"]] == [("yard", "The yard")]
        assert own["totals"]["redirects"] == 1
        other = await browser.http.get(f"{REPORTS}/periods", params=SPAN | {"name": "demo"})
        assert other.json()["totals"]["redirects"] == 0


async def test_popularity_is_told() -> None:
    async with running() as site:
        assert (await site.get(f"{REPORTS}/popularity", headers=ADMIN)).status_code == 503
    state: dict[str, Any] = {}

    class Late:
        """Counts that are there once the site is."""

        async def uses(self, since: datetime):
            async for one in state["site"].catalogue.reports.uses(since):
                yield one

    async with running(context={"ranks": Ranks(Late(), 3600)}) as site:
        state["site"] = site
        now = datetime.now(UTC).timestamp()
        names = ["film", "film", "news"]
        await fill(site, [Decision(now - 1, name, 1, 1, "hls", "", 302) for name in names])
        answer = (await site.get(f"{REPORTS}/popularity", headers=ADMIN)).json()
        assert [one["name"] for one in answer["titles"]] == ["film", "news"]
        assert answer["titles"][0]["score"] == pytest.approx(2, rel=0.5)


async def test_plays_of_this_server_agree_with_what_its_viewers_got(tmp_path: Path) -> None:
    node = NodeId("a" * 16)
    async with running() as site:
        bus = await MemoryNetwork().bus(node)
        settings = StatisticsSettings(addresses="full")
        statistics = Statistics(settings, tmp_path, node, bus, site.catalogue)
        statistics.start()
        statistics.watch(site.channels)
        publishing = await site.on_air()
        got = 0
        async with AsyncExitStack() as stack:
            viewers = [await stack.enter_async_context(site.viewer()) for _ in range(3)]
            for viewer in viewers:
                await viewer.text("start")
            publishing.push(0, site.camera.gop(8))
            for viewer in viewers:
                got += sum(len(frame.data) for frame in await viewer.take(3 + 8))
            assert len(statistics.plays) == 3
            for reader in [*site.channel.audience.readers.values()]:
                reader.kick()
        await site.until(lambda: len(statistics.plays) == 0)
        await statistics.prune()
        async with asyncio.timeout(PATIENCE):
            while True:
                found = (await site.get(f"{REPORTS}/titles", headers=ADMIN)).json()
                if found["totals"]["plays"] == 3 and not statistics.counters()["waiting"]:
                    break
                await asyncio.sleep(0.05)
        (line,) = found["lines"]
        assert (line["name"], line["plays"]) == ("demo", 3)
        # The server counts the heads of the messages as well.
        assert got <= line["sent_bytes"] <= got + 3 * 11 * 64
        servers = (await site.get(f"{REPORTS}/servers", headers=ADMIN)).json()
        assert [(one["kind"], one["id"], one["plays"]) for one in servers["lines"]] == [
            ("unit", node, 3)
        ]
        clients = (await site.get(f"{REPORTS}/clients", headers=ADMIN)).json()
        assert [one["network"] for one in clients["lines"]] == ["127.0.0.0/24"]
        metrics = (await site.get("/metrics")).text
        assert "helio_statistics" not in metrics  # the site was made without them
        await statistics.close()
        assert [*(tmp_path / "statistics").iterdir()] == []
        await bus.close()
