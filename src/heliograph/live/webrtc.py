"""WebRTC sessions: a browser's offer in, an answer out, and what becomes of it.

Carried by HTTP as WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep); the media never come here.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn

import structlog

from heliograph.live.channel import Channel
from heliograph.live.grants import Grant
from heliograph.live.layers import Layers
from heliograph.live.offers import OfferLimits, Offers
from heliograph.live.publish import Publishing, PublishKind
from heliograph.live.readers import Reader, ReaderHooks
from heliograph.live.transcoding import Transcodes, Wish
from heliograph.model.errors import (
    BusyError,
    GoneError,
    IncompatibleError,
    MalformedError,
    NotFoundError,
    PreconditionError,
    TooLargeError,
)
from heliograph.model.media import Codec, Kind, Track
from heliograph.plane import PlaneLoop, RtcClosed, RtcPort, RtcState
from heliograph.protocols.sdp import parse_parameters

log = structlog.get_logger(__name__)

#: Bytes of an offer or a fragment; Chromium's offers have up to 8 KB.
MAX_BODY = 64 * 1024
#: What browsers send and the relay understands. The peer's order of preference decides.
PUBLISHED = (Codec.H264, Codec.VP8, Codec.VP9, Codec.AV1, Codec.OPUS)
#: What browsers can receive.
VIEWED = frozenset({*PUBLISHED, Codec.PCMU, Codec.PCMA})
#: Reason of sessions that an administrator ended; their pages shall not come back by themselves.
KICKED = "kicked"
#: Kicked sessions whose page may still ask what became of it; the oldest is forgotten first. A
#: page asks within the second, and nobody kicks a thousand in that.
MAX_KICKED = 1024
#: Random bytes of a session's name in its URL: whoever knows it may end the session.
NAME_BYTES = 16

_ENCODINGS = {
    Codec.H264: "H264",
    Codec.VP8: "VP8",
    Codec.VP9: "VP9",
    Codec.AV1: "AV1",
    Codec.OPUS: "opus",
}


@dataclass(slots=True, eq=False)
class RtcSession(ReaderHooks):
    """A publisher's or a viewer's session; made by ``Rtc.publish`` and ``Rtc.view``."""

    rtc: Rtc = field(repr=False)
    name: str
    """Names it in its URL; not to be guessed."""
    id: int
    """The plane's session id."""
    channel: Channel
    peer: str
    """Numeric address that made the offer."""
    answer: str = field(repr=False)
    publishing: Publishing | None = None
    reader: Reader | None = None
    wish: Wish | None = None
    """For sound that is made for it and others."""
    restarts: int = 0
    ended: bool = False

    @property
    def etag(self) -> str:
        """Changes with every ICE restart (RFC 9725 section 4.3.1)."""
        return f'"{self.id}-{self.restarts}"'

    def check_match(self, if_match: str) -> None:
        """Raise ``PreconditionError`` unless a request means the session as it is, by its
        ``If-Match``."""
        if not if_match:
            raise PreconditionError("If-Match is needed: the session's ETag, or * to restart", 428)
        if if_match not in ("*", '"*"', self.etag):  # clients write the star either way
            raise PreconditionError("the session was restarted since", 412)

    def patch(self, fragment: str) -> str | None:
        """Take candidates, or a restart; the fragment that answers a restart."""
        try:
            answer = self.rtc.port.patch(self.id, fragment)
        except (KeyError, ValueError) as error:
            _refuse(error)
        if answer is not None:
            self.restarts += 1
        return answer

    def end(self, reason: str = "left") -> None:
        """End it from the peer's side or ours; harmless twice."""
        if self.ended:
            return
        self.ended = True
        if self.publishing is not None and not self.publishing.closed:
            self.publishing.close(reason)
        if self.reader is not None:
            self.channel.audience.remove(self.reader, reason)
        self.unwish()
        self.rtc.forget(self)

    def unwish(self) -> None:
        """Want no sound made any more."""
        if self.wish is not None:
            self.wish.leave()

    def closed(self, reason: str) -> None:
        """The channel dismissed us."""
        if reason == KICKED:
            self.rtc.remember(self)
        self.end(reason)

    def on_plane(self, event: RtcState | RtcClosed) -> None:
        if isinstance(event, RtcClosed):
            self.end(event.reason)
            return
        log.info("webrtc peer", channel=self.channel.name, state=event.state, session=self.id)


