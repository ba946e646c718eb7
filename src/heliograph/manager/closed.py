"""Channels that people closed, at one node: nobody is let in there, and whoever was there is told.

The active manager announces which list is good, and each node asks for one that it does not have.
What a node was told last it keeps on disk: a channel stays closed without a manager, and over the
node's next start.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from pathlib import Path

import structlog

from heliograph.bus import Bus
from heliograph.bus.learning import Learning
from heliograph.live.gate import Gate
from heliograph.live.publish import PublishKind
from heliograph.live.registry import Channels
from heliograph.manager import wire
from heliograph.model.errors import MalformedError
from heliograph.model.files import write_private

log = structlog.get_logger(__name__)

#: What is kept beside the node's key.
FILE = "closed.json"
#: Why publishers and viewers are sent away.
REASON = "channel closed"
#: Seconds that a manager has for its answer.
TIMEOUT = 2.0


class ClosedChannels:
    """Of one node."""

    def __init__(self, bus: Bus, channels: Channels, gate: Gate, directory: Path) -> None:
        """``directory``: where the node keeps what has to outlive it."""
        self._bus, self._channels, self._gate = bus, channels, gate
        self._file = directory / FILE
        self._epoch = 0
        """Of the manager that was heard last."""
        self._learning = Learning(bus, wire.MANAGER, self._news, self._take, "closed channels")
        self.counters = self._learning.counters

    async def start(self) -> None:
        """Close what was closed when this node ran last, and listen."""
        self._apply(await asyncio.to_thread(self._read))
        self._learning.start()

    async def close(self) -> None:
        """Listen no more; what is closed stays so."""
        await self._learning.close()

    def _news(self) -> str | None:
        """The node of the active manager, where it has another list than the one known here."""
        best: tuple[int, str, object] | None = None
        for (node, _), value in self._bus.present(wire.MANAGER).items():
            if isinstance(value, dict) and value.get("active") is True:
                epoch = value.get("epoch")
                found = epoch if isinstance(epoch, int) else 0, node, value.get("closed")
                best = found if best is None or found[:2] > best[:2] else best
        # One of an older version has no list, and one that was replaced an old one.
        if best is None or best[0] < self._epoch or not isinstance(best[2], str):
            return None
        return None if best[2] == wire.version_of(self._gate.closed) else best[1]

    async def _take(self, node: str) -> None:
        answer = await self._bus.call(node, wire.CLOSED, {}, TIMEOUT)
        self._epoch, closed = wire.parse_closed(answer)
        self._apply(closed)
        await self._save(closed)

    def _apply(self, closed: frozenset[str]) -> None:
        before, self._gate.closed = self._gate.closed, closed
        for name in sorted(closed.difference(before)):
            self._end(name)
        if closed != before:
            log.info("closed channels", count=len(closed))

    def _end(self, name: str) -> None:
        """Send publishers and viewers of a channel away."""
        channel = self._channels.find(name)
        if channel is None:
            return
        for publishing in [*channel.publishings.values()]:
            if publishing.kind is not PublishKind.MESH:  # ends with the source
                channel.dismiss(publishing, REASON)
        for reader in [*channel.audience.readers.values()]:
            if reader.counted:
                reader.kick(REASON)

    async def _save(self, closed: Collection[str]) -> None:
        try:
            text = json.dumps({"channels": sorted(closed)}) + "\n"
            await asyncio.to_thread(write_private, self._file, text)
        except OSError as error:
            self.counters["lists_unsaved"] += 1
            log.warning("closed channels not kept", file=str(self._file), error=str(error))

    def _read(self) -> frozenset[str]:
        try:
            value = json.loads(self._file.read_text("utf-8"))
            return wire.parse_closed({**value, "epoch": 0})[1]
        except FileNotFoundError:
            return frozenset()
        except (OSError, ValueError, TypeError, MalformedError) as error:
            log.warning("closed channels not known", file=str(self._file), error=str(error))
            return frozenset()
