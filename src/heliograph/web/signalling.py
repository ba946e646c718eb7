"""WHIP (RFC 9725) and WHEP: going on air from a browser, and watching, by one request each."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response

from heliograph.live.offers import Offers
from heliograph.live.remote import Opened, Portal, parse_name
from heliograph.live.webrtc import MAX_BODY, Rtc, RtcSession
from heliograph.model.errors import (
    BusyError,
    MalformedError,
    NotFoundError,
    RemoteError,
    TooLargeError,
    UnsupportedError,
)
from heliograph.model.nodes import check_node_id
from heliograph.web.access import Context, publisher, viewer
from heliograph.web.context import WebContext
from heliograph.web.cors import cors
from heliograph.web.errors import answers
from heliograph.web.identity import agent_of, peer_of

router = APIRouter(tags=["webrtc"])

SDP = "application/sdp"
FRAGMENT = "application/trickle-ice-sdpfrag"

#: Pages of other sites may publish and play: keys are shown explicitly, never by cookies.
_CORS = cors(
    methods="POST, HEAD, PATCH, DELETE, OPTIONS",
    headers="Authorization, Content-Type, If-Match",
    exposed="Location, ETag, Link, Accept-Patch, Retry-After, Heliograph-State",
)


def _rtc(context: WebContext) -> Rtc:
    if context.rtc is None:
        raise BusyError("this server has WebRTC switched off", subject="webrtc")
    return context.rtc


def _asked(offers: Offers, request: Request) -> None:
    """Pass an offer of a peer that may make one."""
    offers.asked(peer_of(request), time.monotonic())


def _elsewhere(context: WebContext, session: str) -> tuple[Portal, str, str] | None:
    """Who has to be asked for a session of another unit, its name there and that unit; None for a
    session of this node."""
    name, unit = parse_name(session)
    portal = context.portal
    if not unit or (portal is not None and unit == portal.node):
        return None
    if portal is None:
        raise NotFoundError("no such session", subject=session[:80])
    return portal, name, unit


def _own(context: WebContext, session: str, channel: str) -> RtcSession:
    """A session of this node."""
    return _rtc(context).find(parse_name(session)[0], channel)


async def _body(request: Request, media_type: str) -> str:
    """The request's body, of the media type wanted and within bounds."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != media_type:
        raise UnsupportedError(f"the body must be {media_type}", subject="Content-Type")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise TooLargeError(f"bodies of more than {MAX_BODY} bytes are not taken")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedError("body", "not UTF-8") from None


def _created(session: Opened, way: str, channel: str, context: WebContext) -> Response:
    headers = {
        **_CORS,
        "Location": f"/{way}/{channel}/{session.name}",
        "ETag": session.etag,
        "Accept-Patch": FRAGMENT,
    }
    response = Response(session.answer, 201, headers, SDP)
    # Here only, not by OPTIONS: that asks for no key, and RFC 9725 section 4.6 advises against it.
    for server in context.ice_servers:
        response.headers.append("Link", server.link())
    return response


@router.post(
    "/whip/{name}", status_code=201, responses=answers(400, 401, 403, 404, 406, 409, 415, 429, 503)
)
async def publish(name: str, request: Request, context: Context) -> Response:
    """Go on air: an SDP offer, with a stream key as bearer token or ``?key=``, or signed in as the
    channel's owner.

    In a cluster the session of a channel that is moved to another unit is opened there."""
    channel, grant = await publisher(request, context, name, "whip")
    rtc = _rtc(context)
    _asked(rtc.offers, request)
    offer = await _body(request, SDP)
    peer, agent = peer_of(request), agent_of(request)
    if context.portal is None:
        session = rtc.publish(channel, offer, peer=peer, grant=grant, agent=agent)
        opened = Opened(session.name, session.etag, session.answer)
    else:
        opened = await context.portal.publish(
            rtc, channel, offer, peer=peer, grant=grant, agent=agent
        )
    return _created(opened, "whip", channel.name, context)


