"""Reads Server-Sent Events as a browser does."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
from tests.unit.web.site import ADMIN, PATIENCE, Site


class Events:
    """An open stream."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.aiter_lines()

    async def next(self) -> tuple[str, Any]:
        """The next event and its data; ``StopAsyncIteration`` at the end."""
        name = ""
        async with asyncio.timeout(PATIENCE):
            while True:
                line = await anext(self._lines)
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    return name, json.loads(line.removeprefix("data: "))

    async def until(self, wanted: str) -> Any:
        """The data of the next event of that name."""
        while True:
            name, value = await self.next()
            if name == wanted:
                return value

    async def ended(self) -> bool:
        """Wait until nothing more comes."""
        with contextlib.suppress(StopAsyncIteration, httpx.HTTPError):
            while True:
                await self.next()
        return True


@contextlib.asynccontextmanager
async def listening(
    site: Site, path: str, headers: dict[str, str] | None = None
) -> AsyncIterator[Events]:
    """As an administrator, unless other headers are given."""
    headers = ADMIN if headers is None else headers
    async with site.http.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield Events(answer)
