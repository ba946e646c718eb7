"""Any bytes as SDP: a description, ``MalformedError`` or ``TooLargeError``; helpers never raise.

What was parsed is written and parsed again to the same value.
"""

import sys

from heliograph.model.errors import MalformedError, TooLargeError, UnsupportedError
from heliograph.protocols import sdp


def one_input(data: bytes) -> None:
    """Parse, read everything out, write, parse again."""
    try:
        description = sdp.parse_sdp(data)
    except (MalformedError, TooLargeError):
        return
    text = sdp.serialize_sdp(description)
    if len(text) <= sdp.MAX_SDP:
        assert sdp.serialize_sdp(sdp.parse_sdp(text)) == text
    for medium in description.media:
        sdp.direction_of(medium, description)
        sdp.framerate_of(medium)
        sdp.rtcp_of(medium)
        sdp.ssrcs_of(medium)
        sdp.source_filters_of(medium, description)
    sdp.media_urls(description, "rtsp://host/demo?x=1")
    sdp.aggregate_url(description, "rtsp://host/demo/")
    try:
        tracks = sdp.tracks_from_sdp(description)
    except UnsupportedError:
        return
    for track in tracks:
        assert 0 <= track.payload_type <= 127
        assert track.clock_rate > 0
        sdp.parameter_sets(track)
        assert all(0 <= length <= 32 for length in sdp.aac_lengths(track))
    sdp.parse_sdp(sdp.sdp_for_channel("demo", "Demo", tracks[:16], 1))


if __name__ == "__main__":
    import atheris

    atheris.instrument_all()  # before the first input, after the imports
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
