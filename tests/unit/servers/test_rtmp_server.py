"""The RTMP server over real loopback connections, with the twin as its plane."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
from tests.unit.protocols.rtmp.client import AVC, HANDSHAKE, answers, capture, code

from heliograph.catalogue import external
from heliograph.catalogue.authority import Reply
from heliograph.catalogue.throttle import Throttle
from heliograph.live.gate import Gate
from heliograph.live.options import ChannelOptions, Conflict
from heliograph.live.readers import ReaderHooks
from heliograph.live.registry import Channels
from heliograph.live.states import State
from heliograph.model.errors import ResourceError
from heliograph.model.media import Codec
from heliograph.plane import PlaneLoop
from heliograph.plane.twin import TwinPlane
from heliograph.protocols import rtcp
from heliograph.protocols.rtmp import amf, chunks, server
from heliograph.protocols.rtmp.chunks import ChunkReader, ChunkWriter, Message
from heliograph.protocols.rtmp.events import PublishRequested
from heliograph.protocols.rtp import RtpPacket
from heliograph.servers import rtmp_connection
from heliograph.servers.rtmp import RtmpOptions, RtmpServer
from heliograph.servers.rtmp_connection import MediaClock, destination

IDR = b"\x65\x88\x84" + b"\x11" * 40
SLICE = b"\x41\x9a\x24" + b"\x22" * 40
FRAME = b"\x21\x10" + b"\x33" * 60
AAC = b"\xaf\x00\x12\x10"


def picture(nal: bytes, *, later: int = 0) -> bytes:
    """A picture shown so many milliseconds after it is decoded."""
    head = b"\x17\x01" if nal is IDR else b"\x27\x01"
    return head + later.to_bytes(3, "big") + len(nal).to_bytes(4, "big") + nal


class Site:
    """A server with one channel."""

    def __init__(self, channel: ChannelOptions, options: RtmpOptions) -> None:
        self.plane = TwinPlane(network=True)
        self.loop = PlaneLoop(self.plane)
        self.channels = Channels(self.loop, configured={"demo": channel})
        self.ahead = 0.0
        """Seconds by which the server's clock is moved."""
        self.server = RtmpServer(
            self.channels,
            self.loop,
            options,
            administrator_key="boss",
            clock=lambda: asyncio.get_running_loop().time() + self.ahead,
        )
        self.reports: list[tuple[int, bytes]] = []
        self.plane.push_rtcp = lambda _, track, data: self.reports.append((track, data))  # type: ignore[method-assign]
        self.encoders: list[Encoder] = []

    @property
    def channel(self) -> Any:
        return self.channels.get("demo")

    async def encoder(self) -> Encoder:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        self.encoders.append(Encoder(reader, writer))
        return self.encoders[-1]

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0)

    async def on_air(self, **named: Any) -> Encoder:
        """An encoder of which a keyframe came."""
        encoder = await self.encoder()
        assert await encoder.publish(**named) == "NetStream.Publish.Start"
        encoder.begin()
        await self.until(lambda: self.channel.state is State.ON_AIR)
        return encoder

    def tap(self) -> Callable[[], list[tuple[int, RtpPacket]]]:
        """Reads what the channel relays: track and packet."""
        reader = self.channel.audience.add_tap(hooks=ReaderHooks())
        reader.start()

        def read() -> list[tuple[int, RtpPacket]]:
            items, _ = self.plane.read_tap(reader.plane_reader)
            return [(item[0], RtpPacket.parse(item[-1])) for item in items if not item[5] & 4]

        return read


