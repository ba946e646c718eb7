"""``helio bench``: how many viewers a server carries on this machine."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from heliograph.cli.console import (
    JsonOption,
    SetOption,
    print_json,
    print_table,
    progress,
    rate,
    stderr,
)

if TYPE_CHECKING:
    from heliograph.cli.benching.run import Bench, Step

#: A ramp begins with so many viewers unless it is told otherwise.
FIRST = 20
#: The most viewers asked for unless it is told otherwise: more than Python can play on a core.
MOST = 2000


class Lower(StrEnum):
    """What carries media."""

    UDP = "udp"
    TCP = "tcp"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be measured."""

    url: str
    """Of a channel on air; empty: a private server."""
    key: str
    viewers: int
    most: int
    """Viewers at which a ramp ends; the same as ``viewers`` where none is wanted."""
    seconds: float
    udp: bool
    sets: tuple[str, ...]
    bitrate: int
    """Of a private server's pattern, kbit/s."""


def command(
    url: Annotated[
        str, typer.Option(help="A channel on air, rtsp://host:8554/name; else a private server.")
    ] = "",
    viewers: Annotated[
        int | None, typer.Option(min=1, max=20_000, help="How many; a ramp begins with them.")
    ] = None,
    until_loss: Annotated[
        bool, typer.Option("--until-loss", help="Add viewers until the server loses packets.")
    ] = False,
    most: Annotated[
        int, typer.Option("--max-viewers", min=1, max=20_000, help="Where a ramp ends.")
    ] = MOST,
    seconds: Annotated[
        float, typer.Option(min=0.5, max=3600, help="How long each number is measured.")
    ] = 5.0,
    transport: Annotated[Lower, typer.Option(help="What carries media.")] = Lower.UDP,
    bitrate: Annotated[
        int, typer.Option(min=50, max=200_000, help="Private server's video, kbit/s.")
    ] = 2000,
    key: Annotated[
        str, typer.Option(envvar="HELIO_KEY", show_envvar=True, help="Key, where one is needed.")
    ] = "",
    sets: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure how many viewers a server carries: loss, delay, jitter, CPU, bandwidth.

    Without --url a private server with a test pattern is started on free ports of loopback, and
    ended afterwards; --set changes its settings. Viewers run in processes of their own, on half
    of the cores. It says so when they, and not the server, were at their limit.
    """
    first = viewers or FIRST
    wish = Wish(
        url=url,
        key=key,
        viewers=first,
        most=max(first, most) if until_loss else first,
        seconds=seconds,
        udp=transport is Lower.UDP,
        sets=tuple(sets or ()),
        bitrate=bitrate,
    )
    found: list[Step] = []
    try:
        asyncio.run(_measure(wish, found, quiet=as_json))
    except KeyboardInterrupt:
        if found:
            _show(wish, found, as_json)
        raise
    _show(wish, found, as_json)


async def _measure(wish: Wish, found: list[Step], *, quiet: bool) -> None:
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    from heliograph.cli.benching.run import ramp

    running = asyncio.current_task()
    assert running is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with progress(*columns, quiet=quiet) as bar:
        task = bar.add_task("starting")
        try:
            async with _bench(
                wish, lambda step: bar.update(task, description=_line(step))
            ) as bench:
                bench.steps = found
                await bench.run(ramp(wish.viewers, wish.most))
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None


@asynccontextmanager
async def _bench(wish: Wish, on_look: Callable[[Step], None]) -> AsyncIterator[Bench]:
    """Everything that has to run, for as long as the block does."""
    from heliograph.cli.benching import machine
    from heliograph.cli.benching.processes import Pattern, private_server, workers
    from heliograph.cli.benching.run import Bench

    server_cores, viewer_cores = machine.share_cores(os.sched_getaffinity(0))

    @asynccontextmanager
    async def watching(url: str, server: int | None) -> AsyncIterator[Bench]:
        async with workers(url, wish.key, udp=wish.udp, cores=viewer_cores) as processes:
            yield Bench(processes, server=server, seconds=wish.seconds, on_look=on_look)

    if wish.url:
        server = await asyncio.to_thread(_server_of, wish.url)
        async with watching(wish.url, server) as bench:
            yield bench
        return
    pattern = Pattern(bitrate=wish.bitrate)
    async with (
        private_server(pattern, wish.sets, server_cores, viewer_cores) as private,
        watching(private.url, private.pid) as bench,
    ):
        yield bench


def _server_of(url: str) -> int | None:
    """Process id of the server, where it is on this machine and may be looked at."""
    from heliograph.cli.benching import machine

    try:
        parts = urlsplit(url)
        port = parts.port or 554
    except ValueError:
        return None
    if not parts.hostname or not machine.is_local(parts.hostname):
        return None
    return machine.listener(port)


def _line(step: Step) -> str:
    """One line of progress."""
    parts = [f"{step.playing} of {step.viewers} viewers", rate(step.bitrate)]
    parts.append(f"loss {step.loss:.2%}")
    if step.delay_p50_ms is not None:
        parts.append(f"delay {step.delay_p50_ms:.1f} ms")
    if step.server_cpu is not None:
        parts.append(f"server {step.server_cpu:.0%} of a core")
    parts.append(f"load generator {step.generator_cpu:.0%}")
    return " · ".join(parts)


_NUMBERS = (
    *("viewers", "loss", "delay p50", "p95", "p99", "jitter"),
    *("server CPU", "per viewer", "bandwidth", "generator"),
)


def _show(wish: Wish, steps: list[Step], as_json: bool) -> None:
    from heliograph.cli.benching.run import verdict
    from heliograph.protocols.rtsp.targets import without_credentials

    if as_json:
        document = {
            "url": without_credentials(wish.url) if wish.url else None,
            "transport": "udp" if wish.udp else "tcp",
            "cores": len(os.sched_getaffinity(0)),
            "verdict": verdict(steps),
            "steps": [step.as_json() for step in steps],
        }
        print_json(document)
        return
    print_table((*_NUMBERS, "remark"), [_cells(step) for step in steps], right=_NUMBERS)
    stderr().print(f"{len(os.sched_getaffinity(0))} cores; {verdict(steps)}")


def _cells(step: Step) -> tuple[str, ...]:
    def ms(value: float | None) -> str:
        return "–" if value is None else f"{value:.1f} ms"

    share = step.cpu_per_viewer
    return (
        f"{step.playing}",
        f"{step.loss:.3%}",
        *(ms(value) for value in (step.delay_p50_ms, step.delay_p95_ms, step.delay_p99_ms)),
        ms(step.jitter_ms),
        "–" if step.server_cpu is None else f"{step.server_cpu:.1%}",
        "–" if share is None else f"{share:.3%}",
        rate(step.bitrate),
        f"{step.generator_cpu:.0%}",
        "load generator saturated" if step.saturated else "" if step.carried else "not carried",
    )
