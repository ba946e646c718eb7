"""Content steering with hls.js: who plays goes on at another server, without a reload."""

from __future__ import annotations

import itertools
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .peers.chromium import Chromium
from .peers.clip import Clip, make
from .peers.heliograph import Server
from .peers.hls import HlsJs
from .peers.program import wait_until
from .peers.title_servers import Apache, Nginx, TitleServer, Unit, lay_out, lay_out_ladder

pytestmark = [
    pytest.mark.interop,
    pytest.mark.browser,
    pytest.mark.alone,
    pytest.mark.timeout(300),
]

PATIENCE = 60.0
#: Seconds until players ask again which server to use.
TTL = 2
#: Seconds ahead that the player has: less than the clip, and more than it waits for a server that
#: does not answer (hls.js: 10 s).
AHEAD = 16
#: Seconds from a change until a player uses another server: until portal or monitor know it, until
#: the player asks, and what a busy machine adds.
MOVED = 1.0 + TTL + 4.0


class Site:
    """A portal, and servers that hold the same title in HLS: ours, nginx, and Apache as well."""

    def __init__(self, clip: Clip, directory: Path) -> None:
        root = lay_out(clip, directory)
        lay_out_ladder(clip, root, (360, 180))
        self.portal = Server(directory, [], settings={"dispatcher": {"steering_ttl_s": TTL}})
        self.servers: dict[str, TitleServer] = {
            "unit": Unit(clip.aac, directory),
            "nginx": Nginx(root, directory),
            "apache": Apache(root, directory),
        }

    def start(self) -> None:
        for one in self.servers.values():
            one.start()
        self.portal.until_ready()
        for name, one in self.servers.items():
            probe = {"kind": "http", "interval": 0.3, "port": one.port, "path": "/healthz"}
            if name != "unit":
                probe["path"] = "/clip.mp4"
            self.post("/servers", {"name": name, "host": "127.0.0.1", "probes": [probe]})

    def title(self, name: str, **paths: str) -> None:
        """A title with files on servers by name, and wait until all of them are used."""
        self.post("/titles", {"name": name, "title": name})
        for server, path in paths.items():
            uri = f"{self.servers[server].url}/{path}"
            self.post("/files", {"title": name, "server": server, "format": "hls", "uri": uri})
        wait_until(
            lambda: set(self.pathways(name)) == set(paths), PATIENCE, "all servers are named"
        )

    def post(self, path: str, body: Any = None) -> None:
        status, answer = self.portal.manage("POST", path, body)
        assert status < 300, (path, status, answer)

    def pathways(self, name: str) -> list[str]:
        """Servers that its playlist names, in their order."""
        text = self.portal.get(f"/go/{name}/index.m3u8")[1]
        found = [line.partition('PATHWAY-ID="')[2].partition('"')[0] for line in text.splitlines()]
        return list(dict.fromkeys(filter(None, found)))

    def name_of(self, host: str) -> str:
        return next(name for name, one in self.servers.items() if host == f"127.0.0.1:{one.port}")

    def stop(self) -> None:
        self.portal.stop()
        for one in self.servers.values():
            one.stop()


@pytest.fixture(scope="module")
def site(clip: Clip) -> Iterator[Site]:
    # Servers that gave up root's rights read here, which they may not in pytest's directories.
    directory = Path(tempfile.mkdtemp(prefix="helio-steering-"))
    directory.chmod(0o755)
    made = Site(clip, directory)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        print(made.portal.log[-3000:])
        shutil.rmtree(directory)


class Viewer:
    """hls.js on the portal's address of a title."""

    def __init__(self, site: Site, chromium: Chromium, name: str) -> None:
        self.site = site
        url = f"{site.portal.http}/go/{name}/index.m3u8"
        self.player = HlsJs(chromium, url, maxBufferLength=AHEAD, maxMaxBufferLength=AHEAD)
        self.player.wait_numbers(25, PATIENCE)

    @property
    def server(self) -> str:
        """The one that media come from."""
        return self.site.name_of(self.player.hosts[-1])

    def until_moved(self, before: str) -> None:
        """Wait until the player has gone to another server, and media come from there."""
        began = time.monotonic()
        wait_until(lambda: self.player.pathway != before, PATIENCE, f"{before} is left")
        took = time.monotonic() - began
        wait_until(lambda: self.server != before, PATIENCE, f"media come not from {before}")
        media = time.monotonic() - began
        print(f"from {before} to {self.server}: told after {took:.1f} s, media after {media:.1f} s")
        assert took < MOVED

    def goes_on(self) -> None:
        """New pictures are seen, and none that were seen before."""
        count = len(self.player.numbers)
        self.player.wait_numbers(count + 3 * make.RATE, PATIENCE)
        numbers = self.player.numbers
        # A busy machine leaves pictures out; going back would be a reload.
        back = [b for a, b in itertools.pairwise(numbers) if b < a]
        assert back == [], back
        assert self.player.stalls == 0
        assert [why for fatal, why in self.player.errors if fatal] == []


def test_who_plays_is_moved_off_a_drained_server_and_off_a_frozen_one(
    site: Site, chromium: Chromium
) -> None:
    """Ours and nginx's: each has an own playlist of variants, in another order and number."""
    site.title("film", unit="hls/clip/index.m3u8", nginx="ladder/index.m3u8")
    viewer = Viewer(site, chromium, "film")
    first = viewer.server
    try:
        site.post(f"/servers/{first}/drain")
        viewer.until_moved(first)
        viewer.goes_on()
    finally:
        site.post(f"/servers/{first}/return")
    second = viewer.server
    wait_until(lambda: len(site.pathways("film")) == 2, PATIENCE, "it is used again")
    try:
        site.servers[second].signal(signal.SIGSTOP)
        viewer.until_moved(second)
        assert viewer.server == first
        viewer.goes_on()
    finally:
        site.servers[second].signal(signal.SIGCONT)
        viewer.player.tab.close()
    status, text = site.portal.get("/metrics")
    assert status == 200
    moved = [line for line in text.splitlines() if line.startswith("helio_dispatcher_moved_total")]
    assert float(moved[0].split()[1]) >= 2


def test_who_plays_is_moved_to_a_server_that_came_later(site: Site, chromium: Chromium) -> None:
    """He began when there was only nginx, of which Apache is a clone."""
    site.title("series", nginx="ladder/index.m3u8")
    viewer = Viewer(site, chromium, "series")
    assert viewer.server == "nginx"
    assert sorted(viewer.player.heights) == [180, 360]
    uri = f"{site.servers['apache'].url}/ladder/index.m3u8"
    site.post("/files", {"title": "series", "server": "apache", "format": "hls", "uri": uri})
    wait_until(lambda: len(site.pathways("series")) == 2, PATIENCE, "Apache is named")
    site.post("/servers/nginx/drain")
    try:
        viewer.until_moved("nginx")
        assert viewer.server == "apache"
        viewer.goes_on()
        assert sorted(viewer.player.heights) == [180, 360]
    finally:
        site.post("/servers/nginx/return")
        viewer.player.tab.close()
