"""Whom a request comes from when a proxy stands in front (RFC 7239, and the older X-Forwarded-*).

Nothing is believed but what a proxy says whose address the settings trust, and of its two
languages only the one that the settings name: a proxy passes on unchanged what it does not know,
so the other one is the client's to invent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from heliograph.model.addresses import address_of

#: Proxies between a client and us that are followed; an honest chain has one to three.
MAX_HOPS = 16
#: Stands for a client whose proxy hides its address, or says it badly: within no network but all.
UNKNOWN = ("0.0.0.0", 0)

Headers = Sequence[tuple[bytes, bytes]]
_Address = IPv4Address | IPv6Address

_HOST = re.compile(r"[A-Za-z0-9._-]{1,255}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?")
#: ``name=token`` or ``name="quoted"`` within an element of Forwarded (RFC 7239 section 4).
_PAIR = re.compile(r'\s*([A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^\s;,"]*)\s*')


class Language(Enum):
    """The headers in which proxies tell."""

    X_FORWARDED = "x-forwarded"
    """X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host."""
    FORWARDED = "forwarded"
    """Forwarded (RFC 7239)."""


@dataclass(frozen=True, slots=True)
class Trust:
    """Which proxies are believed."""

    proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks of their addresses."""
    language: Language = Language.X_FORWARDED

    def covers(self, peer: str) -> bool:
        """Whether a proxy at this address is believed."""
        address = address_of(peer)
        return address is not None and self._covers(address)

    def _covers(self, address: _Address) -> bool:
        return any(address in network for network in self.proxies)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request really comes from."""

    client: tuple[str, int]
    """Numeric address, and its port or 0."""
    scheme: str
    """``http`` or ``https``, as the client speaks it."""
    host: str
    """What the client asked for, for the Host header; empty: as the request has it."""


@dataclass(frozen=True, slots=True)
class _Hop:
    """What one proxy says of whom it was asked by."""

    client: tuple[str, int]
    scheme: str = ""
    host: str = ""


def resolve(peer: tuple[str, int], scheme: str, headers: Headers, trust: Trust) -> Origin:
    """Follow the proxies from the nearest on, as far as each is trusted.

    ``peer`` and ``scheme`` are those of the connection. Names of headers are in lower case. A
    client that a proxy hides, or names badly, is ``UNKNOWN``; without a word it is the proxy.
    """
    origin = Origin(peer, scheme, "")
    if not trust.covers(peer[0]):
        return origin
    if trust.language is Language.FORWARDED:
        hops = _forwarded(headers)
    else:
        hops = _x_forwarded(headers, peer)
    for hop in hops[: -MAX_HOPS - 1 : -1]:  # each proxy adds at the end
        origin = Origin(hop.client, hop.scheme or origin.scheme, hop.host or origin.host)
        if not trust.covers(hop.client[0]) or hop.client == UNKNOWN:
            break
    return origin


def with_host(headers: Headers, host: str) -> list[tuple[bytes, bytes]]:
    """``headers`` with another Host."""
    kept = [(name, value) for name, value in headers if name != b"host"]
    return [(b"host", host.encode("ascii")), *kept]


def _values(headers: Headers, wanted: bytes) -> str:
    """All lines of a header as one list (RFC 9110 section 5.3)."""
    return ",".join(value.decode("latin-1") for name, value in headers if name == wanted)


def _x_forwarded(headers: Headers, peer: tuple[str, int]) -> list[_Hop]:
    clients = [_node(word) for word in _split(_values(headers, b"x-forwarded-for"))] or [peer]
    schemes = _aligned(_split(_values(headers, b"x-forwarded-proto")), len(clients), _scheme)
    hosts = _aligned(_split(_values(headers, b"x-forwarded-host")), len(clients), _host)
    return [
        _Hop(client, scheme, host)
        for client, scheme, host in zip(clients, schemes, hosts, strict=True)
    ]


def _aligned(values: list[str], count: int, check: Callable[[str], str]) -> list[str]:
    """One value a hop: as many as there are hops, or the nearest proxy's word for all of them."""
    if len(values) != count:
        values = values[-1:] * count if values else [""] * count
    return [check(value) for value in values]


def _split(value: str) -> list[str]:
    return [word for word in (part.strip() for part in value.split(",")) if word]


def _forwarded(headers: Headers) -> list[_Hop]:
    hops: list[_Hop] = []
    text = _values(headers, b"forwarded")
    at = 0
    pairs: dict[str, str] = {}
    while at <= len(text) and text:
        match = _PAIR.match(text, at)
        if match is not None:
            value = match[2]
            if value.startswith('"'):
                value = re.sub(r"\\(.)", r"\1", value[1:-1])
            pairs.setdefault(match[1].lower(), value)
            at = match.end()
        mark = text[at : at + 1]
        if mark in (",", ""):
            if pairs:
                hops.append(
                    _Hop(
                        _node(pairs.get("for", "")),
                        _scheme(pairs.get("proto", "")),
                        _host(pairs.get("host", "")),
                    )
                )
            pairs = {}
        elif mark != ";" and match is None:  # nothing that can be read: begin again behind it
            hops.append(_Hop(UNKNOWN))
            pairs = {}
        at += 1
    return hops


def _node(text: str) -> tuple[str, int]:
    """An address with or without a port, IPv6 with or without brackets (RFC 7239 section 6)."""
    host, port = text.strip(), ""
    if host.startswith("["):
        host, _, port = host[1:].partition("]")
        port = port.removeprefix(":")
    elif host.count(":") == 1:
        host, _, port = host.partition(":")
    address = address_of(host)
    if address is None:
        return UNKNOWN
    known = port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535
    return str(address), int(port) if known else 0


def _scheme(text: str) -> str:
    return text.lower() if text.lower() in ("http", "https") else ""


def _host(text: str) -> str:
    return text if _HOST.fullmatch(text) else ""
