"""How long a server that died is still sent to, by real processes."""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from tests.interop.peers.asking import FORMATS, Asking
from tests.interop.peers.heliograph import Server
from tests.interop.peers.program import wait_until
from tests.interop.peers.proxies import NGINX
from tests.interop.peers.title_servers import Nginx
from tests.perf.figures import Figure, Result, at_most

if TYPE_CHECKING:
    from tests.perf.plan import Plan

OWN = "heliograph"
SERVERS = 4
#: Servers that die one after the other: every other one is killed, those between are frozen.
DEATHS, QUICK_DEATHS = 40, 4
#: Requests a second, and seconds from one probe of a server to the next.
RATE, INTERVAL = 1000.0, 0.3
#: Seconds that a server is away, and after which nobody is sent to it.
AWAY, NOTICED = 1.5, 1.0
#: Seconds for whatever has to begin.
PATIENCE = 60.0


class Site:
    """A portal and some nginx that hold one title, each in its own directory."""

    def __init__(self, directory: Path) -> None:
        media = directory / "media"
        media.mkdir()
        (media / "film.mp4").write_bytes(bytes(200_000))
        self.servers: list[Nginx] = []
        for number in range(SERVERS):
            place = directory / f"s{number}"
            place.mkdir()
            self.servers.append(Nginx(media, place))
        self.portal = Server(directory, [], name="portal")

    def start(self) -> None:
        """Start all, and wait until titles are handed out from everywhere."""
        for server in self.servers:
            server.start()
        self.portal.until_ready()
        self._add("titles", name="film")
        for number, server in enumerate(self.servers):
            probe = {"kind": "http", "interval": INTERVAL, "path": "/film.mp4"}
            probes = [probe | {"port": server.port}]
            self._add("servers", name=f"s{number}", host="127.0.0.1", probes=probes)
            for format in FORMATS:
                scheme = "rtsp" if format == "rtsp" else "http"
                uri = f"{scheme}://127.0.0.1:{server.port}/film.{format}"
                self._add("files", title="film", server=f"s{number}", format=format, uri=uri)
        wait_until(lambda: self.up() == SERVERS, PATIENCE, "all servers are up")

    def _add(self, kind: str, **values: object) -> None:
        status, answer = self.portal.manage("POST", f"/{kind}", values)
        if status != 201:
            raise RuntimeError(f"{kind}: {status} {answer}")

    def up(self) -> int:
        """How many servers their monitor calls up."""
        states = self.portal.manage("GET", "/monitor/states")[1]["states"]
        return sum(one["condition"] in ("up", "starting") for one in states)

    def stop(self) -> None:
        """End everything."""
        self.portal.stop()
        for server in self.servers:
            server.stop()


def _die(site: Site, asking: Asking, server: Nginx, frozen: bool) -> tuple[float, float]:
    """Seconds until the last redirect to a server from its death, and to the first from its
    return."""
    died = time.monotonic()
    if frozen:
        server.signal(signal.SIGSTOP)
    else:
        server.kill()
    time.sleep(AWAY)
    came = time.monotonic()
    last = max((one.at - died for one in asking.since(died) if one.port == server.port), default=0)
    if frozen:
        server.signal(signal.SIGCONT)
    else:
        server.start()

    def used() -> bool:
        return any(one.port == server.port for one in asking.since(came))

    wait_until(used, PATIENCE, "it is used again")
    first = next(one.at - came for one in asking.since(came) if one.port == server.port)
    wait_until(lambda: site.up() == SERVERS, PATIENCE, "all servers are up")
    return last, first


def dead_servers(plan: Plan) -> Result:
    """Redirects to servers that died."""
    if not shutil.which(NGINX):
        raise RuntimeError("nginx is not installed")
    count = QUICK_DEATHS if plan.quick else DEATHS
    directory = plan.place.work / "dead-servers"
    directory.mkdir()
    directory.chmod(0o755)
    site = Site(directory)
    found: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    try:
        site.start()
        asking = Asking(site.portal.http_port, "film", RATE)
        try:
            wait_until(lambda: len(asking.answers) > RATE, PATIENCE, "answers come")
            for number in range(count):
                frozen = number % 2 == 1
                one = _die(site, asking, site.servers[number // 2 % SERVERS], frozen)
                found[frozen].append(one)
                how = "frozen" if frozen else "killed"
                plan.say(f"  {how}: last redirect after {one[0]:.2f} s, used again {one[1]:.2f} s")
        finally:
            asking.stop()
    finally:
        site.stop()
    figures = []
    for frozen, how in ((False, "killed"), (True, "frozen")):
        lasts = [last for last, _ in found[frozen]]
        firsts = [first for _, first in found[frozen]]
        what = f"from a server's death ({how}) to the last redirect to it"
        figures += [
            Figure(f"{what}, median", OWN, median(lasts), "s"),
            Figure(f"{what}, most", OWN, max(lasts), "s", target=at_most(NOTICED)),
            Figure(
                f"from its return ({how}) to the first redirect, median", OWN, median(firsts), "s"
            ),
        ]
    wrong = sum(one.status != 302 for one in asking.answers) + len(asking.failures)
    figures.append(
        Figure(
            "answers that were no redirects, and connections that broke",
            OWN,
            wrong,
            "",
            target=at_most(0),
        )
    )
    return Result(
        "dead-servers",
        f"Redirects to servers that die, of {len(asking.answers)} at {RATE:.0f} a second",
        tuple(figures),
        (
            f"{SERVERS} nginx, asked for 64 KiB of a file each {INTERVAL} s; {count} deaths "
            "one after the other, half of them by SIGKILL, half by SIGSTOP. Times are of the "
            "answers, by the clock of who asks.",
        ),
    )
