"""The twin's paced senders: the calls of ``_plane.pyi``, and how they reach sockets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from heliograph.plane.twin.conn import HIGH_WATER, Conn
from heliograph.plane.twin.media import receiver_report, wanted_again
from heliograph.plane.twin.network import Network
from heliograph.plane.twin.sender import FASTEST, Out, Sender, TrackSpec, Way
from heliograph.plane.twin.udp import Endpoint


class Senders(Network):
    """Senders on the twin's clock."""

    def monotonic_us(self) -> int:
        return self.now

    def open_sender(
        self,
        tracks: Sequence[TrackSpec],
        *,
        cname: str = "",
        low_us: int = 3_000_000,
        max_bytes: int = 32 << 20,
        node: tuple[int, int] | None = None,
        keep_us: int = 2_000_000,
        ahead_us: int = 0,
    ) -> int:
        outs = {track: Out(*rest) for track, *rest in tracks}
        if not outs or len(outs) != len(tracks):
            raise ValueError("a sender has tracks, each once")
        if any(not out.clock or out.payload_type > 127 for out in outs.values()):
            raise ValueError("clock rate and payload type: 1 and more, 0 to 127")
        if node is not None and not (0 <= node[0] < 1 << 16 and 1 <= node[1] <= 14):
            raise ValueError("node number and extension id: 0 to 65535, 1 to 14")
        sender = Sender(self._id(), outs, self._emit, cname, low_us, max_bytes, node, keep_us)
        sender.ahead_us = 0 if node is None else ahead_us
        sender.roomy = lambda: self.ahead_bits > 0
        self.senders[sender.id] = sender
        return sender.id

    ahead_bits = 0
    """What senders may send together while packets go ahead; the twin does not count."""

    def limit_ahead(self, bits: int) -> None:
        self.ahead_bits = bits

    def sender_to_udp(
        self, sender: int, endpoint: int, destinations: Sequence[tuple[int, str, int, int]]
    ) -> None:
        one, target = self.senders[sender], self.endpoints[endpoint]
        to = {track: (address, rtp, rtcp) for track, address, rtp, rtcp in destinations}
        one.way = _udp_way(target, to)
        one.takes = lambda: True
        one.reaches, one.conn, one.endpoint = frozenset(to), None, endpoint
        one.controls = frozenset((address, rtcp) for address, _, rtcp in to.values())

    def sender_to_conn(
        self, sender: int, conn: int, tracks: Sequence[tuple[int, int, int]]
    ) -> None:
        one, target = self.senders[sender], self.conns[conn]
        if target.kind != "rtsp":
            raise ValueError("packets go on RTSP connections only")
        channels = {track: (rtp, rtcp) for track, rtp, rtcp in tracks}
        one.way = _conn_way(target, channels)
        one.takes = lambda: len(target.outgoing) < HIGH_WATER
        one.reaches, one.conn, one.endpoint = frozenset(channels), conn, None
        one.controls = frozenset()

    def sender_feed(self, sender: int, block: bytes) -> None:
        self.senders[sender].feed(block)
        self._pump(self.senders[sender])

    def sender_start(
        self,
        sender: int,
        from_us: int,
        *,
        at_us: int | None = None,
        rate: float = 1.0,
        scale: float = 1.0,
        keys_only: bool | None = None,
        until_us: int | None = None,
        tracks: Sequence[int] | None = None,
    ) -> list[tuple[int, int, int]]:
        one = self.senders[sender]
        if one.way is None:
            raise ValueError("the sender has no destination")
        _check(rate, scale)
        found = one.start(
            self.now,
            from_us,
            self.now if at_us is None else at_us,
            rate,
            scale,
            scale > 1 if keys_only is None else keys_only,
            until_us,
            None if tracks is None else frozenset(tracks),
        )
        self._pump(one)
        return found

    def sender_pause(self, sender: int) -> int:
        return self.senders[sender].stop(self.now)

    def sender_rate(
        self, sender: int, rate: float, *, at_us: int | None = None, from_us: int | None = None
    ) -> None:
        _check(rate, 1.0)
        one = self.senders[sender]
        one.set_rate(self.now if at_us is None else at_us, rate, from_us)
        self._pump(one)

    def sender_flush(self, sender: int) -> None:
        self.senders[sender].flush(self.now)

    def sender_end(self, sender: int) -> None:
        self.senders[sender].finished = True
        self._pump(self.senders[sender])

    def sender_resend(self, sender: int, numbers: Sequence[int]) -> int:
        return self.senders[sender].resend(self.now, numbers)

    def sender_stats(self, sender: int) -> dict[str, Any]:
        return self.senders[sender].stats(self.now)

    def close_sender(self, sender: int) -> None:
        one = self.senders.pop(sender, None)
        if one is not None and one.time is not None:
            one.goodbye(self.now)
            self._flush_all()

    # how they run

    def _pump(self, sender: Sender) -> None:
        sender.pump(self.now)
        self._flush_all()

    def _flush_all(self) -> None:
        for conn in list(self.conns.values()):
            if conn.outgoing:
                self._flush(conn)

    def _deliver_all(self) -> None:
        for sender in list(self.senders.values()):
            sender.pump(self.now)
        super()._deliver_all()

    def _foreign_report(self, address: str, port: int, data: bytes) -> bool:
        for sender in self.senders.values():
            if (address, port) in sender.controls:
                self._sender_rtcp(sender, data)
                return True
        return False

    def _conn_report(self, conn: Conn, data: bytes) -> bool:
        for sender in self.senders.values():
            if sender.conn == conn.id:
                self._sender_rtcp(sender, data)
                return True
        return False

    def _sender_rtcp(self, sender: Sender, data: bytes) -> None:
        sender.last_rtcp = self.now
        numbers = wanted_again(data)
        if numbers and sender.node is not None:
            sender.resend(self.now, numbers)
        report = receiver_report(data)
        if report is not None:
            clocks = {out.ssrc: out.clock for out in sender.outs.values()}
            sender.loss_permille = report.loss_permille
            sender.jitter = report.jitter * 1_000_000 // clocks.get(report.ssrc, 90_000)

    def _conn_ended(self, conn: Conn, reason: str) -> None:
        for sender in list(self.senders.values()):
            if sender.conn == conn.id:
                del self.senders[sender.id]
                self._emit("sender-closed", sender.id, reason)


def _check(rate: float, scale: float) -> None:
    for factor in (rate, scale):
        if not (math.isfinite(factor) and 1 / FASTEST <= factor <= FASTEST):
            raise ValueError("rate and scale are 1/64 to 64")


def _udp_way(endpoint: Endpoint, to: dict[int, tuple[str, int, int]]) -> Way:
    def send(track: int, packet: bytes, rtcp: bool) -> None:
        if track in to:
            address, rtp_port, rtcp_port = to[track]
            if not rtcp or rtcp_port:
                endpoint.send(address, rtcp_port if rtcp else rtp_port, packet, rtcp=rtcp)

    return send


def _conn_way(conn: Conn, channels: dict[int, tuple[int, int]]) -> Way:
    def send(track: int, packet: bytes, rtcp: bool) -> None:
        if track in channels:
            channel = channels[track][rtcp]
            conn.outgoing += b"$" + bytes([channel]) + len(packet).to_bytes(2) + packet

    return send
