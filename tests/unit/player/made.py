"""Media made for the player's tests: encoded units with what decodes from them."""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import av
import numpy as np

from heliograph.model.media import Codec, Kind, Track
from heliograph.protocols.payload import AccessUnit, container

RATE = 25
WIDTH, HEIGHT = 160, 96


class Film:
    """Pictures with a number in their brightness, encoded; and what a decoder makes of them."""

    def __init__(self, codec: str, count: int, *, bframes: int = 0) -> None:
        encoder = av.CodecContext.create(codec, "w")
        encoder.width, encoder.height = WIDTH, HEIGHT
        encoder.pix_fmt = "yuv420p"
        encoder.time_base = Fraction(1, RATE)
        encoder.framerate = Fraction(RATE)
        encoder.gop_size = 12
        if codec == "libx264":
            encoder.options = {"preset": "ultrafast", "bf": str(bframes), "threads": "1"}
        packets = []
        for number in range(count):
            luma = np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
            luma[:HEIGHT] = (np.arange(WIDTH) + 7 * number) % 200 + 20
            frame = av.VideoFrame.from_ndarray(luma, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            packets += encoder.encode(frame)
        packets += encoder.encode(None)
        name = {"libx264": "h264", "libvpx": "vp8", "mpeg2video": "mpeg2video"}[codec]
        first = bytes(packets[0])
        made = container.describe(name, track_id=0, first_packet=first)
        assert made is not None
        self.track: Track = made
        frame_units = container.framing(name, b"") if name != "h264" else lambda data: [data]
        self.units = [
            AccessUnit(data, int(p.pts * 90_000 / RATE), p.is_keyframe)
            for p in packets
            for data in frame_units(bytes(p))
        ]
        decoder = av.CodecContext.create(codec if codec == "libvpx" else name, "r")
        self.pictures: list[bytes] = []
        for packet in [*(av.Packet(unit.data) for unit in self.units), None]:
            for frame in decoder.decode(packet):
                self.pictures.append(frame.to_ndarray(format="yuv420p").tobytes())

    def times(self) -> list[float]:
        """Media time of each unit."""
        return [unit.timestamp / 90_000 for unit in self.units]


@cache
def film(codec: str = "libx264", count: int = 50, bframes: int = 2) -> Film:
    """Made once for all tests."""
    return Film(codec, count, bframes=bframes)


class Noise:
    """Uncompressed sound of some channels; every sample is different."""

    def __init__(self, channels: int, seconds: float, seed: int) -> None:
        count = round(48_000 * seconds)
        chance = np.random.default_rng(seed)
        self.samples = chance.integers(-32768, 32768, (count, channels)).astype(np.int16)
        self.track = Track(0, Kind.AUDIO, Codec.L16, 48_000, 96, channels=channels, encoding="L16")
        self.units = [
            AccessUnit(self.samples[at : at + 960].astype(">i2").tobytes(), at, True)
            for at in range(0, count, 960)
        ]
