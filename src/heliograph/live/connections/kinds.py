"""The kinds of connection there are.

A connection is kinds over each other: at the bottom a *carrier* that brings datagrams to one
neighbour, over it, for who wants, a *spread* that brings them to many at once, and on top a *seal*
that nobody between can read or change. Each kind has one place; there is nothing without a seal.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Carrier:
    """Brings a link's datagrams to the neighbour."""

    name: str
    tcp: bool
    """Whether the packet plane does it by TCP, else by UDP."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Brings a channel to several neighbours by one stream, beside their links."""

    name: str
    enough: int
    """Neighbours from which on that is done."""


@dataclass(frozen=True, slots=True)
class Seal:
    """Encrypts each datagram and proves who made it."""

    name: str
    key_bytes: int
    """Length of its keys, by which the packet plane knows the cipher."""


Kind = Carrier | Spread | Seal

UDP = Carrier("udp", tcp=False)
TCP = Carrier("tcp", tcp=True)
MULTICAST = Spread("multicast", enough=1)
#: AES-128-GCM, which most processors have instructions for.
CRYPTO = Seal("crypto", 16)
#: ChaCha20-Poly1305, several times faster where a processor has none for AES.
CHACHA = Seal("chacha", 32)

#: What can be named; from the top down.
KINDS: dict[str, Kind] = {kind.name: kind for kind in (CRYPTO, CHACHA, MULTICAST, UDP, TCP)}
