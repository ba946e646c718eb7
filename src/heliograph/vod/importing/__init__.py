"""Files made into titles: read by a process of its own, packetized, handed to a sink as blocks.

``values`` has what others name, ``job`` starts the process and feeds the sink, ``worker`` is the
process: ``files`` opens and demuxes, ``lanes`` makes units of packets, ``merging`` puts the units
of all tracks in one order, ``titling`` makes blocks and the manifest of them. Only the process
imports PyAV.
"""

from heliograph.vod.importing.job import import_file
from heliograph.vod.importing.values import (
    MAX_RENDITIONS,
    Imported,
    ImportOptions,
    Progress,
    Sink,
    check_wish,
)

__all__ = [
    "MAX_RENDITIONS",
    "ImportOptions",
    "Imported",
    "Progress",
    "Sink",
    "check_wish",
    "import_file",
]
