"""What the active manager tells a unit to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from heliograph.manager import transitions as t
from heliograph.manager.wire.fields import (
    MAX_GROUPS,
    MAX_NAME,
    MAX_PLACES,
    MAX_SECONDS,
    Fields,
    Json,
)
from heliograph.model.errors import MalformedError

ORDERS = "unit.orders"
#: Orders in one request: those of a unit that is drained with all it has.
MAX_ORDERS = 1000


@dataclass(frozen=True, slots=True)
class Orders:
    """Some orders to one unit, to be carried out one after the other."""

    epoch: int
    """Of the lease of the manager that gives them."""
    serial: int
    """Of the last of them."""
    orders: tuple[t.Transition, ...]


def orders_json(orders: Orders, now: float) -> Json:
    """Orders as they are sent; ``now``: the time they count theirs from."""
    return {
        "epoch": orders.epoch,
        "serial": orders.serial,
        "orders": [order_json(one, now) for one in orders.orders],
    }


def parse_orders(value: Json, now: float) -> Orders:
    """Orders that came; their times count from ``now``; ``MalformedError`` where they are none."""
    fields = Fields(ORDERS, value)
    return Orders(
        fields.whole("epoch"),
        fields.whole("serial"),
        tuple(parse_order(one, now) for one in fields.list("orders", MAX_ORDERS)),
    )


def order_json(order: t.Transition, now: float) -> Json:
    """One order, one of ``transitions.ORDERS``."""
    match order:
        case t.ChangeState(unit, state):
            return {"kind": "change-state", "unit": unit, "state": state.value}
        case t.CloseChannel(channel):
            # Whom else it concerns is nothing to whoever is told.
            return {"kind": "close", "channel": channel}
        case t.Ingest(channel, unit):
            return {"kind": "ingest", "channel": channel, "unit": unit}
        case t.MoveIngest(channel, source, target, expires):
            return {
                "kind": "move-ingest",
                "channel": channel,
                "source": source,
                "target": target,
                "expires_in": max(0.0, min(expires - now, MAX_SECONDS)),
            }
        case t.Link(channel, unit, parent):
            return {"kind": "link", "channel": channel, "unit": unit, "parent": parent}
        case t.Unlink(channel, unit):
            return {"kind": "unlink", "channel": channel, "unit": unit}
        case t.Grant(channel, unit, index, places, by_hand=by_hand):
            return {
                "kind": "grant",
                "channel": channel,
                "unit": unit,
                "index": index,
                "places": places,
                "by_hand": by_hand,
            }
        case t.Revoke(channel, unit, index):
            return {"kind": "revoke", "channel": channel, "unit": unit, "index": index}
        case t.MoveViewers(id, channel, source_group, target_group, count, expires):
            return {
                "kind": "move-viewers",
                "id": id,
                "channel": channel,
                "source": list(source_group),
                "target": list(target_group),
                "count": count,
                "expires_in": max(0.0, min(expires - now, MAX_SECONDS)),
            }
    raise MalformedError(ORDERS, f"{type(order).__name__} is no order")


def parse_order(value: Json, now: float) -> t.Transition:
    """One order; ``MalformedError`` where it is none."""
    fields = Fields(ORDERS, value)
    kind = fields.text("kind", MAX_NAME)
    parse = _ORDERS.get(kind)
    if parse is None:
        raise MalformedError(ORDERS, f"no order is called {kind[:40]!r}")
    return parse(fields, now)


def _move_viewers(fields: Fields, now: float) -> t.MoveViewers:
    return t.MoveViewers(
        fields.id("id"),
        fields.channel("channel"),
        fields.group("source"),
        fields.group("target"),
        fields.whole("count", MAX_PLACES),
        now + fields.seconds("expires_in"),
    )


_ORDERS: Mapping[str, Callable[[Fields, float], t.Transition]] = {
    "change-state": lambda f, now: t.ChangeState(f.unit("unit"), f.state("state")),
    "close": lambda f, now: t.CloseChannel(f.channel("channel")),
    "ingest": lambda f, now: t.Ingest(f.channel("channel"), f.unit("unit")),
    "move-ingest": lambda f, now: t.MoveIngest(
        f.channel("channel"), f.unit("source"), f.unit("target"), now + f.seconds("expires_in")
    ),
    "link": lambda f, now: t.Link(f.channel("channel"), f.unit("unit"), f.unit("parent")),
    "unlink": lambda f, now: t.Unlink(f.channel("channel"), f.unit("unit")),
    "grant": lambda f, now: t.Grant(
        f.channel("channel"),
        f.unit("unit"),
        f.whole("index", MAX_GROUPS),
        f.whole("places", MAX_PLACES, least=1),
        now,
        f.truth("by_hand", False),
    ),
    "revoke": lambda f, now: t.Revoke(
        f.channel("channel"), f.unit("unit"), f.whole("index", MAX_GROUPS)
    ),
    "move-viewers": _move_viewers,
}
