"""The page about storage in Chromium, with storage that is made up."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.interop.peers.chromium import Chromium, Tab
from tests.interop.peers.program import wait_until
from tests.system.test_cluster_page import ACCOUNT, COUNT, PATIENCE
from tests.unit.web.site import ADMIN, Site, running
from tests.unit.web.stored import EMPTY, Stored, check, disk, import_, title, volume

from heliograph.model.errors import ConflictError

pytestmark = pytest.mark.page

#: Directory for pictures of the page, for people to look at.
SHOTS = os.environ.get("HELIO_TEST_SHOTS", "")
#: Bytes of a file that is sent: several pieces.
SENT = 300_000
DARK = {"color_scheme": "dark", "viewport": {"width": 390, "height": 844}}
LIGHT = {"viewport": {"width": 1440, "height": 900}}


class Stage:
    """The page, and what is behind it."""

    def __init__(self, chromium: Chromium, site: Site, stored: Stored) -> None:
        self._chromium = chromium
        self._url = f"http://127.0.0.1:{site.server.port}"
        self.site = site
        self.stored = stored
        self.tab: Tab

    def open(self, **options: Any) -> None:
        """Sign in, from the page's address and back to it."""
        self.tab = self._chromium.open(f"{self._url}/admin/storage", **options)
        self.tab.click("Sign in")
        self.tab.until_path("/sign-in", PATIENCE)
        self.tab.write(name=ACCOUNT["name"], password=ACCOUNT["password"])
        self.tab.click("Sign in")
        self.tab.until_path("/admin/storage", PATIENCE)

    def count(self, selector: str) -> int:
        found: int = self.tab.evaluate(COUNT, selector)
        return found

    def until(self, what: str, condition: Callable[[], Any]) -> None:
        wait_until(condition, PATIENCE, what)

    def choose(self, selector: str) -> None:
        self.tab.on(lambda page: page.locator(selector).click(timeout=PATIENCE * 1000))

    def ordered(self) -> tuple[str, dict[str, Any]]:
        """The next order; given by who is signed in."""
        self.until("the order", lambda: self.stored.orders)
        what, by, values = self.stored.orders.pop(0)
        assert by == ACCOUNT["name"]
        return what, values

    def shot(self, name: str) -> None:
        if SHOTS:
            path = Path(SHOTS) / f"{name}.png"
            self.tab.on(lambda page: page.screenshot(path=path, full_page=True))


async def act(
    chromium: Chromium, stored: Stored, play: Callable[[Stage], None], *, on_air: bool = False
) -> None:
    """Serve the pages, and play in a thread."""
    async with running(context={"storage": stored}) as site:
        await site.http.post("/api/v1/accounts", json=ACCOUNT, headers=ADMIN)
        if on_air:
            await site.on_air()
        stage = Stage(chromium, site, stored)
        try:
            await asyncio.to_thread(play, stage)
        finally:
            if stored.hold is not None:  # else what waits for it would wait for ever
                stored.hold.set()
        assert stage.tab.complaints == []
        await asyncio.to_thread(stage.tab.close)
        site.context.streams.close()


async def test_the_first_volume_is_made(chromium: Chromium) -> None:
    stored = Stored()

    def play(stage: Stage) -> None:
        stage.open()
        stage.tab.until_text("The first film you import makes one", PATIENCE)
        stage.shot("empty")
        stage.tab.click("Make a volume")
        stage.tab.write(name="films", path="/mnt/a")
        dialog = "storage-dialog"
        stage.choose(f"{dialog} label[for=scheme-1-1]")
        stage.choose(f"{dialog} button.main")
        stage.tab.until_text("This protection needs 2 disks", PATIENCE)
        stage.tab.click("Another disk")
        stage.until("its fields", lambda: stage.count("input[name=path]") == 2)
        stage.tab.write(path="/mnt/b", node="node-b", capacity="1.5")
        stage.shot("make")
        stage.choose(f"{dialog} button.main")
        what, values = stage.ordered()
        assert (what, values["name"], values["data"], values["parity"]) == ("create", "films", 1, 1)
        assert values["disks"] == [
            {"node": "", "path": "/mnt/a", "capacity": None, "erase": False},
            {"node": "node-b", "path": "/mnt/b", "capacity": 1_500_000_000, "erase": False},
        ]
        stored.found = EMPTY | {"volumes": [volume()]}
        stage.tab.until_text("Survives the loss of any one disk, or of a whole node", PATIENCE)
        assert stage.count("[data-disk]") == 3

    await act(chromium, stored, play)


