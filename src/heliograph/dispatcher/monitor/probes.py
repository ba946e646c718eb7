"""Measures one server once: by ICMP, a TCP connection, RTSP or HTTP.

The response time is that from the beginning of the connection to the first byte of the answer, as a
viewer has to wait for it; the name of the host is looked up beside it. Answers are read up to a
bound, and connections are reset when they are done, so that neither side keeps anything of them.
Whoever asks bounds the time, and may cancel: nothing is left open.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import secrets
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Protocol
from urllib.parse import urlsplit

import httptools

from heliograph.catalogue.contents.values import Probe, ProbeKind
from heliograph.dispatcher.monitor.health import Outcome
from heliograph.dispatcher.monitor.icmp import Icmp
from heliograph.dispatcher.monitor.resolver import Resolver
from heliograph.model.errors import (
    HelioError,
    MalformedError,
    RemoteError,
    UnauthorizedError,
    UnreachableError,
)
from heliograph.protocols.rtsp import ClientSession
from heliograph.protocols.rtsp.events import Described, Failed, Redirected

#: Ports of probes that name none; of TCP, and of what stands in for ICMP, that of the web.
PORTS = {ProbeKind.TCP: 80, ProbeKind.RTSP: 554, ProbeKind.HTTP: 80}
#: Ports of HTTP at which TLS is spoken where the path is no URL that says so.
TLS_PORTS = (443, 8443)
_SCHEMES = {"http": 80, "https": 443, "rtsp": 554, "rtsps": 322}
#: Bytes read at a time.
CHUNK = 64 << 10
#: Bytes of an answer's head; servers send some hundred.
MAX_HEAD = 64 << 10
#: Bytes of a description by RTSP.
MAX_RTSP = 256 << 10
#: Fewer bytes of media tell nothing of the throughput: they come in one flight.
MIN_MEASURED = 32 << 10
#: Characters of a reason.
MAX_REASON = 160

#: Errors that say nothing of the server: no way to it, or none of our own.
_SILENT = (
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.EHOSTDOWN,
    errno.ETIMEDOUT,
    errno.EADDRNOTAVAIL,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOBUFS,
    errno.ENOMEM,
)
_TEXT = re.compile(r"[!-~]{0,2048}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a probe goes, and what it asks for."""

    tls: bool
    port: int
    name: str
    """The host's name for the server: that of the URL, or by which it is reached."""
    url: str
    """Absolute."""
    target: str
    """Path and query."""


def place_of(probe: Probe, host: str) -> Place:
    """Read the port and path of a probe by RTSP or HTTP.

    A path may be a whole URL: its host is then asked for at ``host``, as virtual servers need it.
    ``MalformedError`` for one that cannot be asked for.
    """
    rtsp = probe.kind is ProbeKind.RTSP
    if not _TEXT.fullmatch(probe.path):
        raise MalformedError("probe", "its path is too long, or not of printable ASCII")
    if "://" not in probe.path:
        port = probe.port or PORTS[probe.kind]
        tls = not rtsp and port in TLS_PORTS
        scheme = "rtsp" if rtsp else "https" if tls else "http"
        name, path = host.strip("[]"), "/" + probe.path.lstrip("/")
        return Place(tls, port, name, f"{scheme}://{_authority(name, port)}{path}", path)
    try:
        parts = urlsplit(probe.path)
        scheme, name = parts.scheme.lower(), parts.hostname or ""
        named = parts.port  # which may be none, in more than one way
        port = probe.port or named or _SCHEMES.get(scheme, 0)
    except ValueError:
        raise MalformedError("probe", "URL") from None
    if scheme not in (("rtsp", "rtsps") if rtsp else ("http", "https")) or not name:
        raise MalformedError("probe", "URL of another kind")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Place(scheme.endswith("s"), port, name, probe.path, target)


def _authority(name: str, port: int) -> str:
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


class _Wire(Protocol):
    """A connection, by TLS or not."""

    async def send(self, data: bytes) -> None: ...
    async def receive(self) -> bytes:
        """What came; empty at the end."""
        ...

    def close(self) -> None: ...


class _Plain:
    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        await self._loop.sock_sendall(self._socket, data)

    async def receive(self) -> bytes:
        return await self._loop.sock_recv(self._socket, CHUNK)

    def close(self) -> None:
        self._socket.close()


class _Secure:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def receive(self) -> bytes:
        return await self._reader.read(CHUNK)

    def close(self) -> None:
        self._writer.transport.abort()


@dataclass(frozen=True, slots=True)
class ProbeOptions:
    """How is measured."""

    range_bytes: int = 64 << 10
    """Bytes of media that a probe by HTTP asks for."""
    verify_tls: bool = True
    """Whether certificates have to be good."""
    user_agent: str = "heliograph-monitor"


