"""The whole cluster as its manager sees it, and orders to the manager, in the REST API."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Protocol, TypeAlias

import structlog
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from heliograph.bus import Registration
from heliograph.catalogue.values import Actor
from heliograph.live.channel import Channel
from heliograph.live.identity import Identity
from heliograph.live.placing import home_of
from heliograph.manager.decisions.growing import MAX_BY_HAND
from heliograph.model.errors import BusyError, HelioError, UnreachableError
from heliograph.web.access import Context, Overseeing, Overseer, still_overseer
from heliograph.web.context import WebContext
from heliograph.web.errors import answers
from heliograph.web.streams import EventStream, Hub, Pace

log = structlog.get_logger(__name__)

router = APIRouter(prefix="/api/v1", tags=["cluster"], dependencies=[Overseer])

#: Seconds between two views that are pushed: people read no faster.
VIEW_PERIOD = 0.5
#: Seconds after which the view is asked for when none was pushed.
LOOK_PERIOD = 5.0
#: Seconds that a manager may take: less than pages and the command line wait.
PATIENCE = 8.0
#: Seconds that it may take to forget a channel: who deleted it waits for nothing else.
FORGET = 2.0
#: The name under which who listens to the cluster is found among the streams.
HUB = "cluster"

#: Told what is new: ``view`` with the whole view, ``progress`` with that of a command.
Listener: TypeAlias = Callable[[str, Mapping[str, Any]], None]
#: Gives an order, with its arguments.
Order: TypeAlias = Callable[..., Awaitable[dict[str, Any]]]


class ManagersFace(Protocol):
    """What the API needs of the way to the manager."""

    def command(
        self, command: str, by: Actor, domains: tuple[str, ...] | None = None, /, **what: object
    ) -> Awaitable[dict[str, Any]]:
        """Order something; its ``progress`` where it takes a while. Errors are the manager's.
        ``domains``: what ``by`` administers; None: everything."""
        ...

    def view(self) -> Awaitable[dict[str, Any]]:
        """The cluster as the manager sees it; ``RemoteError`` without one."""
        ...

    def watch(self, listener: Listener) -> Registration:
        """Be told of changes."""
        ...


#: What a channel has that no unit carries.
_NOTHING: Mapping[str, Any] = {
    "viewers": 0,
    "reserved": 0,
    "places": 0,
    "groups": 0,
    "kept": 1,
    "bitrate": 0,
    "epoch": 0,
    "ingest": None,
    "next_ingest": None,
    "orphans": [],
    "tree": [],
}


class Done(BaseModel):
    """What became of an order."""

    done: bool = Field(description="False: it goes on; `progress` says how far it is.")
    progress: dict[str, Any] | None = Field(
        None,
        description="What a unit that is drained, or a channel that is closed, still has; where a "
        "channel that was opened is expected.",
    )


class Extension(BaseModel):
    model_config = ConfigDict(extra="forbid")

    groups: int = Field(1, ge=1, le=MAX_BY_HAND, description="How many more.")
    unit: str = Field("", max_length=64, description="Id of the unit; empty: the manager chooses.")


class Reduction(BaseModel):
    model_config = ConfigDict(extra="forbid")

    groups: int = Field(1, ge=1, le=MAX_BY_HAND, description="How many fewer.")


class Move(BaseModel):
    model_config = ConfigDict(extra="forbid")

    unit: str = Field(min_length=1, max_length=64, description="Id of the unit it goes to.")


def _managers(context: Context) -> ManagersFace:
    if context.managers is None:
        raise BusyError("this node is in no cluster", subject="cluster")
    return context.managers


Found: TypeAlias = Annotated[ManagersFace, Depends(_managers)]


def _ordering(managers: Found, by: Overseeing) -> Order:
    def order(command: str, **what: object) -> Awaitable[dict[str, Any]]:
        return _reached(managers.command(command, by.actor, by.domains, **what))

    return order


#: Orders something of the manager, in the name of who asks.
Ordering: TypeAlias = Annotated[Order, Depends(_ordering)]

#: What may become of an order about a unit, and of one about a channel.
UNIT_ANSWERS = answers(401, 403, 404, 409, 502, 503)
CHANNEL_ANSWERS = answers(400, 401, 403, 404, 409, 502, 503)


@router.get("/cluster", responses=answers(401, 403, 503))
async def get_cluster(managers: Found, context: Context) -> dict[str, Any]:
    """Units, channels and their groups, as the manager sees them, and who the managers are."""
    return {**dressed(context, await _reached(managers.view())), "managers": present(context)}


@router.get(
    "/cluster/events", status_code=200, response_class=EventStream, responses=answers(401, 403, 503)
)
async def get_events(request: Request, managers: Found, context: Context) -> EventStream:
    """The same, pushed: events `view`, `managers`, `progress`, and `trouble` without a manager."""
    hub = context.streams.hub(HUB, lambda hub: News(hub, context, managers))
    return EventStream(hub.join(), still_overseer(request, context))


@router.post("/units/{unit}/drain", response_model=Done, responses=UNIT_ANSWERS)
async def drain_unit(unit: str, order: Ordering) -> dict[str, Any]:
    """Move everything away from a unit; events tell how far it is."""
    return await order("drain", unit=unit)


@router.post("/units/{unit}/return", response_model=Done, responses=UNIT_ANSWERS)
async def return_unit(unit: str, order: Ordering) -> dict[str, Any]:
    """Let a unit that was drained or removed be given channels again."""
    return await order("return", unit=unit)


@router.delete("/units/{unit}", response_model=Done, responses=UNIT_ANSWERS)
async def remove_unit(unit: str, order: Ordering) -> dict[str, Any]:
    """Forget a unit that is gone, or that was drained and has nothing; 409 while it carries
    anything. It is shown no more, and if it runs or comes back it is given nothing until it is
    returned."""
    return await order("remove", unit=unit)


@router.post(
    "/cluster/channels/{name}/open", response_model=Done, responses=answers(401, 403, 404, 502, 503)
)
async def open_channel(name: str, order: Ordering) -> dict[str, Any]:
    """Let everybody publish on and watch a channel that was closed, and grant a first group before
    anybody comes, on the least loaded unit; `progress` says on which."""
    return await order("open", channel=name)


@router.post(
    "/cluster/channels/{name}/close",
    response_model=Done,
    responses=answers(401, 403, 404, 502, 503),
)
async def close_channel(name: str, order: Ordering) -> dict[str, Any]:
    """End a channel at all units: publishers and viewers are sent away, groups given back, and
    nobody is let in until it is opened. Its keys, settings and chat stay. Events tell how far it
    is."""
    return await order("close", channel=name)


@router.post("/channels/{name}/extend", response_model=Done, responses=CHANNEL_ANSWERS)
async def extend_channel(name: str, given: Extension, order: Ordering) -> dict[str, Any]:
    """Give a channel further groups, which stay until they are taken back."""
    return await order("extend", channel=name, groups=given.groups, unit=given.unit)


@router.post("/channels/{name}/shrink", response_model=Done, responses=CHANNEL_ANSWERS)
async def shrink_channel(name: str, given: Reduction, order: Ordering) -> dict[str, Any]:
    """Take groups of a channel back, as they empty."""
    return await order("reduce", channel=name, groups=given.groups)


@router.post("/channels/{name}/move", response_model=Done, responses=CHANNEL_ANSWERS)
async def move_channel(name: str, given: Move, order: Ordering) -> dict[str, Any]:
    """Let the source of a channel enter at another unit."""
    return await order("move", channel=name, unit=given.unit)


async def tell_deleted(context: WebContext, channel: Channel, by: Identity) -> None:
    """Let the manager forget a channel that was deleted here; one that cannot be asked reads it
    when it begins, where it has the same database. Only administrators lift it that a channel is
    closed: this node may not have heard of that yet."""
    managers, cluster = context.managers, context.cluster
    if managers is None or cluster is None:
        return
    home = home_of(cluster.bus, channel)
    try:
        async with asyncio.timeout(FORGET):
            what = {"channel": channel.name, "home": home, "lifted": int(by.administrator)}
            await managers.command("forget", by.actor, **what)
    except (HelioError, TimeoutError) as error:
        log.warning("manager not told of deletion", channel=channel.name, error=str(error))


class News:
    """Brings what changes to those who listen, as long as somebody does."""

    def __init__(self, hub: Hub, context: WebContext, managers: ManagersFace) -> None:
        self._hub = hub
        self._context = context
        self._managers = managers
        self._pace = Pace(VIEW_PERIOD, self._tell_view)
        self._changed = asyncio.Event()
        """Managers came or went."""
        self._heard_at = -LOOK_PERIOD
        self._registrations: list[Registration] = [managers.watch(self._heard)]
        if context.cluster is not None:
            self._registrations.append(context.cluster.bus.watch("manager", self._manager_seen))
        self._tell_managers()
        self._task = asyncio.get_running_loop().create_task(self._look(), name="cluster view")

    def close(self) -> None:
        """Bring nothing more."""
        for one in self._registrations:
            one.close()
        self._pace.close()
        self._task.cancel()

    def _heard(self, kind: str, value: Mapping[str, Any]) -> None:
        if kind == "view":
            # Where it is too long to be published it has only numbers: the rest is asked for.
            if value.get("whole", True):
                self._heard_at = asyncio.get_running_loop().time()
            self._pace.put(value)
        else:
            self._hub.tell(kind, value, f"{kind} {value.get('subject', '')}")

    def _manager_seen(self, event: object) -> None:
        self._tell_managers()
        self._changed.set()

    def _tell_managers(self) -> None:
        self._hub.tell("managers", {"managers": present(self._context)}, "managers", keep=True)

    def _tell_view(self, value: Mapping[str, Any]) -> None:
        whole = value.get("whole", True)
        self._hub.forget("trouble")
        if whole:
            self._hub.forget("numbers")
        key = "view" if whole else "numbers"
        self._hub.tell("view", dressed(self._context, value), key, keep=True)

    async def _look(self) -> None:
        """Ask for the view at once, and again when none came by itself: publications get lost."""
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            try:
                self._pace.put(await self._managers.view())
            except HelioError as error:
                trouble = {"message": error.message}
                self._hub.tell("trouble", trouble, "trouble", keep=True)
            except Exception:
                log.exception("cluster view failed")
            while True:
                try:
                    async with asyncio.timeout(LOOK_PERIOD):
                        await self._changed.wait()
                    break
                except TimeoutError:
                    if loop.time() - self._heard_at >= LOOK_PERIOD:
                        break


def present(context: WebContext) -> list[dict[str, Any]]:
    """The managers that are there, by name: ``node``, ``name``, ``active``, ``epoch``."""
    if context.cluster is None:
        return []
    found = context.cluster.bus.present("manager")
    return [
        {
            "node": node,
            "name": name,
            "active": isinstance(value, dict) and value.get("active") is True,
            "epoch": value.get("epoch", 0) if isinstance(value, dict) else 0,
        }
        for (node, name), value in sorted(found.items(), key=lambda item: item[0][::-1])
    ]


def dressed(context: WebContext, view: Mapping[str, Any]) -> dict[str, Any]:
    """A view with what this node knows besides: ``address`` and ``link`` of units (null: there is
    no link from here), ``title`` of channels, and those that no unit carries; which ``node`` it
    is. ``state`` of a channel: ``open``, ``closed``, or ``idle`` where nobody needed it yet."""
    addresses: dict[str, str] = {}
    if context.cluster is not None:
        for (node, _), value in context.cluster.bus.present("node").items():
            if isinstance(value, dict):
                addresses[node] = str(value.get("address", ""))
    links: dict[str, dict[str, Any]] = {}
    for link in [] if context.mesh is None else context.mesh.describe()["links"]:
        found = links.setdefault(link["node"], {"up": False, "received": 0, "lost": 0})
        found["up"] = found["up"] or link["up"]
        found["received"] += link.get("received_items", 0)
        found["lost"] += link.get("given_up", 0)
    titles = {channel.name: channel.title for channel in context.channels}
    closed = frozenset(view.get("closed", ()))
    carried = [*view.get("channels", ())]
    names = {channel["name"] for channel in carried}
    carried += ({"name": name, **_NOTHING} for name in sorted({*titles, *closed} - names))
    return {
        **view,
        "node": "" if context.cluster is None else context.cluster.node,
        "units": [
            {**unit, "address": addresses.get(unit["id"], ""), "link": links.get(unit["id"])}
            for unit in view.get("units", ())
        ],
        "channels": [
            {
                **channel,
                "title": titles.get(channel["name"], ""),
                "state": _state(channel, channel["name"] in closed),
            }
            for channel in sorted(carried, key=lambda one: one["name"])
        ],
    }


def _state(channel: Mapping[str, Any], closed: bool) -> str:
    carried = channel.get("groups") or channel.get("ingest")
    return "closed" if closed else "open" if carried else "idle"


async def _reached(answer: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    """What a manager answers; ``BusyError`` where none does: another will soon."""
    try:
        async with asyncio.timeout(PATIENCE):
            return await answer
    except TimeoutError:
        raise BusyError(
            f"no manager answered in {PATIENCE:g} s; whether it was done is not known",
            subject="manager",
            retry_after=2,
        ) from None
    except UnreachableError as error:
        raise BusyError(
            f"no manager is active: {error.message}", subject="manager", retry_after=2
        ) from None
