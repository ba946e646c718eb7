"""A whole server sends players to nginx, twice: as titles are added, and as one of the two dies."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.ports import free_port
from tests.system.conftest import Served, start, stop, until

_NGINX = """\
daemon off;
master_process off;
pid {work}/nginx.pid;
error_log {work}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log {work}/access.log;
  client_body_temp_path {work}/a; proxy_temp_path {work}/b; fastcgi_temp_path {work}/c;
  uwsgi_temp_path {work}/d; scgi_temp_path {work}/e;
  server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""
#: Seconds in which a server that died gets nobody any more, by what is promised; the rest is for
#: busy machines.
DEAD_S = 1.0


@dataclass
class Nginx:
    process: subprocess.Popen[bytes]
    port: int
    work: Path

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.port}"


@pytest.fixture
def nginx(clip: Path, tmp_path: Path) -> Iterator[list[Nginx]]:
    """Two servers that hold the clip."""
    program = shutil.which("nginx")
    assert program is not None
    root = tmp_path / "media"
    root.mkdir()
    shutil.copy(clip, root / "clip.mp4")
    made = []
    for number in range(2):
        work, port = tmp_path / f"nginx{number}", free_port()
        work.mkdir()
        config = work / "nginx.conf"
        config.write_text(_NGINX.format(work=work, port=port, root=root))
        command = [program, "-c", str(config), "-e", str(work / "first.log")]
        made.append(Nginx(start(command, work / "out.log"), port, work))
    try:
        for one in made:
            until("nginx listens", lambda one=one: _listens(one.port))
        yield made
    finally:
        for one in made:
            stop(one.process)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


class Site:
    """The API of a server, and its redirects."""

    def __init__(self, served: Served, state: Path) -> None:
        self.served = served
        self._key = (state / "administrator.key").read_text().strip()
        place = urlsplit(served.http)
        self._connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=10)

    def close(self) -> None:
        self._connection.close()

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        request = self._asking(path, json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    def _asking(self, path: str, body: bytes | None = None) -> urllib.request.Request:
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        return urllib.request.Request(f"{self.served.http}/api/v1/{path}", body, headers)

    def add(self, name: str, one: Nginx) -> None:
        probe = {"kind": "http", "interval": 0.3, "port": one.port, "path": "/clip.mp4"}
        self.post("servers", name=name, host="127.0.0.1", make="nginx", probes=[probe])
        uri = f"http://{one.place}/clip.mp4"
        self.post("files", title="clip", server=name, format="mp4", uri=uri)

    def up(self) -> bool:
        """Whether all servers are up, with their whole share."""
        with urllib.request.urlopen(self._asking("monitor/states"), timeout=10) as answer:
            found = json.load(answer)["states"]
        return len(found) == 2 and {one["condition"] for one in found} == {"up"}

    def go(self, name: str = "clip", **headers: str) -> tuple[int, str]:
        self._connection.request("GET", f"/go/{name}", headers=headers)
        answer = self._connection.getresponse()
        answer.read()
        return answer.status, urlsplit(answer.getheader("location", "")).netloc

    def places(self, count: int = 200) -> Counter[str]:
        return Counter(self.go()[1] for _ in range(count))


@pytest.fixture
def site(served: Served, tmp_path: Path) -> Iterator[Site]:
    made = Site(served, tmp_path / "state")
    yield made
    made.close()


@pytest.mark.interop
@pytest.mark.alone
def test_players_are_sent_to_servers_that_live(site: Site, nginx: list[Nginx]) -> None:
    assert site.go()[0] == 404
    site.post("titles", name="clip", title="A clip")
    until("the title is known", lambda: site.go()[0] == 404)
    first, second = nginx
    site.add("one", first)
    until("the first server is measured", lambda: site.go() == (302, first.place))
    site.add("two", second)
    until("both are used", lambda: len(site.places(20)) == 2)
    # one that was once too slow for its monitor gets its share by and by
    until("both have their whole share", site.up)
    # what the first was given while it was alone is made up for
    until("both are even", lambda: max(site.places().values()) / 100 <= 1.25)
    assert max(site.places().values()) / 100 <= 1.25
    played = subprocess.run(
        ["ffprobe", "-v", "error", "-show_entries", "format=duration", "-of", "csv=p=0"]
        + [f"{site.served.http}/go/clip"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert float(played.stdout) == pytest.approx(10, abs=0.5), played.stderr
    assert site.go("clip?format=hls")[0] == 406
    assert site.go("demo", Accept="application/vnd.apple.mpegurl")[0] == 302

    first.process.kill()
    died = time.monotonic()
    until("nobody is sent to the dead one", lambda: first.place not in site.places(20))
    assert time.monotonic() - died < 10 * DEAD_S
    assert set(site.places()) == {second.place}

    site.post("servers/two/drain")
    until("nobody is left", lambda: site.go()[0] == 503)
    site.post("servers/two/return")
    until("it is back", lambda: site.go() == (302, second.place))


@pytest.mark.interop
def test_rtsp_players_are_redirected(site: Site, nginx: list[Nginx]) -> None:
    served = site.served
    site.post("titles", name="film", title="A film")
    probe = {"kind": "tcp", "interval": 0.3, "port": nginx[0].port}
    site.post("servers", name="far", host="127.0.0.1", probes=[probe])
    uri = "rtsp://far.example/film.sdp"
    site.post("files", title="film", server="far", format="rtsp", uri=uri)
    until("the title is known", lambda: site.go("film?format=rtsp") == (302, "far.example"))
    with socket.create_connection(("127.0.0.1", served.rtsp_port), 10) as client:
        client.sendall(f"DESCRIBE {served.rtsp}/film RTSP/1.0\r\nCSeq: 1\r\n\r\n".encode())
        answer = client.recv(4096).decode()
    assert answer.startswith("RTSP/1.0 302 ")
    assert f"\r\nLocation: {uri}\r\n" in answer
