"""Any bytes as a neighbour's message: a value or ``MalformedError``, written and read the same."""

from __future__ import annotations

import harness

with harness.instrumented():
    from heliograph.model.errors import MalformedError
    from heliograph.protocols import mesh


def one_input(data: bytes) -> None:
    """Read, write, read again."""
    try:
        message = mesh.decode(data)
    except MalformedError:
        return
    written = mesh.encode(message)
    if len(written) <= mesh.MAX_MESSAGE:
        assert mesh.decode(written) == message


if __name__ == "__main__":
    harness.main("mesh_message", one_input)
