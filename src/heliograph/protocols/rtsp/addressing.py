"""What a client's URLs mean, after what was described and announced on its connection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from heliograph.model.errors import MalformedError, NotFoundError, UnsupportedError
from heliograph.protocols.rtsp.events import AnnounceRequested
from heliograph.protocols.rtsp.messages import Request
from heliograph.protocols.rtsp.negotiation import announced_track, split_track, track_of_url
from heliograph.protocols.rtsp.requests import RequestRefused
from heliograph.protocols.rtsp.targets import Target, parse_target
from heliograph.protocols.sdp import described_tracks, parse_sdp, tracks_from_sdp


class Addressing:
    """The descriptions of one connection: at most one of each direction."""

    __slots__ = ("_announce_url", "_controls", "_described", "announced")

    def __init__(self) -> None:
        self.announced: Target | None = None
        """The channel that the client announced."""
        self._announce_url = ""
        self._controls: tuple[str | None, ...] = ()  # control attribute of each announced track
        self._described: tuple[str, int] = ("", 1)  # channel path, number of tracks

    def describe(self, url: str, sdp: str) -> None:
        """Note what the client was told of a channel."""
        self._described = (parse_target(url).path, sdp.count("\nm="))

    def announce(self, url: str, event: AnnounceRequested) -> None:
        """Note what the client will send."""
        described = described_tracks(event.description)
        self._controls = tuple(d.media.attribute("control") for d in described)
        self._announce_url, self.announced = url, event.target

    def target_of_setup(self, url: str) -> tuple[Target, int]:
        """The channel and the track that a SETUP's URL means."""
        if self.announced is not None:
            return self.announced, self._announced_track(url, self.announced)
        base, track = split_track(url)
        target = parse_target(base)
        if track is None:
            path, tracks = self._described
            if target.path == path and tracks != 1:
                raise RequestRefused(459)
            track = 0
        return target, track

    def _announced_track(self, url: str, target: Target) -> int:
        found = announced_track(url, self._announce_url, self._controls)
        if found is None and parse_target(url).path == target.path:
            if len(self._controls) > 1:
                raise RequestRefused(459)
            found = 0
        if found is None:
            raise NotFoundError("no such track was announced", subject=target.path)
        return found


def aggregate_target(url: str, target: Target, path: str, setup_urls: Sequence[str]) -> Target:
    """The channel ``path`` of a session for which a request came; 460 if only one track of several
    is meant. ``setup_urls``: of the tracks set up.
    """
    if target.path in ("", path):
        return replace(target, path=path)
    if track_of_url(url, setup_urls) is not None:
        if len(setup_urls) > 1:
            raise RequestRefused(460)
        return replace(target, path=path)
    raise NotFoundError("the session is for another channel", subject=target.path)


def read_announcement(request: Request, target: Target) -> AnnounceRequested:
    """Read what an ANNOUNCE says will be sent."""
    content_type = (request.headers.get("content-type") or "application/sdp").partition(";")[0]
    if content_type.strip().lower() != "application/sdp":
        raise UnsupportedError(f"ANNOUNCE of {content_type[:40]}", subject="rtsp")
    if not request.body:
        raise MalformedError("rtsp", "ANNOUNCE without a description")
    description = parse_sdp(request.body)
    return AnnounceRequested(target, description, tracks_from_sdp(description), request.body)
