"""RTSP on the wire: requests, responses, interleaved frames (RFC 2326 §4–§7, §10.12).

``MessageParser`` takes bytes as they come and gives whole messages. It is lenient where peers are
(bare LF, blank lines between messages, folded headers) and never resynchronises: after an error
the position in the stream is unknown, so the connection must be closed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from heliograph.model.errors import MalformedError

#: URLs with tokens reach 2 KiB; HTTP servers commonly stop at 8 KiB.
MAX_LINE = 8192
#: Players send fewer than 15 headers; HTTP servers commonly stop at 100.
MAX_HEADERS = 100
#: Start line and headers of one message together.
MAX_HEAD = 32 * 1024
#: The largest body is an SDP (``sdp.MAX_SDP``).
MAX_BODY = 64 * 1024

#: What a method may be: a token (RFC 7230 §3.2.6); methods are upper case in every RFC.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_VERSION = re.compile(r"RTSP/([12])\.(\d)", re.ASCII)
_CONTENT_LENGTH = re.compile(r"\d{1,9}", re.ASCII)

#: First byte of an interleaved frame (RFC 2326 §10.12).
INTERLEAVED = 0x24

#: Headers whose values never appear in logs.
_SECRET_HEADERS = frozenset(("authorization", "proxy-authorization", "www-authenticate"))


class Headers:
    """Header fields in order; names are compared without regard to case. Immutable."""

    __slots__ = ("_items",)

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        self._items = tuple(items)

    def get(self, name: str) -> str | None:
        """The first value of ``name``."""
        wanted = name.lower()
        return next((value for key, value in self._items if key.lower() == wanted), None)

    def get_all(self, name: str) -> tuple[str, ...]:
        """Every value of ``name``, in order."""
        wanted = name.lower()
        return tuple(value for key, value in self._items if key.lower() == wanted)

    def joined(self, name: str) -> str | None:
        """All values of a header that is a list, joined by commas (RFC 7826 §5.2)."""
        values = self.get_all(name)
        return ", ".join(values) if values else None

    def with_(self, name: str, value: str) -> Headers:
        """A copy with one header added at the end."""
        return Headers((*self._items, (name, value)))

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and self._items == other._items

    def __hash__(self) -> int:
        return hash(self._items)

    def __repr__(self) -> str:
        shown = ((n, "…" if n.lower() in _SECRET_HEADERS else v) for n, v in self._items)
        return f"Headers({list(shown)!r})"


@dataclass(frozen=True, slots=True)
class Request:
    """A request, of either side (RFC 2326 §6)."""

    method: str
    """Such as ``DESCRIBE``; case kept, methods are case-sensitive."""
    url: str = field(repr=False)
    """Absolute URL or ``*``, as written; not in ``repr`` because it may hold a key."""
    headers: Headers = field(default_factory=Headers)
    """Header fields without Content-Length, which follows from ``body`` when written."""
    body: bytes = field(default=b"", repr=False)
    """At most ``MAX_BODY`` bytes."""
    version: str = "1.0"
    """``1.0`` or ``2.0``."""

    def serialize(self) -> bytes:
        """The request as bytes to send."""
        return _serialize(f"{self.method} {self.url} RTSP/{self.version}", self.headers, self.body)


@dataclass(frozen=True, slots=True)
class Response:
    """A response, of either side (RFC 2326 §7)."""

    status: int
    """100–999."""
    reason: str = ""
    """Text for people."""
    headers: Headers = field(default_factory=Headers)
    """Header fields without Content-Length, which follows from ``body`` when written."""
    body: bytes = field(default=b"", repr=False)
    """At most ``MAX_BODY`` bytes."""
    version: str = "1.0"
    """``1.0`` or ``2.0``."""

    def serialize(self) -> bytes:
        """The response as bytes to send."""
        start = f"RTSP/{self.version} {self.status} {self.reason or 'Unknown'}"
        return _serialize(start, self.headers, self.body)


@dataclass(frozen=True, slots=True)
class InterleavedFrame:
    """Binary data between messages: ``$``, channel, 16-bit length, data (RFC 2326 §10.12)."""

    channel: int
    """0–255, as agreed by SETUP."""
    data: bytes = field(repr=False)
    """One RTP or RTCP packet, at most 65 535 bytes."""

    def serialize(self) -> bytes:
        """The frame as bytes to send."""
        return b"$" + bytes((self.channel,)) + len(self.data).to_bytes(2, "big") + self.data


Message: TypeAlias = Request | Response | InterleavedFrame


def _serialize(start: str, headers: Headers, body: bytes) -> bytes:
    lines = [start]
    lines.extend(f"{name}: {value}" for name, value in headers)
    if body:
        lines.append(f"Content-Length: {len(body)}")
    text = "\r\n".join(lines)
    # What others sent us may come back in a header; a line end in it would forge another one.
    if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1:
        raise MalformedError("rtsp", "line end inside a header")
    return text.encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body


class MessageParser:
    """Cuts a byte stream into messages.

    Feed bytes with ``feed``, take messages with ``next_message`` until it gives ``None``. Memory is
    bounded by one message and what was fed at once. Time is linear in the bytes fed.
    """

    def __init__(self, *, max_body: int = MAX_BODY) -> None:
        self._buffer = bytearray()
        self._start = 0  # bytes of the buffer already used
        self._searched = 0  # where the search for the end of the head goes on
        self._head: Request | Response | None = None
        self._body_length = 0
        self._max_body = max_body
        self._error: MalformedError | None = None

    def feed(self, data: bytes) -> None:
        """Append what was received."""
        if self._start:
            del self._buffer[: self._start]
            self._searched = max(0, self._searched - self._start)
            self._start = 0
        self._buffer += data

    def next_message(self) -> Message | None:
        """The next whole message, or ``None`` if more bytes are needed.

        ``MalformedError`` if the stream is not RTSP; then it is raised for every further call.
        """
        if self._error is not None:
            raise self._error
        try:
            return self._next()
        except MalformedError as error:
            self._error = error
            raise

    @property
    def pending(self) -> bytes:
        """Bytes fed and not used yet: what goes along when the connection is handed over."""
        return bytes(self._buffer[self._start :]) if self._head is None else b""

    @property
    def midway(self) -> bool:
        """Whether a message has begun and not ended; the connection's end would cut it."""
        return self._head is not None or self._start < len(self._buffer)

    def _next(self) -> Message | None:
        if self._head is None:
            self._skip_blank_lines()
            if self._start == len(self._buffer):
                return None
            if self._buffer[self._start] == INTERLEAVED:
                return self._next_frame()
            if not self._read_head():
                return None
        assert self._head is not None
        body = self._take(self._body_length)
        if body is None:
            return None
        message, self._head = self._head, None
        if not body:
            return message
        if isinstance(message, Request):
            return Request(message.method, message.url, message.headers, body, message.version)
        return Response(message.status, message.reason, message.headers, body, message.version)

    def _skip_blank_lines(self) -> None:
        """CRLF before a message is ignored (RFC 7230 §3.5); some clients send it."""
        while self._start < len(self._buffer) and self._buffer[self._start] in (0x0D, 0x0A):
            self._start += 1
        self._searched = max(self._searched, self._start)

    def _next_frame(self) -> InterleavedFrame | None:
        if len(self._buffer) - self._start < 4:
            return None
        channel = self._buffer[self._start + 1]
        length = int.from_bytes(self._buffer[self._start + 2 : self._start + 4], "big")
        frame = self._take(4 + length)
        return None if frame is None else InterleavedFrame(channel, frame[4:])

    def _take(self, count: int) -> bytes | None:
        end = self._start + count
        if len(self._buffer) < end:
            return None
        taken = bytes(self._buffer[self._start : end])
        self._start = self._searched = end
        return taken

    def _read_head(self) -> bool:
        """Find the blank line that ends the head, and parse what stands before it."""
        position = self._searched
        while True:
            end = self._buffer.find(b"\n", position)
            limit = len(self._buffer) if end < 0 else end
            if limit - self._start > MAX_HEAD:
                raise MalformedError("rtsp", f"headers above {MAX_HEAD} bytes")
            if end < 0:
                if len(self._buffer) - position > MAX_LINE:
                    raise MalformedError("rtsp", f"line above {MAX_LINE} bytes")
                # A peer that is not speaking RTSP is told apart early, not at the end of a line.
                self._check_beginning()
                self._searched = position
                return False
            if end - position > MAX_LINE:
                raise MalformedError("rtsp", f"line above {MAX_LINE} bytes")
            line = self._buffer[position:end]
            if position > self._start and bytes(line) in (b"", b"\r"):
                break
            position = end + 1
        head = bytes(self._buffer[self._start : position])
        self._start = self._searched = end + 1
        self._parse_head(head)
        return True

    def _check_beginning(self) -> None:
        first = self._buffer[self._start]
        if not (0x41 <= first <= 0x5A or 0x61 <= first <= 0x7A):
            raise MalformedError("rtsp", f"message begins with byte 0x{first:02x}")

    def _parse_head(self, head: bytes) -> None:
        # UTF-8 by RFC 7826 §20; what is not UTF-8 survives a round trip as surrogates.
        lines = head.decode("utf-8", "surrogateescape").replace("\r\n", "\n").split("\n")
        if "\r" in head.decode("latin-1").replace("\r\n", "") or "\0" in lines[0]:
            raise MalformedError("rtsp", "control character in the head")
        headers = _parse_headers(lines[1:])
        self._body_length = self._content_length(headers)
        kept = Headers((n, v) for n, v in headers if n.lower() != "content-length")
        start = lines[0].rstrip()
        if start.startswith("RTSP/"):
            self._head = _parse_status_line(start, kept)
        else:
            self._head = _parse_request_line(start, kept)

    def _content_length(self, headers: Headers) -> int:
        values = {value.strip() for value in headers.get_all("content-length")}
        if not values:
            return 0  # RFC 2326 §4.4: without Content-Length there is no body
        value = values.pop()
        if values or not _CONTENT_LENGTH.fullmatch(value):
            raise MalformedError("rtsp", f"Content-Length {value[:40]!r}")
        if int(value) > self._max_body:
            raise MalformedError("rtsp", f"body of {value} bytes, above {self._max_body}")
        return int(value)


