"""The twin's adopted connections: RTSP with interleaved packets, and WebSocket framing."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field

#: Bytes that may wait for a slow peer before a reader's cursor stops.
HIGH_WATER = 256 * 1024


@dataclass(slots=True)
class Conn:
    """A socket taken over, its unread and unsent bytes."""

    id: int
    sock: socket.socket
    kind: str
    max_message: int
    incoming: bytes = b""
    outgoing: bytearray = field(default_factory=bytearray)
    publishes: dict[int, tuple[int, int, bool]] = field(default_factory=dict)
    """Interleaved channel → (input, track, whether RTCP)."""
    closing: bool = False
    fragments: bytes = b""

    def flush(self) -> bool:
        """Send what the socket takes; False when the connection is broken."""
        while self.outgoing:
            try:
                sent = self.sock.send(self.outgoing)
            except BlockingIOError:
                return True
            except OSError:
                return False
            del self.outgoing[:sent]
        return True

    def receive(self) -> str | None:
        """Read what is there; the reason when the connection ended."""
        while True:
            try:
                data = self.sock.recv(65536)
            except BlockingIOError:
                return None
            except OSError:
                return "reset"
            if not data:
                return "eof"
            self.incoming += data

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()

    def messages(self) -> Iterator[tuple[str, int, bytes]]:
        """What arrived whole: (``control`` | ``data`` | a closing reason, channel, bytes)."""
        split = self._rtsp if self.kind == "rtsp" else self._websocket
        while (found := split()) is not None:
            if found[0] != "skip":
                yield found
            if found[0] in ("malformed", "overflow", "eof"):
                return

    def _rtsp(self) -> tuple[str, int, bytes] | None:
        data = self.incoming
        if data[:1] == b"$":  # RFC 2326 section 10.12
            if len(data) < 4:
                return None
            size = int.from_bytes(data[2:4])
            if len(data) < 4 + size:
                return None
            self.incoming = data[4 + size :]
            return "data", data[1], data[4 : 4 + size]
        data = data.lstrip(b"\r\n")
        if not data:
            self.incoming = b""
            return None
        if data[:1] == b"$":
            self.incoming = data
            return "skip", 0, b""
        head, found, rest = data.partition(b"\r\n\r\n")
        if not found:
            return ("overflow", 0, b"") if len(data) > self.max_message else None
        length = 0
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"content-length":
                if not value.strip().isdigit():
                    return "malformed", 0, b""
                length = int(value)
        whole = len(head) + 4 + length
        if whole > self.max_message:
            return "overflow", 0, b""
        if len(rest) < length:
            return None
        self.incoming = data[whole:]
        return "control", 0, data[:whole]

    def _websocket(self) -> tuple[str, int, bytes] | None:
        data = self.incoming
        if len(data) < 2:  # RFC 6455 section 5.2
            return None
        final, opcode, size, offset = data[0] & 0x80, data[0] & 15, data[1] & 0x7F, 2
        if not data[1] & 0x80 or data[0] & 0x70:
            return "malformed", 0, b""
        if size > 125:
            offset = 4 if size == 126 else 10
            if len(data) < offset:
                return None
            size = int.from_bytes(data[2:offset])
        if size > self.max_message:
            return "overflow", 0, b""
        if len(data) < offset + 4 + size:
            return None
        mask, body = data[offset : offset + 4], data[offset + 4 : offset + 4 + size]
        payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(body))
        self.incoming = data[offset + 4 + size :]
        return self._websocket_frame(opcode, bool(final), payload)

    def _websocket_frame(self, opcode: int, final: bool, payload: bytes) -> tuple[str, int, bytes]:
        match opcode:
            case 0 | 1 | 2:
                self.fragments += payload
                if len(self.fragments) > self.max_message:
                    return "overflow", 0, b""
                if not final:
                    return "skip", 0, b""
                payload, self.fragments = self.fragments, b""
                return "control", 0, payload
            case 8:
                self.outgoing += websocket_frame(8, payload[:2])
                return "eof", 0, b""
            case 9:
                self.outgoing += websocket_frame(10, payload)
                return "skip", 0, b""
            case 10:
                return "skip", 0, b""
        return "malformed", 0, b""


def websocket_frame(opcode: int, payload: bytes) -> bytes:
    """A whole frame from the server, RFC 6455 section 5.2."""
    size = len(payload)
    if size < 126:
        head = bytes([0x80 | opcode, size])
    elif size < 65536:
        head = bytes([0x80 | opcode, 126]) + size.to_bytes(2)
    else:
        head = bytes([0x80 | opcode, 127]) + size.to_bytes(8)
    return head + payload
