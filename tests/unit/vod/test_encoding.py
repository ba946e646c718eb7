"""Manifests as bytes: whole, small, and never half understood."""

from __future__ import annotations

import json
import time
import zlib
from dataclasses import replace

import pytest
from tests.unit.vod.made_titles import manifest, written

from heliograph.model.errors import MalformedError, TooLargeError
from heliograph.vod.encoding import MAX_BLOCKS, decode_manifest, encode_manifest
from heliograph.vod.manifest import BlockEntry, KeyPoint, Manifest


@pytest.fixture(scope="module")
def made() -> Manifest:
    return manifest(*written(20))


def test_a_manifest_is_read_as_it_was_written(made: Manifest) -> None:
    assert len(made.blocks) > 20
    assert len(made.keys) == 20
    assert decode_manifest(encode_manifest(made)) == made


def test_a_title_that_is_empty_yet_has_a_manifest(made: Manifest) -> None:
    tracks = tuple(replace(one, packets=0, units=0, bytes=0) for one in made.tracks)
    empty = replace(made, blocks=(), keys=(), tracks=tracks, live=True, duration_us=0)
    assert decode_manifest(encode_manifest(empty)) == empty


def test_the_manifest_of_a_film_is_small_and_soon_read(made: Manifest) -> None:
    blocks = tuple(
        BlockEntry(
            n * 1_001_000, (n + 1) * 1_001_000, 900_000 + n * 7919 % 99_991, (n * 751, n * 47)
        )
        for n in range(7000)
    )
    keys = tuple(
        KeyPoint(n * 1_751_750, n * 1_751_750 + 83_417, n * 7 // 4, 0) for n in range(3999)
    )
    tracks = tuple(replace(one, packets=10**8) for one in made.tracks)
    film = replace(made, blocks=blocks, keys=keys, tracks=tracks)
    data = encode_manifest(film)
    assert len(data) < 150_000
    before = time.process_time()
    assert decode_manifest(data) == film
    assert time.process_time() - before < 2


def changed(made: Manifest, **fields: object) -> bytes:
    """The manifest with other fields in its description."""
    data = encode_manifest(made)
    size = int.from_bytes(data[8:12], "big")
    document = json.loads(data[20 : 20 + size])
    track = {key[6:]: value for key, value in fields.items() if key.startswith("track_")}
    document.update({key: value for key, value in fields.items() if not key.startswith("track_")})
    document["tracks"][0].update(track) if track else None
    text = json.dumps(document).encode()
    return data[:8] + len(text).to_bytes(4, "big") + data[12:20] + text + data[20 + size :]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"name": "a b"}, "channel name"),
        ({"object": "x"}, "object id"),
        ({"title": 7}, "title is not a text"),
        ({"title": "x" * 5000}, "at most 4096"),
        ({"title": "\ud800"}, "not Unicode"),
        ({"duration_us": -1}, "duration_us"),
        ({"duration_us": True}, "duration_us"),
        ({"duration_us": 1.5}, "duration_us"),
        ({"tracks": []}, "1 to 32 tracks"),
        ({"tracks": [1]}, "track 0 is no object"),
        ({"created": "now"}, "created"),
        ({"created": float("nan")}, "created"),
        ({"live": 1}, "neither true nor false"),
        ({"source_digest": "12"}, "source_digest"),
        ({"more": 1}, "too many: more"),
        ({"track_kind": "smell"}, "track 0: kind"),
        ({"track_codec": "h263"}, "track 0: codec"),
        ({"track_clock_rate": 0}, "clock_rate"),
        ({"track_payload_type": 128}, "payload_type"),
        ({"track_fmtp": {"a": 1}}, "fmtp: a is not a text"),
        ({"track_fmtp": []}, "fmtp is no object"),
        ({"track_packets": 3}, "first of track 0"),
        ({"track_language": "D!"}, "language"),
        ({"track_more": 1}, "too many: more"),
    ],
)
def test_a_description_that_is_wrong_is_refused(
    made: Manifest, fields: dict[str, object], reason: str
) -> None:
    with pytest.raises(MalformedError, match=reason):
        decode_manifest(changed(made, **fields))


def test_columns_that_do_not_fit_are_refused(made: Manifest) -> None:
    data = encode_manifest(made)
    at = 20 + int.from_bytes(data[8:12], "big")
    columns = zlib.decompress(data[at:])
    for size in (0, len(columns) - 8, len(columns) + 8):
        with pytest.raises(MalformedError, match="columns are not of"):
            decode_manifest(data[:at] + zlib.compress(columns[:size].ljust(size, b"\0")))
    with pytest.raises(MalformedError, match="columns: "):
        decode_manifest(data[:at] + b"\0" + data[at:])
    with pytest.raises(MalformedError, match="columns are not of"):
        decode_manifest(data[:-3])
    with pytest.raises(MalformedError, match="columns are not of"):
        decode_manifest(data + b"\0")
    for place in range(0, len(columns), 8):
        bad = columns[:place] + b"\x80" + columns[place + 1 :]
        with pytest.raises(MalformedError):
            decode_manifest(data[:at] + zlib.compress(bad, 1))


def test_little_that_unfolds_to_much_is_refused(made: Manifest) -> None:
    bomb = zlib.compress(bytes(100 << 20), 1)
    data = encode_manifest(made)
    at = 20 + int.from_bytes(data[8:12], "big")
    with pytest.raises(MalformedError, match="columns are not of"):
        decode_manifest(data[:at] + bomb)
    counts = MAX_BLOCKS.to_bytes(4, "big") * 2
    with pytest.raises(MalformedError, match="columns are not of"):
        decode_manifest(data[:12] + counts + data[20:at] + bomb)
    deep = b"[" * 100_000
    with pytest.raises(MalformedError, match="not JSON"):
        decode_manifest(data[:8] + len(deep).to_bytes(4, "big") + data[12:20] + deep)


def test_more_than_a_head_may_have_is_not_written(made: Manifest) -> None:
    with pytest.raises(TooLargeError, match="2000000 blocks"):
        encode_manifest(replace(made, blocks=[made.blocks[0]] * 2_000_000))
    with pytest.raises(MalformedError, match="do not follow"):
        encode_manifest(replace(made, blocks=made.blocks[::2]))
