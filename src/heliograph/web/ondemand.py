"""Titles in browsers: HLS beside that of channels, one file with ranges, and what there is."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from heliograph.live.grants import Grant
from heliograph.model.errors import BusyError, ConflictError, NotFoundError
from heliograph.model.media import Codec, Kind
from heliograph.protocols.hls.ondemand import INIT, render
from heliograph.vod.download import FORMAT
from heliograph.vod.manifest import Manifest
from heliograph.vod.ondemand import OnDemand
from heliograph.vod.segments import Plan, index
from heliograph.vod.shelf import played
from heliograph.web.access import Asking, Context, asker, viewer
from heliograph.web.context import WebContext
from heliograph.web.cookies import set_view
from heliograph.web.cors import cors
from heliograph.web.downloads import FileResponse
from heliograph.web.errors import answers, helio_response
from heliograph.web.identity import Identity, peer_of
from heliograph.web.players import player_of
from heliograph.web.ranges import RangeError, asked, http_date, known
from heliograph.web.told import told

router = APIRouter(tags=["titles on demand"])

PLAYLIST = "application/vnd.apple.mpegurl"
#: Addresses have the id of the title's object in them: for ever the same.
KEEP = "max-age=31536000, immutable"
#: Titles of one answer.
PAGE = 200
#: Seconds a picture may be kept: another title may have the name.
PICTURE_AGE = 3600
#: Files that are sent at a time.
MAX_DOWNLOADS = 256

_RENDITION = re.compile(r"t[0-9a-f]{12}-[0-9]{1,2}", re.ASCII)
_SEGMENT = re.compile(r"s(0|[1-9][0-9]{0,8})\.m4s", re.ASCII)
_CORS = cors(
    methods="GET, HEAD, OPTIONS",
    headers="Authorization, Range, If-Range",
    exposed="Accept-Ranges, Content-Range, Content-Length, ETag, Retry-After",
)


def is_rendition(name: str) -> bool:
    """Whether a rendition's name is one of a title's."""
    return _RENDITION.fullmatch(name) is not None


def on_demand(context: WebContext, name: str) -> Manifest | None:
    """The title that is played under a name; None where a channel is on air under it, or none is
    there."""
    if context.ondemand is None:
        return None
    channel = context.channels.find(name)
    if channel is not None and channel.state.value == "on_air":
        return None
    return context.ondemand.shelf.find(name)


def _kept(context: WebContext) -> OnDemand:
    if context.ondemand is None:
        raise NotFoundError("there are no titles here")
    return context.ondemand


async def _admitted(
    request: Request,
    context: WebContext,
    name: str,
    protocol: str,
    *,
    ask: bool = True,
    object: str = "",
) -> tuple[Manifest, Grant | None]:
    """The title, for whoever may watch it; no grant where everybody may.

    The rules are those of the channel that it was recorded from, or whose name it has. ``object``:
    the begin of the title's id, where that is known.
    """
    shelf = _kept(context).shelf
    manifest = played(shelf, name, object) if object else shelf.find(name)
    if manifest is None:
        raise context.gate.stranger(name, await asker(request, context, name, protocol))
    context.barring.check(manifest.name, peer_of(request))
    channel = _ruled(context, manifest)
    if not channel:
        return manifest, None
    ruling, grant = await viewer(request, context, channel, protocol, ask=ask)
    return manifest, None if ruling.open_to_all else grant


def _ruled(context: WebContext, manifest: Manifest) -> str:
    """The channel whose rules a title has; empty: everybody may watch it."""
    found = _kept(context).shelf.channel(manifest)
    if not found and context.channels.find(manifest.name) is not None:
        return manifest.name
    return found


# --- HLS, for ``web.hls`` -------------------------------------------------------------------------


async def playlists(
    name: str, request: Request, context: WebContext, suffix: Callable[[str], str]
) -> str:
    """The multivariant playlist of a title; ``suffix``: what addresses carry on, given a token."""
    manifest, grant = await _admitted(request, context, name, "hls")
    ondemand = _kept(context)
    source, plan = ondemand.shelf.source(manifest), ondemand.maker.plan(manifest)
    player = player_of(request, grant)
    ondemand.watching.enter(manifest, _usual(plan), peer_of(request), "hls", player)
    entries = {
        one.name: await ondemand.maker.entries(manifest, source, one.media)
        for one in (*plan.variants, *plan.sounds)
    }
    return index(plan, entries, suffix("" if grant is None else grant.carried))


async def media(
    name: str, rendition: str, file: str, request: Request, context: WebContext, suffix: str
) -> Response:
    """What a title's playlists name."""
    object = rendition[1:].partition("-")[0]  # it may have another name since it is played
    manifest, grant = await _admitted(request, context, name, "hls", ask=False, object=object)
    ondemand = _kept(context)
    plan = ondemand.maker.plan(manifest)
    found = plan.find(rendition)
    player = player_of(request, grant)
    viewer = ondemand.watching.enter(manifest, _usual(plan), peer_of(request), "hls", player)
    visibility = "public" if grant is None else "private"
    headers = {"Cache-Control": f"{visibility}, {KEEP}"}
    if file == "media.m3u8":
        listing = plan.listing(found)
        if not listing.ended:
            headers["Cache-Control"] = "no-cache"
        skip = request.query_params.get("_HLS_skip", "") in ("YES", "v2")
        return Response(render(listing, suffix=suffix, skip=skip), 200, headers, PLAYLIST)
    source = ondemand.shelf.source(manifest)
    if file == INIT:
        data = await ondemand.maker.init(manifest, source, found)
    else:
        match = _SEGMENT.fullmatch(file)
        number = int(match[1]) if match else -1
        if not 0 <= number < len(found.segments):
            raise NotFoundError(f"{file[:80]!r} is not there, or not yet", subject=file[:80])
        data = await ondemand.maker.segment(manifest, source, found, number)
        ondemand.counters["bytes_sent"] += len(data)
        viewer.sent(len(data))
    return Response(data, 200, headers, "video/mp4" if found.pictures else "audio/mp4")


