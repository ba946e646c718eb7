"""Titles as session descriptions, for RTSP."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from heliograph.model.media import Kind, Track
from heliograph.protocols.sdp import Attribute, parse_sdp, sdp_for_channel, serialize_sdp
from heliograph.vod.manifest import Manifest, TitleTrack

#: Name of the header extension of packets that several nodes send (docs/wire/bipartite.md).
EXTENSION = "urn:heliograph:bipartite"


def viewed_tracks(
    manifest: Manifest, rendition: int = 0, languages: Collection[str] = ()
) -> tuple[TitleTrack, ...]:
    """What a viewer gets: pictures of one rendition, and sound.

    The best rendition stands in for one that does not exist. ``languages``: only sound in one of
    these (ISO 639-2) where there is such, else all of it.
    """
    pictures = [one for one in manifest.tracks if one.track.kind is Kind.VIDEO]
    chosen = [one for one in pictures if one.rendition == rendition] or pictures[:1]
    others = [one for one in manifest.tracks if one.track.kind is not Kind.VIDEO]
    wanted = [one for one in others if one.language in languages]
    return tuple(chosen[:1] + (wanted or others))


def tracks_of(manifest: Manifest, rendition: int = 0) -> tuple[Track, ...]:
    """The tracks of ``viewed_tracks``; format parameters have parameter sets and AAC's config."""
    return tuple(one.track for one in viewed_tracks(manifest, rendition))


def npt(us: int) -> str:
    """A time of the title as RTSP writes it (RFC 2326 §3.6), in seconds to the millisecond."""
    return f"{us / 1e6:.3f}"


def sdp_for_title(
    manifest: Manifest,
    session_id: int,
    *,
    rendition: int = 0,
    origin_address: str = "127.0.0.1",
    control: str = "trackID={id}",
    extension: int | None = None,
) -> str:
    """Describe a title to a reader: like a channel, but with its range.

    ``extension``: id of the header extension by which several nodes send it, None: they do not.
    While it is still being recorded the range has no end (``npt=0-``), and it says ``broadcast``.
    """
    viewed = viewed_tracks(manifest, rendition)
    text = sdp_for_channel(
        manifest.name,
        manifest.title,
        [one.track for one in viewed],
        session_id,
        session_version=max(1, len(manifest.blocks)) if manifest.live else 1,
        origin_address=origin_address,
        control=control,
    )
    description = parse_sdp(text)
    end = "" if manifest.live else npt(manifest.duration_us)
    kept = [
        one
        for one in description.attributes
        if one.name != "range" and (manifest.live or one.name != "type")
    ]
    extmap = () if extension is None else (Attribute("extmap", f"{extension} {EXTENSION}"),)
    media = tuple(
        replace(one, attributes=(*one.attributes, *_language(track), *extmap))
        for one, track in zip(description.media, viewed, strict=True)
    )
    attributes = (*kept, Attribute("range", f"npt=0-{end}"))
    return serialize_sdp(replace(description, attributes=attributes, media=media))


def _language(track: TitleTrack) -> tuple[Attribute, ...]:
    return (Attribute("lang", track.language),) if track.language else ()
