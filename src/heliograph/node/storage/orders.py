"""What can be ordered of a volume, as it crosses the bus and reaches the database. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from heliograph.bus.wire import Json
from heliograph.model.errors import MalformedError
from heliograph.model.nodes import NodeId
from heliograph.storage.values import Code, DiskId, Scheme
from heliograph.storage.volume.state import DiskEntry, Limits, VolumeState


def disk_json(entry: DiskEntry) -> dict[str, Json]:
    """A disk as orders name it."""
    return {
        "id": entry.id,
        "node": entry.node,
        "path": entry.path,
        "capacity": entry.capacity,
        "bandwidth": entry.bandwidth,
    }


def disk_of(value: Json) -> DiskEntry:
    """The opposite; ``MalformedError``."""
    found = value if isinstance(value, dict) else {}
    return DiskEntry(
        DiskId(_text(found, "id")),
        NodeId(_text(found, "node")),
        _text(found, "path", 4096),
        _number(found, "capacity"),
        _number(found, "bandwidth"),
    )


def create(name: str, order: Mapping[str, Any]) -> VolumeState:
    """The state of a new volume."""
    from heliograph.storage.volume import changes

    scheme = Scheme(
        _number(order, "data"),
        _number(order, "parity"),
        _code(_text(order, "code")),
        _number(order, "block"),
    )
    return changes.create(
        name,
        scheme,
        [disk_of(one) for one in _list(order, "disks")],
        policy=_policy(order),
        seed=_number(order, "seed"),
    )


def apply(state: VolumeState, order: Mapping[str, Any]) -> VolumeState:
    """The state after an order; ``MalformedError`` for what is none, and what ``changes`` raise."""
    from heliograph.storage.volume import changes  # takes a while to load

    match _text(order, "do"):
        case "add":
            return changes.add_disks(state, [disk_of(one) for one in _list(order, "disks")])
        case "remove":
            return changes.remove_disks(state, _disks(order))
        case "fail":
            return changes.fail_disks(state, _disks(order))
        case "replace":
            old = DiskId(_text(order, "old"))
            return changes.replace_disk(state, old, disk_of(order.get("disk")))
        case "limits":
            return changes.set_limits(state, _limits(state, order))
        case "policy":
            return changes.set_policy(state, _policy(order))
        case "settled":
            return changes.settled(state, _number(order, "version"))
        case what:
            raise MalformedError("order", f"{what!r} is none")


def _limits(state: VolumeState, order: Mapping[str, Any]) -> Limits:
    move, scrub = order.get("move"), order.get("scrub")
    old = state.limits
    return Limits(
        old.move if move is None else _number(order, "move"),
        old.scrub if scrub is None else _number(order, "scrub"),
    )


def _disks(order: Mapping[str, Any]) -> list[DiskId]:
    return [DiskId(str(one)) for one in _list(order, "disks")]


def _text(found: Mapping[str, Any], name: str, most: int = 64) -> str:
    value = found.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= most:
        raise MalformedError("order", f"no {name}")
    return value


def _number(found: Mapping[str, Any], name: str) -> int:
    value = found.get(name)
    if type(value) is not int or not 0 <= value < 1 << 64:
        raise MalformedError("order", f"no {name}")
    return value


def _list(found: Mapping[str, Any], name: str) -> list[Any]:
    value = found.get(name)
    if not isinstance(value, list):
        raise MalformedError("order", f"no {name}")
    return value


def _code(text: str) -> Code:
    try:
        return Code(text)
    except ValueError:
        raise MalformedError("order", f"{text!r} is no code") from None


def _policy(order: Mapping[str, Any]) -> str:
    from heliograph.storage.placement import DEFAULT, POLICIES

    policy = order.get("policy") or DEFAULT
    if policy not in POLICIES:
        raise MalformedError("order", f"{policy!r} is none of {', '.join(POLICIES)}")
    return str(policy)