class Prober:
    """All probes of one monitor."""

    def __init__(
        self,
        options: ProbeOptions | None = None,
        *,
        icmp: Icmp | None = None,
        resolver: Resolver | None = None,
    ) -> None:
        self.options = options or ProbeOptions()
        self._icmp = icmp or Icmp()
        self._resolver = resolver or Resolver()
        self._tls: dict[bool, ssl.SSLContext] = {}
        self._counters: Counter[str] = Counter(icmp_replaced=0)

    def close(self) -> None:
        """End; probes under way have been cancelled."""
        self._icmp.close()

    def keep(self, hosts: Collection[str]) -> None:
        """Forget the addresses of all other hosts."""
        self._resolver.keep(hosts)

    def counters(self) -> Mapping[str, int]:
        """Since the start."""
        icmp = {f"icmp_{name}": value for name, value in self._icmp.counters.items()}
        return {**self._counters, **self._resolver.counters, **icmp}

    async def probe(self, host: str, probe: Probe, timeout: float) -> Outcome:
        """Measure once; whatever goes wrong is in the outcome.

        ``timeout`` in seconds.
        """
        try:
            async with asyncio.timeout(timeout):
                match probe.kind:
                    case ProbeKind.ICMP:
                        return await self._ping(host, timeout)
                    case ProbeKind.TCP:
                        return await self._knock(host, probe.port or PORTS[ProbeKind.TCP])
                    case ProbeKind.RTSP:
                        return await self._ask_rtsp(host, probe)
                    case ProbeKind.HTTP:
                        return await self._ask_http(host, probe)
        except TimeoutError:
            return unheard(timeout)
        except ssl.SSLCertVerificationError as error:
            return _miss(f"its certificate is refused: {error.verify_message}")
        except ssl.SSLError as error:
            return _miss(f"TLS failed: {error.reason or 'no reason given'}")
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            return _miss(reason, silent=error.errno in _SILENT)
        except UnreachableError as error:
            return _miss(error.message, silent=True)
        except HelioError as error:
            return _miss(error.message, silent=isinstance(error, _Unknown))

    # --- ICMP -----------------------------------------------------------------------------------

    async def _ping(self, host: str, timeout: float) -> Outcome:
        address = (await self._addresses(host))[0]
        if not self._icmp.can(address):
            self._counters["icmp_replaced"] += 1
            return await self._knock(host, PORTS[ProbeKind.TCP], refused_is_answer=True)
        try:
            ms = await self._icmp.ping(address, timeout)
        except UnreachableError:
            self._resolver.fails(host, address)
            raise
        if ms is None:
            self._resolver.fails(host, address)
            return unheard(timeout)
        return Outcome(ms)

    # --- TCP ------------------------------------------------------------------------------------

    async def _knock(self, host: str, port: int, *, refused_is_answer: bool = False) -> Outcome:
        addresses = await self._addresses(host)
        began = monotonic()
        try:
            sock = await self._connect(host, addresses, port)
        except ConnectionRefusedError:
            if not refused_is_answer:
                raise
        else:
            sock.close()
        return Outcome(_ms(began))

    async def _connect(self, host: str, addresses: list[str], port: int) -> socket.socket:
        loop = asyncio.get_running_loop()
        failure = OSError(errno.EHOSTUNREACH, "")
        for address in addresses:
            sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
            try:
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                # Reset at the end: a port of ours is not spent for a minute by each probe.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                await loop.sock_connect(sock, (address, port))
            except OSError as error:
                sock.close()
                self._resolver.fails(host, address)
                failure = error
            except BaseException:  # cancelled, most likely because nobody answers there
                sock.close()
                self._resolver.fails(host, address)
                raise
            else:
                self._resolver.works(host, address)
                return sock
        raise failure

    async def _addresses(self, host: str) -> list[str]:
        try:
            return await self._resolver.addresses(host)
        except HelioError as error:
            raise _Unknown(error.message) from None

    async def _open(self, host: str, addresses: list[str], place: Place) -> _Wire:
        sock = await self._connect(host, addresses, place.port)
        if not place.tls:
            return _Plain(sock)
        try:
            context = await self._context()
            reader, writer = await asyncio.open_connection(
                sock=sock, ssl=context, server_hostname=place.name
            )
        except BaseException:
            sock.close()
            raise
        return _Secure(reader, writer)

    async def _context(self) -> ssl.SSLContext:
        verify = self.options.verify_tls
        if verify not in self._tls:
            self._tls[verify] = await asyncio.to_thread(_context, verify)  # it reads many files
        return self._tls[verify]

    # --- RTSP -----------------------------------------------------------------------------------

    async def _ask_rtsp(self, host: str, probe: Probe) -> Outcome:
        place = place_of(probe, host)
        addresses = await self._addresses(host)
        began = monotonic()
        session = ClientSession(
            place.url,
            cnonce=secrets.token_hex(16),
            user_agent=self.options.user_agent,
            now=began,
        )
        session.describe(began) if probe.path else session.connect(began)
        wire = await self._open(host, addresses, place)
        ms, read = None, 0
        try:
            while True:
                if out := session.data_to_send():
                    await wire.send(out)
                data = await wire.receive()
                ms = _ms(began) if ms is None else ms
                read += len(data)
                if not data or read > MAX_RTSP:
                    raise RemoteError("its answer is too long" if data else _CLOSED)
                session.receive_data(data, monotonic())
                if _answered(session):
                    return Outcome(ms)
        finally:
            wire.close()

    # --- HTTP -----------------------------------------------------------------------------------

    async def _ask_http(self, host: str, probe: Probe) -> Outcome:
        place = place_of(probe, host)
        addresses = await self._addresses(host)
        wanted = self.options.range_bytes
        request = (
            f"GET {place.target} HTTP/1.1\r\nHost: {_host_header(place)}\r\n"
            f"Range: bytes=0-{wanted - 1}\r\nAccept: */*\r\nAccept-Encoding: identity\r\n"
            f"User-Agent: {self.options.user_agent}\r\nConnection: close\r\n\r\n"
        )
        began = monotonic()
        wire = await self._open(host, addresses, place)
        ms: float | None = None
        answer = _HttpAnswer(wanted)
        try:
            await wire.send(request.encode("ascii"))
            while not answer.done:
                data = await wire.receive()
                now = monotonic()
                ms = (now - began) * 1000 if ms is None else ms
                if not data:
                    answer.closed()
                    break
                answer.receive(data, now)
        finally:
            wire.close()
        # Without a path any sign of life will do; with one the media have to be somewhere.
        if answer.status >= (400 if probe.path else 500):
            return _miss(f"it answered {answer.status}")
        return Outcome(ms, answer.bps())


