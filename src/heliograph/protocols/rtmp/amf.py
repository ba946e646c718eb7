"""AMF0, and as much of AMF3 as commands need (Adobe, *Action Message Format* 0 and 3).

Values become Python's: numbers ``float`` (AMF3 integers too), objects and ECMA arrays ``dict``,
strict arrays ``list``, dates milliseconds; null, undefined, numbers that are not finite and what is
not supported ``None``.
References to objects are given as ``None``: no client met here sends any in a command, and
following them would let a few bytes stand for a cycle.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from heliograph.model.errors import MalformedError, TooLargeError

AmfValue: TypeAlias = "bool | float | str | bytes | list[AmfValue] | dict[str, AmfValue] | None"

#: Objects within objects; connect and onMetaData have two or three levels.
MAX_DEPTH = 8
#: Values of one message, nested ones counted; OBS's onMetaData has about 30.
MAX_VALUES = 2048

# AMF0 §2.1
_NUMBER, _BOOLEAN, _STRING, _OBJECT, _MOVIE, _NULL, _UNDEFINED, _REFERENCE = range(8)
_ECMA, _END, _STRICT, _DATE, _LONG, _UNSUPPORTED, _RECORDS, _XML, _TYPED, _AMF3 = range(8, 18)


class _Reader:
    """Bytes, a cursor, and the budget of one message."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self._values = 0
        self._strings: list[str] = []
        self._traits: list[tuple[list[str], bool]] = []

    def take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self.data):
            raise self.malformed("ends too soon")
        found = self.data[self.at : end]
        self.at = end
        return found

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def double(self) -> float | None:
        value: float = struct.unpack(">d", self.take(8))[0]
        return value if math.isfinite(value) else None

    def text(self, size: int) -> str:
        return self.take(size).decode("utf-8", "replace")

    def malformed(self, reason: str) -> MalformedError:
        return MalformedError("amf", reason, offset=self.at)

    def _count(self, depth: int) -> None:
        self._values += 1
        if depth > MAX_DEPTH or self._values > MAX_VALUES:
            raise TooLargeError(
                f"amf: above {MAX_DEPTH} levels or {MAX_VALUES} values", subject="amf"
            )

    # --- AMF0 ---------------------------------------------------------------------------------

    def value(self, depth: int = 0) -> AmfValue:
        self._count(depth)
        marker = self.number(1)
        if marker in (_OBJECT, _ECMA, _STRICT, _TYPED):
            return self._container(marker, depth)
        match marker:
            case 0x00:
                return self.double()
            case 0x01:
                return self.number(1) != 0
            case 0x02:
                return self.text(self.number(2))
            case 0x05 | 0x06 | 0x0D:
                return None
            case 0x07:
                self.take(2)
                return None
            case 0x0B:
                stamp = self.double()
                self.take(2)
                return stamp
            case 0x0C | 0x0F:
                return self.text(self.number(4))
            case 0x11:
                return self.value3(depth)
        raise self.malformed(f"marker {marker}")

    def _container(self, marker: int, depth: int) -> AmfValue:
        if marker == _STRICT:
            return [self.value(depth + 1) for _ in range(self._length(self.number(4)))]
        if marker == _ECMA:
            self.take(4)  # a hint of the length that many encoders get wrong
        elif marker == _TYPED:
            self.take(self.number(2))
        return self._members(depth)

    def _length(self, count: int) -> int:
        if count > len(self.data) - self.at:  # each element has at least a byte
            raise self.malformed("an array longer than its message")
        return count

    def _members(self, depth: int) -> dict[str, AmfValue]:
        members: dict[str, AmfValue] = {}
        while True:
            name = self.text(self.number(2))
            if not name and self.data[self.at : self.at + 1] == bytes((_END,)):
                self.at += 1
                return members
            # Some encoders end an ECMA array by the end of the message.
            members[name] = self.value(depth + 1)
            if self.at == len(self.data):
                return members

    # --- AMF3 ---------------------------------------------------------------------------------

    def _u29(self) -> int:
        value = 0
        for index in range(4):
            byte = self.number(1)
            if index == 3:
                return value << 8 | byte
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                break
        return value

    def _text3(self) -> str:
        head = self._u29()
        if not head & 1:
            if head >> 1 >= len(self._strings):
                raise self.malformed("reference to a string that is not there")
            return self._strings[head >> 1]
        text = self.text(head >> 1)
        if text:
            self._strings.append(text)
        return text

    def value3(self, depth: int = 0) -> AmfValue:
        """A value in AMF3."""
        self._count(depth)
        marker = self.number(1)
        match marker:
            case 0x00 | 0x01:
                return None
            case 0x02 | 0x03:
                return marker == 0x03
            case 0x04:
                value = self._u29()
                return float(value - (1 << 29) if value >= 1 << 28 else value)
            case 0x05:
                return self.double()
            case 0x06:
                return self._text3()
        if not 0x07 <= marker <= 0x0C:
            raise self.malformed(f"AMF3 marker {marker}")
        head = self._u29()
        if not head & 1:  # a reference to an object
            return None
        match marker:
            case 0x08:
                return self.double()
            case 0x09:
                return self._array3(head >> 1, depth)
            case 0x0A:
                return self._object3(head >> 1, depth)
            case 0x0C:
                return self.take(head >> 1)
        return self.text(head >> 1)  # XML

    def _array3(self, count: int, depth: int) -> AmfValue:
        named = self._named3(depth)
        dense = [self.value3(depth + 1) for _ in range(self._length(count))]
        if not named:
            return dense
        named.update((str(index), value) for index, value in enumerate(dense))
        return named

    def _named3(self, depth: int) -> dict[str, AmfValue]:
        members: dict[str, AmfValue] = {}
        while name := self._text3():
            members[name] = self.value3(depth + 1)
        return members

    def _object3(self, head: int, depth: int) -> AmfValue:
        if not head & 1:
            if head >> 1 >= len(self._traits):
                raise self.malformed("reference to traits that are not there")
            names, dynamic = self._traits[head >> 1]
        elif head & 2:
            raise self.malformed("an externalizable object")
        else:
            dynamic = bool(head & 4)
            self._text3()  # the class
            names = []
            for _ in range(self._length(head >> 3)):
                self._count(depth)
                names.append(self._text3())
            self._traits.append((names, dynamic))
        members = {name: self.value3(depth + 1) for name in names}
        if dynamic:
            members.update(self._named3(depth))
        return members


