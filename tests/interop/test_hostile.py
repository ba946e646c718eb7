"""What the world sends at open ports, while a viewer counts pictures and the server its memory."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .peers import ffmpeg
from .peers.clip import Clip, make
from .peers.heliograph import KEY, Server
from .peers.program import Program, wait_until
from .peers.rtsp import Talk
from .peers.watching import Viewer

pytestmark = [pytest.mark.interop, pytest.mark.alone]

Keep = Callable[[Program], Program]

#: Growth of the server's memory that an attack may cause: buffers of 1 000 connections, and what
#: Python's allocator keeps of them.
MAX_GROWTH = 48 << 20
SILENT = 1000


class Scene:
    """A channel with a viewer by UDP and one by TCP; whatever attacks it, neither misses a picture.

    The memory is bounded for all attacks together: a second one finds what the first has freed.
    """

    def __init__(self, clip: Clip, directory: Path) -> None:
        self._programs: list[Program] = []
        try:
            settings = {"rtsp": {"idle_timeout_s": 4}, "http": {"head_timeout_s": 3}}
            self.server = Server(directory, [{"name": "clip", "key": KEY}], settings=settings)
            self._programs.append(self.server)
            self.server.until_ready()
            source = self.server.rtsp("clip", key=KEY)
            self._programs.append(ffmpeg.publish(clip.opus, source, "udp", directory))
            self.server.until_state("clip", "on_air")
            self.viewers = [
                ffmpeg.watch(clip, self.server.rtsp("clip"), way, directory)
                for way in ("udp", "tcp")
            ]
            self._programs += self.viewers
            for viewer in self.viewers:
                viewer.wait_pictures(2 * make.RATE, 20)
        except BaseException:
            self.close()
            raise
        self._before = self.server.memory()

    def judge(self, marks: list[tuple[int, int]]) -> None:
        """Whether all is well, from the viewers' marks of pictures and of sound on."""
        # What came in last must have had time to do its harm.
        ends = [viewer.record.mark() for viewer in self.viewers]
        for viewer, end in zip(self.viewers, ends, strict=True):
            viewer.wait_pictures(2 * make.RATE, 20, since=end)
        grown, mib = self.server.memory() - self._before, 1 << 20
        print(f"the server grew by {grown / mib:.1f} MiB from {self._before / mib:.1f} MiB")
        for viewer, (picture, sound) in zip(self.viewers, marks, strict=True):
            assert viewer.judge(viewer.record.pictures - picture, picture, sound) == []
        assert self.server.running
        assert "Traceback" not in self.server.log
        assert grown < MAX_GROWTH

    def close(self) -> None:
        for program in reversed(self._programs):
            program.stop()


@pytest.fixture(scope="module")
def scenes() -> Iterator[list[Scene]]:
    """The scene that the tests share, as long as no attack has done it harm."""
    kept: list[Scene] = []
    yield kept
    for scene in kept:
        scene.close()


@pytest.fixture
def scene(
    scenes: list[Scene], clip: Clip, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    if not scenes:
        scenes.append(Scene(clip, tmp_path_factory.mktemp("hostile")))
    marks = [(one.record.mark(), one.record.mark_sound()) for one in scenes[0].viewers]
    yield scenes[0]
    try:
        scenes[0].judge(marks)
    except BaseException:
        scenes.pop().close()
        raise


@pytest.fixture
def watched(scene: Scene) -> tuple[Server, Viewer]:
    """The server, and the viewer by UDP."""
    return scene.server, scene.viewers[0]


def _connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 5)


def _is_closed(connection: socket.socket) -> bool:
    """Whether the other end has closed; what it said before is dropped."""
    connection.setblocking(False)
    try:
        while connection.recv(65536):
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _all_closed(connections: list[socket.socket]) -> bool:
    return all(_is_closed(connection) for connection in connections)


def _until_closed(connections: list[socket.socket], seconds: float, what: str) -> None:
    started = time.monotonic()
    try:
        wait_until(lambda: _all_closed(connections), seconds, f"{what} are closed")
        print(f"{what} were closed within {time.monotonic() - started:.1f} s")
    finally:
        for connection in connections:
            connection.close()


@pytest.mark.parametrize("port", ["rtsp_port", "http_port"])
def test_a_thousand_connections_that_say_nothing(port: str, watched: tuple[Server, Viewer]) -> None:
    server, _ = watched
    silent = [_connect(getattr(server, port)) for _ in range(SILENT)]
    # Others are served all the same.
    assert server.get("/readyz")[0] == 200
    with Talk(server.rtsp_port) as talk:
        assert talk.ask("OPTIONS", server.rtsp("clip"))[0] == 200
    _until_closed(silent, 15, f"{SILENT} silent connections")


@pytest.mark.parametrize("port", ["rtsp_port", "http_port"])
def test_garbage_on_connections(port: str, watched: tuple[Server, Viewer]) -> None:
    server, _ = watched
    dice = random.Random(1)
    connections = []
    for _ in range(200):
        connection = _connect(getattr(server, port))
        with contextlib.suppress(OSError):
            connection.sendall(dice.randbytes(dice.randrange(1, 20_000)))
        connections.append(connection)
    for start in (
        b"$\x00\xff\xff",
        b"DESCRIBE ",
        b"GET / HTTP/1.1\r\nHost: \x00\r\n",
        b"\r\n" * 4096,
    ):
        connection = _connect(getattr(server, port))
        with contextlib.suppress(OSError):
            connection.sendall(start + dice.randbytes(4000))
        connections.append(connection)
    _until_closed(connections, 15, "connections with garbage")