@router.post(
    "/whep/{name}", status_code=201, responses=answers(400, 401, 403, 404, 406, 415, 429, 503)
)
async def view(
    name: str,
    request: Request,
    context: Context,
    origin: Annotated[str, Query(alias="from", max_length=64)] = "",
) -> Response:
    """Watch: an SDP offer; with a view token or a key as bearer token, ``?token=`` or ``?key=``.

    In a cluster the session is opened at the unit that serves the viewer best, and its URL names
    that. ``?from=UNIT``: the unit of the session before this one.
    """
    channel, grant = await viewer(request, context, name, "whep")
    portal = context.portal
    _asked(_rtc(context).offers if portal is None else portal.viewers.offers, request)
    offer = await _body(request, SDP)
    peer, agent = peer_of(request), agent_of(request)
    if portal is None:
        session = _rtc(context).view(channel, offer, peer=peer, grant=grant, agent=agent)
        opened = Opened(session.name, session.etag, session.answer)
    else:
        unit = check_node_id(origin) if origin else ""
        opened = await portal.view(
            context.rtc, channel, offer, peer=peer, grant=grant, agent=agent, origin=unit
        )
    return _created(opened, "whep", channel.name, context)


@router.patch("/whip/{name}/{session}", responses=answers(400, 404, 410, 412, 415, 428))
@router.patch("/whep/{name}/{session}", responses=answers(400, 404, 410, 412, 415, 428))
async def patch(
    name: str,
    session: str,
    request: Request,
    context: Context,
    if_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Trickle ICE: candidates, or a restart, which is answered by a fragment."""
    away = _elsewhere(context, session)
    found = None if away is not None else _own(context, session, name)
    fragment = await _body(request, FRAGMENT)
    if found is not None:
        found.check_match(if_match or "")
        answer, etag = found.patch(fragment), found.etag
    else:
        assert away is not None
        portal, there, unit = away
        answer, etag = await portal.viewers.patch(unit, there, name, fragment, if_match or "")
    if answer is None:
        return Response(None, 204, _CORS)
    return Response(answer, 200, {**_CORS, "ETag": etag}, FRAGMENT)


@router.head("/whip/{name}/{session}", responses=answers(404, 410))
@router.head("/whep/{name}/{session}", responses=answers(404, 410, 502))
async def look(name: str, session: str, context: Context) -> Response:
    """Whether the session lives, for whoever hears nothing from it. ``Heliograph-State``: how its
    channel is where it is served: ``on_air``, ``waiting``, ``idle``."""
    headers = {**_CORS, "Cache-Control": "no-store"}
    try:
        away = _elsewhere(context, session)
        if away is None:
            state = _own(context, session, name).channel.state.value
        else:
            portal, there, unit = away
            state = await portal.viewers.look(unit, there, name)
    except (NotFoundError, RemoteError) as error:  # pages of other sites read this answer, too
        return Response(None, error.status, headers)
    return Response(None, 200, {**headers, "Heliograph-State": state})


@router.delete("/whip/{name}/{session}", responses=answers(404, 410))
@router.delete("/whep/{name}/{session}", responses=answers(404, 410))
async def leave(name: str, session: str, context: Context) -> Response:
    """End the session. Its URL is known to its owner alone, so that no key is asked."""
    away = _elsewhere(context, session)
    if away is None:
        _own(context, session, name).end()
    else:
        portal, there, unit = away
        await portal.viewers.end(unit, there, name)
    return Response(None, 200, _CORS)


@router.options("/whip/{name}")
@router.options("/whep/{name}")
@router.options("/whip/{name}/{session}")
@router.options("/whep/{name}/{session}")
async def preflight(name: str) -> Response:
    """What may be asked from pages of other sites."""
    return Response(None, 204, {**_CORS, "Accept-Post": SDP, "Accept-Patch": FRAGMENT})
