"""Guessing passwords and keys is slowed: per address and per account.

An attempt is counted when it *begins*, and forgiven when it succeeds, so that a thousand guesses
sent at once are no cheaper than one after the other. The first few failures are free, as people
mistype; then each doubles the wait, up to a bound. The bound for an account is low, because anybody
can fail on somebody else's account: its owner must not be locked out. The bound for an address is
high.

Pure: ``now`` is any clock of seconds that does not go back.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from math import ceil

from heliograph.model.addresses import household_of
from heliograph.model.errors import TooManyError

#: Powers of two above this are beyond every bound; keeps the arithmetic finite.
_MAX_DOUBLINGS = 32


@dataclass(frozen=True, slots=True)
class Policy:
    """How one kind of subject is slowed."""

    free: int = 5
    """Failures without any wait."""
    first_delay: float = 1.0
    """Seconds to wait after the first failure that is not free; doubles with each."""
    max_delay: float = 900.0
    forget_after: float = 3600.0
    """Seconds after the last failure in which one failure is forgotten, and again for each."""
    max_entries: int = 20_000
    """Subjects remembered; above it the one longest quiet is forgotten. 20 000 take 5 MB."""

    def delay(self, failures: int) -> float:
        """Seconds between an attempt and the next after so many failures."""
        beyond = failures - self.free
        if beyond < 1:
            return 0.0
        return min(self.max_delay, self.first_delay * 2.0 ** min(beyond - 1, _MAX_DOUBLINGS))


#: An address may serve a household or a lecture hall: ten mistakes are free.
ADDRESS_POLICY = Policy(free=10, max_delay=900.0)
#: A guesser gets 2 880 tries a day on one account however many addresses it has.
ACCOUNT_POLICY = Policy(free=5, max_delay=30.0)


@dataclass(slots=True)
class _Entry:
    failures: int
    last: float
    """When it last failed or was forgiven one."""
    blocked_until: float


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt that began; give it to ``succeeded`` when it was right."""

    keys: tuple[tuple[str, str], ...]


class Throttle:
    """Counts failures of addresses and accounts."""

    __slots__ = ("_policies", "_tables", "evicted", "failed", "refused")

    def __init__(self, address: Policy = ADDRESS_POLICY, account: Policy = ACCOUNT_POLICY) -> None:
        self._policies = {"address": address, "account": account}
        self._tables: dict[str, OrderedDict[str, _Entry]] = {
            "address": OrderedDict(),
            "account": OrderedDict(),
        }
        self.refused = 0
        """Attempts turned away without a look."""
        self.failed = 0
        """Attempts counted as failures and not forgiven."""
        self.evicted = 0
        """Subjects forgotten for want of room."""

    def __len__(self) -> int:
        return sum(len(table) for table in self._tables.values())

    def begin(self, now: float, *, address: str, account: str = "") -> Attempt:
        """Count an attempt; ``TooManyError`` where it has to wait.

        ``account`` is what is guessed at; empty where a guess is at all of them at once, such as
        a stream key.
        """
        keys = [("address", household_of(address))] if address else []
        if account:
            keys.append(("account", account[:256].casefold()))
        wait = max((self._wait(kind, key, now) for kind, key in keys), default=0.0)
        if wait > 0:
            self.refused += 1
            raise TooManyError(
                f"too many failed attempts; try again in {ceil(wait)} s",
                subject="attempts",
                retry_after=ceil(wait),
            )
        for kind, key in keys:
            self._fail(kind, key, now)
        self.failed += 1
        return Attempt(tuple(keys))

    def succeeded(self, attempt: Attempt, now: float) -> None:
        """Forgive the attempt.

        Its account starts anew. Its address is forgiven this one only: else somebody with an
        account of his own could sign in between guesses at another.
        """
        self.failed -= 1
        for kind, key in attempt.keys:
            table = self._tables[kind]
            entry = table.get(key)
            if entry is None:
                continue
            entry.failures = 0 if kind == "account" else entry.failures - 1
            entry.blocked_until = min(
                entry.blocked_until, now + self._policies[kind].delay(entry.failures)
            )
            if entry.failures <= 0:
                del table[key]

    def _wait(self, kind: str, key: str, now: float) -> float:
        entry = self._tables[kind].get(key)
        return 0.0 if entry is None else entry.blocked_until - now

    def _fail(self, kind: str, key: str, now: float) -> None:
        table, policy = self._tables[kind], self._policies[kind]
        entry = table.get(key)
        if entry is None:
            while len(table) >= policy.max_entries:
                table.popitem(last=False)
                self.evicted += 1
            entry = table[key] = _Entry(0, now, now)
        forgotten = int((now - entry.last) / policy.forget_after)
        entry.failures = max(0, entry.failures - forgotten) + 1
        entry.last = now
        entry.blocked_until = now + policy.delay(entry.failures)
        table.move_to_end(key)
