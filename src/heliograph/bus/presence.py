"""Who is there, and what they announced: one table, fed by tokens, books and news.

Each start of a node is a *session*, and sessions of one node are ordered by their names. A session
keeps a *book* of what it announced; each change gives the book the next version and is told as
*news*. News may be lost, so a session also tells its version now and then; whoever misses a
version asks for the whole book. A book counts only while its session's token is there.

Pure: what happened goes in, what has changed and which books have to be asked for come out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from heliograph.bus.keys import check_part
from heliograph.bus.wire import Json
from heliograph.model.errors import MalformedError
from heliograph.model.nodes import NodeId

#: Announcements of one node: a unit with its groups and channels has some hundred.
MAX_ENTRIES = 4096
#: Sessions of one node that are there at once: the new one of a node that was started anew while
#: the old one's lease still runs, and the same again.
MAX_SESSIONS = 4
#: Nodes in the table: a domain has 200.
MAX_NODES = 2000

_PROTOCOL = "bus presence"

#: Kind and name of an announcement, unique within its node.
Place: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Name:
    """Something that a node announced."""

    kind: str
    """What it is: ``unit``, ``manager``, ``portal``, ``channel``, …"""
    name: str
    """What it is called among its kind on that node."""
    node: NodeId
    value: Json = field(compare=False)


@dataclass(frozen=True, slots=True)
class Arrived:
    """It is there, and was not."""

    name: Name


@dataclass(frozen=True, slots=True)
class Changed:
    """It has another value."""

    name: Name
    before: Json


@dataclass(frozen=True, slots=True)
class Gone:
    """It was withdrawn, or its node is not to be seen any more; with its last value."""

    name: Name


Event: TypeAlias = Arrived | Changed | Gone


@dataclass(frozen=True, slots=True)
class News:
    """One change of a book; without any content it tells the version only."""

    version: int
    """The version that it makes, or tells."""
    put: tuple[tuple[str, str, Json], ...] = ()
    """Kind, name, value of what is announced, or has another value."""
    withdrawn: tuple[Place, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether it only tells the version."""
        return not self.put and not self.withdrawn

    def to_json(self) -> Json:
        return {
            "version": self.version,
            "put": [list(one) for one in self.put],
            "withdrawn": [list(one) for one in self.withdrawn],
        }

    @classmethod
    def from_json(cls, value: Json) -> News:
        """``MalformedError`` for anything that ``to_json`` does not give."""
        found = value if isinstance(value, dict) else {}
        version, put, gone = found.get("version"), found.get("put"), found.get("withdrawn")
        if type(version) is not int or not isinstance(put, list) or not isinstance(gone, list):
            raise MalformedError(_PROTOCOL, "not news")
        if len(put) > MAX_ENTRIES or len(gone) > MAX_ENTRIES:
            raise MalformedError(_PROTOCOL, f"more than {MAX_ENTRIES} announcements")
        return cls(
            version,
            tuple((*_place(one, 3), one[2]) for one in put),
            tuple(_place(one, 2) for one in gone),
        )


def _place(value: Json, length: int) -> Place:
    if not isinstance(value, list) or len(value) != length:
        raise MalformedError(_PROTOCOL, "not a place")
    kind, name = value[:2]
    if not isinstance(kind, str) or not isinstance(name, str):
        raise MalformedError(_PROTOCOL, "not a place")
    return check_part("kind", kind), check_part("name", name)


class Book:
    """What this session has announced."""

    def __init__(self) -> None:
        self.version = 0
        self.entries: dict[Place, Json] = {}

    def change(self, kind: str, name: str, value: Json) -> News:
        """Announce, or change the value of what is announced."""
        self.entries[kind, name] = value
        self.version += 1
        return News(self.version, put=((kind, name, value),))

    def withdraw(self, kind: str, name: str) -> News:
        """The opposite; ``KeyError`` where it is not announced."""
        del self.entries[kind, name]
        self.version += 1
        return News(self.version, withdrawn=((kind, name),))

    def whole(self) -> News:
        """All of it."""
        return News(self.version, tuple((*place, value) for place, value in self.entries.items()))


@dataclass(slots=True)
class _Session:
    newest: int = 0
    """The highest version heard of."""
    book: Book | None = None
    """None: it has to be asked for."""


@dataclass(slots=True)
class _Node:
    sessions: dict[str, _Session] = field(default_factory=dict)
    shown: str = ""
    """The session whose book counts; empty: none."""


#: What has changed, in order, and whether the session's book has to be asked for.
Outcome: TypeAlias = tuple[list[Event], bool]


