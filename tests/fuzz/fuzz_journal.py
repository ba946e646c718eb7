"""Any bytes as the units of a recording's journal: blocks made of them, or ``MalformedError``.

Its checksums stop most mutations, so the input is also taken as bodies whose sums are right. What
is made of it are blocks that can be read.
"""

import atexit
import tempfile
import zlib
from pathlib import Path

from harness import instrumented, main

with instrumented():
    from heliograph.model.errors import MalformedError
    from heliograph.model.media import Codec, Kind, Track
    from heliograph.storage.values import ObjectId
    from heliograph.vod import blocks
    from heliograph.vod.recording.journal import Journal
    from heliograph.vod.recording.recorder import Recorder, State
    from heliograph.vod.recording.values import RecordOptions

TRACKS = [
    Track(0, Kind.VIDEO, Codec.VP8, 90_000, 96, encoding="VP8"),
    Track(1, Kind.AUDIO, Codec.PCMU, 8000, 0, 1, "PCMU"),
]
OPTIONS = RecordOptions("film", object=ObjectId("0" * 32), block=4096)
_folder = tempfile.TemporaryDirectory()
atexit.register(_folder.cleanup)
_recorder = Recorder.begin(OPTIONS, TRACKS, 0.0)
_journal = Journal.create(Path(_folder.name), _recorder.base, OPTIONS.block, OPTIONS.volume)
_journal.begin(State(0, 0, 0, _recorder.written))
_journal.close()
_units = _journal.path / "00000000.units"
HEAD = _units.read_bytes()


def one_input(data: bytes) -> None:
    """As it is, behind a good head, and as good records."""
    _check(data)
    _check(HEAD + data)
    records = b""
    rest = data
    while rest:
        size, rest = rest[0], rest[1:]
        body, rest = rest[:size], rest[size:]
        records += len(body).to_bytes(4, "big") + zlib.crc32(body).to_bytes(4, "big") + body
    _check(HEAD + records)


def _check(data: bytes) -> None:
    _units.write_bytes(data)
    try:
        recorder, done = Recorder.again(Journal(_journal.path).replay(), None)
    except MalformedError:
        return
    done += recorder.finish()
    numbers = [0] * len(TRACKS)
    for block in done:
        read = blocks.read(block.data)
        assert list(read.header.first) == numbers
        for record in read:
            numbers[record.track] += 1


if __name__ == "__main__":
    main("journal", one_input)
