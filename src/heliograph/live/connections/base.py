"""What every connection can do, and the queue in which what came waits."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import Counter, deque

from heliograph.model.errors import RemoteError, TooLargeError

#: Bytes of one message below all covers: what a path takes without fragments.
MAX_MESSAGE = 1_400
#: Messages that wait to be received; of more the oldest are dropped, as sockets drop.
MAX_WAITING = 1_000


class Connection(ABC):
    """Sends and receives messages. Whether those come that are lost is the kind's own matter."""

    #: Bytes of the longest message that can be sent.
    room: int = MAX_MESSAGE

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter(sent=0, received=0, refused=0, dropped=0)
        """Messages: sent; received; that came and were not right; that nobody took in time."""

    @abstractmethod
    async def open(self) -> None:
        """Be ready to send and receive; ``ResourceError`` or ``RemoteError`` says why not."""

    @abstractmethod
    def send(self, message: bytes) -> None:
        """Send a message; ``TooLargeError`` for one of more than ``room`` bytes."""

    @abstractmethod
    async def receive(self) -> bytes:
        """The next message; ``RemoteError`` when none will come any more."""

    @abstractmethod
    def close(self) -> None:
        """Be done with; whoever waits in ``receive`` is told. May be called twice."""

    def check(self, message: bytes) -> None:
        """Refuse what is too long."""
        if len(message) > self.room:
            raise TooLargeError(f"{len(message)} bytes in one message, at most {self.room}")


class Waiting:
    """Messages that came and were not taken yet."""

    def __init__(self, counters: Counter[str]) -> None:
        self._counters = counters
        self._messages: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._ended = ""

    def put(self, message: bytes) -> None:
        """One came."""
        if len(self._messages) >= MAX_WAITING:
            self._messages.popleft()
            self._counters["dropped"] += 1
        self._counters["received"] += 1
        self._messages.append(message)
        self._news.set()

    def end(self, why: str) -> None:
        """None will come any more."""
        self._ended = self._ended or why
        self._news.set()

    async def take(self) -> bytes:
        """The oldest; ``RemoteError`` after the last one."""
        while not self._messages:
            if self._ended:
                raise RemoteError(self._ended)
            self._news.clear()
            await self._news.wait()
        return self._messages.popleft()
