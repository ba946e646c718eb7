"""RTCP: any datagram gives a list of packets or ``MalformedError``.

Invariant: what was read can be written, and reads the same again.
"""

from __future__ import annotations

import harness

with harness.instrumented():
    from heliograph.model.errors import MalformedError
    from heliograph.protocols import rtcp


def one_input(data: bytes) -> None:
    try:
        packets = rtcp.parse(data)
    except MalformedError:
        return
    assert packets
    assert rtcp.parse(rtcp.serialize(packets)) == packets
    for packet in packets:
        if isinstance(packet, rtcp.TransportFeedback):
            assert len(packet.arrivals_us()) == len(packet.deltas)


if __name__ == "__main__":
    harness.main("rtcp", one_input)
