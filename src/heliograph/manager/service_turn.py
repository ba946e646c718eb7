"""Which portal has the service address: one at a time, another as soon as that one is gone.

Every portal that may have it says so over the bus, with its *term*: 0 while it has not got it. The
one that has it keeps it. When it is gone the portal with the lowest id takes it, with a higher term
than anybody had; so that of two who have it, as after a partition, the one that took it later keeps
it. A process that was killed is gone at once, one that is frozen after the lease of the bus
(``cluster.lease_ms``); no database is asked.

``next_term`` is the rule, without bus or clock; ``ServiceTurn`` applies it.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Mapping

import structlog

from heliograph.bus import Bus
from heliograph.bus.bus import Announcement
from heliograph.manager.service_address import ServiceAddress, VirtualAddress

log = structlog.get_logger(__name__)

#: What portals announce that may have the address.
TURN = "service-address"
#: Name of what a command moves, in place of an address.
COMMANDED = "command"
#: Seconds before a portal that has just started takes part: it has to see first who else is there.
SETTLE = 2.0
#: Terms above are of no portal of ours.
MAX_TERM = 2**52


def next_term(node: str, mine: int, others: Mapping[str, int], highest: int) -> int:
    """The term that a portal has from now on; 0: it has not got the address.

    ``mine``: until now. ``others``: of those who take part, by node. ``highest``: that anybody was
    ever seen to have.
    """
    if mine:
        better = any((-term, other) < (-mine, node) for other, term in others.items())
        return 0 if better else mine
    if any(others.values()) or node > min(others, default=node):
        return 0
    return max(highest, *others.values(), 0) + 1


def name_of(address: VirtualAddress | None) -> str:
    """Under which portals that may have the same address are known; None: a command moves it."""
    if address is None:
        return COMMANDED
    ip = address.interface.ip
    return ip.exploded.replace(":", "-") if isinstance(ip, ipaddress.IPv6Address) else str(ip)


class ServiceTurn:
    """One portal's part; it follows whoever the rule says."""

    def __init__(
        self, bus: Bus, name: str, address: ServiceAddress, *, settle: float = SETTLE
    ) -> None:
        """``name``: as of ``name_of``."""
        self.term = 0
        """0: the address is elsewhere."""
        self._bus = bus
        self._name = name
        self._address = address
        self._settle = settle
        self._highest = 0
        self._others: Mapping[str, int] = {}
        self._here: Announcement | None = None
        self._watch = bus.watch(TURN, lambda event: self._look())
        self._beginning: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Take part, a moment from now."""
        work = self._begin()
        self._beginning = asyncio.get_running_loop().create_task(work, name="service address turn")

    async def _begin(self) -> None:
        await asyncio.sleep(self._settle)
        self._here = self._bus.announce(TURN, self._name, {"term": 0})
        self._look()

    def _look(self) -> None:
        if self._here is None:
            return
        present = self._bus.present(TURN)
        others = {
            str(node): _term(value)
            for (node, name), value in present.items()
            if name == self._name and node != self._bus.node
        }
        self._highest = max([self._highest, *others.values()])
        term = next_term(str(self._bus.node), self.term, others, self._highest)
        changed, self._others = others != self._others, others
        if term == self.term:
            if term and changed:
                # Whoever comes, goes or says something else may have had it a moment ago, as after
                # a partition, though it says 0 by the time that we hear of it.
                self._address.assure()
            return
        log.info("service address is ours" if term else "service address is another's", term=term)
        self.term, self._highest = term, max(self._highest, term)
        self._here.update({"term": term})
        self._address.follow(bool(term))

    async def close(self) -> None:
        """Give the address up, and let another take it."""
        if self._beginning is not None:
            self._beginning.cancel()
            await asyncio.gather(self._beginning, return_exceptions=True)
        self._watch.close()
        here, self._here = self._here, None
        if here is not None:
            here.close()  # first: the next one has it before it is gone here
        await self._address.close()


def _term(value: object) -> int:
    """What a portal says; 0 for what is no term."""
    term = value.get("term") if isinstance(value, dict) else None
    return term if isinstance(term, int) and 0 <= term <= MAX_TERM else 0
