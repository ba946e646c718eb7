"""Sessions found a moment ago: pages ask every second or two, and players for every segment."""

from __future__ import annotations

from collections import OrderedDict

from heliograph.catalogue.values import Session

#: Seconds for which a session is not looked up again. What this process changes is seen at once,
#: what another one does, after this time.
FRESH = 5.0
#: Seconds for which one found before is believed while the database is away: nobody can be signed
#: out then either, and who watches is not to be sent away by its restart.
BELIEVED = 3600.0
#: Sessions remembered, the oldest goes for a new one: 10 000 take 5 MB.
MAX_RECENT = 10_000


class Recent:
    """A bounded memory of sessions by the hash of their tokens."""

    __slots__ = ("_found", "changes")

    def __init__(self) -> None:
        self.changes = 0
        """Rises when rights change: what was read before that must not be remembered after."""
        self._found: OrderedDict[str, tuple[Session, float]] = OrderedDict()

    def get(self, token_hash: str, now: float) -> Session | None:
        """The session, if it was found within ``FRESH`` seconds."""
        return self.last(token_hash, now, FRESH)

    def last(self, token_hash: str, now: float, seconds: float = BELIEVED) -> Session | None:
        """The session, if it was found within so many seconds."""
        found = self._found.get(token_hash)
        return found[0] if found is not None and now < found[1] + seconds else None

    def drop(self, token_hash: str) -> None:
        """The session is good no more."""
        self._found.pop(token_hash, None)

    def put(self, token_hash: str, session: Session, now: float, changes: int) -> None:
        """Remember what was read when ``changes`` was the counter's value."""
        if changes != self.changes:
            return
        self._found.pop(token_hash, None)
        while len(self._found) >= MAX_RECENT:
            self._found.popitem(last=False)
        self._found[token_hash] = (session, now)

    def forget(self) -> None:
        """Somebody's rights changed: look everybody up anew."""
        self.changes += 1
        self._found.clear()
