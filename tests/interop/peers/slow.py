"""A slow access network, without privileges: a relay that bytes pass no faster than told."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from types import TracebackType

#: Bytes that wait in each socket of the relay: more would be a network with a long queue.
_BUFFER = 16 << 10
_CHUNK = 4096


class SlowWay:
    """Listens on a port of its own and relays to a server on loopback."""

    def __init__(self, port: int) -> None:
        self.rate: float | None = None
        """Bytes a second to each client; None: as fast as they come."""
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> SlowWay:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for one in [self._listener, *self._open]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
                server = socket.socket()
                server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
                server.connect(("127.0.0.1", self._target))
                self._open += [client, server]
                for source, sink, slow in ((server, client, True), (client, server, False)):
                    threading.Thread(
                        target=self._relay, args=(source, sink, slow), daemon=True
                    ).start()

    def _relay(self, source: socket.socket, sink: socket.socket, slow: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                sink.sendall(data)
                if slow and self.rate is not None:
                    time.sleep(len(data) / self.rate)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
