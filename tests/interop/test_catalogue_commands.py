"""What operators do with the catalogue, by the commands they have: servers of other makes are
added, looked through, drained and removed, titles and files added, at a server that runs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import unquote
from urllib.request import HTTPRedirectHandler, build_opener

import pytest

from .peers.heliograph import Server
from .peers.program import wait_until
from .peers.title_servers import Apache, Nginx, TitleServer

pytestmark = [pytest.mark.interop, pytest.mark.timeout(480)]

PATIENCE = 60.0
PLAYLIST = """\
#EXTM3U
#EXT-X-TARGETDURATION:6
#EXT-X-PLAYLIST-TYPE:VOD
#EXTINF:6.0,
s0.ts
#EXTINF:3.5,
s1.ts
#EXT-X-ENDLIST
"""
#: What is there to play, by the title that it is a copy of. Names are such that a listing has to
#: quote and to cut them: nginx shows 50 letters of a name, Apache 23.
HELD = {
    "Big-Film": ("Big Film.mp4", "mp4"),
    "Blute-Fruhling": ("Blüte & Frühling.mp4", "mp4"),
    "it-s-50-off-really": ("it's 50% off #really?.mp4", "mp4"),
    "a-b": ("a<b>.mp4", "mp4"),
    "word-" * 10 + "wor-71d0932057": ("word-" * 19 + "end.mp4", "mp4"),
    "deep": ("one/two/three/deep.mp4", "mp4"),
    "Cut": ("Cut/index.m3u8", "hls"),
    "Rungs": ("films/Rungs/master.m3u8", "hls"),
}
#: What is there besides, and nothing to play by itself.
BESIDE = (
    "read me.txt",
    "cover.jpg",
    "Cut/s0.ts",
    "Cut/s1.ts",
    "films/Rungs/low.m3u8",
    "empty/x.nfo",
)


def fill(root: Path) -> None:
    """Put all that into a directory that others may read."""
    for name in [*(file for file, _ in HELD.values()), *BESIDE]:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(PLAYLIST if name.endswith(".m3u8") else "x" * 3000)
    master = root / HELD["Rungs"][0]
    master.write_text("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=800000\nlow.m3u8\n")
    for place in (root, *root.rglob("*")):
        place.chmod(0o755 if place.is_dir() else 0o644)


class Stay(HTTPRedirectHandler):
    """Follows nobody."""

    def redirect_request(self, *_: object) -> None:
        return None


class Site:
    """A portal, and two servers of other makes with the same directory."""

    def __init__(self, directory: Path) -> None:
        root = directory / "media"
        root.mkdir()
        fill(root)
        self.servers: dict[str, TitleServer] = {
            "nginx": Nginx(root, directory),
            "apache": Apache(root, directory),
        }
        self.portal = Server(directory, [], name="portal")
        self._open = build_opener(Stay())

    def helio(self, *words: str, code: int = 0) -> str:
        """What a command says, on standard output where it succeeds, else on the other."""
        argv = [sys.executable, "-m", "heliograph", *words, "--server", self.portal.http]
        argv += ["--key-file", str(self.portal.state / "administrator.key")]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == code, (words, done.stdout, done.stderr)
        return done.stderr if code else done.stdout

    def json(self, *words: str) -> Any:
        """The same for programs."""
        return json.loads(self.helio(*words, "--json"))

    def add(self, name: str) -> None:
        """Add one of the servers."""
        probe = f"tcp@0.3:{self.servers[name].port}"
        assert "added" in self.helio("server", "add", name, "127.0.0.1", "--probe", probe)

    def go(self, title: str) -> tuple[int, str]:
        """Status of an answer, and where it sends."""
        try:
            self._open.open(f"{self.portal.http}/go/{title}", timeout=PATIENCE)
        except HTTPError as answer:
            with answer:
                return answer.code, answer.headers.get("location", "")
        raise AssertionError("neither a redirect nor a refusal")

    def until_sent(self, title: str, expected: Callable[[tuple[int, str]], bool]) -> None:
        """Wait until somebody who asks for a title is answered like that, and then always is."""
        wait_until(
            lambda: all(expected(self.go(title)) for _ in range(20)),
            PATIENCE,
            f"{title} is answered otherwise",
        )
        assert all(expected(self.go(title)) for _ in range(20))


@pytest.fixture
def site() -> Iterator[Site]:
    # Servers that gave up root's rights read here, which they may not in pytest's directories.
    directory = Path(tempfile.mkdtemp(prefix="helio-commands-"))
    directory.chmod(0o755)
    made = Site(directory)
    try:
        for server in made.servers.values():
            server.start()
        made.portal.until_ready()
        yield made
    finally:
        made.portal.stop()
        for server in made.servers.values():
            server.stop()
        print(made.portal.log[-3000:])
        shutil.rmtree(directory)


def test_scan_registers_what_a_server_holds_and_again_nothing(site: Site) -> None:
    expected = set()
    for round, (name, server) in enumerate(site.servers.items()):
        site.add(name)
        if not round:
            seen = site.json("server", "scan", name, f"{server.url}/", "--dry-run")
            assert (len(seen["found"]), seen["added"]) == (len(HELD), 0)
        found = site.json("server", "scan", name, f"{server.url}/")
        assert (found["rejected"], found["failed"], found["cut"]) == ([], [], "")
        # The second server's are copies of titles that are there.
        assert found["added"] == (1 if round else 2) * len(HELD)
        expected |= {
            (title, name, kind, f"{server.url}/{file}") for title, (file, kind) in HELD.items()
        }
        again = site.helio("server", "scan", name, f"{server.url}/")
        assert f"{len(HELD)} files on " in again
        assert f"0 rows added, 0 changed, {len(HELD)} as they were, 0 rejected" in again
    files = site.json("file", "list")
    registered = {
        (one["title"], one["server"], one["format"], unquote(one["uri"])) for one in files
    }
    assert registered == expected
    assert len(files) == len(expected)
    titles = {one["name"]: one for one in site.json("title", "list")}
    assert titles.keys() == HELD.keys()
    assert titles["Cut"]["duration"] == 9.5
    assert {one["name"]: one["files"] for one in site.json("server", "list")} == dict.fromkeys(
        site.servers, len(HELD)
    )
    # What is registered can be had.
    site.until_sent("Blute-Fruhling", lambda answer: answer[0] == 302)
    _, uri = site.go("Blute-Fruhling")
    with build_opener().open(uri, timeout=PATIENCE) as film:
        assert film.read() == b"x" * 3000


def test_servers_titles_and_files_by_commands(site: Site) -> None:
    for name, server in site.servers.items():
        site.add(name)
        assert name in site.helio("server", "add", name, "127.0.0.1", code=3)  # there already
        if name == "nginx":
            site.helio("title", "add", "film", "--title", "A film", "--duration", "60")
        site.helio("file", "add", "film", name, f"{server.url}/Big%20Film.mp4")
    (film,) = site.json("title", "list")
    assert (film["title"], film["duration"], film["files"]) == ("A film", 60.0, 2)
    assert {one["name"] for one in site.json("server", "list")} == {"nginx", "apache"}
    site.helio("file", "add", "none", "nginx", f"{site.servers['nginx'].url}/x.mp4", code=3)
    sent = {
        name: (lambda answer, url=server.url: answer[0] == 302 and answer[1].startswith(url))
        for name, server in site.servers.items()
    }
    for name in ("nginx", "apache"):  # both are used
        wait_until(lambda name=name: sent[name](site.go("film")), PATIENCE, f"{name} is used")

    assert "nobody new" in site.helio("server", "drain", "nginx")
    site.until_sent("film", sent["apache"])
    assert "drained" in site.helio("server", "list", "--search", "nginx")
    site.helio("server", "drain", "apache")
    site.until_sent("film", lambda answer: answer[0] == 503)
    site.helio("server", "return", "apache")
    site.until_sent("film", sent["apache"])
    assert "used again" in site.helio("server", "return", "nginx")
    wait_until(lambda: sent["nginx"](site.go("film")), PATIENCE, "nginx is used again")

    assert "nginx" in site.helio("server", "remove", "nginx", code=3)  # it has files
    site.helio("server", "remove", "nginx", "--files")
    site.until_sent("film", sent["apache"])
    assert [one["server"] for one in site.json("file", "list")] == ["apache"]
    (file,) = site.json("file", "list", "film")
    site.helio("file", "remove", str(file["id"]))
    site.until_sent("film", lambda answer: answer[0] == 404)
    site.helio("title", "remove", "film")
    site.helio("server", "remove", "apache")
    assert site.json("title", "list") == site.json("server", "list") == []
    site.helio("title", "remove", "film", code=3)
