"""Live channels recorded as titles.

``timeline`` gives what comes of a tap times on the title's clock, ``recorder`` makes blocks and a
manifest of it, ``journal`` keeps on a local disk what is in no block of the volume yet, and
``recording`` is the task that does it for one channel. What taps give comes in from outside:
nothing here knows of channels.
"""

from heliograph.vod.recording.aside import put_aside
from heliograph.vod.recording.journal import Journal, journals
from heliograph.vod.recording.recorder import recordable
from heliograph.vod.recording.recording import Recording
from heliograph.vod.recording.values import GrowingSink, RecordOptions, Status

__all__ = [
    "GrowingSink",
    "Journal",
    "RecordOptions",
    "Recording",
    "Status",
    "journals",
    "put_aside",
    "recordable",
]
