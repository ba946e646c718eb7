"""Any bytes as a ticket, and as what a ticket of our own says: a value or ``TicketError``."""

from __future__ import annotations

import base64
import contextlib

import harness

with harness.instrumented():
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from heliograph.live import tickets
    from heliograph.model.errors import TooLargeError

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)


def one_input(data: bytes) -> None:
    """Read it as text; sign it, so that what is within is read too, and write that again."""
    with contextlib.suppress(tickets.TicketError):
        tickets.read(data.decode("latin-1"))
    body = bytes([tickets.VERSION]) + KEY.public_key().public_bytes_raw() + data
    signed = body + KEY.sign(b"heliograph ticket 1\0" + body)
    try:
        _, found = tickets.read(base64.urlsafe_b64encode(signed).rstrip(b"=").decode("ascii"))
    except tickets.TicketError:
        return
    with contextlib.suppress(TooLargeError):  # what it may be read as has a longer name
        assert tickets.read(tickets.sign(KEY, found))[1] == found


if __name__ == "__main__":
    harness.main("ticket", one_input)
