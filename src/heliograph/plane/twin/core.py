"""What all of the twin rests on: ids, the simulated clock, events, channels and their sources."""

from __future__ import annotations

import os
import select
from collections import deque
from collections.abc import Sequence
from typing import Any

from heliograph.plane.twin.channel import Channel, Source, TrackSpec
from heliograph.plane.twin.conn import Conn
from heliograph.plane.twin.media import parse_rtp
from heliograph.plane.twin.reader import Reader
from heliograph.plane.twin.sender import Sender
from heliograph.plane.twin.udp import Endpoint

#: The simulated clock starts here: 2025-01-01T00:00:00Z in Unix µs.
START_US = 1_735_689_600_000_000


class Core:
    """Channels without sockets."""

    def __init__(self, *, workers: int = 1, events: int = 65536, network: bool = False) -> None:
        self.now = START_US
        self.network = network
        self.endpoints: dict[int, Endpoint] = {}
        self.channels: dict[int, Channel] = {}
        self.sources: dict[int, tuple[Channel, Source]] = {}
        self.inputs: dict[int, int] = {}
        self.conns: dict[int, Conn] = {}
        self.readers: dict[int, Reader] = {}
        self.senders: dict[int, Sender] = {}
        self.wanted: list[tuple[int, int]] = []
        """Keyframes that were wanted: (channel, track)."""
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

    # events

    def fileno(self) -> int:
        return self._epoll.fileno()

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

    def add_mesh_source(self, channel: int, priority: int, tracks: Sequence[TrackSpec]) -> int:
        return self.add_source(channel, priority, tracks)  # without links nothing ever feeds it

    def channel_marks(self, channel: int) -> list[tuple[int, int, int]]:
        owner = self.channels[channel]
        return [
            (track, owner.epoch, out.next_number - 1)
            for track, out in owner.out.items()
            if out.next_number > 0
        ]

    def flush_channel(self, channel: int) -> None:
        owner = self.channels[channel]
        owner.packets.clear()
        owner.frames.clear()

    def claim_epoch(self, channel: int, epoch: int) -> None:
        owner = self.channels[channel]
        owner.epoch = max(owner.epoch, epoch)

    def overtake_epoch(self, channel: int, epoch: int, numbers: list[tuple[int, int]]) -> None:
        owner = self.channels[channel]
        if owner.active is None or owner.epoch > epoch:
            self.claim_epoch(channel, epoch)
        else:
            owner.overtake(epoch, dict(numbers))

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
        owner.inputs[input] = [0, 0]
        self.inputs[input] = source
        return input

    def remove_input(self, input: int) -> None:
        source = self.inputs.pop(input, None)
        if source in self.sources:
            del self.sources[source][1].inputs[input]
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
        counters = source.inputs[input]
        counters[0] += 1
        counters[1] += len(packet)
        return channel.receive(source, track, packet, rtp, self.now)

    def _deliver_all(self) -> None:
        for reader in list(self.readers.values()):
            reader.deliver()
        for conn in list(self.conns.values()):
            if conn.outgoing:
                self._flush(conn)

    def _flush(self, conn: Conn) -> None:
        raise NotImplementedError
