"""Who may be served by whom: networks of clients, licences, what monitors say of servers."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from ipaddress import ip_network

from heliograph.catalogue.contents.values import Condition, Network, ServerState
from heliograph.model.addresses import address_of

#: Clients whose network is remembered; then the memory is emptied. A busy portal's last minutes.
MAX_REMEMBERED = 65_536


@dataclass(frozen=True, slots=True)
class Locality:
    """What is known of where a client is."""

    region: str = ""
    """Empty: not known."""
    refused: bool = False
    """Whether nobody there is served."""


NOWHERE = Locality()


class Networks:
    """Finds the longest network that holds an address."""

    def __init__(self, networks: Iterable[Network] = ()) -> None:
        """Of two entries of the same network the later one counts."""
        tables: dict[int, dict[int, dict[int, Locality]]] = {4: {}, 6: {}}
        for one in networks:
            network = ip_network(one.cidr, strict=False)
            shift = network.max_prefixlen - network.prefixlen
            by_length = tables[network.version].setdefault(shift, {})
            by_length[int(network.network_address) >> shift] = Locality(one.region, one.refused)
        #: By version of IP: bits that do not count, the fewest first, and the networks so long.
        self._tables = {version: sorted(found.items()) for version, found in tables.items()}
        self._remembered: dict[str, Locality] = {}
        self.empty = not any(self._tables.values())
        self.refusing = any(
            one.refused
            for found in tables.values()
            for places in found.values()
            for one in places.values()
        )
        """Whether there is one whose clients are not served."""

    def find(self, client: str) -> Locality:
        """Where a client is, by its numeric address."""
        found = self._remembered.get(client)
        if found is None:
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
            found = self._remembered[client] = self._look_up(client)
        return found

    def _look_up(self, client: str) -> Locality:
        address = address_of(client)
        if address is None:
            return NOWHERE
        number = int(address)
        for shift, networks in self._tables[address.version]:
            found = networks.get(number >> shift)
            if found is not None:
                return found
        return NOWHERE


def within(region: str, area: str) -> bool:
    """Whether a region is an area or a part of it: ``eu/de`` is within ``eu``."""
    return region == area or region.startswith(f"{area}/")


def licensed(regions: Collection[str], client: str) -> bool:
    """Whether a title licensed for some regions, or for all if there are none, is for a client."""
    return not regions or any(within(client, one) for one in regions)


def closeness(one: str, other: str) -> int:
    """Words that two regions have in common from the left: 2 for ``eu/de/a`` and ``eu/de/b``."""
    if not one or not other:
        return 0
    count = 0
    for left, right in zip(one.split("/"), other.split("/"), strict=False):
        if left != right:
            break
        count += 1
    return count


def alive(state: ServerState | None) -> bool:
    """Whether monitors say that a server answers; one that was not measured yet does not."""
    return state is not None and state.condition in (Condition.UP, Condition.STARTING)
