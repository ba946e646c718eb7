"""What can be made of a channel's sound, and the process that makes it."""

from __future__ import annotations

import itertools
import struct
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest

from heliograph.live.derived import AAC_CONFIG, RATE, derivable
from heliograph.live.transcode_units import MADE, UNIT
from heliograph.live.transcode_worker import Transcoder
from heliograph.model.media import Codec, Kind, Track
from heliograph.protocols import payload
from heliograph.protocols.payload import aac

#: Unix time of the first sample, µs.
BEGIN = 1_700_000_000_000_000
TONE = 440.0


def track(codec: Codec, id: int = 1, payload_type: int = 97, rate: int = 48_000) -> Track:
    return Track(id, Kind.AUDIO, codec, rate, payload_type, 2)


PICTURE = Track(0, Kind.VIDEO, Codec.H264, 90_000, 96)


class TestWhatCanBeMade:
    @pytest.mark.parametrize(
        ("codec", "made"),
        [
            (Codec.AAC, [Codec.OPUS]),
            (Codec.OPUS, [Codec.AAC]),
            (Codec.PCMU, [Codec.AAC]),
            (Codec.L16, [Codec.OPUS, Codec.AAC]),
            (Codec.AAC_LATM, [Codec.OPUS, Codec.AAC]),
            (Codec.UNKNOWN, []),
        ],
    )
    def test_what_webrtc_and_hls_lack(self, codec: Codec, made: list[Codec]) -> None:
        assert [one.codec for one in derivable([PICTURE, track(codec)])] == made

    def test_nothing_where_both_are_there_or_no_sound(self) -> None:
        assert derivable([PICTURE, track(Codec.AAC), track(Codec.OPUS, 2, 98)]) == ()
        assert derivable([PICTURE]) == ()

    def test_neither_ids_nor_payload_types_are_taken_twice(self) -> None:
        tracks = [PICTURE, track(Codec.L16, 5, 127)]
        everything = [*tracks, *derivable(tracks)]
        assert len({one.id for one in everything}) == len(everything)
        assert len({one.payload_type for one in everything}) == len(everything)

    def test_the_description_is_one_that_we_read_ourselves(self) -> None:
        (made,) = derivable([track(Codec.OPUS)])
        assert payload.description(made) == AAC_CONFIG
        config = aac.parse_config(AAC_CONFIG)
        assert (config.object_type, config.sample_rate, config.channels) == (2, RATE, 2)


