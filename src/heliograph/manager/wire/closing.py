"""Which channels are closed: the active manager's list, as every node asks for it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

from heliograph.manager.wire.fields import Fields, Json
from heliograph.model.errors import MalformedError
from heliograph.model.media import check_channel_name

CLOSED = "manager.closed"
#: Names in one answer; as many as the catalogue keeps.
MAX_CLOSED = 10_000


def version_of(closed: Collection[str]) -> str:
    """What tells one list from another; it is announced with the active manager."""
    return hashlib.sha256("\n".join(sorted(closed)).encode()).hexdigest()[:16]


def closed_json(epoch: int, closed: Collection[str]) -> Json:
    """The list as it is sent. ``epoch``: of the manager's lease."""
    return {"epoch": epoch, "channels": sorted(closed)}


def parse_closed(value: Json) -> tuple[int, frozenset[str]]:
    """The epoch and the list; ``MalformedError`` where the answer is none."""
    fields = Fields(CLOSED, value)
    found = set()
    for name in fields.list("channels", MAX_CLOSED):
        if not isinstance(name, str):
            raise MalformedError(CLOSED, "what is closed has no name")
        found.add(check_channel_name(name))
    return fields.whole("epoch"), frozenset(found)
