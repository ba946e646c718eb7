"""What the cluster's catalogue bars, at nodes that do not have it: refused networks, licences, and
titles of volumes that are withheld.

Nodes with the cluster's database announce which list is good, each other node asks one of them for
a list that it does not have. What a node was told last it keeps on disk: it counts without those
nodes, and over the next start.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from heliograph.bus import Announcement, Bus, Registration, Request
from heliograph.bus.learning import Learning
from heliograph.bus.wire import Json
from heliograph.catalogue.contents.stored import StoredTitle
from heliograph.catalogue.contents.values import Contents
from heliograph.dispatcher.barring import Barring
from heliograph.dispatcher.keeping import lines, parse
from heliograph.dispatcher.snapshot import Snapshot
from heliograph.model.errors import MalformedError, NotFoundError
from heliograph.model.files import write_private
from heliograph.node.periodic import Periodic
from heliograph.vod.shelf import Shelf

log = structlog.get_logger(__name__)

#: Kind of the name by which a node tells which list is good.
BARS = "catalogue-bars"
#: Asks for a part of the list.
READ = "catalogue.bars"
#: Within the directory of the cluster's files.
FILE = "bars.snapshot"
#: Seconds between two looks at the database.
EVERY = 1.0
#: Share of the time that reading may take; see ``node.dispatching``.
READING = 0.2
#: Characters of one answer: of four bytes each and some escaped they fit into a message.
PART = 150_000
#: Parts of a list: 50 000 networks and 100 000 titles with some regions take 200.
MAX_PARTS = 1000
#: Seconds for one part.
TIMEOUT = 5.0


class Source(Protocol):
    """The catalogue: ``catalogue.contents``."""

    async def version(self) -> int:
        """Of the newest contents; grows with each change."""
        ...

    async def load_bars(self) -> Contents:
        """Networks, and titles that not everybody gets."""
        ...

    async def stored(self) -> Mapping[str, StoredTitle]:
        """Titles that are there because our volumes have them, by object."""
        ...


@dataclass(frozen=True, slots=True)
class Bars:
    """A list, as it is sent and kept."""

    text: str

    @property
    def digest(self) -> str:
        """What tells one from another."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]

    @classmethod
    def of(cls, contents: Contents, stored: Mapping[str, str]) -> Bars:
        """``stored``: as ``Snapshot.stored``, without titles that are called as volumes have
        them."""
        return cls(b"".join(lines(contents, {}, stored)).decode())

    def snapshot(self) -> Snapshot:
        """To decide by; ``MalformedError`` where it is none. It takes a while."""
        contents, _, stored = parse(self.text.encode().splitlines(keepends=True))
        try:
            return Snapshot.of(contents).with_stored(stored)
        except ValueError as error:
            raise MalformedError("bars", str(error)[:200]) from None


