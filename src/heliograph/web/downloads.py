"""Files of titles that are sent as they are made, for as long as the client takes them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping

import structlog
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from heliograph.model.errors import HelioError
from heliograph.vod.download import Layout, Place
from heliograph.vod.manifest import BlockSource, Manifest
from heliograph.vod.ondemand import OnDemand
from heliograph.vod.watching import HttpViewer
from heliograph.web.streams import ENDLESS

log = structlog.get_logger(__name__)

#: Bytes given to the connection at a time; whoever takes less in a minute is cut off.
CHUNK = 64 << 10


class FileResponse(Response):
    """A range of a title's file. Ends early, so that the client notices, where a block is lost."""

    media_type = "video/mp4"

    def __init__(
        self,
        ondemand: OnDemand,
        manifest: Manifest,
        layout: Layout,
        wanted: range,
        viewer: HttpViewer,
        *,
        status: int,
        headers: Mapping[str, str],
    ) -> None:
        super().__init__(None, status, dict(headers))
        self.headers["content-length"] = str(len(wanted))
        self._ondemand = ondemand
        self._manifest = manifest
        self._layout = layout
        self._wanted = wanted
        self._viewer = viewer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("extensions", {})[ENDLESS] = True
        self._ondemand.downloads += 1
        self._ondemand.watching.begin_sending(self._viewer)
        sending = asyncio.create_task(self._send(send))
        leaving = asyncio.create_task(_left(receive))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._ondemand.downloads -= 1
            self._ondemand.watching.end_sending(self._viewer)
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
        if not sending.cancelled():
            sending.result()

    async def _send(self, send: Send) -> None:
        ondemand, name = self._ondemand, self._manifest.name
        start = {"type": "http.response.start", "status": self.status_code}
        await send({**start, "headers": self.raw_headers})
        source = ondemand.shelf.source(self._manifest)
        sent = 0
        try:
            async with contextlib.aclosing(self._pieces(source)) as pieces:
                async for piece in pieces:
                    message: Message = {"type": "http.response.body", "body": piece}
                    await send({**message, "more_body": True})
                    sent += len(piece)
                    ondemand.counters["bytes_sent"] += len(piece)
                    self._viewer.sent(len(piece))
        except HelioError as error:
            ondemand.counters["downloads_broken"] += 1
            log.warning("download broken", title=name, at=sent, reason=error.message)
            return
        await send({"type": "http.response.body", "body": b""})

    async def _pieces(self, source: BlockSource) -> AsyncGenerator[bytes, None]:
        layout, wanted = self._layout, self._wanted
        head = layout.head[wanted.start : wanted.stop]
        for at in range(0, len(head), CHUNK):
            yield head[at : at + CHUNK]
        first = max(0, layout.at(wanted.start))
        last = layout.at(wanted.stop - 1)  # -1 where only the head is wanted
        coming: asyncio.Task[bytes] | None = None
        try:
            for place in layout.places[first : last + 1]:
                data = await (coming or self._begin(source, place))
                after = place.number + 1
                coming = self._begin(source, layout.places[after]) if after <= last else None
                begin = max(0, wanted.start - place.offset)
                end = min(place.size, wanted.stop - place.offset)
                for at in range(begin, end, CHUNK):
                    yield data[at : min(end, at + CHUNK)]
        finally:
            if coming is not None:
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)

    def _begin(self, source: BlockSource, place: Place) -> asyncio.Task[bytes]:
        """Make a place: the next one while this one is sent."""
        maker = self._ondemand.maker
        return asyncio.create_task(maker.place(self._manifest, source, self._layout, place))


async def _left(receive: Receive) -> None:
    """Wait until the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
