"""RTP packets made by hand for the contract suites."""

from __future__ import annotations

import struct
from dataclasses import dataclass

SPS, PPS = b"\x67\x42\xc0\x1f\xda\x01\x40\x16\xe8", b"\x68\xce\x3c\x80"
IDR, SLICE = b"\x65\x88\x84" + b"\x11" * 40, b"\x41\x9a\x24" + b"\x22" * 40

VIDEO = (0, "video", "h264", 90000, 96, [SPS, PPS], (0, 0, 0))
AUDIO = (1, "audio", "opus", 48000, 97, [], (0, 0, 0))


def rtp(
    sequence: int,
    timestamp: int,
    payload: bytes,
    *,
    marker: bool = True,
    ssrc: int = 0x1234,
    payload_type: int = 96,
) -> bytes:
    head = struct.pack(
        "!BBHII", 0x80, marker << 7 | payload_type, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc
    )
    return head + payload


@dataclass
class Camera:
    """Makes one H.264 packet a frame, 30 a second; a keyframe when told."""

    sequence: int = 65530  # wraps early on purpose
    timestamp: int = 4294960000
    ssrc: int = 0x1234
    payload_type: int = 96

    def frame(self, key: bool = False) -> bytes:
        packet = rtp(
            self.sequence,
            self.timestamp,
            IDR if key else SLICE,
            ssrc=self.ssrc,
            payload_type=self.payload_type,
        )
        self.sequence += 1
        self.timestamp += 3000
        return packet

    def gop(self, frames: int) -> list[bytes]:
        return [self.frame(key=index == 0) for index in range(frames)]


def sequence_of(packet: bytes) -> int:
    return int.from_bytes(packet[2:4])


def timestamp_of(packet: bytes) -> int:
    return int.from_bytes(packet[4:8])


def ssrc_of(packet: bytes) -> int:
    return int.from_bytes(packet[8:12])
