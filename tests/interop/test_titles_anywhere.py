"""One address for a title that servers of four makes hold: players follow it, what fails is not
sent to any more, and the reports say what was sent where. By both databases."""

from __future__ import annotations

import http.client
import math
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .peers import ffmpeg, gstreamer, mpv
from .peers.asking import FORMATS, Asking
from .peers.chromium import Chromium
from .peers.clip import Clip, make
from .peers.heliograph import Server
from .peers.hls import HlsJs
from .peers.postgresql import PostgreSQL
from .peers.program import Program, wait_until
from .peers.title_servers import Apache, GStreamer, Nginx, TitleServer, Unit, lay_out

pytestmark = [pytest.mark.interop, pytest.mark.alone, pytest.mark.timeout(240)]

#: Seconds for players to start on a busy machine.
PATIENCE = 60.0
#: Pictures that show that a player plays.
PICTURES = 30
#: Requests a second while servers come and go.
RATE = 1000.0
#: Seconds after which nobody is sent to a server that died.
NOTICED = 1.0
#: Seconds until a server that came back is used again.
RETURNED = 15.0
#: Bits a second of media: a server that sends 64 KiB in a fifth of a second has 2.6 million.
SLOW = 8e6
#: Often enough that a death is noticed in time.
INTERVAL = 0.3


class Site:
    """A dispatcher, three servers of other makes, and a unit of ours; they hold the same title."""

    def __init__(self, clip: Clip, directory: Path, database: str) -> None:
        """``database``: its address; empty: the portal's own."""
        root = lay_out(clip, directory)
        self.apache = Apache(root, directory)
        self.unit = Unit(clip.opus, directory)
        self.servers: dict[str, TitleServer] = {
            "nginx": Nginx(root, directory),
            "apache": self.apache,
            "gstreamer": GStreamer(clip, directory),
            "unit": self.unit,
        }
        settings = {"database": {"url": database}} if database else {}
        self.portal = Server(directory, [], settings=settings, name="portal")

    def start(self) -> None:
        """Start all, tell the dispatcher of them, and wait until it has measured them."""
        for one in self.servers.values():
            one.start()
        self.portal.until_ready()
        self._add("/titles", {"name": "film", "title": "A film"})
        for name, server in self.servers.items():
            files = name in ("nginx", "apache")
            probe = {"kind": "http", "path": "/clip.mp4"} if files else {"kind": "rtsp"}
            port = self.unit.rtsp_port if name == "unit" else server.port
            self._add_server(name, probe | {"port": port})
        for name in ("nginx", "apache"):
            self._add_file(name, "mp4", f"{self.servers[name].url}/clip.mp4")
            self._add_file(name, "hls", f"{self.servers[name].url}/clip/index.m3u8")
        self._add_file("gstreamer", "rtsp", f"{self.servers['gstreamer'].url}/clip")
        self._add_file("unit", "rtsp", self.unit.rtsp)
        self._add_file("unit", "hls", f"{self.unit.url}/hls/clip/index.m3u8")
        self._add_file("unit", "mp4", f"{self.unit.url}/titles/clip.mp4")
        wait_until(self._all_up, PATIENCE, "all servers are up")
        wait_until(self._known, PATIENCE, "the dispatcher knows all files")

    def _add(self, path: str, body: dict[str, Any]) -> None:
        status, answer = self.portal.manage("POST", path, body)
        assert status == 201, (path, status, answer)

    def _add_server(self, name: str, probe: dict[str, Any]) -> None:
        probes = [{"interval": INTERVAL, **probe}]
        self._add("/servers", {"name": name, "host": "127.0.0.1", "probes": probes})

    def _add_file(self, server: str, kind: str, uri: str) -> None:
        rate = 2_000_000
        file = {"title": "film", "server": server, "format": kind, "uri": uri}
        self._add("/files", {**file, "bits_per_second": rate})

    def name_of(self, port: int) -> str:
        """Which server listens there."""
        return next(name for name, one in self.servers.items() if port in one.ports)

    def redirects(self) -> Counter[str]:
        """What the reports say of each server, since the beginning."""
        status, answer = self.portal.manage("GET", "/reports/servers")
        assert status == 200
        assert answer["missing"] == 0
        return Counter({one["name"]: one["redirects"] for one in answer["lines"]})

    def settled(self) -> bool:
        """Whether the reports have all that was recorded."""
        lines = self.portal.get("/metrics")[1].splitlines()
        found = dict(line.split() for line in lines if line.startswith("helio_statistics_"))
        made, there = (found[f"helio_statistics_{what}_total"] for what in ("records", "delivered"))
        return float(made) == float(there) > 0

    def conditions(self) -> dict[str, str]:
        """What the monitors say, by server."""
        status, answer = self.portal.manage("GET", "/monitor/states")
        assert status == 200
        return {one["server"]: one["condition"] for one in answer["states"]}

    def throughput(self, server: str) -> float:
        """Bits a second at which the monitors get media from it."""
        status, answer = self.portal.manage("GET", "/monitor/states")
        assert status == 200
        (found,) = (one for one in answer["states"] if one["server"] == server)
        return float(found["throughput_bps"] or math.inf)

    def _all_up(self) -> bool:
        found = self.conditions()
        return len(found) == 4 and set(found.values()) == {"up"}

    def _known(self) -> bool:
        """Whether there is somewhere to go for each format: the database is read each second."""
        return all(self._status(format) == 302 for format in FORMATS)

    def _status(self, format: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.portal.http_port, timeout=5)
        try:
            connection.request("GET", f"/go/film?format={format}")
            return connection.getresponse().status
        finally:
            connection.close()

    @property
    def go(self) -> str:
        return f"{self.portal.http}/go/film"

    def stop(self) -> None:
        """End everything."""
        self.portal.stop()
        for server in self.servers.values():
            server.stop()


