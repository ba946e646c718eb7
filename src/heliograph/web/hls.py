"""Low-latency HLS over HTTP: playlists that block, and the media they name; titles by the same
addresses."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from heliograph.live.channel import Channel
from heliograph.live.grants import Grant
from heliograph.protocols.hls import parse_directives
from heliograph.web import ondemand
from heliograph.web.access import Context, viewer
from heliograph.web.context import WebContext
from heliograph.web.cors import cors
from heliograph.web.errors import answers
from heliograph.web.identity import agent_of, peer_of
from heliograph.web.told import told

router = APIRouter(prefix="/hls", tags=["hls"])

PLAYLIST = "application/vnd.apple.mpegurl"
#: Playlists change with every part; who blocks until the next one wants no copy.
_NO_CACHE = "no-cache"
#: Names are never used for anything else, so for as long as it is there it is the same.
_KEEP = "max-age=3600, immutable"

#: Pages of other sites may play: keys are shown explicitly, never by cookies.
_CORS = cors(methods="GET, OPTIONS", headers="Authorization, Range", exposed="Retry-After")

_REPORT = "#EXT-X-RENDITION-REPORT:"
_URI = re.compile(r'URI="([^"]*)"')


def suffix_of(request: Request, *, carried: str = "", viewer: str = "") -> str:
    """What the URIs of a playlist need so that the viewer's key or token is shown with each.

    ``carried``: the token for the rest of the session. Native players, which keep no cookies of
    other sites and add no headers, follow addresses as hls.js does. ``viewer`` names it in the
    media playlist's address; media are the same for all who show nothing, so that caches on the
    way keep one of each.
    """
    given = request.query_params
    token = "" if "key" in given else carried or given.get("token")
    shown = {"key": given.get("key"), "token": token, "viewer": viewer}
    pairs = [f"{name}={quote(value, safe='')}" for name, value in shown.items() if value]
    return "?" + "&".join(pairs) if pairs else ""


def _enter(
    request: Request, context: WebContext, channel: Channel, grant: Grant, *, fresh: bool
) -> str:
    """The viewer's name; it has a place from now on. ``fresh``: it may be a new one."""
    peer, agent = peer_of(request), agent_of(request)
    name = request.query_params.get("viewer", "")
    if not name and not fresh:  # an address without our name in it: the same program is the same
        name = hashlib.sha256(f"{peer} {agent}".encode()).hexdigest()[:32]
    return context.hls.viewers.enter(channel, peer=peer, grant=grant, agent=agent, name=name)


def with_suffix(playlist: str, suffix: str) -> str:
    """A media playlist with something added to the URIs of all media."""
    if not suffix:
        return playlist
    lines = [
        line + suffix
        if not line.startswith("#")
        else line
        if line.startswith(_REPORT)  # another playlist: it has its own
        else _URI.sub(lambda match: f'URI="{match[1]}{suffix}"', line)
        for line in playlist.splitlines()
    ]
    return "\n".join(lines) + "\n"


def _playlist(text: str) -> Response:
    return Response(text, headers={"Cache-Control": _NO_CACHE}, media_type=PLAYLIST)


@router.get(
    "/{name}/index.m3u8",
    response_class=Response,
    responses={
        200: {"content": {PLAYLIST: {}}, "description": "The multivariant playlist."},
        **answers(401, 403, 404, 406, 429, 503),
    },
)
async def get_index(name: str, request: Request, context: Context) -> Response:
    """What players are given: starts the channel's rendition if nobody watches by HLS yet, or
    tells the renditions of the title of that name.

    A view key or a view token is shown as a bearer token, or as `?key=` or `?token=`, which the
    URIs then carry. A token for one session is used up by this; the URIs carry another.
    """

    async def make() -> Response:
        if ondemand.on_demand(context, name) is not None:

            def carry(token: str) -> str:
                return suffix_of(request, carried=token)

            return _playlist(await ondemand.playlists(name, request, context, carry))
        channel, grant = await viewer(request, context, name, "hls")
        output = context.hls.open(channel)
        named = _enter(request, context, channel, grant, fresh=True)
        suffix = suffix_of(request, carried=grant.carried, viewer=named)
        return _playlist(await output.index(suffix))

    return await told(request, _CORS, make)


@router.get(
    "/{name}/{rendition}/{file}",
    response_class=Response,
    responses={
        200: {
            "content": {PLAYLIST: {}, "video/mp4": {}, "audio/mp4": {}},
            "description": "The media playlist, an initialization segment, a segment or a part.",
        },
        **answers(400, 401, 403, 404, 429, 503),
    },
)
async def get_media(
    name: str, rendition: str, file: str, request: Request, context: Context
) -> Response:
    """Whatever a playlist names. `media.m3u8` takes `_HLS_msn`, `_HLS_part` and `_HLS_skip`, that
    of a title being recorded only the last.

    Waits for what is about to come, and not longer than three target durations.
    """

    async def make() -> Response:
        if ondemand.is_rendition(rendition):
            shown = suffix_of(request)
            return await ondemand.media(name, rendition, file, request, context, shown)
        channel, grant = await viewer(request, context, name, "hls", ask=False)
        output, place = context.hls.find(channel, rendition)
        if file == "media.m3u8":
            _enter(request, context, channel, grant, fresh=False)
            directives = parse_directives(request.query_params)
            named = suffix_of(request, viewer=request.query_params.get("viewer", ""))
            text = await output.playlist(directives, place, named)
            return _playlist(with_suffix(text, suffix_of(request)))
        data = await output.resource(file, place)
        context.hls.viewers.sent(channel.name, peer_of(request), len(data))
        video = output.pictures(place)
        visibility = "public" if channel.open_to_all else "private"
        return Response(
            data,
            headers={"Cache-Control": f"{visibility}, {_KEEP}"},
            media_type="video/mp4" if video else "audio/mp4",
        )

    return await told(request, _CORS, make)


@router.options("/{name}/index.m3u8")
@router.options("/{name}/{rendition}/{file}")
async def preflight(name: str) -> Response:
    """What may be asked from pages of other sites."""
    return Response(None, 204, _CORS)
