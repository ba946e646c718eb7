"""Which track a SETUP means, and which of its transports can be had (RFC 2326 §10.4, §12.39)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from heliograph.protocols.rtsp.headers import Pair, Transport
from heliograph.protocols.rtsp.targets import same_place, strip_query
from heliograph.protocols.sdp import resolve_control


def usable_transports(
    wanted: Iterable[Transport], agreed: Sequence[Transport]
) -> tuple[Transport, ...]:
    """The alternatives this server can do beside those agreed for the session's other tracks.

    Everything of a session goes the same way. Interleaved channels are filled in.
    """
    found = []
    for transport in wanted:
        completed = _completed(transport, agreed)
        if completed is not None and all(_kind(completed) == _kind(other) for other in agreed):
            found.append(completed)
    return tuple(found)


def _kind(transport: Transport) -> tuple[bool, bool]:
    return transport.is_tcp, transport.multicast


def _completed(t: Transport, agreed: Sequence[Transport]) -> Transport | None:
    if t.protocol != "RTP" or t.profile not in ("AVP", "AVPF"):
        return None
    if t.is_tcp:
        channels = _channels(t.interleaved, agreed)
        return None if channels is None else replace(t, multicast=False, interleaved=channels)
    if not t.cast_stated:
        # RFC 2326 says multicast; players that leave it out and name client ports mean unicast.
        t = replace(t, multicast=t.port is not None and t.client_port is None)
    return t if t.multicast or t.client_port is not None else None


def _channels(wanted: Pair | None, agreed: Sequence[Transport]) -> Pair | None:
    """The channels asked for if they are free, else the lowest free pair."""
    taken = {channel for t in agreed if t.interleaved is not None for channel in t.interleaved}
    if wanted is not None and wanted[0] != wanted[1] and taken.isdisjoint(wanted):
        return wanted
    for low in range(0, 256, 2):
        if taken.isdisjoint((low, low + 1)):
            return (low, low + 1)
    return None


def track_of_url(url: str, tracks: Sequence[str]) -> int | None:
    """Which of the tracks' URLs is meant; hosts differ behind address translation."""
    for compare in (str, strip_query):
        for index, track in enumerate(tracks):
            if same_place(compare(url), compare(track)):
                return index
    return None


def announced_track(url: str, base: str, controls: Sequence[str | None]) -> int | None:
    """Which announced track a SETUP means.

    ffmpeg appends the control to the whole URL (``/demo?key=x/streamid=0``), GStreamer puts it
    before the query (``/demo/stream=0?key=x``).
    """
    for index, control in enumerate(controls):
        if same_place(url, resolve_control(base, control)):
            return index
    for index, control in enumerate(controls):
        if same_place(strip_query(url), resolve_control(strip_query(base), control)):
            return index
    return None


def split_track(url: str) -> tuple[str, int | None]:
    """Cut ``/trackID=N`` off a URL, wherever the player put it relative to the query."""
    head, slash, tail = url.rstrip("/").rpartition("/")
    name, equals, number = tail.partition("=")
    if slash and equals and name.lower() == "trackid":
        digits, mark, query = number.partition("?")
        if digits.isascii() and digits.isdigit() and len(digits) <= 3:
            return head + mark + query, int(digits)
    return url, None
