"""Manifests as bytes: what a volume keeps as the head of a title's object.

Scalars and tracks are JSON; blocks and keys, of which a film has thousands, are columns of
differences, deflated. The bytes are written down in ``docs/wire/blocks.md``.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import sys
import zlib
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any, TypeVar

from heliograph.model.errors import MalformedError, TooLargeError
from heliograph.model.media import Codec, Kind, Track, check_channel_name
from heliograph.storage.values import MAX_BLOCK, ObjectId, check_object
from heliograph.vod.blocks import MAX_TIME_US, MAX_TRACKS
from heliograph.vod.manifest import BlockEntry, KeyPoint, Manifest, TitleTrack

MAGIC = b"HGT1"
VERSION = 1
#: Magic, version, zeros, bytes of JSON, blocks, keys.
_HEAD = Struct(">4sB3xIII")
#: What a volume takes as a head.
MAX_MANIFEST = 16 << 20
#: Parameter sets of 32 tracks have far less; a description for people is bounded below.
MAX_JSON = 1 << 20
#: 12 days in blocks of a second; a day of blocks that are full at 800 Mbit/s.
MAX_BLOCKS = 1 << 20
#: As many points of entry.
MAX_KEYS = 1 << 20
#: Characters of a title, of what it was made of, and of a format parameter.
MAX_TEXT = 4096
MAX_FMTP = 64 << 10
#: Deflated columns may hold this much: what ``MAX_BLOCKS`` of a film with six tracks need.
MAX_COLUMNS = 96 << 20

_LANGUAGE = re.compile(r"[a-z]{0,8}")
_DIGEST = re.compile(r"(?:[0-9a-f]{64})?")
_COUNT = 1 << 62
_Value = TypeVar("_Value")


def _malformed(reason: str, offset: int | None = None) -> MalformedError:
    return MalformedError("manifest", reason, offset=offset)


def encode_manifest(manifest: Manifest) -> bytes:
    """The manifest as bytes; ``decode_manifest`` gives it back.

    Raises ``TooLargeError`` where it has more blocks or keys than a head may have, and
    ``MalformedError`` where it says what cannot be.
    """
    blocks, keys = manifest.blocks, manifest.keys
    if len(blocks) > MAX_BLOCKS or len(keys) > MAX_KEYS:
        raise TooLargeError(
            f"title {manifest.name}: {len(blocks)} blocks, {len(keys)} keys", subject=manifest.name
        )
    dues = [one.due_us for one in blocks]
    end = blocks[-1].end_us if blocks else 0
    if any(b.end_us != n.due_us for b, n in itertools.pairwise(blocks)):
        raise _malformed("blocks that do not follow each other")
    columns = [
        _differences([*dues, end]),
        [one.bytes for one in blocks],
        *(
            _differences([one.first[index] for one in blocks])
            for index in range(len(manifest.tracks))
        ),
        _differences([key.due_us for key in keys]),
        [key.pts_us - key.due_us for key in keys],
        _differences([key.block for key in keys]),
        [key.track for key in keys],
    ]
    try:
        packed = array("q", itertools.chain.from_iterable(columns))
    except OverflowError as error:
        raise _malformed("a number out of reach") from error
    if sys.byteorder == "little":
        packed.byteswap()
    text = json.dumps(_scalars(manifest), ensure_ascii=False, separators=(",", ":")).encode()
    data = b"".join(
        (
            _HEAD.pack(MAGIC, VERSION, len(text), len(blocks), len(keys)),
            text,
            zlib.compress(packed.tobytes(), 6),
        )
    )
    if len(data) > MAX_MANIFEST or len(text) > MAX_JSON or 8 * len(packed) > MAX_COLUMNS:
        raise TooLargeError(
            f"title {manifest.name}: a manifest of {len(data)} bytes", subject=manifest.name
        )
    return data


def _differences(values: Sequence[int]) -> list[int]:
    return [b - a for a, b in itertools.pairwise(itertools.chain((0,), values))]


def _scalars(manifest: Manifest) -> dict[str, Any]:
    return {
        "name": manifest.name,
        "object": manifest.object,
        "title": manifest.title,
        "duration_us": manifest.duration_us,
        "tracks": [_track(one) for one in manifest.tracks],
        "peak_bps": manifest.peak_bps,
        "source": manifest.source,
        "source_digest": manifest.source_digest,
        "created": manifest.created,
        "live": manifest.live,
    }


def _track(one: TitleTrack) -> dict[str, Any]:
    track = one.track
    return {
        "kind": track.kind.value,
        "codec": track.codec.value,
        "clock_rate": track.clock_rate,
        "payload_type": track.payload_type,
        "channels": track.channels,
        "encoding": track.encoding,
        "fmtp": dict(track.fmtp),
        "packets": one.packets,
        "units": one.units,
        "bytes": one.bytes,
        "language": one.language,
        "rendition": one.rendition,
        "begin_us": one.begin_us,
        "end_us": one.end_us,
    }


@dataclass(frozen=True, slots=True)
class _Document:
    """A JSON object whose every field is asked for once, by type and range."""

    values: dict[str, Any]
    place: str

    @classmethod
    def of(cls, value: object, place: str, names: Iterable[str]) -> _Document:
        if not isinstance(value, dict):
            raise _malformed(f"{place} is no object")
        if value.keys() != set(names):
            odd = sorted(value.keys() ^ set(names))
            raise _malformed(f"{place}: fields missing or too many: {', '.join(odd)[:200]}")
        return cls(value, place)

    def number(self, name: str, low: int, high: int) -> int:
        value = self.values[name]
        if type(value) is not int or not low <= value <= high:
            raise _malformed(f"{self.place}: {name} is not a number from {low} to {high}")
        return value

    def text(self, name: str, limit: int = MAX_TEXT) -> str:
        value = self.values[name]
        if not isinstance(value, str) or len(value) > limit:
            raise _malformed(f"{self.place}: {name} is not a text of at most {limit} characters")
        try:
            value.encode()
        except UnicodeEncodeError as error:  # half a surrogate pair
            raise _malformed(f"{self.place}: {name} is not Unicode") from error
        return value

    def matching(self, name: str, pattern: re.Pattern[str]) -> str:
        value = self.text(name)
        if not pattern.fullmatch(value):
            raise _malformed(f"{self.place}: {name} is {value[:80]!r}")
        return value

    def choice(self, name: str, make: Callable[[str], _Value]) -> _Value:
        value = self.text(name)
        try:
            return make(value)
        except ValueError as error:
            raise _malformed(f"{self.place}: {name} is {value[:80]!r}") from error

    def truth(self, name: str) -> bool:
        value = self.values[name]
        if not isinstance(value, bool):
            raise _malformed(f"{self.place}: {name} is neither true nor false")
        return value

    def fmtp(self, name: str) -> Mapping[str, str]:
        value = self.values[name]
        if not isinstance(value, dict) or len(value) > 64:
            raise _malformed(f"{self.place}: {name} is no object of at most 64 fields")
        inner = _Document(value, f"{self.place}: {name}")
        for key in value:
            if len(key) > 80 or not key.isascii():
                raise _malformed(f"{self.place}: {name} has an odd name")
        return {key: inner.text(key, MAX_FMTP) for key in value}


def decode_manifest(data: bytes) -> Manifest:
    """A manifest out of ``encode_manifest``'s bytes. Raises ``MalformedError``."""
    if len(data) > MAX_MANIFEST:
        raise _malformed(f"{len(data)} bytes (at most {MAX_MANIFEST})")
    if len(data) < _HEAD.size:
        raise _malformed(f"{len(data)} bytes are less than a head", len(data))
    magic, version, size, blocks, keys = _HEAD.unpack_from(data)
    if magic != MAGIC:
        raise _malformed("not the manifest of a title", 0)
    if version != VERSION or data[5:8] != b"\0\0\0":
        raise _malformed(f"version {version} (this program reads {VERSION})", 4)
    end = _HEAD.size + size
    if size > MAX_JSON or end > len(data):
        raise _malformed(f"a description of {size} bytes", 8)
    if blocks > MAX_BLOCKS or keys > MAX_KEYS:
        raise _malformed(f"{blocks} blocks, {keys} keys", 12)
    try:
        value = json.loads(data[_HEAD.size : end].decode())
    except (ValueError, RecursionError) as error:
        raise _malformed(f"the description is not JSON: {error}"[:200], _HEAD.size) from error
    document = _Document.of(value, "the title", _FIELDS)
    tracks = _tracks(document)
    columns = _Columns(_inflate(data[end:], _columns_size(blocks, keys, len(tracks)), end))
    entries = _entries(columns, blocks, tracks)
    created = document.values["created"]
    if type(created) not in (int, float) or not 0 <= created < 1e12 or math.isnan(created):
        raise _malformed("the title: created is no time")
    return Manifest(
        name=check_channel_name(document.text("name")),
        object=ObjectId(check_object(document.text("object"))),
        title=document.text("title"),
        duration_us=document.number("duration_us", 0, MAX_TIME_US),
        tracks=tracks,
        blocks=entries,
        keys=_keys(columns, keys, entries, tracks),
        peak_bps=document.number("peak_bps", 0, _COUNT),
        source=document.text("source"),
        source_digest=document.matching("source_digest", _DIGEST),
        created=float(created),
        live=document.truth("live"),
    )


