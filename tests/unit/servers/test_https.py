"""HTTPS as clients see it: the same as by HTTP, encrypted, ended in order, bounded."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import warnings
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any, TypeVar

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.unit.web.site import ADMIN, PATIENCE, Site, Viewer, running
from websockets.asyncio.client import connect

from heliograph.model.errors import MalformedError, ResourceError
from heliograph.node.certificates import Names, make
from heliograph.servers.https import HttpsOptions, HttpsServer, Pem
from heliograph.web.metrics import ServerCollector

T = TypeVar("T")


def certificate(host: str = "localhost") -> Pem:
    key = ec.generate_private_key(ec.SECP256R1())
    text = make(key, Names((host,), (ip_address("127.0.0.1"),)), datetime.now(UTC))
    return Pem(text, text)


PEM = certificate()


def trusting(pem: Pem = PEM) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=pem.chain.decode())


class Secure:
    """A site with an HTTPS port."""

    def __init__(self, site: Site, https: HttpsServer) -> None:
        self.site = site
        self.https = https
        self.url = f"https://127.0.0.1:{https.port}"

    @property
    def counters(self) -> dict[str, int]:
        return self.https.counters()

    async def get(self, path: str, pem: Pem = PEM, **options: Any) -> httpx.Response:
        async with httpx.AsyncClient(verify=trusting(pem), timeout=PATIENCE) as client:
            return await client.get(self.url + path, **options)

    async def settled(self) -> None:
        """Wait until no connection is left."""
        await self.site.until(lambda: self.counters["open"] == 0)

    async def blocking(self, talk: Callable[[ssl.SSLSocket], T], **options: Any) -> T:
        """Talk on a connection where an end without TLS's goodbye is an error."""

        def run() -> T:
            context = trusting()
            for name, value in options.items():
                setattr(context, name, value)
            with (
                socket.create_connection(("127.0.0.1", self.https.port), PATIENCE) as plain,
                context.wrap_socket(
                    plain, server_hostname="localhost", suppress_ragged_eofs=False
                ) as secure,
            ):
                return talk(secure)

        return await asyncio.to_thread(run)


@contextlib.asynccontextmanager
async def secured(
    handshake_timeout: float = 5.0, max_connections: int = 100, **options: Any
) -> AsyncIterator[Secure]:
    figures: list[HttpsServer] = []
    context = {"https": lambda: {**figures[0].counters(), "certificate_ends": 1.0}}
    async with running(context=context, **options) as site:
        listen = HttpsOptions("127.0.0.1", 0, max_connections, handshake_timeout)
        https = HttpsServer(site.server, site.plane, listen)
        await https.start(PEM)
        figures.append(https)
        try:
            yield Secure(site, https)
        finally:
            await https.stop()


def rest(secure: ssl.SSLSocket) -> bytes:
    got = b""
    while data := secure.recv(65536):
        got += data
    return got


async def test_links_of_a_page_by_https_are_secure():
    async with secured() as secure:
        answer = await secure.get("/api/v1/channels/demo")
        assert answer.http_version == "HTTP/1.1"
        urls = answer.json()["urls"]
        assert urls["page"] == f"{secure.url}/watch/demo"
        assert urls["websocket"].startswith("wss://")


async def test_a_viewer_by_https_gets_frames_from_the_plane_and_is_known_by_its_address():
    async with secured() as secure:
        site = secure.site
        publishing = await site.on_air()
        async with connect(
            f"wss://127.0.0.1:{secure.https.port}/ws/demo",
            subprotocols=["helio.v1"],
            ssl=trusting(),
            server_hostname="localhost",
            origin=secure.url,
        ) as raw:
            viewer = Viewer(raw)
            await viewer.text("start")
            first = await viewer.take(3)
            assert first[0].flags & 1
            # the plane has it: nothing of the connection is left with the port or with Python
            await site.until(lambda: secure.counters["open"] == 0)
            assert secure.counters["taken"] == 1
            assert not site.server.state.connections
            publishing.push(0, site.camera.gop(5))
            await viewer.take(5)
            answer = await site.get("/api/v1/channels/demo/readers", headers=ADMIN)
            (reader,) = answer.json()["readers"]
            assert (reader["kind"], reader["peer"]) == ("websocket", "127.0.0.1")
            await raw.send('{"type": "ping", "t": 1}')
            await viewer.text("pong")
        await site.until(lambda: site.websockets.open == 0)


