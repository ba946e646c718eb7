"""Any bytes as a volume's state or as a head: a value or ``MalformedError``.

What is a state is written and read again to the same.
"""

from __future__ import annotations

import contextlib

import harness

with harness.instrumented():
    from heliograph.model.errors import MalformedError
    from heliograph.storage.volume import encoding, heads


def one_input(data: bytes) -> None:
    """Read, write, read again."""
    with contextlib.suppress(MalformedError):
        head = heads.decode(1, data)
        assert heads.encode(head) == data
    try:
        state = encoding.decode(data)
    except MalformedError:
        return
    assert encoding.decode(encoding.encode(state)) == state


if __name__ == "__main__":
    harness.main("volume_state", one_input)