def decode(data: bytes) -> list[AmfValue]:
    """All values of an AMF0 message. Raises ``MalformedError`` or ``TooLargeError``."""
    reader = _Reader(data)
    values = []
    while reader.at < len(data):
        values.append(reader.value())
    return values


def encode(*values: object) -> bytes:
    """Values as AMF0: numbers, booleans, text, ``None``, mappings (as objects) and sequences.

    Raises ``TypeError`` for anything else.
    """
    out = bytearray()
    for value in values:
        _write(out, value)
    return bytes(out)


class EcmaArray(dict[str, object]):
    """A mapping to be written as an ECMA array, as onMetaData is."""


def _write(out: bytearray, value: object) -> None:
    match value:
        case None:
            out.append(_NULL)
        case bool():
            out += bytes((_BOOLEAN, value))
        case int() | float():
            out.append(_NUMBER)
            out += struct.pack(">d", value)
        case str():
            text = value.encode("utf-8", "replace")
            if len(text) > 0xFFFF:
                out.append(_LONG)
                out += len(text).to_bytes(4, "big")
            else:
                out.append(_STRING)
                out += len(text).to_bytes(2, "big")
            out += text
        case Mapping():
            if isinstance(value, EcmaArray):
                out.append(_ECMA)
                out += len(value).to_bytes(4, "big")
            else:
                out.append(_OBJECT)
            for name, member in value.items():
                key = str(name).encode("utf-8", "replace")[:0xFFFF]
                out += len(key).to_bytes(2, "big") + key
                _write(out, member)
            out += bytes((0, 0, _END))
        case Sequence() if not isinstance(value, bytes | bytearray):
            out.append(_STRICT)
            out += len(value).to_bytes(4, "big")
            for member in value:
                _write(out, member)
        case _:
            raise TypeError(f"no AMF0 for {type(value).__name__}")
