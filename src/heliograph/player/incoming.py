"""What comes of one session: packets in, arrivals with media times out. Pure.

``Incoming`` knows who may send, keeps what comes before PLAY's answer has told which media time it
has, numbers packets, and counts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from heliograph.model.errors import MalformedError
from heliograph.player.arrivals import Arrival
from heliograph.player.losses import Losses
from heliograph.player.reception import Reception
from heliograph.player.senders import MISORDER, Address, Senders
from heliograph.player.streams import Stream
from heliograph.player.timeline import Origin, Timeline
from heliograph.protocols import rtcp
from heliograph.protocols.rtp import RtpPacket, sequence_distance
from heliograph.protocols.rtsp.events import Playing

#: Packets kept while an answer to PLAY is awaited: half a second of 45 Mbit/s.
MAX_STASH = 4096
#: How many of them may be of somebody who is not known to send, and perhaps will be.
MAX_STRANGE = 1024
#: Seconds after a start within which packets of before may come, of nodes that heard of it later.
SETTLE = 2.0
#: Seconds of media that may be ahead of the start then, beside ``MOST`` a second; and behind it.
AHEAD, BEHIND = 3.0, 1.0
#: Seconds of media that a server sends in a second at most.
MOST = 2.0


class Receiver(Protocol):
    """Who takes what a feed brings. All is called in the event loop and must not wait."""

    def arrived(self, arrival: Arrival, media: float) -> None:
        """A packet came; ``media``: its media time in seconds."""

    def restarted(self, stream: int, start: float, first: int | None) -> None:
        """Media of this stream begin anew at ``start``; what was buffered is of the past.
        ``first``: number of the packet that it begins with, where that is known."""

    def moved(self, stream: int, seconds: float) -> None:
        """Media times told so far were too low by so much."""


class _Kept(NamedTuple):
    track: int
    packet: RtpPacket
    address: Address | None
    now: float


class Incoming:
    """The packets of one session."""

    def __init__(
        self, streams: Sequence[Stream], receiver: Receiver, *, origin: Origin, title: bool
    ) -> None:
        """``origin``: of all sessions played together. ``title``: it has a beginning and an end."""
        self._receiver, self._title = receiver, title
        self._streams = {stream.track.id: stream for stream in streams}
        self._senders: Senders | None = None
        self._ssrcs: Mapping[int, int | None] = {}
        self._stash: deque[_Kept] | None = None
        self._infos: dict[int, int] = {}  # by track: first sequence number of what was asked for
        self._begin_anew = False
        self._begun: tuple[float, float] | None = None  # media time of the start, and when
        self._timeline = Timeline(
            {s.track.id: s.track.clock_rate for s in streams},
            origin=origin,
            on_moved=lambda track, seconds: receiver.moved(self._streams[track].index, seconds),
        )
        self.receptions = {s.index: Reception(s.track.clock_rate) for s in streams}
        """By stream."""
        self.losses = Losses()
        """What is missing, where senders are asked again."""
        self.last_packet = 0.0
        """When the newest packet came."""
        self.stashed_away = 0
        """Packets dropped since the answer to PLAY came too late."""
        self.strangers = 0
        """Datagrams from who does not send this session."""
        self.stale = 0
        """Packets of before a seek."""

    def sent_by(
        self, senders: Senders, losses: Losses, ssrcs: Mapping[int, int | None] | None = None
    ) -> None:
        """It is known who will send. ``ssrcs``: by track, as far as told."""
        self._senders, self.losses, self._ssrcs = senders, losses, ssrcs or {}
        if senders.shared:
            self.receptions = {
                s.index: Reception(s.track.clock_rate, misorder=MISORDER)
                for s in self._streams.values()
            }

    @property
    def related(self) -> bool:
        """Whether its streams' media times are told by the server, not guessed."""
        return self._timeline.related

    @property
    def finished(self) -> bool:
        """Whether all senders said that nothing more comes."""
        return self._senders is not None and self._senders.finished

    # --- starts -----------------------------------------------------------------------------------

    def expect_start(self, *, anew: bool = True) -> None:
        """Keep packets until PLAY's answer tells which media time they have."""
        self._stash = deque()
        self._begin_anew = anew

    def started(self, event: Playing, now: float) -> None:
        """PLAY was answered: before any packet that came behind the answer."""
        if self._stash is None:
            return
        infos = [(t, i.rtptime) for t, i in event.rtp_info if i.rtptime is not None]
        start = event.range.start_seconds if event.range is not None else None
        self._infos = {t: i.seq for t, i in event.rtp_info if i.seq is not None}
        if self._begin_anew:
            self._begun = (start or 0.0, now)
            self._timeline.begin(start or 0.0, infos if self._title else [])
            if self._senders is not None:
                self._senders.restart()
            for track, stream in self._streams.items():
                self.receptions[stream.index].restart()
                self.losses.clear(stream.index)
                first = None
                if self._senders is not None and track in self._infos:
                    first = self._senders.begin(stream.index, self._infos[track])
                self._receiver.restarted(stream.index, start or 0.0, first)
        elif infos and start is not None:
            self._timeline.begin(start, infos)
        self.release()

    def release(self) -> None:
        """There is an answer, or there will be none: keep packets no longer."""
        stash, self._stash = self._stash, None
        for kept in stash or ():
            # By UDP what was sent before the seek may come after its answer, and the other way
            # round; sequence numbers tell.
            if self._begin_anew and kept.track not in self._infos:
                continue
            assert self._senders is not None, "something was kept"
            if self._senders.knows(kept.address, control=False):
                self._deliver(self._senders, *kept)
            else:
                self.strangers += 1

    # --- packets ----------------------------------------------------------------------------------

    def take(
        self,
        track: int,
        is_rtcp: bool,
        data: bytes,
        address: Address | None,
        now: float,
        unix_us: int,
    ) -> bool:
        """A datagram came, or a frame (no address); whether it was a packet of the session.

        ``now``: the player's clock; ``unix_us``: the machine's.
        """
        stream, senders = self._streams.get(track), self._senders
        if stream is None or senders is None:
            return False
        known = senders.knows(address, control=is_rtcp)
        early = self._stash is not None and senders.shared
        if not known and (is_rtcp or not early):
            self.strangers += 1
            return False
        reception = self.receptions[stream.index]
        if is_rtcp:
            self._take_report(stream, reception, data, address, unix_us)
            return False
        try:
            packet = RtpPacket.parse(data)
        except MalformedError:
            reception.malformed += 1
            return False
        wrong = (self._ssrcs.get(track) or packet.ssrc) != packet.ssrc
        if packet.payload_type != stream.track.payload_type or wrong:
            reception.malformed += 1
            return False
        if known:
            self.last_packet = now
        if self._stash is None:
            self._deliver(senders, track, packet, address, now)
        elif len(self._stash) < (MAX_STASH if known else MAX_STRANGE):
            self._stash.append(_Kept(track, packet, address, now))
        else:
            self.stashed_away += 1
        return known

    def _take_report(
        self,
        stream: Stream,
        reception: Reception,
        data: bytes,
        address: Address | None,
        unix_us: int,
    ) -> None:
        report, goodbye = reception.take_rtcp(data, unix_us)
        if report is not None:
            wall = rtcp.unix_us_from_ntp(report.ntp) / 1e6
            self._timeline.report(stream.track.id, wall, report.rtp_timestamp)
        if goodbye and self._senders is not None:
            self._senders.goodbye(stream.index, address)

    def _deliver(
        self,
        senders: Senders,
        track: int,
        packet: RtpPacket,
        address: Address | None,
        now: float,
    ) -> None:
        first = self._infos.get(track)
        if first is not None and self._begin_anew and not senders.shared:
            ahead = sequence_distance(first, packet.sequence_number)
            if ahead < 0:
                return  # of what was played before
            if ahead > 1000:
                del self._infos[track]  # before the numbers wrap
        stream = self._streams[track].index
        reception = self.receptions[stream]
        try:
            arrival = senders.arrival(stream, packet, address, now)
        except MalformedError:
            reception.malformed += 1
            return
        if arrival is None:
            reception.take(packet, now)
            return
        media = self._timeline.media(track, packet.timestamp, now)
        if senders.shared and self._of_before(first, packet.sequence_number, media, now):
            self.stale += 1
            return
        reception.take(packet, now)
        self._receiver.arrived(arrival, media)

    def _of_before(self, first: int | None, sequence: int, media: float, now: float) -> bool:
        """Whether a packet belongs to what was played before a seek.

        Where numbers are the title's they tell only what lies before the start; beyond it, what the
        nodes can have sent by now. What is not too far off fits in, being the title's there.
        """
        if self._begun is None:
            return False
        start, at = self._begun
        if now - at > SETTLE:
            return False
        if first is not None and sequence_distance(first, sequence) < 0:
            return True
        return not -BEHIND <= media - start <= AHEAD + MOST * (now - at)
