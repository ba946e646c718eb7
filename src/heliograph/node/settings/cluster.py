"""Settings of a node of a cluster: how it joins, what it does there, its links to the others."""

from __future__ import annotations

import re
from ipaddress import IPv4Address
from typing import Annotated

from pydantic import Field, SecretStr, field_validator, model_validator

from heliograph.node.settings.base import Address, Port, Section, fail


class ClusterSettings(Section):
    """Several machines as one: the bus by which its nodes talk. See [cluster](cluster.md)."""

    enabled: bool = False
    """Whether other machines may join this one; `join` switches it on by itself. Without it there
    is no network for it."""
    name: str = Field(default="", pattern=r"^[A-Za-z0-9._-]{0,64}$")
    """How this node is called, 1 to 64 letters, digits, `.`, `_` or `-`; empty: the host name."""
    host: Address = IPv4Address("0.0.0.0")
    """Address to listen on for other nodes; `::` for IPv6 and IPv4."""
    port: int = Field(default=7447, ge=1, le=65535)
    """TCP port for that."""
    join: Annotated[tuple[str, ...], Field(strict=False, max_length=16)] = ()
    """Nodes of the cluster to join, each `tls/HOST:PORT`. One is enough; with more this node comes
    back also while one is down."""
    token: SecretStr | None = None
    """Token of `helio token`, for the first time: the certificate that it brings is kept in the
    state directory."""
    lease_ms: int = Field(default=1000, ge=200, le=60_000)
    """Other nodes count this one as gone when they hear nothing of it for so many ms."""
    scouting: bool = True
    """Whether nodes on the same local network find each other by multicast."""

    @field_validator("join")
    @classmethod
    def _check_join(cls, join: tuple[str, ...]) -> tuple[str, ...]:
        for index, place in enumerate(join):
            if split_place(place) is None:
                raise fail("must be tls/HOST:PORT", index)
        return join

    @property
    def active(self) -> bool:
        """Whether there is a network for the bus."""
        return self.enabled or bool(self.join)

    def places(self) -> list[tuple[str, int]]:
        """Hosts and ports to join by."""
        return [found for place in self.join if (found := split_place(place)) is not None]


def split_place(text: str) -> tuple[str, int] | None:
    """Host and port of ``tls/HOST:PORT``; None where it is none. IPv6 addresses are in brackets."""
    found = re.fullmatch(r"tls/(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):([0-9]{1,5})", text, re.ASCII)
    if found is None or not 0 < int(found[2]) <= 65535:
        return None
    return found[1], int(found[2])


class MeshSettings(Section):
    """Links between the machines of a cluster, by which channels travel."""

    host: Address = IPv4Address("0.0.0.0")
    """Address to listen on; `::` for IPv6 and IPv4."""
    port: Port = 7450
    """Port for UDP, and for TCP; 0: any that is free for both."""
    public_addresses: Annotated[tuple[Address, ...], Field(strict=False, max_length=8)] = ()
    """Addresses other nodes reach this one by; else those of its interfaces."""
    tcp: bool = False
    """Whether the links that this node opens go by TCP: where UDP does not pass."""
    redundancy: int = Field(default=1, ge=1, le=4)
    """Neighbours that send a channel here at a time. With 2 the death of one is not noticed, for
    twice the bandwidth."""
    keepalive_ms: int = Field(default=50, ge=10, le=1000)
    """A link never says nothing for longer, in ms."""
    silence_ms: int = Field(default=200, ge=40, le=10_000)
    """A neighbour that says nothing for so long, in ms, is replaced."""

    @model_validator(mode="after")
    def _check(self) -> MeshSettings:
        if self.silence_ms < 2 * self.keepalive_ms:
            raise fail("must be at least twice mesh.keepalive_ms", "silence_ms")
        return self
