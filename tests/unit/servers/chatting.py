"""A client of the chat for tests: says hello, keeps what it was told, finds the next of a kind."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from tests.unit.web.site import PATIENCE, Site
from websockets.asyncio.client import ClientConnection, connect

from heliograph.catalogue.values import Role

PASSWORD = "a rather long sentence"
_nonces = itertools.count(1)


class Chatter:
    """Shows what it was told, as a page does."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.told: list[dict[str, Any]] = []
        self.lines: dict[int, str] = {}
        self.cursor = ""
        self.guest = ""
        self.you: dict[str, Any] = {}

    async def _one(self) -> None:
        async with asyncio.timeout(PATIENCE):
            message = json.loads(await self.socket.recv())
        self.told.append(message)
        match message["type"]:
            case "welcome":
                self.guest = message["guest"]
            case "you":
                self.you = message
            case "history":
                if message["whole"]:
                    self.lines.clear()
                self.cursor = message["cursor"]
                for entry in message["entries"]:
                    self._entry(entry)
            case _ if "id" in message and message["type"] != "done":
                self._entry(message)
                self.cursor = f"{self.cursor.partition('.')[0]}.{message['id']}"

    def _entry(self, entry: dict[str, Any]) -> None:
        if entry["type"] == "message":
            assert entry["id"] not in self.lines, "shown twice"
            self.lines[entry["id"]] = entry["text"]
        elif entry["type"] == "deleted":
            self.lines.pop(entry["message"], None)
        elif entry["type"] == "cleared":
            self.lines.clear()

    async def next(self, kind: str, **values: Any) -> dict[str, Any]:
        """The next text of this type, taken out."""
        while True:
            for message in self.told:
                if message["type"] == kind and values.items() <= message.items():
                    self.told.remove(message)
                    return message
            await self._one()

    async def until(self, condition: Callable[[], Any]) -> None:
        while not condition():
            await self._one()

    async def hello(self, name: str = "", guest: str = "", cursor: str = "") -> dict[str, Any]:
        """Enter; the history."""
        await self.send(type="hello", name=name, guest=guest, cursor=cursor)
        return await self.next("history")

    async def send(self, **message: Any) -> None:
        await self.socket.send(json.dumps(message))

    async def ask(self, type: str, nonce: str = "", **values: Any) -> dict[str, Any]:
        """Ask for something; ``done`` or ``refused``."""
        nonce = nonce or f"t{next(_nonces)}"
        await self.send(type=type, nonce=nonce, **values)
        while True:
            for message in self.told:
                if message["type"] in ("done", "refused") and message["nonce"] == nonce:
                    self.told.remove(message)
                    return message
            await self._one()

    async def say(self, text: str, nonce: str = "") -> dict[str, Any]:
        return await self.ask("say", nonce, text=text)


@contextlib.asynccontextmanager
async def entering(
    site: Site, query: str = "", channel: str = "demo", **options: Any
) -> AsyncIterator[Chatter]:
    """A connection that has not said hello."""
    url = f"ws://127.0.0.1:{site.server.port}/chat/{channel}{query}"
    options = {"subprotocols": ["helio.chat.v1"], "compression": None} | options
    async with connect(url, **options) as socket:
        yield Chatter(socket)


@contextlib.asynccontextmanager
async def chatting(site: Site, name: str = "", **options: Any) -> AsyncIterator[Chatter]:
    """A connection that is in."""
    hello = {key: options.pop(key) for key in ("guest", "cursor") if key in options}
    async with entering(site, **options) as chatter:
        await chatter.hello(name, **hello)
        yield chatter


async def sign_in(site: Site, name: str, role: Role = Role.VIEWER) -> dict[str, Any]:
    """Options of a connection that shows a fresh account's cookie, from a page of ours."""
    account = await site.catalogue.accounts.create(name, PASSWORD, role)
    made = await site.catalogue.sessions.create(account)
    return {
        "additional_headers": {"cookie": f"helio_session={made.token}"},
        "origin": f"http://127.0.0.1:{site.server.port}",
    }
