"""The process that makes one channel's sound anew: units in, units of another codec out.

A process of its own as decoders are large programs fed with strangers' bytes: a crash costs that
channel's made sound for a moment, and nothing else.

Arguments: source codec, sample rate, channels, its configuration in hexadecimal (or ``-``), target
codec. Standard input: messages of ``UNIT`` and the unit. Standard output: ``MADE`` and the unit.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from fractions import Fraction
from typing import BinaryIO

import av
from av.audio.fifo import AudioFifo

from heliograph.live.transcode_units import MADE, MAX_UNIT, UNIT

RATE = 48_000
#: Address space, bytes: the libraries and little more.
MEMORY = 1 << 30
#: Microseconds by which a unit may come off its place in time until that is taken for a gap.
GAP = 30_000
#: Units in a row that cannot be decoded until the process gives up.
MAX_BAD = 250

#: ``model.media.Codec`` → FFmpeg's decoder.
DECODERS = {
    "aac": "aac",
    "aac-latm": "aac",
    "opus": "libopus",
    "pcmu": "pcm_mulaw",
    "pcma": "pcm_alaw",
    "l16": "pcm_s16be",
    "l24": "pcm_s24be",
}
#: Codec → FFmpeg's encoder, its sample format, bits a second (stereo), samples of a unit.
ENCODERS = {"opus": ("libopus", "s16", 96_000, 960), "aac": ("aac", "fltp", 128_000, 1024)}


class Transcoder:
    """Decodes, brings to 48 kHz stereo, encodes; keeps every sample's time."""

    def __init__(
        self, source: str, sample_rate: int, channels: int, config: bytes, target: str
    ) -> None:
        """``config``: the decoder's extradata. Raises ``KeyError`` or ``av.FFmpegError``."""
        decoder = av.CodecContext.create(DECODERS[source], "r")
        assert isinstance(decoder, av.AudioCodecContext)
        decoder.sample_rate = sample_rate
        decoder.layout = {1: "mono", 2: "stereo"}.get(channels, f"{channels}c")
        if config:
            decoder.extradata = config
        name, sample_format, rate, self._size = ENCODERS[target]
        encoder = av.CodecContext.create(name, "w")
        assert isinstance(encoder, av.AudioCodecContext)
        encoder.sample_rate, encoder.layout, encoder.format = RATE, "stereo", sample_format
        encoder.bit_rate, encoder.time_base = rate, Fraction(1, RATE)
        self._decoder, self._encoder = decoder, encoder
        self._resampler = av.AudioResampler(sample_format, "stereo", RATE)
        self._fifo = AudioFifo()
        self._next = 0  # position behind the last sample that came
        self._begun = 0  # position of the first sample in the queue
        self._last: tuple[int, int] | None = None  # time and position of the last unit
        self.bad = 0
        """Units in a row that could not be decoded."""

    def push(self, time: int, data: bytes) -> list[tuple[int, int, bytes]]:
        """Take a unit presented at ``time`` µs; what is ready: time, position, unit."""
        try:
            frames = self._decoder.decode(av.Packet(data))
        except (av.FFmpegError, ValueError):
            self.bad += 1
            return []
        self.bad = 0
        if self._last is not None:
            late = time - self._last[0] - (self._next - self._last[1]) * 1_000_000 // RATE
            if abs(late) > GAP:
                # What is missing is missing here too: the rest of a unit goes with it.
                self._fifo = AudioFifo()
                forward = max(0, late) * RATE // 1_000_000
                self._next = self._begun = self._next + forward
        self._last = time, self._next
        for frame in frames:
            frame.pts = None
            for part in self._resampler.resample(frame):
                part.pts = None
                self._next += part.samples
                self._fifo.write(part)
        made = []
        while (whole := self._fifo.read(self._size)) is not None:
            whole.pts, whole.time_base = self._begun, Fraction(1, RATE)
            self._begun += self._size
            for packet in self._encoder.encode(whole):
                # the encoder's delay shows as an earlier time
                at = self._begun - self._size if packet.pts is None else packet.pts
                told = self._last[0] + (at - self._last[1]) * 1_000_000 // RATE
                made.append((told, at, bytes(packet)))
        return made


def serve(transcoder: Transcoder, units: BinaryIO, made: BinaryIO) -> None:
    """Work until the input ends."""
    while len(head := units.read(UNIT.size)) == UNIT.size:
        time, size = UNIT.unpack(head)
        data = units.read(size) if size <= MAX_UNIT else b""
        if len(data) < size or transcoder.bad > MAX_BAD:
            return
        for told, at, unit in transcoder.push(time, data):
            made.write(MADE.pack(told, at, len(unit)) + unit)
        made.flush()


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends us
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    source, sample_rate, channels, config, target = sys.argv[1:]
    extradata = b"" if config == "-" else bytes.fromhex(config)
    transcoder = Transcoder(source, int(sample_rate), int(channels), extradata, target)
    # Whatever libraries print must not mix with the answers.
    made = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(transcoder, sys.stdin.buffer, made)


if __name__ == "__main__":
    main()
