"""Titles on demand by RTSP: those that this node's volumes hold are played by this node.

A path that is no channel is looked for on the shelf first, then among the titles of other servers
(``rtsp_titles``). Titles are public; one that was recorded from a channel is let out by the
channel's gate, and one that the catalogue bars from a client is refused.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import structlog

from heliograph.dispatcher.barring import Barring
from heliograph.live.admission import Access
from heliograph.live.channel import Channel
from heliograph.live.grants import Grant, vouched
from heliograph.live.registry import Channels
from heliograph.live.roster import ENDED
from heliograph.model.errors import (
    BusyError,
    ForbiddenError,
    MalformedError,
    NotFoundError,
    WrongStateError,
)
from heliograph.plane import EventsLost, PlaneLoop
from heliograph.protocols.rtsp import Target, Transport, npt, pause_point, section
from heliograph.protocols.rtsp.events import (
    DescribeRequested,
    PauseRequested,
    PlayRequested,
    SetupRequested,
)
from heliograph.protocols.rtsp.headers import parse_tokens
from heliograph.protocols.rtsp.sharing import TAG
from heliograph.servers.rtsp_signs import Signs
from heliograph.servers.rtsp_transports import choose
from heliograph.vod.bipartite.conductor import EXTENSION
from heliograph.vod.bipartite.ensemble import Ensemble
from heliograph.vod.bipartite.part import Part
from heliograph.vod.describe import sdp_for_title, viewed_tracks
from heliograph.vod.manifest import Manifest
from heliograph.vod.playing import Started, Viewer, Wish
from heliograph.vod.promises import Admission
from heliograph.vod.sessions import Observer, PlaySession, Session
from heliograph.vod.shelf import Shelf

if TYPE_CHECKING:
    from heliograph.servers.rtsp_connection import RtspConnection

log = structlog.get_logger(__name__)

#: Sessions at once where nothing else bounds them: some 60 KB each beside their blocks.
MAX_SESSIONS = 4096
#: Seconds after which somebody refused for want of a place may ask again.
RETRY_AFTER = 10


class RtspOnDemand:
    """Titles at one server: the shelf, who is admitted, and every session."""

    def __init__(
        self,
        shelf: Shelf,
        loop: PlaneLoop,
        *,
        admission: Admission | None = None,
        observe: Observer | None = None,
        ensemble: Ensemble | None = None,
        barring: Barring | None = None,
        channels: Channels | None = None,
        max_sessions: int = MAX_SESSIONS,
    ) -> None:
        """``admission``: promises streams; None: nothing is short. ``observe`` is told of sessions
        that begin and end, as statistics need it. ``ensemble``: sends titles together with other
        nodes, to players that can take them so. ``barring``: who gets which title nowhere; None:
        nobody is barred. ``channels``: whose rules decide about what was recorded of them; None:
        there are none."""
        self.shelf = shelf
        self.barring = barring or Barring()
        self.sessions: dict[int, PlaySession] = {}
        self.refused = 0
        """Viewers turned away for want of a place or a budget."""
        self._past: Counter[str] = Counter()
        self._loop = loop
        self._admission = admission
        self._observe = observe
        self._max_sessions = max_sessions
        self.ensemble = ensemble
        self._channels = channels
        self._guests: dict[int, PartGuest] = {}
        """By the part's number."""
        if ensemble is not None:
            ensemble.begun.append(self._part_begun)
            ensemble.past.append(self._part_over)
        loop.on_lost(self._resync)

    def find(self, name: str) -> Manifest | None:
        """The title of that name; None: it is not here."""
        return self.shelf.find(name)

    def extension(self, manifest: Manifest) -> int | None:
        """Id of the header extension by which several nodes send a title; None: they do not."""
        usable = self.ensemble is not None and self.ensemble.usable and not manifest.live
        return EXTENSION if usable else None

    def check(self, manifest: Manifest, tracks: list[int], *, shared: bool) -> None:
        """``BusyError`` where one more viewer of a title is too many. ``shared``: several nodes are
        to send it, which is promised when it is known which."""
        try:
            if len(self.sessions) >= self._max_sessions:
                raise BusyError(
                    f"{self._max_sessions} titles are played already",
                    subject="places",
                    retry_after=RETRY_AFTER,
                )
            if self._admission is not None and not shared:
                self._admission.look(manifest, tracks)
        except BusyError:
            self.refused += 1
            raise

    def open(
        self,
        manifest: Manifest,
        tracks: list[int],
        attach: Callable[[int], None],
        viewer: Viewer,
        on_closed: Callable[[str], None],
    ) -> PlaySession:
        """A session for a viewer whom ``check`` let in; ``BusyError`` where nothing is promised."""
        promise = None if self._admission is None else self._admission.promise(manifest, tracks)
        try:
            session = PlaySession(
                manifest,
                self.shelf.source(manifest),
                self._loop,
                tracks,
                attach,
                viewer,
                promise=promise,
                observe=self._observe,
                on_closed=lambda reason: self._closed(session, reason, on_closed),
                renew=functools.partial(self.shelf.current, manifest),
            )
        except BaseException:
            if promise is not None:
                promise.release()
            raise
        self.sessions[session.id] = session
        return session

    def end(self, session: PlaySession, reason: str) -> None:
        """The viewer leaves."""
        session.close(reason)
        self._forget(session)

    def _closed(self, session: PlaySession, reason: str, then: Callable[[str], None]) -> None:
        self._forget(session)
        then(reason)

    def _forget(self, session: PlaySession) -> None:
        if self.sessions.pop(session.id, None) is not None:
            self._past.update(_counts(session))

    def _part_begun(self, part: Part) -> None:
        """Judge it by the rules of its channel here as well: the node with control may die."""
        name, said = self.shelf.channel(part.manifest), part.order.grant
        channel = None if self._channels is None else self._channels.find(name)
        if channel is None or not said or self.ensemble is None:
            return
        try:
            grant = vouched(json.loads(said), name)
        except (ValueError, MalformedError):
            log.warning("what a session was granted for is not understood", title=name)
            return
        guest = self._guests[part.id] = PartGuest(self, self.ensemble, part, channel, grant)
        channel.guests.add(guest)

    def _part_over(self, part: Part) -> None:
        self._past.update(_counts(part))
        guest = self._guests.pop(part.id, None)
        if guest is not None:
            guest.channel.guests.discard(guest)

    def counters(self) -> dict[str, int]:
        """Of all sessions since the start, for metrics; and how many there are."""
        found = Counter(sessions_begun=0)
        for session in self._all():
            found.update(_counts(session))
        found.update(self._past)
        together = {} if self.ensemble is None else self.ensemble.counters
        return {
            **found,
            **{f"bipartite_{name}": count for name, count in together.items()},
            "sessions": len(self._all()),
            "refused": self.refused,
        }

    def _all(self) -> list[Session]:
        """Sessions of this node, and its parts of others'."""
        parts = [] if self.ensemble is None else self.ensemble.parts.values()
        return [*self.sessions.values(), *parts]

    def describe(self) -> list[dict[str, Any]]:
        """Every session, for the API."""
        return [session.describe() for session in self._all()]

    def _resync(self, event: EventsLost) -> None:
        for session in self._all():
            session.resync()


