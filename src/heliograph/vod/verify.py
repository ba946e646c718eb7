"""Titles read from end to end, and judged against what their manifests say."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from heliograph.model.errors import GoneError, HelioError, MalformedError
from heliograph.model.media import Kind
from heliograph.vod import blocks
from heliograph.vod.blocks import FIRST, KEY, Block
from heliograph.vod.manifest import BlockSource, KeyPoint, Manifest
from heliograph.vod.units import UnitReader, unwrap

#: Faults that are named one by one; more are counted.
MAX_FAULTS = 100
#: Seconds between decoding and presentation that are believed.
MAX_APART_US = 120_000_000


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that is wrong."""

    block: int | None
    """Where; None for what concerns the title as a whole."""
    kind: str
    """``lost``, ``unreadable``, ``malformed``, ``other`` (a block of something else), ``key``,
    ``units``, ``count``."""
    reason: str
    """For people."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a verification found."""

    blocks: int
    """Blocks that are there and are the manifest's."""
    missing: tuple[int, ...]
    """Numbers of those that are lost or cannot be read, at most ``MAX_FAULTS``."""
    faults: tuple[Fault, ...]
    """At most ``MAX_FAULTS``."""
    count: int
    """Faults found in all."""
    units: int
    """Access units that could be put together."""
    digest: str
    """SHA-256 of all payloads in order, hexadecimal; the same for the same title on any volume."""

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return self.count == 0


async def verify_title(
    manifest: Manifest,
    source: BlockSource,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Read every block; check numbering, times, points of entry and that units come out whole.

    Goes on over blocks that are lost or wrong. That bytes are as they were written is the source's
    to check: it raises for those that are not. ``progress`` hears of blocks done and of all.
    """
    verifier = _Verifier(manifest)
    for number in range(len(manifest.blocks)):
        try:
            data = await source.block(number)
        except HelioError as error:
            verifier.missing_block(number, error)
        else:
            await asyncio.to_thread(verifier.block, number, data)
        if progress is not None:
            progress(number + 1, len(manifest.blocks))
    return verifier.report()


class _Verifier:
    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._faults: list[Fault] = []
        self._count = 0
        self._missing: list[int] = []
        self._good = 0
        self._units = 0
        self._digest = hashlib.sha256()
        self._packets = [0] * len(manifest.tracks)
        self._readers: dict[int, UnitReader] = {}
        self._keys: dict[int, list[KeyPoint]] = {}
        for key in manifest.keys:
            self._keys.setdefault(key.block, []).append(key)
        self._broken = 0
        self._renew()

    def _renew(self) -> None:
        """Begin anew behind a gap: what was begun before it is not a fault of its own."""
        self._broken += sum(one.broken for one in self._readers.values())
        self._readers = {one.track.id: UnitReader(one.track) for one in self._manifest.tracks}

    def _fault(self, block: int | None, kind: str, reason: str) -> None:
        self._count += 1
        if len(self._faults) < MAX_FAULTS:
            self._faults.append(Fault(block, kind, reason))

    def missing_block(self, number: int, error: HelioError) -> None:
        lost = isinstance(error, GoneError)
        self._fault(number, "lost" if lost else "unreadable", error.message)
        if len(self._missing) < MAX_FAULTS:
            self._missing.append(number)
        self._renew()

    def block(self, number: int, data: bytes) -> None:
        entry = self._manifest.blocks[number]
        try:
            block = blocks.read(data)
        except MalformedError as error:
            self._fault(number, "malformed", error.message)
            self._renew()
            return
        header = block.header
        told = (header.due_us, header.end_us, len(data), header.first)
        if told != (entry.due_us, entry.end_us, entry.bytes, entry.first):
            self._fault(number, "other", "it is not the one that the manifest tells of")
            self._renew()
            return
        self._good += 1
        self._digest.update(data[header.size :])
        self._packets = list(header.first)
        for record in block:
            self._packets[record.track] += 1
            units = self._readers[record.track].push(record)
            self._units += len(units)
            for unit in units:
                clock = self._readers[record.track].track.clock_rate
                apart = unwrap(record.timestamp, record.due_us, clock) - (
                    record.due_us * clock // 1_000_000
                )
                if abs(apart) * 1_000_000 // clock > MAX_APART_US:
                    self._fault(
                        number, "units", f"track {unit.track}: shown {apart / clock:.0f} s off"
                    )
        self._check_keys(number, block)

    def _check_keys(self, number: int, block: Block) -> None:
        pictures = {one.track.id for one in self._manifest.tracks if one.track.kind is Kind.VIDEO}
        wanted = FIRST | KEY
        there = sorted(
            (r.due_us, r.track) for r in block if r.flags & wanted == wanted and r.track in pictures
        )
        told = sorted((key.due_us, key.track) for key in self._keys.get(number, ()))
        if there != told:
            self._fault(
                number, "key", f"{len(there)} key pictures, the manifest tells of {len(told)}"
            )

    def report(self) -> Report:
        self._renew()
        if self._broken:
            self._fault(None, "units", f"{self._broken} access units are not whole")
        if self._good == len(self._manifest.blocks):
            counts = [one.packets for one in self._manifest.tracks]
            if self._packets != counts:
                self._fault(None, "count", f"{self._packets} packets, not {counts}")
        return Report(
            self._good,
            tuple(self._missing),
            tuple(self._faults),
            self._count,
            self._units,
            self._digest.hexdigest(),
        )
