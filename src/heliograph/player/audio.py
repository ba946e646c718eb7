"""Sound: streams laid side by side to the sample, mixed to what the device has, played by SDL.

``Mixer`` is pure; ``Speaker`` keeps a tenth of a second queued at the device and follows its clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heliograph.model.errors import ResourceError
from heliograph.player.decode import Sound
from heliograph.player.sdl import load_sdl, reason
from heliograph.player.synchrony import Synchroniser

Samples = NDArray[np.float32]

#: Samples a second at the device.
RATE = 48_000
#: Channels that are mixed: what Yima's client renders.
MAX_CHANNELS = 24
#: Seconds that timestamps may tremble without a seam in the sound: senders round them.
TREMBLE = 0.003
#: Seconds of sound that may wait in a stream.
MAX_AHEAD = 10.0
#: Gains of 5.1 (FL FR FC LFE BL BR) to stereo (ITU-R BS.775).
_SURROUND = ((1.0, 0.0, 0.707, 0.0, 0.707, 0.0), (0.0, 1.0, 0.707, 0.0, 0.0, 0.707))
#: Seconds queued at the device: more than Python's longest pause, less than one notices.
QUEUED = 0.1
#: Seconds between two looks at how far the device's clock is off. It takes sound in pieces of
#: 21 ms: that has to average out.
REPORT_EVERY = 1.0
#: Seconds of offset from the clock beyond which sound is set anew rather than stretched.
RESET = 0.08


def gains(sources: Mapping[int, int], outputs: int) -> dict[int, Samples]:
    """By stream: a matrix of its channels × the outputs.

    Where there are enough outputs each channel has one of its own, in the streams' order; one
    channel alone goes to all of two. Otherwise channels are dealt to the outputs in turn, 5.1 to
    stereo as ITU-R BS.775 has it, and made softer by the root of how many share an output.
    """
    total = sum(sources.values())
    if not 1 <= total <= MAX_CHANNELS or outputs < 1:
        raise ValueError(f"{total} channels to {outputs}")
    made: dict[int, Samples] = {}
    place = 0
    softer = 1.0 / np.sqrt(max(1, -(-total // outputs)))
    for stream, channels in sources.items():
        matrix = np.zeros((channels, outputs), np.float32)
        if total == 1 and outputs == 2:
            matrix[:] = 1.0
        elif total > outputs == 2 and channels == 6:
            matrix[:] = np.array(_SURROUND, np.float32).T * softer
        else:
            for channel in range(channels):
                matrix[channel, (place + channel) % outputs] = 1.0 if total <= outputs else softer
        place += channels
        made[stream] = matrix
    return made


def resample(samples: Samples, count: int) -> Samples:
    """As many samples as wanted, by linear interpolation."""
    if len(samples) == count or not len(samples):
        return samples
    at = np.arange(count, dtype=np.float64) * (len(samples) / count)
    below = np.minimum(at.astype(np.int64), len(samples) - 1)
    above = np.minimum(below + 1, len(samples) - 1)
    part = (at - below)[:, None].astype(np.float32)
    mixed: Samples = samples[below] * (1 - part) + samples[above] * part
    return mixed


@dataclass(slots=True)
class _Lane:
    matrix: Samples
    pieces: deque[tuple[int, Samples]]  # (index of the first sample, samples at ``RATE``)
    end: int | None = None  # index behind the last piece


class Mixer:
    """Lays the sound of several streams on one time axis of samples."""

    def __init__(self, sources: Mapping[int, int], outputs: int, rate: int = RATE) -> None:
        """``sources``: by stream, its channels. ``rate``: samples a second."""
        self.outputs = outputs
        self.rate = rate
        self._lanes = {s: _Lane(m, deque()) for s, m in gains(sources, outputs).items()}
        self.dropped = 0
        """Samples that came too late or too far ahead."""
        self.seams = 0
        """Places where the sound of a stream did not go on where it had ended."""

    def add(self, sound: Sound) -> None:
        """Take decoded sound."""
        lane = self._lanes[sound.stream]
        samples = sound.samples[:, : lane.matrix.shape[0]]
        if samples.shape[1] < lane.matrix.shape[0]:  # the stream turned out to have fewer
            samples = np.repeat(samples[:, :1], lane.matrix.shape[0], axis=1)
        if sound.rate != self.rate:
            samples = resample(samples, round(len(samples) * self.rate / sound.rate))
        index = round(sound.media * self.rate)
        if lane.end is not None and abs(index - lane.end) <= TREMBLE * self.rate:
            index = lane.end
        elif lane.end is not None:
            self.seams += 1
            if index < lane.end:
                index_cut = min(len(samples), lane.end - index)
                samples, index = samples[index_cut:], index + index_cut
        if lane.pieces and index - lane.pieces[0][0] > MAX_AHEAD * self.rate:
            self.dropped += len(samples)
            return
        if len(samples):
            lane.pieces.append((index, samples))
            lane.end = index + len(samples)

    def mix(self, start: int, count: int) -> Samples:
        """Samples ``start`` to ``start + count`` of all streams; silence where nothing came."""
        out = np.zeros((count, self.outputs), np.float32)
        for lane in self._lanes.values():
            while lane.pieces and lane.pieces[0][0] < start + count:
                index, samples = lane.pieces[0]
                if index < start:  # late
                    cut = min(len(samples), start - index)
                    self.dropped += cut
                    samples, index = samples[cut:], index + cut
                fits = samples[: start + count - index]
                if len(fits):
                    out[index - start : index - start + len(fits)] += fits @ lane.matrix
                lane.pieces.popleft()
                if len(fits) < len(samples):
                    lane.pieces.appendleft((index + len(fits), samples[len(fits) :]))
                    break
        return np.clip(out, -1.0, 1.0)

    def ready(self) -> int | None:
        """Index up to which every stream has sound; ``None`` where one has none."""
        ends = [lane.end if lane.pieces else None for lane in self._lanes.values()]
        found = [end for end in ends if end is not None]
        return min(found) if found and len(found) == len(ends) else None

    def starts(self) -> list[int]:
        """By stream that has sound: index of the first sample that waits."""
        return [lane.pieces[0][0] for lane in self._lanes.values() if lane.pieces]

    def clear(self) -> None:
        """Forget all sound: after a seek."""
        for lane in self._lanes.values():
            lane.pieces.clear()
            lane.end = None


class Speaker:
    """The machine's sound device."""

    def __init__(self, sources: Mapping[int, int]) -> None:
        """Raises ``ResourceError`` where there is none."""
        self._sdl = sdl2 = load_sdl()
        if sdl2.SDL_InitSubSystem(sdl2.SDL_INIT_AUDIO):
            raise ResourceError(f"no sound device: {reason(sdl2)}")
        wanted = min(8, max(2, sum(sources.values())))  # SDL knows layouts of up to 7.1
        spec = sdl2.SDL_AudioSpec(RATE, sdl2.AUDIO_F32SYS, wanted, 1024)
        got = sdl2.SDL_AudioSpec(0, 0, 0, 0)
        allowed = sdl2.SDL_AUDIO_ALLOW_CHANNELS_CHANGE
        self._device = sdl2.SDL_OpenAudioDevice(None, 0, spec, got, allowed)
        if not self._device:
            why = reason(sdl2)
            sdl2.SDL_QuitSubSystem(sdl2.SDL_INIT_AUDIO)
            raise ResourceError(f"no sound device: {why}")
        self.mixer = Mixer(sources, got.channels)
        """Give it decoded sound."""
        self.resets = 0
        """Times sound was set anew to follow the clock."""
        # It speaks of frames; beyond half of such a one sound is set anew anyway.
        self._synchroniser = Synchroniser({0: 2 * RESET})
        self._reported = 0.0  # position at the last report
        self._speed = 1.0
        self._next: int | None = None  # index of the next sample to be queued
        self._bytes = 4 * got.channels
        self._playing = False

    def add(self, sound: Sound) -> None:
        """Take decoded sound."""
        self.mixer.add(sound)

    def pump(self, position: float, running: bool) -> None:
        """Keep the device fed so that media time ``position`` is heard now; call often."""
        sdl2 = self._sdl
        if running != self._playing:
            sdl2.SDL_PauseAudioDevice(self._device, 0 if running else 1)
            self._playing = running
        if not running:
            return
        queued = sdl2.SDL_GetQueuedAudioSize(self._device) // self._bytes
        want = round(position * RATE)
        if self._next is None or abs(self._next - queued - want) > RESET * RATE:
            self.resets += self._next is not None
            sdl2.SDL_ClearQueuedAudio(self._device)
            queued, self._next, self._speed = 0, want, 1.0
            self._synchroniser.clear()
            self._reported = position
        elif position - self._reported >= REPORT_EVERY:
            self._reported = position
            heard = (self._next - queued) / RATE
            self._speed = self._synchroniser.report(0, position, heard, position).speed
        missing = round(QUEUED * RATE) - queued
        if missing <= 0:
            return
        # The device's crystal is not ours: a little more or less is taken for the same time.
        take = round(missing * self._speed)
        data = resample(self.mixer.mix(self._next, take), missing)
        self._next += take
        raw = np.ascontiguousarray(data, np.float32).tobytes()
        sdl2.SDL_QueueAudio(self._device, raw, len(raw))

    def clear(self) -> None:
        """Be silent and begin anew: after a seek."""
        self._sdl.SDL_ClearQueuedAudio(self._device)
        self.mixer.clear()
        self._next = None

    def drift_ppm(self) -> float | None:
        """How much faster the device's clock runs than ours, in parts per million."""
        return self._synchroniser.drift_ppm(0)

    def close(self) -> None:
        """Give the device back; harmless twice."""
        if self._device:
            self._sdl.SDL_CloseAudioDevice(self._device)
            self._sdl.SDL_QuitSubSystem(self._sdl.SDL_INIT_AUDIO)
            self._device = 0
