"""Bodies of audio and video messages: FLV tags, plain and enhanced.

Adobe *Flash Video File Format* 10.1 annex E.4, and Veovera's *Enhanced RTMP* v2 (2024), which
names codecs by four characters, adds packet types, several tracks in one message, and "ModEx" heads
with finer timestamps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from heliograph.model.errors import MalformedError, UnsupportedError
from heliograph.model.media import Codec

# Annex E.4.3.1 and E.4.2.1; 12 is what builds of ffmpeg and OBS before Enhanced RTMP sent for H.265
_LEGACY_VIDEO = {7: Codec.H264, 12: Codec.H265}
_LEGACY_AUDIO = {7: Codec.PCMA, 8: Codec.PCMU, 10: Codec.AAC}
_LEGACY_NAMES = {
    **{2: "Sorenson H.263", 3: "screen video", 4: "VP6", 5: "VP6 with alpha", 6: "screen video 2"},
}
_LEGACY_SOUNDS = {0: "PCM", 1: "ADPCM", 2: "MP3", 3: "PCM", 11: "Speex", 14: "MP3"}

#: Codecs by their four characters, as the connect command announces them too.
VIDEO_CODECS = {
    b"avc1": Codec.H264,
    b"hvc1": Codec.H265,
    b"av01": Codec.AV1,
    b"vp09": Codec.VP9,
    b"vp08": Codec.VP8,
}
AUDIO_CODECS = {b"Opus": Codec.OPUS, b"mp4a": Codec.AAC}

# Enhanced RTMP v2, VideoPacketType and AudioPacketType
_START, _FRAMES, _END, _FRAMES_X, _METADATA, _MPEG2TS, _MULTITRACK, _MODEX = range(8)
_AUDIO_MULTICHANNEL, _AUDIO_MULTITRACK = 4, 5
#: AvMultitrackType
_ONE_TRACK, _MANY_TRACKS, _MANY_CODECS = range(3)
#: VideoFrameType 5: a command to the player, without a picture.
_COMMAND_FRAME = 5
#: ModEx heads before one packet; the format defines a single type.
MAX_MODEX = 8


class What(Enum):
    """What a tag brings."""

    CONFIG = "config"
    FRAME = "frame"
    END = "end"
    OTHER = "other"
    """Metadata of the picture, commands to players: nothing to decode."""


@dataclass(frozen=True, slots=True)
class Tag:
    """One audio or video tag, or one track's share of it."""

    codec: Codec
    """As the tag names it."""
    what: What
    """Configuration, a frame, the end."""
    key: bool = False
    """Whether the encoder calls the frame a keyframe."""
    composition: int = 0
    """Milliseconds from decoding to presentation, 24 bits with sign."""
    nanoseconds: int = 0
    """To add to the message's timestamp, 0–999 999."""
    track: int = 0
    """Enhanced RTMP's track id, 0–255; 0 is the one every server knows."""
    data: bytes = field(default=b"", repr=False)
    """Configuration record or frame."""


def _signed24(data: bytes) -> int:
    return int.from_bytes(data, "big", signed=True)


def _need(body: bytes, size: int) -> None:
    if len(body) < size:
        raise MalformedError("flv", f"a tag of {len(body)} bytes where {size} are needed")


def parse_video(body: bytes) -> list[Tag]:
    """The tags of a video message; none for an empty one, which some encoders send.

    Raises ``MalformedError``; ``UnsupportedError`` for a codec that is not relayed.
    """
    if not body:
        return []
    frame_type = body[0] >> 4 & 7
    if body[0] & 0x80:
        return _Enhanced(body, video=True, key=frame_type == 1).tags()
    number = body[0] & 15
    codec = _LEGACY_VIDEO.get(number)
    if codec is None:
        name = _LEGACY_NAMES.get(number, f"codec {number}")
        raise UnsupportedError(f"video in {name}", subject="rtmp")
    if frame_type == _COMMAND_FRAME:
        return [Tag(codec, What.OTHER)]
    _need(body, 5)
    packet = body[1]
    if packet > 2:
        raise MalformedError("flv", f"packet type {packet}", offset=1)
    what = (What.CONFIG, What.FRAME, What.END)[packet]
    composition = _signed24(body[2:5]) if packet == 1 else 0
    return [Tag(codec, what, frame_type == 1, composition, data=body[5:])]


