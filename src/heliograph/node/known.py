"""Addresses of the cluster's nodes, kept over restarts.

Zenoh makes a broken connection anew for ever, but only to those whom it was told to connect to
when it began. So each node remembers where it saw others, and begins with all of them: of two nodes
the one that started later knows the other, and their connection heals by itself.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path

import structlog

from heliograph.model.files import write_private
from heliograph.node.settings.cluster import split_place

log = structlog.get_logger(__name__)

#: Within the directory of the cluster's files.
FILE = "nodes.json"
#: Addresses remembered; a domain has 200 nodes.
MAX_ADDRESSES = 256
#: Seconds after which a node that was never seen again is forgotten: a fortnight's holidays.
FORGET = 14 * 86400
#: Seconds between two writes to the disk at least.
SAVE_PERIOD = 5.0


class KnownNodes:
    """``HOST:PORT`` of nodes, and when each was seen last, in seconds since 1970."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE
        self._seen: dict[str, int] = {}
        self._changed = False

    def load(self, now: float) -> None:
        """Read what was kept; a file that cannot be read is as good as none."""
        try:
            found = json.loads(self._path.read_text("utf-8"))
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            log.warning("known nodes not read", file=str(self._path), error=str(error))
            return
        if isinstance(found, dict):
            for address, seen in found.items():
                if type(seen) is int and seen > now - FORGET:
                    self.note(address, seen)
        self._changed = False

    def note(self, address: object, now: float) -> None:
        """A node was seen there; anything that is no address is left out."""
        if not isinstance(address, str) or split_place(f"tls/{address}") is None:
            return
        self._seen.pop(address, None)
        self._seen[address] = int(now)
        while len(self._seen) > MAX_ADDRESSES:
            del self._seen[next(iter(self._seen))]
        self._changed = True

    def addresses(self, without: Iterable[str] = ()) -> tuple[str, ...]:
        """All that are remembered, but those."""
        left_out = set(without)
        return tuple(address for address in self._seen if address not in left_out)

    async def save(self) -> None:
        """Write what has changed; a disk that refuses costs no more than a slower return."""
        if not self._changed:
            return
        self._changed = False
        text = json.dumps(self._seen, indent=1) + "\n"
        try:
            await asyncio.to_thread(write_private, self._path, text)
        except OSError as error:
            log.warning("known nodes not kept", file=str(self._path), error=str(error))
