"""The page of titles and servers in Chromium: files are imported and exported, a server is looked
through, and a title is told of as its servers are."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from tests.interop.peers.chromium import Chromium, Tab
from tests.system.test_cluster_page import ACCOUNT, PATIENCE
from tests.unit.web.site import ADMIN, Site, running

from heliograph.bus import Registration
from heliograph.catalogue.contents.values import Condition, Server, ServerState
from heliograph.dispatcher.policies import POLICIES

pytestmark = pytest.mark.page

#: More rows than one request takes; some in quotes over two lines, the last three are wrong.
ROWS = [
    "kind,name,title,host,server,format,uri,description",
    *(f'title,film-{number},"Film ""{number}""",,,,,"one\ntwo, three"' for number in range(300)),
    "file,,film-7,,harbour,,http://films.example.org/film-7.mp4,",
    "server,harbour,,films.example.org,,,,",
    "title,bad name,,,,,,",
    "smell,x,,,,,,",
    "file,,film-8,,nowhere,,http://films.example.org/film-8.mp4,",
]
#: Where the wrong rows are: each of the first 300 has two lines.
WRONG = {604: "bad name", 605: "kind is none of", 606: "nowhere"}


class Listing(BaseHTTPRequestHandler):
    """A directory with two films and something else."""

    def do_GET(self) -> None:
        body = b'<a href="tides.mp4">x</a><a href="Big%20dunes.mp4">y</a><a href="notes.txt">z</a>'
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Monitoring:
    """Says what the test says."""

    def __init__(self) -> None:
        self.states: Mapping[int, ServerState] = {}
        self.servers: Mapping[int, Server] = {}
        self.doubt = False
        self._listeners: list = []

    def views(self) -> list:
        return []

    def counts(self) -> Mapping[str, int]:
        return {}

    def follow(self, listener) -> Registration:
        self._listeners.append(listener)
        return Registration(lambda: self._listeners.remove(listener))

    def turn(self, server: Server, condition: Condition) -> None:
        """The server is that from now on."""
        now = datetime.now(UTC)
        self.servers = {server.id: server}
        self.states = {server.id: ServerState(server.id, condition, 3.0, now, now)}
        for listener in self._listeners:
            listener(self.states)


@pytest.fixture
def listing() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Listing) as httpd:
        thread = Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}/"
        httpd.shutdown()
        thread.join()


def signed_in(chromium: Chromium, site: Site) -> Tab:
    tab = chromium.open(f"http://127.0.0.1:{site.server.port}/admin/contents")
    tab.click("Sign in")
    tab.until_path("/sign-in", PATIENCE)
    tab.write(name=ACCOUNT["name"], password=ACCOUNT["password"])
    tab.click("Sign in")
    tab.until_path("/admin/contents", PATIENCE)
    return tab


async def test_a_file_is_imported_and_everything_is_exported(
    chromium: Chromium, tmp_path: Path
) -> None:
    file = tmp_path / "in.csv"
    file.write_text("\n".join(ROWS))

    def act(site: Site) -> None:
        tab = signed_in(chromium, site)
        tab.click("Import and export")
        tab.on(lambda page: page.locator("input[type=file]").set_input_files(file))
        tab.click("Import")
        tab.until_text("302 rows added, 0 changed, 0 as before, 3 not taken", PATIENCE)
        shown = tab.text
        for line, words in WRONG.items():
            assert f"line {line}" in shown
            assert words in shown
        tab.click("Import")
        tab.until_text("0 rows added, 0 changed, 302 as before, 3 not taken", PATIENCE)
        text = tab.evaluate(
            """async () => {
              const all = (root) => [...root.querySelectorAll("*")].flatMap((e) =>
                [e, ...(e.shadowRoot ? all(e.shadowRoot) : [])]);
              const link = all(document).find((e) => e.download === "contents.csv");
              return (await fetch(link.href)).text();
            }"""
        )
        rows = list(csv.DictReader(io.StringIO(text)))
        assert [row["kind"] for row in rows].count("title") == 300
        assert {row["title"] for row in rows if row["kind"] == "file"} == {"film-7"}
        film = next(row for row in rows if row["name"] == "film-7")
        assert (film["title"], film["description"]) == ('Film "7"', "one\ntwo, three")
        assert tab.complaints == []
        tab.close()

    async with running() as site:
        await site.http.post("/api/v1/accounts", json=ACCOUNT, headers=ADMIN)
        await asyncio.to_thread(act, site)


async def test_a_server_is_looked_through_and_titles_follow_it(
    chromium: Chromium, listing: str
) -> None:
    monitoring = Monitoring()
    async with running(context={"monitoring": monitoring}) as site:
        await site.http.post("/api/v1/accounts", json=ACCOUNT, headers=ADMIN)
        server = await site.catalogue.contents.add_server({"name": "pier", "host": "127.0.0.1"})
        loop = asyncio.get_running_loop()

        def act() -> None:
            tab = signed_in(chromium, site)
            tab.click("Servers")
            tab.until_text("pier", PATIENCE)
            tab.on(lambda page: page.locator("server-list .pick").click())
            tab.write(url=listing)
            tab.click("Only look")
            tab.until_text("2 files on 1 page", PATIENCE)
            assert "0 files" in tab.text
            tab.click("Register")
            tab.until_text("4 rows added, 0 changed.", PATIENCE)
            tab.click("Titles")
            tab.until_text("Big dunes", PATIENCE)
            for condition, told in (
                (Condition.UP, "Playable"),
                (Condition.DOWN, "Out of reach"),
                (Condition.STARTING, "Playable"),
            ):
                loop.call_soon_threadsafe(monitoring.turn, server, condition)
                tab.until_text(told, PATIENCE)
            tab.click("Add a title")
            offered = tab.on(
                lambda page: page.locator("[name=policy] option").evaluate_all(
                    "(all) => all.map((one) => one.value)"
                )
            )
            assert sorted(offered) == sorted(["", *POLICIES])
            assert tab.complaints == []
            tab.close()

        await asyncio.to_thread(act)
