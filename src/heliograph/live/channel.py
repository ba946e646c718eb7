"""A live channel: one ring at the plane, its publishers on one side, its readers on the other.

A channel outlives its publishers: readers stay when the source goes, and go on when it returns.
States follow ``states.TRANSITIONS``.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import structlog

from heliograph.catalogue.values import Standing, ViewAccess
from heliograph.live.admission import (
    Access,
    Limits,
    Load,
    PublisherView,
    ReaderView,
    admit_publisher,
    admit_reader,
)
from heliograph.live.derived import derivable
from heliograph.live.grants import Grant
from heliograph.live.options import ChannelOptions, Conflict, LiveOptions
from heliograph.live.publish import Publishing, PublishKind
from heliograph.live.readers import Group, Reader, ReaderHooks, ReaderKind
from heliograph.live.seats import Seating
from heliograph.live.states import TRANSITIONS, LiveEvent, Observer, State, Trigger
from heliograph.model.errors import NotFoundError, UnsupportedError
from heliograph.model.media import Kind, Track
from heliograph.plane import (
    ChannelSilent,
    ChannelStats,
    Plane,
    PlaneLoop,
    ReaderClosed,
    RtcPort,
    SourceActive,
    SourceSilent,
    TapReady,
    TrackSpec,
)
from heliograph.protocols.sdp import aac_lengths, parameter_sets, serialize_parameters

log = structlog.get_logger(__name__)


_ids = itertools.count(1)


class Channel:
    """One channel; made and closed by ``registry.Channels``."""

    def __init__(
        self,
        name: str,
        options: ChannelOptions,
        loop: PlaneLoop,
        *,
        live: LiveOptions | None = None,
        server_load: Callable[[], Load] | None = None,
        observe: Observer | None = None,
        seating: Callable[[], Seating | None] = lambda: None,
        index: int = 0,
        configured: bool = True,
        standing: Standing | None = None,
        keeper: str = "",
        home: str = "",
    ) -> None:
        """``index``: place among the channels, from which its multicast group follows.
        ``seating``: gives who has the places of this node, where places are granted.
        ``configured``: from the settings rather than made by the API. ``standing``: how it stands
        in the catalogue. ``keeper``: the node that told of it; empty: it is kept here. ``home``: id
        of the database that it is kept in where nodes share that; empty: it is the keeper's own.
        """
        self.name = name
        self.options = options
        self.index = index
        self.configured = configured
        self.keeper = keeper
        self._home = home
        self.standing = standing
        """Owner, who may view, hashes of stream keys; replaced when they change. None where there
        is no catalogue: a channel of the server, for everybody to see."""
        self.state = State.IDLE
        self.since: datetime | None = None
        """When the state was entered; None while idle."""
        self.tracks: tuple[Track, ...] = ()
        """As readers see them: payload types stay while the layout does."""
        self.derived: tuple[Track, ...] = ()
        """What can be made of the sound beside them; ``transcoding`` does while it is wanted."""
        self.layout_version = 0
        """Rises with each change of the tracks; the version of the description."""
        self.session_id = next(_ids)
        self.publishings: dict[int, Publishing] = {}
        self.readers: dict[int, Reader] = {}
        self.kinds: Counter[ReaderKind] = Counter()
        """Readers by kind; taps are the server's own and take no place."""
        self.group: Group | None = None
        self.closed = False
        self.plane: Plane = loop.plane
        self._loop = loop
        self._live = live or LiveOptions()
        self._server_load = server_load or self.load
        self._observe = observe or (lambda event: None)
        self._seating = seating
        self._active: Publishing | None = None
        self._told_on_air = False
        self.plane_channel = self.plane.open_channel(
            depth_ms=options.depth_ms,
            max_bytes=options.max_bytes,
            silence_ms=options.silence_ms,
            return_ms=options.return_ms,
            coalesce_us=options.coalesce_us,
            tcp_interval_ms=options.tcp_interval_ms,
            lag_ms=options.lag_ms,
        )
        loop.on_channel(self.plane_channel, self._on_plane)

    def __repr__(self) -> str:
        return f"Channel({self.name!r}, {self.state})"

    @property
    def elsewhere(self) -> bool:
        """Whether other nodes keep it, in their settings or their catalogue."""
        return bool(self.keeper)

    @property
    def home(self) -> str:
        """Of several channels of a name, which one it is: the id of the database that several nodes
        keep it in, or of the one node that does; empty: this one."""
        return self._home or self.keeper

    @property
    def title(self) -> str:
        return self.options.title or self.name

    @property
    def open_to_all(self) -> bool:
        """Whether everybody may watch without showing anything."""
        if self.options.view_key:
            return False
        record = None if self.standing is None else self.standing.record
        return record is None or (not record.private and record.view_access is ViewAccess.EVERYONE)

    def close(self, reason: str = "channel closed") -> None:
        """End everybody, and the ring."""
        if self.closed:
            return
        self.closed = True
        for publishing in list(self.publishings.values()):
            self.dismiss(publishing, reason)
        for reader in list(self.readers.values()):
            reader.kick(reason)
        self._loop.forget_channel(self.plane_channel)
        self.plane.close_channel(self.plane_channel)

    # publishers

    def publish(
        self,
        tracks: Sequence[Track],
        kind: PublishKind,
        peer: str,
        *,
        grant: Grant | None = None,
        priority: int = 0,
        on_closed: Callable[[str], None] | None = None,
    ) -> Publishing:
        """Attach a publisher that the gate let in, after ``check_publisher``.

        ``grant`` is None for the server's own sources, which are not asked.
        """
        if self.closed:
            raise NotFoundError(f"no channel {self.name!r}", subject=self.name)
        leaving: tuple[int, ...] = ()
        if grant is not None:
            leaving = self.check_publisher(peer, priority)
        for id in leaving:
            self.dismiss(self.publishings[id], "replaced")
        outward = self._outward(tracks)
        derived = () if kind is PublishKind.MESH else derivable(tracks)
        specs = [TrackSpec.of(t, parameter_sets(t), aac_lengths(t)) for t in (*tracks, *derived)]
        add = self.plane.add_mesh_source if kind is PublishKind.MESH else self.plane.add_source
        source = add(self.plane_channel, priority, [*specs])
        publishing = Publishing(
            next(_ids),
            self,
            kind,
            peer,
            priority,
            datetime.now(UTC),
            source,
            tuple(tracks),
            derived,
            grant=grant,
            on_closed=on_closed,
        )
        self.publishings[publishing.id] = publishing
        if not self.tracks:  # players may come as soon as somebody said what will be sent
            self._set_tracks(outward, derived)
        log.info(
            "publisher joined", channel=self.name, kind=kind.value, peer=peer, id=publishing.id
        )
        self._observe(LiveEvent("publisher-joined", self.name, kind.value))
        return publishing

    def check_publisher(self, peer: str, priority: int = 0) -> tuple[int, ...]:
        """Whom a publisher would replace; raises if there is no room for it."""
        options = self.options
        view = PublisherView(
            self.name,
            Access.of(options.publish_from),
            replace=options.conflict is Conflict.REPLACE,
            priority=priority,
            holders=tuple(
                p.holder for p in self.publishings.values() if p.kind is not PublishKind.PULL
            ),
        )
        return admit_publisher(view, peer)

    def unpublish(self, publishing: Publishing, reason: str) -> None:
        """Detach a publisher; the channel waits if it was the one relayed."""
        if publishing.closed:
            return
        publishing.closed = True
        self.publishings.pop(publishing.id, None)
        self.plane.remove_source(publishing.source)
        if self._active is publishing:
            self._active = None
            if not self.publishings:
                self._silent()
        log.info("publisher left", channel=self.name, reason=reason, id=publishing.id)
        self._observe(LiveEvent("publisher-left", self.name, reason))

    def dismiss(self, publishing: Publishing, reason: str) -> None:
        """Detach a publisher against its will and tell it."""
        if not publishing.closed:
            self.unpublish(publishing, reason)
            if publishing.on_closed is not None:
                publishing.on_closed(reason)

    def _outward(self, tracks: Sequence[Track]) -> tuple[Track, ...]:
        """The tracks as readers see them: the plane keeps the payload type with the format."""
        known = {(t.id, t.kind, t.codec, t.clock_rate): t.payload_type for t in self.tracks}
        return tuple(
            replace(
                t, payload_type=known.get((t.id, t.kind, t.codec, t.clock_rate), t.payload_type)
            )
            for t in tracks
        )

    def tell_on_air(self, on_air: bool) -> None:
        """Another node says that it has the channel on air, whether its media come here or not."""
        self._told_on_air = on_air
        if on_air:
            self._move(Trigger.SOURCE_ACTIVE)
        elif self._active is None:
            self._move(Trigger.SILENT)

    @property
    def on_air(self) -> bool:
        """Whether somebody publishes it now, here or elsewhere."""
        return self.state is State.ON_AIR

    @property
    def active(self) -> Publishing | None:
        """Whose packets are relayed now."""
        return self._active

    # readers

    def check_reader(
        self, peer: str, *, multicast: bool = False, grant: Grant | None = None
    ) -> None:
        """Raise if there is no room for a reader from ``peer``, or nothing to read.

        ``grant``: that of the reader, which may name a place kept for it.
        """
        options = self.options
        joins = multicast and self.group is not None
        view = ReaderView(
            self.name,
            Access.of(options.view_from),
            limits=options.limits,
            load=self.load(),
            server_limits=self._live.limits,
            server_load=self._server_load() if self._live.limits != Limits() else Load(),
            cost=0 if joins else self.bitrate,
        )
        admit_reader(view, peer)
        seating = self._seating()
        if seating is not None:
            seating.admit(self.name, view.cost, "" if grant is None else grant.reservation)
        if not self.tracks:
            raise NotFoundError(f"channel {self.name!r} is not on air yet", subject=self.name)

    def add_conn_reader(
        self,
        conn: int,
        tracks: Sequence[tuple[int, int, int]],
        *,
        kind: ReaderKind,
        peer: str,
        hooks: ReaderHooks,
        grant: Grant | None = None,
        agent: str = "",
    ) -> Reader:
        """A reader on an adopted connection: (track, RTP channel, RTCP channel) for RTSP; for
        WebSocket the tracks are the channel's, whatever they become."""
        attach: Callable[[tuple[Track, ...]], int] | None = None
        if kind is ReaderKind.WEBSOCKET:

            def attach(layout: tuple[Track, ...]) -> int:
                lanes = [(track.id, 0, 0) for track in layout]
                return self.plane.add_conn_reader(self.plane_channel, conn, lanes)

            reader = attach(self.tracks)
        else:
            reader = self.plane.add_conn_reader(self.plane_channel, conn, list(tracks))
        return self._add_reader(kind, peer, agent, reader, hooks, attach, grant)

    def add_udp_reader(
        self,
        endpoint: int,
        tracks: Sequence[tuple[int, str, int, int]],
        *,
        peer: str,
        hooks: ReaderHooks,
        grant: Grant | None = None,
        agent: str = "",
    ) -> Reader:
        """A reader by UDP: (track, address, RTP port, RTCP port or 0)."""
        reader = self.plane.add_udp_reader(self.plane_channel, endpoint, list(tracks))
        return self._add_reader(ReaderKind.RTSP_UDP, peer, agent, reader, hooks, None, grant)

    def add_rtc_reader(
        self,
        port: RtcPort,
        offer: str,
        tracks: Sequence[Track],
        *,
        peer: str,
        hooks: ReaderHooks,
        grant: Grant | None = None,
        agent: str = "",
    ) -> tuple[Reader, str]:
        """A viewer by WebRTC on those tracks, and the answer to its offer; it plays once it is
        connected. Raises the plane's ``ValueError`` for an offer that is refused."""
        shown = [
            (
                track.id,
                track.kind.value,
                track.codec.value,
                track.clock_rate,
                track.channels,
                serialize_parameters(track.fmtp),
                0,
            )
            for track in tracks
        ]
        plane_reader, answer = port.view(self.plane_channel, offer, shown)
        reader = self._add_reader(ReaderKind.WHEP, peer, agent, plane_reader, hooks, None, grant)
        reader.playing = True
        return reader, answer

    def add_hls_reader(
        self, *, peer: str, hooks: ReaderHooks, grant: Grant | None = None, agent: str = ""
    ) -> Reader:
        """A viewer by HLS: it takes a place, and a tap that all share makes what it is sent."""
        reader = self._add_reader(ReaderKind.HLS, peer, agent, 0, hooks, None, grant)
        reader.playing = True
        return reader

    def add_tap(
        self,
        *,
        hooks: ReaderHooks,
        frames: bool = False,
        capacity: int = 1024,
        of: Callable[[], Sequence[Track]] | None = None,
    ) -> Reader:
        """A reader in Python; takes no place. ``of`` tells its tracks, and is asked again when the
        layout changes; all that the source sends otherwise."""

        def attach(layout: tuple[Track, ...]) -> int:
            ids = [track.id for track in (layout if of is None else of())]
            return self.plane.add_tap(self.plane_channel, ids, frames=frames, capacity=capacity)

        reader = attach(self.tracks)
        return self._add_reader(ReaderKind.TAP, "", "", reader, hooks, attach, None)

    def join_group(
        self,
        endpoint: int,
        address: str,
        port: int,
        ttl: int,
        *,
        peer: str,
        hooks: ReaderHooks,
        grant: Grant | None = None,
        agent: str = "",
    ) -> Reader:
        """A member of the channel's multicast group, which the first member opens."""
        if not self.options.multicast:
            raise UnsupportedError(f"channel {self.name!r} is not sent by multicast")
        if self.group is None:
            lanes = [
                (track.id, address, port + 2 * place, port + 2 * place + 1)
                for place, track in enumerate(self.tracks)
            ]
            reader = self.plane.add_udp_reader(self.plane_channel, endpoint, lanes)
            self.group = Group(address, port, ttl, reader)
        self.group.members += 1
        return self._add_reader(
            ReaderKind.MULTICAST, peer, agent, self.group.plane_reader, hooks, None, grant
        )

    def _add_reader(
        self,
        kind: ReaderKind,
        peer: str,
        agent: str,
        plane_reader: int,
        hooks: ReaderHooks,
        attach: Callable[[tuple[Track, ...]], int] | None,
        grant: Grant | None,
    ) -> Reader:
        now = datetime.now(UTC)
        reader = Reader(
            next(_ids), self, kind, peer, agent, now, plane_reader, hooks, attach, grant=grant
        )
        self.readers[reader.id] = reader
        self.kinds[kind] += 1
        seating = self._seating()
        if seating is not None and reader.counted:
            seating.take(
                self.name,
                reader,
                multicast=kind is ReaderKind.MULTICAST,
                reservation="" if grant is None else grant.reservation,
            )
        self._watch(reader)
        log.info("reader joined", channel=self.name, kind=kind.value, peer=peer, id=reader.id)
        self._observe(LiveEvent("reader-joined", self.name, kind.value))
        return reader

    def _watch(self, reader: Reader) -> None:
        if reader.kind in (ReaderKind.MULTICAST, ReaderKind.HLS):
            return

        def on_reader(event: ReaderClosed | TapReady) -> None:
            if isinstance(event, TapReady):
                reader.hooks.ready()
            elif not reader.closed:
                self.remove_reader(reader, event.reason)
                reader.hooks.closed(event.reason)

        self._loop.on_reader(reader.plane_reader, on_reader)

    def remove_reader(self, reader: Reader, reason: str = "left") -> None:
        """Detach a reader; its hooks are not called."""
        if reader.closed:
            return
        reader.closed = True
        del self.readers[reader.id]
        self.kinds[reader.kind] -= 1
        seating = self._seating()
        if seating is not None:
            seating.leave(reader)
        if reader.kind is ReaderKind.MULTICAST:
            self._leave_group(reader)
        elif reader.kind is not ReaderKind.HLS:
            self._loop.forget_reader(reader.plane_reader)
            self.plane.remove_reader(reader.plane_reader)
        log.info("reader left", channel=self.name, reason=reason, id=reader.id)
        self._observe(LiveEvent("reader-left", self.name, reason))

    def _leave_group(self, reader: Reader) -> None:
        group = self.group
        if group is None or group.plane_reader != reader.plane_reader:
            return
        group.members -= 1
        if group.members == 0:
            self.plane.remove_reader(group.plane_reader)
            self.group = None

    # numbers

    def stats(self) -> ChannelStats:
        """The plane's counters of the channel; zeros once it is closed."""
        try:
            return ChannelStats.of(self.plane.channel_stats(self.plane_channel))
        except KeyError:
            return ChannelStats()

    @property
    def bitrate(self) -> int:
        """Bits a second that enter."""
        return self.stats().bitrate_bps

    @property
    def places(self) -> int:
        """How many readers take a place."""
        return self.kinds.total() - self.kinds[ReaderKind.TAP]

    def load(self) -> Load:
        """Places and bandwidth in use: a group's members take a place each, its bits but once."""
        places = self.places
        streams = places - self.kinds[ReaderKind.MULTICAST] + (self.group is not None)
        return Load(places, streams * self.bitrate if streams else 0)

    def inputs(self) -> Iterator[dict[str, Any]]:
        """For the API: publishers with the counters of their sources."""
        counters = {source.source: source for source in self.stats().sources}
        for publishing in list(self.publishings.values()):
            yield publishing.describe(counters.get(publishing.source))

    def grants(self) -> Iterator[Grant]:
        """Why its publishers and readers were let in."""
        for publishing in self.publishings.values():
            if publishing.grant is not None:
                yield publishing.grant
        for reader in self.readers.values():
            if reader.grant is not None:
                yield reader.grant

    def reader(self, id: int) -> Reader:
        """A reader by its id; ``NotFoundError`` if it is not here."""
        found = self.readers.get(id)
        if found is None:
            raise NotFoundError(f"channel {self.name!r} has no reader {id}", subject=str(id))
        return found

    def picture_source(self) -> tuple[Track, bytes] | None:
        """The first video track and its newest key access unit, if one is held."""
        track = next((track for track in self.tracks if track.kind is Kind.VIDEO), None)
        if track is None or self.closed:
            return None
        unit = self.plane.keyframe(self.plane_channel, track.id)
        return None if unit is None else (track, unit)

    # what the plane says

    def _on_plane(self, event: SourceActive | SourceSilent | ChannelSilent) -> None:
        match event:
            case SourceActive(source=source):
                self._source_active(source)
            case SourceSilent(source=source):
                publishing = self._by_source(source)
                if publishing is not None:
                    publishing.silent = True
                    log.warning("source silent", channel=self.name, peer=publishing.peer)
            case ChannelSilent():
                self._active = None
                self._silent()

    def _source_active(self, source: int) -> None:
        publishing = self._by_source(source)
        if publishing is None:  # removed while the event was on its way
            return
        publishing.silent = False
        publishing.started = True
        before, self._active = (self.state, self._active), publishing
        self._set_tracks(self._outward(publishing.tracks), publishing.derived)
        self._move(Trigger.SOURCE_ACTIVE)
        if before[0] is State.ON_AIR and before[1] is not publishing:
            self._observe(LiveEvent("source", self.name, publishing.kind.value))

    def _by_source(self, source: int) -> Publishing | None:
        return next((p for p in self.publishings.values() if p.source == source), None)

    def resync(self) -> None:
        """Ask the plane anew, after events were lost."""
        stats = self.stats()
        active = next((source for source in stats.sources if source.active), None)
        for source in stats.sources:
            publishing = self._by_source(source.source)
            if publishing is not None:
                age = source.last_packet_age_ms
                publishing.silent = not 0 <= age < self.options.silence_ms
        if active is None:
            self._on_plane(ChannelSilent(self.plane_channel))
        else:
            self._source_active(active.source)
        for reader in list(self.readers.values()):
            if reader.kind is ReaderKind.HLS:
                continue
            try:
                self.plane.reader_stats(reader.plane_reader)
            except KeyError:
                self.remove_reader(reader, "closed")
                reader.hooks.closed("closed")

    def _silent(self) -> None:
        if not self._told_on_air:  # nobody needs its media here just now
            self._move(Trigger.SILENT)

    def _move(self, trigger: Trigger) -> None:
        state = TRANSITIONS.get((self.state, trigger), self.state)
        if state is self.state:
            return
        self.state = state
        self.since = datetime.now(UTC)
        log.info("channel state", channel=self.name, state=state.value)
        for reader in list(self.readers.values()):
            reader.hooks.state_changed(state)
        self._observe(LiveEvent("state", self.name, state.value))

    def _set_tracks(self, tracks: tuple[Track, ...], derived: tuple[Track, ...]) -> None:
        old, self.tracks, self.derived = self.tracks, tracks, derived
        if old == tracks:
            return
        self.layout_version += 1
        same = len(old) == len(tracks) and all(
            a.id == b.id and a.same_format(b) for a, b in zip(old, tracks, strict=True)
        )
        if same:  # only format parameters differ: those that matter also come in band
            return
        log.info("channel tracks", channel=self.name, tracks=[str(t.codec) for t in tracks])
        for reader in list(self.readers.values()):
            if reader.kind is ReaderKind.HLS:
                continue  # its playlist tells where the format changes
            if reader.attach is None:
                reader.kick("format changed")
            else:
                self._attach_anew(reader)
        self._observe(LiveEvent("tracks", self.name))

    def _attach_anew(self, reader: Reader) -> None:
        assert reader.attach is not None
        self._loop.forget_reader(reader.plane_reader)
        self.plane.remove_reader(reader.plane_reader)
        reader.hooks.tracks_changed(self.tracks)
        if reader.closed:
            return
        try:
            reader.plane_reader = reader.attach(self.tracks)
        except KeyError:  # its connection went away meanwhile
            self.remove_reader(reader, "closed")
            reader.hooks.closed("closed")
            return
        self._watch(reader)
        if reader.playing:
            reader.start()
