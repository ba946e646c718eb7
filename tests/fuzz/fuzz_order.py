"""Any JSON as an order of a session that several nodes send: a value or ``MalformedError``.

What is an order is written and read again to the same, and its answers never fail.
"""

from __future__ import annotations

import contextlib
import json

import harness

with harness.instrumented():
    from heliograph.model.errors import MalformedError
    from heliograph.protocols.rtsp.sharing import parse_nodes
    from heliograph.vod.bipartite.order import decode, nodes_header


def one_input(data: bytes) -> None:
    """Read, write, read again."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return  # the bus takes nothing else
    try:
        order = decode(value)
    except MalformedError:
        return
    assert decode(json.loads(json.dumps(order.to_json()))) == order
    assert order.position_us(order.at_us + 1) >= order.media_us
    after = order.without(order.members[0].node, order.at_us, 1.0)
    assert len(after.present) <= len(order.present)
    header = nodes_header(order.members, order.at_us, order.ahead_us, order)
    with contextlib.suppress(MalformedError):  # no node is left, or none that packets come from
        told = parse_nodes(header)
        assert (told.clock, told.ahead) == (order.at_us, order.ahead_us)
        assert told.line is not None


if __name__ == "__main__":
    harness.main("order", one_input)