class PartGuest:
    """A session that several nodes send, at one of them, as a channel's guest."""

    def __init__(
        self,
        service: RtspOnDemand,
        ensemble: Ensemble,
        part: Part,
        channel: Channel,
        grant: Grant,
    ) -> None:
        self.channel, self.grant = channel, grant
        self._service, self._ensemble, self._part = service, ensemble, part

    def kick(self, reason: str) -> None:
        """The right to watch is gone: it ends at all nodes. Not where this one merely sees the
        channel's keeper no more, while another has control and judges."""
        elsewhere = self._part.order.controller != self._ensemble.node
        if reason != ENDED and self.channel.elsewhere and elsewhere:
            return
        if self._service.shelf.channel(self._part.manifest):
            self._ensemble.finish(self._part)


def _counts(session: Session) -> dict[str, int]:
    stats, counters = session.stats(), session.counters
    return {
        "sessions_begun": 1,
        "packets": stats.packets,
        "bytes": stats.bytes,
        "late_20ms": stats.late_20ms,
        "underruns": stats.underruns,
        "blocks": counters.blocks,
        "blocks_lost": counters.lost,
        "blocks_late": counters.late,
        "read_errors": counters.errors,
        "resent": stats.resent,
        "resend_refused": stats.resend_refused,
    }


