"""The page about the cluster in Chromium, with a manager that is made up."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.interop.peers.chromium import Chromium, Tab
from tests.interop.peers.program import wait_until
from tests.system.made_up import made_up
from tests.unit.web.site import ADMIN, Site, running
from tests.unit.web.test_cluster_api import Managers

from heliograph.bus.memory import MemoryNetwork
from heliograph.model.errors import UnreachableError
from heliograph.model.nodes import NodeId
from heliograph.node import logs
from heliograph.node.log_feed import LogFeed

PATIENCE = 45.0
ACCOUNT = {"name": "ada", "password": "three plain words", "role": "administrator"}
#: Milliseconds for which the page may stand still when a view of that size comes, on a machine that
#: has much else to do; a quarter of it is what people notice.
MOST_STALL = 2000
#: File for a picture of the large cluster, for people to look at.
SHOT = os.environ.get("HELIO_TEST_SHOT", "")
#: Notes for how long the page stood still.
WATCH_STALLS = """() => { window.stalls = [];
  new PerformanceObserver((list) => window.stalls.push(...list.getEntries().map((e) => e.duration)))
    .observe({ type: "longtask" }); }"""
#: Counts elements, those in shadow roots too.
COUNT = """(wanted) => { const all = (root) => [...root.querySelectorAll("*")].flatMap((e) =>
  [e, ...(e.shadowRoot ? all(e.shadowRoot) : [])]);
  return all(document).filter((e) => e.matches(wanted)).length; }"""


class Stage:
    """The page, and those behind it."""

    def __init__(
        self,
        chromium: Chromium,
        site: Site,
        managers: Managers,
        ring: logs.Ring,
        name: str = ACCOUNT["name"],
    ) -> None:
        """``name``: who signs in."""
        self._loop = asyncio.get_running_loop()
        self.managers = managers
        self._ring = ring
        self._chromium = chromium
        self._name = name
        self._url = f"http://127.0.0.1:{site.server.port}"
        self.tab: Tab

    def open(self) -> None:
        """Sign in, from the page's address and back to it."""
        self.tab = self._chromium.open(f"{self._url}/cluster")
        self.tab.click("Sign in")
        self.tab.until_path("/sign-in", PATIENCE)
        self.tab.write(name=self._name, password=ACCOUNT["password"])
        self.tab.click("Sign in")
        self.tab.until_path("/cluster", PATIENCE)

    def tell(self, kind: str, value: Any) -> None:
        """As the manager publishes it, once the page listens: what was told before is not its."""
        self.until("the page listens", lambda: self.managers.listeners)
        self._loop.call_soon_threadsafe(self.managers.tell, kind, value)

    def log(self, event: str, **fields: object) -> None:
        """As a node does."""
        self._ring.put({"timestamp": "now", "level": "info", "event": event, **fields})

    def count(self, selector: str) -> int:
        found: int = self.tab.evaluate(COUNT, selector)
        return found

    def choose(self, selector: str) -> None:
        self.tab.on(lambda page: page.locator(selector).click(timeout=PATIENCE * 1000))

    def until(self, what: str, condition: Callable[[], Any]) -> None:
        wait_until(condition, PATIENCE, what)


async def act(
    chromium: Chromium,
    managers: Managers,
    play: Callable[[Stage], None],
    *,
    domains: Sequence[str] = (),
) -> None:
    """Serve the pages, and play in a thread; with domains in the name of who administers these."""
    bus = await MemoryNetwork().bus(NodeId("e" * 16))
    bus.announce("manager", "unit-1", {"active": managers.error is None, "epoch": 7})
    ring = logs.Ring()
    feed = LogFeed(bus, "unit-1", ring)
    feed.start()
    cluster = SimpleNamespace(bus=bus, node=bus.node)
    context = {"managers": managers, "cluster": cluster, "logs": feed}
    try:
        async with running(context=context) as site:
            await site.http.post("/api/v1/accounts", json=ACCOUNT, headers=ADMIN)
            if domains:
                bea = {**ACCOUNT, "name": "bea", "role": "viewer"}
                await site.http.post("/api/v1/accounts", json=bea, headers=ADMIN)
                given = {"domains": [*domains]}
                await site.http.patch("/api/v1/accounts/bea", json=given, headers=ADMIN)
            name = "bea" if domains else ACCOUNT["name"]
            stage = Stage(chromium, site, managers, ring, name)
            await asyncio.to_thread(play, stage)
            assert stage.tab.complaints == []
            await asyncio.to_thread(stage.tab.close)
            site.context.streams.close()
    finally:
        await feed.close()
        await bus.close()


