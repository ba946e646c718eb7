"""Several nodes with one film on loopback: each sends its own blocks, any of them controls."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

from heliograph.protocols import bipartite, rtcp
from heliograph.protocols.rtp import HeaderExtension, RtpPacket, build_extensions
from heliograph.protocols.rtsp import Headers, MessageParser, Request, Response
from heliograph.protocols.rtsp.headers import parse_range, parse_transports
from heliograph.protocols.rtsp.sharing import AHEAD_US, TAG, Line, Node, Nodes
from heliograph.protocols.rtsp.states import REASONS

from .rtsp_peer import FIRST_TIMESTAMP, SSRC, Peer

SESSION = "0123456789abcdef" * 2
ID = 4


@dataclass
class Member:
    """One node; change it while it is used."""

    number: int
    rtp: socket.socket
    rtcp: socket.socket
    port: int = 0
    frozen: bool = False
    """Takes requests and does not answer."""
    ignorant: bool = False
    """Does not know the session."""
    silent: bool = False
    """Does not send media."""
    asked: list[Request] = field(default_factory=list)
    again: list[int] = field(default_factory=list)
    """Packets asked for again, by the node's count."""
    reports: int = 0
    sent: list[RtpPacket] = field(default_factory=list)
    connections: set[asyncio.StreamWriter] = field(default_factory=set)
    server: asyncio.Server | None = None

    @property
    def methods(self) -> list[str]:
        return [request.method for request in self.asked]


