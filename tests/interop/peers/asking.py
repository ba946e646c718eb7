"""Asks for one title again and again, and notes where each answer sends."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

#: Connections that ask in turn.
CONNECTIONS = 8
FORMATS = ("mp4", "hls", "rtsp")


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer."""

    at: float
    """When it came, by the monotonic clock."""
    status: int
    port: int
    """Of the server it sends to; 0: to none."""


class Asking:
    """Asks from a thread of its own, ``rate`` times a second, until it is stopped. What a pause of
    the machine kept it from is made up for, a request of each connection after the other."""

    def __init__(self, port: int, name: str, rate: float) -> None:
        self.answers: list[Answer] = []
        self.failures: list[str] = []
        self._port, self._name, self._pause = port, name, CONNECTIONS / rate
        self._ended = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()), daemon=True)
        self._thread.start()

    async def _all(self) -> None:
        done = await asyncio.gather(
            *(self._one(number) for number in range(CONNECTIONS)), return_exceptions=True
        )
        self.failures += [repr(one) for one in done if one is not None]

    async def _one(self, number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        due = time.monotonic() + self._pause * number / CONNECTIONS
        count = number
        while not self._ended.is_set():
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            # By the clock, whatever the machine did meanwhile: who was late asks at once.
            due += self._pause
            count += 1
            asked = f"/go/{self._name}?format={FORMATS[count % len(FORMATS)]}"
            writer.write(f"GET {asked} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            self.answers.append(await self._read(reader))
        writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> Answer:
        async with asyncio.timeout(10):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            fields = dict(line.lower().split(": ", 1) for line in head[1:-2])
            await reader.readexactly(int(fields.get("content-length", 0)))
        status = int(head[0].split()[1])
        port = urlsplit(fields["location"]).port if "location" in fields else 0
        return Answer(time.monotonic(), status, port or 0)

    def since(self, at: float) -> list[Answer]:
        """Answers that came after that time."""
        return [one for one in list(self.answers) if one.at > at]

    def stop(self) -> None:
        """Ask no more."""
        self._ended.set()
        self._thread.join(15)
        assert not self._thread.is_alive()
