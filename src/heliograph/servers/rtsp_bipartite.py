"""Titles that several nodes send at once, by RTSP (docs/wire/bipartite.md#sessions).

A player that asks for it is told who sends, and may go on with its session at any of those nodes.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from heliograph.live.channel import Channel
from heliograph.live.grants import Grant, tell
from heliograph.model.errors import NotFoundError, UnsupportedError, WrongStateError
from heliograph.protocols.rtsp import Transport, npt, pause_point
from heliograph.protocols.rtsp.events import (
    PauseRequested,
    PlayRequested,
    SessionShown,
    SetupRequested,
)
from heliograph.protocols.rtsp.headers import parse_tokens
from heliograph.protocols.rtsp.sharing import TAG, parse_ahead
from heliograph.servers.rtsp_ondemand import TitleClient, wish_of
from heliograph.servers.rtsp_service import LEFT
from heliograph.servers.rtsp_transports import choose
from heliograph.vod.bipartite.conductor import Conductor, Wanted
from heliograph.vod.bipartite.ensemble import Ensemble
from heliograph.vod.bipartite.order import MAX_AHEAD_US, Member, Order, nodes_header
from heliograph.vod.manifest import Manifest
from heliograph.vod.playing import Started, Viewer

if TYPE_CHECKING:
    from heliograph.servers.rtsp_connection import RtspConnection
    from heliograph.servers.rtsp_ondemand import RtspOnDemand

#: Header that names the nodes.
HEADER = "Bipartite"


def wanted_by(ensemble: Ensemble | None, at: RtspConnection, event: SetupRequested) -> bool:
    """Whether a player asks for a title to be sent by several nodes, and they can."""
    if ensemble is None or not ensemble.usable:
        return False
    if TAG not in parse_tokens(at.session.shown("supported")):  # RFC 7826 section 18.51
        return False
    first = event.transports[0]
    return not first.is_tcp and not first.multicast


class BipartiteClient(TitleClient):
    """A connection's viewer of a title that several nodes send."""

    def __init__(
        self, connection: RtspConnection, service: RtspOnDemand, ensemble: Ensemble
    ) -> None:
        super().__init__(connection, service)
        self._ensemble = ensemble
        self._conductor: Conductor | None = None
        self._members: tuple[Member, ...] = ()

    # life and end

    @property
    def hands_on(self) -> bool:
        """Whether the session goes on at other nodes without this one."""
        return self._conductor is not None and bool(self._members)

    def age(self) -> float | None:
        return None if self._conductor is None else self._conductor.age()

    def survives(self) -> bool:
        return self._conductor is not None and self._conductor.order is not None

    def detach(self, reason: str) -> None:
        conductor, self._conductor, self._manifest = self._conductor, None, None
        self._leave()
        if conductor is not None:
            self._ensemble.watch(conductor.session, None)
            if reason not in (LEFT, "malformed"):  # the player may have another connection
                conductor.close()

    def _told(self, order: Order) -> None:
        """There is a new order of the session."""
        if self._conductor is None:
            return
        if order.state == "closed":
            self._at.end("session over")
        elif order.controller != self._ensemble.node:
            self._at.let_go("another node has control")
        elif order.present != self._members:
            self._name(order)

    def _name(self, order: Order) -> None:
        """Tell the player who sends what when, with the next answer."""
        self._members = order.present
        self._note(order.present, order.ahead_us, order)

    def _note(self, members: Sequence[Member], ahead_us: int, order: Order | None = None) -> None:
        clocks = self._ensemble.clocks  # read when the answer goes: that may be seconds later
        self._at.session.note(
            HEADER, lambda: nodes_header(members, clocks.now_us(), ahead_us, order)
        )

    # requests

    def _viewer(self) -> Viewer:
        return Viewer(self._at.peer, "rtsp-bipartite", self._at.session.user_agent)

    def _set_up(self, event: SetupRequested, manifest: Manifest) -> None:
        if all(one.track.id != event.track for one in manifest.tracks):
            raise NotFoundError(f"no track {event.track}", subject=manifest.name)
        transport = choose(self._at.server, event, None, connected=self._at.connected)
        if transport.is_tcp:
            raise UnsupportedError("several nodes send by UDP only", subject="transport")
        if self._conductor is None:
            ahead = min(parse_ahead(self._at.session.shown(HEADER)), MAX_AHEAD_US)
            self._conductor = Conductor(self._ensemble, "", manifest, self._at.local, ahead)
        if self._conductor.order is not None:
            raise WrongStateError("the title is played already")
        self._manifest = manifest
        members = self._conductor.members(self._viewer())
        self._at.later(event, members, lambda found: self._agreed(event, transport, found[1]))

    def _enter(self, channel: Channel, grant: Grant) -> None:
        super()._enter(channel, grant)
        if self._conductor is not None:
            self._conductor.grant = json.dumps(tell(grant))

    def _agreed(
        self, event: SetupRequested, transport: Transport, members: Sequence[Member]
    ) -> None:
        conductor, session = self._conductor, self._at.session
        if conductor is None:
            raise WrongStateError("the session is over")
        chosen = replace(transport, ssrc=conductor.ssrc(event.track))
        session.note("Supported", lambda: TAG)
        self._note(members, conductor.ahead_us)
        session.setup_ok(chosen, seekable=True)
        conductor.session = session.session_id or ""

    def play(self, event: PlayRequested) -> None:
        conductor, manifest = self._conductor, self._manifest
        if conductor is None or manifest is None:
            raise WrongStateError("no track is set up")
        conductor.touch()
        wish, asks = wish_of(event, manifest)
        if conductor.playing and event.playing and not asks:
            at = conductor.position_us / 1e6  # PLAY as a sign of life
            self._at.session.play_ok(None, npt(at, manifest.duration_us / 1e6))
            return
        self._ensemble.watch(conductor.session, self._told)
        ports = [
            Wanted(track, *one.client_port)
            for track, one in self._at.session.transports.items()
            if one.client_port is not None
        ]
        played = conductor.play(wish, ports, self._viewer())
        self._at.later(event, played, lambda found: self._plays(event, manifest, found))

    def _plays(self, event: PlayRequested, manifest: Manifest, started: Started) -> None:
        order = None if self._conductor is None else self._conductor.order
        if order is None:
            raise WrongStateError("the session is over")
        self._name(order)
        self._played(event, manifest, started)

    def pause(self, event: PauseRequested) -> None:
        conductor, manifest = self._conductor, self._manifest
        if conductor is None or manifest is None or conductor.order is None:
            self._at.session.pause_ok()
            return
        conductor.touch()
        point = pause_point(event.range, manifest.duration_us / 1e6)
        paused = conductor.pause(None if point is None else round(point * 1e6))
        self._at.later(event, paused, lambda at: self._paused())

    def _paused(self) -> None:
        order = None if self._conductor is None else self._conductor.order
        if order is not None:
            self._name(order)
        self._at.session.pause_ok()

    # a session that another node had control of

    def resume(self, event: SessionShown) -> None:
        """Take control of a session that the player names, if it could be begun now."""
        order = self._ensemble.order(event.session_id)
        manifest = None if order is None else self._service.find(order.title)
        if order is None or manifest is None or manifest.object != order.object:
            self._at.session.refuse(NotFoundError("no such session"), status=454)
            return
        self._service.barring.check(manifest.name, self._at.peer)
        name = self._service.shelf.channel(manifest)
        try:
            admitted = self._at.door.resume(name, order.grant) if name else None
        except NotFoundError as error:
            self._at.session.refuse(error, status=454)
            return
        taken = self._ensemble.take_over(event.session_id)
        self._at.later(event, taken, functools.partial(self._resumed, event, admitted))

    def _release(self, session: str) -> None:
        """The connection by which the player came to this node before lives on without it."""
        for connection in [*self._at.server.connections]:
            if connection is not self._at and connection.session.session_id == session:
                connection.let_go("the player came again")

    def _resumed(
        self, event: SessionShown, admitted: tuple[Channel, Grant] | None, order: Order | None
    ) -> None:
        manifest = None if order is None else self._service.find(order.title)
        if order is None or manifest is None or manifest.object != order.object:
            self._at.session.refuse(NotFoundError("no such session"), status=454)
            return
        self._release(order.id)
        self._manifest = manifest
        if admitted is not None:
            self._enter(*admitted)
        self._conductor = Conductor(self._ensemble, order.id, manifest, self._at.local)
        self._conductor.touch()
        self._ensemble.watch(order.id, self._told)
        self._name(order)
        transports = {
            lane.track: Transport(client_port=(lane.rtp, lane.rtcp), ssrc=lane.ssrc)
            for lane in order.lanes
        }
        self._at.accepted("resumed", manifest.name)
        self._at.session.resume_ok(
            order.id, order.title, transports, playing=order.state == "playing"
        )
