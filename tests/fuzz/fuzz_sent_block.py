"""Any bytes as a block of a title: the native plane takes what the twin takes, and lives.

Invariants: a block is taken or ``ValueError`` is raised, in the native plane as in the twin, which
is another implementation of the same rules.
"""

from __future__ import annotations

import atexit

import harness

with harness.instrumented():
    from heliograph.plane import open_plane
    from heliograph.plane.twin.block import parse

_plane = open_plane(1)
atexit.register(_plane.close)


def taken(data: bytes) -> bool:
    """Whether a fresh sender of the native plane takes it."""
    sender = _plane.open_sender([(0, 1, 96, 90_000, 0, 0)])
    try:
        _plane.sender_feed(sender, data)
    except ValueError:
        return False
    finally:
        _plane.close_sender(sender)
    return True


def one_input(data: bytes) -> None:
    try:
        parse(data)
        fine = True
    except ValueError:
        fine = False
    assert taken(data) is fine


if __name__ == "__main__":
    harness.main("sent_block", one_input)
