"""What a channel carries: codecs, tracks, descriptions. Frozen values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from heliograph.model.errors import MalformedError

#: A channel's name stands in URLs, file names and metric labels, hence the narrow alphabet.
CHANNEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def check_channel_name(name: str) -> str:
    """Return ``name`` or raise ``MalformedError``: 1–64 characters of ``A–Z a–z 0–9 . _ -``."""
    if not CHANNEL_NAME.fullmatch(name):
        raise MalformedError(
            "channel name", f"{name[:80]!r} (1 to 64 letters, digits, '.', '_' or '-')"
        )
    return name


class Kind(StrEnum):
    """What a track is for; decides what a lagging reader loses first."""

    VIDEO = "video"
    AUDIO = "audio"
    DATA = "data"


class Codec(StrEnum):
    """A codec the relay understands; ``UNKNOWN`` is relayed without being looked into."""

    H264 = "h264"
    H265 = "h265"
    VP8 = "vp8"
    VP9 = "vp9"
    AV1 = "av1"
    MPEG2 = "mpeg2"
    OPUS = "opus"
    AAC = "aac"  # RFC 3640, mpeg4-generic
    AAC_LATM = "aac-latm"  # RFC 6416, MP4A-LATM
    PCMU = "pcmu"
    PCMA = "pcma"
    L16 = "l16"
    L24 = "l24"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Track:
    """One elementary stream of a channel, as SDP describes it."""

    id: int
    """Index of the track within its channel, 0–255, the same at every reader."""
    kind: Kind
    codec: Codec
    clock_rate: int
    """RTP timestamp units a second (90 000 for video)."""
    payload_type: int
    """RTP payload type, 0–127."""
    channels: int = 0
    """Audio channels; 0 for video and where unknown."""
    encoding: str = ""
    """The rtpmap encoding name as the publisher wrote it, such as ``H264``."""
    fmtp: Mapping[str, str] = field(default_factory=dict)
    """Format parameters with lower-case names; values verbatim."""

    def same_format(self, other: Track) -> bool:
        """Whether a reader can go on with ``other``: equal but for payload type and fmtp."""
        return (self.kind, self.codec, self.clock_rate, self.channels) == (
            other.kind,
            other.codec,
            other.clock_rate,
            other.channels,
        )
