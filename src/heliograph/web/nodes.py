"""Nodes of the cluster in the REST API: who is there, tokens to join, joining."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from heliograph.bus.joining import LIFETIME, MAX_LIFETIME
from heliograph.model.errors import WrongStateError
from heliograph.web.access import Administering, Context
from heliograph.web.context import ClusterFace
from heliograph.web.errors import answers
from heliograph.web.identity import peer_of

router = APIRouter(prefix="/api/v1", tags=["nodes"])


class NameAnswer(BaseModel):
    """Something that a node announces."""

    kind: str = Field(description="`node`, `unit`, `manager`, `portal`, `channel`, …")
    name: str
    node: str = Field(description="Id of the node.")
    value: Any = Field(description="What the node says of it.")


class NamesAnswer(BaseModel):
    node: str = Field(description="Id of the node that answers.")
    names: list[NameAnswer] = Field(description="By kind, name and node.")


class TokenNew(BaseModel):
    model_config = ConfigDict(extra="forbid")

    lifetime_s: int = Field(LIFETIME, ge=1, le=MAX_LIFETIME, description="Seconds until it ends.")


class TokenMade(BaseModel):
    token: str = Field(description="For one machine. It is told this once.")
    expires: str = Field(description="ISO 8601.")
    join: str = Field(description="Where the machine joins, as this request reached the server.")


class TokenAnswer(BaseModel):
    """A token made before; the token itself is not stored."""

    id: str
    created: str = Field(description="ISO 8601.")
    expires: str = Field(description="ISO 8601.")
    node: str | None = Field(description="Which node used it; null: nobody yet.")


class TokensAnswer(BaseModel):
    tokens: list[TokenAnswer] = Field(description="The newest first.")


class Join(BaseModel):
    """A request that a node makes with its token and its key."""

    model_config = ConfigDict(extra="forbid")

    token: str = Field(max_length=16, description="The token's id.")
    public_key: str = Field(max_length=64, description="The node's, Ed25519, hexadecimal.")
    name: str = Field(max_length=64, description="How the node calls itself.")
    proof: str = Field(max_length=128, description="Signature by the token's key.")
    possession: str = Field(max_length=128, description="Signature by the node's key.")


class Joined(BaseModel):
    authority: str = Field(description="Certificate of the cluster's authority, PEM.")
    certificate: str = Field(description="The node's, PEM.")
    nodes: list[str] = Field([], description="`HOST:PORT` of the nodes that are there.")


def _cluster(context: Context) -> ClusterFace:
    if context.cluster is None:
        raise WrongStateError("this server has no bus", subject="cluster")
    return context.cluster


Found: TypeAlias = Annotated[ClusterFace, Depends(_cluster)]


@router.get("/names", response_model=NamesAnswer, responses=answers(401, 403, 409))
async def list_names(cluster: Found, by: Administering) -> dict[str, Any]:
    """Everything that the nodes of the cluster announce."""
    names = [
        {"kind": one.kind, "name": one.name, "node": one.node, "value": one.value}
        for one in await cluster.names()
    ]
    return {"node": cluster.node, "names": names}


@router.get("/nodes/tokens", response_model=TokensAnswer, responses=answers(401, 403, 409))
async def list_tokens(cluster: Found, by: Administering) -> dict[str, Any]:
    """Tokens made before, by which machines join or joined."""
    return {
        "tokens": [
            {
                "id": one.id,
                "created": one.created.isoformat(),
                "expires": one.expires.isoformat(),
                "node": one.node,
            }
            for one in await cluster.tokens()
        ]
    }


@router.post(
    "/nodes/tokens",
    status_code=201,
    response_model=TokenMade,
    responses=answers(400, 401, 403, 409, 429),
)
async def create_token(
    new: TokenNew, request: Request, context: Context, cluster: Found, by: Administering
) -> dict[str, Any]:
    """Make a token by which one machine may join: `helio serve --join JOIN --token TOKEN`."""
    # The machine asks at the port that this request came to; a proxy's is not it.
    made = await cluster.make_token(context.http_port(), new.lifetime_s, by=by.actor)
    host = context.public_host or request.url.hostname or "localhost"
    place = f"[{host}]" if ":" in host else host
    return {
        "token": made.text,
        "expires": made.expires.isoformat(),
        "join": f"tls/{place}:{made.bus_port}",
    }


@router.post(
    "/nodes/join", response_model=Joined, responses=answers(400, 401, 409, 410, 429, 502, 503)
)
async def join(given: Join, request: Request, context: Context, cluster: Found) -> dict[str, Any]:
    """Join the cluster; asked by a node that was given a token. Guessing is slowed: 429."""
    try:
        found = await cluster.join(given.model_dump(), peer_of(request))
    except Exception:
        context.counters["joins_refused"] += 1
        raise
    context.counters["joins"] += 1
    return found