_CLOSED = "it closed the connection without an answer"


class _Unknown(HelioError):
    """The host's name leads nowhere, which may be the fault of our name server."""


class _HttpAnswer:
    """Reads an answer as far as wanted."""

    def __init__(self, wanted: int) -> None:
        self.status = 0
        self.done = False
        self._wanted = wanted
        self._head = 0
        self._body = 0
        self._first: tuple[float, int] | None = None
        """When the first bytes of the body came, and how many."""
        self._last = 0.0
        self._complete = False
        self._parser = httptools.HttpResponseParser(self)

    def receive(self, data: bytes, now: float) -> None:
        """Take bytes; ``RemoteError`` for what is no answer by HTTP."""
        before = self._body
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.done = True
        except httptools.HttpParserError:
            raise RemoteError("it does not speak HTTP") from None
        if not self.status:
            self._head += len(data)
            if self._head > MAX_HEAD:
                raise RemoteError("the head of its answer is too long")
        if self._body > before:
            self._last = now
            if self._first is None:
                self._first = now, self._body
        # Who leaves out the range sends everything: the rest is of no interest.
        self.done = self.done or self._complete or self._body >= self._wanted

    def closed(self) -> None:
        """The connection ended; ``RemoteError`` where that is no end of an answer."""
        if not self.status:
            raise RemoteError(_CLOSED)

    def bps(self) -> float | None:
        """Bits a second of the body after its first bytes; None: too little to tell."""
        if self._first is None or self.status not in (200, 206):
            return None
        at, count = self._first
        seconds = self._last - at
        if self._body < MIN_MEASURED or seconds <= 0:
            return None
        return (self._body - count) * 8 / seconds

    # called by the parser

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        self.status = 0 if 100 <= status < 200 else status

    def on_body(self, body: bytes) -> None:
        self._body += len(body)

    def on_message_complete(self) -> None:
        self._complete = self.status != 0


def unheard(timeout: float) -> Outcome:
    """What a probe found that waited in vain."""
    return _miss(f"no answer in {timeout * 1000:.0f} ms", silent=True)


def _miss(reason: str, *, silent: bool = False) -> Outcome:
    text = "".join(c if c.isprintable() else " " for c in reason)
    return Outcome(None, None, text[:MAX_REASON], silent)


def _answered(session: ClientSession) -> bool:
    """Whether the server has answered what it was asked; raises what is wrong with the answer."""
    while (event := session.next_event()) is not None:
        match event:
            case Described():
                return True
            case Failed(error=UnauthorizedError()) | Redirected():
                return True  # it wants credentials, or sends players elsewhere: an answer
            case Failed(error=error):
                raise error
            case _:
                pass
    return session.timer() is None


def _context(verify: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _host_header(place: Place) -> str:
    usual = place.port == (443 if place.tls else 80)
    name = f"[{place.name}]" if ":" in place.name else place.name
    return name if usual else f"{name}:{place.port}"


def _ms(began: float) -> float:
    return (monotonic() - began) * 1000
