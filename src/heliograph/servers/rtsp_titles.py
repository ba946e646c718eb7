"""Titles by RTSP: players that speak nothing else are redirected to a server that holds them."""

from __future__ import annotations

import time
from collections.abc import Callable

from heliograph.catalogue.contents.values import Format
from heliograph.dispatcher.answers import location, wish_of
from heliograph.dispatcher.choose import Dispatcher, Refusal
from heliograph.model.errors import (
    BusyError,
    ForbiddenError,
    HelioError,
    IncompatibleError,
    NotFoundError,
)

#: Seconds until a player may come again for whom there is no server.
RETRY_AFTER = 2


class RtspTitles:
    """What an RTSP server asks for paths that are no channels."""

    def __init__(self, dispatcher: Dispatcher, clock: Callable[[], float] = time.time) -> None:
        """``clock``: seconds since 1970."""
        self._dispatcher = dispatcher
        self._clock = clock

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

    def bar(self, name: str, peer: str) -> None:
        """``ForbiddenError`` where a title that is known may not be had by a client at ``peer``,
        whoever holds it."""
        refusal = self._dispatcher.barred(name, peer)
        if refusal is not None:
            raise _error(refusal, name)


def _error(refusal: Refusal, name: str) -> HelioError:
    match refusal.status:
        case 403 | 451:  # 451 is another thing in RTSP (RFC 2326 section 11.3.1)
            return ForbiddenError(refusal.text, subject=name)
        case 404:
            return NotFoundError(refusal.text, subject=name)
        case 406:
            return IncompatibleError(refusal.text, subject=name)
    return BusyError(refusal.text, subject=name, retry_after=RETRY_AFTER)
