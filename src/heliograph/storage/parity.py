"""Redundant members of a parity group: made from the data, and the data made from them.

Members shorter than the longest of their group count as padded with zeros; members that a short
last group lacks count as empty. Both calls leave other threads running meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import zfec

from heliograph.model.errors import MalformedError
from heliograph.storage.errors import CorruptError, LostError
from heliograph.storage.values import Code, Scheme

Buffer = bytes | bytearray | memoryview


def encode(scheme: Scheme, payloads: Sequence[Buffer]) -> list[bytes]:
    """The redundant members of a group with these data members (1 to k), each as long as the
    longest of them."""
    if not 1 <= len(payloads) <= scheme.data:
        raise MalformedError("group", f"{len(payloads)} data members (1 to {scheme.data})")
    if not scheme.parity:
        return []
    longest = max(len(one) for one in payloads)
    if scheme.code is Code.COPIES or not longest:
        return [bytes(payloads[0])] * scheme.parity
    if scheme.code is Code.XOR:
        return [_sum(payloads, longest)]
    padded = [_padded(one, longest) for one in payloads]
    padded += [bytes(longest)] * (scheme.data - len(padded))
    coded = _encoder(scheme).encode(tuple(padded), tuple(range(scheme.data, scheme.width)))
    return [bytes(one) for one in coded]


def decode(
    scheme: Scheme, members: Mapping[int, Buffer], lengths: Sequence[int], wanted: Sequence[int]
) -> dict[int, bytes]:
    """The members ``wanted``, data or redundant, from those at hand.

    ``lengths`` are bytes of the data members, as each redundant member's header tells them; those
    that a short group lacks may be left out. ``CorruptError``: a member has another length.
    ``LostError``: too few members.
    """
    data, longest = _checked(scheme, members, lengths, wanted)
    known: dict[int, Buffer] = {
        number: b"" for number in range(len(lengths), data) if number not in members
    }
    known.update(members)
    missing = [number for number in wanted if number not in known]
    if missing and len(known) < data:
        raise LostError(f"members {missing} of a group cannot be made from {sorted(members)}")
    made: dict[int, bytes] = {}
    lost = [number for number in range(data) if number not in known]
    if lost and missing:
        for number, payload in _solve(scheme, known, longest, lost).items():
            made[number] = payload[: lengths[number]]
    if any(number >= data for number in missing):
        whole = [known[number] if number in known else made[number] for number in range(data)]
        made.update(enumerate(encode(scheme, whole), data))
    return {number: made[number] if number in made else bytes(known[number]) for number in wanted}


def _checked(
    scheme: Scheme, members: Mapping[int, Buffer], lengths: Sequence[int], wanted: Sequence[int]
) -> tuple[int, int]:
    """Data members of the group, and the longest of them."""
    if not 1 <= len(lengths) <= scheme.data or min(lengths) < 0:
        raise MalformedError("group", f"lengths {list(lengths)[:32]} for {scheme.data} members")
    longest = max(lengths)
    for number in (*members, *wanted):
        if not 0 <= number < scheme.width:
            raise MalformedError("group", f"member {number} of {scheme.width}")
    for number, payload in members.items():
        at = lengths[number] if number < len(lengths) else 0
        expected = at if number < scheme.data else longest
        if len(payload) != expected:
            reason = f"has {len(payload)} bytes instead of {expected}"
            raise CorruptError(reason, path=f"member {number}")
    return scheme.data, longest


def _solve(
    scheme: Scheme, known: Mapping[int, Buffer], longest: int, lost: Sequence[int]
) -> dict[int, bytes]:
    """The data members that were lost, padded to the longest."""
    if scheme.code is Code.COPIES:
        return {0: bytes(next(iter(known.values())))}
    if scheme.code is Code.XOR:
        return {lost[0]: _sum(list(known.values()), longest)}
    # Data members first, each at its own place: the library then computes the lost ones alone.
    chosen = sorted(known)[: scheme.data]
    blocks = tuple(_padded(known[number], longest) for number in chosen)
    solved = _decoder(scheme).decode(blocks, tuple(chosen))
    return {number: bytes(solved[number]) for number in lost}


def _sum(payloads: Sequence[Buffer], longest: int) -> bytes:
    """Sum of all in GF(2), without making padded copies."""
    total = np.zeros(longest, np.uint8)
    for payload in payloads:
        into = total[: len(payload)]
        np.bitwise_xor(into, np.frombuffer(payload, np.uint8), out=into)
    return total.tobytes()


def _padded(payload: Buffer, length: int) -> Buffer:
    return payload if len(payload) == length else bytes(payload).ljust(length, b"\0")


@lru_cache(64)
def _encoder(scheme: Scheme) -> zfec.Encoder:
    return zfec.Encoder(scheme.data, scheme.width)


@lru_cache(64)
def _decoder(scheme: Scheme) -> zfec.Decoder:
    return zfec.Decoder(scheme.data, scheme.width)
