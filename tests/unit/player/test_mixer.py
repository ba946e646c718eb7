"""Sound of many streams: laid to the sample, dealt to outputs, and a device that plays silence."""

from __future__ import annotations

import numpy as np
import pytest

from heliograph.player import audio
from heliograph.player.audio import MAX_AHEAD, MAX_CHANNELS, RATE, Mixer, Speaker, gains, resample
from heliograph.player.decode import Sound


def noise(count: int, channels: int, seed: int = 1) -> np.ndarray:
    chance = np.random.default_rng(seed)
    return (chance.random((count, channels)) - 0.5).astype(np.float32)


def pieces(stream: int, samples: np.ndarray, size: int, start: float = 0.0) -> list[Sound]:
    return [
        Sound(stream, start + at / RATE, RATE, samples[at : at + size])
        for at in range(0, len(samples), size)
    ]


@pytest.mark.parametrize("channels", [(2, 2, 2, 2, 2, 2), (8, 8, 8), (1,) * 24, (12,)])
def test_channels_with_outputs_of_their_own_come_out_to_the_sample(
    channels: tuple[int, ...],
) -> None:
    """Pieces of different sizes, given in disorder of streams: phases are as in the source."""
    mixer = Mixer(dict(enumerate(channels)), sum(channels))
    sources = [noise(4800, n, seed) for seed, n in enumerate(channels)]
    given = [pieces(s, samples, 96 + 7 * s) for s, samples in enumerate(sources)]
    for step in range(max(len(one) for one in given)):
        for one in given[::-1]:
            if step < len(one):
                mixer.add(one[step])
    out = np.concatenate([mixer.mix(at, 480) for at in range(0, 4800, 480)])
    assert np.array_equal(out, np.concatenate(sources, axis=1))
    assert (mixer.dropped, mixer.seams) == (0, 0)


def test_what_is_missing_is_silent_and_moves_nothing() -> None:
    mixer = Mixer({0: 1}, 1)
    source = noise(2000, 1)
    for piece in pieces(0, source, 500):
        if piece.media != 500 / RATE:
            mixer.add(piece)
    out = mixer.mix(0, 2000)
    assert np.array_equal(out[:500], source[:500])
    assert not out[500:1000].any()
    assert np.array_equal(out[1000:], source[1000:])
    assert mixer.seams == 1


def test_timestamps_that_tremble_make_no_seam() -> None:
    mixer = Mixer({0: 1}, 1)
    source = noise(4800, 1)
    for place, piece in enumerate(pieces(0, source, 480)):
        shaken = piece.media + (0.001 if place % 2 else 0.0)
        mixer.add(Sound(0, shaken, RATE, piece.samples))
    assert np.array_equal(mixer.mix(0, 4800), source)
    assert mixer.seams == 0


def test_late_sound_is_dropped_and_told() -> None:
    mixer = Mixer({0: 1}, 1)
    mixer.mix(0, 480)
    mixer.add(Sound(0, 0.0, RATE, noise(600, 1)))
    out = mixer.mix(480, 480)
    assert np.count_nonzero(out) == 120
    assert mixer.dropped == 480


def test_sound_far_ahead_is_bounded() -> None:
    mixer = Mixer({0: 1}, 1)
    for second in range(60):
        mixer.add(Sound(0, float(second), RATE, np.zeros((RATE, 1), np.float32)))
    assert mixer.dropped >= (59 - MAX_AHEAD) * RATE


def test_other_rates_are_brought_to_the_device_s() -> None:
    mixer = Mixer({0: 1}, 1)
    tone = np.sin(2 * np.pi * 440 * np.arange(8000) / 8000).astype(np.float32)[:, None]
    mixer.add(Sound(0, 0.0, 8000, tone))
    out = mixer.mix(0, RATE)
    expected = np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)[:, None]
    assert np.abs(out - expected)[:-10].max() < 0.05


