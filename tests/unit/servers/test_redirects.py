"""Requests for titles answered at once: the same answers as the application's, and its limits."""

from __future__ import annotations

import asyncio
import random
import socket
from ipaddress import ip_network

import pytest
from tests.unit.dispatcher.contents import Made, Told, server
from tests.unit.web.site import PATIENCE, Site, running

from heliograph.catalogue.contents.values import Format, Network
from heliograph.dispatcher.choose import Options
from heliograph.dispatcher.snapshot import Snapshot
from heliograph.servers import dispatching, http
from heliograph.servers.dispatching import MAX_HEADS, read_head
from heliograph.servers.forwarded import Trust

HOST = b"Host: portal.example\r\n"


def made() -> Told:
    """The same decisions each time it is called."""
    contents = Made([server(1, make="heliograph"), server(2, make="nginx"), server(3)])
    contents.title("film").title("clip", {Format.HLS: (1, 2), Format.RTSP: (1,)})
    contents.title("ours", regions=("eu",)).title("empty", {Format.MP4: ()})
    contents.title("hidden", published=False)
    contents.networks = [Network("192.0.2.0/24", "", refused=True), Network("10.0.0.0/8", "eu")]
    return contents.dispatcher(draw=random.Random(5).random)


class Client:
    """A connection on which bytes are sent as they are."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def of(cls, site: Site) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", site.server.port))

    async def ask(
        self, data: bytes, *, head: bool = False
    ) -> tuple[bytes, dict[bytes, bytes], bytes]:
        self.writer.write(data)
        return await self.answer(head=head)

    async def answer(self, *, head: bool = False) -> tuple[bytes, dict[bytes, bytes], bytes]:
        async with asyncio.timeout(PATIENCE):
            lines = (await self.reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[:-2]
            headers = dict(line.split(b": ", 1) for line in lines[1:])
            length = 0 if head else int(headers.get(b"content-length", b"0"))
            return lines[0], headers, await self.reader.readexactly(length)

    async def rest(self) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read(-1)

    def close(self) -> None:
        self.writer.close()


def request(target: bytes, *headers: bytes) -> bytes:
    lines = b"".join(line + b"\r\n" for line in headers)
    return b"GET %b HTTP/1.1\r\n%b%b\r\n" % (target, HOST, lines)


BROWSER = b"Accept: text/html,application/xhtml+xml,*/*;q=0.8"
REQUESTS = [
    request(target, *headers)
    for target in (
        b"/go/film",
        b"/go/clip",
        b"/go/clip?format=rtsp",
        b"/go/clip?format=mp4",
        b"/go/film?token=a%20b&key=c",
        b"/go/film?format=mp4&token=t",
        b"/go/ours",
        b"/go/empty",
        b"/go/hidden",
        b"/go/nothing",
        b"/go/fi%6cm",
        b"/go/film?x#y",
        b"/go/film?%zz=&&=",
        b"/go/<b>?format=hls",
    )
    for headers in (
        (),
        (BROWSER,),
        (b"Accept: */*", b"User-Agent: Lavf/60", b"Range: bytes=0-", b"Icy-MetaData: 1"),
        (b"Accept: application/vnd.apple.mpegurl", b"ACCEPT:\tvideo/mp4;q=0.5 "),
        (b"Accept: image/png", b"Connection: keep-alive"),
        (b"Content-Length: 0",),
        (b"X-Forwarded-For: 192.0.2.9",),
        (b"Cookie: a=b", b"Cookie: c=d", b"X-Empty:"),
    )
]


@pytest.mark.parametrize("proxied", [False, True])
async def test_both_ways_answer_alike(proxied: bool):
    trust = Trust((ip_network("127.0.0.0/8"),) if proxied else ())
    answers = []
    for at_once in (True, False):
        dispatcher = made()
        async with running(context={"dispatcher": dispatcher}, trust=trust) as site:
            if not at_once:
                site.server.redirects = None
            client = await Client.of(site)
            found = []
            for data in REQUESTS:
                line, headers, body = await client.ask(data)
                for name in (b"date", b"permissions-policy"):
                    headers.pop(name, None)
                if headers.get(b"content-security-policy", b"").startswith(b"default-src 'self'"):
                    del headers[b"content-security-policy"]  # of pages
                found.append((data, line, headers, body))
            client.close()
            redirects = site.server.redirects
            assert redirects is None or redirects.answered > len(REQUESTS) / 3
            assert site.context.counters["http_requests"] == len(REQUESTS)
        decided = [(one.name, one.server, one.status, one.client) for one in dispatcher.decisions]
        answers.append((found, decided))
    for one, other in zip(*(found for found, _ in answers), strict=True):
        assert one == other
    assert answers[0][1] == answers[1][1]
    statuses = {line.split()[1] for _, line, _, _ in answers[0][0]}
    assert statuses >= {b"302", b"404", b"406", b"451"}
    assert (b"403" in statuses) is proxied


@pytest.mark.parametrize("at_once", [True, False])
async def test_what_the_cluster_bars_is_barred_where_titles_are_ones_own(at_once: bool):
    dispatcher = made()
    trust = Trust((ip_network("127.0.0.0/8"),))
    async with running(context={"dispatcher": dispatcher}, trust=trust) as site:
        if not at_once:
            site.server.redirects = None
        client = await Client.of(site)

        async def statuses() -> dict[tuple[bytes, bytes], bytes]:
            found = {}
            for name in (b"film", b"clip", b"ours"):
                for address in (b"198.51.100.7", b"192.0.2.9", b"10.0.0.1"):
                    asked = request(b"/go/%b" % name, b"X-Forwarded-For: %b" % address)
                    line, _, _ = await client.ask(asked)
                    found[name, address] = line.split()[1]
            return found

        before = await statuses()
        assert [address for (_, address), status in before.items() if status == b"403"] == [
            b"192.0.2.9"
        ] * 3
        cluster = Made().title("clip", regions=("us",))
        cluster.networks = [Network("198.51.100.0/24", "", refused=True)]
        dispatcher.barring.told = cluster.snapshot()
        told = {
            (name, b"198.51.100.7"): b"403" if name != b"ours" else b"451"
            for name in (b"film", b"clip", b"ours")
        }
        told[b"clip", b"10.0.0.1"] = b"451"
        assert await statuses() == before | told
        assert [one.status for one in dispatcher.decisions[9:]].count(403) == 5
        dispatcher.barring.told = Snapshot()
        assert await statuses() == before
        client.close()


async def test_a_redirect_is_answered_and_counted():
    dispatcher = made()
    async with running(context={"dispatcher": dispatcher}) as site:
        client = await Client.of(site)
        line, headers, body = await client.ask(request(b"/go/film"))
        assert line == b"HTTP/1.1 302 Found"
        assert headers[b"location"].endswith(b".example/film.mp4")
        assert headers[b"cache-control"] == b"no-store"
        assert headers[b"date"].endswith(b"GMT")
        assert body == b""
        metrics = (await site.get("/metrics")).text
        assert 'helio_dispatcher_decisions_total{status="302"} 1.0' in metrics
        assert "helio_dispatcher_titles 4.0" in metrics
        client.close()


async def test_head_is_answered_without_a_body():
    async with running(context={"dispatcher": made()}) as site:
        client = await Client.of(site)
        head = request(b"/go/film").replace(b"GET", b"HEAD")
        assert (await client.ask(head, head=True))[0] == b"HTTP/1.1 302 Found"
        head = request(b"/go/nothing").replace(b"GET", b"HEAD")
        line, headers, _ = await client.ask(head, head=True)
        assert line.startswith(b"HTTP/1.1 404")
        assert int(headers[b"content-length"]) > 0
        assert (await client.ask(request(b"/healthz")))[2] == b"ok\n"
        client.close()


@pytest.mark.parametrize("target", [b"/go/film", b"/go/nothing"])
async def test_a_client_that_closes_gets_its_answer_and_the_end(target: bytes):
    async with running(context={"dispatcher": made()}) as site:
        for data in (
            request(target, b"Connection: close"),
            b"GET %b HTTP/1.0\r\n\r\n" % target,
        ):
            client = await Client.of(site)
            _, headers, _ = await client.ask(data)
            assert headers[b"connection"] == b"close"
            assert await client.rest() == b""
            client.close()


async def test_requests_in_one_packet_are_answered_in_order():
    async with running(context={"dispatcher": made()}) as site:
        client = await Client.of(site)
        several = [b"/go/film", b"/healthz", b"/go/clip", b"/go/nothing"]
        client.writer.write(b"".join(map(request, several)))
        lines = [(await client.answer())[0].split()[1] for _ in several]
        assert lines == [b"302", b"200", b"302", b"404"]
        # An answer that is still to come is not overtaken.
        client.writer.write(request(b"/healthz"))
        client.writer.write(request(b"/go/film"))
        assert (await client.answer())[2] == b"ok\n"
        assert (await client.answer())[0] == b"HTTP/1.1 302 Found"
        client.close()


async def test_a_head_that_comes_in_pieces_is_answered():
    async with running(context={"dispatcher": made()}) as site:
        client = await Client.of(site)
        data = request(b"/go/film", BROWSER)
        for cut in (3, 12, len(data) - 2):
            client.writer.write(data[:cut])
            await client.writer.drain()
            await site.until(lambda: any(one._head > 0 for one in site.server.state.connections))
            assert (await client.ask(data[cut:]))[0] == b"HTTP/1.1 302 Found"
            assert (await client.ask(data))[0] == b"HTTP/1.1 302 Found"
        client.close()


async def test_the_rest_of_a_head_is_not_taken_for_a_request():
    dispatcher = made()
    async with running(context={"dispatcher": dispatcher}) as site:
        client = await Client.of(site)
        for _ in range(2):
            client.writer.write(b"GET /healthz HTTP/1.1\r\nX: ")
            await client.writer.drain()
            await site.until(lambda: any(one._head > 0 for one in site.server.state.connections))
            assert (await client.ask(request(b"/go/film")))[2] == b"ok\n"
        assert dispatcher.decisions == []
        client.close()


async def test_a_body_behind_the_head_is_not_taken_for_a_request():
    async with running(context={"dispatcher": made()}) as site:
        client = await Client.of(site)
        body = request(b"/go/film")
        first = request(b"/go/film", b"Content-Length: %d" % len(body))
        assert (await client.ask(first + body))[0] == b"HTTP/1.1 302 Found"
        assert (await client.ask(request(b"/healthz")))[2] == b"ok\n"
        client.close()


async def test_a_slow_head_after_redirects_is_not_waited_for():
    async with running(context={"dispatcher": made()}, head_timeout=0.2) as site:
        client = await Client.of(site)
        assert (await client.ask(request(b"/go/film")))[0] == b"HTTP/1.1 302 Found"
        client.writer.write(b"GET /go/fi")
        assert await client.rest() == b""
        assert site.context.counters["http_timeouts"] == 1
        client.close()


async def test_a_client_that_asks_no_more_is_let_go(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(http, "KEEP_ALIVE_S", 0.3)
    async with running(context={"dispatcher": made()}, head_timeout=0.1) as site:
        client = await Client.of(site)
        loop = asyncio.get_running_loop()
        end = loop.time() + 1.0
        while loop.time() < end:  # longer than both
            assert (await client.ask(request(b"/go/film")))[0] == b"HTTP/1.1 302 Found"
            await asyncio.sleep(0.02)
        assert await client.rest() == b""
        assert site.context.counters["http_timeouts"] == 0
        client.close()


async def test_a_client_that_reads_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(http, "KEEP_ALIVE_S", 0.3)
    dispatcher = made()
    loop = asyncio.get_running_loop()
    async with running(context={"dispatcher": dispatcher}) as site:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            await loop.sock_connect(client, ("127.0.0.1", site.server.port))
            await site.until(lambda: site.server.state.connections)
            (connection,) = site.server.state.connections
            sock = connection.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            asked = 0
            while not connection.flow.write_paused:
                asked += 1
                await loop.sock_sendall(client, request(b"/go/film"))
                while len(dispatcher.decisions) < asked:  # noqa: ASYNC110
                    await asyncio.sleep(0)
            await site.until(lambda: not site.server.state.connections)
            assert site.context.counters["http_timeouts"] == 1


async def test_other_settings_hold_for_the_next_request():
    dispatcher = made()
    async with running(context={"dispatcher": dispatcher}) as site:
        client = await Client.of(site)
        _, headers, _ = await client.ask(request(b"/go/clip"))
        assert headers[b"location"].endswith(b".m3u8")
        dispatcher.configure(Options(order=(Format.RTSP, Format.HLS)), 0)
        _, headers, _ = await client.ask(request(b"/go/clip"))
        assert headers[b"location"].startswith(b"rtsp://")
        client.close()


async def test_stop_does_not_wait_for_clients_at_rest():
    async with running(context={"dispatcher": made()}) as site:
        client = await Client.of(site)
        await client.ask(request(b"/go/film"))
        async with asyncio.timeout(PATIENCE):
            await site.server.stop(timeout=PATIENCE)
        assert await client.rest() == b""
        client.close()


def test_what_is_remembered_of_heads_is_bounded():
    redirects = dispatching.Redirects(made(), Trust())
    for number in range(MAX_HEADS + 100):
        data = request(b"/go/film", b"X: %d" % number)
        assert redirects.answer(data, ("127.0.0.1", 1), "http", False) is not None
        assert len(redirects._heads) <= MAX_HEADS
    long = request(b"/go/film", b"X: " + b"y" * dispatching.MAX_HEAD)
    assert redirects.answer(long, ("127.0.0.1", 1), "http", False) is None


@pytest.mark.parametrize(
    "rest",
    [
        b"",
        b"Host: x\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        b"Host: x\n\r\n",
        b" folded: x\r\n\r\n",
        b"Host x\r\n\r\n",
        b"Host : x\r\n\r\n",
        b"X: \x00\r\n\r\n",
        b"X: a\rb\r\n\r\n",
        b"Content-Length: 3\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"Expect: 100-continue\r\n\r\n",
        b"\r\n\r\n",
        b"Host: x\r\n\r\n?a",
        b"?a b\r\nHost: x\r\n\r\n",
        b"?a#b\r\nHost: x\r\n\r\n",
    ],
)
def test_what_is_unusual_is_left_to_the_application(rest: bytes):
    assert read_head(rest, (Format.MP4,)) is None
