"""This node's part in who carries what and who is served where: manager, unit and portal."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import structlog

from heliograph.bus.wire import Json
from heliograph.catalogue.catalogue import Catalogue
from heliograph.live.gate import Gate
from heliograph.live.offers import OfferLimits, Offers
from heliograph.live.registry import Channels
from heliograph.live.remote import Portal, Viewers
from heliograph.live.remote import Unit as RemoteUnit
from heliograph.live.seats import State as SeatsState
from heliograph.live.tickets import Tickets
from heliograph.live.vouching import Voucher
from heliograph.live.webrtc import Rtc
from heliograph.manager.client import Managers, Place
from heliograph.manager.closed import ClosedChannels
from heliograph.manager.service_address import (
    CommandedAddress,
    HeldAddress,
    ServiceAddress,
    VirtualAddress,
)
from heliograph.manager.service_turn import ServiceTurn, name_of
from heliograph.manager.shell import Manager
from heliograph.manager.unit import UnitAgent, UnitOptions
from heliograph.node.cluster import NODE, Cluster, node_name, reachable_host
from heliograph.node.log_feed import LogFeed
from heliograph.node.log_keeper import LogKeeper
from heliograph.node.mesh import Mesh
from heliograph.node.roles import Role, roles_of
from heliograph.node.settings import Settings
from heliograph.servers.rtsp import RtspServer
from heliograph.servers.rtsp_places import RtspPlaces

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Placing:
    """Has the manager say where viewers are served."""

    managers: Managers
    region: Callable[[str], str]
    """Where a viewer is, by his numeric address; empty: not known."""

    async def place(
        self, channel: str, *, peer: str, origin: str = "", avoid: Collection[str] = ()
    ) -> Place:
        """See ``placing.Placer``. Of whom nothing is known is taken to be near his portal."""
        return await self.managers.join(
            channel, location=self.region(peer), origin=origin, avoid=avoid
        )


class Steering:
    """Started when the node's servers are there, before the pages are."""

    def __init__(
        self,
        settings: Settings,
        cluster: Cluster,
        catalogue: Catalogue,
        channels: Channels,
        region: Callable[[str], str],
        feed: LogFeed,
    ) -> None:
        """``region``: where a viewer is, by his numeric address; empty: not known. ``feed``: what
        all nodes log."""
        self.roles = roles_of(settings)
        self.managers = Managers(cluster.bus, settings.cluster.location)
        self.portal: Portal | None = None
        """None: this node sends viewers nowhere."""
        self.unit: UnitAgent | None = None
        self.manager: Manager | None = None
        self.keeper: LogKeeper | None = None
        """Beside a manager, whether that one is active or not."""
        self.closed: ClosedChannels | None = None
        self._settings, self._cluster = settings, cluster
        self._catalogue, self._channels, self._region = catalogue, channels, region
        self._feed = feed
        self._tickets = Tickets(cluster.bus.node, self._is_here)
        self._places: RtspPlaces | None = None
        self._taking: RemoteUnit | None = None
        self._viewers: Viewers | None = None
        self._voucher: Voucher | None = None
        self._turn: ServiceTurn | None = None

    async def start(
        self, mesh: Mesh | None, rtsp: RtspServer | None, rtc: Rtc | None, gate: Gate
    ) -> None:
        """Take each of the node's roles."""
        bus, identity = self._cluster.bus, self._cluster.identity
        self.closed = ClosedChannels(bus, self._channels, gate, identity.directory)
        await self.closed.start()
        if Role.MANAGER in self.roles:
            await self._start_manager()
        if Role.UNIT in self.roles and mesh is not None:
            await self._start_unit(mesh, rtsp, rtc)
        seats = None if self.unit is None else self.unit.seats
        placing = Placing(self.managers, self._region)
        placer = placing if Role.PORTAL in self.roles else None
        if rtsp is not None:
            key = identity.key
            redirect = self._settings.rtsp.redirect
            self._places = RtspPlaces(
                bus,
                self._channels,
                key,
                self._tickets,
                placer=placer if redirect else None,
                mover=placing if redirect else None,
                full=lambda: seats is not None and seats.state is not SeatsState.UP,
                seats=seats,
            )
            rtsp.places = self._places
        if placer is not None:
            webrtc = self._settings.webrtc
            limits = OfferLimits(webrtc.max_sessions_per_address, webrtc.offers_per_minute)
            catalogue, accounts = self._catalogue, self._catalogue.home
            offers = Offers(limits) if rtc is None else rtc.offers
            self._viewers = Viewers(bus, offers, accounts)
            self._voucher = Voucher(
                bus, self._channels, gate.holds, catalogue.accounts.people, accounts
            )
            self.portal = Portal(bus, self._viewers, placer, seats)
        log.info("roles", roles=sorted(self.roles))

    async def _start_manager(self) -> None:
        self.keeper = LogKeeper(self._cluster.bus, self._feed)
        self.keeper.start()
        catalogue = self._catalogue
        self.manager = Manager(
            self._cluster.bus, catalogue.leases, catalogue.desired, node_name(self._settings)
        )
        await self.manager.start()

    def serve(self) -> None:
        """The pages are there: a portal may have the service address from now on."""
        wanted = self._settings.cluster
        if Role.PORTAL not in self.roles:
            return
        address: ServiceAddress
        if wanted.service_command:
            parsed, address = None, CommandedAddress(wanted.service_command)
        elif wanted.service_address:
            parsed = VirtualAddress.parse(wanted.service_address)
            address = HeldAddress(parsed)
        else:
            return
        self._turn = ServiceTurn(self._cluster.bus, name_of(parsed), address)
        self._turn.start()

    async def _start_unit(self, mesh: Mesh, rtsp: RtspServer | None, rtc: Rtc | None) -> None:
        wanted, cluster = self._settings.unit, self._settings.cluster
        options = UnitOptions(
            node_name(self._settings),
            cluster.location,
            wanted.groups,
            wanted.places,
            wanted.bandwidth_bps,
            wanted.cpu_percent * 10_000,
            wanted.memory_bytes,
            cluster.domain,
        )
        shown: dict[str, Json] = {}
        if rtsp is not None:
            host = reachable_host(self._settings, self._settings.rtsp.host)
            shown["rtsp"] = {"host": host, "port": rtsp.port}
        directory = self._cluster.identity.directory
        bus, channels = self._cluster.bus, self._channels
        self.unit = UnitAgent(
            bus, channels, mesh.reflector, mesh.shared, options, directory, shown=shown
        )
        await self.unit.start()
        if rtc is not None:
            self._taking = RemoteUnit(bus, channels, rtc, self.unit.seats)

    def _is_here(self, node: str) -> bool:
        return any(known == node for known, _ in self._cluster.bus.present(NODE))

    def counters(self) -> Mapping[str, Mapping[str, int]]:
        """By role, for the metrics."""
        found: dict[str, Mapping[str, int]] = {
            "hearing": self.managers.hearing.counters(),
            "logs": dict(self._feed.counters),
        }
        if self.portal is not None:
            found["portal"] = dict(self.managers.counters)
        if self._places is not None:
            redirects = {"redirects": self._places.redirects}
            found["rtsp"] = {**redirects, **self._tickets.counters}
        if self.manager is not None:
            found["manager"] = self.manager.counts()
        if self.keeper is not None:
            found["logs"] = {**self._feed.counters, **self.keeper.counters}
        if self.unit is not None:
            found["unit"] = {**self.unit.counts(), **self.unit.seats.counters}
        if self.closed is not None:
            found["closed"] = dict(self.closed.counters)
        return found

    async def step_down(self) -> None:
        """Manage no more, and leave the service address to another portal: others take over while
        everything else here goes on."""
        turn, self._turn = self._turn, None
        if turn is not None:
            await turn.close()
        manager, self.manager = self.manager, None
        if manager is not None:
            await manager.close()

    async def close(self) -> None:
        """Give all roles up."""
        await self.step_down()
        if self.keeper is not None:
            self.keeper.close()
        if self._places is not None:
            self._places.close()
        if self._taking is not None:
            self._taking.close()
        if self._viewers is not None:
            await self._viewers.close()
        if self._voucher is not None:
            self._voucher.close()
        if self.unit is not None:
            await self.unit.close()
        if self.closed is not None:
            await self.closed.close()
        self.managers.close()
