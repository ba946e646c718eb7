"""Whether there is room for somebody who may come: pure decisions over immutable views.

Who may come is for ``gate`` to say. Each function returns where there is room, and raises the typed
error where not: ``ForbiddenError`` (the address), ``ConflictError`` (somebody publishes already),
``BusyError`` (its ``subject`` is ``"places"`` or ``"bandwidth"``).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from heliograph.model.addresses import address_of
from heliograph.model.errors import (
    BusyError,
    ConflictError,
    ForbiddenError,
    MalformedError,
)

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Seconds after which somebody refused for want of a place may ask again: about the time in
#: which a viewer who looked in leaves again.
RETRY_AFTER = 10


@dataclass(frozen=True, slots=True)
class Access:
    """Networks that may come; empty: all."""

    networks: tuple[Network, ...] = ()

    @classmethod
    def of(cls, texts: Iterable[str]) -> Access:
        """Read networks in CIDR form; ``MalformedError`` names the wrong one."""
        found: list[Network] = []
        for text in texts:
            try:
                found.append(ipaddress.ip_network(text, strict=False))
            except ValueError:
                raise MalformedError("network", repr(text[:80])) from None
        return cls(tuple(found))

    def permits(self, address: str) -> bool:
        """Whether a numeric address may come; what is no address may only where all may."""
        if not self.networks:
            return True
        ip = address_of(address)
        if ip is None:
            return False
        return any(ip.version == network.version and ip in network for network in self.networks)


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be in use at most; None: no bound."""

    max_readers: int | None = None
    max_bandwidth: int | None = None
    """Bits a second to readers."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is in use."""

    readers: int = 0
    bandwidth: int = 0
    """Committed bits a second to readers."""


@dataclass(frozen=True, slots=True)
class ReaderView:
    """What decides about a reader."""

    channel: str
    access: Access = field(default_factory=Access)
    limits: Limits = field(default_factory=Limits)
    """The channel's."""
    load: Load = field(default_factory=Load)
    """The channel's."""
    server_limits: Limits = field(default_factory=Limits)
    server_load: Load = field(default_factory=Load)
    cost: int = 0
    """Bits a second that one more reader takes; 0 where a multicast group has it already."""


def admit_reader(view: ReaderView, address: str) -> None:
    """Return if a reader from ``address`` may come, else raise."""
    _check_peer(view.channel, view.access, address, "read")
    for limits, load, whose in (
        (view.limits, view.load, f"channel {view.channel!r}"),
        (view.server_limits, view.server_load, "server"),
    ):
        if limits.max_readers is not None and load.readers >= limits.max_readers:
            raise BusyError(
                f"the {whose} has no free place ({limits.max_readers} readers)",
                subject="places",
                retry_after=RETRY_AFTER,
            )
        if limits.max_bandwidth is not None and load.bandwidth + view.cost > limits.max_bandwidth:
            raise BusyError(
                f"the {whose} has no bandwidth left ({limits.max_bandwidth} bit/s)",
                subject="bandwidth",
                retry_after=RETRY_AFTER,
            )


@dataclass(frozen=True, slots=True)
class Holder:
    """A publishing that a channel has."""

    id: int
    priority: int
    silent: bool
    """Whether it delivers nothing now."""


@dataclass(frozen=True, slots=True)
class PublisherView:
    """What decides about a publisher."""

    channel: str
    access: Access = field(default_factory=Access)
    replace: bool = False
    """Whether a newcomer takes the place of a publisher of the same priority."""
    priority: int = 0
    holders: tuple[Holder, ...] = ()


def admit_publisher(view: PublisherView, address: str) -> tuple[int, ...]:
    """The publishings that have to go for the newcomer's sake; raise if it may not come.

    One that says nothing gives way always: its machine may have died without a word, and its
    owner stands at the door.
    """
    _check_peer(view.channel, view.access, address, "publish")
    rivals = [holder for holder in view.holders if holder.priority == view.priority]
    if not view.replace and any(not holder.silent for holder in rivals):
        raise ConflictError(
            f"channel {view.channel!r} has a publisher already", subject=view.channel
        )
    return tuple(holder.id for holder in rivals)


def _check_peer(channel: str, access: Access, address: str, what: str) -> None:
    if not access.permits(address):
        raise ForbiddenError(f"{address} may not {what} channel {channel!r}", subject=channel)