@pytest.mark.page
async def test_an_administrator_looks_at_a_channel_and_drains_a_unit(chromium: Chromium) -> None:
    managers = Managers()
    managers.found = view = made_up(5, 12)
    channel = max(view["channels"], key=lambda one: len(one["tree"]))
    unit = view["units"][1]

    def play(stage: Stage) -> None:
        stage.open()
        stage.until("units are there", lambda: stage.count("[data-unit]") == 5)
        assert stage.count(".one[data-channel]") >= 5
        stage.choose(f"channel-list [data-channel={channel['name']}]")
        stage.until("its groups", lambda: stage.count("i.marked") == channel["groups"])
        assert stage.count("g.node") == len(channel["tree"])
        # Not before it is confirmed.
        stage.choose(f"unit-list [data-unit='{unit['id']}'] strong")
        stage.tab.click("Drain")
        stage.tab.click("Cancel")
        assert managers.orders == []
        has = {"channels": 2, "groups": 3, "viewers": 4, "reserved": 0, "ingests": 1, "links": 0}
        managers.answer = {"done": False, "progress": has}
        stage.tab.click("Drain")
        stage.tab.until_text(f"Drain {unit['name']}?", PATIENCE)
        stage.tab.click("Drain")
        stage.until("the order", lambda: managers.orders)
        assert managers.orders == [("drain", "ada", {"unit": unit["id"]})]
        stage.tab.until_text("Draining: 4 viewers, 3 groups, 1 source to go", PATIENCE)
        said = {"command": "drain", "subject": unit["id"], "done": False}
        less = has | {"viewers": 1, "groups": 1, "ingests": 0}
        stage.tell("progress", said | {"progress": less})
        stage.tab.until_text("Draining: 1 viewer, 1 group to go", PATIENCE)
        stage.tell("progress", said | {"done": True, "progress": less | {"viewers": 0}})
        stage.tab.until_text(f"{unit['name']} has nothing any more", PATIENCE)
        assert stage.count("progress") == 0

    await act(chromium, managers, play)


@pytest.mark.page
async def test_a_channel_is_extended_and_what_is_refused_is_told(chromium: Chromium) -> None:
    managers = Managers()
    managers.found = view = made_up(5, 12)
    name, unit = view["channels"][2]["name"], view["units"][3]["id"]

    def play(stage: Stage) -> None:
        stage.open()
        stage.choose(f"channel-list [data-channel={name}]")
        stage.tab.click("Extend")
        stage.tab.write(groups="3")
        select = "cluster-dialog select[name=unit]"
        stage.tab.on(lambda page: page.locator(select).select_option(unit))
        managers.error = UnreachableError("nobody leads")
        press = "cluster-dialog button.main"
        stage.choose(press)
        stage.tab.until_text("No manager is active: nobody leads.", PATIENCE)
        managers.error = None
        stage.choose(press)
        stage.tab.until_text("has further groups", PATIENCE)
        what = {"channel": name, "groups": 3, "unit": unit}
        assert managers.orders[-1] == ("extend", "ada", what)

    await act(chromium, managers, play)


@pytest.mark.page
async def test_who_administers_a_domain_sees_its_units_and_orders_there(chromium: Chromium) -> None:
    managers = Managers()
    managers.found = view = made_up(5, 12)
    for number, one in enumerate(view["units"]):
        one["domain"] = ("asia", "europe", "")[number % 3]
    asian, other = view["units"][0], view["units"][1]
    channel = view["channels"][2]["name"]

    def play(stage: Stage) -> None:
        stage.open()
        stage.until("hers are listed", lambda: stage.count("[data-unit]") == 2)
        assert stage.count("log-panel") == 0
        stage.choose(f"unit-list [data-unit='{asian['id']}'] strong")
        stage.tab.click("Drain")
        stage.tab.until_text(f"Drain {asian['name']}?", PATIENCE)
        stage.tab.click("Drain")
        stage.until("the order", lambda: managers.orders)
        assert managers.orders == [("drain", "bea", {"unit": asian["id"]})]
        assert managers.domains == [("asia",)]
        stage.tab.on(lambda page: page.locator("select.domain").select_option(""))
        stage.until("all are listed", lambda: stage.count("[data-unit]") == 5)
        stage.choose(f"unit-list [data-unit='{other['id']}'] strong")
        barred = "button[title='You do not administer its domain']:disabled"
        stage.until("she may order nothing there", lambda: stage.count(barred) == 2)
        stage.choose("cluster-inspector button.shut")
        stage.choose(f"channel-list [data-channel={channel}]")
        stage.tab.click("Extend")
        options = "select[name=unit] option"
        stage.until("hers may be chosen", lambda: stage.count(options) == 3)

    await act(chromium, managers, play, domains=["asia"])


