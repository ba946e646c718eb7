"""The twin's surface: the calls of ``_plane.pyi`` on a simulated clock.

What tests drive besides: ``advance`` the clock, ``deliver`` a datagram to a simulated endpoint,
read its ``sent``. Adopted sockets are real ones: ``fileno`` is an epoll descriptor with all of
them in it, and ``drain`` moves their bytes, so that no thread is needed.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections import deque
from collections.abc import Sequence
from typing import Any, Literal

from heliograph.plane.twin.channel import Channel, Source, TrackSpec
from heliograph.plane.twin.conn import Conn, websocket_frame
from heliograph.plane.twin.media import parse_rtp, receiver_report
from heliograph.plane.twin.reader import ConnReader, Reader, Tap, UdpReader
from heliograph.plane.twin.udp import Attachment, Endpoint, bind

#: The simulated clock starts here: 2025-01-01T00:00:00Z in Unix µs.
START_US = 1_735_689_600_000_000


class TwinPlane:
    """The packet plane in plain Python. ``network=True`` binds real UDP sockets."""

    def __init__(self, *, workers: int = 1, events: int = 65536, network: bool = False) -> None:
        self.now = START_US
        self.network = network
        self.endpoints: dict[int, Endpoint] = {}
        self.channels: dict[int, Channel] = {}
        self.sources: dict[int, tuple[Channel, Source]] = {}
        self.inputs: dict[int, int] = {}
        self.conns: dict[int, Conn] = {}
        self.readers: dict[int, Reader] = {}
        self.closed = False
        self._last_id = 0
        self._events: deque[tuple[Any, ...]] = deque()
        self._max_events = events
        self._lost = 0
        self._totals = dict.fromkeys(
            (
                "packets_in",
                "bytes_in",
                "packets_out",
                "bytes_out",
                "foreign_packets",
                "malformed_packets",
                "send_errors",
                "events_lost",
            ),
            0,
        )
        self._waker = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll = select.epoll()
        self._epoll.register(self._waker, select.EPOLLIN)
        self._by_fd: dict[int, Conn | tuple[Endpoint, bool]] = {}

    # what tests drive

    def advance(self, seconds: float) -> None:
        """Let simulated time pass, in steps of 10 ms so that time-outs come in their order."""
        end = self.now + round(seconds * 1_000_000)
        while self.now < end:
            self.now = min(self.now + 10_000, end)
            for channel in list(self.channels.values()):
                channel.tick(self.now)
            self._deliver_all()

    def deliver(
        self, endpoint: int, addr: tuple[str, int], data: bytes, *, rtcp: bool = False
    ) -> None:
        """A datagram arrives at a simulated endpoint."""
        self._datagram(self.endpoints[endpoint], addr[0], addr[1], data, rtcp)

    def sent(self, endpoint: int) -> list[tuple[str, int, bytes]]:
        """What left through a simulated endpoint, and forget it."""
        taken, self.endpoints[endpoint].sent = self.endpoints[endpoint].sent, []
        return taken

    # events

    def fileno(self) -> int:
        return self._epoll.fileno()

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

    def _emit(self, *event: str | int | bool | bytes) -> None:
        if len(self._events) >= self._max_events:
            self._lost += 1
            self._totals["events_lost"] += 1
        else:
            self._events.append(event)
        os.eventfd_write(self._waker, 1)

    def _id(self) -> int:
        self._last_id += 1
        return self._last_id

    # channels, sources, inputs

    def open_channel(
        self,
        *,
        depth_ms: int = 3000,
        max_bytes: int = 16 << 20,
        silence_ms: int = 1000,
        return_ms: int = -1,
        coalesce_us: int = 1500,
        tcp_interval_ms: int = 0,
        lag_ms: int = 1000,
    ) -> int:
        options = {
            "depth_ms": depth_ms,
            "max_bytes": max_bytes,
            "silence_ms": silence_ms,
            "return_ms": return_ms,
            "lag_ms": lag_ms,
        }
        channel = Channel(self._id(), options, self._emit, self.now)
        self.channels[channel.id] = channel
        return channel.id

    def close_channel(self, channel: int) -> None:
        if self.channels.pop(channel, None) is None:
            return
        for source, (owner, _) in list(self.sources.items()):
            if owner.id == channel:
                self._forget_source(source)
        for reader in list(self.readers.values()):
            if reader.channel.id == channel:
                del self.readers[reader.id]
                self._emit("reader-closed", reader.id, "channel closed")

    def add_source(self, channel: int, priority: int, tracks: Sequence[TrackSpec]) -> int:
        owner = self.channels[channel]
        source = Source(self._id(), priority, {spec[0]: spec for spec in tracks})
        owner.sources[source.id] = source
        self.sources[source.id] = owner, source
        return source.id

    def remove_source(self, source: int) -> None:
        entry = self.sources.get(source)
        if entry is not None:
            self._forget_source(source)
            entry[0].remove(entry[1])
            self._deliver_all()

    def _forget_source(self, source: int) -> None:
        _, gone = self.sources.pop(source)
        for input in list(gone.inputs):
            self.remove_input(input)

    def add_input(self, source: int) -> int:
        owner = self.sources[source][1]
        input = self._id()
        owner.inputs.append(input)
        self.inputs[input] = source
        return input

    def remove_input(self, input: int) -> None:
        source = self.inputs.pop(input, None)
        if source in self.sources:
            self.sources[source][1].inputs.remove(input)
        for endpoint in self.endpoints.values():
            endpoint.attachments = [a for a in endpoint.attachments if a.input != input]
        for conn in self.conns.values():
            conn.publishes = {c: p for c, p in conn.publishes.items() if p[0] != input}

    def push(self, input: int, track: int, packets: Sequence[bytes]) -> int:
        self.inputs[input]
        accepted = sum([self._packet(input, track, packet) for packet in packets])
        self._deliver_all()
        return accepted

    def push_rtcp(self, input: int, track: int, packet: bytes) -> None:
        self.inputs[input]

    def _packet(self, input: int, track: int, packet: bytes) -> bool:
        channel, source = self.sources[self.inputs[input]]
        rtp = parse_rtp(packet)
        if rtp is None:
            self._totals["malformed_packets"] += 1
            return False
        self._totals["packets_in"] += 1
        self._totals["bytes_in"] += len(packet)
        return channel.receive(source, track, packet, rtp, self.now)

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
        self._totals["foreign_packets"] += 1

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

    # readers

    def _add(self, reader: Reader) -> int:
        self.readers[reader.id] = reader
        return reader.id

    def add_conn_reader(
        self, channel: int, conn: int, tracks: Sequence[tuple[int, int, int]]
    ) -> int:
        owner, target = self.channels[channel], self.conns[conn]
        wanted = {track: (rtp, rtcp) for track, rtp, rtcp in tracks}
        frames = target.kind == "websocket"
        return self._add(ConnReader(self._id(), owner, wanted, frames, conn=target))

    def add_udp_reader(
        self, channel: int, endpoint: int, tracks: Sequence[tuple[int, str, int, int]]
    ) -> int:
        owner, target = self.channels[channel], self.endpoints[endpoint]
        wanted = {track: (address, rtp, rtcp) for track, address, rtp, rtcp in tracks}
        return self._add(
            UdpReader(self._id(), owner, wanted, False, send=target.send, endpoint=endpoint)
        )

    def add_tap(
        self, channel: int, tracks: Sequence[int], *, frames: bool = False, capacity: int = 1024
    ) -> int:
        owner, id = self.channels[channel], self._id()
        return self._add(
            Tap(
                id,
                owner,
                dict.fromkeys(tracks),
                frames,
                capacity=capacity,
                ready=lambda: self._emit("tap-ready", id),
            )
        )

    def position_reader(self, reader: int) -> list[tuple[int, int, int]]:
        target = self.readers[reader]
        target.seek()
        channel = target.channel
        assert target.position is not None
        found: list[tuple[int, int, int]] = []
        for track in sorted(target.tracks):
            out = channel.out.get(track)
            if out is None:
                continue
            number, time = out.next_number, out.last_time
            for item in channel.packets.items[target.position - channel.packets.base :]:
                if item.track == track:
                    number, time = item.number, item.time
                    break
            found.append((track, (number + out.offset) & 0xFFFF, time))
        return found

    def start_reader(self, reader: int) -> None:
        target = self.readers.get(reader)
        if target is not None:
            if target.position is None:
                target.seek()
            target.playing = True
            self._deliver_all()

    def pause_reader(self, reader: int) -> None:
        target = self.readers.get(reader)
        if target is not None:
            target.playing = False
            target.position = None

    def remove_reader(self, reader: int) -> None:
        self.readers.pop(reader, None)

    def read_tap(
        self, reader: int, limit: int = 256
    ) -> tuple[list[tuple[int, int, int, int, int, int, bytes]], int]:
        tap = self.readers[reader]
        if not isinstance(tap, Tap):
            raise KeyError(reader)
        taken, tap.queue = tap.queue[:limit], tap.queue[limit:]
        if tap.queue:
            tap.ready()
        dropped, tap.dropped = tap.dropped, 0
        return [(i.track, i.epoch, i.number, i.time, i.arrival, i.flags, i.data) for i in taken], (
            dropped
        )

    def keyframe(self, channel: int, track: int) -> bytes | None:
        for frame in reversed(self.channels[channel].frames.items):
            if frame.track == track and frame.video and frame.flags & 1:
                return frame.data
        return None

    def _deliver_all(self) -> None:
        for reader in list(self.readers.values()):
            reader.deliver()
        for conn in list(self.conns.values()):
            if conn.outgoing:
                self._flush(conn)

    # numbers

    def totals(self) -> dict[str, int]:
        out = {
            name: sum(channel.counters[name] for channel in self.channels.values())
            for name in ("packets_out", "bytes_out")
        }
        counts = {"readers": len(self.readers), "connections": len(self.conns)}
        return {**self._totals, **out, **counts}

    def channel_stats(self, channel: int) -> dict[str, Any]:
        owner = self.channels[channel]
        readers = sum(reader.channel is owner for reader in self.readers.values())
        return {**owner.stats(self.now), "readers": readers}

    def reader_stats(self, reader: int) -> dict[str, Any]:
        return self.readers[reader].stats(self.now)
