"""The twin's sockets: UDP endpoints, simulated or real, and adopted connections."""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Sequence
from typing import Any, Literal

from heliograph.plane.twin.conn import Conn, websocket_frame
from heliograph.plane.twin.core import Core
from heliograph.plane.twin.media import receiver_report
from heliograph.plane.twin.reader import ConnReader, Reader, UdpReader
from heliograph.plane.twin.udp import Attachment, Endpoint, bind


class Network(Core):
    """Moves bytes between sockets and channels whenever it is drained."""

    def drain(self, limit: int = 4096) -> list[tuple[Any, ...]]:
        self._poll()
        taken: list[tuple[Any, ...]] = []
        if self._lost:
            taken.append(("overflow", self._lost))
            self._lost = 0
        while self._events and len(taken) < limit:
            taken.append(self._events.popleft())
        if not self._events:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._waker)
        return taken

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        for conn in list(self.conns.values()):
            conn.flush()
            conn.close()
        for endpoint in self.endpoints.values():
            endpoint.close()
        self.conns.clear()
        self._epoll.close()
        os.close(self._waker)

    # UDP

    def bind_udp(
        self,
        address: str,
        port: int,
        *,
        rtcp: bool = True,
        group: str | None = None,
        interface: str | None = None,
        ttl: int = 16,
    ) -> tuple[int, int, int]:
        endpoint = Endpoint(self._id(), (port, port + 1 if rtcp else 0))
        if self.network:
            endpoint.sockets = bind(
                address, port, rtcp=rtcp, group=group, interface=interface, ttl=ttl
            )
            numbers = [sock.getsockname()[1] for sock in endpoint.sockets]
            endpoint.ports = numbers[0], numbers[1] if rtcp else 0
            for sock, is_rtcp in zip(endpoint.sockets, (False, True), strict=False):
                self._by_fd[sock.fileno()] = endpoint, is_rtcp
                self._epoll.register(sock.fileno(), select.EPOLLIN)
        elif port == 0:
            endpoint.ports = 20000 + 2 * endpoint.id, 20001 + 2 * endpoint.id if rtcp else 0
        self.endpoints[endpoint.id] = endpoint
        return endpoint.id, *endpoint.ports

    def close_endpoint(self, endpoint: int) -> None:
        gone = self.endpoints.pop(endpoint, None)
        if gone is not None:
            for sock in gone.sockets:
                self._by_fd.pop(sock.fileno(), None)
            gone.close()

    def attach_udp(
        self,
        input: int,
        track: int,
        endpoint: int,
        *,
        payload_type: int,
        remote: str | None = None,
        rtp_port: int | None = None,
        rtcp_port: int | None = None,
    ) -> None:
        self.inputs[input]
        self.endpoints[endpoint].attachments.append(
            Attachment(input, track, payload_type, remote, rtp_port, rtcp_port)
        )

    def _datagram(
        self, endpoint: Endpoint, address: str, port: int, data: bytes, rtcp: bool
    ) -> None:
        payload_type = data[1] & 0x7F if len(data) > 1 else -1
        for attachment in endpoint.attachments:
            if not attachment.matches(address, port, rtcp):
                continue
            if rtcp:
                attachment.latch(address, port, rtcp)
                self.push_rtcp(attachment.input, attachment.track, data)
                return
            if attachment.payload_type == payload_type:
                attachment.latch(address, port, rtcp)
                self._packet(attachment.input, attachment.track, data)
                self._deliver_all()
                return
        if rtcp:
            for reader in self.readers.values():
                if isinstance(reader, UdpReader) and any(
                    (address, port) == (entry[0], entry[2]) for entry in reader.tracks.values()
                ):
                    self._reader_rtcp(reader, data)
                    return
            if self._foreign_report(address, port, data):
                return
        self._totals["foreign_packets"] += 1

    def _foreign_report(self, address: str, port: int, data: bytes) -> bool:
        """Whether a control packet that no reader sent is taken."""
        raise NotImplementedError

    def _conn_report(self, conn: Conn, data: bytes) -> bool:
        """As ``_foreign_report``, on a connection."""
        raise NotImplementedError

    def _conn_ended(self, conn: Conn, reason: str) -> None:
        """What else goes with a connection."""
        raise NotImplementedError

    def _reader_rtcp(self, reader: Reader, data: bytes) -> None:
        reader.last_rtcp = self.now
        report = receiver_report(data)
        if report is not None:
            reader.loss_permille, reader.jitter = report.loss_permille, report.jitter

    # connections

    def adopt(
        self,
        fd: int,
        kind: Literal["rtsp", "websocket"],
        received: bytes = b"",
        max_message: int = 65536,
    ) -> int:
        sock = socket.socket(fileno=os.dup(fd))
        sock.setblocking(False)
        conn = Conn(self._id(), sock, kind, max_message, received)
        self.conns[conn.id] = conn
        self._by_fd[sock.fileno()] = conn
        self._epoll.register(sock.fileno(), select.EPOLLIN)
        self._read_conn(conn, None)
        return conn.id

    def conn_send(self, conn: int, data: bytes) -> None:
        target = self.conns.get(conn)
        if target is not None and not target.closing:
            target.outgoing += data if target.kind == "rtsp" else websocket_frame(1, data)
            self._flush(target)

    def conn_publish(self, conn: int, input: int, tracks: Sequence[tuple[int, int, int]]) -> None:
        self.inputs[input]
        target = self.conns[conn]
        for track, rtp, rtcp in tracks:
            target.publishes[rtp] = input, track, False
            target.publishes[rtcp] = input, track, True

    def conn_close(self, conn: int) -> None:
        target = self.conns.get(conn)
        if target is not None:
            target.closing = True
            self._flush(target)

    def _end_conn(self, conn: Conn, reason: str) -> None:
        if self.conns.pop(conn.id, None) is None:
            return
        self._by_fd.pop(conn.sock.fileno(), None)
        conn.flush()
        with contextlib.suppress(OSError):
            self._epoll.unregister(conn.sock.fileno())
        conn.close()
        for reader in list(self.readers.values()):
            if isinstance(reader, ConnReader) and reader.conn is conn:
                del self.readers[reader.id]
                self._emit("reader-closed", reader.id, reason)
        self._conn_ended(conn, reason)
        self._emit("conn-closed", conn.id, reason)

    def _flush(self, conn: Conn) -> None:
        if not conn.flush():
            self._end_conn(conn, "reset")
        elif conn.closing and not conn.outgoing:
            self._end_conn(conn, "closed")
        elif conn.id in self.conns:
            wanted = select.EPOLLIN | (select.EPOLLOUT if conn.outgoing else 0)
            self._epoll.modify(conn.sock.fileno(), wanted)

    def _read_conn(self, conn: Conn, ended: str | None) -> None:
        for kind, channel, data in conn.messages():
            if kind == "control":
                self._emit("control", conn.id, data)
            elif kind == "data":
                self._interleaved(conn, channel, data)
            else:
                self._end_conn(conn, kind)
                return
        if ended is not None:
            self._end_conn(conn, ended)
        elif conn.outgoing:
            self._flush(conn)

    def _interleaved(self, conn: Conn, channel: int, data: bytes) -> None:
        target = conn.publishes.get(channel)
        if target is not None:
            input, track, rtcp = target
            if rtcp:
                self.push_rtcp(input, track, data)
            else:
                self._packet(input, track, data)
                self._deliver_all()
            return
        for reader in self.readers.values():
            if isinstance(reader, ConnReader) and reader.conn is conn:
                self._reader_rtcp(reader, data)
                return
        if not self._conn_report(conn, data):
            self._totals["foreign_packets"] += 1

    def _poll(self) -> None:
        for fd, mask in self._epoll.poll(0):
            entry = self._by_fd.get(fd)
            if isinstance(entry, Conn):
                if mask & select.EPOLLOUT:
                    self._flush(entry)
                    self._deliver_all()
                if mask & ~select.EPOLLOUT and entry.id in self.conns:
                    self._read_conn(entry, entry.receive())
            elif entry is not None:
                endpoint, rtcp = entry
                sock = endpoint.sockets[1 if rtcp else 0]
                with contextlib.suppress(BlockingIOError, ConnectionError):
                    while True:
                        data, addr = sock.recvfrom(65536)
                        self._datagram(endpoint, addr[0], addr[1], data, rtcp)