def test_too_many_channels_are_dealt_and_none_is_lost() -> None:
    made = gains({0: 8, 1: 8, 2: 8}, 2)
    whole = np.concatenate([made[s] for s in range(3)])
    assert np.count_nonzero(whole, axis=1).tolist() == [1] * 24
    # Twelve to an output: uncorrelated sounds keep their loudness.
    assert (whole**2).sum(axis=0) == pytest.approx([1.0, 1.0])
    surround = gains({0: 6}, 2)[0]
    assert surround[2, 0] == surround[2, 1] > 0  # the centre is heard on both sides
    assert gains({0: 1}, 2)[0].tolist() == [[1.0, 1.0]]


def test_more_channels_than_can_be_are_refused() -> None:
    with pytest.raises(ValueError, match="25 channels"):
        gains({0: MAX_CHANNELS + 1}, 2)


def test_interpolation_is_what_numpy_does() -> None:
    samples = noise(100, 2)
    at = np.arange(150) * (100 / 150)
    for channel in range(2):
        expected = np.interp(at, np.arange(100), samples[:, channel])
        assert resample(samples, 150)[:, channel] == pytest.approx(expected, abs=1e-6)


class Device:
    """SDL, as far as a speaker uses it, whose crystal is off."""

    SDL_INIT_AUDIO = AUDIO_F32SYS = SDL_AUDIO_ALLOW_CHANNELS_CHANGE = 0

    def __init__(self, ppm: float) -> None:
        self.rate = RATE * (1 + ppm * 1e-6)
        self.queued = 0.0
        self.cleared = 0

    def SDL_InitSubSystem(self, _: int) -> int:
        return 0

    SDL_QuitSubSystem = SDL_CloseAudioDevice = SDL_InitSubSystem

    class SDL_AudioSpec:
        def __init__(self, rate: int, form: int, channels: int, samples: int) -> None:
            self.channels = channels or 2

    def SDL_OpenAudioDevice(self, *_: object) -> int:
        return 1

    def SDL_PauseAudioDevice(self, *_: object) -> None:
        pass

    def SDL_GetQueuedAudioSize(self, _: int) -> int:
        return 8 * -int(-self.queued // 1024) * 1024  # in whole pieces

    def SDL_ClearQueuedAudio(self, _: int) -> None:
        self.queued, self.cleared = 0.0, self.cleared + 1

    def SDL_QueueAudio(self, _: int, raw: bytes, size: int) -> None:
        self.queued += size / 8


@pytest.mark.parametrize("ppm", [-300.0, 300.0])
def test_a_device_whose_crystal_is_off_keeps_to_the_clock(
    ppm: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five minutes: 90 ms without correction, which would be heard as a seam."""
    device = Device(ppm)
    monkeypatch.setattr(audio, "load_sdl", lambda: device)
    speaker = Speaker({0: 2})
    monkeypatch.setattr(speaker.mixer, "mix", lambda start, count: np.zeros((count, 2), np.float32))
    worst = 0.0
    for step in range(300 * 20):
        position = step / 20
        speaker.pump(position, running=True)
        assert speaker._next is not None
        heard = (speaker._next - device.queued) / RATE
        worst = max(worst, abs(heard - position))
        device.queued = max(0.0, device.queued - device.rate / 20)
    assert worst <= 0.04
    assert (speaker.resets, device.cleared) == (0, 1)


def test_a_device_is_fed_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_AUDIODRIVER", "dummy")
    speaker = Speaker({0: 2})
    try:
        speaker.add(Sound(0, 5.0, RATE, noise(RATE, 2)))
        speaker.pump(5.0, running=True)
        speaker.pump(5.02, running=True)
        assert speaker.resets == 0
        speaker.pump(9.0, running=True)  # after a jump of the clock
        assert speaker.resets == 1
        speaker.clear()
        speaker.pump(1.0, running=True)
        assert speaker.resets == 1
    finally:
        speaker.close()
        speaker.close()
