"""What a server's answers mean, read with what was asked. Pure.

Servers leave out, shorten and print all kinds of things; here is what is made of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from heliograph.model.errors import (
    ForbiddenError,
    HelioError,
    MalformedError,
    NotFoundError,
    RemoteError,
    UnauthorizedError,
    WrongStateError,
)
from heliograph.model.media import Track
from heliograph.protocols.rtsp.headers import (
    Range,
    RtpInfo,
    Transport,
    parse_range,
    parse_rtp_info,
    parse_transports,
)
from heliograph.protocols.rtsp.messages import Response
from heliograph.protocols.rtsp.negotiation import track_of_url
from heliograph.protocols.rtsp.targets import without_credentials
from heliograph.protocols.sdp import (
    SessionDescription,
    aggregate_url,
    base_url,
    described_tracks,
    media_urls,
    parse_sdp,
    tracks_from_sdp,
)

#: RFC 2326 §12.35; RFC 7826 §18.50 has a range, of which the lower end is what holds.
_SPEED = re.compile(r"(\d{1,6}(?:\.\d{1,9})?)(?:\s*-\s*\d{1,6}(?:\.\d{1,9})?)?")

_ERRORS: dict[int, type[HelioError]] = {
    401: UnauthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    454: WrongStateError,
    455: WrongStateError,
}


@dataclass(frozen=True, slots=True)
class Urls:
    """Where requests for a presentation go."""

    aggregate: str
    """For all of it: PLAY, TEARDOWN …"""
    tracks: tuple[str, ...] = ()
    """For SETUP, by track id."""

    @classmethod
    def of(cls, description: SessionDescription, base: str) -> Urls:
        """As the control attributes say (RFC 2326 appendix C.1.1), without credentials."""
        urls = media_urls(description, base)
        return cls(
            without_credentials(aggregate_url(description, base)),
            tuple(without_credentials(urls[d.index]) for d in described_tracks(description)),
        )

    def at(self, url: str) -> Urls:
        """The same at the server of another URL."""
        place = urlsplit(url)

        def moved(one: str) -> str:
            return urlsplit(one)._replace(scheme=place.scheme, netloc=place.netloc).geturl()

        return Urls(moved(self.aggregate), tuple(map(moved, self.tracks)))


def read_description(
    response: Response, url: str
) -> tuple[tuple[Track, ...], SessionDescription, Urls]:
    """Read the answer to DESCRIBE of ``url``."""
    headers = response.headers
    kind = (headers.get("content-type") or "application/sdp").partition(";")[0]
    if kind.strip().lower() != "application/sdp":
        raise RemoteError(f"description of type {kind[:40]}", subject=url)
    description = parse_sdp(response.body)
    tracks = tracks_from_sdp(description)
    base = base_url(url, headers.get("content-base"), headers.get("content-location"))
    return tracks, description, Urls.of(description, base)


def agreed_transport(asked: Transport, answer: str | None, url: str) -> Transport:
    """What holds: the answer, completed by what was asked for where it is silent."""
    if answer is None:
        return asked
    given = parse_transports(answer)[0]
    if given.is_tcp != asked.is_tcp:
        raise RemoteError("the server answered with another transport", subject=url)
    if not given.cast_stated:
        given = replace(given, multicast=asked.multicast, cast_stated=True)
    if given.multicast != asked.multicast:
        raise RemoteError("the server answered with another transport", subject=url)
    return replace(
        given,
        interleaved=given.interleaved or asked.interleaved,
        client_port=given.client_port or asked.client_port,
    )


def read_range(response: Response) -> Range | None:
    """What PLAY's answer says of the range; ``None`` where that cannot be read."""
    text = response.headers.get("range")
    try:
        return None if text is None else parse_range(text)
    except MalformedError:
        return None  # says nothing we need


def read_speed(response: Response) -> float | None:
    """The factor of the rate that PLAY's answer agrees to; ``None`` where it says none."""
    text = (response.headers.get("speed") or "").strip()
    match = _SPEED.fullmatch(text)
    return float(match[1]) if match and float(match[1]) > 0 else None


def read_rtp_info(
    response: Response, tracks: Sequence[int], urls: Sequence[str]
) -> tuple[tuple[int, RtpInfo], ...]:
    """Where each track begins. ``tracks``: set up, in that order. ``urls``: of SETUP, by track."""
    text = response.headers.joined("rtp-info")
    if text is None:
        return ()
    try:
        infos = parse_rtp_info(text)
    except MalformedError:
        return ()  # servers print all kinds; RTCP tells the same later
    found = []
    for position, info in enumerate(infos):
        track = track_of_url(info.url, tuple(urls))
        if track is None:
            ends = [t for t in tracks if urls[t].endswith("/" + info.url)]
            # URLs that match nothing come in the order of the set-ups.
            by_place = tracks[position] if len(infos) == len(tracks) else None
            track = ends[0] if ends else by_place
        if track is not None:
            found.append((track, info))
    return tuple(found)


def refusal(method: str, response: Response, url: str) -> HelioError:
    """The error that a refused request is."""
    reason = "".join(c for c in response.reason if c.isprintable())[:120]
    text = f"{method}: {response.status} {reason}".rstrip()
    return _ERRORS.get(response.status, RemoteError)(text, subject=url)
