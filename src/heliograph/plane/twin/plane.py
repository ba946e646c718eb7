"""The twin's surface: the calls of ``_plane.pyi`` on a simulated clock.

What tests drive besides: ``advance`` the clock, ``deliver`` a datagram to a simulated endpoint,
read its ``sent``. Adopted sockets are real ones: ``fileno`` is an epoll descriptor with all of
them in it, and ``drain`` moves their bytes, so that no thread is needed.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Any

from heliograph.plane.api import MeshPort, RtcPort, TlsPort
from heliograph.plane.twin.reader import ConnReader, Reader, Tap, UdpReader
from heliograph.plane.twin.senders import Senders


class TwinPlane(Senders):
    """The packet plane in plain Python. ``network=True`` binds real UDP sockets."""

    # what tests drive

    def advance(self, seconds: float) -> None:
        """Let simulated time pass, in steps of at most 10 ms so that all comes in its order."""
        end = self.now + round(seconds * 1_000_000)
        while self.now < end:
            dues = [due for sender in self.senders.values() for due in sender.dues()]
            self.now = min([self.now + 10_000, end, *(due for due in dues if due > self.now)])
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

    # WebRTC

    def rtc_open(
        self, address: str, candidates: list[str], *, capacity: int = 10_000, tcp: bool = True
    ) -> RtcPort:
        """Not simulated: cryptography and congestion control have no twin."""
        raise OSError(errno.EOPNOTSUPP, "the twin plane has no WebRTC")

    # mesh links

    def mesh_open(
        self,
        address: str,
        *,
        multicast_port: int = 0,
        multicast_interface: str = "",
        multicast_ttl: int = 1,
    ) -> MeshPort:
        """Not simulated: what links do to packets is the native plane's to show."""
        raise OSError(errno.EOPNOTSUPP, "the twin plane has no mesh links")

    # HTTPS

    def tls_open(
        self,
        fd: int,
        chain: bytes,
        key: bytes,
        *,
        connections: int = 20_000,
        handshake_ms: int = 5_000,
    ) -> TlsPort:
        """Not simulated: cryptography has no twin. Code above sees plain connections either way."""
        raise OSError(errno.EOPNOTSUPP, "the twin plane has no TLS")

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

    def want_keyframe(self, channel: int, track: int) -> None:
        """Nobody here could be asked; a test sees that it was wanted."""
        self.wanted.append((channel, track))

    # numbers

    def totals(self) -> dict[str, int]:
        out = {
            name: sum(channel.counters[name] for channel in self.channels.values())
            for name in ("packets_out", "bytes_out")
        }
        counts = {
            "readers": len(self.readers),
            "senders": len(self.senders),
            "connections": len(self.conns),
        }
        return {**self._totals, **out, **counts}

    def channel_stats(self, channel: int) -> dict[str, Any]:
        owner = self.channels[channel]
        readers = sum(reader.channel is owner for reader in self.readers.values())
        return {**owner.stats(self.now), "readers": readers}

    def reader_stats(self, reader: int) -> dict[str, Any]:
        return self.readers[reader].stats(self.now)
