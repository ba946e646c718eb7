"""Tickets: one node lets a viewer in at another, which checks it alone. Pure.

A ticket names the viewer's place at one unit for some seconds, and why he was let in. It is signed
with the Ed25519 key (RFC 8032) of the node that made it; the public key goes with it, and whoever
checks it has to know that node. Text: base64url without padding (RFC 4648 section 5) of ::

    1 byte    version, 1
    32 bytes  public key of the signer
    12 bytes  id of the ticket
    8 bytes   when it expires, ms since 1970
    2 bytes   index of the group that the place is in
    texts     unit, channel, home, reservation, grant: each a byte of its length, and UTF-8
    64 bytes  signature over all that, with ``_CONTEXT`` before it

A peer whose ticket is refused is told nothing of why; the error's class says it for the log.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from heliograph.live.grants import Grant, tell, vouched
from heliograph.model.errors import BusyError, HelioError, TooLargeError, UnauthorizedError
from heliograph.model.media import check_channel_name
from heliograph.model.nodes import PUBLIC_KEY_BYTES, NodeId, check_node_id, node_id

VERSION = 1
#: Characters of a ticket: it goes into an address, which some players cut at 1024.
MAX_TICKET = 512
#: Seconds that a ticket is good for: as long as its place is kept.
LIFETIME = 10.0
#: Seconds that a checker's clock may be beside the maker's.
LEEWAY = 5.0
#: Tickets remembered as used: a thousand new viewers a second at one unit.
MAX_USED = 16_384
#: Bytes of a ticket's id: 96 bits, so that no two are the same.
ID_BYTES = 12

_SIGNATURE_BYTES = 64
_TIME_BYTES = 8
_INDEX_BYTES = 2
#: The year 2248: seconds with three decimals are exact until then.
_MAX_MS = 1 << 43
_CONTEXT = b"heliograph ticket 1\0"
_TEXT = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_TICKET}}}", re.ASCII)
#: A reservation's id, as managers make them.
_RESERVATION = re.compile(r"[!-~]{0,120}", re.ASCII)


class TicketError(UnauthorizedError):
    """A ticket that is not good: the same words whatever is wrong with it."""

    def __init__(self) -> None:
        super().__init__("the ticket is not good", subject="ticket")


class TicketMalformed(TicketError):
    """No ticket at all, or one of another version."""


class TicketForged(TicketError):
    """Its signature is not of the key it names."""


class TicketExpired(TicketError):
    """It is past its time, or of a time that no maker gives."""


class TicketElsewhere(TicketError):
    """For another unit."""


class TicketStranger(TicketError):
    """Signed by a node that is not in the cluster now."""


class TicketMismatched(TicketError):
    """For another channel, or one of the same name that is kept elsewhere."""


class TicketUsed(TicketError):
    """Somebody else came with it before."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a ticket says."""

    unit: NodeId
    """Where it is good."""
    channel: str
    home: NodeId
    """The node, or the database of several, that keeps the channel."""
    reservation: str
    """Id of the place kept for him; empty: none is."""
    expires: float
    """Seconds since 1970, to the millisecond."""
    grant: Grant
    """Why he was let in."""
    index: int = 0
    """Of the group that the place is in."""
    id: str = field(default_factory=lambda: secrets.token_hex(ID_BYTES))
    """Unique."""


def sign(key: Ed25519PrivateKey, ticket: Ticket) -> str:
    """The ticket as text; ``TooLargeError`` where its values are too long for one."""
    reason = json.dumps(tell(ticket.grant), separators=(",", ":"))
    body = bytearray([VERSION])
    body += key.public_key().public_bytes_raw()
    body += bytes.fromhex(ticket.id)
    body += round(ticket.expires * 1000).to_bytes(_TIME_BYTES)
    body += ticket.index.to_bytes(_INDEX_BYTES)
    for text in (ticket.unit, ticket.channel, ticket.home, ticket.reservation, reason):
        data = text.encode("utf-8")
        if len(data) > 255:
            raise TooLargeError("a text is too long for a ticket", subject="ticket")
        body.append(len(data))
        body += data
    body += key.sign(_CONTEXT + body)
    made = base64.urlsafe_b64encode(body).rstrip(b"=").decode("ascii")
    if len(made) > MAX_TICKET:
        raise TooLargeError(f"{len(made)} characters are too many for a ticket", subject="ticket")
    return made


