"""ICMP echo as bytes: checksums, replies, refusals, and whatever else may come."""

from __future__ import annotations

import contextlib
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.model.errors import MalformedError
from heliograph.protocols import icmp

#: As Linux 6.x sent them on its loopback, with the headers of IP: a request and a reply of IPv4 and
#: of IPv6, checksums by the kernel, and its error for a datagram to a closed port.
V4_REQUEST = bytes.fromhex(
    "450000272ac640004001120e7f0000017f0000010800633d4cc1000168656c696f677261706821"
)
V4_REPLY = bytes.fromhex(
    "450000272ac700004001520d7f0000017f00000100006b3d4cc1000168656c696f677261706821"
)
V6_REQUEST = bytes.fromhex(
    "600f205100133a4000000000000000000000000000000001000000000000000000000000000000018000eaec4cc2"
    "000168656c696f677261706821"
)
V6_REPLY = bytes.fromhex(
    "600477f100133a4000000000000000000000000000000001000000000000000000000000000000018100e9ec4cc2"
    "000168656c696f677261706821"
)
V4_CLOSED_PORT = bytes.fromhex(
    "45c000392ac800004001513a7f0000017f0000010303f422000000004500001dda3b4000401162927f0000017f00"
    "000192aa00090009fe1c78"
)
REQUEST, REPLY = V4_REQUEST[20:], V4_REPLY[20:]
DATA = b"heliograph!"


def v4(payload: bytes, protocol: int = 1, options: bytes = b"") -> bytes:
    head = 0x45 + len(options) // 4
    return pack(
        "!BBHHHBBH4s4s", head, 0, 0, 0, 0, 64, protocol, 0, b"\x7f\0\0\1", b"\x7f\0\0\1"
    ) + (options + payload)


def v6(payload: bytes, next_header: int = 58) -> bytes:
    return pack("!IHBB", 6 << 28, len(payload), next_header, 64) + b"\0" * 32 + payload


def with_checksum(message: bytes) -> bytes:
    return (
        message[:2] + pack("!H", icmp.checksum(message[:2] + b"\0\0" + message[4:])) + message[4:]
    )


def test_requests_are_as_the_kernel_makes_them() -> None:
    assert icmp.echo_request(0x4CC1, 1, DATA) == REQUEST
    # The checksum of IPv6 is left to the kernel.
    ours = icmp.echo_request(0x4CC2, 1, DATA, v6=True)
    assert (ours[:2], ours[2:4], ours[4:]) == (V6_REQUEST[40:42], b"\0\0", V6_REQUEST[44:])


def test_replies_of_the_kernel_are_read() -> None:
    assert icmp.parse(V4_REPLY, ip_header=True) == icmp.Reply(0x4CC1, 1, DATA)
    assert icmp.parse(REPLY) == icmp.Reply(0x4CC1, 1, DATA)
    assert icmp.parse(v4(REPLY, options=bytes(8)), ip_header=True) == icmp.Reply(0x4CC1, 1, DATA)
    assert icmp.parse(V6_REPLY[40:], v6=True) == icmp.Reply(0x4CC2, 1, DATA)


def test_request_of_our_own_is_no_answer() -> None:
    assert icmp.parse(V4_REQUEST, ip_header=True) is None
    assert icmp.parse(V6_REQUEST[40:], v6=True) is None


@pytest.mark.parametrize("bit", range(8 * len(REPLY)))
def test_single_wrong_bit_is_noticed(bit: int) -> None:
    data = bytearray(REPLY)
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises(MalformedError, match="checksum"):
        icmp.parse(bytes(data))


def test_refusal_tells_which_request_was_refused() -> None:
    error = with_checksum(b"\x03\x01\0\0\0\0\0\0" + v4(REQUEST))
    assert icmp.parse(v4(error), ip_header=True) == icmp.Refusal(0x4CC1, 1, 1)
    asked = icmp.echo_request(7, 9, b"", v6=True)
    error = b"\x01\x03\0\0\0\0\0\0" + v6(asked)
    assert icmp.parse(error, v6=True) == icmp.Refusal(7, 9, 3)


def test_refusal_of_something_else_is_of_no_interest() -> None:
    assert icmp.parse(V4_CLOSED_PORT, ip_header=True) is None
    assert icmp.parse(b"\x01\x04\0\0\0\0\0\0" + v6(bytes(8), 17), v6=True) is None


@given(st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.binary(max_size=64))
def test_reply_to_any_request_is_read(id: int, seq: int, data: bytes) -> None:
    request = icmp.echo_request(id, seq, data)
    reply = with_checksum(b"\0\0" + request[2:])
    assert icmp.parse(v4(reply), ip_header=True) == icmp.Reply(id, seq, data)


@given(st.binary(max_size=200), st.booleans(), st.booleans())
def test_any_bytes_give_a_value_or_a_stated_error(data: bytes, v6: bool, header: bool) -> None:
    with contextlib.suppress(MalformedError):
        icmp.parse(data, v6=v6, ip_header=header and not v6)


def test_long_message_is_refused() -> None:
    with pytest.raises(MalformedError):
        icmp.parse(bytes(icmp.MAX_MESSAGE + 1))
