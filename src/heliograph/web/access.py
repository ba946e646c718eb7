"""Who asks, and what that opens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, TypeAlias

from fastapi import Depends, Request

from heliograph.catalogue.rights import Action, may_create_channels, require
from heliograph.live.admission import Access
from heliograph.live.channel import Channel
from heliograph.live.gate import Asker, settled, view_of
from heliograph.live.grants import Grant
from heliograph.live.identity import Identity, asker_of, bearer
from heliograph.model.errors import ForbiddenError, HelioError, UnauthorizedError
from heliograph.web.context import WebContext
from heliograph.web.identity import SAFE, identity_of, peer_of


def context_of(request: Request) -> WebContext:
    context = request.app.state.context
    assert isinstance(context, WebContext)
    return context


Context: TypeAlias = Annotated[WebContext, Depends(context_of)]


async def require_identity(request: Request, context: Context) -> Identity:
    return await identity_of(request, context)


#: Who asks; somebody who shows nothing as well.
Asking: TypeAlias = Annotated[Identity, Depends(require_identity)]


async def require_administrator(request: Request, identity: Asking) -> Identity:
    """Pass administrators only."""
    if identity.administrator:
        return identity
    if identity.account is not None:
        raise ForbiddenError("only administrators may do this", subject=identity.account.name)
    reason = "the key is wrong" if bearer(request.headers) else "a key is needed"
    raise UnauthorizedError(f"{reason}: Authorization: Bearer <administrator's key>")


Administrator = Depends(require_administrator)
#: Who asks, an administrator.
Administering: TypeAlias = Annotated[Identity, Administrator]


async def require_overseer(request: Request, identity: Asking) -> Identity:
    """Pass administrators, and those of a part of the cluster."""
    return identity if identity.domains else await require_administrator(request, identity)


Overseer = Depends(require_overseer)
#: Who asks, an administrator of the cluster or of a domain of it, which ``domains`` tells.
Overseeing: TypeAlias = Annotated[Identity, Overseer]


def still_overseer(request: Request, context: WebContext) -> Callable[[], Awaitable[bool]]:
    """As ``still_administrator``, for administrators of domains too."""

    async def still() -> bool:
        try:
            return (await identity_of(request, context)).domains != ()
        except HelioError:
            return False

    return still


def still_administrator(request: Request, context: WebContext) -> Callable[[], Awaitable[bool]]:
    """Whether who asks is an administrator also later; for answers that go on."""

    async def still() -> bool:
        try:
            return (await identity_of(request, context)).administrator
        except HelioError:
            return False

    return still


async def require_creator(identity: Asking) -> Identity:
    """Pass who may have channels."""
    if may_create_channels(identity.person):
        return identity
    if identity.person is None:
        raise UnauthorizedError("sign in, or show the administrator's key, to make a channel")
    raise ForbiddenError("only broadcasters may have channels")


#: Who asks, somebody who may have channels.
Creating: TypeAlias = Annotated[Identity, Depends(require_creator)]


async def require_editor(name: str, context: Context, identity: Asking) -> Channel:
    """Pass the channel's owner and administrators."""
    channel = context.channels.get(name)
    require(Action.EDIT, view_of(channel), identity.person)
    return channel


#: The channel in the path, for who may change it.
Edited: TypeAlias = Annotated[Channel, Depends(require_editor)]


async def asker(request: Request, context: WebContext, name: str, protocol: str) -> Asker:
    """Somebody who wants something of channel ``name``."""
    return await asker_of(
        context.catalogue,
        request.headers,
        request.url.query,
        peer_of(request),
        protocol,
        name,
        public_host=context.public_host,
        safe=request.method in SAFE,
    )


async def viewer(
    request: Request, context: WebContext, name: str, protocol: str, *, ask: bool = True
) -> tuple[Channel, Grant]:
    """The channel, for whoever may watch it; places are not counted.

    ``ask``: whether the external authority is asked, as not for each piece of what it granted.
    """
    who = await asker(request, context, name, protocol)
    channel = context.channels.find(name)
    if channel is None:
        raise context.gate.stranger(name, who)
    grant = await settled(context.gate.view(channel, who, ask=ask))
    if not Access.of(channel.options.view_from).permits(who.peer):
        raise ForbiddenError(f"{who.peer} may not watch channel {name!r}", subject=name)
    return channel, grant


async def publisher(
    request: Request, context: WebContext, name: str, protocol: str
) -> tuple[Channel, Grant]:
    """The channel, for whoever may publish on it."""
    who = await asker(request, context, name, protocol)
    channel = context.channels.find(name)
    if channel is None:
        raise context.gate.stranger(name, who)
    return channel, await settled(context.gate.publish(channel, who))
