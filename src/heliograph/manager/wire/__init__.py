"""What managers, units and portals tell each other on the bus, as plain values of JSON.

::

    unit/report      topic     a unit says what it runs: ``Report``
    unit.orders      request   the active manager tells a unit what to do: ``Orders``
    manager.join     request   a portal asks for a place: ``Asked``, answered by a ``Seat``
    manager.command  request   somebody orders something: ``Command``
    manager.view     request   the whole cluster, as ``describe`` has it
    manager.closed   request   names of the channels that are closed
    manager/view     topic     the same as ``manager.view``, when something changed
    manager/progress topic     how far a command is

Clocks of two machines have nothing to do with each other: times are sent as seconds from now, or
not at all, and whoever reads them gives its own time. Who sent something is what the bus says.
Whatever is not understood, or is longer than anything that is meant, is a ``MalformedError``;
members that are not known are left alone, as a later version may send them.
"""

from heliograph.manager.wire.asking import (
    COMMAND,
    JOIN,
    MAX_TEXT,
    Asked,
    Command,
    Seat,
    asked_json,
    command_json,
    parse_asked,
    parse_command,
    parse_seat,
    seat_json,
)
from heliograph.manager.wire.closing import CLOSED, closed_json, parse_closed, version_of
from heliograph.manager.wire.fields import MAX_ITEMS, Json
from heliograph.manager.wire.orders import (
    MAX_ORDERS,
    ORDERS,
    Orders,
    order_json,
    orders_json,
    parse_order,
    parse_orders,
)
from heliograph.manager.wire.packing import pack, unpack
from heliograph.manager.wire.reports import REPORTS, parse_report, report_json

VIEW = "manager.view"
VIEWS = "manager/view"
PROGRESS = "manager/progress"
#: Kinds of what is announced; watchers are those who listen to views and progress.
UNIT, MANAGER, WATCHERS = "unit", "manager", "watchers"

__all__ = [
    "CLOSED",
    "COMMAND",
    "JOIN",
    "MANAGER",
    "MAX_ITEMS",
    "MAX_ORDERS",
    "MAX_TEXT",
    "ORDERS",
    "PROGRESS",
    "REPORTS",
    "UNIT",
    "VIEW",
    "VIEWS",
    "WATCHERS",
    "Asked",
    "Command",
    "Json",
    "Orders",
    "Seat",
    "asked_json",
    "closed_json",
    "command_json",
    "order_json",
    "orders_json",
    "pack",
    "parse_asked",
    "parse_closed",
    "parse_command",
    "parse_order",
    "parse_orders",
    "parse_report",
    "parse_seat",
    "report_json",
    "seat_json",
    "unpack",
    "version_of",
]
