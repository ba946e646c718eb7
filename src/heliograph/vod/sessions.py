"""One viewer of a title: blocks are read ahead and fed to the plane's paced sender.

Python says which block comes next and by when it is wanted; the plane sends packets when they are
due. Everything a session holds is bounded, as ``feeding`` says.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, Protocol, TypeAlias

import structlog

from heliograph.model.errors import BusyError, NotFoundError, WrongStateError
from heliograph.plane import PlaneLoop, SenderClosed, SenderEnded, SenderEvent, SenderStats
from heliograph.vod.block_reader import Counters
from heliograph.vod.feeding import OPEN, Feeder
from heliograph.vod.manifest import BlockSource, Manifest
from heliograph.vod.playing import (
    MOST_PACE,
    SPEEDS,
    PlayState,
    Started,
    Turns,
    Viewer,
    Wish,
    choose_scale,
)
from heliograph.vod.promises import Promise
from heliograph.vod.reading import picture_of

log = structlog.get_logger(__name__)

_ids = itertools.count(1)

#: Subject of the refusal of a time that has passed: RTSP answers 457 for it.
RANGE = "range"
#: µs from a start to its first packet: the answer to the player goes before.
LEAD_US = 20_000


def next_id() -> int:
    """A number of a session, unique within the process, for people and the API."""
    return next(_ids)


class Session(Protocol):
    """A viewer of a title as others see it: of one node, or of several together."""

    id: int
    since: datetime
    viewer: Viewer

    @property
    def manifest(self) -> Manifest: ...
    @property
    def counters(self) -> Counters: ...
    def stats(self) -> SenderStats: ...
    def describe(self) -> dict[str, Any]: ...
    def resync(self) -> None: ...


def described(session: Session, stats: SenderStats) -> dict[str, Any]:
    """What the API tells alike of every session."""
    return {
        "id": session.id,
        "title": session.manifest.name,
        "kind": session.viewer.way,
        "peer": session.viewer.peer,
        "agent": session.viewer.agent,
        "since": session.since.isoformat(),
        "packets": stats.packets,
        "bytes": stats.bytes,
        "queued": stats.queued_us / 1e6,
        "late": stats.late_20ms,
        "lost_blocks": session.counters.lost,
        "read_errors": session.counters.errors,
        "loss": stats.rr_loss_permille / 1000,
        "jitter_us": stats.rr_jitter_us,
    }


@dataclass(frozen=True, slots=True)
class SessionEvent:
    """What statistics and pages are told."""

    kind: Literal["session-joined", "session-left"]
    session: Session = field(repr=False)
    reason: str = ""


Observer: TypeAlias = Callable[[SessionEvent], None]


class PlaySession:
    """Plays one title to one viewer. Made with a promise, ended by ``close``."""

    def __init__(
        self,
        manifest: Manifest,
        source: BlockSource,
        loop: PlaneLoop,
        tracks: Sequence[int],
        attach: Callable[[int], None],
        viewer: Viewer,
        *,
        promise: Promise | None = None,
        observe: Observer | None = None,
        on_closed: Callable[[str], None] | None = None,
        renew: Callable[[], Manifest | None] | None = None,
    ) -> None:
        """``tracks``: ids of those that the viewer takes. ``attach``: gives a sender of the plane
        its destination, as ``sender_to_udp`` does. ``promise`` is released at the end.
        ``on_closed``: told why when it ends without ``close``. ``renew``: gives the manifest of a
        title that grows."""
        chosen = [one for one in manifest.tracks if one.track.id in tracks]
        if len(chosen) != len(set(tracks)) or not chosen:
            raise NotFoundError(f"no such tracks of title {manifest.name}", subject=manifest.name)
        self.id = next_id()
        """Unique within the process, for people and the API."""
        self.viewer = viewer
        self.since = datetime.now(UTC)
        self.state = PlayState.IDLE
        self.starts = 0
        """PLAY, seeking included."""
        self.final: SenderStats | None = None
        """The sender's counters at the end."""
        self._tracks = chosen
        self._picture = picture_of(chosen, tracks)
        self._loop = loop
        self._plane = loop.plane
        self._attach = attach
        self._promise = promise
        self._observe = observe
        self._on_closed = on_closed
        self._turns = Turns()
        self._stop_at: asyncio.TimerHandle | None = None
        self._scale = self._speed = 1.0
        self._log: Any = log.bind(title=manifest.name, session=self.id, peer=viewer.peer)
        self._sender = self._open()
        self._feeder = Feeder(
            manifest,
            source,
            loop.plane,
            self._sender,
            self._picture,
            self._log,
            failed=self._end,
            renew=renew,
        )
        self._log.info("title session began", way=viewer.way)
        self._tell("session-joined")

    # the plane's sender

    def _open(self) -> int:
        bits = secrets.randbits
        tracks = [
            (
                one.track.id,
                bits(32),
                one.track.payload_type,
                one.track.clock_rate,
                bits(16),
                bits(32),
            )
            for one in self._tracks
        ]
        sender = self._plane.open_sender(tracks, cname=f"{secrets.token_hex(8)}@heliograph")
        try:
            self._attach(sender)
        except BaseException:
            self._plane.close_sender(sender)
            raise
        self._loop.on_sender(sender, self._on_sender)
        return sender

    def _on_sender(self, event: SenderEvent) -> None:
        if isinstance(event, SenderClosed):
            self._end(event.reason)
        elif isinstance(event, SenderEnded):
            stats = self._sender_stats()  # it may have been started anew since it told that
            if self.state is PlayState.PLAYING and stats.state == "ended":
                self.state = PlayState.ENDED
                self._feeder.entered = False
                self._feeder.rest()
                self._log.info("title ended", position_us=stats.position_us)
        self._feeder.wake()

    def _sender_stats(self) -> SenderStats:
        try:
            return SenderStats.of(self._plane.sender_stats(self._sender))
        except KeyError:
            return SenderStats()

    # what the viewer asks for

    async def play(self, wish: Wish) -> Started:
        """Play, or go on playing elsewhere in the title, or otherwise.

        The first packets leave ``LEAD_US`` after this returns. ``ResourceError``, ``RemoteError``:
        nothing can be read now; ``GoneError``: nothing of it is left; the session stays.
        """
        try:
            return await self._play(wish)
        except KeyError:  # the plane lost the sender with its connection meanwhile
            raise NotFoundError("the connection is gone", subject=self.manifest.name) from None

    async def _play(self, wish: Wish) -> Started:
        if self._is_closed():
            raise WrongStateError("the session is over")
        scale = choose_scale(wish.scale, self._picture is not None)
        speed = min(max(wish.speed, SPEEDS[0]), SPEEDS[1])
        granted = self._granted(min(scale, MOST_PACE) if scale > 1 else speed)
        speed = min(speed, granted) if scale <= 1 else 1.0
        end = OPEN if wish.end_us is None else wish.end_us
        if wish.start_us is None and self._goes_on(scale, end):
            await self._feeder.stop()
            start = self._plane.sender_pause(self._sender)
            self._rests()
        else:
            wanted = self._wanted(wish)
            self._rests()
            await asyncio.sleep(self._turns.take(asyncio.get_running_loop().time()))
            start = await self._feeder.enter(wanted, end, scale, granted if scale > 1 else 1.0)
        if self._is_closed():
            raise WrongStateError("the session is over")
        if wish.end_us is not None and wish.end_us <= start:
            raise _past(f"it ends at {wish.end_us / 1e6:g} s, and is at {start / 1e6:g} s")
        self._cancel_stop()
        self._scale, self._speed = scale, speed
        starts = self._plane.sender_start(
            self._sender,
            start,
            at_us=self._plane.monotonic_us() + LEAD_US,
            rate=speed,
            scale=scale,
            until_us=wish.end_us,
            tracks=None if scale == 1 or self._picture is None else [self._picture],
        )
        self.starts += 1
        self.state = PlayState.PLAYING
        self._feeder.start(end, scale, speed)
        self._log.info("title plays", start_us=start, scale=scale, speed=speed)
        lanes = {id: (number, at) for id, number, at in starts}
        end = min(end, self.manifest.duration_us)
        return Started(start, end, scale, speed, lanes)

    def _rests(self) -> None:
        if self.state is PlayState.PLAYING:
            self.state = PlayState.PAUSED

    def _is_closed(self) -> bool:
        return self.state is PlayState.CLOSED

    @property
    def playing(self) -> bool:
        """Whether packets are being sent."""
        return self.state is PlayState.PLAYING

    @property
    def manifest(self) -> Manifest:
        """The title; of one that is being recorded, as it was lately."""
        return self._feeder.manifest

    @property
    def counters(self) -> Counters:
        """What became of its blocks."""
        return self._feeder.counters

    def _goes_on(self, scale: float, end_us: int) -> bool:
        """Whether what the plane has is what comes next."""
        feeder = self._feeder
        same = (scale > 1) == (self._scale > 1)
        return feeder.entered and same and (not feeder.finished or feeder.end_us == end_us)

    def _wanted(self, wish: Wish) -> int:
        """Where to play from, in µs of media time."""
        if wish.start_us is not None:
            return wish.start_us
        if self.state is PlayState.IDLE:
            return 0
        at = self._feeder.end_us if self.state is PlayState.ENDED else self.position_us
        return 0 if at >= self.manifest.duration_us else at

    def _granted(self, rate: float) -> float:
        """How many times as fast as usual the title may be read and sent: as asked for, or at the
        usual rate, which was promised."""
        if self._promise is not None:
            try:
                self._promise.change(rate)
            except BusyError:
                self._promise.change(1.0)
                return 1.0
        return rate

    def pause(self, at_us: int | None = None) -> int:
        """Stop, at once or when a media time is reached; the media time where it stands.

        ``WrongStateError`` where that time has passed.
        """
        if self.state is not PlayState.PLAYING:
            return self.position_us
        position = self.position_us
        self._cancel_stop()
        if at_us is not None:
            if at_us < position:
                raise _past("that time has passed")
            self._pause_later(at_us, position)
            return position
        self._feeder.rest()
        at = self._plane.sender_pause(self._sender)
        self.state = PlayState.PAUSED
        self._log.info("title paused", position_us=at)
        return at

    def _pause_later(self, at_us: int, position: int) -> None:
        seconds = (at_us - position) / 1e6 / (self._scale * self._speed)
        loop = asyncio.get_running_loop()
        self._stop_at = loop.call_later(max(seconds, 0.0), self._pause_when_due, at_us)

    def _pause_when_due(self, at_us: int) -> None:
        self._stop_at = None
        if self.state is PlayState.PLAYING:
            position = self.position_us
            if position < at_us - 1000:  # the sender waited for a viewer or a disk meanwhile
                self._pause_later(max(at_us, position + 1000), position)
            else:
                self.pause()

    def _cancel_stop(self) -> None:
        if self._stop_at is not None:
            self._stop_at.cancel()
            self._stop_at = None

    @property
    def position_us(self) -> int:
        """Media time that plays now."""
        return self._sender_stats().position_us

    def close(self, reason: str = "left") -> None:
        """The viewer leaves; ``on_closed`` is not called."""
        self._on_closed = None
        self._end(reason)

    def _end(self, reason: str) -> None:
        if self._is_closed():
            return
        self.final = self.stats()
        self.state = PlayState.CLOSED
        self._cancel_stop()
        self._feeder.rest()
        self._loop.forget_sender(self._sender)
        self._plane.close_sender(self._sender)
        if self._promise is not None:
            self._promise.release()
        self._log.info("title session ended", reason=reason, lost=self.counters.lost)
        self._tell("session-left", reason)
        if self._on_closed is not None:
            self._on_closed(reason)

    def resync(self) -> None:
        """Ask the plane anew what is, after events were lost."""
        if self._is_closed():
            return
        try:
            stats = SenderStats.of(self._plane.sender_stats(self._sender))
        except KeyError:
            self._end("closed")
            return
        if stats.state == "ended":
            self._on_sender(SenderEnded(self._sender))
        self._feeder.wake()

    # for people

    def stats(self) -> SenderStats:
        """The counters of all that was sent; the last ones after the end."""
        return self.final or self._sender_stats()

    def describe(self) -> dict[str, Any]:
        """For the API: who watches what, with counters."""
        stats = self.stats()
        return described(self, stats) | {
            "state": self.state.value,
            "position": stats.position_us / 1e6,
            "scale": self._scale,
            "speed": self._speed,
            "underruns": stats.underruns,
            "read_latency": self._feeder.window.latency,
        }

    def _tell(self, kind: Literal["session-joined", "session-left"], reason: str = "") -> None:
        if self._observe is not None:
            self._observe(SessionEvent(kind, self, reason))


def _past(reason: str) -> WrongStateError:
    return WrongStateError(f"invalid range: {reason}", subject=RANGE)
