"""The bus: requests, publications and presence among the nodes of a cluster.

Values are anything that JSON can say. Handlers run on the event loop. A request has a deadline and
ends in an answer, in an error of ``model.errors`` that the other node raised, in
``UnreachableError`` where nobody was there, or in another ``RemoteError`` where the node was there
and no answer came: then nobody knows whether it was done.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TypeAlias

import structlog

from heliograph.bus import keys
from heliograph.bus.directory import Directory
from heliograph.bus.link import Link, Question, Undo
from heliograph.bus.options import LEASE, BusOptions
from heliograph.bus.presence import Event, Name
from heliograph.bus.wire import (
    MAX_TIMEOUT,
    Json,
    decode,
    decode_answer,
    decode_request,
    encode,
    encode_answer,
    encode_error,
    encode_request,
)
from heliograph.model.errors import (
    BusyError,
    ConflictError,
    HelioError,
    RemoteError,
    UnreachableError,
    WrongStateError,
)
from heliograph.model.nodes import NodeId

log = structlog.get_logger(__name__)

#: Seconds that a request has without another word.
TIMEOUT = 2.0
#: Handlers that run at once; most answer from memory, and the slow ones wait for the database.
MAX_HANDLERS = 64
#: Requests that wait for a handler to end; more are refused, as they would time out.
MAX_WAITING = 1024
#: Requests of our own that wait for answers; more means that the other side has no time for them.
MAX_CALLS = 1024
#: Answers to one request to all.
MAX_ANSWERS = 4096
#: Seconds beyond a request's time after which the link forgets it.
SLACK = 0.5


@dataclass(frozen=True, slots=True)
class Request:
    """A request as a handler gets it."""

    method: str
    value: Json
    caller: str
    """Id of the node that asks, by its own word: every node of the cluster is trusted."""
    deadline: float
    """Time of the event loop at which nobody waits for the answer any more."""


Handler: TypeAlias = Callable[[Request], Awaitable[Json]]
Listener: TypeAlias = Callable[[NodeId, str, Json], None]
Watcher: TypeAlias = Callable[[Event], None]


class Registration:
    """Something that lasts until it is closed; twice is once."""

    def __init__(self, undo: Undo) -> None:
        self._undo: Undo | None = undo

    @property
    def closed(self) -> bool:
        return self._undo is None

    def close(self) -> None:
        """End it."""
        undo, self._undo = self._undo, None
        if undo is not None:
            undo()

    def __enter__(self) -> Registration:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Announcement(Registration):
    """A name that others see, until it is closed."""

    def __init__(self, undo: Undo, change: Callable[[Json], None]) -> None:
        super().__init__(undo)
        self._change = change

    def update(self, value: Json) -> None:
        """Give it another value; ``WrongStateError`` when it is closed."""
        if self.closed:
            raise WrongStateError("the announcement was withdrawn")
        self._change(value)


class Bus:
    """One node's place on the bus; made by ``Bus.open``."""

    def __init__(self, node: NodeId, link: Link, lease: float = LEASE) -> None:
        """``link`` is not open yet; ``start`` opens it."""
        self.node = node
        self.lease = lease
        """Seconds after which a node of which nothing is heard counts as gone."""
        self._link = link
        self._directory = Directory(node, link)
        self._methods: dict[str, Registration] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(MAX_HANDLERS)
        self._calls: set[asyncio.Future[None]] = set()
        self._counters: Counter[str] = Counter(
            requests=0, requests_refused=0, requests_failed=0, calls=0, calls_failed=0, unread=0
        )
        self._closed = False

    @classmethod
    async def open(cls, options: BusOptions) -> Bus:
        """A bus over Zenoh; without credentials one in memory, where this node is alone.

        ``ResourceError`` where it cannot listen or cannot read its credentials.
        """
        bus = cls(options.node, _link(options), options.lease)
        await bus.start()
        return bus

    async def start(self) -> None:
        """Open the link and show ourselves; what is open is closed when that fails."""
        try:
            await self._link.open()
            self._directory.start()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Leave the bus: handlers under way are cancelled, callers are told."""
        if self._closed:
            return
        self._closed = True
        for task in [*self._tasks]:
            task.cancel()
        for call in [*self._calls]:
            if not call.done():
                call.set_exception(UnreachableError("the bus is closed"))
        await self._directory.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._link.close()

    def counters(self) -> Mapping[str, int]:
        """Since the start; ``unread`` are messages that nobody could read."""
        return {**self._counters, **self._directory.counters, **self._link.counters()}

    # requests

    def serve(self, method: str, handler: Handler) -> Registration:
        """Answer requests; ``ConflictError`` where this node serves the method already.

        ``handler`` is cancelled at the request's deadline. Errors of ``model.errors`` reach the
        caller as they are, others as a ``RemoteError`` that tells nothing.
        """
        keys.check_part("method", method)
        self._check_open()
        if method in self._methods:
            raise ConflictError(f"{method} is served already", subject=method)
        undo = self._link.serve(
            keys.call(method, self.node), lambda asked: self._asked(method, handler, asked)
        )

        def withdraw() -> None:
            del self._methods[method]
            undo()

        self._methods[method] = Registration(withdraw)
        return self._methods[method]

    async def call(self, node: str, method: str, value: Json, timeout: float = TIMEOUT) -> Json:
        """Ask one node, this one too, and give its answer.

        Errors: see the head of the module; ``BusyError`` with too many requests under way.
        """
        keys.check_part("node", node)
        known = self._directory.knows(node)
        answers = await self._ask(keys.call(method, node), method, value, timeout, one=True)
        if not answers:
            self._counters["calls_failed"] += 1
            if known:  # it may have died over it
                raise RemoteError(f"node {node} left {method} without an answer", subject=node)
            raise UnreachableError(f"node {node} is not there", subject=node)
        try:
            return decode_answer(answers[0][1])
        except HelioError:
            self._counters["calls_failed"] += 1
            raise

    async def ask(
        self, method: str, value: Json, timeout: float = TIMEOUT
    ) -> list[tuple[NodeId, Json]]:
        """Ask all who serve the method; answers by node, of those who gave one in time.

        Errors that nodes raise are counted and left out.
        """
        found: dict[NodeId, Json] = {}
        raw = await self._ask(keys.call(method), method, value, timeout, one=False)
        for key, payload in raw:
            try:
                found[NodeId(keys.answering_node(key))] = decode_answer(payload)
            except HelioError as error:
                self._counters["calls_failed"] += 1
                log.debug("request failed at a node", method=method, error=error.message)
        return sorted(found.items())

    async def _ask(
        self, pattern: str, method: str, value: Json, timeout: float, *, one: bool
    ) -> list[tuple[str, bytes]]:
        keys.check_part("method", method)
        self._check_open()
        if len(self._calls) >= MAX_CALLS:
            raise BusyError("too many requests wait for answers", subject=method, retry_after=1)
        timeout = min(timeout, MAX_TIMEOUT)
        payload = encode_request(self.node, timeout, value)
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        answers: list[tuple[str, bytes]] = []

        def answered(key: str, payload: bytes) -> None:
            if len(answers) < MAX_ANSWERS:
                answers.append((key, payload))
            if one and not over.done():
                over.set_result(None)

        def ended() -> None:
            if not over.done():
                over.set_result(None)

        self._counters["calls"] += 1
        self._calls.add(over)
        try:
            async with asyncio.timeout(timeout):
                self._link.ask(pattern, payload, timeout + SLACK, answered, ended)
                await over
        except TimeoutError:
            if one:
                self._counters["calls_failed"] += 1
                raise RemoteError(
                    f"no answer to {method} in {timeout:g} s", subject=method
                ) from None
        finally:
            self._calls.discard(over)
        return answers

    def _asked(self, method: str, handler: Handler, asked: Question) -> None:
        self._counters["requests"] += 1
        if self._closed or len(self._tasks) >= MAX_HANDLERS + MAX_WAITING:
            self._counters["requests_refused"] += 1
            self._reply(method, asked, encode_error(BusyError("the node has too much to do")))
            asked.end()
            return
        task = asyncio.get_running_loop().create_task(
            self._answer(method, handler, asked), name=f"bus {method}"
        )
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, method: str, handler: Handler, asked: Question) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            found = decode_request(asked.payload)
            deadline = began + found.timeout
            try:
                async with asyncio.timeout_at(deadline) as limit, self._slots:
                    value = await handler(Request(method, found.value, found.caller, deadline))
            except TimeoutError:
                if not limit.expired():
                    raise
                self._counters["requests_failed"] += 1  # nobody waits any more
                return
            self._reply(method, asked, encode_answer(value))
        except asyncio.CancelledError:
            self._reply(method, asked, encode_error(RemoteError("the node stopped over it")))
            raise
        except HelioError as error:
            self._counters["requests_failed"] += 1
            self._reply(method, asked, encode_error(error))
        except Exception as error:
            self._counters["requests_failed"] += 1
            log.exception("request failed unexpectedly", method=method)
            self._reply(method, asked, encode_error(error))
        finally:
            asked.end()

    def _reply(self, method: str, asked: Question, payload: bytes) -> None:
        asked.reply(keys.call(method, self.node), payload)

    # publications

    def publish(self, topic: str, value: Json) -> None:
        """Tell all who listen, here too; what finds no room on its way is lost and counted."""
        self._check_open()
        self._link.put(keys.talk(keys.check_topic(topic), self.node), encode(value))

    def subscribe(self, topic: str, handler: Listener) -> Registration:
        """Listen to a topic; parts may be ``*`` (any one) or ``**`` (any number).

        ``handler`` is called with node, topic and value; what it raises is logged.
        """
        self._check_open()

        def heard(key: str, payload: bytes) -> None:
            try:
                node, about = keys.node_and_topic(key)
                value = decode(payload)
            except HelioError as error:
                self._counters["unread"] += 1
                log.debug("publication not understood", key=key, error=error.message)
                return
            _call(handler, NodeId(node), about, value)

        return Registration(
            self._link.subscribe(keys.talk(keys.check_topic(topic, pattern=True)), heard)
        )

    # presence

    def announce(self, kind: str, name: str, value: Json = None) -> Announcement:
        """Let others see a name of this node, until it is closed, the bus is, or the node dies.

        ``ConflictError`` where this node announced it already, ``TooLargeError`` where all its
        announcements together are too long.
        """
        self._check_open()
        self._directory.announce(kind, name, value)
        return Announcement(
            lambda: self._directory.withdraw(kind, name),
            lambda fresh: self._directory.update(kind, name, fresh),
        )

    def present(self, kind: str) -> dict[tuple[NodeId, str], Json]:
        """What is announced of a kind, here too: values by node and name."""
        return {(one.node, one.name): one.value for one in self._directory.names(kind)}

    def watch(self, kind: str, handler: Watcher) -> Registration:
        """Be told what arrives, changes and goes, of a kind or (``*``) of all.

        ``handler`` is called with ``Arrived`` for what is there before this returns.
        """
        if kind != "*":
            keys.check_part("kind", kind)
        return Registration(self._directory.watch(kind, lambda event: _call(handler, event)))

    async def names(self) -> list[Name]:
        """Everything announced, by kind, name and node."""
        return self._directory.names("*")

    def nodes(self) -> int:
        """How many nodes are there, with this one."""
        return self._directory.nodes()

    async def until_present(
        self, kind: str, count: int = 1, timeout: float = MAX_TIMEOUT
    ) -> list[Name]:
        """Wait until so many names of a kind are there; ``UnreachableError`` after ``timeout``."""
        news = asyncio.Event()
        with self.watch(kind, lambda event: news.set()), contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while len(found := self._directory.names(kind)) < count:
                    news.clear()
                    await news.wait()
                return found
        raise UnreachableError(f"no {kind} in {timeout:g} s", subject=kind)

    def _check_open(self) -> None:
        if self._closed:
            raise UnreachableError("the bus is closed")


def _call(handler: Callable[..., None], *values: object) -> None:
    """One handler that fails must not take the news from the others."""
    try:
        handler(*values)
    except Exception:
        log.exception("handler of the bus failed", handler=getattr(handler, "__qualname__", "?"))


def _link(options: BusOptions) -> Link:
    if options.credentials is None:
        from heliograph.bus.memory import MemoryNetwork

        return MemoryNetwork().link()
    from heliograph.bus.zenoh_link import ZenohLink  # takes a while to load

    return ZenohLink(options)
