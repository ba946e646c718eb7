"""Who asks, for the web application."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import Request

from heliograph.live.identity import Identity, find_identity
from heliograph.web.context import WebContext

__all__ = ["Identity", "identify", "identity_of"]

#: Methods that change nothing (RFC 9110 section 9.2.1).
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
#: Characters of a program's name that are kept.
MAX_AGENT = 200


async def identify(
    context: WebContext, headers: Mapping[str, str], peer: str, *, safe: bool = False
) -> Identity:
    """Who asks, by headers with lower-case names: the administrator's key as bearer token, or the
    cookie ``helio_session``.

    ``safe``: the request changes nothing. Everything else that a cookie authorises, upgrades to
    WebSocket too, has to come from a page of ours: ``ForbiddenError`` otherwise.
    """
    return await find_identity(
        context.gate,
        context.catalogue,
        headers,
        peer,
        public_host=context.public_host,
        safe=safe,
    )


async def identity_of(request: Request, context: WebContext) -> Identity:
    """Who asks with an HTTP request."""
    return await identify(context, request.headers, peer_of(request), safe=request.method in SAFE)


def peer_of(request: Request) -> str:
    """The numeric address of who asks; empty where it is not known."""
    return request.client.host if request.client else ""


def agent_of(request: Request) -> str:
    """What the asking program calls itself, cut to what lists show."""
    return request.headers.get("user-agent", "")[:MAX_AGENT]
