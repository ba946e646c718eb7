"""Low-latency HLS (draft-ietf-hls-rfc8216bis): cuts, playlists, answers. No input or output.

``segmenter`` says where parts and segments begin, ``playlist`` keeps the history of a rendition and
shows it, ``reload`` what to answer to blocking requests, ``multivariant`` lists the choices,
``timing`` finds decoding times, ``rendition`` puts all together; ``beats`` and ``aligned`` keep
several renditions in step.
"""

from heliograph.protocols.hls.beats import Beats
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
from heliograph.protocols.hls.timing import Timing, gaps_of, reorder_depth, usual

__all__ = [
    "Answer",
    "Audio",
    "Beats",
    "Directives",
    "MediaPlaylist",
    "Part",
    "Rendition",
    "Report",
    "Segmenter",
    "Targets",
    "Timing",
    "Variant",
    "answer_part",
    "answer_playlist",
    "gaps_of",
    "give_up_after",
    "init_uri",
    "parse_directives",
    "part_target",
    "part_uri",
    "reorder_depth",
    "segment_uri",
    "usual",
]