class Encoder:
    """A publisher made by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._out, self._in = ChunkWriter(), ChunkReader()
        self._found: list[Message] = []

    def send(self, kind: int, body: bytes, *, stream: int = 0, at: int = 0) -> None:
        self.writer.write(self._out.write(kind + 2, Message(kind, stream, at, body)))

    def command(self, name: str, *arguments: object, stream: int = 0) -> None:
        self.send(chunks.COMMAND, amf.encode(name, 1, *arguments), stream=stream)

    async def answer(self, wanted: str) -> Any:
        """The next command of that name."""
        async with asyncio.timeout(5):
            while True:
                while self._found:
                    for command in answers([self._found.pop(0)]):
                        if command.name == wanted:
                            return command
                data = await self.reader.read(4096)
                if not data:
                    raise EOFError(f"closed before {wanted}")
                self._in.feed(data)
                while (message := self._in.next_message()) is not None:
                    self._found.append(message)

    async def publish(self, name: str = "demo?key=secret", app: str = "live") -> object:
        """Everything up to the answer of publish; its code."""
        self.writer.write(HANDSHAKE)
        async with asyncio.timeout(5):
            await self.reader.readexactly(3073)
        self.command("connect", {"app": app, "tcUrl": f"rtmp://host/{app}", "flashVer": "made"})
        await self.answer("_result")
        self.command("createStream", None)
        await self.answer("_result")
        self.command("publish", None, name, "live", stream=1)
        return code(await self.answer("onStatus"))

    def video(self, nal: bytes, at: int, later: int = 0) -> None:
        self.send(chunks.VIDEO, picture(nal, later=later), stream=1, at=at)

    def audio(self, at: int) -> None:
        self.send(chunks.AUDIO, b"\xaf\x01" + FRAME, stream=1, at=at)

    def begin(self) -> None:
        """Configurations, a keyframe and some sound."""
        self.send(chunks.VIDEO, AVC, stream=1)
        self.send(chunks.AUDIO, AAC, stream=1)
        self.video(IDR, 0)
        self.audio(0)

    async def ended(self) -> None:
        async with asyncio.timeout(5):
            with contextlib.suppress(ConnectionError):
                await self.reader.read(-1)


@contextlib.asynccontextmanager
async def running(channel: ChannelOptions | None = None, **options: Any) -> AsyncIterator[Site]:
    listen = RtmpOptions(address="127.0.0.1", port=0, **options)
    site = Site(channel or ChannelOptions(key="secret"), listen)
    site.loop.start()
    await site.server.start()
    try:
        yield site
    finally:
        await site.server.stop()
        for encoder in site.encoders:
            encoder.writer.close()
            with contextlib.suppress(ConnectionError):
                await encoder.writer.wait_closed()
        site.channels.close()
        site.loop.stop()
        site.plane.close()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with running() as site:
        yield site


@pytest.mark.parametrize(
    ("app", "stream", "query", "wanted"),
    [
        ("live", "yard", {"key": "k"}, ("yard", "k")),
        ("", "yard", {"key": "k"}, ("yard", "k")),
        ("yard", "", {"key": "k"}, ("yard", "k")),
        ("yard", "k", {}, ("yard", "k")),
        ("live/yard", "k", {}, ("yard", "k")),
        ("yard", "cam", {"key": "k"}, ("yard", "k")),
        ("lively", "k", {}, ("lively", "k")),
        ("live", "yard", {}, ("yard", "")),
    ],
)
def test_channel_and_key_are_found_where_encoders_put_them(
    app: str, stream: str, query: dict[str, str], wanted: tuple[str, str]
) -> None:
    assert destination(PublishRequested(app, stream, query)) == wanted


@pytest.mark.parametrize(
    ("name", "app"),
    [
        ("demo?key=secret", "live"),
        ("secret", "demo"),
        ("demo?key=boss", "live"),
        ("", "demo?key=boss"),
    ],
)
async def test_what_is_published_is_on_air(site: Site, name: str, app: str) -> None:
    await site.on_air(name=name, app=app)
    assert [track.codec for track in site.channel.tracks] == [Codec.H264, Codec.AAC]
    assert "sprop-parameter-sets" in site.channel.tracks[0].fmtp
    assert site.channel.tracks[1].fmtp["config"] == "1210"
    (row,) = site.channel.inputs()
    assert row["kind"] == "rtmp"
    assert row["agent"] == "made"
    assert row["peer"] == "127.0.0.1"


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("demo?key=wrong", "NetStream.Publish.Unauthorized"),
        ("demo", "NetStream.Publish.Unauthorized"),
        ("nowhere?key=secret", "NetStream.Publish.BadName"),
    ],
)
async def test_who_may_not_publish_is_told_and_closed(site: Site, name: str, wanted: str) -> None:
    encoder = await site.encoder()
    assert await encoder.publish(name) == wanted
    await encoder.ended()
    assert site.server.refused_publishers == 1
    await site.until(lambda: not site.server.connections)


async def test_second_publisher_is_refused_and_the_first_goes_on(site: Site) -> None:
    first = await site.on_air()
    second = await site.encoder()
    assert await second.publish() == "NetStream.Publish.BadName"
    await second.ended()
    (row,) = site.channel.inputs()
    first.video(SLICE, 40)
    await site.until(lambda: next(site.channel.inputs())["packets"] > row["packets"])


async def test_second_publisher_replaces_the_first_where_that_is_set() -> None:
    async with running(ChannelOptions(key="secret", conflict=Conflict.REPLACE)) as site:
        first = await site.on_air()
        await site.on_air()
        refusal = await first.answer("onStatus")
        assert code(refusal) == "NetStream.Publish.Rejected"
        assert refusal.arguments[-1]["description"] == "replaced"
        await first.ended()
        assert len(site.channel.publishings) == 1


async def test_keyframes_carry_their_parameter_sets(site: Site) -> None:
    encoder = await site.on_air()
    read = site.tap()
    encoder.video(IDR, 40)
    found: list[tuple[int, RtpPacket]] = []
    await site.until(lambda: found.extend(read()) or any(t == 0 for t, _ in found))
    packet = next(packet for track, packet in found if track == 0)
    assert packet.payload[0] & 0x1F == 24  # STAP-A of SPS, PPS and IDR
    assert packet.payload[3] & 0x1F == 7
    assert packet.payload.endswith(IDR)


async def test_pictures_out_of_order_keep_their_order_and_their_times(site: Site) -> None:
    encoder = await site.on_air()
    read = site.tap()
    encoder.video(IDR, 40, later=40)
    encoder.video(SLICE, 80, later=120)
    encoder.video(SLICE, 120)
    found: list[RtpPacket] = []
    await site.until(lambda: found.extend(p for t, p in read() if t == 0) or len(found) >= 3)
    times = [(packet.timestamp - found[-3].timestamp) & 0xFFFFFFFF for packet in found[-3:]]
    assert times == [0, 120 * 90, 40 * 90]


async def test_reports_of_both_tracks_tell_one_instant(site: Site) -> None:
    encoder = await site.on_air()
    await site.until(lambda: {track for track, _ in site.reports} == {0, 1})
    site.ahead += 6  # the next reports are due
    encoder.video(SLICE, 6000)
    await site.until(lambda: len(site.reports) >= 5)
    sent = {track: (report := rtcp.parse(data)[0]) and report for track, data in site.reports[-2:]}
    assert sent[0].ntp == sent[1].ntp


async def test_publisher_that_goes_leaves_the_channel_waiting(site: Site) -> None:
    encoder = await site.on_air()
    encoder.writer.close()
    await site.until(lambda: site.channel.state is State.WAITING)
    assert not site.channel.publishings
    await site.on_air()


async def test_unpublishing_ends_it(site: Site) -> None:
    encoder = await site.on_air()
    encoder.command("deleteStream", None, 1)
    await encoder.ended()
    await site.until(lambda: not site.channel.publishings)


async def test_changed_format_is_described_anew(site: Site) -> None:
    encoder = await site.on_air()
    encoder.send(chunks.AUDIO, b"\xaf\x00\x11\x90", stream=1, at=40)  # 48 000 Hz
    encoder.video(IDR, 40)
    encoder.audio(40)
    await site.until(lambda: site.channel.tracks[1].clock_rate == 48_000)
    assert len(site.channel.publishings) == 1


@pytest.mark.parametrize(
    ("name", "codecs"),
    [
        ("ffmpeg-h264-aac", [Codec.H264, Codec.AAC]),
        ("pyav-hevc-aac", [Codec.H265, Codec.AAC]),
        ("pyav-av1-opus", [Codec.AV1, Codec.OPUS]),
        ("pyav-vp9-opus", [Codec.VP9, Codec.OPUS]),
    ],
)
async def test_what_real_encoders_sent_is_relayed(
    site: Site, name: str, codecs: list[Codec]
) -> None:
    site.channels.create("camera", ChannelOptions(key="", open_publish=True))
    channel = site.channels.get("camera")
    encoder = await site.encoder()
    encoder.writer.write(capture(name)[:-400])  # without its goodbye
    await site.until(lambda: channel.state is State.ON_AIR)
    assert [track.codec for track in channel.tracks] == codecs
    await site.until(lambda: channel.stats().packets > 80)
    assert site.server.failed_connections == 0


async def test_track_that_cannot_be_relayed_leaves_the_other(site: Site) -> None:
    encoder = await site.encoder()
    await encoder.publish()
    encoder.send(chunks.AUDIO, b"\x2f" + FRAME, stream=1)  # MP3
    encoder.send(chunks.VIDEO, AVC, stream=1)
    encoder.video(IDR, 0)
    await site.until(lambda: site.channel.state is State.ON_AIR)
    assert [track.codec for track in site.channel.tracks] == [Codec.H264]


async def test_publisher_without_anything_to_relay_is_told_why(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rtmp_connection, "MEDIA_TIMEOUT", 0.1)
    encoder = await site.encoder()
    await encoder.publish()
    encoder.send(chunks.AUDIO, b"\x2f" + FRAME, stream=1)
    refusal = await encoder.answer("onStatus")
    assert code(refusal) == "NetStream.Publish.Rejected"
    assert "audio is not relayed" in refusal.arguments[-1]["description"]
    await encoder.ended()


async def test_video_alone_is_on_air_soon(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "GATHER_TIMEOUT", 0.3)
    encoder = await site.encoder()
    await encoder.publish()
    encoder.send(chunks.VIDEO, AVC, stream=1)
    encoder.video(IDR, 0)
    await site.until(lambda: site.channel.state is State.ON_AIR)
    assert [track.codec for track in site.channel.tracks] == [Codec.H264]


async def test_garbage_is_closed_and_counted(site: Site) -> None:
    encoder = await site.encoder()
    encoder.writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" + bytes(3000))
    await encoder.ended()
    await site.until(lambda: not site.server.connections)
    assert site.server.failed_connections == 1


async def test_garbage_while_on_air_ends_the_publication(site: Site) -> None:
    encoder = await site.on_air()
    encoder.writer.write(b"\x05\xff\xff\xff\xff\xff\xff\xff" * 4000)
    await encoder.ended()
    await site.until(lambda: not site.channel.publishings)


async def test_slow_handshake_is_timed_out(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SETUP_TIMEOUT", 0.3)
    encoder = await site.encoder()
    encoder.writer.write(HANDSHAKE[:100])
    await encoder.ended()
    assert site.server.failed_connections == 1


async def test_connections_beyond_the_limit_are_closed() -> None:
    async with running(max_connections=1) as site:
        await site.on_air()
        second = await site.encoder()
        await second.ended()
        assert site.server.refused_connections == 1
        assert len(site.channel.publishings) == 1


async def test_stopping_tells_publishers(site: Site) -> None:
    encoder = await site.on_air()
    await site.server.stop()
    assert code(await encoder.answer("onStatus")) == "NetStream.Publish.Rejected"
    await encoder.ended()
    await site.until(lambda: not site.server.connections)
    assert not site.channel.publishings


async def test_port_in_use_names_the_setting(site: Site) -> None:
    other = RtmpServer(
        site.channels, site.loop, RtmpOptions(address="127.0.0.1", port=site.server.port)
    )
    with pytest.raises(ResourceError, match=r"rtmp\.port"):
        await other.start()


def test_media_clock_follows_the_earliest_arrivals_slowly() -> None:
    clock = MediaClock()
    clock.arrived(0.0, 100.0)
    assert clock.at(100.0) == 0.0
    for late in (0.4, 0.001, 0.2):
        clock.arrived(5.0, 105.0 + late)
    assert clock.at(105.0) == pytest.approx(4.999)
    clock.arrived(9.0, 110.0)  # a second late, every time: no more than a little at once
    assert clock.at(110.0) == pytest.approx(9.997)
    clock.arrived(5000.0, 111.0)  # the encoder's clock jumped
    assert clock.at(111.0) == 5000.0


class Authority:
    """An external authority that answers when it is told to."""

    def __init__(self, site: Site) -> None:
        self.status = asyncio.get_running_loop().create_future()
        self.asked: list[Mapping[str, str]] = []
        asks = external.Authority(self.post)
        site.server.gate = Gate("boss", authority=asks)

    async def post(self, question: Mapping[str, str]) -> Reply:
        self.asked.append(question)
        return Reply(await self.status)


async def test_what_an_encoder_sends_waits_while_somebody_else_is_asked(site: Site) -> None:
    authority = Authority(site)
    encoder = await site.encoder()
    publishing = asyncio.create_task(encoder.publish())
    await site.until(lambda: authority.asked)
    assert authority.asked[0]["protocol"] == "rtmp"
    encoder.begin()
    authority.status.set_result(200)
    assert await publishing == "NetStream.Publish.Start"
    await site.until(lambda: site.channel.state is State.ON_AIR)


async def test_authority_refuses_an_encoder(site: Site) -> None:
    authority = Authority(site)
    authority.status.set_result(403)
    assert await (await site.encoder()).publish() == "NetStream.Publish.Unauthorized"
    assert site.server.refused_publishers == 1
    assert site.channel.publishings == {}


async def test_encoder_that_goes_while_somebody_is_asked_leaves_nothing(site: Site) -> None:
    authority = Authority(site)
    encoder = await site.encoder()
    publishing = asyncio.create_task(encoder.publish())
    await site.until(lambda: authority.asked)
    encoder.writer.close()
    await site.until(lambda: not site.server.connections)
    authority.status.set_result(200)
    with contextlib.suppress(EOFError, ConnectionError):
        await publishing
    assert site.channel.publishings == {}


async def test_guesses_are_slowed_and_right_keys_with_them(site: Site) -> None:
    for number in range(11):
        wrong = await (await site.encoder()).publish(f"demo?key=guess-{number}")
        assert wrong == "NetStream.Publish.Unauthorized"
    assert await (await site.encoder()).publish() == "NetStream.Publish.Rejected"
    site.server.gate.throttle = Throttle()
    assert await (await site.encoder()).publish() == "NetStream.Publish.Start"
