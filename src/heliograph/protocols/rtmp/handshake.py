"""The server's side of RTMP's handshake (RTMP 1.0 §5.2), the simple form.

Clients that could do Adobe's digests (ffmpeg, players of Flash times) fall back to the simple form
when the server's version bytes are zero, as they are here.
"""

from __future__ import annotations

from collections.abc import Callable

from heliograph.model.errors import MalformedError, UnsupportedError

VERSION = 3
#: Bytes of C1, C2, S1 and S2.
SIZE = 1536


class ServerHandshake:
    """Takes C0, C1 and C2 in any pieces; what follows them stays with the caller."""

    def __init__(self, random: Callable[[int], bytes]) -> None:
        """``random`` gives so many bytes that nobody can tell beforehand."""
        self._random = random
        self._buffer = bytearray()
        self._answered = False
        self.done = False
        """Whether C2 has come."""

    def receive(self, data: bytes) -> tuple[bytes, bytes]:
        """What to send, and the bytes behind the handshake (empty until ``done``).

        Raises ``MalformedError`` for other protocols, ``UnsupportedError`` for encrypted RTMP.
        """
        self._buffer += data
        out = b""
        if self._buffer:
            self._check_version(self._buffer[0])
        if not self._answered and len(self._buffer) >= 1 + SIZE:
            c1 = bytes(self._buffer[1 : 1 + SIZE])
            s1 = bytes(8) + self._random(SIZE - 8)
            # S2 repeats C1; the time of reading it, which no client looks at, stays 0.
            out = bytes((VERSION,)) + s1 + c1[:4] + bytes(4) + c1[8:]
            self._answered = True
        if len(self._buffer) < 1 + 2 * SIZE:
            return out, b""
        # C2 should repeat S1. Clients with digests put their own there; nothing depends on it.
        rest = bytes(self._buffer[1 + 2 * SIZE :])
        self._buffer.clear()
        self.done = True
        return out, rest

    @staticmethod
    def _check_version(version: int) -> None:
        if version in (6, 8, 9):
            raise UnsupportedError("encrypted RTMP (RTMPE)", subject="rtmp")
        if not VERSION <= version < 32:  # §5.2.2: what text protocols begin with is refused
            raise MalformedError("rtmp", f"version {version}", offset=0)
