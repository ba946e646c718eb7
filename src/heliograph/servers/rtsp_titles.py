"""Titles by RTSP: players that speak nothing else are redirected to a server that holds them."""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

from heliograph.catalogue.contents.values import Format
from heliograph.dispatcher.answers import location, wish_of
from heliograph.dispatcher.barring import Refusal
from heliograph.dispatcher.choose import Dispatcher
from heliograph.dispatcher.doors import SENT
from heliograph.model.errors import (
    BusyError,
    ForbiddenError,
    HelioError,
    IncompatibleError,
    NotFoundError,
)

#: Seconds until a player may come again for whom there is no server.
RETRY_AFTER = 2
#: The usual one of RTSP.
PORT = 554


class RtspTitles:
    """What an RTSP server asks for paths that are no channels."""

    def __init__(
        self, dispatcher: Dispatcher, clock: Callable[[], float] = time.time, here: str = ""
    ) -> None:
        """``clock``: seconds since 1970. ``here``: this node's name, among servers as well."""
        self._dispatcher = dispatcher
        self._clock = clock
        self._here = here

    def find(self, name: str, query: str, peer: str) -> str | None:
        """The address to which a client at ``peer`` is sent; None: there is no such title.

        ``ForbiddenError``, ``NotFoundError``, ``IncompatibleError`` (not held for RTSP),
        ``BusyError`` (no server can be used).
        """
        if not self._dispatcher.knows(name):
            return None
        wish = wish_of("", query, (Format.RTSP,))
        found = self._dispatcher.decide(name, wish, peer, self._clock())
        if isinstance(found, Refusal):
            raise _error(found, name)
        return location(found.uri, wish.shown if found.server.ours else "")

    def instead(self, name: str, place: str, query: str, peer: str) -> str | None:
        """The address for a client who asked for a title at ``place`` (host and port), where that
        is a server which is alive and to be left, and another one has the title; None: he stays.

        Errors as of ``find``, without those of want of a server.
        """
        held = self._dispatcher.copies(name).get(Format.RTSP, ())
        asked = _place(f"rtsp://{place}")
        here = [one for one in held if _place(one.uri) == asked or one.server.name == self._here]
        if not here or any(one.server.usable or not one.server.alive for one in here):
            return None
        if not any(one.server.usable for one in held):
            return None
        return self.find(name, query, peer)

    def best(self, name: str, query: str, peer: str) -> str | None:
        """The address for a client who begins with a title that this node and others have; None: he
        is served here, as one who was sent here is.

        Errors as of ``find``, without those of want of a server.
        """
        if not self._dispatcher.stored(name) or SENT in parse_qs(query, keep_blank_values=True):
            return None
        held = self._dispatcher.copies(name).get(Format.RTSP, ())
        if not any(one.server.usable for one in held):
            return None
        wish = wish_of("", query, (Format.RTSP,))
        found = self._dispatcher.decide(name, wish, peer, self._clock())
        if isinstance(found, Refusal):
            raise _error(found, name)
        if found.server.name == self._here:
            return None
        return location(found.uri, wish.shown if found.server.ours else "")


def _place(uri: str) -> tuple[str, int]:
    """Host and port; none of either where there are none."""
    try:
        parts = urlsplit(uri)
        return (parts.hostname or "").lower(), parts.port or PORT
    except ValueError:
        return "", 0


def _error(refusal: Refusal, name: str) -> HelioError:
    match refusal.status:
        case 403 | 451:  # 451 is another thing in RTSP (RFC 2326 section 11.3.1)
            return ForbiddenError(refusal.text, subject=name)
        case 404:
            return NotFoundError(refusal.text, subject=name)
        case 406:
            return IncompatibleError(refusal.text, subject=name)
    return BusyError(refusal.text, subject=name, retry_after=RETRY_AFTER)