async def test_disks_are_looked_at_added_and_removed(chromium: Chromium) -> None:
    stored = Stored()
    well = volume(titles=0)
    stored.found = EMPTY | {"volumes": [well]}

    def play(stage: Stage) -> None:
        stage.open(**LIGHT)
        stage.until("disks", lambda: stage.count("[data-disk]") == 3)
        assert stage.count("[data-node]") == 3
        stage.tab.click("Add a disk: films")
        stage.tab.write(path="/mnt/d", node="node-c")
        stored.error = ConflictError("a change is under way", subject="films")
        stage.choose("storage-dialog button.main")
        stage.tab.until_text("A change is under way.", PATIENCE)
        stored.orders.clear()
        stored.error = None
        stage.choose("storage-dialog button.main")
        assert stage.ordered() == (
            "add",
            {
                "volume": "films",
                "node": "node-c",
                "path": "/mnt/d",
                "capacity": None,
                "erase": False,
            },
        )
        # A directory of which the server said that it was another volume's disk.
        stage.tab.click("Add a disk: films")
        stage.tab.write(path="/mnt/used")
        stage.choose("storage-dialog input[name=erase]")
        stage.shot("erase")
        stage.tab.click("Erase and add it")
        assert stage.ordered()[1]["erase"] is True
        stage.until("the dialog is closed", lambda: stage.count("storage-dialog") == 0)
        # What goes on is shown as it comes.
        change = {
            "since_version": 4,
            "bytes_done": 25 * 10**9,
            "bytes_total": 10**11,
            "moved": 25_000,
            "lacking": 75_000,
            "forecast_s": 600.0,
            "waiting": ["node-b is away"],
        }
        gone = {"up": False, "used": None, "free": None, "blocks": None, "late": None}
        away = disk(2, "b", **gone, errors=None, fault="its node is away")
        disks = [disk(1, "a", late=3), away, disk(3, "c"), disk(4, "c", used=0, free=10**12)]
        stored.found = EMPTY | {
            "volumes": [
                well
                | {
                    "disks": disks,
                    "change": change,
                    "warnings": ["disk /mnt/2 of node-b: its node is away"],
                    "lost": {"blocks": 2, "titles": ["tides"]},
                    "scrub": {"share": 0.5, "rounds": 0, "found": 4, "mended": 3},
                }
            ]
        }
        stage.tab.until_text("25.0 GB of about 100 GB · 75,000 blocks to go", PATIENCE)
        for words in (
            "about 10 min left",
            "Waits: node-b is away",
            "its node is away",
            "3 late reads",
            "2 blocks are lost for good.",
            "Parts are missing of tides",
            "50 % of round 1 · 4 damaged blocks found, 3 mended",
        ):
            assert words in stage.tab.text, words
        assert stage.count(".chip.away") == 1
        stage.shot("change-light")
        # A disk that is gone: said in clear words, and not before it is confirmed.
        stage.tab.click("Remove /mnt/2 of node-b")
        stage.tab.until_text("What it has is made anew from the other disks", PATIENCE)
        stage.tab.click("Cancel")
        assert stored.orders == []
        stage.tab.click("Remove /mnt/2 of node-b")
        stage.choose("storage-dialog input[value=force]")
        stage.shot("remove")
        stage.tab.click("It is gone: remove it")
        what, values = stage.ordered()
        assert (what, values["disk"], values["force"]) == ("remove", away["id"], True)
        stage.tab.until_text("The disk leaves.", PATIENCE)
        stage.tab.click("Remove /mnt/1 of node-a")
        stage.choose("storage-dialog button.main")
        assert stage.ordered()[1]["force"] is False
        stage.tab.click("Replace /mnt/1 of node-a")
        stage.tab.write(path="/mnt/e")
        stage.choose("storage-dialog button.main")
        what, values = stage.ordered()
        assert (what, values["disk"], values["path"]) == ("replace", disks[0]["id"], "/mnt/e")
        assert values["force"] is False
        stage.tab.click("Replace /mnt/2 of node-b")
        stage.tab.write(path="/mnt/f")
        stage.choose("storage-dialog input[value=force]")
        stage.choose("storage-dialog button.main")
        what, values = stage.ordered()
        assert (what, values["disk"], values["force"]) == ("replace", away["id"], True)
        stage.tab.click("Limits: films")
        stage.tab.write(move="120", scrub="0")
        stage.choose("storage-dialog button.main")
        limits = {"volume": "films", "move": 120_000_000, "scrub": 0}
        assert stage.ordered() == ("limits", limits)
        stage.tab.click("Remove the volume: films")
        stage.choose("storage-dialog button.main")
        assert stage.ordered() == ("forget", {"volume": "films"})

    await act(chromium, stored, play)


