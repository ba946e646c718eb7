"""A live channel: one ring at the plane, its publishers on one side, its readers on the other.

A channel outlives its publishers: readers stay when the source goes, and go on when it returns.
States follow ``states.TRANSITIONS``.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import structlog

from heliograph.catalogue.values import Standing, ViewAccess
from heliograph.live.admission import (
    Access,
    Load,
    PublisherView,
    admit_publisher,
)
from heliograph.live.audience import Audience
from heliograph.live.derived import derivable
from heliograph.live.grants import Grant, Guest
from heliograph.live.options import ChannelOptions, Conflict, LiveOptions
from heliograph.live.publish import Publishing, PublishKind
from heliograph.live.seats import Seating
from heliograph.live.states import TRANSITIONS, LiveEvent, Observer, State, Trigger
from heliograph.model.errors import BusyError, NotFoundError
from heliograph.model.media import Kind, Track
from heliograph.plane import (
    ChannelSilent,
    ChannelStats,
    Plane,
    PlaneLoop,
    SourceActive,
    SourceSilent,
    TrackSpec,
)
from heliograph.protocols.sdp import aac_lengths, parameter_sets

log = structlog.get_logger(__name__)


#: Seconds after which a publisher that is to enter elsewhere may ask here again: whoever cannot be
#: sent there is let in once nobody is expected there.
ENTER_AGAIN = 5

#: Seconds after the end of its source in which a channel is said to be soon back: a unit that died
#: is replaced in two, and pages and encoders of publishers come again within a few more.
BACK_WITHIN = 10.0

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
        self._entered = 0.0
        """The same, on the clock that is never set."""
        self.tracks: tuple[Track, ...] = ()
        """As readers see them: payload types stay while the layout does."""
        self.derived: tuple[Track, ...] = ()
        """What can be made of the sound beside them; ``transcoding`` does while it is wanted."""
        self.layout_version = 0
        """Rises with each change of the tracks; the version of the description."""
        self.session_id = next(_ids)
        self.publishings: dict[int, Publishing] = {}
        self.guests: set[Guest] = set()
        """Who watches what was recorded of it."""
        self.entrance = ""
        """The node at which publishers are to enter in place of this one; empty: none is named."""
        self.turned_away = 0
        """How often one came and was sent there, since one went; the channel's publishers are not
        told apart."""
        self.closed = False
        self.plane: Plane = loop.plane
        self._loop = loop
        self._observe = observe or (lambda event: None)
        self.audience = Audience(
            self,
            loop,
            self._observe,
            limits=(live or LiveOptions()).limits,
            server_load=server_load,
            seating=seating,
        )
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
        self.audience.close(reason)
        for guest in list(self.guests):
            guest.kick(reason)
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
        """Whom a publisher would replace; raises if there is no room for it, or if it is to enter
        at another node."""
        if self.entrance:
            self.turned_away += 1
            raise BusyError(
                f"channel {self.name!r} enters at another unit now",
                subject=self.name,
                retry_after=ENTER_AGAIN,
            )
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
    def lately_on_air(self) -> bool:
        """Whether its source went so short a time ago that it is soon back, if it comes back."""
        waiting = self.state is State.WAITING
        return waiting and time.monotonic() - self._entered < BACK_WITHIN

    @property
    def active(self) -> Publishing | None:
        """Whose packets are relayed now."""
        return self._active

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

    def inputs(self) -> Iterator[dict[str, Any]]:
        """For the API: publishers with the counters of their sources."""
        counters = {source.source: source for source in self.stats().sources}
        for publishing in list(self.publishings.values()):
            yield publishing.describe(counters.get(publishing.source))

    def grants(self) -> Iterator[Grant]:
        """Why its publishers, readers and guests were let in."""
        for publishing in self.publishings.values():
            if publishing.grant is not None:
                yield publishing.grant
        for viewer in self.viewers():
            if viewer.grant is not None:
                yield viewer.grant

    def viewers(self) -> list[Guest]:
        """Its readers and guests."""
        return [*self.audience.readers.values(), *self.guests]

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
                before = self._active
                self._source_active(source)
                if before is not None and before is self._active:
                    self._observe(LiveEvent("epoch", self.name))
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
        # After a pause its picture goes on from a keyframe; readers, who get nothing, ask for none.
        for track in publishing.tracks:
            if track.kind is Kind.VIDEO:
                self.plane.want_keyframe(self.plane_channel, track.id)
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
        self.audience.resync()

    def _silent(self) -> None:
        if not self._told_on_air:  # nobody needs its media here just now
            self._move(Trigger.SILENT)

    def _move(self, trigger: Trigger) -> None:
        state = TRANSITIONS.get((self.state, trigger), self.state)
        if state is self.state:
            return
        self.state = state
        self.since, self._entered = datetime.now(UTC), time.monotonic()
        log.info("channel state", channel=self.name, state=state.value)
        self.audience.tell_state(state)
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
        self.audience.follow_layout()
        self._observe(LiveEvent("tracks", self.name))