def parse_audio(body: bytes) -> list[Tag]:
    """The tags of an audio message; like ``parse_video``."""
    if not body:
        return []
    number = body[0] >> 4
    if number == 9:
        return _Enhanced(body, video=False, key=True).tags()
    codec = _LEGACY_AUDIO.get(number)
    if codec is None:
        name = _LEGACY_SOUNDS.get(number, f"codec {number}")
        raise UnsupportedError(f"audio in {name}", subject="rtmp")
    if codec is not Codec.AAC:
        return [Tag(codec, What.FRAME, True, data=body[1:])]
    _need(body, 2)
    if body[1] > 1:
        raise MalformedError("flv", f"packet type {body[1]}", offset=1)
    return [Tag(codec, What.FRAME if body[1] else What.CONFIG, True, data=body[2:])]


class _Enhanced:
    """A reader of one enhanced tag."""

    def __init__(self, body: bytes, *, video: bool, key: bool) -> None:
        self._body = body
        self._at = 1
        self._video = video
        self._key = key
        self._packet = body[0] & 15
        self._command = video and body[0] >> 4 & 7 == _COMMAND_FRAME
        self._nanoseconds = 0

    def _take(self, size: int) -> bytes:
        end = self._at + size
        _need(self._body, end)
        found = self._body[self._at : end]
        self._at = end
        return found

    def tags(self) -> list[Tag]:
        self._skip_modex()
        multitrack = _MULTITRACK if self._video else _AUDIO_MULTITRACK
        if self._packet != multitrack:
            if self._command and self._packet != _METADATA:
                return []  # a command: one byte, no codec
            codec = self._codec()
            return self._tag(codec, 0, self._body[self._at :])
        return self._tracks()

    def _skip_modex(self) -> None:
        """Read the heads that modify the packet behind them."""
        for _ in range(MAX_MODEX):
            if self._packet != _MODEX:
                return
            size = self._take(1)[0] + 1
            if size == 256:
                size = int.from_bytes(self._take(2), "big") + 1
            data = self._take(size)
            head = self._take(1)[0]
            if head >> 4 == 0:  # TimestampOffsetNano
                _need(data, 3)
                self._nanoseconds = min(int.from_bytes(data[:3], "big"), 999_999)
            self._packet = head & 15
        raise MalformedError("flv", f"more than {MAX_MODEX} heads before a packet")

    def _codec(self) -> Codec:
        name = self._take(4)
        codec = (VIDEO_CODECS if self._video else AUDIO_CODECS).get(name)
        if codec is None:
            kind = "video" if self._video else "audio"
            raise UnsupportedError(f"{kind} in {name.decode('latin-1')!r}", subject="rtmp")
        return codec

    def _tracks(self) -> list[Tag]:
        head = self._take(1)[0]
        how, self._packet = head >> 4, head & 15
        if how > _MANY_CODECS or self._packet in (_MODEX, _MULTITRACK if self._video else 5):
            raise MalformedError("flv", f"multitrack of type {how} and packet {self._packet}")
        codec = self._codec() if how != _MANY_CODECS else None
        if codec is not None and how == _ONE_TRACK:
            track = self._take(1)[0]
            return self._tag(codec, track, self._body[self._at :])
        tags: list[Tag] = []
        while self._at < len(self._body):
            own = codec or self._codec()
            track = self._take(1)[0]
            tags += self._tag(own, track, self._take(int.from_bytes(self._take(3), "big")))
        return tags

    def _tag(self, codec: Codec, track: int, data: bytes) -> list[Tag]:
        what = {
            _START: What.CONFIG,
            _FRAMES: What.FRAME,
            _END: What.END,
            _FRAMES_X: What.FRAME if self._video else What.OTHER,
        }.get(self._packet, What.OTHER)
        if self._packet == _MPEG2TS and self._video:
            raise UnsupportedError("AV1 in MPEG-2 TS form", subject="rtmp")
        composition = 0
        # The offset is there for codecs with reordering that is not inside the bitstream.
        if self._video and self._packet == _FRAMES and codec in (Codec.H264, Codec.H265):
            _need(data, 3)
            composition = _signed24(data[:3])
            data = data[3:]
        return [Tag(codec, what, self._key, composition, self._nanoseconds, track, data)]
