"""Eight servers that send titles at their rates, plays of differing length, and how evenly the
servers are loaded, by their own logs."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import random
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

from tests.ports import free_port

from .heliograph import Server
from .program import Program, wait_until
from .proxies import NGINX

SERVERS = 8
#: Titles and what each draws, KiB a second: from a song to a film in two sizes.
RATES = [8, 16, 24, 32, 48, 64] * 5
#: Seconds that a play takes in the middle, and the spread of its logarithm: most are short, and a
#: few very long.
LENGTH, SPREAD = 8.0, 0.8
#: Plays that begin each second: some 400 at a time.
COMING = 36.0
#: Seconds until as many go as come, and of the measurement.
FILLING, MEASURED = 25.0, 60.0
#: Highest load of a server by that of the mean one.
EVEN = 1.25
#: Seconds of the pieces of the measurement that are looked at by themselves.
PIECE = 10.0
PATIENCE = 60.0
#: What a decision commits decays in about the time that people stay.
DECAY = LENGTH * math.exp(SPREAD**2 / 2)

CONFIG = """\
user root;
worker_processes 1;
pid {here}/pid;
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
  log_format plain '$msec $request_time $bytes_sent $request_uri';
  access_log {here}/access.log plain;
  client_body_temp_path {here}/a; proxy_temp_path {here}/b; fastcgi_temp_path {here}/c;
  uwsgi_temp_path {here}/d; scgi_temp_path {here}/e;
  map $request_uri $kib {{ default 0; ~^/r(?<r>[0-9]+)/ ${{r}}k; }}
  server {{
    listen 127.0.0.1:{port};
    root {root};
    limit_rate $kib;
    location = /connections {{ stub_status; access_log off; }}
    location ~ ^/r[0-9]+/ {{ rewrite ^/r[0-9]+/(.*)$ /$1 break; }}
  }}
}}
"""


class Nginx(Program):
    """A server that sends each file at its rate."""

    def __init__(self, number: int, root: Path, directory: Path) -> None:
        self.port = free_port()
        self.access = directory / f"{number}" / "access.log"
        self.access.parent.mkdir()
        config = self.access.with_name("nginx.conf")
        config.write_text(CONFIG.format(here=self.access.parent, port=self.port, root=root))
        argv = [NGINX, "-c", str(config), "-p", str(directory), "-g", "daemon off;"]
        super().__init__(f"nginx-{number}", argv, directory)

    def idle(self) -> bool:
        """Whether every play has ended, and stands in the log: nginx writes it there first."""
        with urlopen(f"http://127.0.0.1:{self.port}/connections", timeout=PATIENCE) as answer:
            active, _, _ = answer.read().decode().partition("\n")
        return active.strip() == "Active connections: 1"  # this one


@dataclass(frozen=True, slots=True)
class Sent:
    """A line of a server's log: what one play was sent."""

    began: float
    ended: float
    sent: int

    @classmethod
    def parse(cls, line: str) -> Sent:
        at, took, sent, _ = line.split()
        return cls(float(at) - float(took), float(at), int(sent))

    def between(self, begin: float, end: float) -> float:
        """Bytes of it that were sent in a time, if it was sent evenly."""
        shared = min(self.ended, end) - max(self.began, begin)
        return self.sent * max(0.0, shared) / max(self.ended - self.began, 1e-3)