_FIELDS = (
    *("name", "object", "title", "duration_us", "tracks", "peak_bps", "source"),
    *("source_digest", "created", "live"),
)
_TRACK_FIELDS = (
    *("kind", "codec", "clock_rate", "payload_type", "channels", "encoding", "fmtp", "packets"),
    *("units", "bytes", "language", "rendition", "begin_us", "end_us"),
)


def _tracks(document: _Document) -> tuple[TitleTrack, ...]:
    value = document.values["tracks"]
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_TRACKS:
        raise _malformed(f"the title has not 1 to {MAX_TRACKS} tracks")
    found = []
    for index, one in enumerate(value):
        fields = _Document.of(one, f"track {index}", _TRACK_FIELDS)
        track = Track(
            id=index,
            kind=fields.choice("kind", Kind),
            codec=fields.choice("codec", Codec),
            clock_rate=fields.number("clock_rate", 1, 1 << 31),
            payload_type=fields.number("payload_type", 0, 127),
            channels=fields.number("channels", 0, 255),
            encoding=fields.text("encoding", 80),
            fmtp=fields.fmtp("fmtp"),
        )
        found.append(
            TitleTrack(
                track=track,
                packets=fields.number("packets", 0, _COUNT),
                units=fields.number("units", 0, _COUNT),
                bytes=fields.number("bytes", 0, _COUNT),
                language=fields.matching("language", _LANGUAGE),
                rendition=fields.number("rendition", 0, MAX_TRACKS),
                begin_us=fields.number("begin_us", 0, MAX_TIME_US),
                end_us=fields.number("end_us", 0, MAX_TIME_US),
            )
        )
    return tuple(found)