async def test_who_signs_in_by_https_gets_a_cookie_for_https_only():
    person = {"name": "ann", "password": "a long enough password"}
    async with secured() as secure:
        site = secure.site
        async with httpx.AsyncClient(verify=trusting(), timeout=PATIENCE) as client:
            answer = await client.post(f"{secure.url}/api/v1/setup", json={"key": "boss"} | person)
            assert answer.is_success, answer.text
            assert "; Secure" in answer.headers["set-cookie"]
        answer = await site.http.post("/api/v1/session", json=person)
        assert answer.is_success, answer.text
        assert "; Secure" not in answer.headers["set-cookie"]


async def test_large_answers_and_bodies_pass_whole():
    async with secured() as secure:
        site = secure.site
        big = await site.get("/api/v1/openapi.json")
        assert (await secure.get("/api/v1/openapi.json")).content == big.content
        async with httpx.AsyncClient(verify=trusting(), timeout=PATIENCE) as client:
            answers = [
                await client.post(
                    f"{secure.url}/api/v1/channels", headers=ADMIN, content=b" " * (200 << 10)
                )
                for _ in range(2)
            ]
        assert [answer.status_code for answer in answers] == [413, 413]


async def test_connections_end_with_tlss_goodbye():
    request = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

    def talk(secure: ssl.SSLSocket) -> bytes:
        secure.sendall(request)
        return rest(secure)

    async with secured(head_timeout=0.5) as secure:
        assert (await secure.blocking(talk)).endswith(b"ok\n")
        # one that says nothing after its handshake, and one that is slow with a head
        assert await secure.blocking(rest) == b""
        assert await secure.blocking(lambda one: (one.sendall(b"GET / "), rest(one))[1]) == b""
        assert secure.site.context.counters["http_timeouts"] == 2
        await secure.settled()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_both_versions_are_spoken(version: ssl.TLSVersion):
    async with secured() as secure:
        spoken = await secure.blocking(lambda one: one.version(), maximum_version=version)
        assert spoken == version.name.replace("_", ".")


async def test_older_versions_are_refused():
    async with secured() as secure:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_ciphers("ALL:@SECLEVEL=0")

        def run() -> None:
            with socket.create_connection(("127.0.0.1", secure.https.port), PATIENCE) as plain:
                context.wrap_socket(plain)

        with pytest.raises(ssl.SSLError, match="ALERT"):
            await asyncio.to_thread(run)
        await secure.site.until(lambda: secure.counters["failed"] == 1)


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(["h2", "http/1.1"], "http/1.1"), (["http/1.1"], "http/1.1"), ([], None)],
)
async def test_http_1_1_is_agreed_on(offered: list[str], chosen: str | None):
    async with secured() as secure:
        context = trusting()
        if offered:
            context.set_alpn_protocols(offered)

        def run() -> str | None:
            with (
                socket.create_connection(("127.0.0.1", secure.https.port), PATIENCE) as plain,
                context.wrap_socket(plain, server_hostname="localhost") as one,
            ):
                return one.selected_alpn_protocol()

        assert await asyncio.to_thread(run) == chosen


async def test_a_client_that_returns_resumes_its_session():
    context = trusting()

    def talk(session: ssl.SSLSession | None) -> tuple[bool | None, ssl.SSLSession | None]:
        with (
            socket.create_connection(("127.0.0.1", port), PATIENCE) as plain,
            context.wrap_socket(plain, server_hostname="localhost", session=session) as one,
        ):
            one.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert rest(one).endswith(b"ok\n")
            return one.session_reused, one.session

    async with secured() as secure:
        port = secure.https.port
        first, session = await asyncio.to_thread(talk, None)
        second, _ = await asyncio.to_thread(talk, session)
        assert (first, second) == (False, True)


async def test_nothing_is_left_open():
    async with secured() as secure:
        await secure.site.on_air()

        async def round() -> int:
            await secure.get("/healthz")
            socket.create_connection(("127.0.0.1", secure.https.port)).close()
            async with connect(
                f"wss://127.0.0.1:{secure.https.port}/ws/demo",
                ssl=trusting(),
                server_hostname="localhost",
            ) as raw:
                await raw.recv()
            await secure.site.until(lambda: secure.site.websockets.open == 0)
            await secure.settled()
            return len(os.listdir("/proc/self/fd"))

        before = await round()
        for _ in range(10):
            after = await round()
        assert after <= before + 2


async def test_plain_http_is_led_to_https():
    async with secured() as secure:
        plain = f"http://127.0.0.1:{secure.https.port}/healthz?a=b"
        async with httpx.AsyncClient(verify=trusting(), timeout=PATIENCE) as client:
            answer = await client.get(plain, follow_redirects=True)
            assert answer.text == "ok\n"
            assert str(answer.url) == f"{secure.url}/healthz?a=b"
            assert (await client.post(plain)).status_code == 400
        await secure.site.until(lambda: secure.counters["plain"] == 2)