def _usual(plan: Plan) -> list[int]:
    """Tracks that a player may take at a time: the best picture and one sound."""
    chosen = (*plan.variants[:1], *plan.sounds[:1])
    return [one.track.id for rendition in chosen for one in rendition.tracks]


# --- one file -------------------------------------------------------------------------------------


@router.get(
    "/titles/{file}",
    response_class=Response,
    responses={
        200: {"content": {"video/mp4": {}}, "description": "All of it."},
        206: {"content": {"video/mp4": {}}, "description": "The range that was asked for."},
        416: {"description": "Nothing is in that range."},
        **answers(401, 403, 404, 406, 409, 503),
    },
)
@router.head("/titles/{file}", response_class=Response, include_in_schema=False)
async def get_file(file: str, request: Request, context: Context) -> Response:
    """A title as one file, `NAME.mp4`: conforming fragmented MP4 with an index, all tracks of it.

    Its bytes are the same at each request and on each node, so that a download can be continued
    (`Range`, `If-Range`). Not while the title is being recorded (409).
    """

    async def make() -> Response:
        name = file.removesuffix(".mp4")
        if name == file:
            raise NotFoundError("titles are NAME.mp4 here", subject=file[:80])
        manifest, grant = await _admitted(request, context, name, "mp4")
        if manifest.live:
            raise ConflictError(f"title {name!r} is still being recorded", subject=name)
        return await _file(request, _kept(context), manifest, grant)

    return await told(request, _CORS, make)


async def _file(
    request: Request, ondemand: OnDemand, manifest: Manifest, grant: Grant | None
) -> Response:
    layout = await ondemand.maker.layout(manifest, ondemand.shelf.source(manifest))
    etag = f'"{manifest.object}-{FORMAT}"'
    modified = datetime.fromtimestamp(int(manifest.created), UTC)
    headers = {
        "Accept-Ranges": "bytes",
        "ETag": etag,
        "Last-Modified": http_date(modified),
        "Cache-Control": f"{'public' if grant is None else 'private'}, no-cache",
        "Content-Disposition": f"inline; filename*=UTF-8''{quote(_file_name(manifest))}",
    }
    if known(request.headers, etag):
        return Response(None, 304, headers)
    try:
        part = None
        if request.method == "GET":  # ranges are for it alone (RFC 9110 section 14.2)
            part = asked(request.headers, layout.size, etag, modified)
    except RangeError as error:
        response = helio_response(error)
        response.headers["Content-Range"] = f"bytes */{layout.size}"
        return response
    wanted, status = range(layout.size), 200
    if part is not None:
        wanted, status = part, 206
        headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{layout.size}"
    if request.method == "HEAD":
        headers["Content-Length"] = str(len(wanted))
        return Response(None, status, headers, "video/mp4")
    if ondemand.downloads >= MAX_DOWNLOADS:
        ondemand.counters["downloads_refused"] += 1
        raise BusyError("too many files are being sent", subject=manifest.name, retry_after=10)
    tracks = [one.track.id for one in manifest.tracks]
    player = player_of(request, grant)
    viewer = ondemand.watching.enter(manifest, tracks, peer_of(request), "mp4", player)
    ondemand.counters["downloads"] += 1
    return FileResponse(ondemand, manifest, layout, wanted, viewer, status=status, headers=headers)


def _file_name(manifest: Manifest) -> str:
    """For who keeps it: the title, without what file systems cannot have."""
    text = re.sub(r"[\x00-\x1f\x7f/\\:*?\"<>|]+", " ", manifest.title or manifest.name).strip(" .")
    return f"{text[:100] or manifest.name}.mp4"


@router.options("/titles/{file}")
async def preflight(file: str) -> Response:
    """What may be asked from pages of other sites."""
    return Response(None, 204, _CORS)


# --- what there is --------------------------------------------------------------------------------


class TitleTrackAnswer(BaseModel):
    kind: Kind
    codec: Codec
    language: str = Field(description="ISO 639-2; empty: not known.")


class TitleUrls(BaseModel):
    page: str
    hls: str
    mp4: str = Field(description="Of one file with ranges; empty while it is being recorded.")


