"""A small RTSP server with one film: it does what it is told, mishaps included."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from heliograph.protocols import payload, rtcp
from heliograph.protocols.rtp import RtpPacket
from heliograph.protocols.rtsp import Headers, InterleavedFrame, MessageParser, Request, Response
from heliograph.protocols.rtsp.headers import parse_range, parse_transports
from heliograph.protocols.rtsp.states import REASONS

from .made import Film, Noise, film

SSRC = 0x5EED
FIRST_SEQUENCE = 65_500
FIRST_TIMESTAMP = 0xFFFF0000


@dataclass
class Peer:
    """What it does; change it before or while it is used."""

    film: Film | Noise = field(default_factory=film)
    live: bool = False
    refuse_udp: bool = False
    mute_udp: bool = False
    """UDP is agreed to and nothing comes."""
    missing: bool = False
    """404."""
    pace: float = 1.0
    """How much faster than the film it sends."""
    lose: set[int] = field(default_factory=set)
    """Packets, counted from 0, that are sent only when asked for again."""
    stale: int = 0
    """After a seek so many packets of before come first, by UDP."""
    name: str = "heliograph test"
    asked: list[Request] = field(default_factory=list)
    nacked: list[int] = field(default_factory=list)
    speeds: list[float] = field(default_factory=list)
    begun_anew: int = 0
    """Times it was asked to play after its end."""
    port: int = 0

    def packets(self) -> list[tuple[float, RtpPacket]]:
        track = self.film.track
        packetizer = payload.packetizer(track.codec, channels=track.channels)
        made = []
        latest = 0.0
        for unit in self.film.units:
            latest = max(latest, unit.timestamp / track.clock_rate)
            for piece in packetizer.packetize(unit):
                sequence = (FIRST_SEQUENCE + len(made)) & 0xFFFF
                at = unit.timestamp + piece.timestamp_offset
                stamp = (FIRST_TIMESTAMP + at) & 0xFFFFFFFF
                packet = RtpPacket(96, sequence, stamp, SSRC, piece.data, piece.marker)
                made.append((latest, packet))
        return made

    def sdp(self) -> str:
        sets = ";".join(f"{name}={value}" for name, value in self.film.track.fmtp.items())
        track = self.film.track
        length = (self.film.units[-1].timestamp + 3600) / track.clock_rate
        sound = f"/{track.channels}" if track.channels else ""
        return "\r\n".join(
            [
                "v=0",
                "o=- 1 1 IN IP4 127.0.0.1",
                "s=film",
                "t=0 0",
                "a=control:*",
                f"a=range:npt={'now-' if self.live else f'0-{length:.3f}'}",
                f"m={track.kind.value} 0 RTP/AVPF 96",
                "c=IN IP4 0.0.0.0",
                f"a=rtpmap:96 {track.encoding}/{track.clock_rate}{sound}",
                f"a=fmtp:96 packetization-mode=1;{sets}",
                "a=rtcp-fb:96 nack",
                "a=control:track0",
                "",
            ]
        )

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Its URL, while it serves."""
        conversations: set[asyncio.Task[None]] = set()

        async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            conversations.add(task)
            conversation = _Conversation(self, reader, writer)
            try:
                await conversation.run()
            except (asyncio.CancelledError, ConnectionError):
                pass
            finally:
                conversation.close()

        server = await asyncio.start_server(met, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield f"rtsp://127.0.0.1:{self.port}/film"
        finally:
            server.close()
            for task in conversations:
                task.cancel()
            await asyncio.gather(*conversations, return_exceptions=True)
            await server.wait_closed()
            await asyncio.sleep(0)  # transports close their sockets in the next turn


class _Conversation:
    def __init__(
        self, peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._peer, self._reader, self._writer = peer, reader, writer
        self._parser = MessageParser()
        self._all = peer.packets()
        self._sending: asyncio.Task[None] | None = None
        self._at = 0
        self._speed = 1.0
        self._rtp: socket.socket | None = None
        self._rtcp: socket.socket | None = None
        self._target: tuple[int, int] | None = None
        self._lost = set(peer.lose)

    def close(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
        for one in (self._rtp, self._rtcp):
            if one is not None:
                with contextlib.suppress(Exception):
                    asyncio.get_running_loop().remove_reader(one)
                one.close()
        self._writer.transport.abort()

    async def run(self) -> None:
        while data := await self._reader.read(65536):
            self._parser.feed(data)
            while (message := self._parser.next_message()) is not None:
                if isinstance(message, Request):
                    self._answer(message)
                    if message.method == "TEARDOWN":
                        return

    def _say(
        self, request: Request, status: int, *headers: tuple[str, str], body: bytes = b""
    ) -> None:
        fields = [("CSeq", request.headers.get("cseq") or "0"), ("Server", self._peer.name)]
        answer = Response(status, REASONS[status], Headers([*fields, *headers]), body)
        self._writer.write(answer.serialize())

    def _answer(self, request: Request) -> None:
        peer = self._peer
        peer.asked.append(request)
        match request.method:
            case "DESCRIBE" if peer.missing:
                self._say(request, 404)
            case "DESCRIBE":
                kind = ("Content-Type", "application/sdp")
                self._say(request, 200, kind, body=peer.sdp().encode())
            case "SETUP":
                self._setup(request)
            case "PLAY":
                self._play(request)
            case "PAUSE":
                self._stop()
                self._say(request, 200, ("Session", "1"))
            case _:
                self._say(request, 200, ("Public", "OPTIONS, PLAY"))

    def _setup(self, request: Request) -> None:
        wanted = parse_transports(request.headers.get("transport") or "")[0]
        session = ("Session", "1;timeout=60")
        if not wanted.is_tcp and self._peer.refuse_udp:
            self._say(request, 461)
        elif wanted.is_tcp:
            self._target = None
            self._say(request, 200, session, ("Transport", "RTP/AVP/TCP;unicast;interleaved=0-1"))
        else:
            self._target = wanted.client_port
            self._rtp, self._rtcp = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in "12")
            for one in (self._rtp, self._rtcp):
                one.setblocking(False)
                one.bind(("127.0.0.1", 0))
            asyncio.get_running_loop().add_reader(self._rtcp, self._heard)
            ports = f"{self._rtp.getsockname()[1]}-{self._rtcp.getsockname()[1]}"
            assert self._target is not None
            mine = f"client_port={self._target[0]}-{self._target[1]};server_port={ports}"
            self._say(request, 200, session, ("Transport", f"RTP/AVP;unicast;{mine}"))

    def _play(self, request: Request) -> None:
        speed = request.headers.get("speed")
        extra = []
        if speed is not None:
            self._speed = float(speed)
            self._peer.speeds.append(self._speed)
            extra = [("Speed", speed)]
        wanted = request.headers.get("range")
        if wanted is not None or self._sending is None or self._sending.done():
            stale = [packet for _, packet in self._all[self._at : self._at + self._peer.stale]]
            if self._sending is not None and self._sending.done():
                self._at = 0  # as titles' servers do when they are asked again after the end
                self._peer.begun_anew += 1
            self._stop()
            if wanted is not None and not self._peer.live:
                self._seek(parse_range(wanted).start_seconds or 0.0)
            _, first = self._all[min(self._at, len(self._all) - 1)]
            media = (first.timestamp - FIRST_TIMESTAMP) & 0xFFFFFFFF
            media /= self._peer.film.track.clock_rate
            info = f"url=track0;seq={first.sequence_number};rtptime={first.timestamp}"
            if not self._peer.live:
                extra += [("Range", f"npt={media:.6f}-"), ("RTP-Info", info)]
            self._say(request, 200, ("Session", "1"), *extra)
            for packet in stale if wanted is not None else []:
                self._send(packet.serialize())
            self._sending = asyncio.create_task(self._flow())
        else:
            self._say(request, 200, ("Session", "1"), *extra)

    def _seek(self, seconds: float) -> None:
        """To the keyframe at that time or before."""
        rate = self._peer.film.track.clock_rate
        self._at = 0
        key = max(
            (u.timestamp for u in self._peer.film.units if u.key and u.timestamp <= seconds * rate),
            default=0,
        )
        for place, (_, packet) in enumerate(self._all):
            if (packet.timestamp - FIRST_TIMESTAMP) & 0xFFFFFFFF == key:
                self._at = place
                return

    def _stop(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None

    async def _flow(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        before = self._all[min(self._at, len(self._all) - 1)][0]
        while self._at < len(self._all):
            media, packet = self._all[self._at]
            due += (media - before) / (self._peer.pace * self._speed)
            before = media
            await asyncio.sleep(max(0.0, due - loop.time()))
            if self._at not in self._lost:
                self._send(packet.serialize())
            self._at += 1
        self._send(rtcp.serialize((rtcp.ReceiverReport(SSRC), rtcp.Bye((SSRC,)))), control=True)

    def _send(self, data: bytes, *, control: bool = False) -> None:
        if self._target is None:
            self._writer.write(InterleavedFrame(int(control), data).serialize())
        elif not self._peer.mute_udp:
            one = self._rtcp if control else self._rtp
            assert one is not None
            one.sendto(data, ("127.0.0.1", self._target[control]))

    def _heard(self) -> None:
        assert self._rtcp is not None
        for packet in rtcp.parse(self._rtcp.recv(2048)):
            if isinstance(packet, rtcp.Nack):
                for sequence in packet.lost:
                    self._peer.nacked.append(sequence)
                    self._send(self._all[(sequence - FIRST_SEQUENCE) & 0xFFFF][1].serialize())
