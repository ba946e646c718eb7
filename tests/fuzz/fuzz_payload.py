"""Payload formats: any packets give access units or a ``PeerError``, in bounded memory.

Invariants: a unit is not empty and within the limit; what a packetizer makes of any bytes it takes
is within its size, and comes out of the depacketizer as it went in; readers of extradata,
configurations and descriptors give values or ``MalformedError``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import harness

with harness.instrumented():
    from heliograph.model.errors import MalformedError, PeerError
    from heliograph.model.media import Codec, Kind, Track
    from heliograph.protocols import payload as formats
    from heliograph.protocols.payload import aac, av1, bits, h264, h265, latm, nal, vp9
    from heliograph.protocols.rtp import RtpPacket

VIDEO = (Codec.H264, Codec.H265, Codec.VP8, Codec.VP9, Codec.AV1, Codec.MPEG2)
HBR = {"sizelength": "13", "indexlength": "3", "indexdeltalength": "3", "config": "1190"}
LATM = {"cpresent": "0", "config": "400023203fc0"}
TRACKS = [
    *(Track(0, Kind.VIDEO, codec, 90_000, 96) for codec in VIDEO),
    Track(0, Kind.AUDIO, Codec.OPUS, 48_000, 96, 2),
    Track(0, Kind.AUDIO, Codec.AAC, 48_000, 96, 2, fmtp=HBR),
    Track(0, Kind.AUDIO, Codec.AAC, 48_000, 96, 2, fmtp={"constantsize": "40"}),
    Track(0, Kind.AUDIO, Codec.AAC, 48_000, 96, 2, fmtp={**HBR, "auxiliarydatasizelength": "4"}),
    Track(0, Kind.AUDIO, Codec.AAC_LATM, 48_000, 96, 2, fmtp=LATM),
    Track(0, Kind.AUDIO, Codec.AAC_LATM, 48_000, 96, 2),
    Track(0, Kind.AUDIO, Codec.PCMU, 8_000, 0, 1),
    Track(0, Kind.AUDIO, Codec.L24, 48_000, 96, 2),
]
READERS: list[Callable[[bytes], object]] = [
    h264.parse_extradata,
    h265.parse_extradata,
    h264.codec_string,
    h265.codec_string,
    vp9.codec_string,
    av1.codec_string,
    av1.codec_string_of,
    aac.parse_config,
    aac.split_adts,
    aac.config_from_adts,
    lambda data: latm.read_mux_config(bits.BitReader(data, "latm")),
    lambda data: h264.to_annexb(data, 4),
    lambda data: h265.to_annexb(data, 2),
    lambda data: h264.parse_sprop(data.decode("latin-1")),
    lambda data: aac.HeaderFields.from_fmtp({"sizelength": data.decode("latin-1")}),
]


def packets(track: Track, data: bytes) -> list[RtpPacket]:
    """Packets out of fuzz bytes: what changes (one byte), how long (one byte), payload."""
    found = []
    at = sequence = timestamp = 0
    while at + 2 <= len(data):
        change, size = data[at], data[at + 1]
        sequence = (sequence + 1 + (change >> 2 & 3 if change & 0x80 else 0)) & 0xFFFF
        timestamp += change & 0x03
        body = data[at + 2 : at + 2 + size]
        found.append(
            RtpPacket(track.payload_type, sequence, timestamp, 1, body, change & 0x40 != 0)
        )
        at += 2 + size
    return found


def depacketize(track: Track, data: bytes) -> None:
    depacketizer = formats.depacketizer(track)
    for packet in packets(track, data):
        formats.starts_keyframe(track.codec, packet.payload)
        try:
            units = depacketizer.push(packet)
        except PeerError:
            continue
        for unit in units:
            assert unit.data
            assert len(unit.data) <= 2 * formats.MAX_UNIT_SIZE
            formats.codec_string(track, unit.data)
    with contextlib.suppress(PeerError):
        depacketizer.flush()


def round_trip(track: Track, data: bytes) -> None:
    if track.codec in (Codec.H264, Codec.H265):
        data = nal.join_annexb(nal.split_annexb(data))
    packetizer_track = track
    if track.codec is Codec.AAC:
        packetizer_track = Track(0, Kind.AUDIO, Codec.AAC, 48_000, 96, 2, fmtp=HBR)
    max_size = 64 + (data[-1] if data else 0)
    unit = formats.AccessUnit(data, 7, True)
    try:
        made = formats.packetizer(
            track.codec, channels=track.channels, max_size=max_size
        ).packetize(unit)
        if track.codec is Codec.AV1:
            wanted = [o for o in av1.split_stream(data) if o.type not in (2, 8, 15)]
            data = b"".join(o.sized() for o in wanted)
    except MalformedError:
        return
    depacketizer = formats.depacketizer(packetizer_track)
    units = []
    for index, (body, marker, offset) in enumerate(made):
        assert track.codec is Codec.OPUS or len(body) <= max_size
        stamp = unit.timestamp + offset
        units += depacketizer.push(RtpPacket(96, index, stamp, 1, body, marker))
    if track.kind is Kind.AUDIO:
        assert b"".join(u.data for u in units) == data
    elif track.codec in (Codec.VP8, Codec.VP9):
        assert [u.data for u in units] == ([data] if data else [])
    else:
        assert len(units) <= 1
        if units and not units[0].key:
            assert units[0].data == data


def one_input(data: bytes) -> None:
    if len(data) < 2:
        return
    mode, rest = data[0], data[1:]
    track = TRACKS[mode % len(TRACKS)]
    if mode < 100:
        depacketize(track, rest)
    elif mode < 200:
        if track.codec is not Codec.AAC_LATM:
            round_trip(track, rest)
    else:
        with contextlib.suppress(MalformedError):
            READERS[mode % len(READERS)](rest)


if __name__ == "__main__":
    harness.main("payload", one_input)
