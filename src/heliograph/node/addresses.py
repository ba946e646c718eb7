"""Where peers can find this machine."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

import ifaddr

#: Addresses told to a peer: each costs it checks.
MAX_CANDIDATES = 16


def candidates(host: str, public: Iterable[str] = ()) -> list[str]:
    """Addresses of the machine for a socket bound to ``host``, best first, as ``host:0``.

    ``public``: addresses that stand before those of the interfaces, such as a NAT's outside. An
    interface's own address of that family still follows, for peers on the same side.
    """
    bound = ipaddress.ip_address(host)
    found: list[ipaddress.IPv4Address | ipaddress.IPv6Address] = [
        ipaddress.ip_address(one) for one in public
    ]
    found += interfaces() if bound.is_unspecified else [bound]
    usable = (
        one
        for one in dict.fromkeys(found)
        # A socket bound to "::" serves both families, one bound to "0.0.0.0" only its own.
        if one.version == bound.version or (bound.version == 6 and bound.is_unspecified)
    )
    return [f"[{one}]:0" if one.version == 6 else f"{one}:0" for one in usable][:MAX_CANDIDATES]


def nearest(theirs: Iterable[str]) -> list[str]:
    """Addresses of another machine, those in a network of ours first, else in their order; what
    is no address is left out, and its own loopback where it has others."""
    ours = [
        ipaddress.ip_network(f"{address.ip if isinstance(address.ip, str) else address.ip[0]}"
                             f"/{address.network_prefix}", strict=False)
        for adapter in ifaddr.get_adapters()
        for address in adapter.ips
    ]  # fmt: skip
    found = []
    for text in theirs:
        try:
            found.append(ipaddress.ip_address(text))
        except ValueError:
            continue
    found = [one for one in found if not one.is_loopback] or found

    def far(one: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        return not any(one.version == net.version and one in net for net in ours)

    return [str(one) for one in sorted(found, key=far)]


def interfaces() -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """Addresses of the machine's interfaces, those that others can reach first."""
    return sorted(_interfaces(), key=_rank)


def _interfaces() -> Iterable[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    for adapter in ifaddr.get_adapters():
        for address in adapter.ips:
            text = address.ip if isinstance(address.ip, str) else address.ip[0]
            one = ipaddress.ip_address(text)
            if not one.is_link_local:  # would need a zone, which the peer names otherwise
                yield one


def _rank(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> tuple[bool, bool]:
    return address.is_loopback, address.version == 6
