"""The process that a server runs in: logs, descriptors, signals, from start to end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
import signal
import sys
from collections.abc import Callable

import structlog
import uvloop

from heliograph.catalogue.engine import unclosed
from heliograph.model.errors import SettingsError
from heliograph.node import logs
from heliograph.node.server import Server
from heliograph.node.settings import Loaded, Settings

log = structlog.get_logger(__name__)

#: Descriptors asked for: the connections that the settings allow by default, and files beside them.
DESCRIPTORS = 65_536
#: Allocations until the young are looked at, and how many such looks until the older are.
GC_THRESHOLDS = 20_000, 20, 50
#: Seconds for which a thread that computes may keep the interpreter from the event loop; CPython's
#: 5 ms, which each turn of the loop may wait, were most of the delay of requests while counts are
#: sorted and packed. To change hands costs some microseconds.
SWITCH_INTERVAL = 0.0005


def raise_descriptor_limit() -> int:
    """Allow as many open connections as the machine lets us; the limit in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    if soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def run(load: Callable[[], Loaded], started: Callable[[Server], None]) -> None:
    """Serve until SIGINT or SIGTERM; SIGHUP reads the channels' settings anew.

    ``started`` is called once everything listens. Raises ``HelioError`` when it cannot start.
    """
    settings = load().settings
    server_settings = settings.server
    logs.configure(
        level=server_settings.log_level,
        format=server_settings.log_format,
        file=server_settings.log_file,
        file_bytes=server_settings.log_file_bytes,
        file_keep=server_settings.log_file_keep,
    )
    if not settings.http.port and not settings.rtsp.port and settings.server.public_host:
        raise SettingsError("server.public_host needs fixed ports: http.port and rtsp.port are 0")
    raise_descriptor_limit()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings, load, started))
    finally:
        logs.close()


def spare_the_loop() -> None:
    """Once all is started: let neither the collector nor other threads hold the event loop up.

    Over ten thousand sessions a full collection takes a quarter of a second and finds next to
    nothing, as a session that ends unties itself.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    sys.setswitchinterval(SWITCH_INTERVAL)


async def _serve(
    settings: Settings, load: Callable[[], Loaded], started: Callable[[Server], None]
) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(unclosed)
    stop = asyncio.Event()
    reloads: set[asyncio.Task[None]] = set()
    server = Server(settings)

    def reload() -> None:
        task = loop.create_task(server.reload(load))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    starting = loop.create_task(server.start())

    def end() -> None:
        if not stop.is_set():  # a second signal does not break off what the first one began
            stop.set()
            starting.cancel()  # a start may wait for the database; nothing where it is done

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end)
    try:
        await starting
    except asyncio.CancelledError:
        if not stop.is_set():
            raise
        log.info("stopped before everything was started")
        return
    spare_the_loop()
    loop.add_signal_handler(signal.SIGHUP, reload)
    started(server)
    try:
        await stop.wait()
        log.info("stopping")
    finally:
        await server.stop()
    log.info("stopped")
