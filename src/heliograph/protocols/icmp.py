"""ICMP echo of IPv4 (RFC 792) and IPv6 (RFC 4443): requests, replies, and refusals of routers."""

from __future__ import annotations

from dataclasses import dataclass
from struct import pack, pack_into, unpack_from
from typing import TypeAlias

from heliograph.model.errors import MalformedError

#: RFC 792: echo reply, destination unreachable, echo request.
ECHO_REPLY, UNREACHABLE, ECHO_REQUEST = 0, 3, 8
#: RFC 4443 §3.1, §4.1, §4.2: the same three.
V6_UNREACHABLE, V6_ECHO_REQUEST, V6_ECHO_REPLY = 1, 128, 129
#: Bytes of the header of an echo message, and of an error.
HEADER = 8
#: RFC 791 §3.1: bytes of an IPv4 header without options; RFC 8200 §3: of an IPv6 header.
V4_HEADER, V6_HEADER = 20, 40
#: RFC 791, RFC 8200: the numbers of ICMP among the protocols above IP.
PROTOCOL, V6_PROTOCOL = 1, 58
#: An echo message that is longer is none of ours.
MAX_MESSAGE = 1500


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to an echo request."""

    id: int
    """As in the request; kernels set it themselves on sockets for datagrams."""
    seq: int
    """As in the request, 0 to 65535."""
    data: bytes
    """As in the request."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A router, or the host itself, says that an echo request cannot be delivered."""

    id: int
    seq: int
    code: int
    """Why: 0 no route to the network, 1 the host does not answer, others are in the RFCs."""


Message: TypeAlias = Reply | Refusal


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of some bytes; 0 over a message that carries its own."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(unpack_from(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def echo_request(id: int, seq: int, data: bytes, *, v6: bool = False) -> bytes:
    """A request. The checksum of IPv6 is over the addresses too: kernels fill it in (RFC 3542)."""
    kind = V6_ECHO_REQUEST if v6 else ECHO_REQUEST
    message = bytearray(pack("!BBHHH", kind, 0, 0, id, seq) + data)
    if not v6:
        pack_into("!H", message, 2, checksum(bytes(message)))
    return bytes(message)


def parse(data: bytes, *, v6: bool = False, ip_header: bool = False) -> Message | None:
    """A message as it came; None for one of no interest here.

    ``ip_header``: whether the header of IPv4 is before it, as raw sockets give it.
    ``MalformedError`` for what is cut, too long, or has a wrong checksum; that of IPv6 the kernel
    has checked.
    """
    if len(data) > MAX_MESSAGE:
        raise MalformedError("icmp", f"{len(data)} bytes")
    if ip_header:
        data = _beyond_v4(data, PROTOCOL)
    if len(data) < HEADER:
        raise MalformedError("icmp", "cut", offset=len(data))
    if not v6 and checksum(data):
        raise MalformedError("icmp", "wrong checksum", offset=2)
    kind, code, _, id, seq = unpack_from("!BBHHH", data)
    if kind == (V6_ECHO_REPLY if v6 else ECHO_REPLY):
        return Reply(id, seq, data[HEADER:])
    if kind == (V6_UNREACHABLE if v6 else UNREACHABLE):
        return _refusal(data[HEADER:], code, v6)
    return None


def _refusal(original: bytes, code: int, v6: bool) -> Refusal | None:
    """What an error is about: the beginning of the packet that caused it."""
    if not v6:
        inner, wanted = _beyond_v4(original, None), ECHO_REQUEST
        if len(original) >= V4_HEADER and original[9] != PROTOCOL:
            return None
    else:
        if len(original) < V6_HEADER or original[6] != V6_PROTOCOL:
            return None  # cut, of another protocol, or with extensions, which we do not send
        inner, wanted = original[V6_HEADER:], V6_ECHO_REQUEST
    if len(inner) < HEADER or inner[0] != wanted:
        return None
    id, seq = unpack_from("!HH", inner, 4)
    return Refusal(id, seq, code)


def _beyond_v4(data: bytes, protocol: int | None) -> bytes:
    if len(data) < V4_HEADER or data[0] >> 4 != 4:
        raise MalformedError("icmp", "no header of IPv4", offset=0)
    length = (data[0] & 15) * 4
    if length < V4_HEADER or length > len(data):
        raise MalformedError("icmp", "header of IPv4 cut", offset=0)
    if protocol is not None and data[9] != protocol:
        raise MalformedError("icmp", "another protocol", offset=9)
    return data[length:]
