"""Blocks of one viewer's title as they are read: asked for again, given up, counted."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from heliograph.model.errors import (
    GoneError,
    HelioError,
    MalformedError,
    RemoteError,
    ResourceError,
)
from heliograph.vod.manifest import BlockSource
from heliograph.vod.reading import Window

#: Seconds after a block's deadline in which it may still come; the viewer stalls meanwhile.
PATIENCE = 4.0
#: Times that a block is asked for that cannot be read now, and seconds between them.
ATTEMPTS, RETRY = 4, 0.1
#: Seconds by which a block is wanted before it is due.
MARGIN = 0.25


@dataclass(slots=True)
class Counters:
    """What became of one viewer's blocks."""

    blocks: int = 0
    """Fed to the plane."""
    bytes: int = 0
    lost: int = 0
    """Left out: gone, or not there in time."""
    errors: int = 0
    """Reads that failed; most are asked for again."""
    late: int = 0
    """Came after their deadline."""


class BlockReader:
    """Reads for one viewer."""

    def __init__(self, source: BlockSource) -> None:
        self.counters = Counters()
        self.window = Window()
        self._source = source

    async def read(
        self, number: int, deadline: float, patience: float
    ) -> tuple[bytes | None, HelioError | None]:
        """One block, or why there is none. ``deadline``: time of the loop."""
        loop = asyncio.get_running_loop()
        error: HelioError = ResourceError(f"block {number} did not come in time")
        for attempt in range(ATTEMPTS):
            began = loop.time()
            if attempt and began >= deadline + patience:
                break
            try:
                async with asyncio.timeout_at(max(deadline, began) + patience):
                    data = await self._source.block(number, deadline)
            except TimeoutError:
                self.counters.errors += 1
                break
            except (GoneError, MalformedError) as gone:
                self.counters.errors += 1
                return None, gone
            except (ResourceError, RemoteError) as failed:
                self.counters.errors += 1
                error = failed
                await asyncio.sleep(RETRY * (1 << attempt))
                continue
            except HelioError as other:
                self.counters.errors += 1
                return None, other
            self.window.observe(loop.time() - began)
            self.counters.late += loop.time() > deadline + MARGIN and patience == PATIENCE
            return data, None
        return None, error