def read(text: str) -> tuple[NodeId, Ticket]:
    """Who signed a ticket, and what it says; ``TicketMalformed``, ``TicketForged``."""
    if not _TEXT.fullmatch(text):
        raise TicketMalformed
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
        if base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii") != text:
            raise ValueError("bits to spare")  # one ticket, one text
        body = data[:-_SIGNATURE_BYTES]
        signer, ticket = _parse(body)
    except (ValueError, TypeError, IndexError, RecursionError, HelioError, binascii.Error):
        raise TicketMalformed from None
    try:
        key = Ed25519PublicKey.from_public_bytes(signer)
        key.verify(data[-_SIGNATURE_BYTES:], _CONTEXT + body)
    except (InvalidSignature, ValueError):
        raise TicketForged from None
    return node_id(signer), ticket


def _parse(body: bytes) -> tuple[bytes, Ticket]:
    key, id, time = 1, 1 + PUBLIC_KEY_BYTES, 1 + PUBLIC_KEY_BYTES + ID_BYTES
    index = time + _TIME_BYTES
    first = place = index + _INDEX_BYTES
    if len(body) < first or body[0] != VERSION:
        raise ValueError("version")
    texts: list[str] = []
    while place < len(body):
        end = place + 1 + body[place]
        if end > len(body):
            raise ValueError("length")
        texts.append(body[place + 1 : end].decode("utf-8"))
        place = end
    unit, channel, home, reservation, reason = texts
    if not _RESERVATION.fullmatch(reservation):
        raise ValueError("reservation")
    expires = int.from_bytes(body[time:index])
    if expires > _MAX_MS:
        raise ValueError("time")
    said: Any = json.loads(reason)
    ticket = Ticket(
        check_node_id(unit),
        check_channel_name(channel),
        check_node_id(home),
        reservation,
        expires / 1000,
        vouched(said, channel),
        int.from_bytes(body[index:first]),
        body[id:time].hex(),
    )
    return body[key:id], ticket


class Tickets:
    """Those that come to one unit. Every time is an argument: seconds since 1970."""

    def __init__(self, node: str, known: Callable[[str], bool]) -> None:
        """``node``: this one. ``known``: whether a node is in the cluster now."""
        self.counters: Counter[str] = Counter(tickets_accepted=0, tickets_refused=0)
        self._node = node
        self._known = known
        self._used: dict[str, tuple[float, str]] = {}
        """When each may be forgotten and who came with it, by id."""

    @property
    def remembered(self) -> int:
        """How many are known as used."""
        return len(self._used)

    def accept(self, text: str, *, channel: str, home: str, holder: str, now: float) -> Ticket:
        """Take a ticket for a channel from somebody at the address ``holder``.

        Whoever came with it first may come again while it is good, as players do that make a new
        connection after a redirect. ``TicketError`` otherwise, ``BusyError`` where too many came.
        """
        try:
            ticket = self._check(text, channel, home, holder, now)
        except HelioError:
            self.counters["tickets_refused"] += 1
            raise
        self.counters["tickets_accepted"] += 1
        return ticket

    def _check(self, text: str, channel: str, home: str, holder: str, now: float) -> Ticket:
        signer, ticket = read(text)
        if not now - LEEWAY <= ticket.expires <= now + LIFETIME + LEEWAY:
            raise TicketExpired
        if ticket.unit != self._node:
            raise TicketElsewhere
        if not self._known(signer):
            raise TicketStranger
        if (ticket.channel, ticket.home) != (channel, home):
            raise TicketMismatched
        before = self._used.get(ticket.id)
        if before is None:
            self._remember(ticket, holder, now)
        elif before[1] != holder:
            raise TicketUsed
        return ticket

    def _remember(self, ticket: Ticket, holder: str, now: float) -> None:
        if len(self._used) >= MAX_USED:
            self._used = {id: one for id, one in self._used.items() if one[0] >= now}
        if len(self._used) >= MAX_USED:
            # To forget one would let it be used again.
            raise BusyError("too many viewers come at once", subject="tickets", retry_after=1)
        self._used[ticket.id] = (ticket.expires + LEEWAY, holder)
