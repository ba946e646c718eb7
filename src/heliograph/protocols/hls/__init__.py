"""Low-latency HLS (draft-ietf-hls-rfc8216bis): cuts, playlists, answers. No input or output.

``segmenter`` says where parts and segments begin, ``playlist`` keeps the history of a rendition and
shows it, ``reload`` what to answer to blocking requests, ``multivariant`` lists the choices,
``rendition`` puts them together.
"""

from heliograph.protocols.hls.multivariant import Audio, Variant
from heliograph.protocols.hls.playlist import (
    MediaPlaylist,
    Report,
    init_uri,
    part_uri,
    segment_uri,
)
from heliograph.protocols.hls.reload import (
    Answer,
    Directives,
    answer_part,
    answer_playlist,
    give_up_after,
    parse_directives,
)
from heliograph.protocols.hls.rendition import Rendition
from heliograph.protocols.hls.segmenter import Part, Segmenter, Targets, part_target

__all__ = [
    "Answer",
    "Audio",
    "Directives",
    "MediaPlaylist",
    "Part",
    "Rendition",
    "Report",
    "Segmenter",
    "Targets",
    "Variant",
    "answer_part",
    "answer_playlist",
    "give_up_after",
    "init_uri",
    "parse_directives",
    "part_target",
    "part_uri",
    "segment_uri",
]
