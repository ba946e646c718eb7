"""Stream keys and view tokens of a channel, for its owner and administrators."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, TypeAlias
from urllib.parse import quote

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from heliograph.catalogue.channels import MAX_LABEL
from heliograph.catalogue.tokens import MAX_LIFETIME, MAX_SUBJECT
from heliograph.catalogue.values import StreamKey
from heliograph.web.access import Asking, Context, Edited
from heliograph.web.answers import urls
from heliograph.web.errors import answers

router = APIRouter(prefix="/api/v1/channels/{name}", tags=["keys"])


class KeyAnswer(BaseModel):
    """A stream key; the key itself is not stored."""

    id: int
    label: str
    hint: str = Field(description="Its last four characters; empty for a short one.")
    created: str = Field(description="ISO 8601.")
    last_used: str | None = Field(description="ISO 8601, exact to a minute or so.")
    revoked: str | None = Field(description="Since when it is good no more; null: it is good.")


class KeyMade(KeyAnswer):
    key: str = Field(description="Publishers must show this. It is told this once.")


class KeysAnswer(BaseModel):
    keys: list[KeyAnswer] = Field(description="The newest first.")


class KeyNew(BaseModel):
    model_config = ConfigDict(extra="forbid")

    label: str = Field("", max_length=MAX_LABEL, description="Such as “studio”, “phone”.")


class TokenNew(BaseModel):
    """A view token to be made."""

    model_config = ConfigDict(extra="forbid")

    subject: str = Field(
        max_length=MAX_SUBJECT,
        description="For whom: it stands in the audit log, and in the token.",
    )
    lifetime_s: int = Field(ge=1, lt=MAX_LIFETIME - 60, description="Seconds until it expires.")
    single: bool = Field(False, description="Whether it is good for one session only.")


class TokenMade(BaseModel):
    token: str = Field(description="Shown as `?token=` or as bearer token. It is told this once.")
    url: str = Field(description="The channel's page with it.")
    expires: str = Field(description="ISO 8601.")


#: What an id can be.
KeyId: TypeAlias = Annotated[int, Path(ge=1, lt=2**31)]


def _key(key: StreamKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "label": key.label,
        "hint": key.hint,
        "created": key.created.isoformat(),
        "last_used": None if key.last_used is None else key.last_used.isoformat(),
        "revoked": None if key.revoked is None else key.revoked.isoformat(),
    }


@router.get("/keys", response_model=KeysAnswer, responses=answers(401, 403, 404))
async def list_keys(channel: Edited, context: Context) -> dict[str, Any]:
    """The channel's stream keys, revoked ones among them."""
    return {"keys": [_key(one) for one in await context.catalogue.stream_keys.list(channel.name)]}


@router.post(
    "/keys",
    status_code=201,
    response_model=KeyMade,
    responses=answers(400, 401, 403, 404, 409, 413),
)
async def create_key(new: KeyNew, channel: Edited, context: Context, by: Asking) -> dict[str, Any]:
    """Make a stream key."""
    made = await context.roster.add_key(channel.name, label=new.label, by=by.actor)
    return {**_key(made.record), "key": made.key}


@router.delete("/keys/{id}", status_code=204, responses=answers(401, 403, 404, 409))
async def revoke_key(id: KeyId, channel: Edited, context: Context, by: Asking) -> None:
    """Revoke a stream key; who publishes with it is ended."""
    await context.roster.revoke_key(channel.name, id, by=by.actor)


@router.post(
    "/tokens",
    status_code=201,
    response_model=TokenMade,
    responses=answers(400, 401, 403, 404, 409),
)
async def create_token(
    new: TokenNew, channel: Edited, request: Request, context: Context, by: Asking
) -> dict[str, Any]:
    """Make a view token, with which somebody may watch until it expires."""
    text, token = await context.roster.issue_token(
        channel.name, new.subject, new.lifetime_s, single=new.single, by=by.actor
    )
    page = urls(request, context, channel.name)["page"]
    return {
        "token": text,
        "url": f"{page}?token={quote(text, safe='')}",
        "expires": datetime.fromtimestamp(token.expires, UTC).isoformat(),
    }


@router.delete("/tokens", status_code=204, responses=answers(401, 403, 404, 409))
async def withdraw_tokens(channel: Edited, context: Context, by: Asking) -> None:
    """Withdraw every view token made until now, and end what they opened."""
    await context.roster.withdraw_tokens(channel.name, by=by.actor)
