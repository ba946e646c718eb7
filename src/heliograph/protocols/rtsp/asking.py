"""What a request asks for, in the state that its session is in."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import NamedTuple

from heliograph.model.errors import WrongStateError
from heliograph.protocols.rtsp.addressing import Addressing, aggregate_target, read_announcement
from heliograph.protocols.rtsp.events import (
    DescribeRequested,
    ParameterRequested,
    RecordRequested,
    ServerEvent,
    SessionShown,
    SetupRequested,
    StrayPlayRequested,
    TeardownRequested,
)
from heliograph.protocols.rtsp.headers import LIVE, parse_session, parse_transports
from heliograph.protocols.rtsp.messages import Request
from heliograph.protocols.rtsp.negotiation import split_track, usable_transports
from heliograph.protocols.rtsp.playing import read_pause, read_play
from heliograph.protocols.rtsp.requests import RequestRefused, check_request
from heliograph.protocols.rtsp.session import Session
from heliograph.protocols.rtsp.states import METHODS, TRANSITIONS, State
from heliograph.protocols.rtsp.targets import Target, parse_target


class Granted(NamedTuple):
    """Nobody has to be asked: the answer is 200."""

    headers: tuple[tuple[str, str], ...] = ()


def read_request(
    request: Request,
    session: Session,
    addressing: Addressing,
    knows: Callable[[str], bool] | None,
) -> ServerEvent | Granted:
    """What the adapter is to be asked for a request, if anything.

    ``knows``: whether a session of that id, begun on another connection, can go on here. Raises
    ``RequestRefused`` and what else is the client's fault.
    """
    check_request(request)
    target = parse_target(request.url)
    elsewhere = _elsewhere(request, session, knows)
    if elsewhere is not None:
        return SessionShown(target, elsewhere)
    method = request.method
    if method == "PLAY" and session.id is None:
        return StrayPlayRequested(parse_target(split_track(request.url)[0]))
    _check_session(request, session)
    if method == "OPTIONS":
        return Granted((("Public", ", ".join(METHODS)),))
    if method == "DESCRIBE":
        return DescribeRequested(target)
    if method in ("GET_PARAMETER", "SET_PARAMETER"):
        if request.body:
            return ParameterRequested(target, method == "SET_PARAMETER", request.body)
        return Granted()  # a sign of life
    if (session.state, method) not in TRANSITIONS:
        # Without a session there is no state to be wrong (RFC 2326 §11.3.5).
        if session.id is None and method != "ANNOUNCE":
            raise RequestRefused(454)
        raise WrongStateError(f"{method} in state {session.state}")
    if method == "ANNOUNCE":
        return read_announcement(request, target)
    if method == "SETUP":
        return _read_setup(request, session, addressing)
    return _read_session_method(request, session, target)


def _elsewhere(
    request: Request, session: Session, knows: Callable[[str], bool] | None
) -> str | None:
    """The id of a session of another connection that the request is for."""
    value = request.headers.get("session")
    if value is None or session.id is not None or knows is None:
        return None
    shown = parse_session(value).id
    return shown if knows(shown) else None


def _check_session(request: Request, session: Session) -> None:
    value = request.headers.get("session")
    needs = request.method in ("PLAY", "RECORD", "PAUSE", "TEARDOWN")
    if value is None:
        if needs:
            raise RequestRefused(454)
        return
    shown = parse_session(value).id
    known = session.id or ""
    if not hmac.compare_digest(shown.encode("utf-8", "replace"), known.encode("utf-8")):
        raise RequestRefused(454)


def _read_setup(request: Request, session: Session, addressing: Addressing) -> SetupRequested:
    record = addressing.announced is not None
    transports = parse_transports(request.headers.joined("transport") or "")
    target, track = addressing.target_of_setup(request.url)
    if session.path is not None and target.path != session.path:
        raise RequestRefused(459)  # one session, one channel
    if track in session.transports and session.state is not State.READY:
        raise WrongStateError("the track is set up already")
    if not record and any(t.records for t in transports):
        raise WrongStateError("RECORD without ANNOUNCE")
    others = [t for n, t in session.transports.items() if n != track]
    usable = usable_transports(transports, others)
    if not usable:
        raise RequestRefused(461)
    return SetupRequested(target, track, usable, record, session.id is None)


def _read_session_method(
    request: Request, session: Session, target: Target
) -> ServerEvent | Granted:
    method, state, seekable = request.method, session.state, session.seekable
    if session.record != (method == "RECORD") and method in ("PLAY", "RECORD"):
        raise WrongStateError(f"{method} in a session for the other direction")
    setup_urls = tuple(session.setup_urls.values())
    target = aggregate_target(request.url, target, session.path or "", setup_urls)
    tracks = tuple(session.transports)
    if method == "TEARDOWN":
        assert session.id is not None
        return TeardownRequested(target, session.id)
    if method == "PAUSE":
        if state is State.READY and not seekable:
            return Granted()
        return read_pause(request, target, seekable=seekable)
    if method == "RECORD":
        return Granted() if state is State.RECORDING else RecordRequested(target, tracks)
    if state is State.PLAYING and not seekable:
        # Live plays on; some players use PLAY as a sign of life.
        return Granted((("Range", LIVE.serialize()),))
    playing = state is State.PLAYING
    return read_play(request, target, tracks, seekable=seekable, playing=playing)
