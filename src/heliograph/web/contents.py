"""Servers, titles and files in the REST API, for administrators.

A row has a `revision`, also as `ETag`; a change or a removal with `If-Match` is refused (412) where
somebody else changed the row meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Depends, Header, Query, Response

from heliograph.catalogue.contents.queries import MAX_PAGE
from heliograph.catalogue.contents.store import ContentStore
from heliograph.catalogue.contents.values import Server, ServerState, Title
from heliograph.dispatcher.conditions import alive
from heliograph.model.errors import MalformedError
from heliograph.web import content_answers as models
from heliograph.web.access import Administering, Administrator, Context
from heliograph.web.context import WebContext
from heliograph.web.errors import answers

router = APIRouter(prefix="/api/v1", tags=["contents"], dependencies=[Administrator])

#: Rows of an answer where no number is asked for.
PAGE = 100
#: Greatest number of a row.
MAX_ID = 2**31 - 1


def _store(context: Context) -> ContentStore:
    return context.catalogue.contents


def _revision(
    if_match: Annotated[
        str | None, Header(description='The `ETag` that the change is made for: `"7"`.')
    ] = None,
) -> int | None:
    """The revision that a change is made for; None: whichever it is."""
    if if_match is None or if_match.strip() == "*":
        return None
    number = if_match.strip().removeprefix("W/").strip('"')
    if not number.isascii() or not number.isdecimal() or len(number) > 18:
        raise MalformedError("If-Match", "it is no revision")
    return int(number)


Store: TypeAlias = Annotated[ContentStore, Depends(_store)]
Revision: TypeAlias = Annotated[int | None, Depends(_revision)]
Search: TypeAlias = Annotated[
    str, Query(max_length=200, description="Words that all have to be found.")
]
After: TypeAlias = Annotated[
    str, Query(max_length=64, description="`more` of the page before this one.")
]
Limit: TypeAlias = Annotated[int, Query(ge=1, le=MAX_PAGE)]


# --- servers ------------------------------------------------------------------------------------


@router.get("/servers", response_model=models.ServersAnswer, responses=answers(401, 403))
async def list_servers(
    context: Context, store: Store, search: Search = "", after: After = "", limit: Limit = PAGE
) -> dict[str, Any]:
    """Servers by name, with what the monitors found."""
    found = await store.list_servers(search=search, after=after, limit=limit)
    rows = await _server_answers(context, found)
    return {"servers": rows, "more": found[-1].name if len(found) == limit else None}


async def _server_answers(context: WebContext, servers: Sequence[Server]) -> list[dict[str, Any]]:
    store = context.catalogue.contents
    files = await store.count_files([one.id for one in servers])
    states = {one.server: one for one in await store.load_states()}
    if context.monitoring is not None:  # what was written down is some seconds old
        states |= context.monitoring.states
    return [models.server_answer(one, files.get(one.id, 0), states.get(one.id)) for one in servers]


async def _server(context: WebContext, server: Server, response: Response) -> dict[str, Any]:
    response.headers["ETag"] = f'"{server.revision}"'
    return (await _server_answers(context, [server]))[0]


@router.get("/servers/{name}", response_model=models.ServerAnswer, responses=answers(401, 403, 404))
async def get_server(
    name: str, context: Context, store: Store, response: Response
) -> dict[str, Any]:
    """One server."""
    return await _server(context, await store.get_server(name), response)


@router.post(
    "/servers",
    status_code=201,
    response_model=models.ServerAnswer,
    responses=answers(400, 401, 403, 409, 413),
)
async def add_server(
    new: models.ServerNew, context: Context, store: Store, by: Administering, response: Response
) -> dict[str, Any]:
    """Add a server. It is measured at once."""
    made = await store.add_server(new.given(), by=by.actor)
    response.headers["Location"] = f"/api/v1/servers/{made.name}"
    return await _server(context, made, response)


@router.patch(
    "/servers/{name}",
    response_model=models.ServerAnswer,
    responses=answers(400, 401, 403, 404, 409, 412),
)
async def change_server(
    name: str,
    change: models.ServerChange,
    context: Context,
    store: Store,
    by: Administering,
    revision: Revision,
    response: Response,
) -> dict[str, Any]:
    """Change a server; what is left out stays."""
    changed = await store.change_server(name, change.given(), revision=revision, by=by.actor)
    return await _server(context, changed, response)


@router.post(
    "/servers/{name}/drain",
    response_model=models.ServerAnswer,
    responses=answers(401, 403, 404),
)
async def drain_server(
    name: str, context: Context, store: Store, by: Administering, response: Response
) -> dict[str, Any]:
    """Send nobody new to a server; those who play there go on."""
    drained = await store.change_server(name, {"drained": True}, by=by.actor)
    return await _server(context, drained, response)


@router.post(
    "/servers/{name}/return",
    response_model=models.ServerAnswer,
    responses=answers(401, 403, 404),
)
async def return_server(
    name: str, context: Context, store: Store, by: Administering, response: Response
) -> dict[str, Any]:
    """Let a server that was drained be used again."""
    returned = await store.change_server(name, {"drained": False}, by=by.actor)
    return await _server(context, returned, response)


@router.delete("/servers/{name}", status_code=204, responses=answers(401, 403, 404, 409, 412))
async def remove_server(
    name: str,
    store: Store,
    by: Administering,
    revision: Revision,
    files: Annotated[bool, Query(description="Whether its files are forgotten, too.")] = False,
) -> None:
    """Remove a server; 409 while it has files, unless those go with it."""
    await store.remove_server(name, with_files=files, revision=revision, by=by.actor)


@router.get(
    "/servers/{name}/responses",
    response_model=models.ResponsesAnswer,
    responses=answers(400, 401, 403, 404),
)
async def list_responses(
    name: str,
    store: Store,
    context: Context,
    seconds: Annotated[float, Query(gt=0, le=91 * 86_400, description="How far back.")] = 3600,
) -> dict[str, Any]:
    """Response times of a server until now: single ones of the last hour, means before."""
    found = await store.list_responses(name, seconds)
    return {"responses": [models.response_answer(one) for one in found]}


# --- titles -------------------------------------------------------------------------------------


@router.get("/titles", response_model=models.TitlesAnswer, responses=answers(401, 403))
async def list_titles(
    context: Context, store: Store, search: Search = "", after: After = "", limit: Limit = PAGE
) -> dict[str, Any]:
    """Titles by name, and how they are to be had now."""
    found = await store.list_titles(search=search, after=after, limit=limit)
    rows = await _title_answers(context, found)
    return {"titles": rows, "more": found[-1].name if len(found) == limit else None}


async def _title_answers(context: WebContext, titles: Sequence[Title]) -> list[dict[str, Any]]:
    store = context.catalogue.contents
    if context.monitoring is None:  # others watch, and write down what they find
        states: Iterable[ServerState] = await store.load_states()
    else:
        states = context.monitoring.states.values()
    answering = [state.server for state in states if alive(state)]
    readable = None if context.storage is None else context.storage.readable
    copies = await store.count_copies([one.id for one in titles], answering, readable)
    return [models.title_answer(one, copies[one.id]) for one in titles]


async def _title(context: WebContext, title: Title, response: Response) -> dict[str, Any]:
    response.headers["ETag"] = f'"{title.revision}"'
    return (await _title_answers(context, [title]))[0]


@router.get("/titles/{name}", response_model=models.TitleAnswer, responses=answers(401, 403, 404))
async def get_title(
    name: str, context: Context, store: Store, response: Response
) -> dict[str, Any]:
    """One title."""
    return await _title(context, await store.get_title(name), response)


@router.post(
    "/titles",
    status_code=201,
    response_model=models.TitleAnswer,
    responses=answers(400, 401, 403, 404, 409, 413),
)
async def add_title(
    new: models.TitleNew, context: Context, store: Store, by: Administering, response: Response
) -> dict[str, Any]:
    """Add a title; 409 where a title or a channel has the name."""
    made = await store.add_title(new.given(), by=by.actor)
    response.headers["Location"] = f"/api/v1/titles/{made.name}"
    return await _title(context, made, response)


@router.patch(
    "/titles/{name}",
    response_model=models.TitleAnswer,
    responses=answers(400, 401, 403, 404, 409, 412),
)
async def change_title(
    name: str,
    change: models.TitleChange,
    context: Context,
    store: Store,
    by: Administering,
    revision: Revision,
    response: Response,
) -> dict[str, Any]:
    """Change a title; what is left out stays."""
    changed = await store.change_title(name, change.given(), revision=revision, by=by.actor)
    return await _title(context, changed, response)


@router.delete("/titles/{name}", status_code=204, responses=answers(401, 403, 404, 412))
async def remove_title(name: str, store: Store, by: Administering, revision: Revision) -> None:
    """Remove a title with what is known of its files; the servers keep them."""
    await store.remove_title(name, revision=revision, by=by.actor)


# --- files --------------------------------------------------------------------------------------


@router.get("/files", response_model=models.FilesAnswer, responses=answers(401, 403, 404))
async def list_files(
    store: Store,
    search: Search = "",
    title: Annotated[str, Query(max_length=64, description="Only of this title.")] = "",
    server: Annotated[str, Query(max_length=64, description="Only on this server.")] = "",
    after: Annotated[int, Query(ge=0, le=MAX_ID)] = 0,
    limit: Limit = PAGE,
) -> dict[str, Any]:
    """Files by id; `search` looks through addresses and titles."""
    found = await store.list_files(
        search=search, title=title, server=server, after=after, limit=limit
    )
    rows = [models.file_answer(*one) for one in found]
    return {"files": rows, "more": found[-1][0].id if len(found) == limit else None}


async def _file(store: ContentStore, id: int, response: Response) -> dict[str, Any]:
    file, title, server = await store.get_file(id)
    response.headers["ETag"] = f'"{file.revision}"'
    return models.file_answer(file, title, server)


@router.get("/files/{id}", response_model=models.FileAnswer, responses=answers(401, 403, 404))
async def get_file(id: int, store: Store, response: Response) -> dict[str, Any]:
    """One file."""
    return await _file(store, id, response)


@router.post(
    "/files",
    status_code=201,
    response_model=models.FileAnswer,
    responses=answers(400, 401, 403, 404, 409, 413),
)
async def add_file(
    new: models.FileNew, store: Store, by: Administering, response: Response
) -> dict[str, Any]:
    """Say that a server holds a copy of a title."""
    made = await store.add_file(new.given(), by=by.actor)
    response.headers["Location"] = f"/api/v1/files/{made.id}"
    return await _file(store, made.id, response)


@router.patch(
    "/files/{id}",
    response_model=models.FileAnswer,
    responses=answers(400, 401, 403, 404, 409, 412),
)
async def change_file(
    id: int,
    change: models.FileChange,
    store: Store,
    by: Administering,
    revision: Revision,
    response: Response,
) -> dict[str, Any]:
    """Change a file; what is left out stays."""
    await store.change_file(id, change.given(), revision=revision, by=by.actor)
    return await _file(store, id, response)


@router.delete("/files/{id}", status_code=204, responses=answers(401, 403, 404, 412))
async def remove_file(id: int, store: Store, by: Administering, revision: Revision) -> None:
    """Forget a file; the server keeps it."""
    await store.remove_file(id, revision=revision, by=by.actor)


# --- what they refer to -------------------------------------------------------------------------


@router.get("/networks", response_model=models.NetworksAnswer, responses=answers(401, 403))
async def list_networks(
    store: Store, search: Search = "", after: After = "", limit: Limit = PAGE
) -> dict[str, Any]:
    """Networks of clients and their regions, in the order of their texts."""
    found = await store.list_networks(search=search, after=after, limit=limit)
    return {"networks": found, "more": found[-1].cidr if len(found) == limit else None}


@router.put(
    "/networks/{cidr:path}",
    response_model=models.NetworkModel,
    responses=answers(400, 401, 403, 413),
)
async def put_network(cidr: str, put: models.NetworkPut, store: Store, by: Administering) -> object:
    """Say of what region the clients of a network are, or that they are not served."""
    return await store.put_network({"cidr": cidr, **put.model_dump()}, by=by.actor)


@router.delete("/networks/{cidr:path}", status_code=204, responses=answers(400, 401, 403, 404))
async def remove_network(cidr: str, store: Store, by: Administering) -> None:
    """Forget a network."""
    await store.remove_network(cidr, by=by.actor)


@router.get("/levels", response_model=models.LevelsAnswer, responses=answers(401, 403))
async def list_levels(store: Store, search: Search = "") -> dict[str, Any]:
    """Ratings that titles can have."""
    return {"levels": await store.list_levels(search=search)}


@router.put(
    "/levels/{code}", response_model=models.LevelModel, responses=answers(400, 401, 403, 413)
)
async def put_level(code: str, put: models.LevelPut, store: Store, by: Administering) -> object:
    """Add or change a rating."""
    return await store.put_level({"code": code, **put.model_dump(exclude_unset=True)}, by=by.actor)


@router.delete("/levels/{code}", status_code=204, responses=answers(401, 403, 404, 409))
async def remove_level(code: str, store: Store, by: Administering) -> None:
    """Remove a rating; 409 while titles have it."""
    await store.remove_level(code, by=by.actor)


@router.get("/classes", response_model=models.ClassesAnswer, responses=answers(401, 403))
async def list_classes(store: Store, search: Search = "") -> dict[str, Any]:
    """Subjects that titles can have."""
    return {"classes": await store.list_classifications(search=search)}


@router.put(
    "/classes/{code}", response_model=models.ClassModel, responses=answers(400, 401, 403, 413)
)
async def put_class(code: str, put: models.ClassPut, store: Store, by: Administering) -> object:
    """Add or change a subject."""
    said = {"code": code, **put.model_dump(exclude_unset=True)}
    return await store.put_classification(said, by=by.actor)


@router.delete("/classes/{code}", status_code=204, responses=answers(401, 403, 404, 409))
async def remove_class(code: str, store: Store, by: Administering) -> None:
    """Remove a subject; 409 while titles have it."""
    await store.remove_classification(code, by=by.actor)
