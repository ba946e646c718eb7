"""Titles that are read from end to end because somebody wants to know."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from heliograph.model.errors import BusyError, HelioError, NotFoundError
from heliograph.node.storage.shelf import Shelf
from heliograph.vod.manifest import BlockSource, Manifest
from heliograph.vod.verify import Report, verify_title

log = structlog.get_logger(__name__)

#: Checks that are told of; of more the oldest are forgotten.
MAX_TOLD = 100
#: Checks that wait or are under way.
MAX_UNDER_WAY = 16
#: Titles read at a time: it is work in the background.
AT_ONCE = 1


@dataclass(slots=True)
class Check:
    """One title, and how far it is."""

    name: str
    total: int
    done: int = 0
    report: Report | None = None
    error: str = ""
    began: float = field(default_factory=time.time)
    ended: float | None = None

    def to_json(self) -> dict[str, Any]:
        """For the API."""
        report = self.report
        return {
            "name": self.name,
            "done": self.done,
            "total": self.total,
            "began": self.began,
            "ended": self.ended,
            "error": self.error,
            "good": None if report is None else report.good,
            "missing": [] if report is None else list(report.missing),
            "count": 0 if report is None else report.count,
            "faults": []
            if report is None
            else [
                {"block": one.block, "kind": one.kind, "reason": one.reason}
                for one in report.faults
            ],
            "digest": "" if report is None else report.digest,
        }


class Checks:
    """Of one node."""

    def __init__(
        self, shelf: Shelf, source: Callable[[Manifest], BlockSource] | None = None
    ) -> None:
        """``source`` reads blocks past the cache; the shelf's where it is not given."""
        self._shelf = shelf
        self._source = source or shelf.source
        self._all: dict[str, Check] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(AT_ONCE)

    def check(self, name: str) -> dict[str, Any]:
        """Begin to check a title, or tell of the check under way, or of one that just ended.

        ``NotFoundError``, ``BusyError``.
        """
        found = self._all.get(name)
        if found is not None:
            if found.ended is not None:  # told once; who asks again wants to have it read again
                del self._all[name]
            return found.to_json()
        manifest = self._shelf.find(name)
        if manifest is None:
            raise NotFoundError(f"there is no title {name}", subject=name)
        if len(self._tasks) >= MAX_UNDER_WAY:
            raise BusyError(f"{MAX_UNDER_WAY} titles are being checked", subject=name)
        found = self._all[name] = Check(name, len(manifest.blocks))
        while len(self._all) > MAX_TOLD:
            del self._all[next(iter(self._all))]
        task = asyncio.get_running_loop().create_task(self._run(found, manifest), name="check")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return found.to_json()

    async def close(self) -> None:
        """End all."""
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, found: Check, manifest: Manifest) -> None:
        def progress(done: int, total: int) -> None:
            found.done = done

        try:
            async with self._slots:
                found.report = await verify_title(
                    manifest, self._source(manifest), progress=progress
                )
            level = log.info if found.report.good else log.warning
            level("title checked", title=found.name, faults=found.report.count)
        except HelioError as error:
            found.error = error.message
        except Exception:
            found.error = "internal error"
            log.exception("check failed unexpectedly", title=found.name)
        finally:
            found.ended = time.time()
