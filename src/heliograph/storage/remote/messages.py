"""What storage nodes ask each other, and how errors are told: values and bytes.

Everything that comes from another node is checked here: what is not understood is a
``MalformedError``.
"""

from __future__ import annotations

import errno
import math
import re
import struct
from collections.abc import Iterable, Mapping
from typing import Any

from heliograph.model.errors import MalformedError
from heliograph.model.telling import MAX_TEXT, Teller
from heliograph.storage import errors as storage_errors
from heliograph.storage.disks.disk import Usage
from heliograph.storage.values import MAX_WIDTH, BlockKey, DiskId, ObjectId, check_object
from heliograph.storage.volume.stores import HeadHeld, Held

#: Seconds that a request may have at most.
MAX_TIME = 600.0

_PROTOCOL = "storage message"
_DISK = re.compile(r"[0-9a-f]{16}", re.ASCII)
_MAX_INT = (1 << 63) - 1
_HELD = struct.Struct(">8sQB")
_HEAD = struct.Struct(">8s16sQ")

_TELLER = Teller(
    _PROTOCOL,
    storage_errors,
    extras={"errno": int, "path": str},
    defaults={
        "DiskError": {"errno": errno.EIO, "path": ""},
        "CorruptError": {"reason": "", "path": ""},
    },
)
#: Errors as meta data, as another node may know them, and back.
error_told, error_read = _TELLER.tell, _TELLER.read


class Fields:
    """The meta data of a message, read with checks."""

    def __init__(self, meta: Mapping[str, Any]) -> None:
        self._meta = meta

    def integer(self, name: str, least: int = 0, most: int = _MAX_INT) -> int:
        """A whole number within bounds."""
        value = self._meta.get(name)
        if type(value) is not int or not least <= value <= most:
            raise MalformedError(_PROTOCOL, f"{name} is {str(value)[:40]!r}")
        return value

    def text(self, name: str) -> str:
        """A text of up to ``MAX_TEXT`` characters."""
        value = self._meta.get(name)
        if not isinstance(value, str) or len(value) > MAX_TEXT:
            raise MalformedError(_PROTOCOL, f"{name} is {str(value)[:40]!r}")
        return value

    def disk(self) -> DiskId:
        """The disk that is meant."""
        value = self.text("disk")
        if not _DISK.fullmatch(value):
            raise MalformedError(_PROTOCOL, f"disk is {value[:40]!r}")
        return DiskId(value)

    def object(self) -> ObjectId:
        """The object that is meant."""
        return check_object(self.text("object"))

    def key(self) -> BlockKey:
        """The member that is meant."""
        member = self.integer("member", 0, MAX_WIDTH - 1)
        return BlockKey(self.object(), self.integer("group"), member)

    def group(self) -> int | None:
        """The group that is meant, if one is."""
        return None if self._meta.get("group") is None else self.integer("group")

    def lengths(self) -> tuple[int, ...]:
        """Bytes of a group's data members."""
        value = self._meta.get("lengths", [])
        if not isinstance(value, list) or len(value) > MAX_WIDTH:
            raise MalformedError(_PROTOCOL, "lengths are no short list")
        for one in value:
            if type(one) is not int or not 0 <= one < 1 << 32:
                raise MalformedError(_PROTOCOL, f"a length is {str(one)[:40]!r}")
        return tuple(value)

    def flag(self, name: str) -> bool:
        """True or false; false where it is not there."""
        value = self._meta.get(name, False)
        if not isinstance(value, bool):
            raise MalformedError(_PROTOCOL, f"{name} is {str(value)[:40]!r}")
        return value

    def deadline(self, now: float) -> float | None:
        """As ``Store.get`` wants it, from the milliseconds that are left."""
        if self.flag("background"):
            return math.inf
        value = self._meta.get("ms")
        if value is None:
            return None
        return now + self.integer("ms", 0, int(MAX_TIME * 1000)) / 1000


def deadline_told(deadline: float | None, now: float) -> dict[str, Any]:
    """A deadline as meta data."""
    if deadline is None:
        return {}
    if math.isinf(deadline):
        return {"background": True}
    return {"ms": int(min(max(0.0, deadline - now), MAX_TIME) * 1000)}


def key_told(disk: DiskId, key: BlockKey) -> dict[str, Any]:
    """A member of a disk as meta data."""
    return {"disk": disk, "object": key.object, "group": key.group, "member": key.member}


def held_told(found: Iterable[Held]) -> bytes:
    """A listing of members."""
    return b"".join(_HELD.pack(bytes.fromhex(one.disk), one.group, one.member) for one in found)


def held_read(data: bytes) -> tuple[Held, ...]:
    """A listing of members that came."""
    if len(data) % _HELD.size:
        raise MalformedError(_PROTOCOL, f"a listing of {len(data)} bytes")
    return tuple(
        Held(DiskId(disk.hex()), group, member) for disk, group, member in _HELD.iter_unpack(data)
    )


def heads_told(found: Iterable[HeadHeld]) -> bytes:
    """A listing of heads."""
    return b"".join(
        _HEAD.pack(bytes.fromhex(one.disk), bytes.fromhex(one.object), one.serial) for one in found
    )


def heads_read(data: bytes) -> tuple[HeadHeld, ...]:
    """A listing of heads that came."""
    if len(data) % _HEAD.size:
        raise MalformedError(_PROTOCOL, f"a listing of {len(data)} bytes")
    return tuple(
        HeadHeld(DiskId(disk.hex()), ObjectId(object.hex()), serial)
        for disk, object, serial in _HEAD.iter_unpack(data)
    )


def usage_told(found: Mapping[DiskId, Usage]) -> dict[str, Any]:
    """How full disks are, as meta data."""
    return {disk: [one.capacity, one.used, one.free, one.blocks] for disk, one in found.items()}


def usage_read(meta: Mapping[str, Any]) -> dict[DiskId, Usage]:
    """The same as it came."""
    found: dict[DiskId, Usage] = {}
    for disk, numbers in meta.items():
        if not (_DISK.fullmatch(disk) and isinstance(numbers, list) and len(numbers) == 4):
            raise MalformedError(_PROTOCOL, "a usage that is none")
        if not all(type(one) is int for one in numbers):
            raise MalformedError(_PROTOCOL, "a usage that is none")
        found[DiskId(disk)] = Usage(*numbers)
    return found