async def test_a_file_is_sent_and_imported(chromium: Chromium, tmp_path: Path) -> None:
    stored = Stored()
    stored.found = EMPTY | {"volumes": [volume(titles=1)]}
    stored.kept = [title("High-tide", title="High tide")]
    film = tmp_path / "High tide.mkv"
    film.write_bytes(os.urandom(SENT))
    going_on = threading.Event()
    stored.hold = going_on

    def play(stage: Stage) -> None:
        stage.open(**DARK)
        stage.tab.click("Titles")
        stage.tab.until_text("1:30:00 · 2.0 GB · video h264 · audio aac (eng)", PATIENCE)
        stage.tab.on(
            lambda page: page.locator("import-list input[type=file]").set_input_files(film)
        )
        # There is a title of that name.
        stage.tab.until_text("Import 1 file", PATIENCE)
        name = stage.tab.on(lambda page: page.locator("[name=name-0]").input_value())
        assert name == "High-tide-2"
        stage.tab.write(name_0="high", title_0="High")
        stage.shot("chosen-dark")
        stage.tab.click("Import 1 file")
        what, values = stage.ordered()
        wanted = {"name": "high", "title": "High", "volume": "", "file": "High tide.mkv"}
        assert (what, values) == ("import", wanted)
        stage.tab.until_text("Being sent", PATIENCE)
        assert stage.count("[data-import=high] [role=progressbar]") == 1
        # The server tells of it, too: it is one file all the same.
        receiving = import_("high", "receiving", bytes=100, total=SENT)
        stored.found = stored.found | {"imports": [receiving, import_("other", "waiting")]}
        stage.until("another file", lambda: stage.count("[data-import=other]") == 1)
        assert stage.count("[data-import=high]") == 1
        going_on.set()
        stage.until("all of it", lambda: stored.received[0].finished)
        assert stored.received[0].received == SENT
        half = {"media": 60.0, "duration": 120.0, "remaining": 30.0, "bytes": 5, "total": 10}
        stored.found = stored.found | {"imports": [import_("high", "importing", **half)]}
        stage.tab.until_text("Being cut into blocks · 01:00 of 02:00 · about 30 s left", PATIENCE)
        assert stage.count("[data-import=high]") == 1
        assert stage.count("[data-import=high] [aria-valuenow='50']") == 1
        stage.shot("titles-dark")
        stage.tab.click("Cancel high")
        assert stage.ordered() == ("cancel", {"id": "id-high"})
        stored.kept = [*stored.kept, title("high", title="High", tracks=[])]
        stored.found = EMPTY | {
            "volumes": [volume(titles=2)],
            "imports": [import_("high", "done", remarks=["a subtitle track was left out"])],
        }
        stage.tab.until_text("a subtitle track was left out", PATIENCE)
        stage.until("the title", lambda: stage.count("[data-title=high]") == 1)
        # It fits on a phone.
        assert stage.tab.evaluate("() => document.documentElement.scrollWidth") <= 390

    await act(chromium, stored, play)


