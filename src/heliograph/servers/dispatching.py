"""Redirects at once: plain requests for logical ids are answered beside the web application.

A request that came in one piece, has no body and asks by ``GET /go/NAME`` for a title needs neither
parser nor task. What its head says is remembered by its bytes, since clients repeat themselves; the
decision and the answer are those of ``dispatcher``. Whatever is unusual is left to the application,
which gives the same answers.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from heliograph.catalogue.contents.values import Format
from heliograph.dispatcher.answers import (
    REDIRECT_LINES,
    Answer,
    Wish,
    accept_of,
    goes_on,
    location_line,
    wish_of,
)
from heliograph.dispatcher.barring import Refusal
from heliograph.dispatcher.choose import Dispatcher, Route
from heliograph.servers.forwarded import Trust, resolve

#: How such a request begins.
GO = b"GET /go/"
#: Bytes of a head that is looked at here; players send 200, browsers with cookies some thousand.
MAX_HEAD = 4096
#: Heads remembered; then all are forgotten. As many kinds of clients as come at a time, and what
#: somebody who makes them up can have of our memory: 8 MB.
MAX_HEADS = 2048

_VERSION = b" HTTP/1.1\r\n"
#: The query, if there is one, and the lines of a head.
_HEAD = re.compile(
    rb"(\?[!\"$-~]*\r\n)?"
    rb"((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n)*)\r\n"
)
#: What a request may not have to be answered here: it is more than a head, or to become another.
_UNUSUAL = {b"content-length", b"transfer-encoding", b"upgrade", b"expect", b"trailer"}
_FORWARDED = {b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"}


@dataclass(frozen=True, slots=True)
class Head:
    """What a request says behind the name of what it wants."""

    wish: Wish
    close: bool
    """Whether the connection ends with the answer."""
    forwarded: tuple[tuple[bytes, bytes], ...]
    """What proxies say, names in lower case."""


class Redirects:
    """Answers requests for titles; one an HTTP server."""

    def __init__(
        self, dispatcher: Dispatcher, trust: Trust, clock: Callable[[], float] = time.time
    ) -> None:
        """``trust``: which proxies are believed. ``clock``: seconds since 1970."""
        self.dispatcher = dispatcher
        self.answered = 0
        """Requests since the start."""
        self._trust = trust
        self._clock = clock
        self._heads: dict[bytes, Head | None] = {}
        self._routes: dict[bytes, Route] = {}
        """By method and path; as many as the dispatcher has."""
        self._known = dispatcher.routes
        self._date = b""
        self._sent_on = b""
        """A redirect up to the header that differs."""
        self._last = b""
        """The same of one with which the connection ends."""
        self.stamp(b"")

    def stamp(self, date: bytes) -> None:
        """Give the date of the answers from now on (RFC 9110 section 6.6.1)."""
        self._date = b"date: %b\r\n" % date if date else b""
        begin = b"HTTP/1.1 302 Found\r\n" + self._date
        self._sent_on = begin + REDIRECT_LINES
        self._last = b"%bconnection: close\r\n%b" % (begin, REDIRECT_LINES)

    def trusts(self, peer: str) -> bool:
        """Whether a connection is a proxy's that is believed."""
        return self._trust.covers(peer)

    def answer(
        self, data: bytes, peer: tuple[str, int], scheme: str, trusted: bool
    ) -> tuple[bytes, bool] | None:
        """The answer to what came, which begins with ``GO``, and whether it is the last.

        None: the application has to look at it. ``trusted``: as of ``trusts``.
        """
        dispatcher = self.dispatcher
        if dispatcher.routes is not self._known:  # other titles, or other settings
            self._known = dispatcher.routes
            self._routes, self._heads = {}, {}
        first, _, rest = data.partition(_VERSION)
        if b"?" in first:
            first, _, query = first.partition(b"?")
            rest = b"?%b\r\n%b" % (query, rest)
        route = self._routes.get(first) or self._route(first)
        if route is None or not route.held:  # our volumes may have it
            return None
        try:
            head = self._heads[rest]
        except KeyError:
            head = self._read(rest)
        if head is None:
            return None
        if trusted:
            peer = resolve(peer, scheme, head.forwarded, self._trust).client
        wish = head.wish
        if route.stored and dispatcher.for_here(route.name, wish):
            return None
        self.answered += 1
        found = dispatcher.decide_for(route, wish, peer[0], self._clock())
        if type(found) is Refusal:
            return self._refused(found.answer(wish), head.close), head.close
        line = found.line
        if wish.shown and found.server.ours:
            line = location_line(found.uri, wish.shown)
        elif not line:
            line = found.line = location_line(found.uri)
        if head.close:
            return self._last + line, True
        return self._sent_on + line, False

    def _refused(self, answer: Answer, close: bool) -> bytes:
        phrase = HTTPStatus(answer.status).phrase.encode("ascii")
        ends = b"connection: close\r\n" if close else b""
        begin = b"HTTP/1.1 %d %b\r\n%b%b" % (answer.status, phrase, self._date, ends)
        return begin + answer.tail()

    def _route(self, first: bytes) -> Route | None:
        route = self.dispatcher.route(first[len(GO) :].decode("latin-1"))
        if route is not None and self.dispatcher.routes is self._known:
            self._routes[first] = route
        return route

    def _read(self, rest: bytes) -> Head | None:
        if len(rest) > MAX_HEAD:
            return None
        if len(self._heads) >= MAX_HEADS:
            self._heads.clear()
        head = self._heads[rest] = read_head(rest, self.dispatcher.options.order)
        return head


def read_head(rest: bytes, order: tuple[Format, ...]) -> Head | None:
    """Read a head without its first line, the query as a line before it where there is one; None
    where it is not a plain and whole one."""
    match = _HEAD.fullmatch(rest)
    if match is None:
        return None
    headers = []
    for line in match[2].split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        headers.append((name.lower(), value.strip(b" \t")))
    if any(name in _UNUSUAL for name, _ in headers):
        return None
    close = False
    for name, value in headers:
        if name == b"connection":
            if value.lower() not in (b"keep-alive", b"close"):
                return None
            close = close or value.lower() == b"close"
    query = (match[1] or b"?\r\n")[1:-2].decode("ascii")
    wish = wish_of(accept_of(headers), query, order, later=goes_on(headers))
    return Head(wish, close, tuple(pair for pair in headers if pair[0] in _FORWARDED))