class Rtc:
    """The server's WebRTC port and its sessions."""

    def __init__(
        self,
        loop: PlaneLoop,
        port: RtcPort,
        transcodes: Transcodes,
        limits: OfferLimits | None = None,
    ) -> None:
        self.port = port
        self.offers = Offers(limits or OfferLimits())
        self._transcodes = transcodes
        self._loop = loop
        self._sessions: dict[str, RtcSession] = {}
        self._kicked: dict[str, str] = {}

    def __iter__(self) -> Iterator[RtcSession]:
        return iter(list(self._sessions.values()))

    def __len__(self) -> int:
        return len(self._sessions)

    def has(self, name: str) -> bool:
        """Whether a session of that name lives."""
        return name in self._sessions

    def find(self, name: str, channel: str) -> RtcSession:
        """The session of that name on that channel; ``NotFoundError`` without one, ``GoneError``
        where it was kicked."""
        session = self._sessions.get(name)
        if session is None and self._kicked.get(name) == channel:
            raise GoneError("the session was ended by an administrator", subject=KICKED)
        if session is None or session.channel.name != channel:
            raise NotFoundError("no such session: it has ended", subject=channel)
        return session

    def publish(
        self, channel: Channel, offer: str, *, peer: str, grant: Grant, agent: str = ""
    ) -> RtcSession:
        """Take a publisher (WHIP).

        Raises the errors of admission, ``MalformedError``, ``TooLargeError``,
        ``IncompatibleError`` (no codec in common), ``BusyError`` (too many sessions) and
        ``TooManyError`` (too many of this peer).
        """
        channel.check_publisher(peer)
        self.offers.check(peer)
        try:
            id, answer, described = self.port.publish(offer, [codec.value for codec in PUBLISHED])
        except (KeyError, ValueError) as error:
            _refuse(error)
        tracks: list[Track] = []
        layers: Layers | None = None
        for kind, codec, rate, channels, fmtp, payload_type, rids in described:
            track = Track(
                len(tracks),
                Kind(kind),
                Codec(codec),
                rate,
                payload_type,
                channels,
                _ENCODINGS.get(Codec(codec), codec),
                parse_parameters(fmtp),
            )
            tracks.append(track)
            if layers is None and len(rids) > 1:
                layers = Layers(self._loop, self.port, id, track.id, track, len(rids))
        session = RtcSession(self, _new_name(), id, channel, peer, answer)
        try:
            session.publishing = channel.publish(
                tracks, PublishKind.WHIP, peer, grant=grant, on_closed=session.closed
            )
            session.publishing.agent = agent
            places = [(track.id, track.id) for track in tracks]
            self.port.attach(id, session.publishing.add_input(), places)
            session.publishing.layers = layers
        except BaseException as error:
            self.port.close_session(id)
            if isinstance(error, KeyError):  # the session or the channel ended meanwhile
                _refuse(error)
            raise
        return self._keep(session)

    def view(
        self, channel: Channel, offer: str, *, peer: str, grant: Grant, agent: str = ""
    ) -> RtcSession:
        """Take a viewer (WHEP); raises as ``publish``."""
        channel.audience.check(peer, grant=grant)
        self.offers.check(peer)
        playable = [track for track in channel.tracks if track.codec in VIEWED]
        made = next((track for track in channel.derived if track.codec is Codec.OPUS), None)
        if not any(track.kind is Kind.VIDEO for track in playable) and any(
            track.kind is Kind.VIDEO for track in channel.tracks
        ):
            codecs = ", ".join(sorted({track.codec.value for track in channel.tracks}))
            raise IncompatibleError(
                f"channel {channel.name!r} carries {codecs}, which WebRTC does not",
                subject=channel.name,
            )
        session = RtcSession(self, _new_name(), 0, channel, peer, "")
        if made is not None:
            try:
                session.wish = self._transcodes.want(channel, made)
                playable.append(made)
            except BusyError as error:  # a picture without sound is better than neither
                log.warning("webrtc without sound", channel=channel.name, reason=error.message)
                if not playable:
                    raise
        try:
            session.reader, session.answer = channel.audience.add_rtc(
                self.port, offer, playable, peer=peer, hooks=session, grant=grant, agent=agent
            )
        except BaseException as error:
            session.unwish()
            if isinstance(error, KeyError | ValueError):
                _refuse(error)
            raise
        session.id = session.reader.plane_reader
        return self._keep(session)

    def _keep(self, session: RtcSession) -> RtcSession:
        self._sessions[session.name] = session
        self.offers.opened(session.peer)
        self._loop.on_rtc(session.id, session.on_plane)
        return session

    def remember(self, session: RtcSession) -> None:
        """A session is being kicked: whoever asks for it shall know."""
        self._kicked[session.name] = session.channel.name
        if len(self._kicked) > MAX_KICKED:
            del self._kicked[next(iter(self._kicked))]

    def forget(self, session: RtcSession) -> None:
        """A session ended."""
        if self._sessions.pop(session.name, None) is not None:
            self.offers.closed(session.peer)
        self._loop.forget_rtc(session.id)
        self.port.close_session(session.id)

    def close(self, reason: str = "server stopping") -> None:
        """End all sessions, whose peers are told, and close the port."""
        for session in self:
            session.end(reason)
        self.port.close()


def _new_name() -> str:
    return secrets.token_urlsafe(NAME_BYTES)


def _refuse(error: ValueError | KeyError) -> NoReturn:
    """Say in our errors why the plane refused an offer."""
    kind, message = error.args if len(error.args) == 2 else ("unknown", "the session has ended")
    match kind:
        case "malformed":
            raise MalformedError("offer", message) from None
        case "too-large":
            raise TooLargeError(message) from None
        case "nothing":
            raise MalformedError("offer", message) from None
        case "codec":
            raise IncompatibleError(message) from None
        case "full":
            raise BusyError(message, subject="sessions") from None
    raise NotFoundError("no such session: it has ended") from None
