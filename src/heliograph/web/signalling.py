"""WHIP (RFC 9725) and WHEP: going on air from a browser, and watching, by one request each."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Header, Request, Response

from heliograph.live.webrtc import MAX_BODY, Rtc, RtcSession
from heliograph.model.errors import (
    BusyError,
    MalformedError,
    PreconditionError,
    TooLargeError,
    UnsupportedError,
)
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
    methods="POST, PATCH, DELETE, OPTIONS",
    headers="Authorization, Content-Type, If-Match",
    exposed="Location, ETag, Link, Accept-Patch, Retry-After",
)


def _rtc(context: WebContext) -> Rtc:
    if context.rtc is None:
        raise BusyError("this server has WebRTC switched off", subject="webrtc")
    return context.rtc


def _asked(context: WebContext, request: Request) -> Rtc:
    """The server's WebRTC, for an offer of a peer that may make one."""
    rtc = _rtc(context)
    rtc.offers.asked(peer_of(request), time.monotonic())
    return rtc


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


def _created(session: RtcSession, way: str) -> Response:
    headers = {
        **_CORS,
        "Location": f"/{way}/{session.channel.name}/{session.name}",
        "ETag": session.etag,
        "Accept-Patch": FRAGMENT,
    }
    return Response(session.answer, 201, headers, SDP)


@router.post(
    "/whip/{name}", status_code=201, responses=answers(400, 401, 403, 404, 406, 409, 415, 429)
)
async def publish(name: str, request: Request, context: Context) -> Response:
    """Go on air: an SDP offer, with a stream key as bearer token or ``?key=``, or signed in as the
    channel's owner."""
    channel, grant = await publisher(request, context, name, "whip")
    rtc = _asked(context, request)
    offer = await _body(request, SDP)
    session = rtc.publish(
        channel, offer, peer=peer_of(request), grant=grant, agent=agent_of(request)
    )
    return _created(session, "whip")


@router.post(
    "/whep/{name}", status_code=201, responses=answers(400, 401, 403, 404, 406, 415, 429, 503)
)
async def view(name: str, request: Request, context: Context) -> Response:
    """Watch: an SDP offer; with a view token or a key as bearer token, ``?token=`` or ``?key=``."""
    channel, grant = await viewer(request, context, name, "whep")
    rtc = _asked(context, request)
    offer = await _body(request, SDP)
    session = rtc.view(channel, offer, peer=peer_of(request), grant=grant, agent=agent_of(request))
    return _created(session, "whep")


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
    found = _rtc(context).find(session, name)
    fragment = await _body(request, FRAGMENT)
    if if_match is None:
        raise PreconditionError("If-Match is needed: the session's ETag, or * to restart", 428)
    if if_match not in ("*", '"*"', found.etag):  # clients write the star either way
        raise PreconditionError("the session was restarted since", 412)
    answer = found.patch(fragment)
    if answer is None:
        return Response(None, 204, _CORS)
    return Response(answer, 200, {**_CORS, "ETag": found.etag}, FRAGMENT)


@router.delete("/whip/{name}/{session}", responses=answers(404, 410))
@router.delete("/whep/{name}/{session}", responses=answers(404, 410))
async def leave(name: str, session: str, context: Context) -> Response:
    """End the session. Its URL is known to its owner alone, so that no key is asked."""
    _rtc(context).find(session, name).end()
    return Response(None, 200, _CORS)


@router.options("/whip/{name}")
@router.options("/whep/{name}")
@router.options("/whip/{name}/{session}")
@router.options("/whep/{name}/{session}")
async def preflight(name: str) -> Response:
    """What may be asked from pages of other sites."""
    return Response(None, 204, {**_CORS, "Accept-Post": SDP, "Accept-Patch": FRAGMENT})
