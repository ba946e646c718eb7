"""Serves an ASGI application by HTTP/1.1, and hands WebSockets over.

uvicorn's protocol parses and answers. What it leaves open is added here: a bound on connections,
on heads and on the time of both request and answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

import httptools
import structlog
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from heliograph.model.errors import BusyError, TooLargeError
from heliograph.servers.chat_server import ChatServer
from heliograph.servers.dispatching import GO, Redirects
from heliograph.servers.forwarded import Trust, resolve, with_host
from heliograph.servers.listening import host_of, listen, told
from heliograph.servers.websocket import Site, UpgradeRequest, WebSockets, refusal

log = structlog.get_logger(__name__)

#: Connections the kernel may keep for us while the loop is busy; a burst of viewers after a break.
BACKLOG = 2048
#: Bytes of a request's head. Browsers send 1 to 4 kB, with cookies of the host's other services 16.
MAX_HEAD = 32 << 10
#: Seconds from a whole head to the whole answer: the pages by a bad mobile connection.
MAX_ANSWER_S = 60.0
#: In the extensions of a request's scope, by the application: the body, or the answer, may take as
#: long as it wants to, while something moves.
ENDLESS = "helio.endless"
#: Seconds that a connection may stay without a further request: the pages ask every 2.
KEEP_ALIVE_S = 30


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """How the server listens."""

    address: str = "0.0.0.0"
    port: int = 8080
    """0: any free one."""
    max_connections: int = 20_000
    """WebSockets included; more are closed at once."""
    head_timeout: float = 5.0
    """Seconds for the head of a request."""
    answer_timeout: float = MAX_ANSWER_S
    """Seconds from the head to the end of the answer."""
    trust: Trust = field(default_factory=Trust)
    """Proxies in front whose word counts for addresses of clients."""


@dataclass(frozen=True, slots=True)
class Secured:
    """What a connection is that came by HTTPS; its socket shows neither."""

    client: tuple[str, int]
    """The peer's numeric address and port."""
    server: tuple[str, int]
    """The address and port listened on."""


