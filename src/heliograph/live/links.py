"""Mesh links of one node: greeted over the bus, kept by the plane, spoken over in messages.

Who wants something of a neighbour opens a link to it and is its *client* there; two nodes that feed
each other different channels have two links. Media are the plane's; this module only settles keys,
says and hears messages, and tells when a link stands, falls silent or ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from heliograph.bus import Bus, Request
from heliograph.live.connections.compose import USUAL_LINK, LinkKind
from heliograph.live.connections.groups import Groups
from heliograph.live.greeting import MAX_LINK, Agreed, Terms, answer, greet, settle
from heliograph.model.errors import (
    BusyError,
    HelioError,
    MalformedError,
    RemoteError,
)
from heliograph.model.nodes import NodeId, check_node_id
from heliograph.plane import (
    MeshBack,
    MeshCast,
    MeshClosed,
    MeshEvent,
    MeshMessage,
    MeshPort,
    MeshSilent,
    MeshUp,
    PlaneLoop,
)
from heliograph.protocols import mesh
from heliograph.protocols.mesh import MAX_WIRE, Mark, Message

log = structlog.get_logger(__name__)

#: The bus's method by which links are greeted.
GREET = "mesh.greet"
#: Links at a time: a reflector feeds some dozens of others.
MAX_LINKS = 1_000
#: Seconds for a greeting to be answered, and then for the first datagram to come.
GREETING_TIMEOUT = 1.0

#: A node, and what the link to it is made of.
_Way = tuple[str, LinkKind]


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """How links are kept."""

    kind: LinkKind = USUAL_LINK
    """What links are made of that this node opens, where a channel does not say."""
    keepalive_ms: int = 50
    silence_ms: int = 200
    """A neighbour that says nothing for so long is silent."""
    give_up: float = 3.0
    """Seconds of silence after which a link is closed: what it kept is too old by then."""
    multicast: Groups | None = None
    """Where casts go; None: this network has no multicast."""


@dataclass(slots=True, eq=False)
class MeshLink:
    """One link to a neighbour."""

    links: Links = field(repr=False)
    node: NodeId
    plane_link: int
    ours: bool
    """Whether this node opened it, and is the client."""
    kind: LinkKind
    up: bool = False
    closed: bool = False
    _wires: dict[int, str] = field(default_factory=dict)
    _next: int = 0
    _silence: asyncio.TimerHandle | None = None

    def say(self, message: Message) -> None:
        """Say something, in order; lost when the link ends. One that cannot take it is closed."""
        if self.closed:
            return
        try:
            with self._as_long_as_it_is():
                self.links.port.send(self.plane_link, mesh.encode(message))
        except BlockingIOError:
            self.links.counters["links_overfull"] += 1
            self.links.end(self, "its neighbour takes no messages")

    @property
    def main(self) -> bool:
        """Whether it is this node's usual link to the neighbour; others carry single channels that
        are to go another way."""
        return self.ours and self.kind == self.links.options.kind

    @contextlib.contextmanager
    def _as_long_as_it_is(self) -> Iterator[None]:
        """What is done to a link that has ended is nothing: its end is told as an event, which
        comes after those that happened before it."""
        try:
            yield
        except KeyError as error:
            if error.args != (self.plane_link,):
                raise

    # what this node gets

    def name(self, channel: str) -> int:
        """A number for a channel that is asked for over this link."""
        if len(self._wires) > MAX_WIRE:
            raise BusyError(f"the link to {self.node} carries as much as it can", subject=self.node)
        while self._next in self._wires:
            self._next = (self._next + 1) & MAX_WIRE
        wire, self._next = self._next, (self._next + 1) & MAX_WIRE
        self._wires[wire] = channel
        return wire

    def named(self, wire: int) -> str | None:
        """The channel behind a number that ``name`` gave."""
        return self._wires.get(wire)

    def take(self, wire: int, input: int) -> None:
        """Let what comes under a number feed an input of the plane."""
        with self._as_long_as_it_is():
            self.links.port.take(self.plane_link, wire, input)

    def forget(self, wire: int) -> None:
        """Take no more under this number."""
        if self._wires.pop(wire, None) is not None and not self.closed:
            self.links.port.release(self.plane_link, wire)

    def listen(self, wire: int, name: int, key: bytes, group: str) -> None:
        """Take what comes by a cast of the neighbour as if it came under a number."""
        with self._as_long_as_it_is():
            self.links.port.listen(self.plane_link, wire, name, key, group)

    def ignore(self, name: int) -> None:
        """Take a cast no more."""
        with self._as_long_as_it_is():
            self.links.port.ignore(self.plane_link, name)

    def heard(self, name: int) -> dict[str, int]:
        """Counters of a cast that is listened to."""
        try:
            return {} if self.closed else self.links.port.heard_stats(self.plane_link, name)
        except KeyError:
            return {}

    # what it gives

    def serve(self, wire: int, plane_channel: int, after: Sequence[Mark]) -> None:
        """Send a channel under the neighbour's number for it."""
        marks = [(mark.track, mark.epoch, mark.number) for mark in after]
        with self._as_long_as_it_is():
            self.links.port.serve(self.plane_link, wire, plane_channel, marks)

    def rest(self, wire: int) -> None:
        """Send it no more, as the neighbour hears a cast of it."""
        with self._as_long_as_it_is():
            self.links.port.rest(self.plane_link, wire)

    def stop(self, wire: int) -> None:
        """Send it no more."""
        if not self.closed:
            self.links.port.stop(self.plane_link, wire)

    def sent_bytes(self) -> int:
        """Payload of the datagrams sent on it."""
        try:
            return 0 if self.closed else self.links.port.stats(self.plane_link)["sent_bytes"]
        except KeyError:
            return 0

    def describe(self) -> dict[str, Any]:
        """For the API: whose, with its counters."""
        try:
            counters = {} if self.closed else dict(self.links.port.stats(self.plane_link))
        except KeyError:
            counters = {}
        known = {"node": self.node, "ours": self.ours, "up": self.up}
        return known | {"connection": str(self.kind)} | counters


