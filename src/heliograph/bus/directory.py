"""Keeps the table of presence level with the others, over a link.

A token that arrives makes us ask its session for its book; news keep it up to date. Every
``BEACON`` seconds each session tells the version of its own, so that lost news are noticed.

Every ``LOOK`` seconds each session asks another whom that one sees, by turns: whoever is seen by
others and not here is parted from us (``unseen``), and the link is made anew.

Who goes on telling for ``HALF`` seconds and shows no token, or shows one and tells nothing for
``SILENCE`` seconds, is at the other end of half a connection, which does not heal by itself: then
the link is made anew too.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from heliograph.bus import keys
from heliograph.bus.link import Link, Question, Undo
from heliograph.bus.presence import MAX_ENTRIES, Arrived, Book, Event, Name, News, Table
from heliograph.bus.unseen import Session, Unseen
from heliograph.bus.wire import MAX_MESSAGE, Json, decode, encode
from heliograph.model.errors import ConflictError, HelioError, MalformedError, TooLargeError
from heliograph.model.nodes import NodeId, check_node_id

log = structlog.get_logger(__name__)

#: Seconds between two words about the version: lost news are made up for within it. A hundred
#: nodes make fifty small messages a second of it.
BEACON = 2.0
#: Seconds between two questions whom another session sees.
LOOK = 5.0
#: Seconds that a session has to tell its book, or whom it sees.
PATIENCE = 2.0
#: Seconds until a session that did not tell is asked again.
RETRY = 0.25
#: Seconds that a session may be heard without its token: a token takes milliseconds.
HALF = 7.0
#: Seconds without a word of a session whose token is there, which is five words about the version:
#: one whose event loop stands still takes its token back sooner.
SILENCE = 10.0
#: Seconds between two times that the link is made anew, as that parts us from all others.
RENEWAL = 30.0
#: Seconds after it in which the others have to be seen again; until then they count as there.
RETURN = 3.0
#: Sessions that are watched for being without a token; strangers cannot make any.
MAX_HALVES = 1000


@dataclass(slots=True)
class _Half:
    """Since when, and until when, a session was heard without its token."""

    first: float
    last: float


class Directory:
    """What is announced here and elsewhere."""

    def __init__(self, node: NodeId, link: Link) -> None:
        self._node = node
        self._link = link
        self._own = Book()
        self._size = 0
        self._sizes: dict[tuple[str, str], int] = {}
        self._table = Table()
        self._watchers: list[tuple[str, Callable[[Event], None]]] = []
        self._asking: set[tuple[NodeId, str]] = set()
        self._undo: list[Undo] = []
        self._beacon: asyncio.TimerHandle | None = None
        self._retries: set[asyncio.TimerHandle] = set()
        self._closed = False
        self._halves: dict[Session, _Half] = {}
        self._words: dict[Session, float] = {}
        """When each session whose token is there was heard last."""
        self._absent: set[Session] = set()
        self._renewal: asyncio.Task[None] | None = None
        self._unseen = Unseen(node)
        self._looked_at = ("", "")
        """The session that was asked last whom it sees."""
        self._look: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop
        self.counters: Counter[str] = Counter(
            books_asked=0, books_missed=0, news_unread=0, halves=0, parted=0
        )

    def start(self) -> None:
        """Show our token and look for those of others; the link is open."""
        self._loop = asyncio.get_running_loop()
        session = self._link.session
        self._table.arrived(self._node, session)
        self._table.book(self._node, session, self._own.whole())
        if self._own.entries:
            self._emit(list(map(Arrived, self._table.names())))
        # Others may ask as soon as they see the token, so it comes last.
        self._undo.append(self._link.serve(keys.book(self._node, session), self._asked))
        self._undo.append(self._link.serve(keys.seen(self._node, session), self._asked_whom))
        self._undo.append(self._link.subscribe(keys.news(), self._heard))
        self._undo.append(self._link.watch(keys.here(), self._seen))
        self._undo.append(self._link.declare(keys.here(self._node, session)))
        self._tell_version()
        self._look = self._loop.call_later(LOOK, self._look_round)

    async def close(self) -> None:
        """Withdraw our token, and forget everybody."""
        self._closed = True
        if self._beacon is not None:
            self._beacon.cancel()
        if self._look is not None:
            self._look.cancel()
        for retry in self._retries:
            retry.cancel()
        self._retries.clear()
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)
        self._watchers.clear()
        while self._undo:
            self._undo.pop()()

    # what is announced here

    def announce(self, kind: str, name: str, value: Json) -> None:
        """Add to our book; errors as of ``Bus.announce``."""
        keys.check_part("kind", kind)
        keys.check_part("name", name)
        if (kind, name) in self._own.entries:
            raise ConflictError(f"{kind} {name} is announced already", subject=name)
        if len(self._own.entries) >= MAX_ENTRIES:
            raise TooLargeError(f"more than {MAX_ENTRIES} announcements", subject=kind)
        self.update(kind, name, value)

    def update(self, kind: str, name: str, value: Json) -> None:
        """Change a value."""
        # A copy, so that later changes of the caller's object are none of the announcement.
        kept = decode(encode([kind, name, value]))[2]
        size = len(encode([kind, name, kept])) + 1
        total = self._size - self._sizes.get((kind, name), 0) + size
        if total > MAX_MESSAGE - 64:
            raise TooLargeError("all announcements together are too long", subject=name)
        if (kind, name) in self._own.entries and self._own.entries[kind, name] == kept:
            return
        self._size, self._sizes[kind, name] = total, size
        self._tell(self._own.change(kind, name, kept))

    def withdraw(self, kind: str, name: str) -> None:
        """Take from our book."""
        self._size -= self._sizes.pop((kind, name))
        self._tell(self._own.withdraw(kind, name))

    def _tell(self, news: News) -> None:
        if self._closed:
            return
        events, _ = self._table.news(self._node, self._link.session, news)
        self._put(news)
        self._emit(events)

    def _tell_version(self) -> None:
        self._put(News(self._own.version))
        self._listen()
        self._beacon = self._loop.call_later(BEACON, self._tell_version)

    def _put(self, news: News) -> None:
        self._link.put(keys.news(self._node, self._link.session), encode(news.to_json()))

    def _asked(self, asked: Question) -> None:
        key = keys.book(self._node, self._link.session)
        asked.reply(key, encode(self._own.whole().to_json()))
        asked.end()

    # what is announced elsewhere

    def names(self, kind: str) -> list[Name]:
        """Of a kind, or (``*``) of all."""
        return self._table.names(kind)

    def knows(self, node: str) -> bool:
        """Whether the node is there, as far as is known."""
        return bool(self._table.current(NodeId(node)))

    def nodes(self) -> int:
        """How many are there, with this one."""
        return len(self._table)

    def watch(self, kind: str, handler: Callable[[Event], None]) -> Undo:
        """Tell of what is there, and of what changes from now on."""
        watcher = (kind, handler)
        for name in self._table.names(kind):
            handler(Arrived(name))
        self._watchers.append(watcher)

        def undo() -> None:
            if watcher in self._watchers:
                self._watchers.remove(watcher)

        return undo

    def _emit(self, events: list[Event]) -> None:
        for event in events:
            for kind, handler in [*self._watchers]:
                if kind in ("*", event.name.kind):
                    handler(event)

    def _seen(self, key: str, there: bool) -> None:
        found = self._place(key)
        if found is None:
            return
        node, session = found
        self._absent.discard(found)
        self._halves.pop(found, None)
        self._note_word(found, there)
        if there and self._table.has(node, session):
            return  # seen again, over a link that is new
        events, _ = (self._table.arrived if there else self._table.gone)(node, session)
        log.info("node is there" if there else "node is gone", node=node, session=session)
        self._emit(events)
        self._want()

    def _heard(self, key: str, payload: bytes) -> None:
        found = self._place(key)
        if found is None:
            return
        try:
            news = News.from_json(decode(payload))
        except HelioError as error:
            self.counters["news_unread"] += 1
            log.debug("news not understood", key=key, error=error.message)
            return
        if self._table.has(*found):
            self._note_word(found, True)
        else:
            self._doubt(found)
        events, _ = self._table.news(*found, news)
        self._emit(events)
        self._want()

    # no connection

    def _asked_whom(self, asked: Question) -> None:
        key = keys.seen(self._node, self._link.session)
        asked.reply(key, encode([list(one) for one in self._table.sessions()]))
        asked.end()

    def _look_round(self) -> None:
        """Ask the next of the others whom it sees."""
        self._look = self._loop.call_later(LOOK, self._look_round)
        mine = self._node, self._link.session
        others = sorted(session for session in self._table.sessions() if session != mine)
        if not others:
            return
        node, session = next((one for one in others if one > self._looked_at), others[0])
        self._looked_at = node, session
        key = keys.seen(node, session)
        self._link.ask(key, b"", PATIENCE, self._told_whom, lambda: None)

    def _told_whom(self, _key: str, payload: bytes) -> None:
        try:
            theirs = _sessions(decode(payload))
        except HelioError as error:
            self.counters["news_unread"] += 1
            log.debug("whom another sees is not understood", error=error.message)
            return
        if self._closed or self._renewal is not None:
            return  # those who have not come back yet are not parted from us
        found = self._unseen.told(theirs, self._table.sessions(), self._loop.time())
        if found is not None:
            self.counters["parted"] += 1
            self._heal(found, "others see it, and we do not")

    # half a connection

    def _doubt(self, session: Session) -> None:
        """Note that a session was heard whose token is not to be seen."""
        now = self._loop.time()
        half = self._halves.get(session)
        if half is None or now - half.last > 2 * BEACON:  # it was on its way, or ended since
            if len(self._halves) >= MAX_HALVES:
                self._halves.clear()
            half = self._halves[session] = _Half(now, now)
        half.last = now
        if now - half.first >= HALF:
            self.counters["halves"] += self._renewal is None
            self._heal(session, "it shows no token")

    def _note_word(self, session: Session, there: bool) -> None:
        if there:
            self._words[session] = self._loop.time()
        else:
            self._words.pop(session, None)

    def _listen(self) -> None:
        """Look whether everybody whose token is there says something."""
        latest = self._loop.time() - SILENCE
        for session, word in self._words.items():
            if word < latest:
                self.counters["halves"] += self._renewal is None
                self._heal(session, "it says nothing")
                return

    def _heal(self, session: Session, why: str) -> None:
        if self._renewal is not None:
            return
        node, start = session
        log.warning("no whole connection; made anew", node=node, session=start, reason=why)
        self._renewal = self._loop.create_task(self._renew(), name="bus renewal")

    async def _renew(self) -> None:
        try:
            self._halves.clear()
            mine = self._node, self._link.session
            self._absent = {one for one in self._table.sessions() if one != mine}
            await self._link.renew()
            self._words = dict.fromkeys(self._words, self._loop.time())
            await asyncio.sleep(RETURN)
            for node, session in sorted(self._absent):
                log.info("node is gone", node=node, session=session)
                self._note_word((node, session), False)
                events, _ = self._table.gone(node, session)
                self._emit(events)
            self._absent.clear()
            await asyncio.sleep(RENEWAL - RETURN)
        except Exception:
            log.exception("bus not made anew")
        finally:
            self._renewal = None

    def _place(self, key: str) -> tuple[NodeId, str] | None:
        """Whom a key speaks of; None where that is nobody, or this session."""
        try:
            node, session = keys.node_and_session(key)
            found = check_node_id(node), keys.check_part("session", session)
        except MalformedError:
            self.counters["news_unread"] += 1
            return None
        return None if found == (self._node, self._link.session) else found

    def _want(self) -> None:
        """Ask for every book that is lacking and not asked for yet."""
        for one in self._table.wanted():
            if one not in self._asking and one != (self._node, self._link.session):
                self._asking.add(one)
                self._ask(*one)

    def _ask(self, node: NodeId, session: str) -> None:
        self.counters["books_asked"] += 1

        def answered(_key: str, payload: bytes) -> None:
            try:
                news = News.from_json(decode(payload))
            except HelioError as error:
                self.counters["news_unread"] += 1
                log.debug("book not understood", node=node, error=error.message)
                return
            events, _ = self._table.book(node, session, news)
            if not self._closed:
                self._emit(events)

        def ended() -> None:
            self._asking.discard((node, session))
            if self._closed or (node, session) not in self._table.wanted():
                return
            # It may have ended, be cut off, or have more news by now: the token tells the first.
            self.counters["books_missed"] += 1
            self._retry()

        self._link.ask(keys.book(node, session), b"", PATIENCE, answered, ended)

    def _retry(self) -> None:
        def again() -> None:
            self._retries.discard(timer)
            self._want()

        timer = self._loop.call_later(RETRY, again)
        self._retries.add(timer)


def _sessions(value: Json) -> set[Session]:
    """Whom another session sees; ``MalformedError`` for anything else."""
    if not isinstance(value, list):
        raise MalformedError("sessions", "no list")
    found = set()
    for one in value:
        if not isinstance(one, list) or len(one) != 2 or not all(isinstance(x, str) for x in one):
            raise MalformedError("sessions", "not a session")
        found.add((check_node_id(one[0]), keys.check_part("session", one[1])))
    return found
