"""Titles of this node's volumes for those nodes that send them together."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from heliograph.bus import Bus
from heliograph.model.errors import NotFoundError, WrongStateError
from heliograph.model.nodes import NodeId
from heliograph.node.addresses import candidates
from heliograph.node.periodic import Periodic
from heliograph.node.storage.serving import shares_of
from heliograph.node.storage.storage import Storage
from heliograph.plane import PlaneLoop
from heliograph.servers.rtsp import RtspServer
from heliograph.storage.values import BlockKey
from heliograph.vod.ahead import Turns
from heliograph.vod.bipartite.ensemble import Ensemble, Layout, Place
from heliograph.vod.manifest import BlockSource, Manifest
from heliograph.vod.promises import Admission, Promise
from heliograph.vod.sessions import Observer

if TYPE_CHECKING:
    from heliograph.node.storage.holding import Holding
    from heliograph.storage.volume.planning import Plan

#: Seconds between two measurements of the other nodes' clocks.
LOOK_PERIOD = 5.0
#: Earlier states of volumes that are remembered: sessions go by one until they begin elsewhere.
MAX_PLANS = 16
#: Groups of a title that are looked at for how evenly nodes share them: its variance to a tenth.
GROUPS = 256


class Together:
    """A ``vod.bipartite`` library over this node's storage."""

    def __init__(self, storage: Storage, admission: Admission | None) -> None:
        self._storage = storage
        self._admission = admission
        self._plans: OrderedDict[tuple[str, int], Plan] = OrderedDict()
        self._spreads: dict[str, tuple[int, float]] = {}

    def find(self, name: str) -> Manifest | None:
        """As ``Shelf.find``."""
        return self._storage.shelf.find(name)

    def source(self, manifest: Manifest) -> BlockSource:
        """As ``Shelf.source``."""
        return self._storage.shelf.source(manifest)

    async def layout(self, manifest: Manifest, version: int | None = None) -> Layout:
        """Where a title's blocks are by a version of its volume's state, None: the newest."""
        holding = self._holding(manifest)
        reach = holding.volume.reach
        self._keep(holding.name, reach.plan)
        wanted = reach.state.version if version is None else version
        if wanted > reach.state.version:
            await reach.refresh(reach.state.version)
            self._keep(holding.name, reach.plan)
        plan = self._plans.get((holding.name, wanted))
        if plan is None:
            raise WrongStateError(
                f"version {wanted} of volume {holding.name} is not known here", subject=holding.name
            )
        data = plan.state.scheme.data
        nodes = plan.state.nodes

        def home(block: int) -> str | None:
            group, member = divmod(block, data)
            entry = plan.home(BlockKey(manifest.object, group, member))
            return None if entry is None else entry.node

        return Layout(wanted, nodes, home)

    def promise(
        self,
        manifest: Manifest,
        tracks: Sequence[int],
        nodes: Callable[[], Sequence[NodeId]],
        ahead_us: int,
    ) -> Promise | None:
        """This node's part of a stream that those nodes send."""
        if self._admission is None:
            return None
        return self._admission.promise(
            manifest, tracks, turns=lambda: self._turns(manifest, nodes(), ahead_us)
        )

    def _turns(self, manifest: Manifest, nodes: Sequence[NodeId], ahead_us: int) -> Turns:
        holding = self._holding(manifest)
        state = holding.state
        shares = shares_of(state)
        by_node = {
            node: sum(shares.get(disk.id, 0.0) for disk in state.disks_of(node)) for node in nodes
        }
        mine = self._storage.node
        # What lies at nodes that are away is sent by all others in turn.
        away = max(1.0 - sum(by_node.values()), 0.0) / max(len(nodes), 1)
        seconds = manifest.duration_us / 1e6 / max(len(manifest.blocks), 1)
        group = state.scheme.data
        spread = self._spread(holding, manifest) + group * away * (1 - away)
        part = by_node.get(mine, 0.0) + away
        return Turns(part, seconds, group, ahead_us / 1e6, spread, max(len(nodes), 1))

    def _spread(self, holding: Holding, manifest: Manifest) -> float:
        """Of this node's blocks, as ``Turns.spread``: the same for all titles of a state."""
        plan = holding.volume.reach.plan
        version = plan.state.version
        known = self._spreads.get(holding.name)
        if known is None or known[0] != version:
            known = version, plan.spread(manifest.object, self._storage.node, GROUPS)
            self._spreads[holding.name] = known
        return known[1]

    def _keep(self, volume: str, plan: Plan) -> None:
        self._plans[volume, plan.state.version] = plan
        if len(self._plans) > MAX_PLANS:
            self._plans.popitem(last=False)

    def _holding(self, manifest: Manifest) -> Holding:
        placed = self._storage.shelf.placed_object(manifest.object)
        found = None if placed is None else self._storage.holdings.get(placed.volume)
        if found is None:
            raise NotFoundError(f"there is no title {manifest.name}", subject=manifest.name)
        return found


class Sending:
    """This node's ensemble, from when its RTSP server listens until before that stops."""

    def __init__(
        self,
        bus: Bus,
        storage: Storage,
        admission: Admission | None,
        loop: PlaneLoop,
        rtsp: RtspServer,
        observe: Observer,
    ) -> None:
        self._rtsp, self._loop = rtsp, loop
        self._admission = admission
        library = Together(storage, admission)
        self.ensemble = Ensemble(bus, library, loop, lambda: rtsp.endpoint, observe=observe)
        self._upkeep = Periodic(
            "titles sent together", LOOK_PERIOD, self.ensemble.look, at_once=True
        )

    def start(self, host: str) -> None:
        """Tell the other nodes, unless no media go by UDP. ``host``: where RTSP listens."""
        if self._rtsp.endpoint:
            found = [one.rpartition(":")[0].strip("[]") for one in candidates(host)]
            self.ensemble.open(Place(tuple(found), self._rtsp.port, *self._rtsp.rtp_ports))
            self._loop.plane.limit_ahead(
                0 if self._admission is None else self._admission.ahead_bps
            )
            self._upkeep.start()

    async def close(self) -> None:
        """End; the other nodes go on."""
        await self._upkeep.stop()
        await self.ensemble.close()
