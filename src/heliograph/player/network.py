"""One URL's media from its server: RTSP control, packets by UDP or within the connection.

A ``Feed`` turns what comes into arrivals with media times, and hands them to a ``Receiver``.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable

from heliograph.model.errors import HelioError, RemoteError, UnsupportedError
from heliograph.player.control import Connection, Control, Uncontrolled
from heliograph.player.incoming import Incoming, Receiver
from heliograph.player.losses import Losses
from heliograph.player.retransmission import Request
from heliograph.player.rtsp_client import RtspClient, following
from heliograph.player.senders import Address, Senders, Shared, Single
from heliograph.player.streams import Stream, answering, duration_of, playable
from heliograph.player.timeline import Origin
from heliograph.protocols import rtcp
from heliograph.protocols.bipartite import extension_ids
from heliograph.protocols.rtsp import Range
from heliograph.protocols.rtsp.events import ClientEvent, NodesTold, Playing, Ready, TakenOver
from heliograph.protocols.rtsp.sharing import AHEAD_US, Nodes
from heliograph.protocols.rtsp.targets import without_credentials
from heliograph.protocols.sdp import SessionDescription

#: Seconds without a packet by UDP after which TCP is tried: keyframes come every two seconds, but
#: sound and a live channel's burst come at once.
UDP_PATIENCE = 3.0
#: Seconds without any packet after which the server is taken for dead.
SILENCE = 10.0
#: Seconds between receiver reports (RFC 3550 §6.2).
REPORT_EVERY = 5.0
#: Seconds before the end at which silence is taken for the end: durations are rounded.
END_SLACK = 1.0
#: Seconds that the last picture or piece of sound lasts at most, mostly.
LAST_FRAME = 0.1
#: Seconds of silence that are the end, there.
END_SILENCE = 1.5


#: Seconds until nodes are asked again to take over, where none did.
ASK_NODES_EVERY = 5.0

#: What people are told of one session; each is said once.
MAX_REMARKS = 32
#: Seconds between looks at how it goes without anybody who controls.
LOST_LOOK = 0.25


class Feed:
    """One session with one server. Use as: ``open``, ``start``, then control; at last ``close``."""

    def __init__(
        self,
        url: str,
        receiver: Receiver,
        *,
        first_stream: int,
        origin: Origin,
        udp: bool = True,
        share: bool = True,
        key: str = "",
        margin: float = 0.0,
    ) -> None:
        """``first_stream``: index of its first track among all. ``origin``: of all feeds played
        together. ``udp``: TCP is taken if nothing comes. ``share``: have a title sent by all nodes
        that hold it. ``key``: shown as the password where the URL has none. ``margin``: seconds
        before a packet is played that it must be here, to be worth asking for."""
        self._origin, self._margin, self._share = origin, margin, share
        self._url, self._receiver, self._key = url, receiver, key
        self._first_stream = first_stream
        self._loop = asyncio.get_running_loop()
        self._control: Control | None = None
        self._last_control: Control | None = None  # of what was ended
        self._tasks: list[asyncio.Task[None]] = []
        self._own = secrets.randbits(32)
        self._came = asyncio.Event()  # set with each packet
        self._description = SessionDescription()
        self._senders: Senders | None = None
        self._told: tuple[Nodes, float] | None = None  # and when
        self.incoming = Incoming((), receiver, origin=origin, title=True)
        """What came of its packets."""
        self.udp = udp
        """Whether media come by UDP."""
        self.url = without_credentials(url)
        """Where it is played from, without credentials; after redirections."""
        self.duration: float | None = None
        """Seconds; ``None`` for a channel."""
        self.streams: tuple[Stream, ...] = ()
        self.remarks: list[str] = []
        """What people should know."""
        self.waits = True
        """Whether what one of several nodes owes is waited for; not after it was waited for in
        vain, until media begin elsewhere."""
        self.paused = False
        self.speed: float | None = None
        """Factor of the rate agreed to; ``None`` where the server does not change it."""
        self.failed: asyncio.Future[HelioError] = self._loop.create_future()
        """Done when the session cannot go on."""

    @property
    def live(self) -> bool:
        """Whether it is a channel: no seeking, no pausing."""
        return self.duration is None

    @property
    def ahead(self) -> float:
        """Seconds of media that may come before they are due."""
        return AHEAD_US / 1e6 if self._share and self.udp and not self.live else 0.0

    def tolerates(self, now: float) -> int | None:
        """Packets of a stream that may be missing in a row before what is due; more are waited for,
        as a node owes them. ``None``: nothing is."""
        return self.shared.tolerates(now) if self.shared is not None and self.waits else None

    def due(self, now: float) -> float | None:
        """Media time that has to be here by now; ``None`` where the server does not tell."""
        nodes, at = self._told or (None, 0.0)
        if nodes is None or nodes.line is None:
            return None
        return nodes.line.position(nodes.clock + round((now - at) * 1e6)) / 1e6

    # --- session ----------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect and learn what there is; raises ``HelioError``."""
        client = await following(self._url, self._connect)
        self._control = Control(client, self, key=self._key)

    async def _connect(self, url: str) -> Connection:
        client = Connection(url, self, key=self._key, share=self._share and self.udp)
        try:
            await client.open()
            described = await client.describe()
        except BaseException:
            await client.close()
            raise
        tracks, remarks = playable(described.tracks)
        if not tracks:
            await client.close()
            raise UnsupportedError(
                "; ".join(remarks) or "nothing that can be seen or heard", subject=url
            )
        self.remarks += [one for one in remarks if one not in self.remarks]
        self.url = client.session.url
        self._description = described.description
        self.duration = duration_of(described.description)
        self.streams = tuple(
            Stream(self._first_stream + place, track, self.url)
            for place, track in enumerate(tracks)
        )
        self._senders = None
        self.incoming = Incoming(
            self.streams, self._receiver, origin=self._origin, title=not self.live
        )
        return client

    def _set_up(self, client: RtspClient, ready: Ready) -> None:
        """SETUP was answered: it is known who will send."""
        if client.session.sharing.agreed:
            ids = extension_ids(self._description)
            extensions = {s.index: ids[s.track.id] or 0 for s in self.streams}
            self._senders = senders = Shared(extensions)
            if client.session.sharing.nodes is not None:
                senders.told(client.session.sharing.nodes)
            losses = Losses(together=True, margin=self._margin)
            ssrcs = {track: transport.ssrc for track, transport in ready.transports}
            self.incoming.sent_by(senders, losses, ssrcs)
            return
        self._senders = Single(client.peer, [s.index for s in self.streams])
        answers = answering(self._description, self.streams) if client.udp else frozenset[int]()
        self.incoming.sent_by(self._senders, Losses(answers, margin=self._margin))

    async def start(self, at: float | None = None) -> None:
        """Play; ``at``: seconds from the beginning of a title. Returns when packets come."""
        if self._control is None:
            await self.open()
        try:
            await self._play(at)
            await self._first_packet(UDP_PATIENCE if self.udp else SILENCE)
        except TimeoutError:
            if not self.udp:
                raise RemoteError(
                    f"no packet came within {SILENCE:.0f} s", subject=self.url
                ) from None
            self.remarks.append(f"nothing came by UDP within {UDP_PATIENCE:.0f} s: TCP")
            await self._disconnect()
            self.udp = False
            await self.open()
            await self.start(at)
            return
        self._tasks = [asyncio.create_task(self._watch(), name=f"watch {self.url}")]

    async def _play(self, at: float | None) -> None:
        client = self._controlled.client
        self.incoming.expect_start()
        wanted = None if self.live else Range("npt", f"{at or 0.0:.3f}")
        tracks = [stream.track for stream in self.streams]
        asked_udp = self.udp
        await client.play(tracks, udp=self.udp, range=wanted)
        self.udp = client.udp
        if asked_udp and not self.udp:
            self.remarks.append("the server refuses UDP: TCP")

    @property
    def shared(self) -> Shared | None:
        """The nodes that send it; ``None`` where one server does."""
        return self._senders if isinstance(self._senders, Shared) else None

    @property
    def control(self) -> Control | None:
        """Who controls it, or did at last; ``None`` before ``open``."""
        return self._control or self._last_control

    @property
    def _controlled(self) -> Control:
        if self.failed.done():
            raise self.failed.result()
        assert self._control is not None, "open first"
        return self._control

    async def _first_packet(self, patience: float) -> None:
        client = self._controlled.client
        came = asyncio.ensure_future(self._came.wait())
        try:
            waits: set[asyncio.Future[object]] = {came, client.failure}  # type: ignore[arg-type]
            await asyncio.wait(waits, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        finally:
            came.cancel()
        if not self._came.is_set():
            if client.failure.done():
                raise client.failure.result()
            raise TimeoutError

    async def pause(self) -> None:
        """Have the server stop sending."""
        await self._controlled.ask(lambda client: client.pause())
        self.paused = True

    async def resume(self, *, speed: float | None = None) -> None:
        """Go on after ``pause`` from where the server stopped."""
        speed = speed if self.heeds_speed else None
        await self._play_on(lambda client: client.resume(None, speed=speed), anew=False)
        if speed is not None:
            self.speed = speed

    async def seek(self, seconds: float) -> None:
        """Play from another time of the title on."""
        wanted = Range("npt", f"{max(0.0, seconds):.3f}")

        async def sought(client: Connection) -> Playing:
            if not self.paused:
                await client.pause()  # servers queue a PLAY behind the one that goes on
                self.paused = True
            return await client.resume(wanted)

        await self._play_on(sought, anew=True)

    @property
    def heeds_speed(self) -> bool:
        """Whether the server takes Speed for what RFC 2326 §12.35 says: packets come faster, and
        timestamps mean what they meant. GStreamer's makes the film itself run faster."""
        return self._control is not None and (
            "heliograph" in self._control.client.session.server.lower()
        )

    async def change_speed(self, factor: float) -> bool:
        """Ask for packets at ``factor`` times the usual rate; False where that is not done."""
        if not self.heeds_speed:
            return False

        async def change(client: Connection) -> Playing | None:
            # While another node was looked for the end may have come: it would begin anew.
            due = self.due(self._loop.time())
            over = due is not None and due >= (self.duration or due) - END_SLACK
            return None if over else await client.resume(speed=factor)

        playing = await self._controlled.ask(change)
        if playing is None:
            return True
        self.speed = playing.speed
        return self.speed is not None

    async def _play_on(
        self, request: Callable[[Connection], Awaitable[Playing]], *, anew: bool
    ) -> None:
        async def expecting(client: Connection) -> Playing:
            self.incoming.expect_start(anew=anew)
            try:
                return await request(client)
            finally:
                self.incoming.release()

        await self._controlled.ask(expecting)
        self.paused = False
        self.waits |= anew
        self.incoming.last_packet = self._loop.time()

    async def close(self) -> None:
        """End the session and everything else; harmless twice."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        await self._disconnect()

    async def _disconnect(self) -> None:
        control, self._control = self._control, None
        if control is not None:
            self._last_control = control
            await control.close()

    # --- what comes -------------------------------------------------------------------------------

    def noticed(self, client: RtspClient, event: ClientEvent) -> None:
        """Before any packet that came behind the event."""
        match event:
            case Ready():
                self._set_up(client, event)
            case NodesTold(nodes):
                self._told = nodes, self._loop.time()
                if self.shared is not None:
                    self.shared.told(nodes)
            case TakenOver():
                self.url = client.session.url
                self._remark(f"control went on at {client.peer}")
            case Playing():
                self.incoming.started(event, self._loop.time())

    def take(self, track: int, is_rtcp: bool, data: bytes, address: Address | None) -> None:
        """A datagram or frame came."""
        now, unix_us = self._loop.time(), time.time_ns() // 1000
        if self.incoming.take(track, is_rtcp, data, address, now, unix_us):
            self._came.set()

    # --- what is said by RTCP ---------------------------------------------------------------------

    def ask(self, request: Request) -> bool:
        """Ask for packets again, of the node that sent them; False where nobody is to be asked."""
        senders, stream = self._senders, request.stream
        if senders is None or self._control is None or not self.streams:
            return False
        if stream is None:
            stream = self._first_stream
        reception = self.incoming.receptions[stream]
        question = senders.question(self._own, reception.ssrc or 0, request)
        said = reception.report(self._own, time.time_ns() // 1000) + rtcp.serialize((question,))
        self._say(stream, said, senders.asked_at(request))
        return True

    def _say(self, stream: int, said: bytes, address: Address | None) -> None:
        if self._control is None:
            return
        track = self.streams[stream - self._first_stream].track.id
        if address is None:
            self._control.client.send(track, said, rtcp=True)
        else:
            self._control.client.send_to(track, said, address, rtcp=True)

    def _report(self) -> None:
        for stream, reception in self.incoming.receptions.items():
            made = reception.report(self._own, time.time_ns() // 1000)
            for address in self._senders.reported_to() if self._senders is not None else ():
                self._say(stream, made, address)

    # --- the end ----------------------------------------------------------------------------------

    def all_sent(self, newest: float) -> bool:
        """Whether a title's server has about sent all: asked for more it would begin anew."""
        if self.duration is None:
            return False
        over = self.incoming.finished and self.shared is None
        return over or newest >= self.duration - END_SLACK

    def ended(self, newest: float) -> bool:
        """Whether a title is over. ``newest``: media time of the newest packet."""
        if self.duration is None or self.paused:
            return False
        if self.incoming.finished and self.shared is None:
            return True
        now = self._loop.time()
        quiet = now - self.incoming.last_packet
        due = self.due(now)
        if due is not None and due < self.duration - END_SLACK and quiet <= SILENCE:
            return False  # one node is further ahead than another, which may owe what is before
        # Of several nodes one may have said goodbye before the last one has begun.
        if self.incoming.finished and (newest >= self.duration - END_SLACK or quiet > END_SILENCE):
            return True
        if newest >= self.duration - LAST_FRAME:
            return quiet > LAST_FRAME
        return newest >= self.duration - END_SLACK and quiet > END_SILENCE

    async def _watch(self) -> None:
        """Report to the server, notice its silence, and look for another that controls."""
        reported = asked = 0.0
        try:
            while True:
                control = self._controlled
                await asyncio.wait({control.client.failure}, timeout=0.0 if control.lost else 0.5)
                now = self._loop.time()
                if control.lost and now - asked >= ASK_NODES_EVERY:
                    asked = now
                    await self._regain(control)
                elif control.lost:
                    await asyncio.sleep(LOST_LOOK)
                else:
                    asked = 0.0
                quiet = self._loop.time() - self.incoming.last_packet
                if quiet > SILENCE and not self.paused and not self.incoming.finished:
                    message = f"nothing came for {SILENCE:.0f} s"
                    self._fail(RemoteError(message, subject=self.url))
                    return
                if now - reported >= REPORT_EVERY:
                    reported = now
                    self._report()
        except HelioError as error:
            self._fail(error)

    async def _regain(self, control: Control) -> None:
        """Have a node take over; what comes goes on meanwhile, and without it."""
        try:
            await control.regain()
        except Uncontrolled as error:
            self._remark(error.message)

    def _remark(self, text: str) -> None:
        if text not in self.remarks and len(self.remarks) < MAX_REMARKS:
            self.remarks.append(text)

    def _fail(self, error: HelioError) -> None:
        if not self.failed.done():
            self.failed.set_result(error)
