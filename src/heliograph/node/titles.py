"""What a node does for titles: it sends requests on, watches servers, and counts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection
from pathlib import Path

from heliograph.catalogue.catalogue import Catalogue
from heliograph.dispatcher.barring import Barring
from heliograph.node.bars import Hearing, Telling
from heliograph.node.cluster import Cluster
from heliograph.node.dispatching import Dispatching, Nodes
from heliograph.node.monitoring import Monitoring
from heliograph.node.periodic import Periodic
from heliograph.node.roles import Role
from heliograph.node.settings import Settings
from heliograph.node.statistics import Statistics
from heliograph.vod.manifest import Manifest
from heliograph.vod.shelf import Published, Shelf

#: Seconds between two removals of what is older than the settings want it kept.
PRUNING_S = 3600.0


class Titles:
    """Made before the channels, whose plays are counted; ended after them."""

    def __init__(
        self,
        settings: Settings,
        state_dir: Path,
        roles: Collection[Role],
        cluster: Cluster,
        catalogue: Catalogue,
    ) -> None:
        """``ResourceError`` where there is no journal to be made in ``state_dir``."""
        self.writes = Role.MANAGER in roles or bool(catalogue.home)
        """Whether this node has the cluster's database: managers, and who shares it with them."""
        self.statistics = Statistics(
            settings.statistics,
            state_dir,
            cluster.node,
            cluster.bus,
            catalogue if self.writes else None,
        )
        self.dispatching: Dispatching | None = None
        """None: this node is no portal."""
        if Role.PORTAL in roles:
            self.dispatching = Dispatching(
                settings.dispatcher,
                catalogue.contents,
                state_dir,
                monitor=settings.monitor,
                record=self.statistics.recorder.record,
            )
        dispatching = self.dispatching
        self.barring = Barring() if dispatching is None else dispatching.dispatcher.barring
        """Who is served nothing here, and which titles nobody gets."""
        self._cluster, self._catalogue = cluster, catalogue
        self._bars: Telling | Hearing | None = None
        """None: this node is alone, or not begun."""
        self.monitoring: Monitoring | None = None
        """None: this node is neither portal nor manager."""
        if {Role.PORTAL, Role.MANAGER} & set(roles):
            self.monitoring = Monitoring(
                settings.monitor, cluster.bus, catalogue.contents, catalogue.home
            )
        self._pruning = Periodic("old statistics", PRUNING_S, self.statistics.prune, at_once=True)

    def region(self, client: str) -> str:
        """Where the catalogue says that a client is, by his numeric address; empty: nowhere, or
        this node has no catalogue of the cluster's."""
        return "" if self.dispatching is None else self.dispatching.region(client)

    async def start(self) -> None:
        """Begin with what the database has, or with what was kept of it."""
        self.statistics.start()
        self._pruning.start()
        if self.dispatching is not None:
            await self.dispatching.start()
        if self.monitoring is not None:
            if self.dispatching is not None:
                kept = self.dispatching.dispatcher.snapshot
                self.monitoring.begin_with(kept.servers.values(), kept.states.values())
            await self.monitoring.start()
            if self.dispatching is not None:
                self.monitoring.follow(self.dispatching.observe)

    async def share_bars(self, shelf: Shelf) -> None:
        """Tell other nodes what the cluster's catalogue bars, or be told. ``shelf``: with what our
        volumes have."""
        bus, barring = self._cluster.bus, self.barring
        if not self._cluster.active:
            return
        if self.writes:
            own = barring if self.dispatching is None else None
            self._bars = Telling(bus, self._catalogue.contents, shelf, own)
        else:
            self._bars = Hearing(bus, barring, self._cluster.identity.directory)
        await self._bars.start()

    def send_to(self, nodes: Nodes) -> Callable[[], None]:
        """Send players to nodes of ours; what comes back is to be called when these are others."""
        if self.dispatching is None:
            return lambda: None
        self.dispatching.send_to(nodes)
        return self.dispatching.nodes_changed

    def published(self, shelf: Shelf) -> Shelf:
        """Titles of volumes as viewers find them: without those that the catalogue withholds."""

        def withheld(manifest: Manifest) -> bool:
            return self.barring.withheld(str(manifest.object), manifest.name)

        return Published(shelf, withheld)

    def configure(self, settings: Settings) -> None:
        """Go on by other settings."""
        if self.dispatching is not None:
            self.dispatching.configure(settings.dispatcher, settings.monitor)
        if self.monitoring is not None:
            self.monitoring.configure(settings.monitor)

    async def close(self) -> None:
        """End; what was counted and is not written down is left to the next start."""
        async with contextlib.AsyncExitStack() as parts:  # one that fails keeps no other from it
            parts.push_async_callback(self.statistics.close)
            parts.push_async_callback(self._pruning.stop)
            for part in (self.dispatching, self.monitoring, self._bars):
                if part is not None:
                    parts.push_async_callback(part.close)
