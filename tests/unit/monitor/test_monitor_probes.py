"""Probes against real sockets on this machine."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from heliograph.catalogue.contents.values import Probe, ProbeKind
from heliograph.dispatcher.monitor.health import Outcome
from heliograph.dispatcher.monitor.icmp import Icmp
from heliograph.dispatcher.monitor.probes import ProbeOptions, Prober, place_of
from heliograph.dispatcher.monitor.resolver import Resolver
from heliograph.model.errors import MalformedError
from heliograph.node.certificates import Names, make

HERE = "127.0.0.1"
#: Seconds that an answer of this machine may take, however busy it is.
LONG = 20.0
#: Seconds for whoever never answers.
SHORT = 0.1

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Peer:
    """A server that says what it is told to."""

    def __init__(self) -> None:
        self.port = 0
        self.asked = b""
        self.ended = asyncio.Event()
        """When the other side has closed, or reset, the connection."""


@asynccontextmanager
async def peer(
    *answers: bytes, close: bool = True, pause: float = 0.0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Peer]:
    """``answers`` are sent one after the other, with a pause between them."""
    made = Peer()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if answers:
                made.asked = await reader.readuntil(b"\r\n\r\n")
            for number, answer in enumerate(answers):
                if number:
                    await asyncio.sleep(pause)
                writer.write(answer)
                await writer.drain()
            if not (close and answers):
                await reader.read()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            made.ended.set()

    server = await asyncio.start_server(talk, HERE, 0, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        await server.wait_closed()


async def measure(
    kind: ProbeKind, port: int, path: str = "", timeout: float = LONG, **more: object
) -> Outcome:
    prober = more.pop("prober", None) or Prober(ProbeOptions(**more))  # type: ignore[arg-type]
    assert isinstance(prober, Prober)
    return await prober.probe(HERE, Probe(kind, 10.0, port, path), timeout)


def http(status: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def closed_port() -> int:
    with socket.socket() as sock:
        sock.bind((HERE, 0))
        return int(sock.getsockname()[1])


@asynccontextmanager
async def silent() -> AsyncIterator[int]:
    """A port where connections are made by the kernel and nobody ever speaks: a frozen process."""
    with socket.socket() as sock:
        sock.bind((HERE, 0))
        sock.listen()
        yield sock.getsockname()[1]


@contextmanager
def deaf(address: str, port: int) -> Iterator[None]:
    """A place where no connection is ever made: its queue is full."""
    with ExitStack() as stack:
        sock = stack.enter_context(socket.socket())
        sock.bind((address, port))
        sock.listen(0)
        for _ in range(3):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex((address, port))
        yield


# --- TCP


async def test_tcp_measures_the_connection_and_leaves_nothing() -> None:
    async with peer() as server:
        outcome = await measure(ProbeKind.TCP, server.port)
        assert outcome.ms is not None
        assert 0 < outcome.ms < LONG * 1000
        await asyncio.wait_for(server.ended.wait(), LONG)


@pytest.mark.parametrize("kind", [ProbeKind.TCP, ProbeKind.RTSP, ProbeKind.HTTP])
async def test_closed_port_is_a_refusal(kind: ProbeKind) -> None:
    outcome = await measure(kind, closed_port())
    assert outcome == Outcome(None, reason="Connection refused")


async def test_name_that_leads_nowhere_is_silence() -> None:
    def look_up(name: str) -> list[str]:
        raise OSError

    prober = Prober(resolver=Resolver(look_up))
    outcome = await prober.probe("nowhere", Probe(ProbeKind.TCP), LONG)
    assert outcome == Outcome(None, reason="the name is not known", silent=True)


async def test_every_address_of_a_name_is_tried() -> None:
    async with peer() as server:
        prober = Prober(resolver=Resolver(lambda name: ["::1", HERE]))
        outcome = await prober.probe("film", Probe(ProbeKind.TCP, 1.0, server.port), LONG)
        assert outcome.ms is not None


async def test_address_that_says_nothing_is_tried_last_next_time() -> None:
    async with peer() as server:
        prober = Prober(resolver=Resolver(lambda name: ["127.0.0.2", HERE]))
        probe = Probe(ProbeKind.TCP, 1.0, server.port)
        with deaf("127.0.0.2", server.port):
            assert (await prober.probe("film", probe, SHORT)).silent
            assert (await prober.probe("film", probe, LONG)).ms is not None


# --- HTTP


async def test_http_asks_for_a_range_of_the_media() -> None:
    async with peer(http("206 Partial Content", b"x" * 1000)) as server:
        outcome = await measure(ProbeKind.HTTP, server.port, "/film.mp4?a=1", range_bytes=1000)
        assert outcome.ms is not None
        assert outcome.bps is None  # too little to tell
    head = server.asked.decode().split("\r\n")
    assert head[0] == "GET /film.mp4?a=1 HTTP/1.1"
    assert f"Host: {HERE}:{server.port}" in head
    assert "Range: bytes=0-999" in head


async def test_throughput_is_that_of_the_body_after_its_first_bytes() -> None:
    parts = [http("200 OK", b"", "X: y").replace(b"Content-Length: 0", b"Content-Length: 60000")]
    parts += [b"a" * 20_000, b"b" * 20_000, b"c" * 20_000]
    async with peer(*parts, pause=0.05) as server:
        outcome = await measure(ProbeKind.HTTP, server.port, "/film", range_bytes=60_000)
    assert outcome.bps is not None
    # Two parts in at least 0.1 s; a busy machine takes longer.
    assert 40_000 * 8 / LONG < outcome.bps < 1.3 * 40_000 * 8 / 0.1


async def test_server_that_sends_everything_is_cut_short() -> None:
    endless = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n" + b"x" * 500_000
    async with peer(endless, close=False) as server:
        outcome = await measure(ProbeKind.HTTP, server.port, "/film", range_bytes=100_000)
        assert outcome.ms is not None
        await asyncio.wait_for(server.ended.wait(), LONG)


async def test_first_byte_counts_not_the_last() -> None:
    async with peer(http("200 OK", b"x" * 10)[:-5], b"x" * 5, pause=0.5) as server:
        began = asyncio.get_running_loop().time()
        outcome = await measure(ProbeKind.HTTP, server.port, "/film")
        took = asyncio.get_running_loop().time() - began
    assert outcome.ms is not None
    assert outcome.ms < took * 1000 - 400


@pytest.mark.parametrize(
    ("status", "path", "good"),
    [
        ("200 OK", "", True),
        ("404 Not Found", "", True),
        ("403 Forbidden", "", True),
        ("500 Internal Server Error", "", False),
        ("200 OK", "/film", True),
        ("302 Found", "/film", True),
        ("404 Not Found", "/film", False),
        ("503 Service Unavailable", "/film", False),
    ],
)
async def test_status_is_judged_by_what_was_asked(status: str, path: str, good: bool) -> None:
    async with peer(http(status)) as server:
        outcome = await measure(ProbeKind.HTTP, server.port, path)
    assert (outcome.ms is not None) is good
    assert outcome.reason == ("" if good else f"it answered {status[:3]}")
    assert not outcome.silent


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "it closed the connection without an answer"),
        (b"SSH-2.0-OpenSSH\r\n", "it does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 200_000, "the head of its answer is too long"),
    ],
)
async def test_what_is_no_answer_is_told(answer: bytes, reason: str) -> None:
    async with peer(answer) as server:
        outcome = await measure(ProbeKind.HTTP, server.port)
    assert outcome == Outcome(None, reason=reason)


@pytest.mark.parametrize("kind", [ProbeKind.RTSP, ProbeKind.HTTP])
async def test_frozen_process_is_silent(kind: ProbeKind) -> None:
    async with silent() as port:
        outcome = await measure(kind, port, timeout=SHORT)
    assert outcome == Outcome(None, reason="no answer in 100 ms", silent=True)


@pytest.mark.parametrize("kind", [ProbeKind.RTSP, ProbeKind.HTTP])
async def test_cancelled_probe_leaves_no_connection(kind: ProbeKind) -> None:
    async with peer(b"", close=False) as server:
        task = asyncio.create_task(measure(kind, server.port))
        async with asyncio.timeout(LONG):
            while not server.asked:  # noqa: ASYNC110
                await asyncio.sleep(0.002)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(server.ended.wait(), LONG)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    path = tmp_path / "server.pem"
    key = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(make(key, Names(("film.example",), (ip_address(HERE),)), datetime.now(UTC)))
    return path


async def test_https_by_a_url_with_and_without_verification(certificate: Path) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    async with peer(http("200 OK", b"x"), tls=tls) as server:
        path = "https://film.example/film.mp4"
        outcome = await measure(ProbeKind.HTTP, server.port, path, verify_tls=False)
        assert outcome.ms is not None
        assert f"Host: film.example:{server.port}\r\n".encode() in server.asked
        outcome = await measure(ProbeKind.HTTP, server.port, path)
        assert outcome.ms is None
        assert not outcome.silent
        assert outcome.reason.startswith("its certificate is refused: ")


@pytest.mark.parametrize(
    ("kind", "port", "path", "wanted"),
    [
        (ProbeKind.HTTP, 0, "", (False, 80, "h", "http://h:80/", "/")),
        (ProbeKind.HTTP, 8443, "a/b", (True, 8443, "h", "https://h:8443/a/b", "/a/b")),
        (
            ProbeKind.HTTP,
            0,
            "https://v.example/f?x=1",
            (True, 443, "v.example", "https://v.example/f?x=1", "/f?x=1"),
        ),
        (ProbeKind.RTSP, 0, "film", (False, 554, "h", "rtsp://h:554/film", "/film")),
        (
            ProbeKind.RTSP,
            8554,
            "rtsps://v/film",
            (True, 8554, "v", "rtsps://v/film", "/film"),
        ),
    ],
)
def test_ports_and_paths_are_read(kind: ProbeKind, port: int, path: str, wanted: tuple) -> None:
    place = place_of(Probe(kind, 1.0, port, path), "h")
    assert (place.tls, place.port, place.name, place.url, place.target) == wanted


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (ProbeKind.HTTP, "/a b"),
        (ProbeKind.HTTP, "/a\r\nX: y"),
        (ProbeKind.HTTP, "/ä"),
        (ProbeKind.HTTP, "rtsp://h/film"),
        (ProbeKind.HTTP, "http://"),
        (ProbeKind.HTTP, "http://h:99999/"),
        (ProbeKind.RTSP, "http://h/film"),
        (ProbeKind.HTTP, "/" + "a" * 3000),
    ],
)
async def test_paths_that_cannot_be_asked_for_are_told(kind: ProbeKind, path: str) -> None:
    with pytest.raises(MalformedError):
        place_of(Probe(kind, 1.0, 0, path), HERE)
    outcome = await measure(kind, closed_port(), path)
    assert outcome.reason.startswith("malformed probe")


# --- RTSP

SDP = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=film\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
    "a=rtpmap:96 H264/90000\r\na=control:track1\r\n"
)


def rtsp(status: str, body: str = "", *headers: str) -> bytes:
    lines = [f"RTSP/1.0 {status}", "CSeq: 1", f"Content-Length: {len(body)}", *headers]
    return ("\r\n".join([*lines, "", ""]) + body).encode()


async def test_options_without_a_path_and_describe_with_one() -> None:
    async with peer(rtsp("200 OK", "", "Public: DESCRIBE")) as server:
        assert (await measure(ProbeKind.RTSP, server.port)).ms is not None
        assert server.asked.startswith(b"OPTIONS rtsp://127.0.0.1:")
    async with peer(rtsp("200 OK", SDP, "Content-Type: application/sdp")) as server:
        assert (await measure(ProbeKind.RTSP, server.port, "film")).ms is not None
        assert server.asked.startswith(f"DESCRIBE rtsp://127.0.0.1:{server.port}/film ".encode())


@pytest.mark.parametrize(
    ("status", "path", "reason"),
    [
        ("404 Not Found", "film", "DESCRIBE: 404 Not Found"),
        ("503 Service Unavailable", "film", "DESCRIBE: 503 Service Unavailable"),
        ("401 Unauthorized", "film", None),
        ("501 Not Implemented", "", None),
    ],
)
async def test_answers_by_rtsp(status: str, path: str, reason: str | None) -> None:
    async with peer(rtsp(status), close=False) as server:
        outcome = await measure(ProbeKind.RTSP, server.port, path)
    assert (outcome.reason if outcome.ms is None else None) == reason


async def test_redirect_by_rtsp_is_an_answer() -> None:
    async with peer(rtsp("302 Found", "", "Location: rtsp://other/film")) as server:
        assert (await measure(ProbeKind.RTSP, server.port, "film")).ms is not None


async def test_what_is_no_rtsp_is_told() -> None:
    async with peer(http("400 Bad Request")) as server:
        outcome = await measure(ProbeKind.RTSP, server.port)
    assert outcome.ms is None
    assert not outcome.silent


async def test_credentials_are_in_no_reason() -> None:
    async with peer(rtsp("404 Not Found")) as server:
        path = f"rtsp://user:secret@{HERE}/film"
        outcome = await measure(ProbeKind.RTSP, server.port, path)
    assert outcome.ms is None
    assert "secret" not in outcome.reason


# --- ICMP's stand-in


async def test_without_icmp_a_refused_connection_is_the_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "heliograph.dispatcher.monitor.probes.PORTS", {ProbeKind.TCP: closed_port()}
    )
    icmp = Icmp()
    monkeypatch.setattr(icmp, "can", lambda address: False)
    prober = Prober(icmp=icmp)
    outcome = await prober.probe(HERE, Probe(ProbeKind.ICMP), LONG)
    assert outcome.ms is not None
    assert prober.counters()["icmp_replaced"] == 1
