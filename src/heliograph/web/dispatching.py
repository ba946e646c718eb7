"""One address for everything: ``/go/NAME`` sends to where a title or channel is served best.

Plain requests for titles are answered before they get here (``servers.dispatching``), by the same
functions.
"""

from __future__ import annotations

import time
from dataclasses import replace

from fastapi import APIRouter, Request, Response

from heliograph.catalogue.contents.values import Format
from heliograph.dispatcher import steering
from heliograph.dispatcher.answers import (
    ORDER,
    Answer,
    Wish,
    accept_of,
    goes_on,
    redirect,
    refusal,
    wish_of,
)
from heliograph.live.channel import Channel
from heliograph.model.errors import NotFoundError, UnauthorizedError
from heliograph.web.access import Context, asker, viewer
from heliograph.web.answers import urls
from heliograph.web.context import WebContext
from heliograph.web.identity import peer_of

router = APIRouter(tags=["dispatcher"])

_REFUSALS: dict[int | str, dict[str, str]] = {
    403: {"description": "Clients of that network are not served."},
    404: {"description": "Nothing of that name, or no server holds it."},
    406: {"description": "Not in a format that the client takes."},
    451: {"description": "Not licensed for the client's region."},
    503: {"description": "No server that holds it can be used now; see `Retry-After`."},
}
_REDIRECT: dict[int | str, dict[str, str]] = {302: {"description": "To the best server."}}


def _response(answer: Answer) -> Response:
    response = Response(answer.body, answer.status)
    response.raw_headers[:] = answer.headers
    return response


def _wish(request: Request, context: WebContext) -> Wish:
    order = ORDER if context.dispatcher is None else context.dispatcher.options.order
    query = request.scope["query_string"].decode("latin-1")
    headers = request.headers.raw
    wish = wish_of(accept_of(headers), query, order, later=goes_on(headers))
    return replace(wish, head=True) if request.method == "HEAD" else wish


@router.get("/go/{name}", status_code=302, response_class=Response, responses=_REDIRECT | _REFUSALS)
@router.head("/go/{name}", status_code=302, response_class=Response, include_in_schema=False)
async def go(name: str, request: Request, context: Context) -> Response:
    """To the server that serves a title or channel best.

    `?format=` names what to play it by (`mp4`, `hls`, `rtsp`, `whep`), otherwise `Accept` says
    what the client takes. Browsers are sent to a channel's page. View tokens (`?token=`) and keys
    (`?key=`) go along to servers of ours.
    """
    dispatcher, wish, peer = context.dispatcher, _wish(request, context), peer_of(request)
    if dispatcher is None or not dispatcher.sends(name):
        found = await _live(name, wish, request, context)
        found = found or _shelved(name, wish, request, context)
        if found is not None:
            return _response(found)
    elif dispatcher.for_here(name, wish):
        found = _shelved(name, wish, request, context)
        if found is not None:
            return _response(found)
    if dispatcher is None:
        return _response(refusal(404, "there are no titles here", page=wish.page))
    return _response(dispatcher.answer(name, wish, peer, time.time()))


@router.get(
    "/go/{name}/index.m3u8",
    response_class=Response,
    responses=_REFUSALS
    | _REDIRECT
    | {200: {"description": "The multivariant playlist.", "content": {steering.PLAYLIST: {}}}},
)
@router.head("/go/{name}/index.m3u8", response_class=Response, include_in_schema=False)
async def playlist(name: str, request: Request, context: Context) -> Response:
    """A title in HLS on all servers that hold it; players move between them while they play.

    For a channel it is a redirect to its own playlist.
    """
    dispatcher, wish, peer = context.dispatcher, _wish(request, context), peer_of(request)
    alone = Wish((Format.HLS,), wish.page, wish.shown, named=True, head=wish.head)
    if dispatcher is None or not dispatcher.sends(name) or dispatcher.for_here(name, alone):
        found = await _live(name, alone, request, context)
        found = found or _shelved(name, alone, request, context)
        if found is not None:
            return _response(found)
    if dispatcher is None:
        return _response(refusal(404, "there are no titles here", page=wish.page))
    find = context.renditions.find
    if dispatcher.barred(name, peer) is None:
        await context.renditions.learn(steering.addresses(dispatcher, name))
    return _response(steering.playlist(dispatcher, find, name, wish, peer, time.time()))


