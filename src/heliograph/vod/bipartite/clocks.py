"""The clocks of nodes that send together, measured over the bus.

A node's *shared clock* is Unix time in µs as it was when the node started, going on by the plane's
monotonic clock: nobody sets it.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterable

import structlog

from heliograph.bus import Bus, Request
from heliograph.bus.wire import Json
from heliograph.model.errors import HelioError, MalformedError
from heliograph.model.nodes import NodeId
from heliograph.vod.bipartite.clock import Relation, Sample

log = structlog.get_logger(__name__)

#: Method by which a node tells its shared clock.
CLOCK = "bipartite.clock"
#: Questions of one burst: one that is not held up is among them.
BURST = 5
#: Seconds that an answer may take; what takes longer measures nothing.
TIMEOUT = 0.5
#: Nodes whose clocks are remembered.
MAX_NODES = 256


class Clocks:
    """What this node knows of others' shared clocks; ``start`` answers for its own."""

    def __init__(
        self,
        bus: Bus,
        monotonic_us: Callable[[], int],
        unix_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._bus = bus
        self._monotonic = monotonic_us
        self._base = unix_us() - monotonic_us()
        self._boot = secrets.token_hex(8)
        self._relations: dict[str, tuple[str, Relation]] = {}
        self._registration = bus.serve(CLOCK, self._asked)

    def close(self) -> None:
        """Answer no more."""
        self._registration.close()

    def now_us(self) -> int:
        """Our shared clock."""
        return self._monotonic() + self._base

    def local_us(self, controller: NodeId, instant_us: int) -> int:
        """When the plane's clock shows what is an instant of a node's shared clock."""
        return instant_us - self._ahead(controller) - self._base

    def shared_us(self, controller: NodeId, local_us: int) -> int:
        """A node's shared clock at an instant of the plane's."""
        return local_us + self._base + self._ahead(controller)

    def _ahead(self, node: str) -> int:
        if node == self._bus.node or node not in self._relations:
            return 0
        return round(self._relations[node][1].offset_us(self.now_us()))

    def error_us(self, node: str) -> float:
        """How far off a node's clock may be from what is thought."""
        if node == self._bus.node:
            return 0.0
        known = self._relations.get(node)
        return float("inf") if known is None else known[1].error_us(self.now_us())

    async def ensure(self, node: NodeId) -> None:
        """Measure a node's clock unless it is known; ``RemoteError`` where it does not answer."""
        if node != self._bus.node and node not in self._relations:
            await self.measure(node)

    async def measure(self, node: NodeId) -> None:
        """Measure a node's clock by a burst; ``RemoteError`` where it does not answer at all."""
        samples: list[Sample] = []
        boot = ""
        for _ in range(BURST):
            sent = self.now_us()
            try:
                answer = await self._bus.call(node, CLOCK, None, TIMEOUT)
            except HelioError:
                if not samples:
                    raise
                break
            received = self.now_us()
            theirs, boot = _read(answer)
            samples.append(Sample(sent, theirs, received))
        known, relation = self._relations.get(node, ("", Relation()))
        if known != boot:  # it was started anew, and its clock with it
            relation.forget()
        relation.add(samples)
        self._relations.pop(node, None)
        self._relations[node] = boot, relation
        if len(self._relations) > MAX_NODES:
            del self._relations[next(iter(self._relations))]

    async def measure_all(self, nodes: Iterable[NodeId]) -> None:
        """Measure the clocks of several nodes; those that do not answer are left as they were."""

        async def one(node: NodeId) -> None:
            try:
                await self.measure(node)
            except HelioError as error:
                log.debug("clock not measured", node=node, error=error.message)

        await asyncio.gather(*(one(node) for node in nodes if node != self._bus.node))

    async def _asked(self, request: Request) -> Json:
        return [self.now_us(), self._boot]


def _read(answer: Json) -> tuple[int, str]:
    if isinstance(answer, list) and len(answer) == 2:
        theirs, boot = answer
        if type(theirs) is int and 0 <= theirs < 1 << 62 and isinstance(boot, str):
            return theirs, boot[:32]
    raise MalformedError("clock", "no instant")
