"""Who reads one channel, by whatever way: let in, attached to the ring, told and sent away."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from heliograph.live.admission import Access, Limits, Load, ReaderView, admit_reader
from heliograph.live.grants import Grant
from heliograph.live.readers import Group, Reader, ReaderHooks, ReaderKind
from heliograph.live.seats import Seating
from heliograph.live.states import LiveEvent, Observer, State
from heliograph.model.errors import NotFoundError, UnsupportedError
from heliograph.model.media import Track
from heliograph.plane import PlaneLoop, ReaderClosed, RtcPort, TapReady
from heliograph.protocols.sdp import serialize_parameters

if TYPE_CHECKING:
    from heliograph.live.channel import Channel

log = structlog.get_logger(__name__)

_ids = itertools.count(1)


class Audience:
    """The readers of a channel; each channel has one."""

    def __init__(
        self,
        channel: Channel,
        loop: PlaneLoop,
        observe: Observer,
        *,
        limits: Limits,
        server_load: Callable[[], Load] | None,
        seating: Callable[[], Seating | None],
    ) -> None:
        """``limits`` and ``server_load``: of the server as a whole. ``seating``: gives who has the
        places of this node, where places are granted."""
        self.readers: dict[int, Reader] = {}
        self.kinds: Counter[ReaderKind] = Counter()
        """Readers by kind; taps are the server's own and take no place."""
        self.group: Group | None = None
        self._channel = channel
        self._plane = loop.plane
        self._loop = loop
        self._observe = observe
        self._limits = limits
        self._server_load = server_load or self.load
        self._seating = seating

    @property
    def places(self) -> int:
        """How many readers take a place."""
        return self.kinds.total() - self.kinds[ReaderKind.TAP]

    def load(self) -> Load:
        """Places and bandwidth in use: a group's members take a place each, its bits but once."""
        places = self.places
        streams = places - self.kinds[ReaderKind.MULTICAST] + (self.group is not None)
        return Load(places, streams * self._channel.bitrate if streams else 0)

    def get(self, id: int) -> Reader:
        """A reader by its id; ``NotFoundError`` if it is not here."""
        found = self.readers.get(id)
        if found is None:
            name = self._channel.name
            raise NotFoundError(f"channel {name!r} has no reader {id}", subject=str(id))
        return found

    # coming and going

    def check(self, peer: str, *, multicast: bool = False, grant: Grant | None = None) -> None:
        """Raise if there is no room for a reader from ``peer``, or nothing to read.

        ``grant``: that of the reader, which may name a place kept for it.
        """
        options = self._channel.options
        joins = multicast and self.group is not None
        view = ReaderView(
            self._channel.name,
            Access.of(options.view_from),
            limits=options.limits,
            load=self.load(),
            server_limits=self._limits,
            server_load=self._server_load() if self._limits != Limits() else Load(),
            cost=0 if joins else self._channel.bitrate,
        )
        admit_reader(view, peer)
        seating = self._seating()
        if seating is not None:
            seating.admit(self._channel.name, view.cost, "" if grant is None else grant.reservation)
        if not self._channel.tracks:
            raise NotFoundError(
                f"channel {self._channel.name!r} is not on air yet", subject=self._channel.name
            )

    def add_conn(
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
                return self._plane.add_conn_reader(self._channel.plane_channel, conn, lanes)

            reader = attach(self._channel.tracks)
        else:
            reader = self._plane.add_conn_reader(self._channel.plane_channel, conn, list(tracks))
        return self._add(kind, peer, agent, reader, hooks, attach, grant)

    def add_udp(
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
        reader = self._plane.add_udp_reader(self._channel.plane_channel, endpoint, list(tracks))
        return self._add(ReaderKind.RTSP_UDP, peer, agent, reader, hooks, None, grant)

    def add_rtc(
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
        plane_reader, answer = port.view(self._channel.plane_channel, offer, shown)
        reader = self._add(ReaderKind.WHEP, peer, agent, plane_reader, hooks, None, grant)
        reader.playing = True
        return reader, answer

    def add_hls(
        self, *, peer: str, hooks: ReaderHooks, grant: Grant | None = None, agent: str = ""
    ) -> Reader:
        """A viewer by HLS: it takes a place, and a tap that all share makes what it is sent."""
        reader = self._add(ReaderKind.HLS, peer, agent, 0, hooks, None, grant)
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
            return self._plane.add_tap(
                self._channel.plane_channel, ids, frames=frames, capacity=capacity
            )

        reader = attach(self._channel.tracks)
        return self._add(ReaderKind.TAP, "", "", reader, hooks, attach, None)

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
        if not self._channel.options.multicast:
            raise UnsupportedError(f"channel {self._channel.name!r} is not sent by multicast")
        if self.group is None:
            lanes = [
                (track.id, address, port + 2 * place, port + 2 * place + 1)
                for place, track in enumerate(self._channel.tracks)
            ]
            reader = self._plane.add_udp_reader(self._channel.plane_channel, endpoint, lanes)
            self.group = Group(address, port, ttl, reader)
        self.group.members += 1
        return self._add(
            ReaderKind.MULTICAST, peer, agent, self.group.plane_reader, hooks, None, grant
        )

    def _add(
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
            next(_ids),
            self._channel,
            kind,
            peer,
            agent,
            now,
            plane_reader,
            hooks,
            attach,
            grant=grant,
        )
        self.readers[reader.id] = reader
        self.kinds[kind] += 1
        seating = self._seating()
        if seating is not None and reader.counted:
            seating.take(
                self._channel.name,
                reader,
                multicast=kind is ReaderKind.MULTICAST,
                reservation="" if grant is None else grant.reservation,
            )
        self._watch(reader)
        log.info(
            "reader joined", channel=self._channel.name, kind=kind.value, peer=peer, id=reader.id
        )
        self._observe(LiveEvent("reader-joined", self._channel.name, kind.value, reader))
        return reader

    def _watch(self, reader: Reader) -> None:
        if reader.kind in (ReaderKind.MULTICAST, ReaderKind.HLS):
            return

        def on_reader(event: ReaderClosed | TapReady) -> None:
            if isinstance(event, TapReady):
                reader.hooks.ready()
            elif not reader.closed:
                self.remove(reader, event.reason)
                reader.hooks.closed(event.reason)

        self._loop.on_reader(reader.plane_reader, on_reader)

    def remove(self, reader: Reader, reason: str = "left") -> None:
        """Detach a reader; its hooks are not called."""
        if reader.closed:
            return
        reader.final = reader.stats()
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
            self._plane.remove_reader(reader.plane_reader)
        log.info("reader left", channel=self._channel.name, reason=reason, id=reader.id)
        self._observe(LiveEvent("reader-left", self._channel.name, reason, reader))

    def _leave_group(self, reader: Reader) -> None:
        group = self.group
        if group is None or group.plane_reader != reader.plane_reader:
            return
        group.members -= 1
        if group.members == 0:
            self._plane.remove_reader(group.plane_reader)
            self.group = None

    # what becomes of the channel

    def close(self, reason: str) -> None:
        """Send everybody away."""
        for reader in list(self.readers.values()):
            reader.kick(reason)

    def tell_state(self, state: State) -> None:
        """The channel's source went or came back."""
        for reader in list(self.readers.values()):
            reader.hooks.state_changed(state)

    def follow_layout(self) -> None:
        """The channel's tracks are others: who can follows, the rest is sent away."""
        for reader in list(self.readers.values()):
            if reader.kind is ReaderKind.HLS:
                continue  # its playlist tells where the format changes
            if reader.attach is None:
                reader.kick("format changed")
            else:
                self._attach_anew(reader)

    def _attach_anew(self, reader: Reader) -> None:
        assert reader.attach is not None
        tracks = self._channel.tracks
        self._loop.forget_reader(reader.plane_reader)
        self._plane.remove_reader(reader.plane_reader)
        reader.hooks.tracks_changed(tracks)
        if reader.closed:
            return
        try:
            reader.plane_reader = reader.attach(tracks)
        except KeyError:  # its connection went away meanwhile
            self.remove(reader, "closed")
            reader.hooks.closed("closed")
            return
        self._watch(reader)
        if reader.playing:
            reader.start()

    def resync(self) -> None:
        """Ask the plane anew who is there, after events were lost."""
        for reader in list(self.readers.values()):
            if reader.kind is ReaderKind.HLS:
                continue
            try:
                self._plane.reader_stats(reader.plane_reader)
            except KeyError:
                self.remove(reader, "closed")
                reader.hooks.closed("closed")
