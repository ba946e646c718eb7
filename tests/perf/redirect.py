"""Redirects a second and core beside nginx, and what a redirect adds to the start of a film."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.perf import proc, redirector
from tests.perf.figures import Figure, Result, Target, at_least, at_most, compare, middle
from tests.perf.servers import ROOT

if TYPE_CHECKING:
    from tests.perf.plan import Plan

OWN, RIVAL = "heliograph", "nginx"
PORTS = {OWN: 9181, RIVAL: 9182}
TITLES, SERVERS = 100_000, 50
CONNECTIONS = 64
#: Seconds at the highest rate: as long as it takes until counts were written down more than once.
LASTING = 100.0
#: Share of the highest rate at which delays are measured.
SHARE = 0.7
#: Seconds after the requests until the first of them are in the database.
WRITTEN = 60.0
#: Connections that ask at that rate, each now and then.
ASKING = 256

_NGINX = """\
daemon off;
master_process off;
worker_processes 1;
pid {work}/nginx.pid;
error_log {work}/nginx.log;
events {{ worker_connections 2048; }}
http {{
  access_log off;
  keepalive_requests 100000000;
  client_body_temp_path {work}/a; proxy_temp_path {work}/b; fastcgi_temp_path {work}/c;
  uwsgi_temp_path {work}/d; scgi_temp_path {work}/e;
  server {{
    listen 127.0.0.1:{port};
    location /go/ {{ return 302 http://s1.example/media$uri.mp4; }}
  }}
}}
"""
#: Asks for titles by chance as a player does; ``PAUSE``: mean ms between two requests of a
#: connection.
_ASK = """\
local pause = tonumber(os.getenv("PAUSE"))
request = function()
  return "GET /go/t" .. math.random({titles}) .. " HTTP/1.1\\r\\nHost: portal.example\\r\\n" ..
    "User-Agent: Lavf/60.3.100\\r\\nAccept: */*\\r\\nRange: bytes=0-\\r\\n\\r\\n"
end
if pause > 0 then
  delay = function() return math.floor(-math.log(1 - math.random()) * pause + 0.5) end
end
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '{{"requests": %d, "us": %d, "p50": %d, "p99": %d, "errors": %d}}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of the load generator found."""

    rate: float
    """Answers a second."""
    per_core: float
    """Answers a second of the server's CPU time."""
    p50_us: float
    p99_us: float
    errors: int
    """Answers that were none, or not those of a redirect."""
    others: float
    """Share of the server's core that others took."""


def missing() -> str:
    """What the scenario needs and is not there."""
    lacking = [name for name in ("nginx", "wrk", "cc") if shutil.which(name) is None]
    return ", ".join(lacking)


def _from_many(plan: Plan) -> Path:
    """The library by which the load generator asks from many addresses; made once."""
    made = plan.place.work / "from_many.so"
    if not made.exists():
        source = Path(__file__).with_name("from_many.c")
        command = ["cc", "-O2", "-shared", "-fPIC", "-o", str(made), str(source), "-ldl"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise RuntimeError(f"{source.name} cannot be compiled: {done.stderr[-500:]}")
    return made


def _state(plan: Plan) -> Path:
    """Where the dispatcher has its journal and its database."""
    return plan.place.work / "redirector"


def _written(plan: Plan) -> tuple[int, int]:
    """Redirects that are in the database, and networks of clients that they were for; as soon as
    there are some, for what comes at once is written step by step."""
    path = _state(plan) / redirector.DATABASE
    deadline = time.monotonic() + WRITTEN
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        while True:
            ((total, networks),) = database.execute(
                "SELECT coalesce(sum(redirects), 0), count(DISTINCT network) FROM client_uses"
            )
            if total or time.monotonic() > deadline:
                return total, networks
            time.sleep(0.2)


@contextlib.contextmanager
def _serving(plan: Plan, name: str) -> Iterator[subprocess.Popen[str]]:
    place, port = plan.place, PORTS[name]
    if name == RIVAL:
        config = place.work / "nginx.conf"
        config.write_text(_NGINX.format(work=place.work, port=port))
        command = [str(shutil.which("nginx")), "-c", str(config), "-e", str(place.work / "n.log")]
    else:
        command = [sys.executable, "-m", "tests.perf.redirector", "--port", str(port)]
        command += ["--titles", str(TITLES), "--servers", str(SERVERS)]
        shutil.rmtree(_state(plan), ignore_errors=True)
        _state(plan).mkdir()
        command += ["--directory", str(_state(plan))]
    log = place.work / f"redirect-{name}.log"
    path = os.pathsep.join((str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")))
    environment = {**os.environ, "PYTHONPATH": path}
    with proc.running(command, place.server_core, log, cwd=ROOT, env=environment) as process:
        deadline = time.monotonic() + 60
        while True:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{name} did not start, see {log}")
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            time.sleep(0.05)
        yield process


def _ask(plan: Plan, name: str, pid: int, seconds: float, connections: int, pause: float) -> Run:
    place = plan.place
    script = place.work / "ask.lua"
    script.write_text(_ASK.format(titles=TITLES))
    command = ["taskset", "-c", str(place.load_core), "wrk", "-t1", f"-c{connections}"]
    command += [f"-d{max(1, round(seconds))}s", "--latency", "-s", str(script)]
    command += [f"http://127.0.0.1:{PORTS[name]}"]
    began, before = time.monotonic(), proc.cost(pid, place.server_core)
    asked = subprocess.run(
        command,
        env={**os.environ, "PAUSE": str(pause), "LD_PRELOAD": str(_from_many(plan))},
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        check=True,
    )
    took = time.monotonic() - began
    cost = proc.cost(pid, place.server_core) - before
    said = json.loads(asked.stdout.splitlines()[-1])
    run = Run(
        said["requests"] / (said["us"] / 1e6),
        said["requests"] / (max(cost.cpu_us, 1) / 1e6),
        said["p50"],
        said["p99"],
        said["errors"],
        (cost.core_us - cost.cpu_us) / 1e6 / took,
    )
    plan.others.append(run.others)
    plan.say(
        f"  {name}: {run.rate:,.0f}/s, {run.per_core:,.0f} a second of CPU, p50 "
        f"{run.p50_us / 1e3:.2f} ms, p99 {run.p99_us / 1e3:.2f} ms, errors {run.errors}, "
        f"others on the core {run.others:.2f}"
    )
    return run


def redirect(plan: Plan) -> Result:
    """Redirects beside nginx."""
    if lacking := missing():
        raise RuntimeError(f"{lacking} is not installed")
    seconds = 3.0 if plan.quick else 10.0
    full: dict[str, list[Run]] = {OWN: [], RIVAL: []}
    partly: list[Run] = []
    bare: list[Run] = []
    written: list[tuple[int, int]] = []
    for _ in range(plan.runs):
        for name, runs in full.items():
            with _serving(plan, name) as process:
                _ask(plan, name, process.pid, seconds, CONNECTIONS, 0)  # warms up
                long = seconds if plan.quick or name == RIVAL else LASTING
                runs.append(_ask(plan, name, process.pid, long, CONNECTIONS, 0))
                rate = SHARE * full[OWN][-1].rate
                one = _ask(plan, name, process.pid, seconds, ASKING, ASKING / rate * 1e3)
                (partly if name == OWN else bare).append(one)
                if name == OWN:
                    written.append(_written(plan))
                    plan.say("  written to the database: {:,} for {} networks".format(*written[-1]))
    rates = {name: middle(one.rate for one in runs) for name, runs in full.items()}
    costs = {name: middle(one.per_core for one in runs) for name, runs in full.items()}
    p50 = {OWN: middle(one.p50_us for one in partly), RIVAL: middle(one.p50_us for one in bare)}
    p99 = {OWN: middle(one.p99_us for one in partly), RIVAL: middle(one.p99_us for one in bare)}
    errors = sum(one.errors for one in (*full[OWN], *partly))
    at = f"at {SHARE:.0%} of that rate"
    return Result(
        "redirect",
        f"Redirects with {TITLES} titles on {SERVERS} servers, every check and record included, "
        f"beside nginx's `return 302`",
        (
            *compare("redirects a second and core", "1/s", costs, {RIVAL: at_least(0.4)}),
            *compare("redirects a second, as they came", "1/s", rates, {}),
            *_delay(f"p50 of the delay, {at}", p50, at_most(5)),
            *_delay(f"p99 of the delay, {at}", p99, at_most(25)),
            Figure("answers that were no redirects", OWN, errors, "", target=at_most(0)),
            Figure(
                "redirects in the database at the end of a run, least",
                OWN,
                min(total for total, _ in written),
                "",
                target=at_least(1),
            ),
            Figure(
                "networks of clients there, least",
                OWN,
                min(networks for _, networks in written),
                "",
                target=at_least(CONNECTIONS),
            ),
        ),
        (
            "A second and core: by the CPU time of the server. Titles are asked for by chance, "
            f"{CONNECTIONS} connections at once; {at}, {ASKING} connections ask now and then. Each "
            "comes from an address in a network of its own, which is looked up among "
            f"{redirector.LOCAL + redirector.NETWORKS}. One of {redirector.LICENSED} titles is "
            "licensed for the regions of the clients. Counts are written to SQLite by the same "
            f"process while it answers, which is why it is asked for {LASTING:.0f} s; the rest of "
            "a server (pages, monitor, media, bus) is left out, and so are clients that change "
            "their address with each request.",
        ),
    )


def _delay(what: str, values: dict[str, float | None], target: Target) -> list[Figure]:
    figures = []
    for name, value in values.items():
        shown = None if value is None else value / 1000
        figures.append(Figure(what, name, shown, "ms", target=target if name == OWN else None))
    return figures
