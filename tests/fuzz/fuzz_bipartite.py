"""A datagram with marks of several nodes, and one that asks for packets again.

Invariant: a value that is written the same again, or ``MalformedError``.
"""

from __future__ import annotations

import contextlib

import harness

with harness.instrumented():
    from heliograph.model.errors import MalformedError
    from heliograph.protocols import bipartite, rtcp
    from heliograph.protocols.rtp import RtpPacket
    from heliograph.protocols.sdp import parse_sdp


def one_input(data: bytes) -> None:
    if not data:
        return
    identity, data = data[0] % 16, data[1:]
    with contextlib.suppress(MalformedError):
        packet = RtpPacket.parse(data)
        mark = bipartite.mark_of(packet, identity)
        assert mark.serialize() in packet.extension_data
    with contextlib.suppress(MalformedError):
        for found in rtcp.parse(data):
            if isinstance(found, rtcp.App) and (asked := bipartite.asked_again(found)) is not None:
                assert bipartite.ask_again(found.ssrc, asked) == found
    with contextlib.suppress(MalformedError):
        ids = bipartite.extension_ids(parse_sdp(data))
        assert all(one is None or 1 <= one <= 14 for one in ids)


if __name__ == "__main__":
    harness.main("bipartite", one_input)
