"""Tracks that a channel can have made of its sound, for players that do not take it as it came.

Pure. What makes them, when somebody asks, is ``transcoding``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from heliograph.model.media import Codec, Kind, Track
from heliograph.protocols.payload import aac, opus

#: What WebRTC carries (RFC 7874 section 3).
WEBRTC_SOUND = frozenset({Codec.OPUS, Codec.PCMU, Codec.PCMA})
#: Clock of everything made here, Hz: Opus's own, and one that every AAC player takes.
RATE = 48_000
#: Sound made here is stereo.
CHANNELS = 2
#: AudioSpecificConfig of AAC-LC, 48 kHz, stereo (ISO/IEC 14496-3 section 1.6.2.1).
AAC_CONFIG = (2 << 11 | 3 << 7 | CHANNELS << 3).to_bytes(2, "big")


def derivable(tracks: Sequence[Track]) -> tuple[Track, ...]:
    """What can be made of the first audio track: Opus where WebRTC carries none of the sound, AAC
    where there is none for HLS. Empty without audio."""
    sound = [track for track in tracks if track.kind is Kind.AUDIO]
    if not sound or sound[0].codec is Codec.UNKNOWN:
        return ()
    codecs = {track.codec for track in sound}
    made: list[Track] = []
    if not codecs & WEBRTC_SOUND:
        made.append(_track(Codec.OPUS, (*tracks, *made)))
    if Codec.AAC not in codecs:
        made.append(_track(Codec.AAC, (*tracks, *made)))
    return tuple(made)


def _track(codec: Codec, beside: Iterable[Track]) -> Track:
    beside = tuple(beside)
    taken = {track.payload_type for track in beside}
    fmtp = opus.fmtp_for(CHANNELS) if codec is Codec.OPUS else aac.fmtp_for(AAC_CONFIG)
    return Track(
        id=max(track.id for track in beside) + 1,
        kind=Kind.AUDIO,
        codec=codec,
        clock_rate=RATE,
        # from the end of the dynamic ones (RFC 3551 section 6): sources begin at the other end
        payload_type=next(number for number in range(127, 95, -1) if number not in taken),
        channels=CHANNELS,
        encoding="opus" if codec is Codec.OPUS else "mpeg4-generic",
        fmtp=fmtp,
    )
