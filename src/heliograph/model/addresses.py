"""Numeric addresses of peers: read, and counted."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address


def address_of(text: str) -> IPv4Address | IPv6Address | None:
    """The address a peer's text names, without its zone; None for what is none.

    A dual-stack listener shows an IPv4 peer as ``::ffff:a.b.c.d``: that is its IPv4 address.
    """
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def household(address: IPv4Address | IPv6Address) -> str:
    """What is counted as one peer: an IPv4 address, or an IPv6 /64.

    A household has such a network, and everybody in it as many addresses as he likes.
    """
    if isinstance(address, IPv6Address):
        return str(IPv6Network((int(address) >> 64 << 64, 64)))
    return str(address)


def household_of(text: str) -> str:
    """``household`` of a peer's text; what is no address counts as itself, cut to 64 letters."""
    address = address_of(text)
    return text[:64] if address is None else household(address)


def stranger_of(text: str) -> str:
    """``household`` of a peer on another machine; empty for the machine's own addresses, which are
    those of a proxy, and for what is no address."""
    address = address_of(text)
    return "" if address is None or address.is_loopback else household(address)
