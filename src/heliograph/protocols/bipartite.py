"""What packets of a session carry that several nodes send, and how one of them is asked again.

``docs/wire/bipartite.md``: the header extension (RFC 8285 §4.2) and the RTCP APP packet
(RFC 3550 §6.7). Who the nodes are is told by RTSP: ``rtsp.sharing``.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct, pack, unpack
from typing import NamedTuple

from heliograph.model.errors import MalformedError
from heliograph.protocols.rtcp import App
from heliograph.protocols.rtp import RtpPacket
from heliograph.protocols.sdp import SessionDescription, described_tracks

#: Names the extension in SDP (RFC 8285 §5).
URN = "urn:heliograph:bipartite"
#: RTCP APP: its name, and the subtype that asks for packets.
APP_NAME = b"HBIP"
APP_ASK = 0
#: Numbers that one APP packet asks for: some hundred bytes, in one datagram with the report.
MAX_ASKED = 64
#: RFC 8285 §4.2: ids of the one-byte form.
MIN_ID, MAX_ID = 1, 14

_MARK = Struct("!IHI")


class Mark(NamedTuple):
    """The extension's content."""

    place: int
    """Packets of all tracks before this one in the title, modulo 2³²."""
    node: int
    """Who sent it: its number in the session, 16 bits."""
    sent: int
    """Packets that this node sent before it in the session, modulo 2³²."""

    def serialize(self) -> bytes:
        """The element's 10 bytes."""
        return _MARK.pack(*self)


def mark_of(packet: RtpPacket, identity: int) -> Mark:
    """Read the element with this id; ``MalformedError`` where there is none, or no good one."""
    for element in packet.extensions:
        if element.id == identity:
            if len(element.data) != _MARK.size:
                raise MalformedError("rtp", f"bipartite extension of {len(element.data)} bytes")
            return Mark._make(_MARK.unpack(element.data))
    raise MalformedError("rtp", "no bipartite extension")


def extension_ids(description: SessionDescription) -> tuple[int | None, ...]:
    """By track: the extension's id, 1–14; ``None`` where a medium does not offer it."""
    return tuple(
        next(filter(None, map(_extension_id, described.media.values("extmap"))), None)
        for described in described_tracks(description)
    )


def _extension_id(value: str) -> int | None:
    identity, _, rest = value.strip().partition(" ")
    identity = identity.partition("/")[0]  # a direction may follow (RFC 8285 §8)
    if rest.split()[:1] != [URN] or not (identity.isascii() and identity.isdecimal()):
        return None
    return int(identity) if len(identity) < 3 and MIN_ID <= int(identity) <= MAX_ID else None


def ask_again(own: int, counts: Sequence[int]) -> App:
    """The packet that asks a node for 1–64 of its packets, by their ``Mark.sent``.

    ``own``: SSRC of who asks. Raises ``MalformedError`` for another number of counts.
    """
    if not 1 <= len(counts) <= MAX_ASKED:
        raise MalformedError("rtcp", f"asking for {len(counts)} packets")
    numbers = (count & 0xFFFFFFFF for count in counts)
    return App(APP_ASK, own, APP_NAME, pack(f"!{len(counts)}I", *numbers))


def asked_again(packet: App) -> tuple[int, ...] | None:
    """What a packet asks for; ``None`` if it is of another name or subtype.

    Raises ``MalformedError`` where it asks for nothing, too much, or half a number.
    """
    if packet.name != APP_NAME or packet.subtype != APP_ASK:
        return None
    count, rest = divmod(len(packet.data), 4)
    if rest or not 1 <= count <= MAX_ASKED:
        raise MalformedError("rtcp", f"asking for packets in {len(packet.data)} bytes")
    return unpack(f"!{count}I", packet.data)