class HttpServer:
    """Listens on one port."""

    def __init__(
        self,
        app: Any,  # noqa: ANN401 - any ASGI application
        site: Site,
        options: HttpOptions,
        chat: ChatServer | None = None,
        redirects: Redirects | None = None,
    ) -> None:
        """``site`` has the channels for WebSockets, and takes what is counted; ``chat`` takes
        upgrades under its own prefix; ``redirects`` answers for titles before ``app`` is asked."""
        self.chat = chat
        self.redirects = redirects
        self.websockets = WebSockets(site)
        self.options = options
        self.port = 0
        """The port really listened on."""
        self.counters = site.counters
        self.counters.update(
            http_requests=0,
            # Above the bound on connections.
            http_connections_refused=0,
            # Too slow with a head, or in taking an answer.
            http_timeouts=0,
            # Malformed or too long.
            http_heads_refused=0,
        )
        self.trust = options.trust
        self.state = ServerState()
        self._config = Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            interface="asgi3",
            timeout_keep_alive=KEEP_ALIVE_S,
        )
        self._server: asyncio.Server | None = None
        self._dates: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen. ``ResourceError`` says which port is taken."""
        options = self.options
        # Malformed requests are counted; a line each would fill the disk.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        self._config.load()
        with told("http", options.address, options.port):
            self._server = await listen(
                lambda: HttpConnection(self), options.address, options.port, BACKLOG
            )
        self.port = self._server.sockets[0].getsockname()[1]
        self._stamp()
        self._dates = asyncio.create_task(self._stamp_always())
        log.info("http listening", address=options.address, port=self.port)

    @property
    def connections(self) -> int:
        """Open ones, WebSockets included."""
        chat = 0 if self.chat is None else self.chat.open
        return len(self.state.connections) + self.websockets.open + chat

    async def stop(self, timeout: float = 5.0) -> None:
        """Listen no more, let answers end for ``timeout`` seconds, then cut them off.

        WebSockets end with their channels.
        """
        if self._dates is not None:
            self._dates.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._dates
            self._dates = None
        if self._server is None:
            return
        self._server.close()
        for connection in list(self.state.connections):
            connection.shutdown()
        if self.state.tasks:
            _, late = await asyncio.wait(self.state.tasks, timeout=timeout)
            for task in late:
                task.cancel()
            if late:
                log.warning("http answers cut off", count=len(late))
                await asyncio.wait(late, timeout=1)
        for connection in list(self.state.connections):
            connection.transport.abort()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await self._server.wait_closed()
        self._server = None

    async def _stamp_always(self) -> None:
        while True:
            await asyncio.sleep(1)
            self._stamp()

    def _stamp(self) -> None:
        """The Date header (RFC 9110 section 6.6.1), made once a second for all."""
        date = formatdate(usegmt=True).encode()
        self.state.default_headers = [(b"date", date)]
        if self.redirects is not None:
            self.redirects.stamp(date)


class HttpConnection(HttpToolsProtocol):
    """One connection until its end, or until it becomes a WebSocket."""

    def __init__(self, server: HttpServer, secured: Secured | None = None) -> None:
        super().__init__(server._config, server.state, {})
        self._server = server
        self._secured = secured
        self._options = server.options
        self._timer: asyncio.TimerHandle | None = None
        self._head = 0
        """Bytes of the head that is coming in; -1 while none is."""
        self._redirects = server.redirects
        self._trusted = False
        """Whether a proxy is at the other end that is believed."""
        self._redirected = 0
        """Requests answered since somebody looked whether there are any."""
        self._resting = False
        """Whether ``_rested`` looks for that."""
        self._moved = False
        """Whether something came, or was taken, since the timer was set."""

    # what asyncio says

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        full = self._server.connections >= self._options.max_connections
        super().connection_made(transport)
        if self._secured is not None:
            self.client, self.server = self._secured.client, self._secured.server
            self.scheme = "https"
        elif self.client is not None:
            self.client = host_of(self.client), self.client[1]
        if full:
            self._server.counters["http_connections_refused"] += 1
            transport.abort()
            return
        if self._redirects is not None and self.client is not None:
            self._trusted = self._redirects.trusts(self.client[0])
        self._arm(self._options.head_timeout)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._moved = True
        if data.startswith(GO) and self._redirect(data):
            return
        if self._head >= 0 and not self._resting:
            self._head += len(data)
        elif self._resting or self.cycle.response_complete:
            self._resting = False
            self._head = len(data)
            self._arm(self._options.head_timeout)
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrade(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError:
            self._server.counters["http_heads_refused"] += 1
            self.send_400_response("Invalid HTTP request received.")
            return
        if self._head > MAX_HEAD and not self.transport.is_closing():
            self._server.counters["http_heads_refused"] += 1
            error = TooLargeError(f"the head is larger than {MAX_HEAD} bytes", subject="head")
            error.status = 431
            self.transport.write(refusal(error))
            self.transport.close()

    def resume_writing(self) -> None:
        self._moved = True
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    # redirects

    def _redirect(self, data: bytes) -> bool:
        """Answer a request for a title at once, where nothing else is under way here."""
        redirects, cycle = self._redirects, self.cycle
        if redirects is None or self.client is None or self.flow.write_paused:
            return False
        if cycle is None:
            if self._head:  # a part of a request came before
                return False
        elif self._head >= 0 or not cycle.response_complete or cycle.more_body or self.pipeline:
            return False
        found = redirects.answer(data, self.client, self.scheme or "http", self._trusted)
        if found is None:
            return False
        answer, last = found
        self.transport.write(answer)
        self._server.counters["http_requests"] += 1
        self._redirected += 1
        if last:
            self.transport.close()
        elif not self._resting:
            self._resting = True
            self._disarm()
            self._unset_keepalive_if_required()
            self._rest()
        return True

    def _rest(self) -> None:
        """Look later whether the client still asks: a timer for each request costs too much."""
        self._redirected = 0
        self.timeout_keep_alive_task = self.loop.call_later(KEEP_ALIVE_S, self._rested)

    def _rested(self) -> None:
        if self._redirected:
            self._rest()
        elif self.transport.get_write_buffer_size():  # it does not read its answers
            self._server.counters["http_timeouts"] += 1
            self.transport.abort()
        else:
            self.transport.close()

    # what the parser says

    def on_message_begin(self) -> None:
        self._head = max(self._head, 0)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head = -1
        self._arm(self._options.answer_timeout)
        self._see_through_proxies()
        try:
            super().on_headers_complete()
        except (httptools.HttpParserInvalidURLError, UnicodeDecodeError):
            raise httptools.HttpParserError("target is no URL") from None

    def _see_through_proxies(self) -> None:
        """Each request anew: a proxy sends those of many clients on one connection."""
        trust = self._server.trust
        if self.client is None or not trust.proxies:
            return
        origin = resolve(self.client, self.scheme or "http", self.headers, trust)
        self.scope["client"] = origin.client
        self.scope["scheme"] = origin.scheme
        if origin.host:
            self.headers[:] = with_host(self.headers, origin.host)

    def on_response_complete(self) -> None:
        self._server.counters["http_requests"] += 1
        self._disarm()
        queued = bool(self.pipeline)
        super().on_response_complete()
        if queued:
            self._arm(self._options.answer_timeout)
        elif self._head >= 0 and not self.transport.is_closing():  # the next one has begun
            self._arm(self._options.head_timeout)

    def _should_upgrade(self) -> bool:
        return self._get_upgrade() == b"websocket"

    def _upgrade(self, received: bytes) -> None:
        if not self._should_upgrade():
            # h2c and the like may be ignored (RFC 9110 section 7.8): the answer is on its way. The
            # parser has ended, so it is the last.
            self.cycle.keep_alive = False
            return
        if self.cycle is not None and not self.cycle.response_complete:
            # Pipelined behind a request whose answer is still to come.
            error = BusyError("answers wait on this connection", subject="connection")
            self.transport.write(refusal(error))
            self.transport.close()
            return
        self._disarm()
        client = self.scope["client"]
        peer = client[0] if client else ""
        request = UpgradeRequest.of(self.scope["method"], self.url, self.headers, peer, received)
        chat = self._server.chat
        if chat is not None and chat.wants(request.target):
            self.connections.discard(self)
            chat.upgrade(request, self.transport)
        else:
            self._server.websockets.upgrade(request, self.transport)

    # time

    def _arm(self, seconds: float) -> None:
        self._disarm()
        self._moved = False
        self._timer = self.loop.call_later(seconds, self._late)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        if self._endless():
            self._arm(self._options.answer_timeout)
            return
        self._server.counters["http_timeouts"] += 1
        self.transport.abort()

    def _endless(self) -> bool:
        """Whether a request may take as long as it wants to, and its client does its part."""
        cycle, moved = self.cycle, self._moved
        if cycle is None or cycle.response_complete:
            return False
        if ENDLESS not in cycle.scope.get("extensions", ()):
            return False
        return moved or (cycle.response_started and not self.flow.write_paused)
