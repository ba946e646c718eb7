"""Reading bits, most significant first, as codecs' headers need it."""

from __future__ import annotations

from heliograph.model.errors import MalformedError


class BitReader:
    """A cursor over bits; raises ``MalformedError`` of ``protocol`` at the end."""

    __slots__ = ("_bits", "_protocol", "_value", "at")

    at: int
    """Bits read so far."""

    def __init__(self, data: bytes, protocol: str) -> None:
        self._value = int.from_bytes(data, "big")
        self._bits = 8 * len(data)
        self._protocol = protocol
        self.at = 0

    @property
    def left(self) -> int:
        """Bits not read yet."""
        return self._bits - self.at

    def u(self, bits: int) -> int:
        """An unsigned number of so many bits."""
        end = self.at + bits
        if end > self._bits:
            raise MalformedError(self._protocol, "header ends too soon", offset=self.at >> 3)
        self.at = end
        return self._value >> (self._bits - end) & ((1 << bits) - 1)

    def flag(self) -> bool:
        """One bit."""
        return self.u(1) == 1

    def ue(self) -> int:
        """An unsigned Exp-Golomb number (ITU-T H.264 §9.1), at most 32 bits."""
        zeros = 0
        while not self.u(1):
            zeros += 1
            if zeros > 32:
                raise MalformedError(self._protocol, "Exp-Golomb number above 32 bits")
        return (1 << zeros) - 1 + self.u(zeros)


def read_leb128(data: bytes, at: int, protocol: str) -> tuple[int, int]:
    """An AV1 ``leb128`` number (AV1 §4.10.5) at ``at``: its value and where it ends."""
    value = 0
    for index in range(8):
        if at + index >= len(data):
            raise MalformedError(protocol, "truncated leb128", offset=at)
        byte = data[at + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, at + index + 1
    raise MalformedError(protocol, "leb128 above eight bytes", offset=at)


def write_leb128(value: int) -> bytes:
    """``value`` in as few bytes as it needs."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
