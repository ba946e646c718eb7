"""Multivariant playlists (draft-ietf-hls-rfc8216bis §4.4.6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from heliograph.protocols.hls.playlist import VERSION


@dataclass(frozen=True, slots=True)
class Audio:
    """Audio kept apart from the video (EXT-X-MEDIA)."""

    uri: str
    """Of its playlist."""
    name: str
    """What a person reads."""
    group: str = "audio"
    """Variants name it."""
    language: str = ""
    """RFC 5646, "" if unknown."""
    channels: int = 0
    """0 if unknown."""
    default: bool = True
    """Whether it is played without being chosen."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One choice of a player (EXT-X-STREAM-INF)."""

    uri: str
    """Of its playlist."""
    bandwidth: int
    """Peak bits a second of all that is played with it, audio included."""
    codecs: Sequence[str]
    """RFC 6381, audio's included."""
    average: int = 0
    """Average bits a second, 0 if unknown."""
    width: int = 0
    """Pixels; 0 for audio only."""
    height: int = 0
    """Likewise."""
    frame_rate: float = 0.0
    """Frames a second, 0 if unknown."""
    audio: str = ""
    """Group of ``Audio``, "" if it brings its own."""


def _quoted(text: str) -> str:
    """§4.2: neither quotes nor line breaks."""
    return '"' + "".join(c if c.isprintable() and c != '"' else " " for c in text) + '"'


def render(
    variants: Sequence[Variant], audio: Sequence[Audio] = (), *, independent: bool = False
) -> str:
    """The playlist as text.

    ``independent``: all segments of all renditions begin with a keyframe.
    """
    out = ["#EXTM3U", f"#EXT-X-VERSION:{VERSION}"]
    if independent:
        out.append("#EXT-X-INDEPENDENT-SEGMENTS")
    for sound in audio:
        fields = ["TYPE=AUDIO", f"GROUP-ID={_quoted(sound.group)}", f"NAME={_quoted(sound.name)}"]
        if sound.language:
            fields.append(f"LANGUAGE={_quoted(sound.language)}")
        fields += [f"DEFAULT={'YES' if sound.default else 'NO'}", "AUTOSELECT=YES"]
        if sound.channels:
            fields.append(f'CHANNELS="{sound.channels}"')
        out.append(f"#EXT-X-MEDIA:{','.join(fields)},URI={_quoted(sound.uri)}")
    for variant in variants:
        fields = [f"BANDWIDTH={variant.bandwidth}"]
        if variant.average:
            fields.append(f"AVERAGE-BANDWIDTH={variant.average}")
        fields.append(f"CODECS={_quoted(','.join(variant.codecs))}")
        if variant.width:
            fields.append(f"RESOLUTION={variant.width}x{variant.height}")
        if variant.frame_rate:
            fields.append(f"FRAME-RATE={variant.frame_rate:.3f}")
        if variant.audio:
            fields.append(f"AUDIO={_quoted(variant.audio)}")
        out += [f"#EXT-X-STREAM-INF:{','.join(fields)}", variant.uri]
    return "\n".join(out) + "\n"
