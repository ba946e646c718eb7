"""Fragmented MP4, written by ourselves so that the same units always give the same bytes.

``headers`` reads dimensions out of codecs' headers, ``entries`` says what a track is, ``muxer``
writes initialization segments and fragments, ``index`` says where these are, ``units`` has the unit
they take. No input or output.
"""

from heliograph.protocols.mp4.entries import Entry, describe, writable
from heliograph.protocols.mp4.index import Reference, segment_index
from heliograph.protocols.mp4.muxer import Muxer, Role
from heliograph.protocols.mp4.units import TimedUnit

__all__ = [
    "Entry",
    "Muxer",
    "Reference",
    "Role",
    "TimedUnit",
    "describe",
    "segment_index",
    "writable",
]