@pytest.fixture(
    scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.long)]
)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    # Servers that gave up root's rights read here, which they may not in pytest's directories.
    directory = Path(tempfile.mkdtemp(prefix="helio-titles-"))
    directory.chmod(0o755)
    database = PostgreSQL() if request.param == "postgresql" else None
    made = Site(Clip(), directory, "" if database is None else database.url(database.create()))
    try:
        made.start()
        yield made
    finally:
        made.stop()
        print(made.portal.log[-3000:])
        if database is not None:
            database.close()
        shutil.rmtree(directory)


def players(site: Site, clip: Clip, directory: Path) -> dict[str, Callable[[], Any]]:
    """Players of others, each with an address it understands."""
    rtsp = site.portal.rtsp("film")
    return {
        "ffmpeg mp4": lambda: ffmpeg.watch(clip, f"{site.go}?format=mp4", "hls", directory),
        "ffmpeg hls": lambda: ffmpeg.watch(clip, f"{site.go}?format=hls", "hls", directory),
        "ffmpeg rtsp": lambda: ffmpeg.watch(clip, rtsp, "tcp", directory),
        "mpv mp4": lambda: mpv.watch(clip, f"{site.go}?format=mp4", "hls", directory),
        "mpv rtsp": lambda: mpv.watch(clip, rtsp, "tcp", directory),
        "gstreamer rtsp": lambda: gstreamer.watch(clip, rtsp, "tcp", directory),
    }


@pytest.mark.parametrize(
    "player",
    ["ffmpeg mp4", "ffmpeg hls", "ffmpeg rtsp", "mpv mp4", "mpv rtsp", "gstreamer rtsp"],
)
def test_players_follow_the_logical_address(
    player: str, site: Site, clip: Clip, run: Callable[[Program], Program], tmp_path: Path
) -> None:
    viewer = run(players(site, clip, tmp_path)[player]())
    viewer.wait_pictures(PICTURES, PATIENCE)
    numbers = [seen.number for seen in viewer.record.seen[:PICTURES]]
    first = numbers[0]
    assert first is not None
    assert numbers == [(first + n) % make.FRAMES for n in range(PICTURES)]


def test_the_browser_plays_all_servers_as_one_playlist(site: Site, chromium: Chromium) -> None:
    player = HlsJs(chromium, f"{site.go}/index.m3u8")
    player.wait_numbers(PICTURES, PATIENCE)
    assert site.name_of(int(player.hosts[0].rpartition(":")[2])) in ("nginx", "apache", "unit")
    player.tab.close()


