"""Statistics of nodes without the cluster's database, written down by one that has it."""

from __future__ import annotations

from typing import Protocol

from heliograph.bus import Bus, Registration, Request
from heliograph.bus.wire import Json
from heliograph.catalogue.contents.batches import Batch
from heliograph.model.errors import MalformedError, UnreachableError

#: Under which those who write down announce themselves.
KIND = "statistics"
POSITION, STORE = "statistics.position", "statistics.store"
#: Seconds that they may take: a database that is busy takes a while.
PATIENCE = 15.0


class Writer(Protocol):
    """Writes statistics down; see ``catalogue.contents.recording``."""

    async def position(self, recorder: str) -> int: ...

    async def store(self, recorder: str, first: int, to: int, batch: Batch) -> None: ...


class RemoteSink:
    """Sends them to a node that writes them down, always the same one while it is there."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def position(self, recorder: str) -> int:
        """As of ``Sink``; ``UnreachableError`` where nobody is there to write."""
        found = await self._call(POSITION, {"recorder": recorder})
        if not isinstance(found, int):
            raise MalformedError("statistics", "no position")
        return found

    async def store(self, recorder: str, first: int, to: int, batch: Batch) -> None:
        """As of ``Sink``."""
        value = {"recorder": recorder, "first": first, "to": to, "batch": batch.to_json()}
        await self._call(STORE, value)

    async def _call(self, method: str, value: Json) -> Json:
        nodes = sorted(node for node, _ in self._bus.present(KIND))
        if not nodes:
            raise UnreachableError("no node is there that writes statistics down")
        return await self._bus.call(nodes[0], method, value, timeout=PATIENCE)


def serve(bus: Bus, name: str, writer: Writer) -> list[Registration]:
    """Write down for others, as the node of that ``name``, until these are closed."""

    async def position(request: Request) -> Json:
        (recorder,) = _fields(request, "recorder")
        return await writer.position(str(recorder))

    async def store(request: Request) -> Json:
        recorder, first, to, batch = _fields(request, "recorder", "first", "to", "batch")
        if type(first) is not int or type(to) is not int:
            raise MalformedError("batch of statistics", "without its numbers")
        await writer.store(str(recorder), first, to, Batch.from_json(batch))
        return None

    return [bus.serve(POSITION, position), bus.serve(STORE, store), bus.announce(KIND, name)]


def _fields(request: Request, *names: str) -> list[Json]:
    value = request.value
    if not isinstance(value, dict) or not set(names) <= set(value):
        raise MalformedError("statistics", "not complete")
    return [value[name] for name in names]
