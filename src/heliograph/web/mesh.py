"""The way of channels over the nodes of a cluster, in the REST API."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol

from fastapi import APIRouter
from pydantic import BaseModel

from heliograph.live.trees import Branch
from heliograph.model.errors import NotFoundError
from heliograph.web.access import Administrator, Context
from heliograph.web.errors import answers

router = APIRouter(prefix="/api/v1", tags=["mesh"], dependencies=[Administrator])


class MeshView(Protocol):
    """What the API needs of this node's mesh."""

    def tree(self, channel: str) -> Awaitable[tuple[Branch, ...]]: ...

    def describe(self) -> dict[str, Any]: ...


class BranchAnswer(BaseModel):
    """A node with all that get a channel from it."""

    node: str
    name: str
    viewers: int
    media: bool
    branches: list[BranchAnswer]


class TreeAnswer(BaseModel):
    """Usually one tree; more where a node said nothing."""

    channel: str
    viewers: int
    trees: list[BranchAnswer]


@router.get("/channels/{name}/tree", response_model=TreeAnswer, responses=answers(401, 403, 404))
async def get_tree(name: str, context: Context) -> dict[str, Any]:
    """How a channel reaches its viewers over all nodes."""
    channel = context.channels.get(name)
    trees = () if context.mesh is None else await context.mesh.tree(channel.name)
    return {
        "channel": channel.name,
        "viewers": sum(tree.viewers for tree in trees),
        "trees": [_branch(tree) for tree in trees],
    }


@router.get("/mesh", responses=answers(401, 403, 404))
async def get_mesh(context: Context) -> dict[str, Any]:
    """This node's links with their counters, and the channels that cross it."""
    if context.mesh is None:
        raise NotFoundError("this node has no mesh", subject="mesh")
    return context.mesh.describe()


def _branch(branch: Branch) -> dict[str, Any]:
    place = branch.place
    return {
        "node": place.node,
        "name": place.name,
        "viewers": place.viewers,
        "media": place.media,
        "branches": [_branch(one) for one in branch.branches],
    }
