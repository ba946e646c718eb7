"""How units go to the process that makes sound anew (``transcode_worker``), and come back.

Apart from it, so that the server need not load what only that process decodes with.
"""

from __future__ import annotations

import struct

#: Before a unit that goes there: presentation time in µs, length.
UNIT = struct.Struct("!qI")
#: Before a unit that comes back: presentation time in µs, position in samples of 48 kHz, length.
MADE = struct.Struct("!qqI")
#: Bytes of one unit; the largest AAC unit of 8 channels has 6 144.
MAX_UNIT = 1 << 16
