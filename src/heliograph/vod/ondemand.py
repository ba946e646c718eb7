"""Titles for browsers: where they are found, what makes their segments, who plays them."""

from __future__ import annotations

from collections import Counter

from heliograph.vod.making import Maker
from heliograph.vod.shelf import Shelf
from heliograph.vod.watching import Watching


class OnDemand:
    """What a web server needs to play titles. To be closed."""

    def __init__(
        self, shelf: Shelf, *, maker: Maker | None = None, watching: Watching | None = None
    ) -> None:
        self.shelf = shelf
        """The titles."""
        self.maker = Maker() if maker is None else maker
        """Makes segments and files."""
        self.watching = Watching() if watching is None else watching
        """Who plays what."""
        self.downloads = 0
        """Files that are being sent."""
        self.counters = Counter(
            downloads=0,
            # Above the bound on files that are sent at a time.
            downloads_refused=0,
            # A block could not be had any more.
            downloads_broken=0,
            bytes_sent=0,
        )
        """For the metrics."""

    async def close(self) -> None:
        """End all."""
        self.watching.close()
        await self.maker.close()
