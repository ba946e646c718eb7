"""The reports of a whole server agree with an independent count of the requests it got."""

from __future__ import annotations

import json
import random
import socket
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.system.conftest import Served, until
from tests.system.test_dispatcher import Site

REQUESTS = 1500
HOSTS = {"one": "one.example", "two": "two.example"}


class Counted(Site):
    """Counts each answer as it comes."""

    def __init__(self, served: Served, state: Path) -> None:
        super().__init__(served, state)
        self.seen: Counter[tuple[str, str]] = Counter()

    def go(self, name: str = "clip", **headers: str) -> tuple[int, str]:
        status, place = super().go(name, **headers)
        title = name.partition("?")[0]
        if status == 302:
            server = next(key for key, host in HOSTS.items() if host == place)
            self.seen["title", title] += 1
            self.seen["server", server] += 1
        else:
            self.seen["refused", "" if status == 404 else title] += 1
        return status, place

    def report(self, name: str) -> dict[str, Any]:
        url = f"{self.served.http}/api/v1/reports/{name}"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {self._key}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
            return found


@pytest.fixture
def site(served: Served, tmp_path: Path) -> Iterator[Counted]:
    made = Counted(served, tmp_path / "state")
    yield made
    made.close()


def test_reports_agree_with_what_was_answered(site: Counted) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        titles = ("clip", "film", "song")
        for title in titles:
            site.post("titles", name=title, title=title.title())
        probe = {"kind": "tcp", "interval": 0.3, "port": listener.getsockname()[1]}
        for server, host in HOSTS.items():
            site.post("servers", name=server, host="127.0.0.1", probes=[probe])
            for title in titles:
                uri = f"http://{host}/{title}.mp4"
                site.post("files", title=title, server=server, format="mp4", uri=uri)
        until("both are used", lambda: len({site.go(one)[1] for one in titles * 5}) == 2)
        rng = random.Random(4)
        for _ in range(REQUESTS):
            title = rng.choices((*titles, f"none-{rng.random()}"), (6, 3, 1, 1))[0]
            site.go(f"{title}?format=hls" if rng.random() < 0.1 else title)
    redirects = sum(times for (what, _), times in site.seen.items() if what == "title")
    assert redirects > REQUESTS / 2
    until(
        "all is written down",
        lambda: site.report("periods")["totals"]["redirects"] >= redirects,
    )
    got: Counter[tuple[str, str]] = Counter()
    found = site.report("titles")
    for line in found["lines"]:
        got["title", line["name"]] += line["redirects"]
        got["refused", line["name"]] += line["refusals"]
        assert line["title"] == line["name"].title()
    for line in site.report("servers")["lines"]:
        got["server", line["name"]] += line["redirects"]
    assert +got == site.seen
    assert found["missing"] == 0
    assert site.report("clients")["totals"]["redirects"] == redirects
    popular = [one["name"] for one in site.report("popularity")["titles"]]
    assert popular == sorted(titles, key=lambda one: -site.seen["title", one])