@dataclass
class Cluster:
    """What all nodes know of the one session."""

    peer: Peer = field(default_factory=Peer)
    """Whose film is sent, and how fast."""
    count: int = 3
    block: int = 5
    """Packets of a block."""
    lose: set[int] = field(default_factory=set)
    """Places of packets that are sent only when asked for again."""
    timed: bool = False
    """Whether it says that media are due at their usual rate, however fast they come."""
    heirs: dict[int, int] = field(default_factory=dict)
    """Who sends a node's blocks instead of it, from now on and once more from the last ones."""
    members: list[Member] = field(default_factory=list)
    target: tuple[int, int] | None = None
    torn_down: int = 0
    speeds: list[float] = field(default_factory=list)
    _at: int = 0
    _due: tuple[int, int] | None = None  # media time at an instant, µs
    _speed: float = 1.0
    _sending: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self._all = self.peer.packets()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """URL at the first node, while they serve."""
        loop = asyncio.get_running_loop()
        for number in range(self.count):
            sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in "12"]
            for one in sockets:
                one.setblocking(False)
                one.bind(("127.0.0.1", 0))
            member = Member(number, *sockets)
            self.members.append(member)
            await self.start(member)
            loop.add_reader(member.rtcp, self._heard, member)
        try:
            yield f"rtsp://127.0.0.1:{self.members[0].port}/film"
        finally:
            self._stop()
            for member in self.members:
                loop.remove_reader(member.rtcp)
                member.rtp.close()
                member.rtcp.close()
                self.kill(member)
            await asyncio.sleep(0.01)  # transports close their sockets in the next turn

    async def start(self, member: Member) -> None:
        """Let it take requests."""

        async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            member.connections.add(writer)
            parser = MessageParser()
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                while data := await reader.read(65536):
                    parser.feed(data)
                    while (message := parser.next_message()) is not None:
                        if isinstance(message, Request):
                            member.asked.append(message)
                            if not member.frozen:
                                self._answer(member, writer, message)
            writer.transport.abort()

        member.server = await asyncio.start_server(met, "127.0.0.1", member.port)
        member.port = member.server.sockets[0].getsockname()[1]

    def kill(self, member: Member) -> None:
        """Its control dies; media are another matter."""
        assert member.server is not None
        member.server.close()
        for writer in member.connections:
            writer.transport.abort()
        member.connections.clear()

    def nodes(self) -> str:
        told = [
            Node(m.number, "127.0.0.1", m.port, m.rtp.getsockname()[1], m.rtcp.getsockname()[1])
            for m in self.members
        ]
        clock = round(asyncio.get_running_loop().time() * 1e6)
        line = None if self._due is None else Line(*self._due, 1.0)
        return Nodes(clock, tuple(told), AHEAD_US, line).serialize()

    def _answer(self, member: Member, writer: asyncio.StreamWriter, request: Request) -> None:
        headers = [("CSeq", request.headers.get("cseq") or "0"), ("Server", "heliograph test")]
        status, body = 200, b""
        session = request.headers.get("session")
        if session is not None and (session != SESSION or member.ignorant):
            status = 454
        else:
            more, body = self._do(request)
            headers += more
        if request.headers.get("supported") is not None or session is not None:
            headers += [("Bipartite", self.nodes()), ("Supported", TAG)]
        writer.write(Response(status, REASONS[status], Headers(headers), body).serialize())

    def _do(self, request: Request) -> tuple[list[tuple[str, str]], bytes]:
        match request.method:
            case "DESCRIBE":
                sdp = self.peer.sdp() + f"a=extmap:{ID} {bipartite.URN}\r\n"
                return [("Content-Type", "application/sdp")], sdp.encode()
            case "SETUP":
                wanted = parse_transports(request.headers.get("transport") or "")[0]
                self.target = wanted.client_port
                shown = replace(wanted, server_port=(9, 10), ssrc=SSRC).serialize()
                return [("Session", f"{SESSION};timeout=60"), ("Transport", shown)], b""
            case "PLAY":
                return self._play(request), b""
            case "PAUSE":
                self._stop()
            case "TEARDOWN":
                self._stop()
                self.torn_down += 1
        return [("Public", "OPTIONS, GET_PARAMETER, PLAY")], b""

    def _play(self, request: Request) -> list[tuple[str, str]]:
        speed, wanted, more = request.headers.get("speed"), request.headers.get("range"), []
        if speed is not None:
            self._speed = float(speed)
            self.speeds.append(self._speed)
            more = [("Speed", speed)]
        if wanted is not None:
            self._stop()
            start = parse_range(wanted).start_seconds or 0.0
            rate = self.peer.film.track.clock_rate
            key = max(
                u.timestamp for u in self.peer.film.units if u.key and u.timestamp <= start * rate
            )
            stamps = [(p.timestamp - FIRST_TIMESTAMP) & 0xFFFFFFFF for _, p in self._all]
            self._at = stamps.index(key)
        first = self._all[min(self._at, len(self._all) - 1)][1]
        media = ((first.timestamp - FIRST_TIMESTAMP) & 0xFFFFFFFF) / self.peer.film.track.clock_rate
        if self.timed:
            self._due = round(media * 1e6), round(asyncio.get_running_loop().time() * 1e6)
        info = f"url=track0;seq={first.sequence_number};rtptime={first.timestamp}"
        more += [("Range", f"npt={media:.6f}-"), ("RTP-Info", info)]
        if self._sending is None:
            self._sending = asyncio.create_task(self._flow())
        return more

    def _stop(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None

    def inherit(self, dead: int, heir: int) -> None:
        """The heir sends what the dead one has, from two blocks before on."""
        self.heirs[dead] = heir
        for place in range(max(0, self._at - 2 * self.block * self.count), self._at):
            if place // self.block % self.count == dead:
                self._send(self.members[heir], place)

    async def _flow(self) -> None:
        loop = asyncio.get_running_loop()
        due, before = loop.time(), self._all[min(self._at, len(self._all) - 1)][0]
        while self._at < len(self._all):
            media, _ = self._all[self._at]
            due += (media - before) / (self.peer.pace * self._speed)
            before = media
            await asyncio.sleep(max(0.0, due - loop.time()))
            owner = self._at // self.block % self.count
            member = self.members[self.heirs.get(owner, owner)]
            if not member.silent:
                self._send(member, self._at, lost=self._at in self.lose)
            self._at += 1
        assert self.target is not None
        for member in self.members:
            if member.sent and not member.silent:
                said = rtcp.serialize((rtcp.ReceiverReport(SSRC), rtcp.Bye((SSRC,))))
                member.rtcp.sendto(said, ("127.0.0.1", self.target[1]))

    def _send(self, member: Member, place: int, *, lost: bool = False) -> None:
        mark = bipartite.Mark(place, member.number, len(member.sent))
        profile, data = build_extensions([HeaderExtension(ID, mark.serialize())])
        packet = replace(self._all[place][1], extension_profile=profile, extension_data=data)
        member.sent.append(packet)
        if not lost:
            self._out(member, packet)

    def _out(self, member: Member, packet: RtpPacket) -> None:
        assert self.target is not None
        member.rtp.sendto(packet.serialize(), ("127.0.0.1", self.target[0]))

    def _heard(self, member: Member) -> None:
        data, source = member.rtcp.recvfrom(2048)
        assert self.target is not None
        assert source == ("127.0.0.1", self.target[1])
        for packet in rtcp.parse(data):
            member.reports += isinstance(packet, rtcp.ReceiverReport)
            if isinstance(packet, rtcp.App):
                for count in bipartite.asked_again(packet) or ():
                    member.again.append(count)
                    self._out(member, member.sent[count])
