"""A running server: its parts in the order they start, and the reverse in which they stop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog

from heliograph import __version__
from heliograph.catalogue.catalogue import Catalogue
from heliograph.live.chat_exchange import ChatExchange
from heliograph.live.chat_rooms import Chats
from heliograph.live.gate import Gate
from heliograph.live.hls import Hls
from heliograph.live.keys import administrator_key
from heliograph.live.options import ChannelOptions
from heliograph.live.registry import Channels
from heliograph.live.roster import Roster
from heliograph.live.transcoding import Transcodes
from heliograph.live.webrtc import Rtc
from heliograph.model.errors import HelioError
from heliograph.node import logs
from heliograph.node.authority import open_authority
from heliograph.node.cluster import RENEW_PERIOD, Cluster, node_name, open_cluster
from heliograph.node.database import open_catalogue
from heliograph.node.demo import Demo
from heliograph.node.demo_film import DemoFilm
from heliograph.node.https import Https
from heliograph.node.log_feed import LogFeed
from heliograph.node.options import (
    DEMO,
    channel_options,
    chat_options,
    database_url,
    http_options,
    live_options,
    rtmp_options,
    rtsp_options,
)
from heliograph.node.periodic import Periodic
from heliograph.node.pulls import Pulls, same_ring
from heliograph.node.roles import Role, roles_of
from heliograph.node.settings import Loaded, Settings, diff
from heliograph.node.storage.doors import Doors
from heliograph.node.storage.listing import Listing
from heliograph.node.storage.opening import open_storage
from heliograph.node.storage.serving import admission_of, own_door
from heliograph.node.storage.storage import Storage
from heliograph.node.storage.together import Sending
from heliograph.node.titles import Titles
from heliograph.node.webrtc import open_rtc
from heliograph.plane import PlaneLoop, open_plane
from heliograph.servers.chat_server import ChatServer
from heliograph.servers.dispatching import Redirects
from heliograph.servers.http import HttpServer
from heliograph.servers.rtmp import RtmpServer
from heliograph.servers.rtsp import RtspServer
from heliograph.servers.rtsp_ondemand import RtspOnDemand
from heliograph.servers.rtsp_titles import RtspTitles
from heliograph.vod.ondemand import OnDemand
from heliograph.vod.promises import Admission
from heliograph.web.app import create_app
from heliograph.web.chat import ChatGate
from heliograph.web.context import WebContext
from heliograph.web.pictures import Pictures

if TYPE_CHECKING:  # what only a node of a cluster needs is loaded there
    from heliograph.node.mesh import Mesh
    from heliograph.node.steering import Steering

log = structlog.get_logger(__name__)

#: Seconds one part may take to stop before the next is stopped all the same.
STOP_PATIENCE = 5.0
#: Seconds between two removals of what has expired from the database.
HOUSEKEEPING_S = 3600.0
#: Seconds between two looks for rights that have ended: what a view token opened ends within a
#: minute of it.
UPKEEP_S = 20.0


class Server:
    """Everything ``helio serve`` runs, in one process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.state_dir = settings.server.state_dir
        self.ready = False
        self.administrator_key = ""
        self.key_is_new = False
        """Whether the administrator's key was made at this start."""
        self.cluster: Cluster
        self.mesh: Mesh | None = None
        """None: this node is alone, or carries no media."""
        self.steering: Steering | None = None
        """None: this node is alone."""
        self.carries = True
        """Whether media servers run here: a manager alone has none."""
        self.catalogue: Catalogue
        self.titles: Titles
        self.storage: Storage
        self.admission: Admission
        """Promises streams of titles, by whatever way they are played."""
        self.channels: Channels
        self.pulls: Pulls
        self.roster: Roster
        self.rtsp: RtspServer | None = None
        """None: this node carries no media."""
        self.rtmp: RtmpServer | None = None
        """None: switched off."""
        self.http: HttpServer
        self.https: Https | None = None
        """None: switched off."""
        self._demo: Demo | None = None
        self._undo: list[tuple[str, Callable[[], Awaitable[None] | None]]] = []

    async def start(self) -> None:
        """Start every part; what was started is stopped again when one fails."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        settings = self.settings
        roles = roles_of(settings)
        self.carries = bool(roles & {Role.PORTAL, Role.UNIT})
        self.administrator_key, self.key_is_new = administrator_key(self.state_dir)
        configured = channel_options(settings, self.state_dir)
        self.catalogue = await open_catalogue(database_url(settings, roles))
        self._undo.append(("database", self.catalogue.close))
        housekeeping = Periodic(
            "housekeeping", HOUSEKEEPING_S, self.catalogue.housekeeping, at_once=True
        )
        housekeeping.start()
        self._undo.append(("housekeeping", housekeeping.stop))
        await self._open_cluster()
        whose = self.cluster.node if self.catalogue.home else "first"
        await self.catalogue.accounts.allow_first(self.administrator_key, node=whose)
        self.titles = Titles(settings, self.state_dir, roles, self.cluster, self.catalogue)
        self._undo.append(("titles", self.titles.close))
        await self.titles.start()
        await self._open_storage(roles)
        feed = LogFeed(self.cluster.bus, node_name(settings))
        feed.start()
        self._undo.append(("log feed", feed.close))
        plane = open_plane(workers=settings.plane.worker_count())
        self._undo.append(("plane", plane.close))
        loop = PlaneLoop(plane)
        loop.start()
        self._undo.append(("plane events", loop.stop))
        self.channels = Channels(loop, configured=configured, options=live_options(settings))
        self._undo.append(("channels", self.channels.close))
        self.titles.statistics.watch(self.channels)
        gate = self._open_gate()
        home, node = self.catalogue.home, self.cluster.node
        self.roster = Roster(
            self.channels, self.catalogue, gate, home=home, node=node if home else ""
        )
        await self.roster.open(self.state_dir)
        if self.cluster.active and self.carries:
            self._open_mesh(loop)
        upkeep = Periodic("rights", UPKEEP_S, self.roster.upkeep)
        upkeep.start()
        self._undo.append(("rights", upkeep.stop))
        if self.carries:
            await self._open_media_servers(loop, gate)
            self.storage.record(self.channels)
            self._undo.append(("recordings", self.storage.end_recordings))
        transcodes = Transcodes()
        self._undo.append(("transcodes", transcodes.close))
        rtc = self._open_rtc(loop, transcodes) if self.carries else None
        if self.cluster.active:
            from heliograph.node.steering import Steering

            self.steering = Steering(
                settings, self.cluster, self.catalogue, self.channels, self.titles.region, feed
            )
            self._undo.append(("roles", self.steering.close))
            await self.steering.start(self.mesh, self.rtsp, rtc, gate)
        pictures = Pictures()
        if self.mesh is not None:
            pictures.source = self.mesh.shared.picture
        self._undo.append(("pictures", pictures.close))
        dispatching = self.titles.dispatching
        context = WebContext(
            channels=self.channels,
            loop=loop,
            administrator_key=self.administrator_key,
            version=__version__,
            catalogue=self.catalogue,
            roster=self.roster,
            name=settings.server.name,
            started_at=datetime.now(UTC),
            public_host=settings.server.public_host,
            rtsp_port=0 if self.rtsp is None else self.rtsp.port,
            rtmp_port=0 if self.rtmp is None else self.rtmp.port,
            rtc=rtc,
            ice_servers=tuple(one.server() for one in settings.webrtc.ice_servers),
            hls=Hls(transcodes, settings.access.max_hls_viewers_per_address),
            rtmp_counters=self.rtmp.counters if self.rtmp is not None else dict,
            chats=Chats(self.catalogue) if settings.chat.enabled else None,
            pictures=pictures,
            ready=lambda: self.ready,
            lost_log_lines=logs.lost_lines,
            https=lambda: {} if self.https is None else self.https.figures(),
            cluster=self.cluster,
            mesh=self.mesh,
            managers=None if self.steering is None else self.steering.managers,
            portal=None if self.steering is None else self.steering.portal,
            places=None if self.rtsp is None else self.rtsp.places,
            dispatcher=None if dispatching is None else dispatching.dispatcher,
            barring=self.titles.barring,
            dispatching=dict if dispatching is None else dispatching.figures,
            role_counters=dict if self.steering is None else self.steering.counters,
            logs=feed,
            monitoring=self.titles.monitoring,
            ranks=self.titles.statistics.ranks,
            statistics=self.titles.statistics.counters,
            http_port=lambda: self.http.port,
            storage=self.storage,
            storage_figures=self.storage.figures,
            title_sessions=self._title_sessions,
            title_viewers=self._title_viewers,
            ondemand=self._open_on_demand(),
        )
        chat = self._open_chat(context)
        await self._open_http(context, chat)
        if settings.https.enabled:
            self.https = await Https.open(settings, self.state_dir, self.http, plane)
            self._undo.append(("https", self.https.stop))
        self._undo.append(("hls", context.hls.close))  # who waits is told before http stops
        self._undo.append(("streams", context.streams.close))
        self._undo.append(("renditions", context.renditions.close))
        self.pulls = Pulls(loop, lambda name: name in gate.closed)
        self._undo.append(("pulls", self.pulls.close))
        if self.carries:
            for channel in self.channels:
                self.pulls.start(channel)
        if settings.demo:
            self._start_demo(roles, configured)
        if self.mesh is not None:  # neighbours go elsewhere before anything stops
            self._undo.append(("mesh departure", self.mesh.leave))
        if self.steering is not None:
            self._undo.append(("manager", self.steering.step_down))
            self.steering.serve()
            if dispatching is not None:
                dispatching.loads = self.steering.managers.loads
            self._open_doors()
        self.ready = True

    async def _open_storage(self, roles: Collection[Role]) -> None:
        settings = self.settings
        self.storage = await open_storage(
            settings, self.state_dir, roles, self.cluster, self.catalogue
        )
        self._undo.append(("storage", self.storage.close))
        if self.titles.writes:
            volumes = self.storage.states.known
            listing = Listing(self.storage.shelf, self.catalogue.contents, lambda: volumes)
            listing.start()
            self._undo.append(("titles in the catalogue", listing.close))
        await self.titles.share_bars(self.storage.shelf)
        self.admission = admission_of(self.storage, self.cluster.bus, settings.storage)

    def _open_doors(self) -> None:
        port = None if self.rtsp is None else self.rtsp.port
        own = own_door(self.settings, self.http.port, port)
        servers = self.catalogue.contents if self.titles.writes else None
        sends = self.settings.rtsp.redirect
        doors = Doors(self.cluster.bus, self.storage.shelf, servers, own=own, sends=sends)
        self._undo.append(("nodes that serve titles", doors.close))
        doors.start(self.titles.send_to(doors))

    def _start_demo(
        self, roles: Collection[Role], configured: Mapping[str, ChannelOptions]
    ) -> None:
        if self.rtsp is not None:
            self._demo = Demo(DEMO, self.rtsp.port, configured[DEMO].key)
            self._demo.start()
            self._undo.append(("demo", self._demo.stop))
        if Role.STORAGE in roles:
            film = DemoFilm(self.storage, self.state_dir)
            film.start()
            self._undo.append(("demo film", film.stop))

    async def _open_media_servers(self, loop: PlaneLoop, gate: Gate) -> None:
        settings = self.settings
        self.rtsp = RtspServer(self.channels, loop, rtsp_options(settings), gate=gate)
        observe = self.titles.statistics.titles.observe
        together = Sending(self.cluster.bus, self.storage, self.admission, loop, self.rtsp, observe)
        self.rtsp.ondemand = RtspOnDemand(
            self.titles.published(self.storage.shelf),
            loop,
            admission=self.admission,
            observe=observe,
            ensemble=together.ensemble,
            barring=self.titles.barring,
            channels=self.channels,
        )
        if self.titles.dispatching is not None:
            dispatcher = self.titles.dispatching.dispatcher
            self.rtsp.titles = RtspTitles(dispatcher, here=node_name(settings))
        await self.rtsp.start()
        self._undo.append(("rtsp", self.rtsp.stop))
        together.start(str(settings.rtsp.host))
        self._undo.append(("titles sent together", together.close))
        if settings.rtmp.enabled:
            self.rtmp = RtmpServer(self.channels, loop, rtmp_options(settings), gate=gate)
            await self.rtmp.start()
            self._undo.append(("rtmp", self.rtmp.stop))

    def _open_mesh(self, loop: PlaneLoop) -> None:
        from heliograph.node.mesh import Mesh

        cluster, settings = self.cluster, self.settings
        name = node_name(settings)
        self.mesh = Mesh(
            cluster.identity,
            cluster.bus,
            loop,
            self.channels,
            settings.mesh,
            name,
            home=self.roster.home,
            read=self.roster.follow,
        )
        self._undo.append(("mesh", self.mesh.close))

    async def _open_cluster(self) -> None:
        self.cluster = await open_cluster(self.settings)
        self._undo.append(("bus", self.cluster.close))
        self.cluster.serve(self.catalogue)
        renewal = Periodic("node's certificate", RENEW_PERIOD, self.cluster.renew, at_once=True)
        renewal.start()
        self._undo.append(("node's certificate", renewal.stop))

    def _open_gate(self) -> Gate:
        found = open_authority(self.settings)
        if found is not None:
            self._undo.append(("external authority", found.close))
        return Gate(
            self.administrator_key,
            catalogue=self.catalogue,
            authority=None if found is None else found.authority,
            policy=None if found is None else found.policy,
            refuses=self.titles.barring.why,
        )

    def _title_sessions(self) -> dict[str, int]:
        ondemand = None if self.rtsp is None else self.rtsp.ondemand
        return {} if ondemand is None else ondemand.counters()

    def _title_viewers(self) -> list[dict[str, Any]]:
        ondemand = None if self.rtsp is None else self.rtsp.ondemand
        return [] if ondemand is None else ondemand.describe()

    def _open_on_demand(self) -> OnDemand:
        shelf = self.titles.published(self.storage.shelf)
        plays = self.titles.statistics.titles
        found = OnDemand(shelf, plays=plays, admission=self.admission)
        self._undo.append(("titles in browsers", found.close))
        return found

    def _open_chat(self, context: WebContext) -> ChatServer | None:
        settings = self.settings
        if context.chats is None:
            return None
        chat = ChatServer(
            context.chats,
            ChatGate(context),
            chat_options(settings),
            public_host=settings.server.public_host,
        )
        self.channels.subscribe(chat.observe)
        if self.roster.home:
            exchange = ChatExchange(
                self.cluster.bus, context.chats, self.channels, self.roster.home
            )
            self._undo.append(("chat exchange", exchange.close))
        chat.start()
        return chat

    def _open_rtc(self, loop: PlaneLoop, transcodes: Transcodes) -> Rtc | None:
        rtc = open_rtc(self.settings, loop, transcodes)
        if rtc is not None:
            self._undo.append(("webrtc", rtc.close))
        return rtc

    async def _open_http(self, context: WebContext, chat: ChatServer | None) -> None:
        options, redirects = http_options(self.settings), None
        if context.dispatcher is not None:
            redirects = Redirects(context.dispatcher, options.trust)
        self.http = HttpServer(create_app(context), context, options, chat, redirects)
        await self.http.start()
        self._undo.append(("http", self.http.stop))
        if chat is not None:
            self._undo.append(("chat", chat.close))

    async def stop(self) -> None:
        """Stop every part, the newest first; bounded, and one failure stops nothing else."""
        self.ready = False
        while self._undo:
            name, undo = self._undo.pop()
            try:
                result = undo()
                if result is not None:
                    async with asyncio.timeout(STOP_PATIENCE):
                        await result
            except TimeoutError:
                log.error("part did not stop in time", part=name, seconds=STOP_PATIENCE)
            except Exception:
                log.exception("part failed to stop", part=name)

    async def reload(self, load: Callable[[], Loaded]) -> None:
        """Read the settings anew and apply what changed in the channels and the dispatcher; nobody
        else notices."""
        try:
            settings = load().settings
            changes = diff(self.settings, settings)
            configured = channel_options(settings, self.state_dir)
        except HelioError as error:
            log.error("settings not reloaded; the old ones stay", error=error.message)
            return
        gone = [channel.name for channel in changes.removed]
        changed = [after.name for _, after in changes.changed]
        anew = [
            name
            for name in changed
            if not same_ring(self.channels.get(name).options, configured[name])
        ]
        for name in (*gone, *anew):
            await self.pulls.stop(name)
            await self.roster.withdraw(name)
        for name in (*(channel.name for channel in changes.added), *anew):
            channel = await self.roster.configure(name, configured[name])
            if self.carries:
                self.pulls.start(channel)
        for name in set(changed) - set(anew):
            channel = self.channels.get(name)
            self.channels.change(channel, configured[name], channel.standing)
        self.titles.configure(settings)
        update = {
            "channels": settings.channels,
            "dispatcher": settings.dispatcher,
            "monitor": settings.monitor,
        }
        self.settings = self.settings.model_copy(update=update)
        log.info(
            "settings reloaded",
            added=len(changes.added),
            removed=len(changes.removed),
            changed=len(changes.changed),
        )