class Links:
    """All links of this node; whoever uses them sets what is to be called."""

    def __init__(
        self,
        key: Ed25519PrivateKey,
        bus: Bus,
        loop: PlaneLoop,
        port: MeshPort,
        where: Callable[[str], Sequence[str]],
        options: LinkOptions | None = None,
    ) -> None:
        """``where``: the addresses by which a node can be reached, the best first, numeric."""
        self.port = port
        self.options = options or LinkOptions()
        self.counters: Counter[str] = Counter(
            greetings_sent=0,
            greetings_failed=0,
            greetings_answered=0,
            greetings_refused=0,
            links_overfull=0,
            messages_malformed=0,
        )
        self.on_up: Callable[[MeshLink], None] = _ignore
        """A link stands, or is heard again."""
        self.on_silent: Callable[[MeshLink], None] = _ignore
        self.on_end: Callable[[MeshLink], None] = _ignore
        self.on_failed: Callable[[str], None] = _ignore
        """A node could not be greeted, for its main link."""
        self.on_message: Callable[[MeshLink, Message], None] = _ignore
        self.on_cast: Callable[[MeshLink, int, bool], None] = _ignore
        """A cast that is listened to is heard now, or is not any more."""
        self._key = key
        self._bus = bus
        self._loop = loop
        self._where = where
        self._links: dict[int, MeshLink] = {}
        self._ours: dict[_Way, MeshLink] = {}
        self._greetings: dict[_Way, asyncio.Task[None]] = {}
        self._served = bus.serve(GREET, self._greeted)

    def __iter__(self) -> Iterator[MeshLink]:
        return iter(list(self._links.values()))

    def to(self, node: str, kind: LinkKind | None = None) -> MeshLink | None:
        """The link that this node opened to another, if there is one; the main one, or that of a
        kind."""
        return self._ours.get(self._way(node, kind))

    def _way(self, node: str, kind: LinkKind | None) -> _Way:
        return node, kind or self.options.kind

    def any(self, node: str) -> MeshLink | None:
        """Any link to a node: ours, or one that it opened."""
        theirs = (link for link in self._links.values() if link.node == node)
        return self.to(node) or next(theirs, None)

    async def close(self) -> None:
        """End all links and greet nobody any more."""
        self._served.close()
        greetings = list(self._greetings.values())
        for greeting in greetings:
            greeting.cancel()
        await asyncio.gather(*greetings, return_exceptions=True)
        for link in self:
            self.end(link, "closed")
        self.port.close()

    # opening

    def open(self, node: str, kind: LinkKind | None = None) -> None:
        """Open a link, to be its client; ``on_up`` follows, or ``on_failed`` if it is the main one
        and not of another kind."""
        way = self._way(node, kind)
        link = self._ours.get(way)
        if link is not None:
            if link.up:
                self.on_up(link)
        elif way not in self._greetings:
            task = asyncio.get_running_loop().create_task(self._greet(way), name=f"greet {node}")
            self._greetings[way] = task

    async def _greet(self, way: _Way) -> None:
        node, kind = way
        self.counters["greetings_sent"] += 1
        try:
            self._ours[way] = await self._agree(node, kind)
            return
        except HelioError as error:
            log.warning("neighbour not reached", node=node, error=error.message)
        except (OSError, ValueError) as error:  # the plane takes no such link
            log.error("link not opened", node=node, error=str(error))
        finally:
            del self._greetings[way]
        self.counters["greetings_failed"] += 1
        if kind == self.options.kind:
            self.on_failed(node)

    async def _agree(self, node: str, kind: LinkKind) -> MeshLink:
        addresses = self._where(node)
        if not addresses:
            raise RemoteError(f"nobody knows where node {node} is", subject=node)
        terms = Terms(self._name(), self.port.port, kind)
        pending, greeting = greet(self._key, check_node_id(node), terms)
        value = await self._bus.call(node, GREET, greeting, GREETING_TIMEOUT)
        if not isinstance(value, dict):
            raise MalformedError("mesh greeting", "the answer is no object")
        agreed = settle(self._key, pending, value)
        host = addresses[0]
        peer = f"[{host}]" if ":" in host else host
        return self._add(agreed, terms, f"{peer}:{agreed.terms.port}")

    async def _greeted(self, request: Request) -> dict[str, Any]:
        """A neighbour wants to be a client of this node."""
        try:
            if len(self._links) >= MAX_LINKS:
                raise BusyError(f"{MAX_LINKS} links are open, the most", retry_after=1)
            if not isinstance(request.value, dict):
                raise MalformedError("mesh greeting", "no object")
            terms = Terms(self._name(), self.port.port)
            agreed, said = answer(self._key, request.value, terms)
        except HelioError:
            self.counters["greetings_refused"] += 1
            raise
        self.counters["greetings_answered"] += 1
        self._add(agreed, terms, "", ours=False)
        return said

    def _add(self, agreed: Agreed, terms: Terms, peer: str, *, ours: bool = True) -> MeshLink:
        kind = agreed.terms.kind
        plane_link = self.port.link(
            terms.link,
            agreed.terms.link,
            peer,
            agreed.send_key,
            agreed.receive_key,
            tcp=kind.carrier.tcp,
            connect=ours,
            keepalive_ms=self.options.keepalive_ms,
            silence_ms=self.options.silence_ms,
        )
        link = MeshLink(self, agreed.peer, plane_link, ours, kind)
        self._links[plane_link] = link
        self._loop.on_mesh(plane_link, lambda event: self._happened(link, event))
        self._wait(link, GREETING_TIMEOUT)  # for its first datagram
        return link

    def _name(self) -> int:
        """A number for a link that nobody guesses, so that strangers' datagrams find none."""
        return secrets.randbelow(MAX_LINK) + 1

    # what happens to links

    def end(self, link: MeshLink, reason: str) -> None:
        """Close a link; ``on_end`` follows."""
        if link.closed:
            return
        link.closed = True
        link.up = False
        self._calm(link)
        self._loop.forget_mesh(link.plane_link)
        del self._links[link.plane_link]
        if self._ours.get((link.node, link.kind)) is link:
            del self._ours[link.node, link.kind]
        self.port.close_link(link.plane_link)
        log.info("mesh link ended", node=link.node, ours=link.ours, reason=reason)
        self.on_end(link)

    def _happened(self, link: MeshLink, event: MeshEvent) -> None:
        match event:
            case MeshUp() | MeshBack():
                self._calm(link)
                link.up = True
                self.on_up(link)
            case MeshSilent():
                link.up = False
                self._wait(link, self.options.give_up)
                self.on_silent(link)
            case MeshMessage(message=message):
                self._heard(link, message)
            case MeshCast(cast=name, heard=heard):
                self.on_cast(link, name, heard)
            case MeshClosed(reason=reason):
                self.end(link, reason)

    def _heard(self, link: MeshLink, data: bytes) -> None:
        try:
            message = mesh.decode(data)
        except MalformedError as error:
            self.counters["messages_malformed"] += 1
            log.warning("message not understood", node=link.node, error=error.message)
            return
        self.on_message(link, message)

    def _wait(self, link: MeshLink, seconds: float) -> None:
        """Close a link that says nothing for so long."""
        self._calm(link)
        loop = asyncio.get_running_loop()
        link._silence = loop.call_later(seconds, self.end, link, "silent")

    def _calm(self, link: MeshLink) -> None:
        if link._silence is not None:
            link._silence.cancel()
            link._silence = None


def _ignore(*_: object) -> None:
    """Nobody asked to be told."""