@pytest.mark.page
async def test_changes_and_log_lines_come_by_themselves(chromium: Chromium) -> None:
    managers = Managers()
    managers.found = view = made_up(3, 4)

    def play(stage: Stage) -> None:
        stage.log("before the page was opened")
        stage.open()
        stage.tab.until_text("before the page was opened", PATIENCE)
        stage.log("while it is open", channel="yard")
        stage.tab.until_text("while it is open", PATIENCE)
        stage.tab.click("Pause")
        stage.log("while it is paused")
        stage.tab.until_text("paused, 1 more since", PATIENCE)
        assert "while it is paused" not in stage.tab.text
        stage.tab.click("Go on")
        stage.tab.until_text("while it is paused", PATIENCE)
        grown = view | {"units": [*view["units"], view["units"][0] | {"id": "f", "name": "new"}]}
        stage.tell("view", grown)
        stage.until("the new unit", lambda: stage.count("[data-unit=f]") == 1)

    await act(chromium, managers, play)


@pytest.mark.page
async def test_the_page_waits_for_a_manager(chromium: Chromium) -> None:
    managers = Managers()
    managers.error = UnreachableError("nobody leads")

    def play(stage: Stage) -> None:
        stage.open()
        stage.tab.until_text("No manager is active.", PATIENCE)
        stage.tab.until_text("One stands by", PATIENCE)
        managers.error = None
        stage.tell("view", made_up(3, 4))
        stage.until("units are there", lambda: stage.count("[data-unit]") == 3)
        assert "No manager is active." not in stage.tab.text

    await act(chromium, managers, play)


@pytest.mark.page
async def test_a_channel_is_closed_and_opened_again(chromium: Chromium) -> None:
    managers = Managers()
    managers.found = view = made_up(3, 4)
    name = view["channels"][1]["name"]
    mark = f".one[data-channel={name}]"
    row = f"channel-list {mark}"
    press = "cluster-dialog button.main"

    def play(stage: Stage) -> None:
        stage.open()
        stage.choose(row)
        stage.tab.click("Close")
        stage.tab.until_text(f"Close {name}?", PATIENCE)
        assert managers.orders == []
        left = {"channel": name, "units": 2, "groups": 0, "viewers": 0}
        managers.answer = {"done": False, "progress": left | {"done": False}}
        stage.choose(press)
        stage.until("the order", lambda: managers.orders)
        assert managers.orders.pop() == ("close", "ada", {"channel": name})
        stage.tab.until_text(f"{name} is being closed.", PATIENCE)
        said = {"command": "close", "subject": name}
        stage.tell("progress", said | {"done": False, "progress": left})
        stage.tab.until_text(f"{name} is being closed: 2 units to go.", PATIENCE)
        stage.tell("progress", said | {"done": True, "progress": left | {"units": 0}})
        stage.tab.until_text(f"{name} is closed.", PATIENCE)
        rest = [one for one in view["channels"] if one["name"] != name]
        stage.tell("view", view | {"channels": rest, "closed": [name]})
        stage.until("it is marked", lambda: stage.count(f"{mark}.closed") == 1)
        stage.tab.click("Open")
        stage.tab.until_text("let in again", PATIENCE)
        managers.answer = {"done": True, "progress": {"channel": name, "groups": 1}}
        stage.choose(press)
        stage.until("the order", lambda: managers.orders)
        assert managers.orders == [("open", "ada", {"channel": name})]
        stage.tell("view", view)
        stage.until("it is open", lambda: stage.count(f"{mark}.open") == 1)

    await act(chromium, managers, play)


@pytest.mark.browser
async def test_a_hundred_units_and_a_thousand_channels_stay_usable(chromium: Chromium) -> None:
    managers = Managers()
    managers.found = view = made_up(100, 1000)
    last = view["channels"][-1]["name"]
    busiest = max(view["channels"], key=lambda one: len(one["tree"]))

    def play(stage: Stage) -> None:
        stage.open()
        stage.until("units are there", lambda: stage.count(".one[data-unit]") > 3)
        stage.tab.on(lambda page: page.evaluate(WATCH_STALLS))
        for number in range(6):
            changed = [one | {"viewers": one["viewers"] + number} for one in view["channels"]]
            stage.tell("view", view | {"epoch": 100 + number, "channels": changed})
            stage.tab.until_text(f"epoch {100 + number}", PATIENCE)
        # Only what is in sight is drawn.
        assert stage.count(".one[data-unit]") < 40
        assert stage.count(".one[data-channel]") < 60
        stage.tab.on(lambda page: page.locator("channel-list input").fill(last))
        stage.choose(f"channel-list .one[data-channel={last}]")
        stage.until("it is chosen", lambda: last in stage.tab.text)
        stage.tab.on(lambda page: page.locator("channel-list input").fill(busiest["name"]))
        stage.choose(f"channel-list .one[data-channel={busiest['name']}]")
        stage.until("its tree", lambda: stage.count("g.node") == len(busiest["tree"]))
        if SHOT:
            stage.tab.screenshot(Path(SHOT))
        stalls = stage.tab.evaluate("() => window.stalls")
        assert max(stalls, default=0) < MOST_STALL, stalls

    await act(chromium, managers, play)
