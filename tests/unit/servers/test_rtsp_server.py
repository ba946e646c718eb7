"""The RTSP server over real loopback connections, with the twin as its plane."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from heliograph.catalogue.catalogue import Catalogue
from heliograph.live.gate import Gate
from heliograph.live.options import ChannelOptions, Conflict
from heliograph.live.roster import Roster
from heliograph.live.states import State
from heliograph.model.errors import ResourceError
from heliograph.protocols.rtsp.auth import Answerer
from heliograph.servers.rtsp import RtspOptions, RtspServer

from .rtsp_site import IDR, SDP, SLICE, Site, rtp, running

UDP = "RTP/AVP;unicast;client_port=40000-40001"


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with running() as site:
        yield site


async def test_unknown_and_idle_channels_are_not_found(site: Site) -> None:
    client = await site.client()
    assert (await client.ask("DESCRIBE"))[0] == 404
    assert (await client.ask("DESCRIBE", client.base + "x"))[0] == 404


async def test_publisher_needs_the_key(site: Site) -> None:
    client = await site.client()
    status, headers, _ = await client.ask("ANNOUNCE", body=SDP)
    assert status == 401
    assert "www-authenticate" in headers
    assert (await client.ask("ANNOUNCE", client.base + "?key=wrong", SDP))[0] == 401
    basic = "Basic eDpzZWNyZXQ="  # x:secret
    assert (await client.ask("ANNOUNCE", body=SDP, Authorization=basic))[0] == 200


async def test_administrators_key_publishes_too(site: Site) -> None:
    assert await (await site.client()).publish(key="boss") == 200


async def test_published_over_tcp_and_played_over_tcp(site: Site) -> None:
    publisher, player = await site.client(), await site.client()
    assert await publisher.publish() == 200
    publisher.send(0, rtp(1, IDR))
    publisher.send(0, rtp(2))
    await site.until(lambda: site.channel.state is State.ON_AIR)
    assert await player.play() == 200
    assert [packet[12:] for _, packet in await player.packets(2)] == [IDR, SLICE]
    publisher.send(0, rtp(3))
    ((lane, packet),) = await player.packets(1)
    assert lane == 0
    assert packet[12:] == SLICE
    row = next(iter(site.channel.audience.readers.values())).describe()
    assert row["kind"] == "rtsp-tcp"
    assert row["packets"] == 3


async def test_rtp_info_names_the_first_packet(site: Site) -> None:
    publisher, player = await site.client(), await site.client()
    await publisher.publish()
    publisher.send(0, rtp(1, IDR))
    await site.until(lambda: site.channel.state is State.ON_AIR)
    await player.ask("DESCRIBE")
    lanes = "RTP/AVP/TCP;unicast;interleaved=4-5"
    await player.ask("SETUP", f"{player.base}/trackID=0", Transport=lanes)
    status, headers, _ = await player.ask("PLAY")
    assert status == 200
    ((lane, packet),) = await player.packets(1)
    assert lane == 4
    assert f"seq={int.from_bytes(packet[2:4])}" in headers["rtp-info"]
    assert f"rtptime={int.from_bytes(packet[4:8])}" in headers["rtp-info"]


async def test_description_tells_the_tracks(site: Site) -> None:
    publisher, player = await site.client(), await site.client()
    await publisher.publish()
    _, _, body = await player.ask("DESCRIBE")
    assert b"H264/90000" in body
    assert b"opus/48000/2" in body


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.got: list[bytes] = []

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.got.append(data)


async def udp() -> tuple[asyncio.DatagramTransport, Datagrams, int]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(
        Datagrams, local_addr=("127.0.0.1", 0)
    )
    return transport, protocol, transport.get_extra_info("sockname")[1]


async def test_published_and_played_by_udp(site: Site) -> None:
    publisher, player = await site.client(), await site.client()
    sender, _, sender_port = await udp()
    receiver, received, receiver_port = await udp()
    try:
        assert (await publisher.ask("ANNOUNCE", f"{publisher.base}?key=secret", SDP))[0] == 200
        status, headers, _ = await publisher.ask(
            "SETUP",
            f"{publisher.base}/streamid=0",
            Transport=f"RTP/AVP;unicast;client_port={sender_port}-{sender_port + 1};mode=record",
        )
        assert status == 200
        assert (await publisher.ask("RECORD"))[0] == 200
        port = int(headers["transport"].partition("server_port=")[2].partition("-")[0])
        assert port == site.server.rtp_ports[0]
        sender.sendto(rtp(1, IDR), ("127.0.0.1", port))
        await site.until(lambda: site.channel.state is State.ON_AIR)
        transport = f"RTP/AVP;unicast;client_port={receiver_port}-{receiver_port + 1}"
        assert await player.play(transport) == 200
        sender.sendto(rtp(2), ("127.0.0.1", port))
        await site.until(lambda: len(received.got) == 2)
        assert [packet[12:] for packet in received.got] == [IDR, SLICE]
        assert (await player.ask("TEARDOWN"))[0] == 200
        assert not site.channel.audience.readers
    finally:
        sender.close()
        receiver.close()


async def test_multicast_readers_share_one_group() -> None:
    async with running(multicast_base="239.5.5.0", multicast_port=19000) as site:
        publisher, one, two = [await site.client() for _ in range(3)]
        await publisher.publish()
        for client in (one, two):
            status, headers, _ = await client.ask(
                "SETUP", f"{client.base}/trackID=0", Transport="RTP/AVP;multicast"
            )
            assert status == 200
            assert "destination=239.5.5.0" in headers["transport"]
            assert "port=19000-19001" in headers["transport"]
            assert (await client.ask("PLAY"))[0] == 200
        assert site.plane.totals()["readers"] == 1
        assert len(site.channel.audience.readers) == 2
        for client in (one, two):
            assert (await client.ask("TEARDOWN"))[0] == 200
        assert site.plane.totals()["readers"] == 0


async def test_readers_wait_while_the_publisher_is_away(site: Site) -> None:
    publisher, player = await site.client(), await site.client()
    await publisher.publish()
    publisher.send(0, rtp(1, IDR))
    await site.until(lambda: site.channel.state is State.ON_AIR)
    assert await player.play() == 200
    ((_, first),) = await player.packets(1)
    publisher.writer.close()
    await site.until(lambda: site.channel.state is State.WAITING)
    again = await site.client()
    assert await again.publish() == 200
    again.send(0, rtp(500, IDR))
    ((_, second),) = await player.packets(1)
    assert int.from_bytes(second[2:4]) == int.from_bytes(first[2:4]) + 1
    assert len(site.channel.audience.readers) == 1


async def test_second_publisher_is_refused_while_the_first_delivers(site: Site) -> None:
    publisher = await site.client()
    await publisher.publish()
    publisher.send(0, rtp(1, IDR))
    await site.until(lambda: site.channel.state is State.ON_AIR)
    assert await (await site.client()).publish() == 409


async def test_second_publisher_replaces_where_told_so() -> None:
    options = ChannelOptions(key="secret", conflict=Conflict.REPLACE)
    async with running(options) as site:
        first, second = await site.client(), await site.client()
        assert await first.publish() == 200
        assert await second.publish() == 200
        assert b"TEARDOWN" in await first.ended()
        assert len(site.channel.publishings) == 1


@pytest.mark.parametrize(
    ("limits", "status"), [({"max_readers": 1}, 503), ({"max_bandwidth": 1}, 453)]
)
async def test_full_channel_refuses_with_its_reason(limits: dict[str, int], status: int) -> None:
    async with running(ChannelOptions(key="secret", **limits)) as site:  # type: ignore[arg-type]
        publisher, one, two = [await site.client() for _ in range(3)]
        await publisher.publish()
        publisher.send(0, rtp(1, IDR))
        await site.until(lambda: site.channel.state is State.ON_AIR)
        answers = [await one.play(), await two.play()]
        assert answers[-1] == status
        assert answers[0] == (200 if status == 503 else 453)


async def test_private_channel_asks_for_its_key() -> None:
    async with running(ChannelOptions(key="secret", view_key="look")) as site:
        publisher, player, other = [await site.client() for _ in range(3)]
        await publisher.publish()
        assert (await player.ask("DESCRIBE"))[0] == 401
        assert (await player.ask("DESCRIBE", player.base + "?key=look"))[0] == 200
        # Players leave the query out of the addresses of tracks: who was let in stays so.
        setup = {"Transport": "RTP/AVP/TCP;unicast;interleaved=0-1"}
        assert (await other.ask("SETUP", other.base + "/trackID=0", **setup))[0] == 401
        assert (await player.ask("SETUP", player.base + "/trackID=0", **setup))[0] == 200


async def test_addresses_outside_the_list_are_forbidden() -> None:
    async with running(ChannelOptions(key="secret", view_from=("10.0.0.0/8",))) as site:
        publisher, player = await site.client(), await site.client()
        await publisher.publish()
        assert (await player.ask("DESCRIBE"))[0] == 403


async def test_pause_and_play_again(site: Site) -> None:
    publisher, player = await site.client(), await site.client()
    await publisher.publish()
    publisher.send(0, rtp(1, IDR))
    await site.until(lambda: site.channel.state is State.ON_AIR)
    assert await player.play() == 200
    await player.packets(1)
    assert (await player.ask("PAUSE"))[0] == 200
    assert (await player.ask("PLAY"))[0] == 200
    ((_, packet),) = await player.packets(1)
    assert packet[12:] == IDR


async def test_kicked_reader_is_told(site: Site) -> None:
    publisher, player = await site.client(), await site.client()
    await publisher.publish()
    await player.play()
    (reader,) = site.channel.audience.readers.values()
    site.channel.audience.get(reader.id).kick()
    assert b"TEARDOWN" in await player.ended()
    await site.until(lambda: len(site.server.connections) == 1)


async def test_changed_format_ends_rtsp_readers(site: Site) -> None:
    publisher, player = await site.client(), await site.client()
    await publisher.publish()
    publisher.send(0, rtp(1, IDR))
    await site.until(lambda: site.channel.state is State.ON_AIR)
    await player.play()
    publisher.writer.close()
    await site.until(lambda: site.channel.state is State.WAITING)
    again = await site.client()
    assert await again.publish(tracks=1) == 200
    again.send(0, rtp(9, IDR))
    assert b"TEARDOWN" in await player.ended()


async def test_silent_connections_are_closed(site: Site) -> None:
    client = await site.client()
    await site.until(lambda: len(site.server.connections) == 1)
    (connection,) = site.server.connections
    site.plane.advance(31)
    connection._on_timer()
    assert await client.ended() == b""
    assert not site.server.connections


async def test_delivering_publisher_and_reading_player_stay(site: Site) -> None:
    publisher, player = await site.client(), await site.client()
    await publisher.publish()
    await player.play()
    for number in range(4):
        site.plane.advance(40)
        publisher.send(0, rtp(number, IDR))
        await player.packets(1)
        for connection in list(site.server.connections):
            connection._on_timer()
    assert len(site.server.connections) == 2


async def test_connections_above_the_limit_are_turned_away() -> None:
    async with running(max_connections=1) as site:
        await (await site.client()).ask("OPTIONS")
        assert await (await site.client()).ended() == b""
        assert site.server.refused_connections == 1


@pytest.mark.parametrize("junk", [b"GET / HTTP/1.1\r\n\r\n", b"\0" * 5000, b"X" * 200_000])
async def test_what_is_no_rtsp_is_closed(site: Site, junk: bytes) -> None:
    client = await site.client()
    client.writer.write(junk)
    await client.ended()
    await site.until(lambda: not site.server.connections)


async def test_bytes_behind_play_go_along_to_the_plane(site: Site) -> None:
    publisher, player = await site.client(), await site.client()
    await publisher.publish()
    publisher.send(0, rtp(1, IDR))
    await site.until(lambda: site.channel.state is State.ON_AIR)
    lanes = "RTP/AVP/TCP;unicast;interleaved=0-1"
    await player.ask("SETUP", f"{player.base}/trackID=0", Transport=lanes)
    common = f"{player.base} RTSP/1.0\r\nSession: {player.session}\r\n"
    player.writer.write(
        f"PLAY {common}CSeq: 9\r\n\r\n"
        f"OPTIONS {common}CSeq: 10\r\n\r\n"
        f"GET_PARAMETER {common}CSe".encode()
    )
    assert (await player.answer())[1]["cseq"] == "9"
    assert (await player.answer())[1]["cseq"] == "10"
    player.writer.write(b"q: 11\r\n\r\n")
    assert (await player.answer())[1]["cseq"] == "11"
    assert len(await player.packets(1)) == 1


async def test_stop_tells_everybody() -> None:
    async with running() as site:
        publisher, player = await site.client(), await site.client()
        await publisher.publish()
        await player.play()
        await site.server.stop()
        assert b"TEARDOWN" in await player.ended()
        assert b"TEARDOWN" in await publisher.ended()


async def test_port_in_use_is_said(site: Site) -> None:
    other = RtspServer(
        site.channels,
        site.loop,
        RtspOptions(address="127.0.0.1", port=site.server.port, rtp_port=0),
    )
    with pytest.raises(ResourceError, match=str(site.server.port)):
        await other.start()


async def test_udp_reader_that_reports_outlives_its_connection(site: Site) -> None:
    publisher, player = await site.client(), await site.client()
    await publisher.publish()
    receiver, _, port = await udp()
    reports, _, report_port = await udp()
    transport = f"RTP/AVP;unicast;client_port={port}-{report_port}"
    assert await player.play(transport) == 200
    (reader,) = site.channel.audience.readers.values()
    reports.sendto(b"\x80\xc9\0\1" + bytes(4), ("127.0.0.1", site.server.rtp_ports[1]))
    await site.until(lambda: reader.stats().last_rtcp_age_ms >= 0)
    (connection,) = [c for c in site.server.connections if c.live._reader is reader]
    player.writer.close()
    await site.until(lambda: connection._transport is None)
    assert site.channel.audience.readers
    site.plane.advance(61)
    connection._on_timer()
    assert not site.channel.audience.readers
    assert connection not in site.server.connections
    receiver.close()
    reports.close()


async def test_udp_reader_that_never_reports_goes_with_its_connection(site: Site) -> None:
    publisher, player = await site.client(), await site.client()
    await publisher.publish()
    assert await player.play("RTP/AVP;unicast;client_port=5000-5001") == 200
    player.writer.close()
    await site.until(lambda: not site.channel.audience.readers)


async def test_publisher_by_udp_without_its_connection_gives_way(site: Site) -> None:
    first, second = await site.client(), await site.client()
    sender, _, port = await udp()
    await first.ask("ANNOUNCE", f"{first.base}?key=secret", SDP)
    lanes = f"RTP/AVP;unicast;client_port={port}-{port + 1};mode=record"
    await first.ask("SETUP", f"{first.base}/streamid=0", Transport=lanes)
    await first.ask("RECORD")
    sender.sendto(rtp(1, IDR), ("127.0.0.1", site.server.rtp_ports[0]))
    await site.until(lambda: site.channel.state is State.ON_AIR)
    (publishing,) = site.channel.publishings.values()
    first.writer.close()
    await site.until(lambda: publishing.orphan)
    assert site.channel.state is State.ON_AIR
    assert await second.publish() == 200
    assert publishing.closed
    sender.close()


@pytest.mark.parametrize("transport", ["RTP/AVP/TCP;unicast;interleaved=0-1", UDP])
async def test_what_programs_call_themselves_is_known(site: Site, transport: str) -> None:
    publisher, player = await site.client(), await site.client()
    await publisher.ask("OPTIONS", User_Agent="Lavf59.27.100")
    await publisher.publish()
    await player.ask("OPTIONS", User_Agent="GStreamer/1.22\x1b[2J" + "x" * 300)
    assert await player.play(transport) == 200
    (publishing,) = site.channel.publishings.values()
    assert publishing.describe()["agent"] == "Lavf59.27.100"
    (reader,) = site.channel.audience.readers.values()
    agent = reader.describe()["agent"]
    assert agent.startswith("GStreamer/1.22[2Jxx")
    assert len(agent) == 120


async def test_requests_cut_by_the_hand_over_are_answered(site: Site) -> None:
    publisher, player = await site.client(), await site.client()
    await publisher.publish()
    for request in ("DESCRIBE", "SETUP"):
        url = player.base + ("/trackID=0" if request == "SETUP" else "")
        assert (await player.ask(request, url, Transport="RTP/AVP/TCP;interleaved=0-1"))[0] == 200
    line = f"{player.base} RTSP/1.0\r\nSession: {player.session}\r\n"
    player.writer.write(f"PLAY {line}CSeq: 8\r\n\r\nGET_PARAMETER {line}CS".encode())
    assert (await player.answer())[1]["cseq"] == "8"
    player.writer.write(b"eq: 9\r\n\r\n")
    status, headers, _ = await player.answer()
    assert (status, headers["cseq"]) == (200, "9")


@pytest.mark.parametrize("method", ["digest", "basic"])
async def test_only_the_method_that_is_set_is_offered_and_taken(method: str) -> None:
    channel = ChannelOptions(key="secret")
    async with running(channel, auth_methods=(method,)) as site:
        client = await site.client()
        status, headers, _ = await client.ask("ANNOUNCE", body=SDP)
        assert status == 401
        assert headers["www-authenticate"].lower().startswith(method)
        basic = "Basic eDpzZWNyZXQ="  # x:secret
        answer = await client.ask("ANNOUNCE", body=SDP, Authorization=basic)
        assert answer[0] == (200 if method == "basic" else 401)


async def test_a_captured_request_is_no_good_to_others() -> None:
    async with running(ChannelOptions(key="secret", view_key="look")) as site:
        publisher, player, thief = [await site.client() for _ in range(3)]
        await publisher.publish()
        answerer = Answerer("me", "look", cnonce="0123456789")
        answerer.take(site.server.authenticator.challenges(site.server.clock())[:1])
        lanes = "RTP/AVP/TCP;unicast;interleaved={}-{}"
        captured = []
        for track in (0, 1):
            url = f"{player.base}/trackID={track}"
            shown = answerer.authorization("SETUP", url)
            assert shown is not None
            fields = {"Transport": lanes.format(2 * track, 2 * track + 1), "Authorization": shown}
            captured.append((url, fields))
            assert (await player.ask("SETUP", url, **fields))[0] == 200
        # Nobody asked who sets up the second track; its credentials are used up all the same.
        for url, fields in captured:
            assert (await thief.ask("SETUP", url, **fields))[0] == 401


async def test_token_for_one_session_is_used_up_by_it() -> None:
    async with running() as site, invited(site) as catalogue:
        publisher, player, second = [await site.client() for _ in range(3)]
        await publisher.publish()
        text, _ = await catalogue.permits.issue("demo", "guest", 60, single=True)
        url = f"{player.base}?token={text}"
        assert (await player.ask("DESCRIBE"))[0] == 404
        assert (await player.ask("DESCRIBE", url))[0] == 200
        # Players leave the query out of the addresses of tracks.
        setup = {"Transport": "RTP/AVP/TCP;unicast;interleaved=0-1"}
        assert (await player.ask("SETUP", player.base + "/trackID=0", **setup))[0] == 200
        assert (await player.ask("PLAY"))[0] == 200
        assert (await second.ask("DESCRIBE", url))[0] == 404
        assert (await second.ask("SETUP", second.base + "/trackID=0", **setup))[0] == 404


async def test_requests_behind_one_that_waits_are_answered_in_order() -> None:
    async with running() as site, invited(site) as catalogue:
        publisher, player = [await site.client() for _ in range(2)]
        await publisher.publish()
        text, _ = await catalogue.permits.issue("demo", "guest", 60, single=True)
        url = f"{player.base}?token={text}"
        player.writer.write(
            f"DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\n\r\n"
            f"OPTIONS {player.base} RTSP/1.0\r\nCSeq: 2\r\n\r\n"
            f"SETUP {player.base}/trackID=0 RTSP/1.0\r\nCSeq: 3\r\n"
            "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n\r\n".encode()
        )
        answers = [await player.answer() for _ in range(3)]
        assert [(status, headers["cseq"]) for status, headers, _ in answers] == [
            (200, "1"),
            (200, "2"),
            (200, "3"),
        ]


async def test_client_that_goes_while_it_waits_leaves_nothing_behind() -> None:
    async with running() as site, invited(site) as catalogue:
        publisher, player = [await site.client() for _ in range(2)]
        await publisher.publish()
        text, _ = await catalogue.permits.issue("demo", "guest", 60, single=True)
        url = f"{player.base}?token={text}"
        player.writer.write(f"DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\n\r\n".encode())
        await site.until(lambda: len(site.server.connections) == 2)
        player.writer.close()
        await site.until(lambda: len(site.server.connections) == 1)


async def test_encoder_is_asked_for_a_key_and_told_nothing_of_private_channels() -> None:
    async with running() as site, invited(site):
        client = await site.client()
        for url in (client.base, client.base + "x"):
            status, headers, _ = await client.ask("ANNOUNCE", url, SDP)
            assert status == 401
            assert headers["www-authenticate"].lower().startswith("basic")
            wrong = "Basic eDp3cm9uZw=="  # x:wrong
            assert (await client.ask("ANNOUNCE", url, SDP, Authorization=wrong))[0] == 404
        right = "Basic eDpzZWNyZXQ="  # x:secret
        assert (await client.ask("ANNOUNCE", client.base, SDP, Authorization=right))[0] == 200


async def test_guesses_are_slowed() -> None:
    async with running() as site:
        client = await site.client()
        codes = [
            (await client.ask("ANNOUNCE", f"{client.base}?key=x{n}", SDP))[0] for n in range(12)
        ]
        assert codes == [401] * 11 + [503]
        status, headers, _ = await client.ask("ANNOUNCE", f"{client.base}?key=secret", SDP)
        assert (status, int(headers["retry-after"]) >= 1) == (503, True)


@contextlib.asynccontextmanager
async def invited(site: Site) -> AsyncIterator[Catalogue]:
    """Make the channel private, with a catalogue behind it."""
    catalogue = await Catalogue.open("sqlite://")
    await catalogue.channels.create("demo", private=True, configured=True)
    gate = Gate("boss", catalogue=catalogue)
    site.server.gate = gate
    await Roster(site.channels, catalogue, gate).open()
    yield catalogue
    await catalogue.close()