def _columns_size(blocks: int, keys: int, tracks: int) -> int:
    size = 8 * (blocks * (2 + tracks) + 1 + 4 * keys)
    if size > MAX_COLUMNS:
        raise _malformed(f"{blocks} blocks of {tracks} tracks, {keys} keys", 12)
    return size


def _inflate(data: bytes, size: int, offset: int) -> array[int]:
    inflater = zlib.decompressobj()
    try:
        plain = inflater.decompress(data, size + 1)
    except zlib.error as error:
        raise _malformed(f"columns: {error}", offset) from error
    if len(plain) != size or not inflater.eof or inflater.unused_data:
        raise _malformed(f"columns are not of {size} bytes", offset)
    values = array("q", plain)
    if sys.byteorder == "little":
        values.byteswap()
    return values


class _Columns:
    """Takes columns one after another."""

    def __init__(self, values: array[int]) -> None:
        self._values = values
        self._at = 0

    def plain(self, count: int, low: int, high: int, name: str) -> list[int]:
        values = list(self._values[self._at : self._at + count])
        self._at += count
        if values and not low <= min(values) <= max(values) <= high:
            raise _malformed(f"{name} from {min(values)} to {max(values)}")
        return values

    def sums(self, count: int, high: int, name: str, low: int = 0) -> list[int]:
        """Differences added up; ``low``: the least difference."""
        values = self.plain(count, low, high, name)
        sums = list(itertools.accumulate(values))
        if sums and not 0 <= min(sums) <= max(sums) <= high:
            raise _malformed(f"{name} from {min(sums)} to {max(sums)}")
        return sums


def _entries(
    columns: _Columns, blocks: int, tracks: Sequence[TitleTrack]
) -> tuple[BlockEntry, ...]:
    dues = columns.sums(blocks + 1, MAX_TIME_US, "due")
    sizes = columns.plain(blocks, 1, MAX_BLOCK, "bytes")
    firsts = []
    for index, one in enumerate(tracks):
        firsts.append(columns.sums(blocks, one.packets, f"first of track {index}"))
        if blocks and firsts[-1][0]:
            raise _malformed(f"track {index} begins with packet {firsts[-1][0]}")
    if not blocks and (dues[0] or any(one.packets for one in tracks)):
        raise _malformed("a title without blocks that has packets, or time")
    return tuple(
        BlockEntry(due, end, size, first)
        for due, end, size, first in zip(
            dues[:blocks], dues[1:], sizes, zip(*firsts, strict=True), strict=True
        )
    )


def _keys(
    columns: _Columns, count: int, blocks: Sequence[BlockEntry], tracks: Sequence[TitleTrack]
) -> tuple[KeyPoint, ...]:
    dues = columns.sums(count, MAX_TIME_US, "due of a key")
    shown = columns.plain(count, -MAX_TIME_US, MAX_TIME_US, "time of a key")
    places = columns.sums(count, len(blocks) - 1, "block of a key", -len(blocks))
    of = columns.plain(count, 0, len(tracks) - 1, "track of a key")
    keys = []
    for due, pts, place, track in zip(dues, shown, places, of, strict=True):
        entry = blocks[place]
        if not entry.due_us <= due <= entry.end_us or not 0 <= due + pts <= MAX_TIME_US:
            raise _malformed(f"a key due at {due} µs in block {place}")
        keys.append(KeyPoint(due, due + pts, place, track))
    return tuple(keys)
