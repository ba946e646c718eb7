"""Volumes, disks, and titles on them in the REST API, for administrators."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from types import TracebackType
from typing import Annotated, Any, Protocol, TypeAlias

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect

from heliograph.catalogue.values import Actor
from heliograph.model.errors import BusyError, HelioError, MalformedError
from heliograph.vod.importing import MAX_RENDITIONS
from heliograph.web.access import Administering, Administrator, Context, still_administrator
from heliograph.web.errors import answers
from heliograph.web.streams import ENDLESS, EventStream, Hub

router = APIRouter(prefix="/api/v1/storage", tags=["storage"], dependencies=[Administrator])

HUB = "storage"
#: Seconds between two looks of the pages at what has changed.
PERIOD = 1.0
#: Answers to orders about a volume.
ORDERS = answers(400, 401, 403, 404, 409, 412, 502, 503)


class UploadFace(Protocol):
    """A file that is being received."""

    async def __aenter__(self) -> UploadFace: ...
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
    async def write(self, data: bytes) -> None: ...
    async def finish(self) -> dict[str, Any]: ...


class StorageFace(Protocol):
    """What the pages know of storage; errors are those of ``model.errors``."""

    async def view(self) -> dict[str, Any]:
        """All there is to be seen; cheap, as pages ask each second."""
        ...

    async def readable(self, objects: Collection[str]) -> dict[str, int]:
        """Those of these objects of titles of which every block can be read now but those that are
        lost for good, and how many these are."""
        ...

    async def create_volume(
        self,
        name: str,
        *,
        data: int,
        parity: int,
        code: str,
        block: int,
        policy: str,
        disks: Sequence[Mapping[str, Any]],
        by: Actor,
    ) -> dict[str, Any]: ...

    async def remove_volume(self, volume: str, by: Actor) -> None: ...

    async def add_disk(
        self,
        volume: str,
        *,
        node: str,
        path: str,
        capacity: int | None,
        erase: bool,
        by: Actor,
    ) -> dict[str, Any]: ...

    async def remove_disk(
        self, volume: str, disk: str, *, force: bool, by: Actor
    ) -> dict[str, Any]: ...

    async def replace_disk(
        self,
        volume: str,
        disk: str,
        *,
        node: str,
        path: str,
        capacity: int | None,
        erase: bool,
        force: bool,
        by: Actor,
    ) -> dict[str, Any]: ...

    async def set_limits(
        self, volume: str, *, move: int | None, scrub: int | None, by: Actor
    ) -> dict[str, Any]: ...

    async def set_policy(self, volume: str, policy: str, *, by: Actor) -> dict[str, Any]: ...

    async def titles(self) -> list[dict[str, Any]]: ...

    async def begin_import(
        self,
        name: str,
        *,
        title: str,
        volume: str,
        file: str,
        size: int | None,
        renditions: int,
        by: Actor,
    ) -> UploadFace: ...

    async def add_rendition(
        self, id: str, *, file: str, size: int | None, by: Actor
    ) -> UploadFace: ...

    def imported(self) -> list[dict[str, Any]]: ...

    async def cancel_import(self, id: str, by: Actor) -> None: ...

    async def begin_recording(
        self,
        channel: str,
        name: str,
        *,
        title: str,
        volume: str,
        max_seconds: float,
        max_bytes: int,
        by: Actor,
    ) -> dict[str, Any]: ...

    async def stop_recording(self, name: str, *, drop: bool, by: Actor) -> dict[str, Any]: ...

    def recorded(self) -> list[dict[str, Any]]: ...

    async def verify(self, name: str) -> dict[str, Any]:
        """Begin to check a title, or tell how far that is."""
        ...

    async def remove_title(self, name: str, by: Actor) -> None: ...


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class DiskWish(_Body):
    """A directory that is to be a disk."""

    node: str = Field(default="", max_length=64, description="Id or name; empty: this node.")
    path: str = Field(min_length=2, max_length=4096, description="Absolute path on that node.")
    capacity: int | None = Field(
        default=None, ge=1 << 20, description="Bytes it may hold; else what its file system has."
    )
    erase: bool = Field(
        default=False, description="Remove what it holds as a disk of another volume."
    )


class VolumeNew(_Body):
    name: str = Field(min_length=1, max_length=64)
    data: int = Field(default=1, ge=1, le=31, description="Data blocks of a parity group.")
    parity: int = Field(default=0, ge=0, le=4, description="Blocks of a group that may be lost.")
    code: str = Field(default="", description="`xor`, `rs` or `copies`; empty: what fits.")
    block: int = Field(default=1 << 20, ge=4096, le=4 << 20, description="Bytes, at most.")
    policy: str = Field(default="", max_length=40, description="Placement; empty: the default.")
    disks: list[DiskWish] = Field(min_length=1, max_length=256)


class VolumeChange(_Body):
    move: int | None = Field(
        default=None, ge=0, description="Bytes a second that moving and mending may read, by node."
    )
    scrub: int | None = Field(default=None, ge=0, description="The same for checking; 0: none.")
    policy: str | None = Field(default=None, max_length=40, description="Nearly everything moves.")


class RecordingNew(_Body):
    channel: str = Field(min_length=1, max_length=64, description="Of this node, on air.")
    name: str = Field(min_length=1, max_length=64, description="The title's logical id.")
    title: str = Field(default="", max_length=200, description="For people; else the channel's.")
    volume: str = Field(default="", max_length=64, description="Empty: the first.")
    max_seconds: float = Field(default=0.0, ge=0, description="Of media; 0: no limit.")
    max_bytes: int = Field(default=0, ge=0, description="0: no limit.")


def _storage(context: Context) -> StorageFace:
    if context.storage is None:
        raise BusyError("this node has nothing to do with storage", subject="storage")
    return context.storage


Found: TypeAlias = Annotated[StorageFace, Depends(_storage)]


def _code(new: VolumeNew) -> str:
    if new.code:
        return new.code
    if new.data == 1:
        return "copies"
    return "xor" if new.parity <= 1 else "rs"


@router.get("", responses=answers(401, 403, 503))
async def get_storage(storage: Found) -> dict[str, Any]:
    """Volumes with their disks, imports, the cache."""
    return await storage.view()


@router.get(
    "/events", status_code=200, response_class=EventStream, responses=answers(401, 403, 503)
)
async def get_events(request: Request, storage: Found, context: Context) -> EventStream:
    """The same, pushed: events `view`."""
    hub = context.streams.hub(HUB, lambda hub: _Looks(hub, storage))
    return EventStream(hub.join(), still_administrator(request, context))


class _Looks:
    """Looks as long as somebody listens."""

    def __init__(self, hub: Hub, storage: StorageFace) -> None:
        self._hub = hub
        self._storage = storage
        self._task = asyncio.get_running_loop().create_task(self._run(), name="storage view")

    def close(self) -> None:
        self._task.cancel()

    async def _run(self) -> None:
        before: dict[str, Any] | None = None
        while True:
            try:
                view = await self._storage.view()
                if view != before:
                    self._hub.tell("view", view, keep=True)
                    before = view
            except HelioError as error:
                self._hub.tell("trouble", {"message": error.message}, "trouble")
                before = None  # the next view says that it is over
            await asyncio.sleep(PERIOD)


@router.post("/volumes", status_code=201, responses=ORDERS)
async def create_volume(new: VolumeNew, storage: Found, by: Administering) -> dict[str, Any]:
    """Make a volume over directories of one or several nodes."""
    return await storage.create_volume(
        new.name,
        data=new.data,
        parity=new.parity,
        code=_code(new),
        block=new.block,
        policy=new.policy,
        disks=[one.model_dump() for one in new.disks],
        by=by.actor,
    )


@router.patch("/volumes/{volume}", responses=ORDERS)
async def change_volume(
    volume: str, change: VolumeChange, storage: Found, by: Administering
) -> dict[str, Any]:
    """Change what moving and checking may cost, or how blocks are placed."""
    done: dict[str, Any] = {"volume": volume}
    if change.move is not None or change.scrub is not None:
        done |= await storage.set_limits(volume, move=change.move, scrub=change.scrub, by=by.actor)
    if change.policy is not None:
        done |= await storage.set_policy(volume, change.policy, by=by.actor)
    return done


@router.delete("/volumes/{volume}", status_code=204, responses=ORDERS)
async def remove_volume(volume: str, storage: Found, by: Administering) -> Response:
    """Forget a volume that has no titles."""
    await storage.remove_volume(volume, by.actor)
    return Response(status_code=204)


@router.post("/volumes/{volume}/disks", status_code=201, responses=ORDERS)
async def add_disk(volume: str, new: DiskWish, storage: Found, by: Administering) -> dict[str, Any]:
    """Add a disk: what belongs on it moves there, while everything is served."""
    return await storage.add_disk(volume, **new.model_dump(), by=by.actor)


@router.delete("/volumes/{volume}/disks/{disk}", responses=ORDERS)
async def remove_disk(
    volume: str,
    disk: str,
    storage: Found,
    by: Administering,
    force: Annotated[bool, Query(description="It is gone: do not read it any more.")] = False,
) -> dict[str, Any]:
    """Let a disk leave; what it has moves elsewhere first, or is made anew from redundancy."""
    return await storage.remove_disk(volume, disk, force=force, by=by.actor)


@router.post("/volumes/{volume}/disks/{disk}/replace", status_code=201, responses=ORDERS)
async def replace_disk(
    volume: str,
    disk: str,
    new: DiskWish,
    storage: Found,
    by: Administering,
    force: Annotated[bool, Query(description="The old one is gone: do not read it.")] = False,
) -> dict[str, Any]:
    """Put a directory in the place of a disk: only what that one had moves."""
    return await storage.replace_disk(volume, disk, **new.model_dump(), force=force, by=by.actor)


@router.get("/titles", responses=answers(401, 403, 503))
async def list_titles(storage: Found) -> dict[str, Any]:
    """Titles on the volumes, by name."""
    return {"titles": await storage.titles()}


FileName: TypeAlias = Annotated[str, Query(max_length=200, description="Of the file, for people.")]


@router.put(
    "/titles/{name}/media",
    status_code=202,
    responses=answers(400, 401, 403, 404, 409, 413, 503),
)
async def import_title(
    name: str,
    request: Request,
    storage: Found,
    by: Administering,
    title: Annotated[str, Query(max_length=200, description="For people; else as the file.")] = "",
    volume: Annotated[str, Query(max_length=64, description="Empty: the first.")] = "",
    filename: FileName = "",
    renditions: Annotated[
        int, Query(ge=0, le=MAX_RENDITIONS, description="Further files of it that come.")
    ] = 0,
) -> dict[str, Any]:
    """Send a media file, as the body, that becomes a title; `imports` tell how far that is.

    With `renditions` it begins when so many further files with the same picture in other sizes are
    there, each sent to `imports/ID/renditions` within a minute of the one before.
    """
    begun = await storage.begin_import(
        name,
        title=title,
        volume=volume,
        file=filename,
        size=_size(request),
        renditions=renditions,
        by=by.actor,
    )
    return await _receive(request, begun)


@router.put(
    "/imports/{id}/renditions",
    status_code=202,
    responses=answers(400, 401, 403, 404, 409, 413, 503),
)
async def add_rendition(
    id: str, request: Request, storage: Found, by: Administering, filename: FileName = ""
) -> dict[str, Any]:
    """Send the next file of a title, as the body: of it only pictures are taken."""
    begun = await storage.add_rendition(id, file=filename, size=_size(request), by=by.actor)
    return await _receive(request, begun)


def _size(request: Request) -> int | None:
    length = request.headers.get("content-length", "")
    return int(length) if length.isdecimal() and len(length) < 19 else None


async def _receive(request: Request, begun: UploadFace) -> dict[str, Any]:
    request.scope.setdefault("extensions", {})[ENDLESS] = True
    async with begun as upload:
        try:
            async for piece in request.stream():
                if piece:
                    await upload.write(piece)
        except ClientDisconnect:  # who sent it hears no answer; those who look at imports do
            raise MalformedError("file", "it broke off while it was sent") from None
        return await upload.finish()


@router.post("/titles/{name}/verify", responses=answers(401, 403, 404, 503))
async def verify_title(name: str, storage: Found) -> dict[str, Any]:
    """Read all of a title and check it; said again, it is told how far that is."""
    return await storage.verify(name)


@router.delete("/titles/{name}", status_code=204, responses=answers(401, 403, 404, 503))
async def remove_title(name: str, storage: Found, by: Administering) -> Response:
    """Remove a title from its volume."""
    await storage.remove_title(name, by.actor)
    return Response(status_code=204)


@router.get("/sessions", responses=answers(401, 403, 503))
async def list_sessions(storage: Found, context: Context) -> dict[str, Any]:
    """Who plays titles by RTSP from this node, or from several nodes of which this is one."""
    return {"sessions": context.title_viewers()}


@router.get("/recordings", responses=answers(401, 403, 503))
async def list_recordings(storage: Found) -> dict[str, Any]:
    """Recordings under way or left by a server that died, and the last that ended."""
    return {"recordings": storage.recorded()}


@router.post("/recordings", status_code=201, responses=answers(400, 401, 403, 404, 406, 409, 503))
async def begin_recording(new: RecordingNew, storage: Found, by: Administering) -> dict[str, Any]:
    """Record a channel into a title, which can be watched from its begin on while it grows."""
    return await storage.begin_recording(
        new.channel,
        new.name,
        title=new.title,
        volume=new.volume,
        max_seconds=new.max_seconds,
        max_bytes=new.max_bytes,
        by=by.actor,
    )


@router.delete("/recordings/{name}", responses=answers(401, 403, 404, 409, 503))
async def stop_recording(
    name: str,
    storage: Found,
    by: Administering,
    drop: Annotated[
        bool, Query(description="Of one that waits: forget what its volume does not have.")
    ] = False,
) -> dict[str, Any]:
    """End a recording; its title stays. One that waits for its volume, since the server died, can
    only be dropped."""
    return await storage.stop_recording(name, drop=drop, by=by.actor)


@router.get("/imports", responses=answers(401, 403, 503))
async def list_imports(storage: Found) -> dict[str, Any]:
    """Imports under way, and the last that ended."""
    return {"imports": storage.imported()}


@router.delete("/imports/{id}", status_code=204, responses=answers(401, 403, 404, 503))
async def cancel_import(id: str, storage: Found, by: Administering) -> Response:
    """End an import; nothing of it stays."""
    await storage.cancel_import(id, by.actor)
    return Response(status_code=204)
