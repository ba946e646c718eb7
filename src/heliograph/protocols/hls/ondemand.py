"""Media playlists of what is on demand, or is being recorded (draft-ietf-hls-rfc8216bis §4.4.3.5).

All segments are there, or only more come: nothing that was listed changes or goes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from heliograph.protocols.hls.playlist import SKIP_TARGETS, VERSION, segment_uri

#: Name of the initialization segment.
INIT = "init.mp4"


@dataclass(frozen=True, slots=True)
class Listing:
    """A rendition's segments as a playlist says them; they are numbered from 0."""

    durations_us: Sequence[int]
    """How long each is shown, in µs."""
    target: int
    """TARGETDURATION: seconds that no segment exceeds, the same for all renditions of a title."""
    ended: bool = True
    """Whether nothing more comes."""
    independent: bool = True
    """Whether each begins where decoding can."""


def target_of(durations_us: Sequence[int], least: int = 1) -> int:
    """The target duration (seconds) that some segments need, at least ``least``."""
    return max(least, math.ceil(max(durations_us, default=0) / 1_000_000))


def render(listing: Listing, *, suffix: str = "", skip: bool = False) -> str:
    """The playlist as text.

    ``suffix``: added to the addresses of all media. ``skip``: a delta update (§4.4.5.2) is asked
    for; given where it saves something.
    """
    durations, target = listing.durations_us, listing.target
    out = ["#EXTM3U", f"#EXT-X-VERSION:{VERSION}", f"#EXT-X-TARGETDURATION:{target}"]
    out.append(f"#EXT-X-PLAYLIST-TYPE:{'VOD' if listing.ended else 'EVENT'}")
    if listing.independent:
        out.append("#EXT-X-INDEPENDENT-SEGMENTS")
    skipped = 0
    if not listing.ended:
        out.append(f"#EXT-X-SERVER-CONTROL:CAN-SKIP-UNTIL={SKIP_TARGETS * target}.0")
        skipped = _older(durations, SKIP_TARGETS * target) if skip else 0
    out.append("#EXT-X-MEDIA-SEQUENCE:0")
    if skipped:
        out.append(f"#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}")
    else:
        out.append(f'#EXT-X-MAP:URI="{INIT}{suffix}"')
    for number in range(skipped, len(durations)):
        out.append(f"#EXTINF:{durations[number] / 1e6:.6f},")
        out.append(segment_uri(number) + suffix)
    if listing.ended:
        out.append("#EXT-X-ENDLIST")
    return "\n".join(out) + "\n"


def _older(durations_us: Sequence[int], seconds: int) -> int:
    """Segments that end more than so many seconds before the end of all."""
    rest, count = seconds * 1_000_000, len(durations_us)
    while count and rest > 0:
        count -= 1
        rest -= durations_us[count]
    return count
