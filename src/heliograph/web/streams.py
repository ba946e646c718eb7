"""Server-Sent Events (the HTML standard, section 9.2): news for pages, pushed.

News are encoded once for all who listen. Each listener has a queue of its own that is bounded: what
is newer takes the place of what it is about, the oldest of the rest is dropped and counted, and the
listener is told. So a slow client costs a bounded amount of memory, and delays nobody.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeAlias

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from heliograph.model.errors import BusyError

#: Listeners of one hub: administrators with their pages and terminals, and a script that forgets.
MAX_STREAMS = 32
#: News that wait for one listener; of those that replace each other only the newest waits.
MAX_PENDING = 64
#: Seconds without news after which a comment is sent, so that proxies keep the connection.
KEEP_ALIVE = 15.0
#: Milliseconds after which browsers come again when a stream has ended.
RETRY_MS = 1000
#: Set in the extensions of a request's scope where the answer has no end: no time is set for it.
ENDLESS = "helio.endless"

#: Whether the listener may go on listening.
Permitted: TypeAlias = Callable[[], Awaitable[bool]]


class Source(Protocol):
    """Where news come from."""

    def close(self) -> None: ...


class Stream:
    """What waits for one listener; made by ``Hub.join``."""

    def __init__(self, leave: Callable[[Stream], None]) -> None:
        self.missed = 0
        """News dropped since the listener was told."""
        self._leave = leave
        self._pending: dict[str, bytes] = {}
        self._news = asyncio.Event()
        self._closed = False
        self._count = 0

    def put(self, message: bytes, key: str = "") -> None:
        """Queue an encoded event. ``key``: what it is about, where a newer one replaces it."""
        if self._closed:
            return
        self._count += 1
        key = key or f"#{self._count}"
        self._pending.pop(key, None)
        if len(self._pending) >= MAX_PENDING:
            self._pending.pop(next(iter(self._pending)))
            self.missed += 1
        self._pending[key] = message
        self._news.set()

    async def next(self, timeout: float) -> bytes | None:
        """All that waits; empty after ``timeout`` seconds without news, None at the end."""
        if not self._pending and not self._closed:
            self._news.clear()
            try:
                async with asyncio.timeout(timeout):
                    await self._news.wait()
            except TimeoutError:
                return b""
        if self._closed:
            return None
        parts = [*self._pending.values()]
        self._pending.clear()
        if self.missed:
            parts.append(encode("missed", {"count": self.missed}))
            self.missed = 0
        return b"".join(parts)

    def close(self) -> None:
        """End it; twice is once."""
        if not self._closed:
            self._closed = True
            self._pending.clear()
            self._news.set()
            self._leave(self)


class Hub:
    """Everybody who listens to one kind of news."""

    def __init__(self, begin: Callable[[Hub], Source], most: int = MAX_STREAMS) -> None:
        """``begin`` is called when the first listener comes, what it gives is closed when the last
        has gone: in between it lets the news come to ``tell``."""
        self._begin = begin
        self._most = most
        self._streams: set[Stream] = set()
        self._source: Source | None = None
        self._kept: dict[str, bytes] = {}
        self._closed = False

    def __len__(self) -> int:
        return len(self._streams)

    def join(self) -> Stream:
        """A further listener; ``BusyError`` above the bound, and when the server stops."""
        if self._closed:
            raise BusyError("the server stops", subject="events", retry_after=2)
        if len(self._streams) >= self._most:
            raise BusyError(
                f"{self._most} listen already, which is the bound", subject="events", retry_after=10
            )
        stream = Stream(self._left)
        self._streams.add(stream)
        for key, message in self._kept.items():
            stream.put(message, key)
        if self._source is None:
            try:
                self._source = self._begin(self)
            except BaseException:
                stream.close()
                raise
        return stream

    def tell(self, event: str, value: object, key: str = "", *, keep: bool = False) -> None:
        """Tell all who listen; ``key`` as of ``Stream.put``.

        ``keep``: who comes later is told as well, of each key the newest.
        """
        if not self._streams:
            return
        message = encode(event, value)
        for stream in self._streams:
            stream.put(message, key)
        if keep:
            self._kept[key] = message

    def forget(self, key: str) -> None:
        """Keep what was told under ``key`` for nobody any more."""
        self._kept.pop(key, None)

    def close(self) -> None:
        """End all streams; nobody comes any more."""
        self._closed = True
        for stream in [*self._streams]:
            stream.close()

    def _left(self, stream: Stream) -> None:
        self._streams.discard(stream)
        if not self._streams and self._source is not None:
            self._source.close()
            self._source = None
            self._kept.clear()


class Streams:
    """The hubs of one server, by name; closed before the server stops."""

    def __init__(self) -> None:
        self._hubs: dict[str, Hub] = {}
        self._closed = False

    def hub(self, name: str, begin: Callable[[Hub], Source]) -> Hub:
        """The hub of that name; it is made when it is first asked for."""
        found = self._hubs.get(name)
        if found is None:
            found = self._hubs[name] = Hub(begin)
            if self._closed:
                found.close()
        return found

    def counts(self) -> Mapping[str, int]:
        """Listeners by hub."""
        return {name: len(hub) for name, hub in self._hubs.items()}

    def close(self) -> None:
        """End all streams."""
        self._closed = True
        for hub in self._hubs.values():
            hub.close()


class Pace:
    """Passes values on, the newest of them, not more often than each ``period`` seconds."""

    def __init__(
        self,
        period: float,
        tell: Callable[[Any], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._period = period
        self._tell = tell
        self._clock = clock
        self._last = -period
        self._waiting: list[Any] = []
        self._timer: asyncio.TimerHandle | None = None

    def put(self, value: object) -> None:
        """Tell it now, or when it is time, unless a newer one comes before."""
        self._waiting = [value]
        if self._timer is None:
            wait = self._last + self._period - self._clock()
            if wait <= 0:
                self._pass()
            else:
                self._timer = asyncio.get_running_loop().call_later(wait, self._pass)

    def close(self) -> None:
        """Tell nothing more."""
        self._waiting = []
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _pass(self) -> None:
        self._timer = None
        self._last = self._clock()
        for value in self._waiting:
            self._tell(value)
        self._waiting = []


class EventStream(StreamingResponse):
    """The answer that a stream goes out by."""

    media_type = "text/event-stream"

    def __init__(
        self, stream: Stream, permitted: Permitted, keep_alive: float = KEEP_ALIVE
    ) -> None:
        """``permitted`` is asked each ``keep_alive`` seconds: who signs out hears no more."""
        super().__init__(
            self._messages(), headers={"cache-control": "no-store", "x-accel-buffering": "no"}
        )
        self._stream = stream
        self._permitted = permitted
        self._keep_alive = keep_alive

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("extensions", {})[ENDLESS] = True
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._stream.close()

    async def _messages(self) -> AsyncIterator[bytes]:
        yield f"retry: {RETRY_MS}\n\n".encode()
        loop = asyncio.get_running_loop()
        looked = loop.time()
        while (news := await self._stream.next(self._keep_alive)) is not None:
            if loop.time() - looked >= self._keep_alive:
                looked = loop.time()
                if not await self._permitted():
                    return
            yield news or b": still here\n\n"


def encode(event: str, value: object) -> bytes:
    """One event as it is sent; JSON has no line breaks, so its data are one line."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    return f"event: {event}\ndata: {text}\n\n".encode()
