"""From hosts' names to addresses, without waiting for slow name servers more than once."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from ipaddress import ip_address
from time import monotonic

from heliograph.model.errors import BusyError, RemoteError

#: Seconds for which addresses are taken as they are.
TTL = 30.0
#: Seconds that the first look-up of a name may take.
TIMEOUT = 5.0
#: Look-ups at a time; each is a thread, as the C library's resolver waits. A hung one keeps its
#: thread until the library gives up.
MAX_LOOKUPS = 8
#: Names that are kept: a monitor has no more servers.
MAX_NAMES = 1000
#: Addresses of one name that are tried.
MAX_ADDRESSES = 4

Lookup = Callable[[str], list[str]]


@dataclass(slots=True)
class _Known:
    addresses: list[str] = field(default_factory=list)
    """The one to be tried first is at the front."""
    at: float = 0.0
    """When they were found."""
    asked: asyncio.Future[None] | None = None


def look_up(name: str) -> list[str]:
    """Addresses of a name as the machine finds them; ``OSError`` where it finds none."""
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


class Resolver:
    """Names of servers. Old addresses are used while newer ones are looked for."""

    def __init__(self, lookup: Lookup = look_up, ttl: float = TTL) -> None:
        self.counters: Counter[str] = Counter(lookups=0, lookups_failed=0, lookups_refused=0)
        self._lookup = lookup
        self._ttl = ttl
        self._known: dict[str, _Known] = {}
        self._running = 0

    async def addresses(self, host: str) -> list[str]:
        """Numeric addresses of a host, the one to be tried first in front.

        ``RemoteError`` where it has none or the answer takes too long, ``BusyError`` with too many
        look-ups under way.
        """
        with contextlib.suppress(ValueError):
            return [str(ip_address(host.strip("[]")))]
        known = self._known.get(host)
        if known is None:
            if len(self._known) >= MAX_NAMES:
                raise BusyError(f"{MAX_NAMES} names are known", subject=host)
            known = self._known[host] = _Known()
        if not known.addresses or monotonic() - known.at > self._ttl:
            try:
                asked = self._ask(host, known)
                if not known.addresses:
                    async with asyncio.timeout(TIMEOUT):
                        await asyncio.shield(asked)
            except TimeoutError:
                raise RemoteError("no answer of the name server", subject=host) from None
            except BusyError:
                if not known.addresses:
                    raise
        if not known.addresses:
            raise RemoteError("the name is not known", subject=host)
        return list(known.addresses)

    def works(self, host: str, address: str) -> None:
        """Try this address first from now on."""
        self._front(host, address)

    def fails(self, host: str, address: str) -> None:
        """Try the others first from now on."""
        known = self._known.get(host)
        if known is not None and address in known.addresses:
            known.addresses.remove(address)
            known.addresses.append(address)

    def keep(self, hosts: Collection[str]) -> None:
        """Forget all other names."""
        for host in self._known.keys() - set(hosts):
            del self._known[host]

    def _front(self, host: str, address: str) -> None:
        known = self._known.get(host)
        if known is not None and known.addresses[:1] != [address] and address in known.addresses:
            known.addresses.remove(address)
            known.addresses.insert(0, address)

    def _ask(self, host: str, known: _Known) -> asyncio.Future[None]:
        if known.asked is not None:
            return known.asked
        if self._running >= MAX_LOOKUPS:
            self.counters["lookups_refused"] += 1
            raise BusyError("too many names are looked for", subject=host)
        self._running += 1
        self.counters["lookups"] += 1
        loop = asyncio.get_running_loop()
        known.asked = loop.create_future()

        def done(found: list[str]) -> None:
            self._running -= 1
            asked, known.asked = known.asked, None
            if found:
                known.addresses = self._ordered(known.addresses, found)
            else:
                self.counters["lookups_failed"] += 1
            known.at = monotonic()
            if asked is not None and not asked.done():
                asked.set_result(None)

        def work() -> None:
            try:
                found = self._lookup(host)
            except (OSError, UnicodeError):
                found = []
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(done, found)

        # A daemon: a name server that says nothing must not hold up the end of the process.
        threading.Thread(target=work, name=f"look up {host}", daemon=True).start()
        return known.asked

    @staticmethod
    def _ordered(old: list[str], new: list[str]) -> list[str]:
        """What worked before stays in front."""
        found = [one for one in old if one in new] + [one for one in new if one not in old]
        return found[:MAX_ADDRESSES]
