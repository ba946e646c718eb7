"""RTSP by hand, one request at a time: to look at a status without a player in between."""

from __future__ import annotations

import socket


class Talk:
    """A connection on which requests are written as text."""

    def __init__(self, port: int, timeout: float = 5.0) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout)
        self._sequence = 0

    def __enter__(self) -> Talk:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, method: str, url: str, *headers: str, body: str = "") -> tuple[int, str]:
        """Send a request; the answer's status and the whole answer."""
        self._sequence += 1
        lines = [f"{method} {url} RTSP/1.0", f"CSeq: {self._sequence}", *headers]
        if body:
            lines += ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
        self._socket.sendall(("\r\n".join(lines) + "\r\n\r\n" + body).encode())
        return self._answer()

    def _answer(self) -> tuple[int, str]:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = self._socket.recv(65536)
            if not piece:
                raise ConnectionError(f"closed after {data[:200]!r}")
            data += piece
        return int(data.split(b" ", 2)[1]), data.decode("utf-8", "replace")


def status(port: int, method: str, path: str) -> int:
    """Ask once on a connection of its own."""
    with Talk(port) as talk:
        return talk.ask(method, f"rtsp://127.0.0.1:{port}/{path}")[0]
