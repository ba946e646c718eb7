"""The pages of titles and servers, and of reports, with something on them, as the manual shows
them: they fit on a desk and in a hand. Pictures go to the directory ``HELIO_TEST_SHOTS``."""

from __future__ import annotations

import asyncio
import math
import os
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.interop.peers.chromium import Chromium, Tab
from tests.system.test_cluster_page import ACCOUNT, PATIENCE
from tests.system.test_contents_page import Monitoring
from tests.unit.web.site import ADMIN, Site, running

from heliograph.catalogue.contents.batches import Addresses, Batch
from heliograph.catalogue.contents.statistics import Decision, Play
from heliograph.catalogue.contents.values import Condition, Format, ServerState

pytestmark = pytest.mark.page

SHOTS = os.environ.get("HELIO_TEST_SHOTS", "")
SIZES = {"wide": (1280, 800), "narrow": (390, 844)}
#: Name, make, region and condition, and a response time in ms.
SERVERS = [
    ("harbour", "nginx", "eu/de", Condition.UP, 1.8),
    ("lighthouse", "Apache", "eu/fr", Condition.UP, 11.4),
    ("pier", "GStreamer", "eu/de", Condition.STARTING, 2.6),
    ("quay", "heliograph", "eu/nl", Condition.UP, 6.2),
    ("reef", "nginx", "us", Condition.DOWN, 96.0),
]
#: Name, title, seconds, and on which servers it is; all of the last one's are away.
TITLES = [
    ("dunes", "Walking dunes", 2710.0, (1, 2, 4)),
    ("harbour-at-night", "The harbour at night", 5420.0, (1, 2, 3, 4)),
    ("ice", "Ice", 3120.0, (2, 4, 5)),
    ("lamp-rooms", "Lamp rooms", 1505.0, (1,)),
    ("storm-warning", "Storm warning", 6360.0, (1, 2, 3, 4, 5)),
    ("tides", "Tides", 3300.0, (2, 3)),
    ("wreck", "The wreck of the Amity", 5105.0, (5,)),
]


async def fill(site: Site, monitoring: Monitoring) -> None:
    """The catalogue, what monitors say, and a week of requests and plays."""
    contents, now = site.catalogue.contents, datetime.now(UTC)
    ids = {}
    for name, make, region, condition, response in SERVERS:
        server = await contents.add_server(
            {"name": name, "host": f"{name}.example.org", "make": make, "region": region}
        )
        ids[name] = server.id
        monitoring.servers = {**monitoring.servers, server.id: server}
        state = ServerState(server.id, condition, response, now - timedelta(hours=3), now)
        monitoring.states = {**monitoring.states, server.id: state}
    files = {}
    for name, title, seconds, places in TITLES:
        await contents.add_title({"name": name, "title": title, "duration": seconds})
        for place in places:
            server, format = SERVERS[place - 1][0], Format.HLS if place == 4 else Format.MP4
            end = "/index.m3u8" if format is Format.HLS else ".mp4"
            uri = f"https://{server}.example.org/films/{name}{end}"
            given = {"title": name, "server": server, "format": format.value, "uri": uri}
            file = await contents.add_file({**given, "bits_per_second": 3_200_000})
            files[name, place] = file.id
    dice, batch, decisions = random.Random(4), Batch(), []
    for hour in range(7 * 24):
        at = now - timedelta(hours=7 * 24 - hour)
        evening = 1.2 - math.cos((at.hour - 8) / 24 * math.tau)
        for _ in range(dice.randrange(4, 9) * round(4 * evening)):
            name, _, _, places = dice.choices(TITLES, (3, 8, 5, 1, 12, 4, 2))[0]
            place = dice.choice(places)
            client = f"192.0.{dice.randrange(2, 8)}.{dice.randrange(1, 250)}"
            format = Format.HLS if place == 4 else Format.MP4
            moment = at.timestamp() + dice.random() * 3000
            server = ids[SERVERS[place - 1][0]]
            decisions.append(
                Decision(moment, name, server, files[name, place], format, client, 302)
            )
            if place == 4:
                batch.add_plays([_play(len(decisions), name, client, moment, dice)])
    batch.count(sorted(decisions), Addresses.NETWORK)
    batch.records += len(batch.plays)
    await site.catalogue.recording.store("made-up", 0, batch.records, batch)


def _play(number: int, name: str, client: str, at: float, dice: random.Random) -> Play:
    seconds = dice.uniform(60, 3000)
    began = datetime.fromtimestamp(at, UTC)
    ended = min(began + timedelta(seconds=seconds), datetime.now(UTC))
    sent = int(seconds * 400_000)
    return Play(f"play-{number}", name, "quay", client, "hls", began, ended, sent, number % 9 == 0)


def look(chromium: Chromium, site: Site, size: str, path: str, act: Callable[[Tab], None]) -> Tab:
    """Sign in at a page, do something there, and see that all of it fits."""
    width, height = SIZES[size]
    tab = chromium.open(
        f"http://127.0.0.1:{site.server.port}{path}", viewport={"width": width, "height": height}
    )
    tab.click("Sign in")
    tab.until_path("/sign-in", PATIENCE)
    tab.write(name=ACCOUNT["name"], password=ACCOUNT["password"])
    tab.click("Sign in")
    tab.until_path(path, PATIENCE)
    act(tab)
    assert tab.evaluate("() => document.documentElement.scrollWidth") <= width
    assert tab.complaints == []
    return tab


def choose(tab: Tab, within: str, words: str) -> None:
    """Open a row of a list."""
    tab.on(lambda page: page.locator(f"{within} .pick").filter(has_text=words).first.click())


def keep(tab: Tab, name: str, size: str) -> None:
    """Keep a picture for people to look at."""
    if SHOTS:
        path = Path(SHOTS) / (f"{name}.png" if size == "wide" else f"{name}-{size}.png")
        tab.on(lambda page: page.screenshot(path=path, full_page=True))
    tab.close()


@pytest.mark.parametrize("size", SIZES)
async def test_pages_of_the_catalogue_fit_with_something_on_them(
    chromium: Chromium, size: str
) -> None:
    monitoring = Monitoring()

    def titles(tab: Tab) -> None:
        tab.until_text("The wreck of the Amity", PATIENCE)
        tab.until_text("Out of reach", PATIENCE)
        assert tab.text.count("Playable") == len(TITLES) - 1
        choose(tab, "title-list", "Ice")
        tab.until_text("https://reef.example.org/films/ice.mp4", PATIENCE)

    def servers(tab: Tab) -> None:
        tab.click("Servers")
        for name, *_ in SERVERS:
            tab.until_text(name, PATIENCE)
        choose(tab, "server-list", "reef")
        tab.until_text("Look through", PATIENCE)

    def reports(tab: Tab) -> None:
        tab.until_text("Storm warning", PATIENCE)
        tab.until_text("Redirects", PATIENCE)

    async with running(context={"monitoring": monitoring}) as site:
        await site.http.post("/api/v1/accounts", json=ACCOUNT, headers=ADMIN)
        await fill(site, monitoring)

        def act() -> None:
            for name, path, step in (
                ("contents", "/admin/contents", titles),
                ("contents-servers", "/admin/contents", servers),
                ("reports", "/admin/reports", reports),
            ):
                keep(look(chromium, site, size, path, step), name, size)

        await asyncio.to_thread(act)
