"""The upgrade to WebSocket (RFC 6455 section 4.2) of ``/ws/NAME``, and the hand-over to the plane.

Nothing here reads or writes frames: once the upgrade is answered the socket is the plane's.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol
from urllib.parse import unquote

import structlog

from heliograph.catalogue.catalogue import Catalogue
from heliograph.live import wire
from heliograph.live.channel import Channel
from heliograph.live.frames import FrameSession
from heliograph.live.gate import Gate, settled
from heliograph.live.grants import Grant
from heliograph.live.identity import asker_of, check_origin
from heliograph.live.registry import Channels
from heliograph.model.errors import (
    BusyError,
    HelioError,
    MalformedError,
    NotFoundError,
    ResourceError,
)

log = structlog.get_logger(__name__)

#: RFC 6455 section 1.3.
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#: Version of the protocol that all browsers speak (RFC 6455 section 4.1).
_VERSION = "13"
_PREFIX = "/ws/"
#: Characters of a program's name that are kept.
_MAX_AGENT = 200
#: Seconds until somebody is let in or not: the database and an external authority answer within.
_PATIENCE = 20.0


class VersionError(MalformedError):
    """Another version of WebSocket; the answer names ours (RFC 6455 section 4.4)."""

    status = 426


@dataclass(frozen=True, slots=True)
class UpgradeRequest:
    """The head of a request that wants to become a WebSocket."""

    method: str
    target: str
    """Path and query as on the wire."""
    headers: Mapping[str, str]
    """Names in lower case; repeated ones joined with commas."""
    peer: str
    """Numeric address."""
    received: bytes = b""
    """What came behind the head already."""

    @classmethod
    def of(
        cls,
        method: str,
        target: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        peer: str,
        received: bytes = b"",
    ) -> UpgradeRequest:
        joined: dict[str, str] = {}
        for raw_name, raw_value in headers:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1").strip()
            joined[name] = f"{joined[name]}, {value}" if name in joined else value
        return cls(method, target.decode("latin-1"), joined, peer, received)

    def under(self, prefix: str) -> str:
        """The channel's name in a path that begins so; ``NotFoundError`` for another path."""
        path = self.target.partition("?")[0]
        name = unquote(path.removeprefix(prefix))
        if not path.startswith(prefix) or "/" in name:
            raise NotFoundError("no WebSocket here", subject=path[:80])
        return name

    @property
    def query(self) -> str:
        """What follows ``?``, verbatim; may hold a key or a token."""
        return self.target.partition("?")[2]


def accept(
    request: UpgradeRequest, public_host: str = "", subprotocol: str = wire.SUBPROTOCOL
) -> bytes:
    """Check the handshake and give the answer to it; the typed error says what is wrong."""
    headers = request.headers
    if request.method != "GET":
        raise MalformedError("websocket handshake", "not a GET")
    if "upgrade" not in _words(headers.get("connection", "")):
        raise MalformedError("websocket handshake", "no Connection: Upgrade")
    if headers.get("sec-websocket-version") != _VERSION:
        raise VersionError("websocket handshake", f"version {_VERSION} is spoken here")
    key = headers.get("sec-websocket-key", "")
    try:
        nonce = base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        nonce = b""
    if len(nonce) != 16:
        raise MalformedError("websocket handshake", "Sec-WebSocket-Key is not 16 bytes")
    # Only pages of ours may use what the viewer's address or cookie opens.
    check_origin(headers, public_host, needed=False)
    asked = [word.strip() for word in headers.get("sec-websocket-protocol", "").split(",")]
    if asked != [""] and subprotocol not in asked:
        raise MalformedError("websocket handshake", f"{subprotocol} is spoken here")
    digest = base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {digest}",
    ]
    if asked != [""]:  # one that was not offered must not be answered
        lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _words(value: str) -> list[str]:
    return [word.strip().lower() for word in value.split(",")]