class TitleClient:
    """A connection's viewer of a title."""

    def __init__(self, connection: RtspConnection, service: RtspOnDemand) -> None:
        self._at = connection
        self._service = service
        self._manifest: Manifest | None = None
        self._session: PlaySession | None = None
        self._signs = Signs()
        self._tcp = False
        self._channel: Channel | None = None
        self.grant: Grant | None = None
        """Why the channel's gate lets the title be watched; None: everybody may."""

    @property
    def subject(self) -> str:
        return "" if self._manifest is None else self._manifest.name

    # life and end

    def age(self) -> float | None:
        if self._session is None:
            return None
        return self._signs.of_viewer(self._session.stats(), tcp=self._tcp)

    def survives(self) -> bool:
        session = self._session
        return session is not None and not self._tcp and session.stats().last_rtcp_age_ms >= 0

    @property
    def hands_on(self) -> bool:
        return False

    def detach(self, reason: str) -> None:
        if self._session is not None:
            self._service.end(self._session, reason)
            self._session = None
        self._manifest = None
        self._leave()

    def kick(self, reason: str) -> None:
        """The right to watch is gone."""
        manifest = self._manifest
        if manifest is not None and self._service.shelf.channel(manifest):
            self._at.end(reason)

    def _enter(self, channel: Channel, grant: Grant) -> None:
        """Be judged by the channel's rules as long as the title plays."""
        self._leave()
        self._channel, self.grant = channel, grant
        channel.guests.add(self)

    def _leave(self) -> None:
        if self._channel is not None:
            self._channel.guests.discard(self)
            self._channel = None

    def _closed(self, reason: str) -> None:
        """The session ended by itself."""
        self._session = None
        self._at.end(reason)

    # requests

    def _find(self, target: Target) -> Manifest:
        manifest = self._service.find(target.path)
        if manifest is None:
            raise NotFoundError(f"no title {target.path[:80]!r}", subject=target.path[:80])
        return manifest

    def _allowed(
        self,
        event: DescribeRequested | SetupRequested,
        manifest: Manifest,
        then: Callable[[], None],
    ) -> None:
        """Go on where the client may watch the title."""
        self._service.barring.check(manifest.name, self._at.peer)
        name = self._service.shelf.channel(manifest)
        if not name:
            then()
            return
        channel, decision = self._at.door.view(event.target, name)
        self._at.when(event, decision, functools.partial(self._granted, event, channel, then))

    def _granted(
        self,
        event: DescribeRequested | SetupRequested,
        channel: Channel,
        then: Callable[[], None],
        grant: Grant,
    ) -> None:
        if not Access.of(channel.options.view_from).permits(self._at.peer):
            raise ForbiddenError(
                f"{self._at.peer} may not watch channel {channel.name!r}", subject=channel.name
            )
        self._at.door.keep(channel, grant)
        then()
        if isinstance(event, SetupRequested):
            self._enter(channel, grant)

    def describe(self, event: DescribeRequested) -> None:
        manifest = self._find(event.target)
        self._allowed(event, manifest, functools.partial(self._described, event, manifest))

    def _described(self, event: DescribeRequested, manifest: Manifest) -> None:
        rendition = _rendition(event.target)
        tracks = [one.track.id for one in viewed_tracks(manifest, rendition)]
        extension = self._service.extension(manifest)
        able = TAG in parse_tokens(self._at.session.shown("supported"))
        self._service.check(manifest, tracks, shared=able and extension is not None)
        sdp = sdp_for_title(
            manifest,
            int(manifest.object[:12], 16),
            rendition=rendition,
            origin_address=self._at.local,
            extension=extension,
        )
        self._at.accepted("DESCRIBE", manifest.name)
        self._at.session.describe_ok(sdp)

    def setup(self, event: SetupRequested) -> None:
        manifest = self._manifest or self._find(event.target)
        if self._manifest is None:
            then = functools.partial(self._set_up, event, manifest)
            self._allowed(event, manifest, then)
        else:
            self._set_up(event, manifest)

    def _set_up(self, event: SetupRequested, manifest: Manifest) -> None:
        if all(one.track.id != event.track for one in manifest.tracks):
            raise NotFoundError(f"no track {event.track}", subject=manifest.name)
        if self._session is not None:
            raise WrongStateError("the title is played already")
        transport = choose(self._at.server, event, None, connected=self._at.connected)
        self._manifest = manifest
        self._at.session.setup_ok(transport, seekable=True)

    def play(self, event: PlayRequested) -> None:
        manifest = self._manifest
        if manifest is None:
            raise WrongStateError("no track is set up")
        newest = self._newest(manifest)
        wish, asks = wish_of(event, newest)
        if self._session is not None and self._session.playing and event.playing and not asks:
            at = self._session.position_us / 1e6  # PLAY as a sign of life
            self._at.session.play_ok(None, npt(at, self._session.manifest.duration_us / 1e6))
            return
        if self._session is None:
            self._session = self._open(manifest)
        played = self._session.play(wish)
        self._at.later(event, played, functools.partial(self._played, event, manifest))

    def _newest(self, manifest: Manifest) -> Manifest:
        """A title that is being recorded is longer by now."""
        return (manifest.live and self._service.shelf.current(manifest)) or manifest

    def _played(self, event: PlayRequested, manifest: Manifest, started: Started) -> None:
        self._at.accepted("PLAY", manifest.name, transport="tcp" if self._tcp else "udp")
        self._at.session.play_ok(
            dict(started.starts),
            npt(started.start_us / 1e6, started.end_us / 1e6),
            scale=None if event.scale is None else started.scale,
            speed=None if event.speed is None else started.speed,
        )
        self._at.flush()  # the answer goes before the first packet

    def _open(self, manifest: Manifest) -> PlaySession:
        transports = self._at.session.transports
        tracks = list(transports)
        self._tcp = next(iter(transports.values())).is_tcp
        self._service.check(manifest, tracks, shared=False)
        if self._tcp:
            attach = self._to_conn(self._at.hand_over(), transports)
        else:
            attach = self._to_udp(transports)
        way = "rtsp-tcp" if self._tcp else "rtsp-udp"
        viewer = Viewer(self._at.peer, way, self._at.session.user_agent)
        return self._service.open(manifest, tracks, attach, viewer, self._closed)

    def _to_conn(self, conn: int, transports: Mapping[int, Transport]) -> Callable[[int], None]:
        lanes = [(id, *t.interleaved) for id, t in transports.items() if t.interleaved]
        return lambda sender: self._at.plane.sender_to_conn(sender, conn, lanes)

    def _to_udp(self, transports: Mapping[int, Transport]) -> Callable[[int], None]:
        peer, endpoint = self._at.peer, self._at.server.endpoint
        ports = [(id, peer, *t.client_port) for id, t in transports.items() if t.client_port]
        return lambda sender: self._at.plane.sender_to_udp(sender, endpoint, ports)

    def pause(self, event: PauseRequested) -> None:
        if self._session is not None:
            point = pause_point(event.range, self._session.manifest.duration_us / 1e6)
            self._session.pause(None if point is None else round(point * 1e6))
        self._at.session.pause_ok()


def wish_of(event: PlayRequested, manifest: Manifest) -> tuple[Wish, bool]:
    """What a PLAY wants, and whether it asks for anything that it did not say before."""
    wanted = section(event.range, manifest.duration_us / 1e6)
    if manifest.live and event.range is not None:
        wanted = replace(wanted, end=event.range.end_seconds)  # it may come to be
    if manifest.live and event.range is not None and event.range.start == "now":
        wanted = replace(wanted, start=manifest.duration_us / 1e6)  # as live as it gets
    wish = Wish(
        None if wanted.start is None else round(wanted.start * 1e6),
        None if wanted.end is None else round(wanted.end * 1e6),
        1.0 if event.scale is None else event.scale,
        1.0 if event.speed is None else event.speed,
    )
    asks = event.range is not None or event.scale is not None or event.speed is not None
    return wish, asks


def _rendition(target: Target) -> int:
    """``?rendition=N``: which of several pictures is wanted, 0 is the best."""
    text = target.parameter("rendition") or "0"
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 2 else 0
