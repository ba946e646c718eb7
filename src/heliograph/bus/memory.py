"""A network in memory: that of a node that is alone, and of tests, where nodes can be cut off.

It does what Zenoh does as far as a bus can see: things arrive later, in order; a node that is cut
off takes its tokens with it for the others, and theirs for itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from heliograph.bus.bus import Bus
from heliograph.bus.keys import matches
from heliograph.bus.link import Question, Undo
from heliograph.model.errors import ResourceError
from heliograph.model.nodes import NodeId

_T = TypeVar("_T")


class MemoryNetwork:
    """Joins the links made by it."""

    def __init__(self) -> None:
        self.links: list[MemoryLink] = []
        self.lose: Callable[[str], bool] = lambda key: False
        """Whether something that is put on its way to another node gets lost."""
        self._starts = 0
        self._cut: set[frozenset[int]] = set()
        self._forgotten: set[tuple[int, int]] = set()
        self._muted: set[tuple[int, int]] = set()

    def link(self) -> MemoryLink:
        """A link that is not open yet."""
        self._starts += 1
        return MemoryLink(self, f"{self._starts:016x}")

    async def bus(self, node: NodeId) -> Bus:
        """An open bus."""
        bus = Bus(node, self.link())
        await bus.start()
        return bus

    def cut(self, one: MemoryLink, other: MemoryLink) -> None:
        """Part two nodes."""
        self._cut.add(frozenset((id(one), id(other))))
        one.look()
        other.look()

    def heal(self, one: MemoryLink, other: MemoryLink) -> None:
        """Join them again."""
        self._cut.discard(frozenset((id(one), id(other))))
        one.look()
        other.look()

    def forget(self, one: MemoryLink, other: MemoryLink) -> None:
        """Leave half a connection: ``one`` sees no tokens of ``other`` any more, and hears it."""
        self._forgotten.add((id(one), id(other)))
        one.look()

    def mute(self, one: MemoryLink, other: MemoryLink) -> None:
        """The other half: ``one`` sees the tokens of ``other``, and hears nothing."""
        self._muted.add((id(one), id(other)))

    def hears(self, one: MemoryLink, other: MemoryLink) -> bool:
        """Whether what ``other`` puts reaches ``one``."""
        return (id(one), id(other)) not in self._muted

    def remember(self, link: MemoryLink) -> None:
        """The opposite, of all that a link forgot and of all who forgot it."""
        self._forgotten = {pair for pair in self._forgotten if id(link) not in pair}
        self._muted = {pair for pair in self._muted if id(link) not in pair}

    def seen(self, of: MemoryLink) -> list[MemoryLink]:
        """Whose tokens a link sees, its own first."""
        there = self.reachable(of)
        return [one for one in there if (id(of), id(one)) not in self._forgotten]

    def reachable(self, of: MemoryLink) -> list[MemoryLink]:
        """Whom a link reaches, itself first."""
        if not of.is_open:
            return []
        others = (
            one
            for one in self.links
            if one is not of and frozenset((id(one), id(of))) not in self._cut
        )
        return [of, *others]


@dataclass(slots=True, eq=False)
class _Watch:
    pattern: str
    seen: Callable[[str, bool], None]
    there: set[str] = field(default_factory=set)


class MemoryLink:
    """A ``link.Link``."""

    def __init__(self, network: MemoryNetwork, session: str) -> None:
        self.session = session
        self.renewals = 0
        self.is_open = False
        self._network = network
        self._tokens: list[str] = []
        self._watches: list[_Watch] = []
        self._subscribers: list[tuple[str, Callable[[str, bytes], None]]] = []
        self._services: list[tuple[str, Callable[[Question], None]]] = []
        self._asked: set[_MemoryQuestion] = set()
        self._loop: asyncio.AbstractEventLoop

    async def open(self) -> None:
        """Begin; a link opens once."""
        if self.is_open or self in self._network.links:
            raise ResourceError("the link is open already", subject="bus")
        self._loop = asyncio.get_running_loop()
        self.is_open = True
        self._network.links.append(self)

    async def close(self) -> None:
        """End."""
        self.fail()

    def fail(self) -> None:
        """As when the process is killed."""
        if not self.is_open:
            return
        others = self._network.reachable(self)[1:]
        self.is_open = False
        self._network.links.remove(self)
        for question in [*self._asked]:
            question.end()
        for one in others:
            one.look()

    async def renew(self) -> None:
        """Be there anew: who forgot us, or was forgotten, is seen again."""
        self.renewals += 1
        self._network.remember(self)
        for watch in self._watches:
            watch.there = set()
        self._look_all()

    def put(self, key: str, payload: bytes) -> None:
        """Publish."""
        for one in self._network.reachable(self):
            if one is self or (self._network.hears(one, self) and not self._network.lose(key)):
                for pattern, heard in [*one._subscribers]:
                    if matches(pattern, key):
                        one._soon(heard, key, payload)

    def subscribe(self, pattern: str, heard: Callable[[str, bytes], None]) -> Undo:
        """Hear what is put."""
        return _kept(self._subscribers, (pattern, heard))

    def serve(self, pattern: str, asked: Callable[[Question], None]) -> Undo:
        """Answer requests."""
        return _kept(self._services, (pattern, asked))

    def ask(
        self,
        pattern: str,
        payload: bytes,
        timeout: float,
        answered: Callable[[str, bytes], None],
        ended: Callable[[], None],
    ) -> None:
        """Ask all who serve it."""
        found = [
            (one, asked)
            for one in self._network.reachable(self)
            for key, asked in one._services
            if matches(pattern, key)
        ]
        waiting: set[_MemoryQuestion] = set()

        def over(question: _MemoryQuestion | None) -> None:
            if question is not None and question not in waiting:
                return
            waiting.discard(question) if question is not None else waiting.clear()
            if not waiting:
                timer.cancel()
                self._soon(ended)

        def reply(served: MemoryLink, key: str, payload: bytes) -> None:
            if served in self._network.reachable(self):
                self._soon(answered, key, payload)

        timer = self._loop.call_later(timeout, over, None)
        for one, asked in found:
            question = _MemoryQuestion(pattern, payload, one, reply, over)
            waiting.add(question)
            one._asked.add(question)
            one._soon(asked, question)
        if not found:
            over(None)

    def declare(self, key: str) -> Undo:
        """Show a token."""
        self._tokens.append(key)
        self._look_all()

        def undo() -> None:
            if key in self._tokens:
                self._tokens.remove(key)
                self._look_all()

        return undo

    def watch(self, pattern: str, seen: Callable[[str, bool], None]) -> Undo:
        """Be told of tokens."""
        undo = _kept(self._watches, _Watch(pattern, seen))
        self.look()
        return undo

    def counters(self) -> Mapping[str, int]:
        """Nothing is lost that nobody wanted to lose."""
        return {}

    def look(self) -> None:
        """Tell our watchers what tokens have come or gone since the last look."""
        there = [key for one in self._network.seen(self) for key in one._tokens]
        for watch in self._watches:
            now = {key for key in there if matches(watch.pattern, key)}
            for key in sorted(watch.there - now):
                self._soon(watch.seen, key, False)
            for key in sorted(now - watch.there):
                self._soon(watch.seen, key, True)
            watch.there = now

    def _look_all(self) -> None:
        for one in self._network.reachable(self):
            one.look()

    def _soon(self, call: Callable[..., None], *values: object) -> None:
        def run() -> None:
            if self.is_open:
                call(*values)

        self._loop.call_soon(run)


class _MemoryQuestion:
    """A ``link.Question``."""

    def __init__(
        self,
        key: str,
        payload: bytes,
        served: MemoryLink,
        reply: Callable[[MemoryLink, str, bytes], None],
        over: Callable[[_MemoryQuestion], None],
    ) -> None:
        self.key = key
        self.payload = payload
        self._served = served
        self._reply = reply
        self._over = over

    def reply(self, key: str, payload: bytes) -> None:
        """Answer."""
        if self._served.is_open:
            self._reply(self._served, key, payload)

    def end(self) -> None:
        """Nothing more is answered."""
        self._served._asked.discard(self)
        self._over(self)


def _kept(kept: list[_T], one: _T) -> Undo:
    kept.append(one)

    def undo() -> None:
        if one in kept:
            kept.remove(one)

    return undo