def encoded(codec: str, rate: int, seconds: float) -> tuple[list[tuple[int, bytes]], bytes]:
    """A tone: (time in µs, unit), and the decoder's configuration."""
    name, form, size = {"aac": ("aac", "fltp", 1024), "opus": ("libopus", "s16", 960)}[codec]
    encoder = av.CodecContext.create(name, "w")
    assert isinstance(encoder, av.AudioCodecContext)
    encoder.sample_rate, encoder.layout, encoder.format = rate, "stereo", form
    encoder.time_base = Fraction(1, rate)
    units = []
    for start in range(0, int(rate * seconds) - size, size):
        wave = np.sin(2 * np.pi * TONE * np.arange(start, start + size) / rate) * 0.5
        if form == "fltp":
            samples = np.stack([wave, wave]).astype(np.float32)
        else:
            samples = np.repeat(wave * 32767, 2).astype(np.int16).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, format=form, layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        for packet in encoder.encode(frame):
            assert packet.pts is not None
            units.append((BEGIN + packet.pts * 1_000_000 // rate, bytes(packet)))
    return units, encoder.extradata or b""


def decoded(codec: str, units: list[bytes]) -> np.ndarray:
    """Samples of the left side, ±1."""
    decoder = av.CodecContext.create({"aac": "aac", "opus": "libopus"}[codec], "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.sample_rate, decoder.layout = RATE, "stereo"
    if codec == "aac":
        decoder.extradata = AAC_CONFIG
    resampler = av.AudioResampler("fltp", "stereo", RATE)
    frames = [frame for unit in units for frame in decoder.decode(av.Packet(unit))]
    parts = [part.to_ndarray()[0] for frame in frames for part in resampler.resample(frame)]
    return np.concatenate(parts)


@pytest.mark.parametrize(
    ("source", "rate", "target"),
    [("aac", 44_100, "opus"), ("aac", 48_000, "opus"), ("opus", 48_000, "aac")],
)
class TestTranscoder:
    def test_the_tone_is_the_same_and_so_are_its_times(
        self, source: str, rate: int, target: str
    ) -> None:
        units, config = encoded(source, rate, 2.0)
        transcoder = Transcoder(source, rate, 2, config if source == "aac" else b"", target)
        made = [one for time, unit in units for one in transcoder.push(time, unit)]
        samples = decoded(target, [unit for _, _, unit in made])
        wave = samples[RATE // 4 : RATE // 4 + RATE]
        loudest = int(np.argmax(np.abs(np.fft.rfft(wave)))) * RATE / len(wave)
        assert abs(loudest - TONE) < 2
        assert 0.4 < np.max(np.abs(wave)) < 0.6
        # A unit lasts as long as its successor is later, in samples and on the clock.
        size = {"opus": 960, "aac": 1024}[target]
        assert {b[1] - a[1] for a, b in itertools.pairwise(made)} == {size}
        begin = made[0][0] - made[0][1] * 1_000_000 // RATE
        for time, position, _ in made:
            assert abs(time - position * 1_000_000 / RATE - begin) < 500
        # The phase of the tone tells that sound is where its time says.
        told = (made[0][0] - BEGIN) / 1e6
        at = np.arange(len(wave)) / RATE + 0.25 + told
        match = np.dot(wave, np.sin(2 * np.pi * TONE * at)) / np.dot(wave, wave) * 0.5
        assert match > 0.95

    def test_what_is_missing_leaves_a_gap_of_its_length(
        self, source: str, rate: int, target: str
    ) -> None:
        units, config = encoded(source, rate, 2.0)
        transcoder = Transcoder(source, rate, 2, config if source == "aac" else b"", target)
        made = [
            one
            for place, (time, unit) in enumerate(units)
            if not 40 <= place < 60
            for one in transcoder.push(time, unit)
        ]
        steps = [b[1] - a[1] for a, b in itertools.pairwise(made)]
        (gap,) = [step for step in steps if step > 2000]
        missing = (units[60][0] - units[40][0]) * RATE / 1e6
        assert abs(gap - missing) < 2 * 1024
        assert transcoder.bad == 0

    def test_rubbish_makes_nothing_and_is_survived(
        self, source: str, rate: int, target: str
    ) -> None:
        units, config = encoded(source, rate, 1.0)
        transcoder = Transcoder(source, rate, 2, config if source == "aac" else b"", target)
        for number, (time, unit) in enumerate(units[:20]):
            transcoder.push(time, bytes([number]) + unit[: number % 5])
        assert [one for time, unit in units[20:] for one in transcoder.push(time, unit)]


def test_the_process_answers_and_ends_with_its_input() -> None:
    units, config = encoded("aac", 48_000, 1.0)
    command = [sys.executable, "-m", "heliograph.live.transcode_worker"]
    text = b"".join(UNIT.pack(time, len(unit)) + unit for time, unit in units)
    ended = subprocess.run(
        [*command, "aac", "48000", "2", config.hex(), "opus"],
        input=text,
        capture_output=True,
        timeout=30,
        check=True,
    )
    rest, count = ended.stdout, 0
    while rest:
        _, _, size = MADE.unpack_from(rest)
        rest, count = rest[MADE.size + size :], count + 1
    assert count >= 45


def test_the_process_refuses_units_beyond_bounds() -> None:
    command = [sys.executable, "-m", "heliograph.live.transcode_worker"]
    ended = subprocess.run(
        [*command, "pcmu", "8000", "1", "-", "aac"],
        input=struct.pack("!qI", 0, 1 << 30) + bytes(100),
        capture_output=True,
        timeout=30,
        check=True,
    )
    assert ended.stdout == b""
