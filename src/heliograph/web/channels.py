"""Channels in the REST API: whoever may know of one may look, its owner may change it."""

from __future__ import annotations

from typing import Any

import structlog
from fastapi import APIRouter, Request, Response

from heliograph.catalogue.desired import Closing
from heliograph.live.identity import VIEW_COOKIE, shown
from heliograph.live.options import ChannelOptions
from heliograph.model.errors import ForbiddenError, NotFoundError, PeerError
from heliograph.web.access import Administrator, Asking, Context, Creating, Edited, viewer
from heliograph.web.answers import (
    ChannelAnswer,
    ChannelChange,
    ChannelMade,
    ChannelManaged,
    ChannelNew,
    ChannelsAnswer,
    InputDetails,
    ReaderDetails,
    changed,
    channel_answer,
    managed_answer,
    without_user,
)
from heliograph.web.cluster import tell_deleted
from heliograph.web.cookies import set_view
from heliograph.web.errors import answers
from heliograph.web.pictures import MAX_AGE

log = structlog.get_logger(__name__)

router = APIRouter(prefix="/api/v1/channels", tags=["channels"])


@router.get("", response_model=ChannelsAnswer, responses=answers(429))
async def list_channels(request: Request, context: Context, identity: Asking) -> dict[str, Any]:
    """All channels that who asks may know of, by name."""
    person = identity.person
    rows = [
        channel_answer(request, context, one, identity)
        for one in context.channels
        if context.gate.may_list(one, person, _kept(request, one.name))
    ]
    return {"channels": rows}


def _kept(request: Request, name: str) -> tuple[str, ...]:
    """What a view token opened for this browser before."""
    kept = request.cookies.get(VIEW_COOKIE + name)
    return (kept,) if kept else ()


@router.get("/{name}", response_model=ChannelAnswer, responses=answers(401, 404, 429))
async def get_channel(
    name: str, request: Request, response: Response, context: Context, identity: Asking
) -> dict[str, Any]:
    """One channel.

    With a view token (`?token=` or bearer) the answer sets a cookie for the rest of the page: a
    token for one session is used up by this.
    """
    channel, kept = context.channels.find(name), _kept(request, name)
    listed = channel is not None and context.gate.may_list(channel, identity.person, kept)
    _, tokens = shown(request.headers, request.url.query)
    if not listed or (tokens and channel is not None and not context.gate.opened_by(channel, kept)):
        try:
            channel, grant = await viewer(request, context, name, "api")
            set_view(request, response, name, grant)
        except PeerError:
            if not listed:
                raise
    assert channel is not None
    return channel_answer(request, context, channel, identity)


@router.post(
    "",
    status_code=201,
    response_model=ChannelMade,
    responses=answers(400, 401, 403, 409, 413, 503),
)
async def create_channel(
    new: ChannelNew, request: Request, response: Response, context: Context, identity: Creating
) -> dict[str, Any]:
    """Make a channel, owned by who is signed in. The answer has the key for its publisher."""
    if new.key and not identity.administrator:
        raise ForbiddenError("only administrators may choose a stream key", subject="key")
    owner = None if identity.account is None else identity.account.name
    channel, made = await context.roster.create(
        new.name,
        changed(ChannelOptions(), new),
        **new.rights(),
        owner=owner,
        key=new.key,
        by=identity.actor,
    )
    log.info("channel made", channel=channel.name, by=identity.actor.name)
    response.headers["Location"] = f"/api/v1/channels/{channel.name}"
    return {**managed_answer(request, context, channel, identity), "key": made.key}


@router.patch(
    "/{name}",
    response_model=ChannelManaged,
    responses=answers(400, 401, 403, 404, 503),
)
async def change_channel(
    channel: Edited,
    change: ChannelChange,
    request: Request,
    context: Context,
    identity: Asking,
) -> dict[str, Any]:
    """Change a channel; what is left out stays.

    Publishers and readers that are there stay, but for those who lose the right to it. Channels of
    the settings are changed there, but for who may watch and write.
    """
    options = changed(channel.options, change) if change.values() else None
    channel = await context.roster.update(
        channel.name, options, **change.rights(), by=identity.actor
    )
    fields = sorted(change.model_fields_set)
    log.info("channel changed", channel=channel.name, fields=fields, by=identity.actor.name)
    return managed_answer(request, context, channel, identity)


@router.delete("/{name}", status_code=204, responses=answers(401, 403, 404, 503))
async def delete_channel(channel: Edited, context: Context, identity: Asking) -> None:
    """End a channel, with its publisher, its readers, its keys and its chat.

    One that is closed is deleted by administrators only; its name is closed no more then.
    """
    closing = Closing.LIFTED if identity.administrator else Closing.REFUSED
    await context.roster.delete(channel.name, by=identity.actor, closing=closing)
    await tell_deleted(context, channel, identity)
    log.info("channel deleted", channel=channel.name, by=identity.actor.name)


@router.get(
    "/{name}/inputs",
    response_model=dict[str, list[InputDetails]],
    dependencies=[Administrator],
    responses=answers(401, 404),
)
async def list_inputs(name: str, context: Context) -> dict[str, Any]:
    """Who publishes, with counters."""
    rows = context.channels.get(name).inputs()
    return {
        "inputs": [{"active": False} | row | {"peer": without_user(row["peer"])} for row in rows]
    }


@router.get(
    "/{name}/readers",
    response_model=dict[str, list[ReaderDetails]],
    dependencies=[Administrator],
    responses=answers(401, 404),
)
async def list_readers(name: str, context: Context) -> dict[str, Any]:
    """Who reads, with counters."""
    readers = list(context.channels.get(name).audience.readers.values())
    return {"readers": [reader.describe() for reader in readers if reader.counted]}


@router.delete(
    "/{name}/readers/{id}",
    status_code=204,
    dependencies=[Administrator],
    responses=answers(400, 401, 404),
)
async def kick_reader(name: str, id: int, context: Context) -> None:
    """End a reader. Nothing keeps it from coming again; for that change who may watch."""
    context.channels.get(name).audience.get(id).kick()
    log.info("reader kicked", channel=name, id=id)


@router.get(
    "/{name}/picture",
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {}}, "description": "A JPEG, 320 pixels wide."},
        **answers(401, 403, 404, 503),
    },
)
async def get_picture(name: str, request: Request, context: Context) -> Response:
    """A picture of what is on air now, at most some seconds old.

    Channels with a read key want it as a bearer token or as `?key=`.
    """
    channel, _ = await viewer(request, context, name, "api", ask=False)
    jpeg = None if context.pictures is None else await context.pictures.get(channel)
    if jpeg is None:
        raise NotFoundError(f"channel {name!r} has no picture now", subject=name)
    visibility = "public" if channel.open_to_all else "private"
    headers = {"cache-control": f"{visibility}, max-age={MAX_AGE}"}
    return Response(jpeg, media_type="image/jpeg", headers=headers)
