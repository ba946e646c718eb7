"""Who asks: keys shown with a request, and what they open."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from fastapi import Depends, Request

from heliograph.live.admission import Access, Shown
from heliograph.live.channel import Channel
from heliograph.live.keys import judge
from heliograph.model.errors import ForbiddenError, UnauthorizedError
from heliograph.web.context import WebContext


def context_of(request: Request) -> WebContext:
    context = request.app.state.context
    assert isinstance(context, WebContext)
    return context


Context: TypeAlias = Annotated[WebContext, Depends(context_of)]


def bearer(request: Request) -> str | None:
    """The bearer token (RFC 6750 section 2.1)."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def require_administrator(request: Request, context: Context) -> None:
    """Pass administrators only."""
    shown = judge(bearer(request), context.administrator_key)
    if shown is not Shown.GOOD:
        reason = "the key is wrong" if shown is Shown.WRONG else "a key is needed"
        raise UnauthorizedError(f"{reason}: Authorization: Bearer <administrator's key>")


Administrator = Depends(require_administrator)


def require_reader(request: Request, context: WebContext, channel: Channel) -> None:
    """Pass whoever may watch the channel; places are not counted."""
    peer = request.client.host if request.client else ""
    if not Access.of(channel.options.view_from).permits(peer):
        raise ForbiddenError(f"{peer} may not watch channel {channel.name!r}", subject=channel.name)
    if channel.options.view_key:
        keys = (channel.options.view_key, channel.key, context.administrator_key)
        shown = judge(bearer(request) or request.query_params.get("key"), *keys)
        if shown is not Shown.GOOD:
            raise UnauthorizedError(
                f"a key is needed to watch channel {channel.name!r}", subject=channel.name
            )
