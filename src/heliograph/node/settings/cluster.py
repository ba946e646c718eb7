"""Settings of a node of a cluster: how it joins, what it does there, its links to the others."""

from __future__ import annotations

import re
from ipaddress import IPv4Address
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from heliograph.live.connections.compose import LinkKind
from heliograph.live.connections.groups import Groups
from heliograph.manager.service_address import VirtualAddress
from heliograph.model.errors import MalformedError, SettingsError
from heliograph.model.nodes import DOMAIN
from heliograph.node.settings.base import Address, Port, Section, fail

Role = Literal["portal", "manager", "unit", "storage"]


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
    roles: Annotated[tuple[Role, ...], Field(strict=False, max_length=4)] = ()
    """What this node does: `portal` (pages, API, sends viewers to units), `unit` (carries media),
    `storage` (has disks with titles), `manager` (decides who carries what; one at a time, the
    others stand by). Empty: all four, but a node that joins others is a manager only if
    `database.url` names a PostgreSQL server, which managers share."""
    location: str = Field(default="", pattern=r"^[a-z0-9-]{0,32}(/[a-z0-9-]{1,32}){0,7}$")
    """Where this node is, from the large to the small, such as `eu/de/berlin`: viewers are sent to
    units near them, or else near their portal, when loads are alike."""
    domain: str = Field(default="", pattern=rf"^({DOMAIN})?$")
    """The group of units that this one is administered with, such as `asia`: accounts may be given
    the right to administer the units of a domain. Empty: none but administrators may."""
    service_address: str = Field(default="", max_length=64)
    """Address that the machine of one portal takes, another's when that one is gone, such as
    `192.0.2.10/24 dev eth0`: it reaches the cluster whichever machine is down. Needs root. Empty:
    none."""
    service_command: Annotated[tuple[str, ...], Field(strict=False, max_length=16)] = ()
    """Program, with its arguments, that is run instead: with `hold` each time the address is to be
    this portal's, with `release` when it is to be another's."""

    @field_validator("roles")
    @classmethod
    def _check_roles(cls, roles: tuple[Role, ...]) -> tuple[Role, ...]:
        if len(set(roles)) < len(roles):
            raise fail("names a role twice")
        return roles

    @field_validator("service_address")
    @classmethod
    def _check_service_address(cls, text: str) -> str:
        if text:
            try:
                VirtualAddress.parse(text)
            except SettingsError:
                raise fail("must be like '192.0.2.10/24 dev eth0'") from None
        return text

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


class UnitSettings(Section):
    """What this node offers to the viewers of a cluster; a node alone has `[access]`."""

    groups: int = Field(default=50, ge=1, le=10_000)
    """Groups of places that channels can be granted here."""
    places: int = Field(default=10, ge=1, le=10_000)
    """Viewers that a group seats."""
    bandwidth_bps: int = Field(default=900_000_000, ge=1_000_000)
    """Bits a second that may be sent to viewers and other nodes."""
    cpu_percent: int = Field(default=0, ge=0, le=100_000)
    """CPU that may be used, in percent of one core; 0: four fifths of the cores there are."""
    memory_bytes: int = Field(default=0, ge=0)
    """Memory that may be used; 0: half of what the machine has."""


class MeshSettings(Section):
    """Links between the machines of a cluster, by which channels travel."""

    host: Address = IPv4Address("0.0.0.0")
    """Address to listen on; `::` for IPv6 and IPv4."""
    port: Port = 7450
    """Port for UDP, and for TCP; 0: any that is free for both."""
    public_addresses: Annotated[tuple[Address, ...], Field(strict=False, max_length=8)] = ()
    """Addresses other nodes reach this one by; else those of its interfaces."""
    connection: str = Field(default="crypto/udp", max_length=64)
    """What the links are made of that this node opens: `crypto` (AES) or `chacha` (ChaCha20, where
    the processor has no instructions for AES) over `udp`, or over `tcp` where UDP does not pass."""
    multicast: str = Field(default="", max_length=64)
    """IPv4 multicast address, or network of them, and UDP port, such as `239.255.74.0/24:7451`, at
    which this node and others of the same setting send each other channels by one stream for all
    of them. Empty: none. Where multicast does not come through, channels come by the links."""
    multicast_interface: IPv4Address | None = Field(default=None, strict=False)
    """Address of the interface for that; else the routes of this machine decide."""
    multicast_ttl: int = Field(default=1, ge=0, le=255)
    """Routers that may be crossed by it, and one more; 0 stays on this machine."""
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

    @field_validator("connection")
    @classmethod
    def _check_connection(cls, text: str) -> str:
        try:
            LinkKind.parse(text)
        except MalformedError as error:
            raise fail(f"must be like 'crypto/udp': {error.reason}") from None
        return text

    @field_validator("multicast")
    @classmethod
    def _check_multicast(cls, text: str) -> str:
        if text:
            try:
                Groups.parse(text)
            except ValueError as error:
                raise fail(f"must be like '239.255.74.0/24:7451': {error}") from None
        return text

    @property
    def kind(self) -> LinkKind:
        """What links are made of."""
        return LinkKind.parse(self.connection)

    @property
    def groups(self) -> Groups | None:
        """Where multicast goes."""
        return Groups.parse(self.multicast) if self.multicast else None