@pytest.mark.parametrize("port", ["rtsp_port", "http_port"])
def test_heads_that_come_a_byte_at_a_time(port: str, watched: tuple[Server, Viewer]) -> None:
    server, _ = watched
    head = (
        (
            b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n"
            if port == "rtsp_port"
            else b"GET / HTTP/1.1\r\nHost: localhost\r\n"
        )
        + b"X-Slow: "
        + b"a" * 1000
    )
    slow = [_connect(getattr(server, port)) for _ in range(50)]
    sent = 0

    def drip() -> bool:
        nonlocal sent
        for connection in slow:
            with contextlib.suppress(OSError):
                connection.send(head[sent : sent + 1])
        sent += 1
        return _all_closed(slow)

    try:
        wait_until(drip, 15, "slow connections are closed")
    finally:
        for connection in slow:
            connection.close()


@pytest.mark.parametrize("port", ["rtsp_port", "http_port"])
def test_heads_that_are_too_large(port: str, watched: tuple[Server, Viewer]) -> None:
    server, _ = watched
    first = (
        b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n"
        if port == "rtsp_port"
        else b"GET / HTTP/1.1\r\nHost: localhost\r\n"
    )
    connections = []
    for line in (b"X-Large: " + b"a" * (4 << 20), b"X: y\r\n" * (1 << 19)):
        connection = _connect(getattr(server, port))
        with contextlib.suppress(OSError):
            connection.sendall(first + line)
        connections.append(connection)
    connection = _connect(getattr(server, port))
    with contextlib.suppress(OSError):
        connection.sendall(
            first.replace(b"\r\n", b"\r\nContent-Length: 99999999999\r\n", 1) + b"\r\n"
        )
        connection.sendall(b"x" * (8 << 20))
    connections.append(connection)
    _until_closed(connections, 15, "connections with large heads")


def test_packets_from_foreign_addresses(watched: tuple[Server, Viewer]) -> None:
    server, viewer = watched
    dice = random.Random(2)
    counted = server.channel("clip")["bitrate"]
    packets = 0
    with contextlib.ExitStack() as stack:
        sockets = []
        for host in ("127.0.0.1", "127.0.0.2", "127.1.2.3"):
            sender = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sender.bind((host, 0))
            sockets.append(sender)
        since = viewer.record.mark()
        while viewer.record.pictures - since < 2 * make.RATE:
            for sender in sockets:
                for port in (server.rtp_port, server.rtp_port + 1):
                    payload = dice.randbytes(dice.randrange(0, 1400))
                    sequence, stamp = dice.randrange(1 << 16), dice.randrange(1 << 32)
                    kind = dice.choice((96, 97, 200, 201, 203))
                    head = bytes((0x80, kind)) + sequence.to_bytes(2, "big")
                    # RTP with plausible and with random heads, RTCP, BYE and nothing at all.
                    whole = head + stamp.to_bytes(4, "big") + dice.randbytes(4) + payload
                    sender.sendto(dice.choice((whole, payload, b"")), ("127.0.0.1", port))
                    packets += 1
            time.sleep(0.001)
    print(f"{packets} packets; bit rate {counted} → {server.channel('clip')['bitrate']}")
    # They are not taken for the publisher's: about 1.3 Mbit/s come from it.
    assert server.channel("clip")["bitrate"] < 2 * counted


@pytest.mark.parametrize("taken", ["rtsp_port", "http_port", "rtp_port"])
def test_a_port_in_use_is_told_at_the_start(
    taken: str, scene: Scene, run: Keep, tmp_path: Path
) -> None:
    first = scene.server
    section, key = {"rtsp_port": ("rtsp", "port"), "http_port": ("http", "port")}.get(
        taken, ("rtsp", "rtp_port")
    )
    port = getattr(first, taken)
    second = Server(tmp_path, [{"name": "clip"}], settings={section: {key: port}}, name="second")
    run(second)
    assert second.wait(20) not in (0, None)
    print(second.process.returncode, second.log)
    assert str(port) in second.log
    assert "in use" in second.log
    assert "Traceback" not in second.log
    assert first.get("/readyz")[0] == 200


def test_a_full_disk_costs_lines_of_the_log_and_nothing_else(
    clip: Clip, serve: Callable[..., Server], run: Keep, tmp_path: Path
) -> None:
    server = serve(settings={"server": {"log_file": "/dev/full"}})
    run(ffmpeg.publish(clip.opus, server.rtsp("clip", key=KEY), "udp", tmp_path))
    server.until_state("clip", "on_air")
    viewer = ffmpeg.watch(clip, server.rtsp("clip"), "tcp", tmp_path)
    run(viewer)
    viewer.wait_pictures(2 * make.RATE, 20)
    viewer.stop()
    assert viewer.judge(2 * make.RATE) == []
    metrics = server.get("/metrics")[1].splitlines()
    lost = [line for line in metrics if line.startswith("helio_log_lines_lost_total ")]
    assert len(lost) == 1
    assert float(lost[0].split()[-1]) > 0
    assert "publisher joined" in server.log  # the other place where they go has them
    assert server.stop() == 0
    assert "Traceback" not in server.log
