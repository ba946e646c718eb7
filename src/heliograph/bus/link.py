"""What a bus needs of whatever carries it: Zenoh, or a network in memory.

Every method is called on the event loop and waits for nothing; every callback comes there.
Patterns and keys are those of ``keys``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

#: Ends what was begun; twice is once.
Undo: TypeAlias = Callable[[], None]


class Question(Protocol):
    """A request that came; it has to be ended by ``end``."""

    @property
    def key(self) -> str:
        """The key or pattern that was asked."""
        ...

    @property
    def payload(self) -> bytes: ...

    def reply(self, key: str, payload: bytes) -> None:
        """Answer; whoever asked may be gone."""
        ...

    def end(self) -> None:
        """Nothing more is answered."""
        ...


class Link(Protocol):
    """One node's connection to all others."""

    session: str
    """This start of the node, as tokens name it; a later one is greater."""

    async def open(self) -> None:
        """Begin; ``ResourceError`` where it cannot."""
        ...

    async def close(self) -> None:
        """End: tokens are withdrawn, nothing is called back any more."""
        ...

    async def renew(self) -> None:
        """Leave everybody and come back: what was begun goes on, over connections that are new.

        What is put or asked meanwhile is lost. Watchers are told again of all tokens that are
        there, and of none that went meanwhile. Ends when it is done, or the link is closed.
        """
        ...

    def put(self, key: str, payload: bytes) -> None:
        """Publish to whoever is subscribed, here and elsewhere; lost where there is no room."""
        ...

    def subscribe(self, pattern: str, heard: Callable[[str, bytes], None]) -> Undo:
        """Hear what is put; called with key and payload."""
        ...

    def serve(self, pattern: str, asked: Callable[[Question], None]) -> Undo:
        """Answer requests to keys of the pattern."""
        ...

    def ask(
        self,
        pattern: str,
        payload: bytes,
        timeout: float,
        answered: Callable[[str, bytes], None],
        ended: Callable[[], None],
    ) -> None:
        """Ask all who serve it.

        ``answered`` is called with key and payload of each answer, ``ended`` once: when all
        have answered, when there is nobody, or after ``timeout`` seconds.
        """
        ...

    def declare(self, key: str) -> Undo:
        """Show a token that others see as long as this node is there."""
        ...

    def watch(self, pattern: str, seen: Callable[[str, bool], None]) -> Undo:
        """Be told of tokens, those already there too: key, and whether it is there."""
        ...

    def counters(self) -> Mapping[str, int]:
        """What was lost at a bound, by its name."""
        ...
