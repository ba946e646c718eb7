"""What any packet plane does on sockets: RTSP interleaved, WebSocket, UDP on loopback."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest

from heliograph.plane import ConnectionClosed, ControlReceived, ReaderClosed, SourceActive

from .conftest import Harness
from .rtp import IDR, VIDEO, Camera, sequence_of


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(0.01)
    yield ours, theirs
    ours.close()
    theirs.close()


class Receiver:
    """Collects what the far end of a connection gets."""

    def __init__(self, harness: Harness, sock: socket.socket) -> None:
        self.harness, self.sock, self.data, self.ended = harness, sock, b"", False

    def _more(self) -> None:
        try:
            data = self.sock.recv(65536)
        except (TimeoutError, BlockingIOError):
            return
        except ConnectionError:
            data = b""
        self.ended = self.ended or not data
        self.data += data

    def exactly(self, count: int) -> bytes:
        def enough() -> bool:
            if len(self.data) < count:
                self._more()
            return len(self.data) >= count

        self.harness.until(enough)
        taken, self.data = self.data[:count], self.data[count:]
        return taken

    def end(self) -> None:
        def ended() -> bool:
            self._more()
            return self.ended

        self.harness.until(ended)

    def interleaved(self) -> tuple[int, bytes]:
        head = self.exactly(4)
        assert head[:1] == b"$", head
        return head[1], self.exactly(int.from_bytes(head[2:]))

    def frame(self) -> tuple[int, bytes]:
        first, size = self.exactly(2)
        if size > 125:
            size = int.from_bytes(self.exactly(2 if size == 126 else 8))
        return first & 15, self.exactly(size)


def masked(opcode: int, payload: bytes) -> bytes:
    mask = b"\x01\x02\x03\x04"
    body = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + mask + body


Pair = tuple[socket.socket, socket.socket]


def test_messages_and_packets_are_told_apart(harness: Harness, pair: Pair) -> None:
    plane = harness.plane
    message = b"SET_PARAMETER * RTSP/1.0\r\nCSeq: 4\r\nContent-Length: 5\r\n\r\nhello"
    conn = plane.adopt(pair[0].fileno(), "rtsp", message[:10])
    pair[0].close()
    channel = plane.open_channel()
    source = plane.add_source(channel, 0, [VIDEO])
    plane.conn_publish(conn, plane.add_input(source), [(0, 2, 3)])
    packets = [b"$\x02" + len(p).to_bytes(2) + p for p in Camera().gop(3)]
    stream = message[10:] + b"".join(packets) + message + packets[0]
    for start in range(0, len(stream), 7):
        pair[1].sendall(stream[start : start + 7])
    assert harness.event(ControlReceived, conn=conn).data == message
    assert harness.event(ControlReceived, conn=conn).data == message
    harness.until(lambda: plane.channel_stats(channel)["packets"] >= 3)


def test_interleaved_reader_gets_its_packets_after_the_answer(harness: Harness, pair: Pair) -> None:
    plane = harness.plane
    channel = plane.open_channel()
    input = plane.add_input(plane.add_source(channel, 0, [VIDEO]))
    plane.push(input, 0, Camera().gop(4))
    harness.event(SourceActive)
    conn = plane.adopt(pair[0].fileno(), "rtsp")
    pair[0].close()
    reader = plane.add_conn_reader(channel, conn, [(0, 6, 7)])
    ((_, sequence, _),) = plane.position_reader(reader)
    answer = b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n"
    plane.conn_send(conn, answer)
    plane.start_reader(reader)
    receiver = Receiver(harness, pair[1])
    assert receiver.exactly(len(answer)) == answer
    got: list[bytes] = []
    while len(got) < 4:
        lane, data = receiver.interleaved()
        if lane == 6:
            got.append(data)
    assert sequence_of(got[0]) == sequence
    plane.pause_reader(reader)
    plane.conn_close(conn)
    harness.event(ReaderClosed, reader=reader)
    harness.event(ConnectionClosed, conn=conn)
    receiver.end()


def test_end_of_the_peer_closes_reader_and_connection(harness: Harness, pair: Pair) -> None:
    plane = harness.plane
    channel = plane.open_channel()
    conn = plane.adopt(pair[0].fileno(), "rtsp")
    pair[0].close()
    reader = plane.add_conn_reader(channel, conn, [(0, 0, 1)])
    plane.start_reader(reader)
    pair[1].close()
    assert harness.event(ConnectionClosed, conn=conn).reason in ("eof", "reset")
    harness.event(ReaderClosed, reader=reader)
    with pytest.raises(KeyError):
        plane.reader_stats(reader)


def test_oversized_message_ends_the_connection(harness: Harness, pair: Pair) -> None:
    conn = harness.plane.adopt(pair[0].fileno(), "rtsp", max_message=1000)
    pair[0].close()
    pair[1].sendall(b"OPTIONS * RTSP/1.0\r\n" + b"x" * 3000)
    assert harness.event(ConnectionClosed, conn=conn).reason in ("overflow", "malformed")


def test_websocket_carries_text_and_framed_access_units(harness: Harness, pair: Pair) -> None:
    plane = harness.plane
    channel = plane.open_channel()
    input = plane.add_input(plane.add_source(channel, 0, [VIDEO]))
    conn = plane.adopt(pair[0].fileno(), "websocket")
    pair[0].close()
    receiver = Receiver(harness, pair[1])
    plane.conn_send(conn, b'{"type":"start"}')
    assert receiver.frame() == (1, b'{"type":"start"}')
    pair[1].sendall(masked(1, b'{"type":"ping"}') + masked(9, b"?"))
    assert harness.event(ControlReceived, conn=conn).data == b'{"type":"ping"}'
    assert receiver.frame() == (10, b"?")
    plane.push(input, 0, Camera().gop(2))
    harness.event(SourceActive)
    reader = plane.add_conn_reader(channel, conn, [(0, 0, 0)])
    plane.start_reader(reader)
    opcode, data = receiver.frame()
    assert opcode == 2
    version, track, flags, zero, epoch, _, presented, arrival = struct.unpack_from(
        "!BBBBIQqq", data
    )
    assert (version, track, flags & 1, zero) == (1, 0, 1, 0)
    assert epoch == plane.channel_stats(channel)["epoch"]
    assert abs(presented - arrival) < 10_000_000
    assert data[32:].endswith(IDR)
    pair[1].sendall(masked(8, b"\x03\xe8"))
    harness.event(ConnectionClosed, conn=conn)


def test_unmasked_frame_from_a_client_is_refused(harness: Harness, pair: Pair) -> None:
    conn = harness.plane.adopt(pair[0].fileno(), "websocket")
    pair[0].close()
    pair[1].sendall(b"\x81\x02hi")
    assert harness.event(ConnectionClosed, conn=conn).reason == "malformed"


def test_udp_in_and_out(harness: Harness) -> None:
    plane = harness.plane
    endpoint, rtp_port, rtcp_port = plane.bind_udp("127.0.0.1", 0)
    assert rtp_port % 2 == 0
    assert rtcp_port == rtp_port + 1
    channel = plane.open_channel()
    input = plane.add_input(plane.add_source(channel, 0, [(*VIDEO[:4], 100, *VIDEO[5:])]))
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as publisher,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as player,
    ):
        for sock in (publisher, player):
            sock.bind(("127.0.0.1", 0))
            sock.settimeout(0.01)
        plane.attach_udp(
            input,
            0,
            endpoint,
            payload_type=100,
            remote="127.0.0.1",
            rtp_port=publisher.getsockname()[1],
        )
        port = player.getsockname()[1]
        reader = plane.add_udp_reader(channel, endpoint, [(0, "127.0.0.1", port, port)])
        plane.start_reader(reader)
        for packet in Camera(payload_type=100).gop(5):
            publisher.sendto(packet, ("127.0.0.1", rtp_port))
        got: list[bytes] = []

        def receive() -> bool:
            try:
                data = player.recv(2048)
            except TimeoutError:
                return False
            if not 192 <= data[1] < 224:
                got.append(data)
            return len(got) >= 5

        harness.until(receive)
        assert [packet[1] & 0x7F for packet in got] == [100] * 5
        harness.until(lambda: plane.reader_stats(reader)["packets"] >= 5)


def test_packets_from_an_address_that_is_not_the_source_are_counted(harness: Harness) -> None:
    plane = harness.plane
    endpoint, rtp_port, _ = plane.bind_udp("127.0.0.1", 0)
    channel = plane.open_channel()
    input = plane.add_input(plane.add_source(channel, 0, [VIDEO]))
    plane.attach_udp(input, 0, endpoint, payload_type=96, remote="127.0.0.2")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.1", 0))
        for packet in Camera().gop(3):
            stranger.sendto(packet, ("127.0.0.1", rtp_port))
        harness.until(lambda: plane.totals()["foreign_packets"] >= 3)
    assert plane.channel_stats(channel)["packets"] == 0


def test_port_in_use_is_an_os_error(harness: Harness) -> None:
    _, rtp_port, _ = harness.plane.bind_udp("127.0.0.1", 0)
    with pytest.raises(OSError, match=r"."):
        harness.plane.bind_udp("127.0.0.1", rtp_port)
