"""Multicast groups between the nodes of a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network


@dataclass(frozen=True, slots=True)
class Groups:
    """Where a node sends and receives casts."""

    network: IPv4Network
    """Multicast addresses that are used, and none other is joined."""
    port: int
    """UDP port of all of them."""

    @classmethod
    def parse(cls, text: str) -> Groups:
        """Read ``ADDRESS[/PREFIX]:PORT``; ``ValueError`` says what is wrong."""
        network, colon, port = text.rpartition(":")
        if not colon or not port.isdecimal() or not 0 < int(port) <= 65_535:
            raise ValueError("it must end in :PORT")
        found = IPv4Network(network)
        if not found.is_multicast:
            raise ValueError("its addresses must be multicast (224.0.0.0 to 239.255.255.255)")
        return cls(found, int(port))

    def group(self, name: int) -> str:
        """The address for a cast: those of different channels differ where there are several."""
        return str(self.network[name % self.network.num_addresses])