async def play(port: int, title: str, seconds: float) -> str:
    """Ask for a title, and read what the server sends until the viewer goes; its status."""
    async with connected(port) as (reader, writer):
        writer.write(f"GET /go/{title} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    status = head.split(" ", 2)[1]
    where = urlsplit(head.lower().partition("\nlocation: ")[2].partition("\r\n")[0])
    if where.port is None:
        return status
    async with connected(where.port) as (reader, writer):
        writer.write(f"GET {where.path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while await reader.read(65536):
                    pass
    return status


@contextlib.asynccontextmanager
async def connected(
    port: int,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection that is gone in the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def crowd(port: int, seconds: float) -> list[str]:
    """Plays that come and go; statuses of their redirects."""
    rng, tasks = random.Random(8), []
    due = time.monotonic()
    end = due + seconds
    while due < end:
        due += rng.expovariate(COMING)
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        title = f"t{min(int(rng.expovariate(0.15)), len(RATES) - 1)}"  # some are popular
        length = min(LENGTH * math.exp(rng.gauss(0, SPREAD)), 10 * LENGTH)
        tasks.append(asyncio.create_task(play(port, title, length)))
    for task in tasks:
        if not task.done():
            task.cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    return [
        one if isinstance(one, str) else repr(one)
        for one in done
        if not isinstance(one, asyncio.CancelledError)
    ]


@dataclass(frozen=True, slots=True)
class Evenness:
    """How evenly servers were loaded."""

    statuses: Sequence[str]
    """What those were answered who asked for a title."""
    rate: float
    """Bytes a second of all servers."""
    whole: float
    """Most that a server sent in the measurement, by what the mean one did."""
    pieces: Sequence[float]
    """The same of each piece of it."""


class House:
    """The servers; which of them has which title; and the portal."""

    def __init__(self, directory: Path, portal: Server) -> None:
        """``portal`` is ready, and forgets decisions in ``DECAY`` seconds."""
        root = directory / "media"
        root.mkdir()
        with (root / "film").open("wb") as file:
            os.truncate(file.fileno(), 64 << 20)
        self.portal = portal
        self.servers: list[Nginx] = []
        try:
            for number in range(SERVERS):
                self.servers.append(Nginx(number, root, directory))
            self._tell()
        except BaseException:
            self.stop()
            raise

    def _tell(self) -> None:
        """Fill the catalogue, and wait until the dispatcher knows it."""
        for number, one in enumerate(self.servers):
            probes = [{"kind": "tcp", "interval": 2.0, "port": one.port}]
            self._add("/servers", name=f"s{number}", host="127.0.0.1", probes=probes)
        files = 0
        for number, rate in enumerate(RATES):
            self._add("/titles", name=f"t{number}", title=f"Title {number}")
            # Not every server has every title.
            for place in {(number * 5 + step) % SERVERS for step in range(3 + number % 6)}:
                uri = f"http://127.0.0.1:{self.servers[place].port}/r{rate}/film"
                told = {"format": "mp4", "uri": uri, "bits_per_second": rate * 8192}
                self._add("/files", title=f"t{number}", server=f"s{place}", **told)
                files += 1
        metrics = ("helio_dispatcher_usable_servers 8.0", f"helio_dispatcher_files {files}.0")

        def known() -> bool:
            text = self.portal.get("/metrics")[1]
            return all(one in text for one in metrics)

        wait_until(known, PATIENCE, "all is known")

    def _add(self, path: str, **body: object) -> None:
        status, answer = self.portal.manage("POST", path, body)
        assert status == 201, (path, status, answer)

    def measure(self, filling: float = FILLING, measured: float = MEASURED) -> Evenness:
        """Let plays come and go for so many seconds, and then look at what servers sent in the
        last ``measured`` of them."""
        begin = time.time() + filling
        statuses = asyncio.run(crowd(self.portal.http_port, filling + measured))
        wait_until(
            lambda: all(one.idle() for one in self.servers), PATIENCE, "all viewers have gone"
        )
        logs = [
            [Sent.parse(line) for line in one.access.read_text().splitlines()]
            for one in self.servers
        ]

        def sent(begin: float, end: float) -> list[float]:
            return [sum(one.between(begin, end) for one in log) for log in logs]

        def uneven(begin: float, end: float) -> float:
            each = sent(begin, end)
            return max(each) / statistics.mean(each)

        pieces = range(int(measured // PIECE))
        return Evenness(
            statuses,
            sum(sent(begin, begin + measured)) / measured,
            uneven(begin, begin + measured),
            [uneven(begin + one * PIECE, begin + (one + 1) * PIECE) for one in pieces],
        )

    def stop(self) -> None:
        """End the servers."""
        for one in self.servers:
            one.stop()