@router.get(
    "/steering/{name}",
    response_class=Response,
    responses=_REFUSALS
    | {200: {"description": "The steering manifest.", "content": {steering.MANIFEST: {}}}},
)
async def manifest(name: str, request: Request, context: Context) -> Response:
    """Which servers players of a title in HLS are to use, the best first.

    `_HLS_pathway` is the one that the player uses; it stays as long as that can be used.
    """
    dispatcher, wish, peer = context.dispatcher, _wish(request, context), peer_of(request)
    if dispatcher is None:
        return _response(refusal(404, "there are no titles here", page=False))
    pathway = request.query_params.get("_HLS_pathway", "").strip('"')
    find, now = context.renditions.find, time.time()
    if dispatcher.barred(name, peer) is None:  # for the next time; this answer waits for nothing
        await context.renditions.learn(steering.addresses(dispatcher, name), 0)
    return _response(steering.manifest(dispatcher, find, name, wish, peer, now, pathway))


def _shelved(name: str, wish: Wish, request: Request, context: WebContext) -> Answer | None:
    """Where a title of our own volumes is played, which is here; None where there is none.

    Whether the client may see what a channel's rules guard is said there.
    """
    if context.ondemand is None or context.ondemand.shelf.find(name) is None:
        return None
    dispatcher, peer = context.dispatcher, peer_of(request)
    barred = context.barring.barred(name, peer)
    if barred is not None:
        if dispatcher is not None:
            dispatcher.decided(name, barred.status, peer, time.time())
        return barred.answer(wish)
    suffix = f"?{wish.shown}" if wish.shown else ""
    where, chosen = None, ""
    if wish.page and not wish.named:
        where = f"/watch/{name}{suffix}"
    for format in () if where else wish.formats:
        match format:
            case Format.HLS:
                where = f"/hls/{name}/index.m3u8{suffix}"
            case Format.MP4:
                where = f"/titles/{name}.mp4{suffix}"
            case Format.RTSP if context.rtsp_port:
                where = f"{urls(request, context, name)['rtsp']}{suffix}"
            case _:
                continue
        chosen = format
        break
    if where is None:
        answer = refusal(406, "this title is not sent in a format that you take", page=wish.page)
    else:
        answer = redirect(where)
    if dispatcher is not None:
        sent = wish if answer.status == 302 else None
        dispatcher.decided(name, answer.status, peer, time.time(), chosen, sent)
    return answer


async def _live(name: str, wish: Wish, request: Request, context: WebContext) -> Answer | None:
    """Where a channel is watched; None where there is none, or none that the client may know of."""
    channel = context.channels.find(name)
    if channel is None:
        return None
    who = await asker(request, context, name, "go")
    if not context.gate.may_know(channel, who):
        return None
    barred = context.barring.refused(who.peer)
    if barred is not None:
        if context.dispatcher is not None:
            context.dispatcher.decided(name, barred.status, who.peer, time.time())
        return barred.answer(wish)
    format, where = await _where(channel, wish, request, context)
    if where is None:
        answer = refusal(406, "this channel is not sent in a format that you take", page=wish.page)
    else:
        answer = redirect(where)
    if context.dispatcher is not None:
        sent = wish if answer.status == 302 else None
        context.dispatcher.decided(name, answer.status, who.peer, time.time(), format, sent)
    return answer


async def _where(
    channel: Channel, wish: Wish, request: Request, context: WebContext
) -> tuple[Format | str, str | None]:
    suffix = f"?{wish.shown}" if wish.shown else ""
    if wish.page and not wish.named:
        return "", f"/watch/{channel.name}{suffix}"
    for format in wish.formats:
        match format:
            case Format.HLS:
                return format, f"/hls/{channel.name}/index.m3u8{suffix}"
            case Format.WHEP if context.rtc is not None or context.portal is not None:
                return format, f"/whep/{channel.name}{suffix}"
            case Format.RTSP if context.rtsp_port:
                return format, await _rtsp(channel, wish, request, context)
    return "", None


async def _rtsp(channel: Channel, wish: Wish, request: Request, context: WebContext) -> str:
    """The unit that has a place for the viewer, or this node, which then asks for what it needs."""
    shown = wish.shown
    if context.places is not None and context.places.sends:
        try:
            found, grant = await viewer(request, context, channel.name, "rtsp")
            place = await context.places.find(found, grant, peer_of(request))
            if isinstance(place, str):
                return place
            if grant.carried:  # the token that was shown may be used up
                shown = f"token={grant.carried}"
        except (UnauthorizedError, NotFoundError):
            pass  # who opens the address is asked for a key
    own = urls(request, context, channel.name)["rtsp"]
    return f"{own}?{shown}" if shown else own
