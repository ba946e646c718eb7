"""Low-latency HLS over HTTP: playlists that block, and the media they name."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from urllib.parse import quote

from fastapi import APIRouter, Request, Response

from heliograph.model.errors import HelioError
from heliograph.model.media import Kind
from heliograph.protocols.hls import parse_directives
from heliograph.web.access import Context, require_reader
from heliograph.web.cors import cors
from heliograph.web.errors import answers, helio_response

router = APIRouter(prefix="/hls", tags=["hls"])

PLAYLIST = "application/vnd.apple.mpegurl"
#: Playlists change with every part; who blocks until the next one wants no copy.
_NO_CACHE = "no-cache"
#: Names are never used for anything else, so for as long as it is there it is the same.
_KEEP = "max-age=3600, immutable"

#: Pages of other sites may play: keys are shown explicitly, never by cookies.
_CORS = cors(methods="GET, OPTIONS", headers="Authorization, Range", exposed="Retry-After")

_URI = re.compile(r'URI="([^"]*)"')


def suffix_of(request: Request) -> str:
    """What the URIs of a playlist need so that the viewer's key is shown with each."""
    key = request.query_params.get("key")
    return "" if key is None else f"?key={quote(key, safe='')}"


def with_suffix(playlist: str, suffix: str) -> str:
    """A media playlist with something added to all its URIs."""
    if not suffix:
        return playlist
    lines = [
        _URI.sub(lambda match: f'URI="{match[1]}{suffix}"', line)
        if line.startswith("#")
        else line + suffix
        for line in playlist.splitlines()
    ]
    return "\n".join(lines) + "\n"


async def _told(make: Callable[[], Awaitable[Response]]) -> Response:
    """The answer, or the error, for pages of any site; errors are not kept."""
    try:
        response = await make()
    except HelioError as error:
        response = helio_response(error)
        response.headers["Cache-Control"] = "no-store"
    response.headers.update(_CORS)
    return response


def _playlist(text: str) -> Response:
    return Response(text, headers={"Cache-Control": _NO_CACHE}, media_type=PLAYLIST)


@router.get(
    "/{name}/index.m3u8",
    response_class=Response,
    responses={
        200: {"content": {PLAYLIST: {}}, "description": "The multivariant playlist."},
        **answers(401, 403, 404, 406, 503),
    },
)
async def get_index(name: str, request: Request, context: Context) -> Response:
    """What players are given: starts the channel's rendition if nobody watches by HLS yet.

    Channels with a view key want it as a bearer token or as `?key=`, which the URIs then carry.
    """

    async def make() -> Response:
        channel = context.channels.get(name)
        require_reader(request, context, channel)
        return _playlist(await context.hls.open(channel).index(suffix_of(request)))

    return await _told(make)


@router.get(
    "/{name}/{rendition}/{file}",
    response_class=Response,
    responses={
        200: {
            "content": {PLAYLIST: {}, "video/mp4": {}, "audio/mp4": {}},
            "description": "The media playlist, an initialization segment, a segment or a part.",
        },
        **answers(400, 401, 403, 404, 503),
    },
)
async def get_media(
    name: str, rendition: str, file: str, request: Request, context: Context
) -> Response:
    """Whatever a playlist names. `media.m3u8` takes `_HLS_msn`, `_HLS_part` and `_HLS_skip`.

    Waits for what is about to come, and not longer than three target durations.
    """

    async def make() -> Response:
        channel = context.channels.get(name)
        require_reader(request, context, channel)
        output = context.hls.find(channel, rendition)
        if file == "media.m3u8":
            text = await output.playlist(parse_directives(request.query_params))
            return _playlist(with_suffix(text, suffix_of(request)))
        data = await output.resource(file)
        video = any(track.kind is Kind.VIDEO for track in channel.tracks)
        visibility = "private" if channel.options.view_key else "public"
        return Response(
            data,
            headers={"Cache-Control": f"{visibility}, {_KEEP}"},
            media_type="video/mp4" if video else "audio/mp4",
        )

    return await _told(make)


@router.options("/{name}/index.m3u8")
@router.options("/{name}/{rendition}/{file}")
async def preflight(name: str) -> Response:
    """What may be asked from pages of other sites."""
    return Response(None, 204, _CORS)
