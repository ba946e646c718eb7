"""Live channels on one RTSP connection: who watches, and who publishes."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from heliograph.live.channel import Channel
from heliograph.live.grants import Grant
from heliograph.live.placing import ANSWER_TIMEOUT, ATTEMPTS, MOVED, PATIENCE
from heliograph.live.publish import Publishing, PublishKind
from heliograph.live.readers import Reader, ReaderHooks, ReaderKind
from heliograph.model.errors import HelioError, NotFoundError, WrongStateError
from heliograph.model.media import Track
from heliograph.protocols.rtsp import Transport
from heliograph.protocols.rtsp.events import (
    AnnounceRequested,
    DescribeRequested,
    FrameReceived,
    PauseRequested,
    PlayRequested,
    RecordRequested,
    ServerEvent,
    SetupRequested,
)
from heliograph.protocols.sdp import sdp_for_channel
from heliograph.servers.rtsp_signs import Signs
from heliograph.servers.rtsp_transports import attach_inputs, choose, group_address, in_group

if TYPE_CHECKING:
    from heliograph.servers.rtsp_connection import RtspConnection

#: Seconds in which a viewer who is sent away learns where to: as many as all attempts may take. He
#: sees nothing meanwhile, and would not without an address either.
MOVE_TIMEOUT = ATTEMPTS * (PATIENCE + ANSWER_TIMEOUT)


class LiveClient(ReaderHooks):
    """A connection's reader or publisher."""

    def __init__(self, connection: RtspConnection) -> None:
        self._at = connection
        self._channel: Channel | None = None
        self._reader: Reader | None = None
        self._grant: Grant | None = None
        self._announced: tuple[Channel, tuple[Track, ...], Grant] | None = None
        self._publishing: Publishing | None = None
        self._signs = Signs()

    @property
    def subject(self) -> str:
        if self._channel is not None:
            return self._channel.name
        return "" if self._announced is None else self._announced[0].name

    # life and end

    def age(self) -> float | None:
        if self._publishing is not None:
            return self._signs.of_publisher(self._publishing)
        if self._reader is None:
            return None
        tcp = self._reader.kind is ReaderKind.RTSP_TCP
        return self._signs.of_viewer(self._reader.stats(), tcp=tcp)

    def survives(self) -> bool:
        reader, publishing = self._reader, self._publishing
        udp = reader is not None and reader.kind is ReaderKind.RTSP_UDP
        if reader is not None and udp and reader.stats().last_rtcp_age_ms >= 0:
            return True
        if publishing is not None and publishing.kind is PublishKind.RTSP_UDP:
            publishing.orphan = not publishing.silent
            return publishing.orphan
        return False

    @property
    def hands_on(self) -> bool:
        return False

    def detach(self, reason: str) -> None:
        if self._reader is not None:
            self._reader.remove()
            self._reader = None
        if self._publishing is not None:
            self._publishing.close(reason)
            self._publishing = None
        self._announced = None
        self._channel = None

    def closed(self, reason: str) -> None:
        """The channel dismissed our reader or publisher."""
        watched = None if self._reader is None or self._channel is None else self._channel
        self._reader = None
        self._publishing = None
        self._at.log.info("rtsp session ended", reason=reason)
        if reason == MOVED and watched is not None and self._grant is not None:
            asked = self._at.door.moved(watched, self._grant)
            if asked is not None:
                self.detach(reason)
                self._at.do_later(self._send_elsewhere(asked))
                return
        self._at.end(reason)

    async def _send_elsewhere(self, asked: Awaitable[str]) -> None:
        """End the session, and name the unit that has a place: those who know REDIRECT go there at
        once, others ask again where they came from, and are redirected then."""
        where = ""
        with contextlib.suppress(HelioError, TimeoutError):
            async with asyncio.timeout(MOVE_TIMEOUT):
                where = await asked
        if self._at.gone:
            return
        if where:
            self._at.session.send_elsewhere(where)
        self._at.end(MOVED)

    # watching

    def _place(
        self, event: ServerEvent, channel: Channel, then: Callable[[Grant], None], grant: Grant
    ) -> None:
        """Go on here, or send the client to where it is served better."""
        asked = self._at.door.elsewhere(channel, grant)
        if asked is None:
            then(grant)
            return

        def go(found: Grant | str) -> None:
            if isinstance(found, Grant):
                then(found)
            else:
                self._at.accepted("REDIRECT", channel.name)
                self._at.session.redirect(found)

        self._at.later(event, asked, go)

    def describe(self, event: DescribeRequested) -> None:
        channel, decision = self._at.door.view(event.target)
        then = functools.partial(self._described, channel)
        self._at.when(event, decision, functools.partial(self._place, event, channel, then))

    def _described(self, channel: Channel, grant: Grant) -> None:
        channel.audience.check(self._at.peer, grant=grant)
        self._at.door.keep(channel, grant)
        sdp = sdp_for_channel(
            channel.name,
            channel.title,
            channel.tracks,
            channel.session_id,
            session_version=channel.layout_version,
            origin_address=self._at.local,
        )
        self._at.accepted("DESCRIBE", channel.name)
        self._at.session.describe_ok(sdp)

    def setup(self, event: SetupRequested) -> None:
        if event.record:
            if self._announced is None:
                raise WrongStateError("nothing was announced")
            server, connected = self._at.server, self._at.connected
            self._at.session.setup_ok(choose(server, event, None, connected=connected))
            return
        if event.first or self._channel is None:
            channel, decision = self._at.door.view(event.target)
            then = functools.partial(self._may_set_up, event, channel)
            self._at.when(event, decision, functools.partial(self._place, event, channel, then))
        else:
            self._set_up(event, self._channel)

    def _may_set_up(self, event: SetupRequested, channel: Channel, grant: Grant) -> None:
        multicast = event.transports[0].multicast
        channel.audience.check(self._at.peer, multicast=multicast, grant=grant)
        self._at.door.keep(channel, grant)
        self._channel, self._grant = channel, grant
        self._set_up(event, channel)

    def _set_up(self, event: SetupRequested, channel: Channel) -> None:
        places = [place for place, track in enumerate(channel.tracks) if track.id == event.track]
        if not places:
            raise NotFoundError(f"no track {event.track}", subject=channel.name)
        transport = choose(self._at.server, event, channel, connected=self._at.connected)
        if transport.multicast:
            transport = self._join_group(channel, places[0], transport)
        self._at.session.setup_ok(transport)

    def _join_group(self, channel: Channel, place: int, transport: Transport) -> Transport:
        options = self._at.server.options
        if self._reader is None:
            self._reader = channel.audience.join_group(
                self._at.server.endpoint,
                group_address(options, channel),
                options.multicast_port,
                options.multicast_ttl,
                peer=self._at.peer,
                agent=self._at.session.user_agent,
                grant=self._grant,
                hooks=self,
            )
        return in_group(options, channel, place, transport)

    def play(self, event: PlayRequested) -> None:
        channel = self._channel
        if channel is None:
            raise WrongStateError("no track is set up")
        if self._reader is None:
            # Places may have gone since SETUP.
            channel.audience.check(self._at.peer, grant=self._grant)
            self._reader = self._add_reader(channel)
        reader = self._reader
        starts: dict[int, tuple[int | None, int | None]] | None = None
        group = channel.audience.group
        if reader.kind is not ReaderKind.MULTICAST or (group is not None and not group.playing):
            starts = {track: (number, time) for track, number, time in reader.position()}
        self._at.accepted("PLAY", channel.name, transport=reader.kind.value)
        self._at.session.play_ok(starts)
        self._at.flush()  # the answer goes before the first packet
        if self._reader is reader:
            reader.start()

    def _add_reader(self, channel: Channel) -> Reader:
        transports, agent = self._at.session.transports, self._at.session.user_agent
        if next(iter(transports.values())).is_tcp:
            conn = self._at.hand_over()
            lanes = [(id, *t.interleaved) for id, t in transports.items() if t.interleaved]
            return channel.audience.add_conn(
                conn,
                lanes,
                kind=ReaderKind.RTSP_TCP,
                peer=self._at.peer,
                agent=agent,
                grant=self._grant,
                hooks=self,
            )
        peer = self._at.peer
        ports = [(id, peer, *t.client_port) for id, t in transports.items() if t.client_port]
        at, grant = self._at.server.endpoint, self._grant
        return channel.audience.add_udp(at, ports, peer=peer, agent=agent, grant=grant, hooks=self)

    def pause(self, event: PauseRequested) -> None:
        if self._reader is not None:
            self._reader.pause()
        elif self._publishing is not None:
            self._publishing.drop_inputs()
        self._at.session.pause_ok()

    # publishing

    def announce(self, event: AnnounceRequested) -> None:
        channel, decision = self._at.door.publish(event.target)
        self._at.when(event, decision, functools.partial(self._may_announce, channel, event.tracks))

    def _may_announce(self, channel: Channel, tracks: tuple[Track, ...], grant: Grant) -> None:
        elsewhere = self._at.door.entrance(channel)
        if elsewhere:
            self._at.session.redirect(elsewhere)
            return
        channel.check_publisher(self._at.peer)
        self._announced = channel, tracks, grant
        self._at.accepted("ANNOUNCE", channel.name, tracks=[str(track.codec) for track in tracks])
        self._at.session.announce_ok()

    def record(self, event: RecordRequested) -> None:
        assert self._announced is not None
        channel, announced, grant = self._announced
        transports = self._at.session.transports
        tracks = [track for track in announced if track.id in transports]
        tcp = next(iter(transports.values())).is_tcp
        if self._publishing is None:
            if tcp:
                self._at.hand_over()
            kind = PublishKind.RTSP_TCP if tcp else PublishKind.RTSP_UDP
            self._publishing = channel.publish(
                tracks, kind, self._at.peer, grant=grant, on_closed=self.closed
            )
            self._publishing.agent = self._at.session.user_agent
        attach_inputs(
            self._at.server,
            self._publishing,
            tracks,
            transports,
            peer=self._at.peer,
            conn=self._at.conn,
        )
        self._at.accepted("RECORD", channel.name, transport=self._publishing.kind.value)
        self._at.session.record_ok()

    def frame(self, event: FrameReceived) -> None:
        """Packets that came before the plane had the socket."""
        if self._publishing is not None and not event.rtcp:
            self._publishing.push(event.track, [event.data])
