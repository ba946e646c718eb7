"""Which URL a track has: ``a=control`` against its base (RFC 2326 §C.1.1, RFC 7826 §D.1.1).

The RFCs resolve by RFC 3986, which drops the base's last segment and its query. Servers and
cameras were grown against players that *append* (ffmpeg, LIVE555), down to
``Content-Base: rtsp://camera/stream?channel=1/`` with ``a=control:trackID=0``, where only
appending gives the URL they expect. Both ways agree where the base ends with a slash and has no
query, which is how this server always writes it.
"""

from __future__ import annotations

import re

from heliograph.protocols.sdp.description import SessionDescription

_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://", re.ASCII)
_AUTHORITY = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*", re.ASCII)


def base_url(request_url: str, content_base: str | None, content_location: str | None) -> str:
    """The base of a description (RFC 2326 §C.1.1): Content-Base, Content-Location, then the URL.

    A base that is itself relative, as some servers send, is resolved against the request's URL.
    """
    for base in (content_base, content_location):
        if base and (base := base.strip()):
            return base if _ABSOLUTE.match(base) else resolve_control(request_url, base)
    return request_url


def resolve_control(base: str, control: str | None) -> str:
    """The URL ``control`` means below ``base``; ``*``, "" and ``None`` mean the base itself."""
    control = (control or "").strip()
    if control in ("", "*"):
        return base
    if _ABSOLUTE.match(control):
        return control
    if control.startswith("/"):
        authority = _AUTHORITY.match(base)
        return (authority[0] if authority else "") + control
    if control.startswith("?"):
        return base.partition("?")[0] + control
    return base + ("" if base.endswith("/") else "/") + control


def aggregate_url(description: SessionDescription, base: str) -> str:
    """The URL that PLAY, PAUSE, RECORD and TEARDOWN of the whole session go to."""
    return resolve_control(base, description.attribute("control"))


def media_urls(description: SessionDescription, base: str) -> tuple[str, ...]:
    """One SETUP URL for each medium, in order, media that cannot be played too."""
    session = description.attribute("control")
    # An absolute session URL is the base of relative media URLs (RFC 2326 §C.1.1).
    below = session.strip() if session and _ABSOLUTE.match(session.strip()) else base
    return tuple(
        resolve_control(below, medium.attribute("control")) for medium in description.media
    )