def refusal(error: HelioError, *, head_only: bool = False) -> bytes:
    """A whole HTTP answer that says why, in the form of the REST API."""
    status = HTTPStatus(error.status)
    body = json.dumps(
        {"error": {"status": int(status), "message": error.message, "subject": error.subject}}
    ).encode()
    lines = [
        f"HTTP/1.1 {int(status)} {status.phrase}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    ]
    if isinstance(error, VersionError):
        lines += ["Upgrade: websocket", f"Sec-WebSocket-Version: {_VERSION}"]
    if status is HTTPStatus.UNAUTHORIZED:
        lines.append("WWW-Authenticate: Bearer")
    if isinstance(error, BusyError) and error.retry_after is not None:
        lines.append(f"Retry-After: {error.retry_after}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + (b"" if head_only else body)


class Site(Protocol):
    """What is served; the web application's context has it."""

    @property
    def channels(self) -> Channels: ...
    @property
    def catalogue(self) -> Catalogue: ...
    @property
    def gate(self) -> Gate: ...
    @property
    def public_host(self) -> str:
        """A host whose pages may read, beside the one asked for."""

    @property
    def counters(self) -> Counter[str]: ...


class WebSockets:
    """Takes connections that want to become WebSockets of channels."""

    def __init__(self, site: Site) -> None:
        self.open = 0
        """Viewers there are now."""
        self._site = site
        self._deciding: set[asyncio.Task[None]] = set()
        self._counters = site.counters
        self._counters.update(websockets_opened=0, websockets_refused=0)

    def upgrade(self, request: UpgradeRequest, transport: asyncio.Transport) -> None:
        """Answer, and leave the connection to the plane or close it.

        Nothing is read meanwhile: what comes behind the head is for the plane.
        """
        if transport.is_closing():
            return
        transport.pause_reading()
        task = asyncio.get_running_loop().create_task(self._decide(request, transport))
        self._deciding.add(task)
        task.add_done_callback(self._deciding.discard)

    async def _decide(self, request: UpgradeRequest, transport: asyncio.Transport) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                channel, grant = await self._admit(request)
            answer = accept(request, self._site.public_host)
            if not transport.is_closing():
                self._hand_over(channel, grant, request, answer, transport)
        except TimeoutError:
            self._counters["websockets_refused"] += 1
            transport.abort()
        except HelioError as error:
            self._counters["websockets_refused"] += 1
            log.info("websocket refused", peer=request.peer, status=error.status, error=str(error))
            if not transport.is_closing():
                transport.write(refusal(error))
                transport.close()

    async def _admit(self, request: UpgradeRequest) -> tuple[Channel, Grant]:
        site, name = self._site, request.under(_PREFIX)
        asker = await asker_of(
            site.catalogue,
            request.headers,
            request.query,
            request.peer,
            "websocket",
            name,
            public_host=site.public_host,
        )
        channel = site.channels.find(name)
        if channel is None:
            raise site.gate.stranger(name, asker)
        grant = await settled(site.gate.view(channel, asker))
        try:
            channel.audience.check(request.peer, grant=grant)
        except NotFoundError:
            # Nobody said yet what the channel will carry: viewers wait for that.
            if channel.tracks:
                raise
        return channel, grant

    def _hand_over(
        self,
        channel: Channel,
        grant: Grant,
        request: UpgradeRequest,
        answer: bytes,
        transport: asyncio.Transport,
    ) -> None:
        """Pass the socket on.

        asyncio's transport closes its own descriptor and no more: neither ``abort`` nor the close
        of one of several descriptors says anything to the peer. The answer goes straight to the
        socket, as the transport might still hold it when it is aborted.
        """
        if transport.get_write_buffer_size():  # an earlier answer is not read; ours cannot follow
            raise BusyError("answers wait on this connection", subject="connection")
        try:
            fd = os.dup(transport.get_extra_info("socket").fileno())
        except OSError as error:
            raise ResourceError(f"no descriptor for a websocket: {error.strerror}") from error
        try:
            # Some 200 bytes into the empty buffer of a fresh connection: all or a dead peer.
            if os.write(fd, answer) == len(answer):
                FrameSession.open(
                    channel,
                    self._site.channels.loop,
                    fd,
                    peer=request.peer,
                    agent=request.headers.get("user-agent", "")[:_MAX_AGENT],
                    grant=grant,
                    received=request.received,
                    on_end=self._ended,
                )
                self.open += 1
                self._counters["websockets_opened"] += 1
        except (OSError, KeyError) as error:
            log.info("websocket not opened", peer=request.peer, error=str(error))
        finally:
            os.close(fd)
            transport.abort()

    def _ended(self) -> None:
        self.open -= 1