def test_gstreamer_plays_the_file_by_http(site: Site) -> None:
    line = (
        f"gst-launch-1.0 -q souphttpsrc location={site.go}?format=mp4 ! qtdemux ! h264parse ! "
        f"avdec_h264 ! identity eos-after={PICTURES} ! fakesink"
    )
    done = subprocess.run(line.split(), capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_browser_plays_the_file(site: Site, chromium: Chromium) -> None:
    tab = chromium.open(site.servers["nginx"].url)  # a page without rules of its own
    tab.evaluate(
        """(url) => { const video = document.createElement("video"); video.src = url;
           video.muted = true; document.body.append(video); return video.play(); }""",
        f"{site.go}?format=mp4",
    )
    shown = "() => document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames"
    wait_until(lambda: tab.evaluate(shown) >= PICTURES, PATIENCE, "pictures in the browser")
    tab.close()


@pytest.mark.parametrize("path", ["/go/nothing", "/go/film?format=whep"])
def test_what_is_not_there_plays_nowhere(path: str, site: Site) -> None:
    """The negative control: with no such title or format no player gets a picture."""
    url = site.portal.http + path
    line = ["ffmpeg", "-nostdin", "-v", "error", "-i", url, "-frames:v", "1", "-f", "null", "-"]
    assert subprocess.run(line, capture_output=True, timeout=PATIENCE, check=False).returncode
    assert site.portal.get(path)[0] in (404, 406)


class Truth:
    """Which servers were there when."""

    def __init__(self, site: Site) -> None:
        self.away: dict[int, list[tuple[float, float]]] = {}
        self._site = site

    def during(self, server: TitleServer, begin: float, end: float) -> None:
        """Nobody answered there from ``begin`` to ``end``."""
        for port in server.ports:
            self.away.setdefault(port, []).append((begin, end))

    def wrong(self, asking: Asking) -> list[tuple[float, int]]:
        """Redirects to servers that had been away for longer than it may take to notice."""
        return [
            (one.at - begin, one.port)
            for one in asking.answers
            for begin, end in self.away.get(one.port, ())
            if begin + NOTICED < one.at < end
        ]

    def last(self, asking: Asking) -> float:
        """Seconds from the end of a server to the last redirect to it, the most of all."""
        return max(
            (
                one.at - begin
                for one in asking.answers
                for begin, end in self.away.get(one.port, ())
                if begin < one.at < end
            ),
            default=0.0,
        )


def until_used(asking: Asking, server: TitleServer, since: float) -> None:
    """Wait until somebody is sent there again."""
    wait_until(
        lambda: any(one.port in server.ports for one in asking.since(since)),
        RETURNED,
        f"{server.name} is used again",
    )


def test_nobody_is_sent_to_a_server_that_is_known_dead(site: Site) -> None:
    truth = Truth(site)
    nginx, gst = (site.servers[name] for name in ("nginx", "gstreamer"))
    apache, unit = site.apache, site.unit
    wait_until(site.settled, PATIENCE, "what others asked for is reported")
    before = site.redirects()
    asking = Asking(site.portal.http_port, "film", RATE)
    try:
        wait_until(lambda: len(asking.answers) > RATE, 20, "answers come")
        assert {one.status for one in asking.answers} == {302}
        for server in (nginx, gst, unit):  # killed, and back
            begin = time.monotonic()
            server.kill()
            time.sleep(2 * NOTICED)
            truth.during(server, begin, time.monotonic())
            server.start()
            until_used(asking, server, time.monotonic())
        for server in (apache, unit):  # frozen, and back
            begin = time.monotonic()
            server.signal(signal.SIGSTOP)
            time.sleep(2 * NOTICED)
            truth.during(server, begin, time.monotonic())
            server.signal(signal.SIGCONT)
            until_used(asking, server, time.monotonic())
        apache.slow()  # and still there
        begin = time.monotonic()
        wait_until(lambda: site.throughput("apache") < SLOW, PATIENCE, "it is seen to be slow")
        until_used(asking, apache, time.monotonic())
        apache.slow(False)
        wait_until(lambda: site.throughput("apache") > SLOW, PATIENCE, "it is quick again")
        until_used(asking, apache, time.monotonic())
        slow = time.monotonic() - begin
    finally:
        for server in site.servers.values():
            server.signal(signal.SIGCONT)
        apache.slow(False)
        asking.stop()
    assert asking.failures == []
    seconds = asking.answers[-1].at - asking.answers[0].at
    wrong = truth.wrong(asking)
    print(
        f"{len(asking.answers)} redirects, {len(asking.answers) / seconds:.0f} a second, "
        f"{len(wrong)} wrong; "
        f"slow for {slow:.1f} s; the last one to who was away after {truth.last(asking):.2f} s"
    )
    assert wrong == []
    assert len(asking.answers) / seconds > RATE / 2  # whatever the machine
    # There was a server for each format at any time.
    assert {one.status for one in asking.answers} == {302}
    # The reports agree with who counted himself.
    counted = Counter(site.name_of(one.port) for one in asking.answers)
    print(f"counted: {dict(counted)}")
    wait_until(site.settled, PATIENCE, "all is reported")
    assert site.redirects() - before == counted
