"""Decoders in threads: same pictures as without, bounded, quick to forget."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from heliograph.model.errors import UnsupportedError
from heliograph.model.media import Codec, Kind, Track
from heliograph.player.decode import MAX_PICTURES, Decoded, Decoder, Picture, Sound
from heliograph.protocols.payload import AccessUnit

from .made import film

PATIENCE = 20.0


@pytest.fixture
def decoders() -> Iterator[Callable[[Track], Decoder]]:
    made: list[Decoder] = []

    def make(track: Track) -> Decoder:
        made.append(Decoder(3, track))
        return made[-1]

    yield make
    for decoder in made:
        decoder.close()
        assert decoder.failure is None


def until(look: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not look():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def gather(decoder: Decoder, count: int) -> list[Decoded]:
    found: list[Decoded] = []

    def enough() -> bool:
        found.extend(decoder.due(1e9))
        return len(found) >= count

    until(enough)
    return found


@pytest.mark.parametrize("codec", ["libx264", "libvpx", "mpeg2video"])
def test_pictures_are_those_of_a_plain_decoder_at_their_times(
    codec: str, decoders: Callable[[Track], Decoder]
) -> None:
    made = film(codec)
    decoder = decoders(made.track)
    for unit, media in zip(made.units, made.times(), strict=True):
        assert decoder.put(unit, 100.0 + media)
    decoder.finish()
    found = gather(decoder, len(made.pictures))
    pictures = [one.frame.to_ndarray().tobytes() for one in found if isinstance(one, Picture)]
    assert pictures == made.pictures
    assert [one.media for one in found] == pytest.approx([100 + n / 25 for n in range(50)])
    until(lambda: not decoder.busy)


def test_nothing_is_decoded_before_a_keyframe(decoders: Callable[[Track], Decoder]) -> None:
    made = film()
    decoder = decoders(made.track)
    for unit in made.units[1:4]:
        decoder.put(unit, 0.0)
    until(lambda: not decoder.busy)
    assert decoder.counters.skipped == 3
    assert decoder.counters.decoded == 0


def test_a_decoder_that_nobody_empties_stops_and_says_so(
    decoders: Callable[[Track], Decoder],
) -> None:
    made = film()
    decoder = decoders(made.track)
    put = 0
    deadline = time.monotonic() + PATIENCE
    while decoder.room and time.monotonic() < deadline:
        decoder.put(made.units[put % 50], put / 25)
        put += 1
    assert not decoder.room
    assert len(decoder.due(1e9)) <= MAX_PICTURES
    decoder.clear()
    until(lambda: decoder.room and not decoder.busy)
    assert decoder.next_media() is None


def test_after_a_seek_nothing_of_before_comes(decoders: Callable[[Track], Decoder]) -> None:
    made = film()
    decoder = decoders(made.track)
    for unit, media in zip(made.units, made.times(), strict=True):
        decoder.put(unit, media)
    decoder.clear()
    for unit, media in zip(made.units, made.times(), strict=True):
        decoder.put(unit, 500 + media)
    decoder.finish()
    found = gather(decoder, 50)
    assert len(found) == 50
    assert min(one.media for one in found) == 500.0


def test_broken_units_are_counted_and_the_rest_is_shown(
    decoders: Callable[[Track], Decoder],
) -> None:
    made = film()
    decoder = decoders(made.track)
    decoder.put(AccessUnit(b"\0\0\0\1\x65" + b"\xff" * 50, 0, True), 0.0)
    for unit, media in zip(made.units, made.times(), strict=True):
        decoder.put(unit, media)
    decoder.finish()
    assert len(gather(decoder, 50)) >= 50
    assert decoder.counters.errors >= 1


@pytest.mark.parametrize(("codec", "width"), [(Codec.L16, 2), (Codec.L24, 3)])
def test_linear_sound_is_read_exactly(
    codec: Codec, width: int, decoders: Callable[[Track], Decoder]
) -> None:
    track = Track(0, Kind.AUDIO, codec, 48_000, 96, channels=12)
    whole = np.random.default_rng(1).integers(-(2 ** (8 * width - 1)), 2 ** (8 * width - 1), 1200)
    data = b"".join(int(n).to_bytes(width, "big", signed=True) for n in whole)
    decoder = decoders(track)
    decoder.put(AccessUnit(data, 0, True), 2.5)
    (sound,) = gather(decoder, 1)
    assert isinstance(sound, Sound)
    assert (sound.media, sound.rate, sound.samples.shape) == (2.5, 48_000, (100, 12))
    expected = (whole / 2 ** (8 * width - 1)).reshape(100, 12)
    assert np.abs(sound.samples - expected).max() < 1e-7


def test_a_codec_without_decoder_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match="X-ODD"):
        Decoder(0, Track(0, Kind.VIDEO, Codec.UNKNOWN, 90_000, 96, encoding="X-ODD"))