class OnDemandAnswer(BaseModel):
    """A title that can be played here."""

    name: str = Field(description="Logical id.")
    title: str
    duration: float = Field(description="Seconds, until now while it is being recorded.")
    live: bool = Field(description="Whether it is still being recorded: it grows.")
    created: datetime
    bitrate: int = Field(description="Bits a second at most.")
    tracks: list[TitleTrackAnswer]
    readers: int = Field(description="Who plays it at this node.")
    channel: str = Field(description="The channel whose rules it has; empty: none.")
    picture: str | None = Field(description="A small one that stands for it; null: there is none.")
    urls: TitleUrls


class OnDemandsAnswer(BaseModel):
    titles: list[OnDemandAnswer]
    more: str | None = Field(description="Show it as `after` for what follows; null: no more.")


@router.get("/api/v1/ondemand", response_model=OnDemandsAnswer)
async def list_titles(
    context: Context,
    identity: Asking,
    search: Annotated[str, Query(max_length=200, description="Words in name or title.")] = "",
    channel: Annotated[str, Query(max_length=64, description="Only with its rules.")] = "",
    after: Annotated[str, Query(max_length=64, description="`more` of the page before.")] = "",
    limit: Annotated[int, Query(ge=1, le=PAGE)] = PAGE,
) -> dict[str, Any]:
    """Titles that can be played here and that who asks may know of, by name."""
    if context.ondemand is None:
        return {"titles": [], "more": None}
    words = search.lower().split()
    known = sorted(context.ondemand.shelf.titles(), key=lambda one: one.name)
    matching = (
        one
        for one in known
        if one.name > after
        and (not channel or _ruled(context, one) == channel)
        and all(word in f"{one.name} {one.title}".lower() for word in words)
        and _may_know(context, one, identity)
    )
    found = list(islice(matching, limit + 1))
    rows = [_answer(context, one) for one in found[:limit]]
    return {"titles": rows, "more": found[limit - 1].name if len(found) > limit else None}


@router.get(
    "/api/v1/ondemand/{name}", response_model=OnDemandAnswer, responses=answers(401, 403, 404)
)
async def get_title(
    name: str, request: Request, response: Response, context: Context
) -> dict[str, Any]:
    """One title, for whoever may play it; a key or a token as for a channel.

    With a view token the answer sets a cookie for the rest of the page, as for a channel.
    """
    manifest, grant = await _admitted(request, context, name, "api")
    if grant is not None:
        set_view(request, response, _ruled(context, manifest), grant)
    return _answer(context, manifest)


@router.get(
    "/api/v1/ondemand/{name}/picture",
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {}}, "description": "320 pixels wide."},
        **answers(401, 403, 404, 503),
    },
)
async def get_picture(name: str, request: Request, context: Context) -> Response:
    """A picture that stands for a title."""
    manifest, grant = await _admitted(request, context, name, "api", ask=False)
    ondemand, pictures = _kept(context), context.pictures
    jpeg = ondemand.pictures.get(manifest.object)
    if jpeg is None and pictures is not None:
        source = ondemand.shelf.source(manifest)
        key = f"title/{manifest.object}"
        jpeg = await pictures.of(key, lambda: ondemand.maker.picture(manifest, source))
        if jpeg is not None:
            ondemand.keep_picture(manifest.object, jpeg)
    if jpeg is None:
        raise NotFoundError(f"title {name!r} has no picture", subject=name)
    visibility = "public" if grant is None else "private"
    headers = {"Cache-Control": f"{visibility}, max-age={PICTURE_AGE}"}
    return Response(jpeg, 200, headers, "image/jpeg")


def _seen(context: WebContext, manifest: Manifest) -> bool:
    return context.pictures is not None and any(
        one.track.kind is Kind.VIDEO for one in manifest.tracks
    )


def _may_know(context: WebContext, manifest: Manifest, identity: Identity) -> bool:
    ruled = _ruled(context, manifest)
    if not ruled:
        return True
    channel = context.channels.find(ruled)
    return channel is not None and context.gate.may_list(channel, identity.person)


def _answer(context: WebContext, manifest: Manifest) -> dict[str, Any]:
    name = manifest.name
    return {
        "name": name,
        "title": manifest.title,
        "duration": manifest.duration_us / 1e6,
        "live": manifest.live,
        "created": datetime.fromtimestamp(manifest.created, UTC),
        "bitrate": manifest.peak_bps,
        "tracks": [*_tracks(manifest)],
        "readers": _kept(context).watching.plays.count(name),
        "channel": _ruled(context, manifest),
        "picture": f"/api/v1/ondemand/{name}/picture" if _seen(context, manifest) else None,
        "urls": {
            "page": f"/watch/{name}",
            "hls": f"/hls/{name}/index.m3u8",
            "mp4": "" if manifest.live else f"/titles/{name}.mp4",
        },
    }


def _tracks(manifest: Manifest) -> Iterable[dict[str, str]]:
    for one in manifest.tracks:
        yield {"kind": one.track.kind, "codec": one.track.codec, "language": one.language}
