"""Files: what was remuxed decodes to the same pictures, sound is kept to the sample."""

from __future__ import annotations

import wave
from pathlib import Path

import av
import numpy as np
import pytest

from heliograph.model.errors import ResourceError, UnsupportedError
from heliograph.model.media import Codec, Kind, Track
from heliograph.player.decode import Sound
from heliograph.player.writing import Writer
from heliograph.protocols.payload import AccessUnit

from .made import Film, film

L16 = Track(1, Kind.AUDIO, Codec.L16, 48_000, 97, channels=2)


def write(path: Path, made: Film, *, first: int = 0, sound: bool = False) -> Writer:
    tracks = {0: made.track, **({1: L16} if sound else {})}
    writer = Writer(path, tracks)
    for place, (unit, media) in enumerate(zip(made.units, made.times(), strict=True)):
        if sound:
            samples = np.full((1920, 2), place, ">i2").tobytes()
            writer.unit(1, AccessUnit(samples, 0, True), 70 + place / 25)
        if place >= first:
            writer.unit(0, unit, 70 + media)
    writer.close()
    writer.close()
    return writer


def read(path: Path) -> tuple[list[bytes], list[float]]:
    with av.open(str(path)) as source:
        frames = list(source.decode(video=0))
    return [f.to_ndarray(format="yuv420p").tobytes() for f in frames], [f.time for f in frames]


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".ts"])
@pytest.mark.parametrize("bframes", [0, 2])
def test_a_remuxed_film_is_the_same_film(tmp_path: Path, ending: str, bframes: int) -> None:
    made = film("libx264", 50, bframes)
    path = tmp_path / f"film{ending}"
    writer = write(path, made)
    assert writer.failure is None
    assert writer.written == 50
    pictures, times = read(path)
    assert pictures == made.pictures
    steps = np.diff(times)
    assert np.abs(steps - 1 / 25).max() < 0.002


def test_what_cannot_be_decoded_alone_is_left_out(tmp_path: Path) -> None:
    made = film("libx264", 50, 0)
    path = tmp_path / "film.mp4"
    write(path, made, first=1)
    assert read(path)[0] == made.pictures[12:]


def test_sound_without_compression_is_kept_beside(tmp_path: Path) -> None:
    path = tmp_path / "film.mkv"
    assert write(path, film(), sound=True).failure is None
    assert read(path)[0] == film().pictures
    with av.open(str(path)) as source:
        samples = np.concatenate([f.to_ndarray().ravel() for f in source.decode(audio=0)])
    assert np.array_equal(samples, np.repeat(np.arange(50), 3840))


def test_twelve_channels_are_one_wav(tmp_path: Path) -> None:
    path = tmp_path / "twelve.wav"
    tracks = {
        s: Track(s, Kind.AUDIO, Codec.L16, 48_000, 96, channels=2 if s < 5 else 1) for s in range(7)
    }
    writer = Writer(path, tracks)
    chance = np.random.default_rng(1)
    whole = {s: chance.integers(-32768, 32768, (4800, t.channels)) for s, t in tracks.items()}
    for at in range(0, 4800, 480):
        for stream, samples in whole.items():
            floats = (samples[at : at + 480] / 32768).astype(np.float32)
            writer.decoded(Sound(stream, 3.0 + at / 48_000, 48_000, floats))
    writer.close()
    assert writer.failure is None
    with wave.open(str(path)) as file:
        assert file.getnchannels() == 12
        read = np.frombuffer(file.readframes(10_000), "<i2").reshape(-1, 12)
    assert np.array_equal(read, np.concatenate([whole[s] for s in range(7)], axis=1))


def test_an_ending_nobody_knows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"film\.doc.*\.mp4"):
        Writer(tmp_path / "film.doc", {0: film().track})


def test_a_place_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    for ending in (".mp4", ".yuv"):
        with pytest.raises(ResourceError, match="cannot write"):
            Writer(tmp_path / "missing" / f"film{ending}", {0: film().track})


def test_nothing_received_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    writer = Writer(path, {0: film().track})
    writer.close()
    assert isinstance(writer.failure, ResourceError)
    assert not path.exists()


def test_a_codec_the_container_does_not_know_is_told(tmp_path: Path) -> None:
    writer = write(tmp_path / "film.mp4", film("libvpx"))
    assert isinstance(writer.failure, UnsupportedError)
    assert "vp8" in writer.failure.message
