"""What PLAY and PAUSE ask for, and how PLAY is answered (RFC 2326 §10.5, §10.6, §12.29–12.35)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from heliograph.model.errors import HelioError, MalformedError, NotFoundError
from heliograph.protocols.rtsp.events import PauseRequested, PlayRequested
from heliograph.protocols.rtsp.headers import (
    Range,
    RtpInfo,
    parse_range,
    parse_scale,
    serialize_rtp_info,
)
from heliograph.protocols.rtsp.messages import Request
from heliograph.protocols.rtsp.requests import RequestRefused
from heliograph.protocols.rtsp.states import RANGE
from heliograph.protocols.rtsp.targets import Target

#: First sequence number and RTP timestamp of each track; None where it is not known.
Starts = Mapping[int, tuple[int | None, int | None]]


@dataclass(frozen=True, slots=True)
class Section:
    """What of a title is to be played, in seconds of normal play time."""

    start: float | None
    """None: from where it is."""
    end: float | None
    """None: to the end."""


def section(wanted: Range | None, duration: float) -> Section:
    """What a Range means of a title that lasts ``duration`` seconds.

    An error of subject ``RANGE`` (457) for what is not in the title, runs backwards, or is told in
    time of day or frames: a title has neither.
    """
    if wanted is None:
        return Section(None, None)
    if wanted.unit != "npt":
        raise _invalid(f"{wanted.unit[:20]} times: a title has normal play time only")
    start, end = wanted.start_seconds, wanted.end_seconds
    if start is not None and start > 0 and start >= duration:
        raise _invalid(f"it starts at {start:g} s of {duration:g} s")
    if end is not None and end <= (start or 0):
        raise _invalid("it ends before it starts")
    return Section(start, None if end is None or end >= duration else end)


def pause_point(wanted: Range | None, duration: float) -> float | None:
    """When a PAUSE is to take effect, in seconds of normal play time; None: at once.

    A range has one end here (§10.6); errors as of ``section``.
    """
    if wanted is None or wanted.start == "now":
        return None
    if wanted.end is not None or wanted.unit != "npt":
        raise _invalid("a pause has one point, in normal play time")
    if wanted.start_seconds is not None and wanted.start_seconds > duration:
        raise _invalid("the point is behind the end")
    return wanted.start_seconds


def _invalid(reason: str) -> HelioError:
    return NotFoundError(f"invalid range: {reason}", subject=RANGE)


def npt(start: float, end: float | None) -> Range:
    """The Range of an answer, in seconds; ``end`` None: open."""
    return Range("npt", f"{start:.6f}", None if end is None else f"{end:.6f}")


def read_play(
    request: Request, target: Target, tracks: tuple[int, ...], *, seekable: bool, playing: bool
) -> PlayRequested:
    """Read a PLAY; ``playing``: whether it comes while media flow. Live has no Speed."""
    scale, speed = request.headers.get("scale"), request.headers.get("speed")
    rate = None if speed is None or not seekable else parse_scale(speed)
    if rate is not None and rate <= 0:
        raise MalformedError("rtsp", f"Speed {rate:g}")
    return PlayRequested(
        target,
        _range(request),
        None if scale is None else parse_scale(scale),
        tracks,
        speed=rate,
        playing=playing,
    )


def read_pause(request: Request, target: Target, *, seekable: bool) -> PauseRequested:
    """Read a PAUSE. Live is paused at once, whatever its Range."""
    return PauseRequested(target, _range(request) if seekable else None)


def _range(request: Request) -> Range | None:
    text = request.headers.get("range")
    try:
        return None if text is None else parse_range(text)
    except MalformedError:
        raise RequestRefused(457) from None


def play_headers(
    urls: Mapping[int, str],
    starts: Starts | None,
    range: Range | None,
    scale: float | None,
    speed: float | None,
) -> list[tuple[str, str]]:
    """The headers of an answer to PLAY. ``urls``: of the SETUP of each track, in order."""
    headers = [] if range is None else [("Range", range.serialize())]
    for name, factor in (("Scale", scale), ("Speed", speed)):
        if factor is not None:
            headers.append((name, f"{math.copysign(max(abs(factor), 0.001), factor):.3f}"))
    infos = [
        RtpInfo(url, *starts[track])
        for track, url in urls.items()
        if starts is not None and track in starts
    ]
    if infos:
        headers.append(("RTP-Info", serialize_rtp_info(infos)))
    return headers
