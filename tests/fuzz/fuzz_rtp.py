"""RTP: any datagram gives a packet or ``MalformedError``.

Invariant: a packet that was read is written back identically (the padding's content apart) and
reads the same again; its extensions are values or ``MalformedError``.
"""

from __future__ import annotations

import contextlib

import harness

with harness.instrumented():
    from heliograph.model.errors import MalformedError
    from heliograph.protocols import rtp


def one_input(data: bytes) -> None:
    try:
        packet = rtp.RtpPacket.parse(data)
    except MalformedError:
        return
    written = packet.serialize()
    assert written[: len(data) - packet.padding_size] == data[: len(data) - packet.padding_size]
    assert len(written) == len(data)
    assert rtp.RtpPacket.parse(written) == packet
    with contextlib.suppress(MalformedError):
        elements = packet.extensions
        profile, body = rtp.build_extensions(elements)
        assert rtp.parse_extensions(profile, body) == elements


if __name__ == "__main__":
    harness.main("rtp", one_input)
