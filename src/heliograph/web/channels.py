"""Channels in the REST API: looking at them is free, changing them is the administrator's."""

from __future__ import annotations

from typing import Any

import structlog
from fastapi import APIRouter, Request, Response

from heliograph.live.keys import new_key
from heliograph.live.options import ChannelOptions
from heliograph.model.errors import NotFoundError
from heliograph.web.access import Administrator, Context, require_reader
from heliograph.web.answers import (
    ChannelAnswer,
    ChannelChange,
    ChannelNew,
    ChannelsAnswer,
    ChannelSecrets,
    InputDetails,
    ReaderDetails,
    changed,
    channel_answer,
    secrets_answer,
    without_user,
)
from heliograph.web.errors import answers
from heliograph.web.pictures import MAX_AGE

log = structlog.get_logger(__name__)

router = APIRouter(prefix="/api/v1/channels", tags=["channels"])


@router.get("", response_model=ChannelsAnswer)
async def list_channels(request: Request, context: Context) -> dict[str, Any]:
    """All channels, by name."""
    return {"channels": [channel_answer(request, context, one) for one in context.channels]}


@router.get("/{name}", response_model=ChannelAnswer, responses=answers(404))
async def get_channel(name: str, request: Request, context: Context) -> dict[str, Any]:
    """One channel."""
    return channel_answer(request, context, context.channels.get(name))


@router.post(
    "",
    status_code=201,
    response_model=ChannelSecrets,
    dependencies=[Administrator],
    responses=answers(400, 401, 409, 503),
)
async def create_channel(
    new: ChannelNew, request: Request, response: Response, context: Context
) -> dict[str, Any]:
    """Make a channel. It is kept over restarts; the answer has the key for its publisher."""
    channel = context.channels.create(new.name, changed(ChannelOptions(), new))
    log.info("channel made", channel=channel.name)
    response.headers["Location"] = f"/api/v1/channels/{channel.name}"
    return secrets_answer(request, context, channel)


@router.patch(
    "/{name}",
    response_model=ChannelSecrets,
    dependencies=[Administrator],
    responses=answers(400, 401, 403, 404, 503),
)
async def change_channel(
    name: str, change: ChannelChange, request: Request, context: Context
) -> dict[str, Any]:
    """Change a channel made by the API; what is left out stays. An empty key makes a new one.

    Publishers and readers that are there stay.
    """
    if change.key == "" and "key" in change.model_fields_set:
        change = change.model_copy(update={"key": new_key()})
    options = changed(context.channels.get(name).options, change)
    channel = context.channels.update(name, options)
    log.info("channel changed", channel=name, fields=sorted(change.model_fields_set))
    return secrets_answer(request, context, channel)


@router.delete(
    "/{name}",
    status_code=204,
    dependencies=[Administrator],
    responses=answers(401, 403, 404, 503),
)
async def delete_channel(name: str, context: Context) -> None:
    """End a channel made by the API, with its publisher and its readers."""
    context.channels.delete(name)
    log.info("channel deleted", channel=name)


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
    readers = list(context.channels.get(name).readers.values())
    return {"readers": [reader.describe() for reader in readers if reader.counted]}


@router.delete(
    "/{name}/readers/{id}",
    status_code=204,
    dependencies=[Administrator],
    responses=answers(400, 401, 404),
)
async def kick_reader(name: str, id: int, context: Context) -> None:
    """End a reader. Nothing keeps it from coming again; for that change the channel's keys."""
    context.channels.get(name).reader(id).kick()
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
    channel = context.channels.get(name)
    require_reader(request, context, channel)
    jpeg = None if context.pictures is None else await context.pictures.get(channel)
    if jpeg is None:
        raise NotFoundError(f"channel {name!r} has no picture now", subject=name)
    visibility = "private" if channel.options.view_key else "public"
    headers = {"cache-control": f"{visibility}, max-age={MAX_AGE}"}
    return Response(jpeg, media_type="image/jpeg", headers=headers)