def _parse_headers(lines: list[str]) -> Headers:
    items: list[tuple[str, str]] = []
    if len(lines) > MAX_HEADERS + 1:
        raise MalformedError("rtsp", f"more than {MAX_HEADERS} header lines")
    for line in lines:
        if not line:
            continue
        if line[0] in " \t":  # folded (RFC 2326 §4.2, by RFC 822)
            if not items:
                raise MalformedError("rtsp", "folded line without a header")
            name, value = items[-1]
            items[-1] = (name, f"{value} {line.strip()}".strip())
            continue
        name, colon, value = line.partition(":")
        name = name.rstrip()
        if not colon or not _TOKEN.fullmatch(name):
            raise MalformedError("rtsp", f"header {line[:40]!r}")
        if "\0" in value:
            raise MalformedError("rtsp", "NUL byte in a header")
        items.append((name, value.strip()))
    return Headers(items)


def _parse_version(text: str) -> str:
    match = _VERSION.fullmatch(text)
    if match is None:
        raise MalformedError("rtsp", f"version {text[:20]!r}")
    return f"{match[1]}.{match[2]}"


def _parse_request_line(line: str, headers: Headers) -> Request:
    method, _, rest = line.partition(" ")
    url, blank, version = rest.strip().rpartition(" ")
    url = url.strip()
    if not blank or not url or not _TOKEN.fullmatch(method):
        raise MalformedError("rtsp", "no request line")
    if any(ord(c) <= 0x20 or ord(c) == 0x7F for c in url):
        raise MalformedError("rtsp", "blank or control character in the URL")
    return Request(method, url, headers, b"", _parse_version(version))


def _parse_status_line(line: str, headers: Headers) -> Response:
    version, _, rest = line.partition(" ")
    status, _, reason = rest.strip().partition(" ")
    if not re.fullmatch(r"[1-9]\d\d", status, re.ASCII):
        raise MalformedError("rtsp", f"status {status[:20]!r}")
    return Response(int(status), reason.strip(), headers, b"", _parse_version(version))
