"""Titles for browsers: where they are found, what makes their segments, who plays them."""

from __future__ import annotations

from collections import Counter, OrderedDict

from heliograph.storage.values import ObjectId
from heliograph.vod.making import Maker
from heliograph.vod.plays import TitlePlays
from heliograph.vod.promises import Admission
from heliograph.vod.shelf import Shelf
from heliograph.vod.watching import Watching

#: Pictures kept, of some 15 kB each.
MAX_PICTURES = 300


class OnDemand:
    """What a web server needs to play titles. To be closed."""

    def __init__(
        self,
        shelf: Shelf,
        *,
        maker: Maker | None = None,
        plays: TitlePlays | None = None,
        admission: Admission | None = None,
    ) -> None:
        """``plays`` hears of each play; ``admission`` promises streams; None: nothing is short."""
        self.shelf = shelf
        """The titles."""
        self.maker = Maker() if maker is None else maker
        """Makes segments and files."""
        self.watching = Watching(plays, admission)
        """Who plays what, and what was promised."""
        self.pictures: OrderedDict[ObjectId, bytes] = OrderedDict()
        """Small pictures that stand for titles."""
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

    def keep_picture(self, id: ObjectId, jpeg: bytes) -> None:
        """Keep what stands for a title; the oldest are forgotten."""
        self.pictures[id] = jpeg
        if len(self.pictures) > MAX_PICTURES:
            self.pictures.popitem(last=False)

    async def close(self) -> None:
        """End all."""
        self.watching.close()
        await self.maker.close()
