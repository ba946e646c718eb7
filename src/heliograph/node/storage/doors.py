"""Where this node serves titles, and where the others do: what portals send players to.

Each node that is seen is a server in the catalogue, added by a node that has its database, so that
it is measured, drained and counted like any other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

import structlog

from heliograph.bus import Announcement, Bus, Registration
from heliograph.bus.wire import Json
from heliograph.catalogue.contents.values import Probe, ProbeKind
from heliograph.dispatcher.doors import MAKE, Door
from heliograph.model.errors import ConflictError, HelioError
from heliograph.node.periodic import Periodic
from heliograph.node.storage.shelf import Shelf
from heliograph.vod.manifest import Manifest

log = structlog.get_logger(__name__)

#: Kind of the name by which a node tells where it serves titles.
DOOR = "title-door"
#: Seconds between two looks.
LOOK_PERIOD = 1.0
#: Seconds after which a server is added again that somebody removed though its node is there.
ANEW = 60.0
#: Seconds between two measurements of a node; that it is gone the bus tells sooner.
PROBE_S = 2.0


class Servers(Protocol):
    """The catalogue: ``contents.servers.ServerQueries``."""

    async def add_server(self, given: Mapping[str, Any]) -> object: ...


class Doors:
    """Opened when the node's servers listen."""

    def __init__(
        self,
        bus: Bus,
        shelf: Shelf,
        servers: Servers | None,
        *,
        own: Door | None,
        sends: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``servers``: where nodes are added, None: others do that. ``own``: where this node serves
        titles, None: nowhere. ``sends``: whether players are sent from here to other nodes.
        ``clock``: seconds of any origin."""
        self._bus = bus
        self._shelf = shelf
        self._servers = servers
        self._sends = sends
        self._clock = clock
        self._own = own
        self._announcement: Announcement | None = None
        self._watch: Registration | None = None
        self._added: dict[str, float] = {}
        """Names of servers that are there, and when that was seen."""
        self._rates: dict[str, tuple[int, int]] = {}
        """By object: blocks, and bits a second by those."""
        self._looks = Periodic("nodes that serve titles", LOOK_PERIOD, self.look, at_once=True)

    def start(self, changed: Callable[[], None]) -> None:
        """Begin. ``changed`` is told when there are other doors."""
        if self._sends:
            self._watch = self._bus.watch(DOOR, lambda event: changed())
        self._looks.start()

    async def close(self) -> None:
        """Serve nobody new, and end."""
        if self._announcement is not None:
            self._announcement.close()
        if self._watch is not None:
            self._watch.close()
        await self._looks.stop()

    def all(self) -> tuple[Door, ...]:
        """Where players may be sent, by name; none while this node is the only one."""
        if not self._sends:
            return ()
        found: dict[str, Door] = {}
        for (_, name), value in sorted(self._bus.present(DOOR).items()):
            door = _door(name, value)
            if door is not None:
                found.setdefault(name, door)
        return tuple(found[name] for name in sorted(found)) if len(found) > 1 else ()

    def titles(self) -> dict[str, tuple[str, int]]:
        """What volumes have: by object the title's name, and the bits a second of its player."""
        titles = {str(one.object): one for one in self._shelf.titles()}
        for gone in self._rates.keys() - titles.keys():
            del self._rates[gone]
        return {object: (one.name, self._rate(object, one)) for object, one in titles.items()}

    def _rate(self, object: str, manifest: Manifest) -> int:
        count, bps = self._rates.get(object, (-1, 0))
        if count != len(manifest.blocks):
            bytes_ = sum(one.bytes for one in manifest.blocks)
            bps = max(1, bytes_ * 8_000_000 // max(manifest.duration_us, 1_000_000))
            self._rates[object] = len(manifest.blocks), bps
        return bps

    async def look(self) -> None:
        """Show this node once it knows its titles; add servers for those that are there."""
        if self._announcement is None and self._own is not None and self._shelf.looked:
            value: dict[str, Json] = {"http": self._own.http, "rtsp": self._own.rtsp}
            self._announcement = self._bus.announce(DOOR, self._own.name, value)
        if self._servers is None:
            return
        now = self._clock()
        for door in self.all():
            if now - self._added.get(door.name, -ANEW) < ANEW:
                continue
            place = urlsplit(door.rtsp or door.http)
            kind = ProbeKind.RTSP if door.rtsp else ProbeKind.TCP
            given = {
                "name": door.name,
                "host": place.hostname,
                "make": MAKE,
                "probes": [Probe(kind, PROBE_S, place.port or 0)],
            }
            try:
                await self._servers.add_server(given)
                log.info("node is a server of the catalogue", name=door.name)
            except ConflictError:
                pass  # as it is most of the time
            except HelioError as error:
                log.warning("node is no server", name=door.name, error=error.message)
            self._added[door.name] = now


def _door(name: str, value: Json) -> Door | None:
    """What a node told; None where that is nothing to go by."""
    if not isinstance(value, dict):
        return None
    http, rtsp = value.get("http"), value.get("rtsp")
    if not isinstance(http, str) or not isinstance(rtsp, str):
        return None
    for text, scheme in ((http, "http"), (rtsp, "rtsp")):
        if not text:
            continue
        try:
            place = urlsplit(text)
            good = place.scheme == scheme and bool(place.hostname) and bool(place.port)
        except ValueError:
            good = False
        if not good or place.path or place.query or place.fragment:
            return None
    return Door(name, http, rtsp) if http or rtsp else None
