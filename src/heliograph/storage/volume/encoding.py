"""A volume's state as JSON, for the database and for each disk.

Reading is strict: what is missing, unknown or out of range is a ``MalformedError`` that names the
place, as ``disks[3].capacity``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from heliograph.model.errors import HelioError, MalformedError
from heliograph.model.media import check_channel_name
from heliograph.model.nodes import check_node_id
from heliograph.storage.placement.values import Added, LogicalDisk, Part, Removed, Table
from heliograph.storage.values import Code, DiskId, Scheme
from heliograph.storage.volume.state import (
    MAX_BEFORE,
    MAX_DISKS,
    DiskEntry,
    DiskState,
    Layout,
    Limits,
    VolumeState,
)

#: Bytes of a state: 1024 disks, and every change of them, have a tenth of it.
MAX_STATE = 4 << 20
#: Of the form, not of the volume.
FORMAT = 1

_PROTOCOL = "volume state"
_DISK = re.compile(r"[0-9a-f]{16}", re.ASCII)
_POLICY = re.compile(r"[a-z0-9-]{1,40}", re.ASCII)
_MAX_INT = (1 << 63) - 1
_MAX_SEED = (1 << 64) - 1
_MAX_OPERATIONS = 4096
_MAX_LOGICAL = 65_536
_MAX_PATH = 4096

T = TypeVar("T")


def encode(state: VolumeState) -> bytes:
    """A state as bytes; the same for the same state."""
    said = {
        "format": FORMAT,
        "name": state.name,
        "version": state.version,
        "scheme": {
            "data": state.scheme.data,
            "parity": state.scheme.parity,
            "code": state.scheme.code.value,
            "block": state.scheme.block,
        },
        "seed": state.seed,
        "limits": {"move": state.limits.move, "scrub": state.limits.scrub},
        "disks": [
            {
                "id": one.id,
                "node": one.node,
                "path": one.path,
                "capacity": one.capacity,
                "bandwidth": one.bandwidth,
                "state": one.state.value,
            }
            for one in state.disks
        ],
        "layout": _layout_said(state.layout),
        "before": [_layout_said(one) for one in state.before],
    }
    return json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def decode(data: bytes) -> VolumeState:
    """The state that bytes say, or ``MalformedError``."""
    if len(data) > MAX_STATE:
        raise MalformedError(_PROTOCOL, f"{len(data)} bytes are more than {MAX_STATE}")
    try:
        value = json.loads(data.decode("utf-8"), parse_constant=_refuse, object_pairs_hook=_pairs)
    except (ValueError, RecursionError) as error:
        raise MalformedError(_PROTOCOL, str(error)[:200]) from None
    root = _Field("", value)
    said = root.members(
        "format", "name", "version", "scheme", "seed", "limits", "disks", "layout", "before"
    )
    if said["format"].integer(0, _MAX_INT) != FORMAT:
        raise said["format"].wrong(f"this program reads {FORMAT}")
    disks = tuple(_disk(one) for one in said["disks"].items(MAX_DISKS))
    if len({one.id for one in disks}) != len(disks):
        raise said["disks"].wrong("a disk is there twice")
    layout = _layout(said["layout"])
    name = said["name"]
    state = VolumeState(
        name=name.made(lambda: check_channel_name(name.text())),
        version=said["version"].integer(1, _MAX_INT),
        scheme=_scheme(said["scheme"]),
        seed=said["seed"].integer(0, _MAX_SEED),
        policy=layout.policy,
        table=layout.table,
        stands=layout.stands,
        disks=disks,
        before=tuple(_layout(one) for one in said["before"].items(MAX_BEFORE)),
        limits=_limits(said["limits"]),
    )
    _whole(state, said["layout"])
    return state


def _whole(state: VolumeState, where: _Field) -> None:
    """Refuse a table that places on disks which are not there."""
    known = {one.id for one in state.disks}
    for disk in state.layout.disks:
        if disk not in known:
            raise where.wrong(f"disk {disk} is not one of the volume's")


def _scheme(found: _Field) -> Scheme:
    said = found.members("data", "parity", "code", "block")
    return found.made(
        lambda: Scheme(
            said["data"].integer(0, 1000),
            said["parity"].integer(0, 1000),
            said["code"].one_of(Code),
            said["block"].integer(0, _MAX_INT),
        )
    )


def _limits(found: _Field) -> Limits:
    said = found.members("move", "scrub")
    return Limits(said["move"].integer(1, _MAX_INT), said["scrub"].integer(0, _MAX_INT))


def _disk(found: _Field) -> DiskEntry:
    said = found.members("id", "node", "path", "capacity", "bandwidth", "state")
    node = said["node"]
    return DiskEntry(
        id=DiskId(said["id"].text(_DISK)),
        node=node.made(lambda: check_node_id(node.text())),
        path=said["path"].text(),
        capacity=said["capacity"].integer(1, _MAX_INT),
        bandwidth=said["bandwidth"].integer(1, _MAX_INT),
        state=said["state"].one_of(DiskState),
    )


def _layout_said(layout: Layout) -> dict[str, Any]:
    return {
        "policy": layout.policy,
        "operations": [_operation_said(one) for one in layout.table.operations],
        "stands": [list(one) for one in layout.stands],
    }


def _operation_said(operation: Added | Removed) -> dict[str, Any]:
    if isinstance(operation, Removed):
        return {"removed": list(operation.ids)}
    return {
        "added": [
            {"id": one.id, "parts": [[part.disk, part.share] for part in one.parts]}
            for one in operation.disks
        ]
    }


def _layout(found: _Field) -> Layout:
    said = found.members("policy", "operations", "stands")
    operations = tuple(_operation(one) for one in said["operations"].items(_MAX_OPERATIONS))
    table = said["operations"].made(lambda: Table(operations))
    # What the operations come to is part of what has to be right.
    said["operations"].made(lambda: table.disks)
    stands = tuple(_standing(one) for one in said["stands"].items(MAX_DISKS))
    if len({*(at for at, _ in stands)}) + len({*(one for _, one in stands)}) < 2 * len(stands):
        raise said["stands"].wrong("a disk is there twice")
    return Layout(said["policy"].text(_POLICY), table, stands)


def _standing(found: _Field) -> tuple[DiskId, DiskId]:
    pair = found.items(2)
    if len(pair) != 2:
        raise found.wrong("two disks are wanted")
    return DiskId(pair[0].text(_DISK)), DiskId(pair[1].text(_DISK))


def _operation(found: _Field) -> Added | Removed:
    if isinstance(found.value, dict) and "removed" in found.value:
        ids = found.members("removed")["removed"].items(_MAX_LOGICAL)
        numbers = tuple(one.integer(0, _MAX_INT) for one in ids)
        return found.made(lambda: Removed(numbers))
    disks = tuple(_logical(one) for one in found.members("added")["added"].items(_MAX_LOGICAL))
    return found.made(lambda: Added(disks))


def _logical(found: _Field) -> LogicalDisk:
    said = found.members("id", "parts")
    parts = tuple(_part(one) for one in said["parts"].items(MAX_DISKS))
    number = said["id"].integer(0, _MAX_INT)
    return found.made(lambda: LogicalDisk(number, parts))


def _part(found: _Field) -> Part:
    pair = found.items(2)
    if len(pair) != 2:
        raise found.wrong("a disk and its share are wanted")
    disk, share = DiskId(pair[0].text(_DISK)), pair[1].number(0.0, 1.0)
    return found.made(lambda: Part(disk, share))


@dataclass(frozen=True, slots=True)
class _Field:
    """A value of the document, and where it is."""

    where: str
    value: Any

    def wrong(self, reason: str) -> MalformedError:
        return MalformedError(_PROTOCOL, f"{self.where or 'document'}: {reason}")

    def members(self, *names: str) -> dict[str, _Field]:
        """Exactly these members of an object."""
        if not isinstance(self.value, dict):
            raise self.wrong("not an object")
        for name in names:
            if name not in self.value:
                raise self.wrong(f"{name} is missing")
        if len(self.value) != len(names):
            more = next(name for name in self.value if name not in names)
            raise self.wrong(f"{more[:40]!r} is unknown")
        prefix = f"{self.where}." if self.where else ""
        return {name: _Field(f"{prefix}{name}", self.value[name]) for name in names}

    def items(self, most: int) -> list[_Field]:
        if not isinstance(self.value, list):
            raise self.wrong("not a list")
        if len(self.value) > most:
            raise self.wrong(f"{len(self.value)} are more than {most}")
        return [_Field(f"{self.where}[{index}]", one) for index, one in enumerate(self.value)]

    def integer(self, least: int, most: int) -> int:
        if type(self.value) is not int:
            raise self.wrong("not an integer")
        if not least <= self.value <= most:
            raise self.wrong(f"not within {least} and {most}")
        return self.value

    def number(self, least: float, most: float) -> float:
        if type(self.value) not in (int, float):
            raise self.wrong("not a number")
        if not least <= self.value <= most or not math.isfinite(self.value):
            raise self.wrong(f"not within {least} and {most}")
        return float(self.value)

    def text(self, form: re.Pattern[str] | None = None) -> str:
        if not isinstance(self.value, str) or not 0 < len(self.value) <= _MAX_PATH:
            raise self.wrong(f"not a text of 1 to {_MAX_PATH} characters")
        if form is not None and not form.fullmatch(self.value):
            raise self.wrong(f"{self.value[:40]!r} has not the right form")
        if "\0" in self.value or not _writable(self.value):
            raise self.wrong("characters that no text has")
        return self.value

    def one_of(self, kind: Callable[[str], T]) -> T:
        try:
            return kind(self.text())
        except ValueError:
            raise self.wrong(f"{self.value[:40]!r} is unknown") from None

    def made(self, make: Callable[[], T]) -> T:
        """What ``make`` gives; what it refuses is told with the place."""
        try:
            return make()
        except MalformedError as error:
            if error.protocol == _PROTOCOL:
                raise
            raise self.wrong(error.reason) from None
        except HelioError as error:
            raise self.wrong(error.message) from None


def _writable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member is there twice")
    return found