async def test_who_does_not_finish_the_handshake_is_not_waited_for():
    async with secured(handshake_timeout=0.2) as secure:
        ends = []
        for first in (b"", b"\x16\x03\x01"):
            reader, writer = await asyncio.open_connection("127.0.0.1", secure.https.port)
            writer.write(first)
            ends.append((reader, writer))
        async with asyncio.timeout(PATIENCE):
            for reader, writer in ends:
                assert await reader.read() == b""
                writer.close()
        assert secure.counters["timeouts"] == 2
        assert secure.site.context.counters["http_timeouts"] == 0, "Python never saw them"


async def test_a_thousand_clients_that_stall_leave_room_for_others():
    async with secured(max_connections=20_000) as secure:
        port = secure.https.port
        stalled = [socket.create_connection(("127.0.0.1", port)) for _ in range(1000)]
        # Those of one address beyond the bound on handshakes are closed at once. The bound holds
        # until they time out, so another address of the loopback network asks.
        await secure.site.until(lambda: secure.counters["refused_handshakes"] >= 900)
        assert secure.counters["shaking"] <= 64
        transport = httpx.AsyncHTTPTransport(verify=trusting(), local_address="127.0.0.2")
        async with httpx.AsyncClient(transport=transport, timeout=PATIENCE) as client:
            assert (await client.get(f"{secure.url}/healthz")).text == "ok\n"
        for one in stalled:
            one.close()
        await secure.settled()


async def test_a_new_certificate_is_used_without_a_restart_and_a_broken_one_is_not():
    async with secured() as secure:
        other = certificate()
        for broken in (Pem(other.chain, PEM.key), Pem(b"", b""), Pem(other.chain, b"nonsense")):
            with pytest.raises(MalformedError, match="certificate"):
                secure.https.certify(broken)
        assert (await secure.get("/healthz")).text == "ok\n"
        secure.https.certify(other)
        assert (await secure.get("/healthz", pem=other)).text == "ok\n"
        with pytest.raises(httpx.ConnectError):
            await secure.get("/healthz")


async def test_a_broken_certificate_or_a_port_in_use_is_told_at_the_start():
    async with secured() as secure:
        again = HttpsServer(
            secure.site.server, secure.site.plane, HttpsOptions("127.0.0.1", secure.https.port)
        )
        with pytest.raises(ResourceError, match=str(secure.https.port)):
            await again.start(PEM)
        other = HttpsServer(secure.site.server, secure.site.plane, HttpsOptions("127.0.0.1", 0))
        with pytest.raises(MalformedError, match="key"):
            await other.start(Pem(PEM.chain, certificate().key))
        assert other.counters() == {}
        await other.stop()


async def test_connections_above_the_http_servers_bound_end():
    async with secured(max_connections=100, head_timeout=5.0) as secure:
        secure.site.server.options = type(secure.site.server.options)(max_connections=1)
        reader, writer = await asyncio.open_connection("127.0.0.1", secure.site.server.port)
        await secure.site.until(lambda: secure.site.server.connections == 1)
        with pytest.raises(httpx.TransportError):
            await secure.get("/healthz")
        writer.close()
        await reader.read()


async def test_an_answer_under_way_arrives_though_the_server_stops():
    async with secured() as secure:
        server = secure.site.server
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", secure.https.port, ssl=trusting(), server_hostname="localhost"
        )
        writer.write(b"POST /api/v1/channels HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n")
        writer.write(b"Authorization: Bearer boss\r\n\r\n")
        await secure.site.until(lambda: len(server.state.tasks) == 1)
        await secure.https.stop()
        with pytest.raises(httpx.ConnectError):
            await secure.get("/healthz")
        stopping = asyncio.create_task(server.stop())
        writer.write(b"{}")
        async with asyncio.timeout(PATIENCE):
            assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
        await stopping
        writer.close()


async def test_metrics_tell_of_https():
    async with secured() as secure:
        await secure.get("/healthz")
        await secure.settled()
        text = (await secure.get("/metrics")).text
        assert "helio_https_handshakes_total 2.0" in text
        assert "helio_https_open_connections 1.0" in text
        assert "helio_https_certificate_end_time_seconds 1.0" in text
    async with running() as site:
        assert not [m for m in ServerCollector(site.context).collect() if "https" in m.name]