async def test_files_become_sizes_of_one_title(chromium: Chromium, tmp_path: Path) -> None:
    stored = Stored()
    stored.found = EMPTY | {"volumes": [volume(titles=1)]}
    films = [tmp_path / name for name in ("reef.mp4", "reef-half.mp4", "night.mp4")]
    for number, one in enumerate(films, 1):
        one.write_bytes(bytes(number * 1000))

    def play(stage: Stage) -> None:
        stage.open(**DARK)
        stage.tab.click("Titles")
        stage.tab.on(
            lambda page: page.locator("import-list input[type=file]").set_input_files(films)
        )
        stage.tab.until_text("Import 3 files", PATIENCE)
        stage.tab.on(
            lambda page: page.locator("[name=of-1]").select_option(label="another size of reef")
        )
        stage.until("it has no name", lambda: stage.count("[name=name-1]") == 0)
        assert stage.count("[name=of-0]") == 0  # what has sizes is none
        stage.shot("sizes-dark")
        stage.tab.on(lambda page: page.set_viewport_size(LIGHT["viewport"]))
        stage.shot("sizes-wide")
        stage.tab.on(lambda page: page.set_viewport_size(DARK["viewport"]))
        assert stage.tab.evaluate("() => document.documentElement.scrollWidth") <= 390
        stage.tab.click("Import 3 files")
        assert stage.ordered()[1]["file"] == "reef.mp4"
        what, values = stage.ordered()
        assert (what, values) == ("rendition", {"id": "id-reef", "file": "reef-half.mp4"})
        what, values = stage.ordered()
        assert (what, values["name"], values["file"]) == ("import", "night", "night.mp4")
        stage.until("all of it", lambda: len(stored.received) == 3)
        assert [one.values.get("renditions") for one in stored.received] == [1, None, 0]
        stage.until("the end", lambda: all(one.finished for one in stored.received))
        assert [one.received for one in stored.received] == [1000, 2000, 3000]
        going = import_("reef", "importing", file="reef.mp4", renditions=1, came=1)
        stored.found = stored.found | {"imports": [going]}
        stage.tab.until_text("reef.mp4 and 1 other size → reef", PATIENCE)

    await act(chromium, stored, play)


async def test_an_upload_that_is_cancelled_is_sent_no_more(
    chromium: Chromium, tmp_path: Path
) -> None:
    stored = Stored()
    stored.found = EMPTY | {"volumes": [volume()]}
    film = tmp_path / "storm.mp4"
    film.write_bytes(bytes(50 * SENT))
    going_on = threading.Event()
    stored.hold = going_on

    def play(stage: Stage) -> None:
        stage.open()
        stage.tab.click("Titles")
        stage.tab.on(
            lambda page: page.locator("import-list input[type=file]").set_input_files(film)
        )
        stage.tab.click("Import 1 file")
        assert stage.ordered()[0] == "import"
        receiving = import_("storm", "receiving", bytes=100, total=SENT)
        stored.found = stored.found | {"imports": [receiving]}
        stage.tab.until_text("Being sent", PATIENCE)
        stage.tab.click("Cancel storm")
        going_on.set()
        stage.until("it is left", lambda: stored.received[0].left)
        assert not stored.received[0].finished
        stored.found = stored.found | {"imports": [import_("storm", "cancelled")]}
        stage.tab.until_text("Cancelled", PATIENCE)

    await act(chromium, stored, play)


