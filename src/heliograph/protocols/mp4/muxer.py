"""Initialization segments and fragments (ISO/IEC 14496-12 §8.8).

Nothing depends on the clock or on what was written before: the same entries and units give the same
bytes on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from heliograph.model.errors import MalformedError
from heliograph.model.media import Codec, Kind
from heliograph.protocols.mp4.boxes import box, full_box, numbers
from heliograph.protocols.mp4.entries import Entry
from heliograph.protocols.mp4.units import TimedUnit
from heliograph.protocols.payload import av1, h264, h265, nal

#: §8.8.3.1: a sample others depend on and that depends on none, and one that is no sync sample.
_SYNC, _OTHER = 0x0200_0000, 0x0101_0000
_UNITY = (0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
#: §8.8.7, §8.8.8: flags of tfhd and trun.
_BASE_IS_MOOF, _DEFAULT_FLAGS = 0x020000, 0x20
_OFFSET, _DURATION, _SIZE, _FLAGS, _COMPOSITION = 0x1, 0x100, 0x200, 0x400, 0x800


@dataclass(frozen=True, slots=True)
class Role:
    """What a track is among others of a file."""

    language: str = "und"
    """ISO 639-2: three small letters."""
    enabled: bool = True
    """Whether it is played without being chosen."""
    group: int = 0
    """Of tracks with the same number only one is played; 0: it has no alternatives."""


class Muxer:
    """Writes the fragments of some tracks. Raises ``ValueError`` for none."""

    def __init__(
        self,
        entries: Sequence[Entry],
        *,
        roles: Mapping[int, Role] | None = None,
        duration_us: int = 0,
    ) -> None:
        """``roles``: by track, where it is not the usual one. ``duration_us``: of the whole file; 0
        where it is not known."""
        if not entries:
            raise ValueError("no tracks")
        self.entries = tuple(entries)
        """The tracks, in the order they are written."""
        self._roles = roles or {}
        self._duration = duration_us // 1000

    def init(self) -> bytes:
        """The initialization segment."""
        brands = b"iso6" + numbers(4, 1) + b"iso6cmfcmp41"
        tracks = b"".join(
            _track(entry, self._roles.get(entry.track.id, Role())) for entry in self.entries
        )
        extends = b"".join(
            full_box("trex", 0, 0, numbers(4, entry.track.id + 1, 1, 0, 0, 0))
            for entry in self.entries
        )
        lasts = full_box("mehd", 1, 0, numbers(8, self._duration)) if self._duration else b""
        head = numbers(4, 0, 0, 1000, 0, 0x10000) + numbers(2, 0x100) + bytes(10)
        following = max(entry.track.id for entry in self.entries) + 2
        movie = full_box("mvhd", 0, 0, head, numbers(4, *_UNITY), bytes(24), numbers(4, following))
        return box("ftyp", brands) + box("moov", movie, tracks, box("mvex", lasts, extends))

    def fragment(
        self, sequence: int, units: Sequence[TimedUnit], following: Mapping[int, int]
    ) -> bytes:
        """One ``moof`` and its ``mdat``.

        ``sequence`` counts fragments from 1 on, modulo 2³². ``units`` come in decoding order within
        each track; those of tracks that were not given are left out. ``following`` has the decoding
        time of each track's next unit where that is known, so that no gap is left.

        Raises ``MalformedError`` for units that are not of their codec or begin before time 0.
        """
        runs: list[tuple[Entry, list[TimedUnit], list[bytes]]] = []
        for entry in self.entries:
            own = [unit for unit in units if unit.track == entry.track.id]
            if own:
                datas = [sample(entry.track.codec, unit.data, entry.data) for unit in own]
                runs.append((entry, own, datas))
        head = full_box("mfhd", 0, 0, numbers(4, sequence & 0xFFFFFFFF))
        trafs = [_traf(*run, following, 0) for run in runs]
        at = 8 + len(head) + sum(len(traf) for traf in trafs) + 8
        trafs = []
        for entry, own, samples in runs:
            trafs.append(_traf(entry, own, samples, following, at))
            at += sum(len(data) for data in samples)
        payload = b"".join(data for _, _, samples in runs for data in samples)
        return box("moof", head, *trafs) + box("mdat", payload)


def _traf(
    entry: Entry,
    units: list[TimedUnit],
    samples: list[bytes],
    following: Mapping[int, int],
    offset: int,
) -> bytes:
    track = entry.track
    first = units[0].dts
    if not 0 <= first < 1 << 64:
        raise MalformedError("mp4", f"decoding time {first}")
    video = track.kind is Kind.VIDEO
    flags = _OFFSET | _DURATION | _SIZE
    if video:
        flags |= _FLAGS | _COMPOSITION
    rows = bytearray()
    # Times rise within a track; where a publisher's do not, the sample lasts no time.
    ends = [unit.dts for unit in units[1:]]
    ends.append(following.get(track.id, units[-1].dts + _usual(units, track.clock_rate)))
    for unit, data, end in zip(units, samples, ends, strict=True):
        rows += numbers(4, min(max(0, end - unit.dts), 0xFFFFFFFF), len(data))
        if video:
            shift = min(max(unit.pts - unit.dts, -(1 << 31)), (1 << 31) - 1)
            rows += numbers(4, _SYNC if unit.key else _OTHER)
            rows += shift.to_bytes(4, "big", signed=True)
    head = numbers(4, track.id + 1, _SYNC if not video else _OTHER)
    return box(
        "traf",
        full_box("tfhd", 0, _BASE_IS_MOOF | _DEFAULT_FLAGS, head),
        full_box("tfdt", 1, 0, numbers(8, first)),
        full_box("trun", 1, flags, numbers(4, len(units), offset), bytes(rows)),
    )


def _language(code: str) -> int:
    """§8.4.2: three letters of five bits each."""
    if len(code) != 3 or not (code.isascii() and code.isalpha() and code.islower()):
        code = "und"
    first, second, third = (ord(letter) - 0x60 for letter in code)
    return first << 10 | second << 5 | third


def _usual(units: list[TimedUnit], clock_rate: int) -> int:
    """How long the last one lasts where that is not known: as the one before it, or 20 ms."""
    return units[-1].dts - units[-2].dts if len(units) > 1 else clock_rate // 50


def sample(codec: Codec, data: bytes, entry: bytes | None = None) -> bytes:
    """A unit as a file keeps it: lengths for start codes, without what the entry says already.

    ``entry``: its bytes; parameter sets that are not in it, as of a source that changed, stay.
    None: they go.
    """
    sets: tuple[int, ...]
    match codec:
        case Codec.H264:
            sets, delimiter, of_type = (h264.SPS, h264.PPS), h264.DELIMITER, h264.nal_type
        case Codec.H265:
            sets, delimiter = (h265.VPS, h265.SPS, h265.PPS), h265.DELIMITER
            of_type = h265.nal_type
        case Codec.AV1:
            obus = av1.split_stream(data)
            return b"".join(o.sized() for o in obus if o.type != av1.TEMPORAL_DELIMITER)
        case _:
            return data
    nals = [one for one in nal.split_annexb(data) if of_type(one) != delimiter]
    own = [one for one in nals if of_type(one) in sets]
    # All of them where one is another: decoders forget those that refer to what is replaced.
    if entry is None or all(one in entry for one in own):
        nals = [one for one in nals if of_type(one) not in sets]
    return b"".join(numbers(4, len(one)) + one for one in nals)


def _track(entry: Entry, role: Role) -> bytes:
    track = entry.track
    video = track.kind is Kind.VIDEO
    header = full_box(
        "tkhd",
        0,
        7 if role.enabled else 6,  # enabled, in the movie, in the preview
        numbers(4, 0, 0, track.id + 1, 0, 0, 0, 0),
        numbers(2, 0, role.group if role.group or video else 1, 0 if video else 0x100, 0),
        numbers(4, *_UNITY, entry.width << 16, entry.height << 16),
    )
    handler = b"vide" if video else b"soun"
    media = full_box(
        "mdhd", 0, 0, numbers(4, 0, 0, track.clock_rate, 0), numbers(2, _language(role.language), 0)
    )
    kind = full_box("hdlr", 0, 0, bytes(4), handler, bytes(12), b"\0")
    first = full_box("vmhd", 0, 1, bytes(8)) if video else full_box("smhd", 0, 0, bytes(4))
    where = box("dinf", full_box("dref", 0, 0, numbers(4, 1), full_box("url ", 0, 1)))
    table = box(
        "stbl",
        full_box("stsd", 0, 0, numbers(4, 1), entry.data),
        full_box("stts", 0, 0, numbers(4, 0)),
        full_box("stsc", 0, 0, numbers(4, 0)),
        full_box("stsz", 0, 0, numbers(4, 0, 0)),
        full_box("stco", 0, 0, numbers(4, 0)),
    )
    return box("trak", header, box("mdia", media, kind, box("minf", first, where, table)))