class Table:
    """All that is announced by all."""

    def __init__(self) -> None:
        self._nodes: dict[NodeId, _Node] = {}
        self.refused = 0
        """Tokens beyond ``MAX_NODES`` or ``MAX_SESSIONS``."""

    def __len__(self) -> int:
        return len(self._nodes)

    def names(self, kind: str = "*") -> list[Name]:
        """Everything of a kind (``*``: of all), ordered by kind, name and node."""
        found = [
            Name(at[0], at[1], node, value)
            for node in self._nodes
            for at, value in self._shown(node).items()
            if kind in ("*", at[0])
        ]
        return sorted(found, key=lambda one: (one.kind, one.name, one.node))

    def sessions(self) -> list[tuple[NodeId, str]]:
        """Sessions whose tokens are there."""
        return [(node, one) for node, at in self._nodes.items() for one in at.sessions]

    def has(self, node: NodeId, session: str) -> bool:
        """Whether that token is there."""
        at = self._nodes.get(node)
        return at is not None and session in at.sessions

    def arrived(self, node: NodeId, session: str) -> Outcome:
        """A token is there; twice is once."""
        at = self._nodes.get(node)
        if at is None:
            if len(self._nodes) >= MAX_NODES:
                self.refused += 1
                return [], False
            at = self._nodes[node] = _Node()
        if session in at.sessions:
            return [], False
        if len(at.sessions) >= MAX_SESSIONS:
            self.refused += 1
            return [], False
        at.sessions[session] = _Session()
        return self._show(node), session == at.shown

    def gone(self, node: NodeId, session: str) -> Outcome:
        """A token is gone; the older session of the node may count again, and is asked then."""
        at = self._nodes.get(node)
        if at is None or session not in at.sessions:
            return [], False
        if session != at.shown:
            del at.sessions[session]
            return [], False
        events = self._events(node, self._shown(node), {})
        del at.sessions[session]
        at.shown = ""
        if not at.sessions:
            del self._nodes[node]
            return events, False
        events += self._show(node)
        return events, at.sessions[at.shown].book is None

    def current(self, node: NodeId) -> str:
        """The session of the node whose book counts; empty: the node is not there."""
        at = self._nodes.get(node)
        return "" if at is None else at.shown

    def wanted(self) -> list[tuple[NodeId, str]]:
        """Sessions whose books have to be asked for."""
        return [
            (node, at.shown)
            for node, at in self._nodes.items()
            if at.shown and _lacking(at.sessions[at.shown])
        ]

    def news(self, node: NodeId, session: str, news: News) -> Outcome:
        """A change was told, or a version; of sessions that are not there it is worth nothing."""
        at = self._nodes.get(node)
        state = None if at is None else at.sessions.get(session)
        if at is None or state is None:
            return [], False
        state.newest = max(state.newest, news.version)
        book = state.book
        if book is not None and not news.empty and news.version == book.version + 1:
            touched = {*news.withdrawn, *((kind, name) for kind, name, _ in news.put)}
            before = {place: book.entries[place] for place in touched if place in book.entries}
            book.version = news.version
            for place in news.withdrawn:
                book.entries.pop(place, None)
            for kind, name, value in news.put:
                book.entries[kind, name] = value
            after = {place: book.entries[place] for place in touched if place in book.entries}
            if session == at.shown:
                return self._events(node, before, after), _lacking(state)
        return [], session == at.shown and _lacking(state)

    def book(self, node: NodeId, session: str, news: News) -> Outcome:
        """A whole book was told; an older one than is known changes nothing."""
        at = self._nodes.get(node)
        state = None if at is None else at.sessions.get(session)
        if at is None or state is None:
            return [], False
        known = state.book
        if known is not None and news.version <= known.version:
            return [], False
        fresh = Book()
        fresh.version = news.version
        fresh.entries = {(kind, name): value for kind, name, value in news.put}
        before = {} if known is None else known.entries
        state.book = fresh
        state.newest = max(state.newest, news.version)
        if session != at.shown:
            return [], False
        return self._events(node, before, fresh.entries), _lacking(state)

    def _show(self, node: NodeId) -> list[Event]:
        """Let the newest session count. It is another process: what the old one had is gone."""
        at = self._nodes[node]
        newest = max(at.sessions)
        if newest == at.shown:
            return []
        events = self._events(node, self._shown(node), {})
        at.shown = newest
        return events + self._events(node, {}, self._shown(node))

    def _shown(self, node: NodeId) -> Mapping[Place, Json]:
        at = self._nodes[node]
        book = at.sessions[at.shown].book if at.shown else None
        return {} if book is None else book.entries

    def _events(
        self, node: NodeId, before: Mapping[Place, Json], after: Mapping[Place, Json]
    ) -> list[Event]:
        gone = (Gone(Name(*at, node, value)) for at, value in before.items() if at not in after)
        return [*gone, *self._risen(node, before, after)]

    def _risen(
        self, node: NodeId, before: Mapping[Place, Json], after: Mapping[Place, Json]
    ) -> Iterable[Event]:
        for at, value in after.items():
            name = Name(*at, node, value)
            if at not in before:
                yield Arrived(name)
            elif before[at] != value:
                yield Changed(name, before[at])


def _lacking(state: _Session) -> bool:
    return state.book is None or state.book.version < state.newest