async def test_titles_are_verified_erased_and_recorded(chromium: Chromium) -> None:
    stored = Stored()
    stored.found = EMPTY | {"volumes": [volume()]}
    stored.kept = [title(), title("storm", title="Storm")]
    fault = {"block": 7, "kind": "digest", "reason": "its digest is another"}
    ended = {"ended": 1.8e9, "good": False, "count": 2, "faults": [fault]}
    stored.checks = [check("tides", 477), check("tides", 1908, **ended)]

    def play(stage: Stage) -> None:
        stage.open(**LIGHT)
        stage.tab.click("Titles")
        stage.until("titles", lambda: stage.count("[data-title]") == 2)
        watch = stage.tab.on(
            lambda page: page.get_by_role("link", name="Tides", exact=True).get_attribute("href")
        )
        assert watch == "/watch/tides"
        assert stage.count('a[href="/titles/tides.mp4"][download="tides.mp4"]') == 1
        stage.tab.click("Verify Tides")
        stage.tab.until_text("Reading it: 477 of 1,908 blocks", PATIENCE)
        stage.tab.until_text("2 faults; the first in block 7: its digest is another.", PATIENCE)
        stage.shot("titles-light")
        stage.tab.click("Erase Storm")
        stage.tab.until_text("gone for good, and who watches it is cut off", PATIENCE)
        assert stored.orders == []
        stage.choose("storage-dialog button.main")
        assert stage.ordered() == ("erase", {"name": "storm"})
        stage.until("it is gone", lambda: stage.count("[data-title=storm]") == 0)
        # Only what is on air is offered.
        stage.tab.click("Record a channel")
        stage.until("the channel", lambda: stage.count("option[value=demo]") == 1)
        stage.tab.write(name="monday", minutes="90")
        stage.choose("storage-dialog button.main")
        what, values = stage.ordered()
        assert (what, values["channel"], values["name"]) == ("record", "demo", "monday")
        assert (values["max_seconds"], values["volume"]) == (5400.0, "")
        going = {"name": "monday", "channel": "demo", "volume": "films", "remarks": []}
        going |= {"began": 1.8e9, "ended": None, "error": "", "waiting": False}
        going |= {"seconds": 65.0, "bytes": 10**7}
        stored.recordings = [going]
        stage.tab.until_text("of demo · Recording · 01:05 · 10.0 MB", PATIENCE)
        stage.tab.click("Stop recording monday")
        assert stage.ordered() == ("stop", {"name": "monday", "drop": False})
        stored.recordings = [going | {"waiting": True}]
        stage.tab.until_text("Waits for volume films", PATIENCE)
        stage.tab.click("Drop what is left of monday")
        stage.tab.until_text("is gone for good then", PATIENCE)
        stage.choose("storage-dialog button.main")
        assert stage.ordered() == ("stop", {"name": "monday", "drop": True})

    await act(chromium, stored, play, on_air=True)


async def test_a_server_without_storage_says_so(chromium: Chromium) -> None:
    def play(tab: Tab) -> None:
        tab.click("Sign in")
        tab.until_path("/sign-in", PATIENCE)
        tab.write(name=ACCOUNT["name"], password=ACCOUNT["password"])
        tab.click("Sign in")
        tab.until_path("/admin/storage", PATIENCE)
        tab.until_text("This node has nothing to do with storage.", PATIENCE)
        assert tab.complaints == []
        tab.close()

    async with running() as site:
        await site.http.post("/api/v1/accounts", json=ACCOUNT, headers=ADMIN)
        url = f"http://127.0.0.1:{site.server.port}/admin/storage"
        tab = await asyncio.to_thread(chromium.open, url)
        await asyncio.to_thread(play, tab)