class Telling:
    """At a node with the cluster's database."""

    def __init__(
        self,
        bus: Bus,
        source: Source,
        shelf: Shelf,
        barring: Barring | None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``barring``: of this node, where nothing else there knows the catalogue. ``clock``:
        seconds of any origin."""
        self._bus = bus
        self._source = source
        self._shelf = shelf
        self._barring = barring
        self._clock = clock
        self._bars = Bars("")
        self._version = -1
        """Of the contents that the list is of; -1: there is none yet."""
        self._rest_until = 0.0
        self._announcement: Announcement | None = None
        self._serving: Registration | None = None
        self._looks = Periodic("what the catalogue bars", EVERY, self.look, at_once=True)

    async def start(self) -> None:
        """Begin."""
        self._serving = self._bus.serve(READ, self._read)
        self._looks.start()

    async def close(self) -> None:
        """End."""
        await self._looks.stop()
        if self._announcement is not None:
            self._announcement.close()
        if self._serving is not None:
            self._serving.close()

    async def look(self) -> None:
        """Make the list anew where the contents changed."""
        began = self._clock()
        if began < self._rest_until:
            return
        version = await self._source.version()
        if version == self._version:
            return
        contents, stored = await self._source.load_bars(), await self._source.stored()
        known = {str(one.object): one.name for one in self._shelf.titles()}
        others = {id: one.name for id, one in stored.items() if known.get(id) != one.name}
        self._bars = await asyncio.to_thread(Bars.of, contents, others)
        self._version = version
        if self._barring is not None:
            self._barring.told = await asyncio.to_thread(self._bars.snapshot)
        value: Json = {"version": version, "digest": self._bars.digest}
        if self._announcement is None:
            self._announcement = self._bus.announce(BARS, self._bus.node, value)
        else:
            self._announcement.update(value)
        ended = self._clock()
        self._rest_until = ended + (ended - began) * (1 / READING - 1)

    async def _read(self, request: Request) -> Json:
        value = request.value if isinstance(request.value, dict) else {}
        part, text = value.get("part"), self._bars.text
        parts = -(-len(text) // PART)
        if value.get("digest") != self._bars.digest:
            raise NotFoundError("there is another list by now", subject="digest")
        if not isinstance(part, int) or not 0 <= part < parts:
            raise NotFoundError("no such part", subject="part")
        return {"parts": parts, "text": text[part * PART : (part + 1) * PART]}


class Hearing:
    """At any other node."""

    def __init__(self, bus: Bus, barring: Barring, directory: Path) -> None:
        """``directory``: where the node keeps what has to outlive it."""
        self._bus = bus
        self._barring = barring
        self._file = directory / FILE
        self._digest = ""
        """Of the list that counts here; empty: there is none."""
        self._learning = Learning(bus, BARS, self._news, self._take, "bars")
        self.counters = self._learning.counters

    async def start(self) -> None:
        """Begin with what this node was told last, and listen."""
        await self._restore()
        self._learning.start()

    async def close(self) -> None:
        """Listen no more; what is barred stays so."""
        await self._learning.close()

    def _news(self) -> tuple[str, str] | None:
        """A node with the newest list, and its digest; None: that is the one known here."""
        found: list[tuple[int, str, str]] = []
        for (node, _), value in self._bus.present(BARS).items():
            if isinstance(value, dict):
                version, digest = value.get("version"), value.get("digest")
                if isinstance(version, int) and isinstance(digest, str):
                    found.append((version, node, digest))
        newest = [one for one in found if one[0] == max(found)[0]]
        if not newest or any(digest == self._digest for _, _, digest in newest):
            return None
        return newest[0][1:]

    async def _take(self, news: tuple[str, str]) -> None:
        node, digest = news
        texts: list[str] = []
        parts = 1
        while len(texts) < parts:
            asked: Json = {"digest": digest, "part": len(texts)}
            answer = await self._bus.call(node, READ, asked, TIMEOUT)
            text = answer.get("text") if isinstance(answer, dict) else None
            count = answer.get("parts") if isinstance(answer, dict) else None
            if not isinstance(text, str) or not isinstance(count, int) or count > MAX_PARTS:
                raise MalformedError("bars", "no part of a list")
            texts.append(text)
            parts = count
        bars = Bars("".join(texts))
        if bars.digest != digest:
            raise MalformedError("bars", "another list than was announced")
        self._barring.told = await asyncio.to_thread(bars.snapshot)
        self._digest = digest
        log.info("what the catalogue bars", digest=digest)
        try:
            await asyncio.to_thread(write_private, self._file, bars.text)
        except OSError as error:
            self.counters["lists_unsaved"] += 1
            log.warning("what is barred is not kept", file=str(self._file), error=str(error))

    async def _restore(self) -> None:
        def read() -> tuple[str, Snapshot]:
            bars = Bars(self._file.read_text("utf-8"))
            return bars.digest, bars.snapshot()

        try:
            self._digest, self._barring.told = await asyncio.to_thread(read)
        except FileNotFoundError:
            pass
        except (OSError, ValueError, MalformedError) as error:
            log.warning("what was barred is not known", file=str(self._file), error=str(error))
