"""Titles by RTSP on the twin: found, described, played, sought in, paused, refused."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from tests.unit.dispatcher.contents import Made
from tests.unit.vod.staged_film import OneShelf, make_film

from heliograph.catalogue.contents.values import Network
from heliograph.live.options import ChannelOptions
from heliograph.model.errors import ResourceError
from heliograph.protocols.rtsp.headers import npt_seconds, parse_range, parse_rtp_info
from heliograph.servers.rtsp_ondemand import RtspOnDemand
from heliograph.storage.values import new_object
from heliograph.vod import block_reader
from heliograph.vod.admission import Budgets
from heliograph.vod.playing import PlayState
from heliograph.vod.promises import Admission
from heliograph.vod.sessions import SessionEvent
from heliograph.vod.shelf import Published

from .rtsp_site import Client, Site, running

FILM = make_film(20)
TCP = "RTP/AVP/TCP;unicast;interleaved={}-{}"


class Cinema:
    """A site with a shelf."""

    def __init__(self, site: Site, shelf: OneShelf) -> None:
        self.site = site
        self.shelf = shelf
        self.events: list[SessionEvent] = []
        self.serve()

    def serve(self, **named: object) -> RtspOnDemand:
        self.service = RtspOnDemand(self.shelf, self.site.loop, observe=self.events.append, **named)
        self.site.server.ondemand = self.service
        return self.service

    @property
    def session(self):
        (session,) = self.service.sessions.values()
        return session

    async def client(self, name: str = "film") -> Client:
        client = await self.site.client()
        client.base = f"rtsp://127.0.0.1:{self.site.server.port}/{name}"
        return client

    async def ready(self, name: str = "film", transport: str = TCP, tracks: int = 2) -> Client:
        """A client that has set everything up."""
        client = await self.client(name)
        assert (await client.ask("DESCRIBE", Accept="application/sdp"))[0] == 200
        for track in range(tracks):
            lanes = transport.format(2 * track, 2 * track + 1)
            url = f"{client.base}/trackID={track}"
            assert (await client.ask("SETUP", url, Transport=lanes))[0] == 200
        return client

    async def advance(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.05)):
            self.site.plane.advance(0.05)
            for session in self.service.sessions.values():
                session._feeder.wake()
            for _ in range(8):
                await asyncio.sleep(0)


async def frames(client: Client, last: str) -> list[tuple[int, str]]:
    """(track, unit) of the packets that come, up to one of the unit ``last``."""
    found: list[tuple[int, str]] = []
    async with asyncio.timeout(10):
        while not found or found[-1][1] != last:
            ((lane, packet),) = await client.packets(1)
            if lane % 2 == 0:
                found.append((lane // 2, packet[12:].split(b" ")[0].decode()))
    return found


@pytest.fixture
async def cinema() -> AsyncIterator[Cinema]:
    async with running(ChannelOptions(key="secret", view_key="sesame")) as site:
        yield Cinema(site, OneShelf(FILM))


async def test_a_title_is_described_with_its_length_and_tracks(cinema: Cinema):
    client = await cinema.client()
    status, fields, body = await client.ask("DESCRIBE", Accept="application/sdp")
    assert status == 200
    assert fields["content-base"] == f"{client.base}/"
    text = body.decode()
    assert "a=range:npt=0-20.000\r\n" in text
    assert text.count("m=") == 2
    assert "s=Film\r\n" in text


async def test_a_title_is_played_by_tcp_and_the_answer_comes_first(cinema: Cinema):
    client = await cinema.ready()
    status, fields, _ = await client.ask("PLAY", Range="npt=0-")
    assert status == 200
    assert client.frames == []
    assert fields["range"] == "npt=0.000000-20.000000"
    assert "scale" not in fields
    infos = parse_rtp_info(fields["rtp-info"])
    assert [info.url for info in infos] == [f"{client.base}/trackID={n}" for n in (0, 1)]
    await cinema.advance(1)
    packets = await client.packets(10)
    for lane, packet in packets:
        if lane == 0:
            assert struct.unpack("!H", packet[2:4])[0] == infos[0].seq
            break
    assert cinema.session.viewer.way == "rtsp-tcp"


async def test_a_title_is_played_by_udp(cinema: Cinema):
    loop, got = asyncio.get_running_loop(), []

    class Receiver(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            got.append(data)

    transport, _ = await loop.create_datagram_endpoint(Receiver, local_addr=("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    client = await cinema.ready(transport=f"RTP/AVP;unicast;client_port={port}-0", tracks=1)
    assert (await client.ask("PLAY"))[0] == 200
    await cinema.advance(1)
    await cinema.site.until(lambda: len(got) > 40)
    assert got[0][12:].startswith(b"v0 ")
    assert cinema.session.viewer.way == "rtsp-udp"
    transport.close()


async def test_seeking_answers_with_where_it_really_begins(cinema: Cinema):
    client = await cinema.ready()
    await client.ask("PLAY")
    await cinema.advance(2)
    await frames(client, "v49")
    # As ffmpeg seeks: PAUSE, then PLAY with a range.
    assert (await client.ask("PAUSE"))[0] == 200
    client.frames.clear()
    status, fields, _ = await client.ask("PLAY", Range="npt=10.5-")
    assert (status, fields["range"]) == (200, "npt=10.000000-20.000000")
    await cinema.advance(1)
    assert (await frames(client, "v260"))[0] in ((0, "v250"), (1, "a500"))
    # As others do: at once.
    status, fields, _ = await client.ask("PLAY", Range="npt=5-6")
    assert fields["range"] == "npt=4.000000-6.000000"
    client.frames.clear()
    await cinema.advance(3)
    found = await frames(client, "v149")
    assert (0, "v100") in found
    await cinema.advance(0.5)
    await cinema.site.until(lambda: cinema.session.state is PlayState.ENDED)


@pytest.mark.parametrize(
    "range", ["npt=20-", "npt=30-", "npt=9-8", "clock=20260101T000000Z-", "npt=x-"]
)
async def test_an_impossible_range_is_refused_and_the_session_goes_on(cinema: Cinema, range: str):
    client = await cinema.ready()
    assert (await client.ask("PLAY", Range=range))[0] == 457
    assert (await client.ask("PLAY", Range="npt=0-"))[0] == 200
    assert (await client.ask("PLAY", Range=range))[0] == 457
    assert cinema.session.state is PlayState.PLAYING


async def test_play_while_playing_is_a_sign_of_life(cinema: Cinema):
    client = await cinema.ready()
    await client.ask("PLAY")
    await cinema.advance(1)
    status, fields, _ = await client.ask("PLAY")
    assert status == 200
    assert npt_seconds(parse_range(fields["range"]).start) == pytest.approx(1, abs=0.1)
    assert cinema.session.starts == 1


async def test_a_pause_and_what_follows(cinema: Cinema):
    client = await cinema.ready()
    await client.ask("PLAY")
    await cinema.advance(1)
    assert (await client.ask("PAUSE"))[0] == 200
    assert cinema.session.state is PlayState.PAUSED
    await cinema.advance(5)
    _, fields, _ = await client.ask("PLAY")
    assert npt_seconds(parse_range(fields["range"]).start) == pytest.approx(1, abs=0.1)
    assert (await client.ask("PAUSE", Range="npt=0.1-"))[0] == 457
    assert (await client.ask("PAUSE", Range="npt=15-"))[0] == 200
    assert cinema.session.state is PlayState.PLAYING
    assert (await client.ask("PAUSE"))[0] == 200
    assert cinema.session.state is PlayState.PAUSED


async def test_scale_and_speed_are_answered_with_what_was_chosen(cinema: Cinema):
    client = await cinema.ready()
    status, fields, _ = await client.ask("PLAY", Scale="100", Speed="9")
    assert (status, fields["scale"], fields["speed"]) == (200, "32.000", "1.000")
    status, fields, _ = await client.ask("PLAY", Speed="9")
    assert (status, fields["speed"]) == (200, "4.000")
    status, fields, _ = await client.ask("PLAY", Scale="-2")
    assert (status, fields["scale"]) == (200, "1.000")
    assert (await client.ask("PLAY", Scale="x"))[0] == 400


async def test_after_the_end_the_session_stays_and_plays_again(cinema: Cinema):
    client = await cinema.ready()
    await client.ask("PLAY", Range="npt=18-")
    await cinema.advance(3)
    await frames(client, "v499")
    await cinema.advance(0.5)
    await cinema.site.until(lambda: cinema.session.state is PlayState.ENDED)
    client.frames.clear()
    status, fields, _ = await client.ask("PLAY")
    assert (status, fields["range"]) == (200, "npt=0.000000-20.000000")


async def test_teardown_and_a_lost_connection_end_the_session(cinema: Cinema):
    client = await cinema.ready()
    await client.ask("PLAY")
    assert (await client.ask("TEARDOWN"))[0] == 200
    assert not cinema.service.sessions
    other = await cinema.ready()
    await other.ask("PLAY")
    other.writer.close()
    await cinema.site.until(lambda: not cinema.service.sessions)
    assert [event.kind for event in cinema.events] == ["session-joined", "session-left"] * 2
    assert not cinema.site.plane.senders


async def test_counters_grow_and_stay_when_sessions_end(cinema: Cinema):
    client = await cinema.ready()
    await client.ask("PLAY")
    await cinema.advance(1)
    playing = cinema.service.counters()
    assert (playing["sessions"], playing["sessions_begun"]) == (1, 1)
    assert playing["packets"] > 0
    assert playing["blocks"] > 0
    await client.ask("TEARDOWN")
    ended = cinema.service.counters()
    assert ended == {**playing, "sessions": 0, "packets": ended["packets"], "bytes": ended["bytes"]}
    assert ended["packets"] >= playing["packets"]


async def test_a_player_that_gives_no_sign_of_life_is_ended(cinema: Cinema):
    client = await cinema.ready(transport="RTP/AVP;unicast;client_port=5000-5001", tracks=1)
    await client.ask("PLAY")
    (connection,) = cinema.site.server.connections
    cinema.site.plane.advance(61)
    connection._on_timer()
    assert not cinema.service.sessions


async def test_a_channel_of_the_same_name_goes_first_and_others_stay_unknown(cinema: Cinema):
    cinema.shelf.films["demo"] = replace(FILM[0], name="demo")
    client = await cinema.client("demo")
    assert (await client.ask("DESCRIBE"))[0] == 401  # the channel asks for a key
    client = await cinema.client("nothing")
    assert (await client.ask("DESCRIBE"))[0] == 404
    url = f"{client.base}/trackID=0"
    assert (await client.ask("SETUP", url, Transport=TCP.format(0, 1)))[0] == 404


async def test_a_title_with_a_channel_is_let_out_by_its_gate(cinema: Cinema):
    cinema.shelf.channel = lambda manifest: "demo"
    client = await cinema.client()
    assert (await client.ask("DESCRIBE"))[0] == 401
    assert (await client.ask("DESCRIBE", f"{client.base}?key=sesame"))[0] == 200
    # What was granted counts for the addresses of its tracks.
    url = f"{client.base}/trackID=0"
    assert (await client.ask("SETUP", url, Transport=TCP.format(0, 1)))[0] == 200


async def test_a_recording_ends_when_the_right_to_it_is_gone(cinema: Cinema):
    roster = cinema.site.guard("right")
    public = await cinema.ready()
    assert (await public.ask("PLAY"))[0] == 200
    cinema.shelf.channel = lambda manifest: "demo"
    client = await cinema.client()
    for track in range(2):
        lanes = TCP.format(2 * track, 2 * track + 1)
        shown = f"{client.base}/trackID={track}?key=right"
        assert (await client.ask("SETUP", shown, Transport=lanes))[0] == 200
    assert (await client.ask("PLAY"))[0] == 200
    await roster.recheck()
    assert len(cinema.service.sessions) == 2
    assert len(cinema.site.channel.guests) == 1
    cinema.site.guard("another")
    await roster.recheck()
    await client.ended()
    assert roster.ended == 1
    assert len(cinema.service.sessions) == 1  # who came while everybody might
    assert not cinema.site.channel.guests


@pytest.mark.parametrize(("networks", "status"), [(("127.0.0.0/8",), 200), (("10.0.0.0/8",), 403)])
async def test_a_recording_is_seen_only_from_where_its_channel_is(
    networks: tuple[str, ...], status: int
) -> None:
    options = ChannelOptions(key="secret", view_key="sesame", view_from=networks)
    async with running(options) as site:
        cinema = Cinema(site, OneShelf(FILM))
        cinema.shelf.channel = lambda manifest: "demo"
        client = await cinema.client()
        assert (await client.ask("DESCRIBE", f"{client.base}?key=sesame"))[0] == status
        # The control: a title of nobody's is seen from everywhere.
        cinema.shelf.channel = lambda manifest: ""
        client = await cinema.client()
        assert (await client.ask("DESCRIBE", client.base))[0] == 200


async def test_a_title_that_is_barred_from_a_client_is_refused_and_one_held_here_is_not_sent_on(
    cinema: Cinema,
):
    class Titles:
        drained = False
        better = False

        def instead(self, name: str, place: str, query: str, peer: str) -> str | None:
            assert place == urlsplit(client.base).netloc
            return f"rtsp://other/{name}" if self.drained else None

        def best(self, name: str, query: str, peer: str) -> str | None:
            return f"rtsp://better/{name}" if self.better else None

        def find(self, name: str, query: str, peer: str) -> str:
            return f"rtsp://other/{name}"

    cinema.site.server.titles = titles = Titles()
    licensed = Made().title(FILM[0].name, regions=("eu",))
    cinema.service.barring.told = licensed.snapshot()
    client = await cinema.client()
    url = f"{client.base}/trackID=0"
    for method, more in (("DESCRIBE", {}), ("SETUP", {"Transport": TCP.format(0, 1)})):
        assert (await client.ask(method, client.base if not more else url, **more))[0] == 403
    licensed.networks = [Network("127.0.0.0/8", "eu/at")]
    cinema.service.barring.told = licensed.snapshot()
    assert (await client.ask("DESCRIBE"))[0] == 200
    status, fields, _ = await (await cinema.client("elsewhere")).ask("DESCRIBE")
    assert (status, fields["location"]) == (302, "rtsp://other/elsewhere")
    titles.better = True
    status, fields, _ = await client.ask("DESCRIBE")
    assert (status, fields["location"]) == (302, f"rtsp://better/{FILM[0].name}")
    cinema.shelf.channel = lambda manifest: "yard"  # its gate is here, and what is shown to it
    assert (await client.ask("DESCRIBE"))[0] != 302
    cinema.shelf.channel = lambda manifest: ""
    lanes = "RTP/AVP/TCP;unicast;interleaved=0-1"
    status, _, _ = await client.ask("SETUP", f"{client.base}/trackID=0", Transport=lanes)
    assert status == 200  # who was described the title here plays it here
    titles.drained = True
    client = await cinema.client()
    status, fields, _ = await client.ask("DESCRIBE")
    assert (status, fields["location"]) == (302, f"rtsp://other/{FILM[0].name}")


async def test_a_title_that_is_withheld_is_unknown_and_who_plays_it_goes_on(cinema: Cinema):
    player = await cinema.ready()
    assert (await player.ask("PLAY"))[0] == 200
    hidden = {FILM[0].name}
    cinema.service.shelf = Published(cinema.shelf, lambda found: found.name in hidden)
    await cinema.advance(1.0)
    assert [unit for _, unit in await frames(player, "v20")]
    client = await cinema.client()
    assert (await client.ask("DESCRIBE"))[0] == (await unknown(cinema)) == 404
    lanes = "RTP/AVP/TCP;unicast;interleaved=0-1"
    status, _, _ = await client.ask("SETUP", f"{client.base}/trackID=0", Transport=lanes)
    assert status == 404
    hidden.clear()
    assert (await client.ask("DESCRIBE"))[0] == 200


async def unknown(cinema: Cinema) -> int:
    return (await (await cinema.client("nothing")).ask("DESCRIBE"))[0]


async def test_a_spent_budget_is_453_with_the_reason_and_those_who_play_go_on(cinema: Cinema):
    budgets = Budgets(packets=350)
    admission = Admission(lambda: budgets, lambda manifest: {})
    cinema.serve(admission=admission)
    clients = [await cinema.ready() for _ in range(4)]
    for client in clients[:3]:
        assert (await client.ask("PLAY"))[0] == 200
    status, fields, _ = await clients[3].ask("PLAY")
    assert (status, fields["retry-after"]) == (453, "10")
    assert (await (await cinema.client()).ask("DESCRIBE"))[0] == 453
    assert len(cinema.service.sessions) == 3
    assert (await clients[0].ask("TEARDOWN"))[0] == 200
    assert (await clients[3].ask("PLAY"))[0] == 200
    for client in clients[1:]:
        await client.ask("TEARDOWN")
    assert admission.promised.streams == 0


async def test_storage_that_cannot_be_read_is_told_and_play_may_be_asked_again(
    cinema: Cinema, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(block_reader, "RETRY", 0.0)
    source = cinema.shelf.sources[FILM[0].object]
    for number in range(20):
        source.faults[number] = [ResourceError("I/O error")]
    client = await cinema.ready()
    assert (await client.ask("PLAY"))[0] == 503
    source.faults.clear()
    assert (await client.ask("PLAY"))[0] == 200


async def test_a_fault_of_ours_is_told_and_the_connection_goes_on(cinema: Cinema):
    source = cinema.shelf.sources[FILM[0].object]
    client = await cinema.ready()

    def fail(number: int) -> None:
        raise RuntimeError("a bug")

    source.before = fail
    assert (await client.ask("PLAY"))[0] == 500
    source.before = lambda number: None
    assert (await client.ask("PLAY"))[0] == 200


async def test_a_client_that_leaves_while_play_waits_leaves_nothing(cinema: Cinema):
    source = cinema.shelf.sources[FILM[0].object]
    source.gates[0] = asyncio.Event()
    client = await cinema.ready()
    client.writer.write(
        f"PLAY {client.base} RTSP/1.0\r\nCSeq: 99\r\nSession: {client.session}\r\n\r\n".encode()
    )
    await cinema.site.until(lambda: source.asked)
    client.writer.close()
    await cinema.site.until(lambda: not cinema.service.sessions)
    source.gates.pop(0).set()
    await cinema.site.until(lambda: not cinema.site.server.connections)
    assert not cinema.site.plane.senders
    assert cinema.site.loop.handler_errors == 0


async def test_a_title_that_is_being_recorded_is_played_from_its_start_and_from_now(
    cinema: Cinema,
):
    whole = FILM[0]
    part = replace(whole, live=True, duration_us=12_000_000, blocks=whole.blocks[:12])
    part = replace(part, keys=[key for key in whole.keys if key.block < 12])
    cinema.shelf.films["film"] = part
    client = await cinema.ready()
    assert (await client.ask("PLAY", Range="npt=0-"))[1]["range"].startswith("npt=0.0")
    _, fields, _ = await client.ask("PLAY", Range="npt=now-")
    assert fields["range"].startswith("npt=11.0")
    assert (await client.ask("PLAY", Range="npt=15-"))[0] == 457
    cinema.shelf.films["film"] = whole  # it went on, and is finished
    await cinema.advance(4)
    await frames(client, "v330")
    assert (await client.ask("PLAY", Range="npt=15-"))[0] == 200


async def test_a_title_that_is_being_recorded_goes_on_under_another_name(cinema: Cinema):
    whole = FILM[0]
    part = replace(whole, live=True, duration_us=12_000_000, blocks=whole.blocks[:12])
    part = replace(part, keys=[key for key in whole.keys if key.block < 12])
    cinema.shelf.films["film"] = part
    client = await cinema.ready()
    assert (await client.ask("PLAY", Range="npt=now-"))[0] == 200
    # An older title of its name has come, and it is finished.
    cinema.shelf.films = {"film": replace(whole, object=new_object()), "film-1": whole}
    await cinema.advance(4)
    await frames(client, "v330")
    assert (await client.ask("PLAY", Range="npt=15-"))[0] == 200


async def test_one_rendition_of_the_pictures_is_offered(cinema: Cinema):
    manifest = FILM[0]
    video, sound = manifest.tracks
    small = replace(video, track=replace(video.track, id=2, payload_type=97), rendition=1)
    cinema.shelf.films["film"] = replace(manifest, tracks=(video, sound, small))
    client = await cinema.client()
    for query, wanted in (("", "trackID=0"), ("?rendition=1", "trackID=2"), ("?rendition=9", "0")):
        _, _, body = await client.ask("DESCRIBE", client.base + query)
        assert body.decode().count("m=video") == 1
        assert f"{wanted}\r\n" in body.decode()
