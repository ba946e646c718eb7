"""Configurators joined by a network that exists in memory, on a clock that jumps."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

from heliograph.live.configurator import Configurator
from heliograph.live.neighbours import (
    Answered,
    AskForSources,
    ClientJoined,
    ClientLeft,
    Connect,
    Delivering,
    Denied,
    Disconnect,
    Event,
    Ingest,
    Left,
    LinkDown,
    LinkSilent,
    LinkUp,
    Order,
    Rules,
    SubscribeTo,
    Tell,
    TellPath,
    Told,
    UnsubscribeFrom,
    Wanted,
)
from heliograph.protocols.mesh import Finished, Started

CHANNEL = "show"
#: Seconds a message takes.
LATENCY = 0.01
#: Seconds until a neighbour that says nothing is known to be silent.
SILENCE = 0.2
#: Seconds between two looks at the clock.
TICK = 0.05


def name(number: int) -> str:
    """A node's id."""
    return f"{number:02d}".translate(str.maketrans("0123456789", "abcdefghij")).rjust(16, "x")


class Network:
    """Nodes, the links between them, and what each was told."""

    def __init__(self, rules: Rules | None = None) -> None:
        self.rules = rules
        self.now = 0.0
        self.nodes: dict[str, Configurator] = {}
        self.links: set[tuple[str, str]] = set()
        """(who opened it, to whom)."""
        self.cut: set[frozenset[str]] = set()
        self.gone: set[str] = set()
        self.left: set[str] = set()
        self.asked: dict[str, int] = {}
        self.orders: list[tuple[float, str, Order]] = []
        self.feeding: dict[tuple[str, str], None] = {}
        """(source, client) of subscriptions that the source serves."""
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()

    # doing things to it

    def add(self, node: str, *sources: str) -> None:
        for pair in [pair for pair in self.links if node in pair]:
            self._drop(*pair)  # what its last life had agreed on, this one knows nothing of
        self.nodes[node] = Configurator(node, self.rules)
        self.gone.discard(node)
        self.left.discard(node)
        self.tell(node, Wanted(CHANNEL, sources))

    def ingest(self, node: str, here: bool = True) -> None:
        self.tell(node, Ingest(CHANNEL, here))

    def kill(self, node: str) -> None:
        """It says nothing any more."""
        self.gone.add(node)
        self._silence(node)

    def part(self, one: str, other: str) -> None:
        """Cut what joins two nodes."""
        self.cut.add(frozenset((one, other)))
        self._silence(one)

    def mend(self, one: str, other: str) -> None:
        self.cut.discard(frozenset((one, other)))

    def tell(self, node: str, event: Event) -> None:
        if node not in self.gone and node not in self.left:
            self._carry_out(node, self.nodes[node].handle(event, self.now))

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self.now < end:
            step = min(end, self.now + TICK)
            while self._queue and self._queue[0][0] <= step:
                self.now, _, action = heapq.heappop(self._queue)
                action()
            self.now = step
            for node in list(self.nodes):
                if node not in self.gone and node not in self.left:
                    self._carry_out(node, self.nodes[node].tick(self.now))

    # what it shows

    def fed(self, node: str) -> bool:
        """Whether media reach a node from an ingest, by what is served now."""
        seen: set[str] = set()
        todo = [node]
        while todo:
            at = todo.pop()
            if at in seen or at in self.gone or at in self.left:
                continue
            seen.add(at)
            if self.nodes[at].path(CHANNEL) == (at,):
                return True
            todo += [
                source
                for source, client in self.feeding
                if client == at and self._joined(source, at)
            ]
        return False

    def sources(self, node: str) -> tuple[str, ...]:
        return self.nodes[node].sources(CHANNEL)

    # within

    def _later(self, delay: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now + delay, next(self._count), action))

    def _joined(self, one: str, other: str) -> bool:
        return not ({one, other} & (self.gone | self.left)) and (
            frozenset((one, other)) not in self.cut
        )

    def _silence(self, node: str) -> None:
        """A node's links may have broken: that is noticed in a while."""

        def notice() -> None:
            for client, server in list(self.links):
                if node in (client, server) and not self._joined(client, server):
                    self._drop(client, server)

        self._later(SILENCE, notice)

    def _drop(self, client: str, server: str) -> None:
        self.links.discard((client, server))
        self.tell(client, LinkSilent(server))
        self.tell(client, LinkDown(server))
        if self.feeding.pop((server, client), 0) is None:
            self.tell(server, ClientLeft(CHANNEL, client))

    def _send(self, node: str, other: str, event: Event) -> None:
        def arrive() -> None:
            if self._joined(node, other):
                self.tell(other, event)

        self._later(LATENCY, arrive)

    def _carry_out(self, node: str, orders: list[Order]) -> None:
        for order in orders:
            self.orders.append((self.now, node, order))
            match order:
                case Connect(other):
                    self._connect(node, other)
                case SubscribeTo(_, other):
                    self._later(LATENCY, lambda other=other: self._subscribe(node, other))
                case UnsubscribeFrom(_, other):
                    self.feeding.pop((other, node), None)
                    self._send(node, other, ClientLeft(CHANNEL, node))
                case TellPath(_, path):
                    for source, client in list(self.feeding):
                        self._answer(source, client, path, only=node)
                case Tell(other, Finished() | Started() as message):
                    self._send(node, other, Told(node, message))
                case Disconnect(other):
                    self.links.discard((node, other))
                case AskForSources():
                    self.asked[node] = self.asked.get(node, 0) + 1
                case Left():
                    self._vanish(node)

    def _vanish(self, node: str) -> None:
        self.left.add(node)
        self._silence(node)

    def _connect(self, node: str, other: str) -> None:
        def arrive() -> None:
            if other in self.nodes and self._joined(node, other):
                self.links.add((node, other))
                self.tell(node, LinkUp(other))

        self._later(3 * LATENCY, arrive)

    def _subscribe(self, node: str, other: str) -> None:
        if not self._joined(node, other) or (node, other) not in self.links:
            return
        if CHANNEL not in self.nodes[other]._feeds:
            self._send(other, node, Denied(CHANNEL, other))
            return
        self.feeding[other, node] = None
        self.tell(other, ClientJoined(CHANNEL, node))
        self._answer(other, node, self.nodes[other].path(CHANNEL))

    def _answer(
        self, source: str, client: str, path: tuple[str, ...], only: str | None = None
    ) -> None:
        if only not in (None, source):
            return
        self._send(source, client, Answered(CHANNEL, source, path))
        if path:
            self._send(source, client, Delivering(CHANNEL, source))
