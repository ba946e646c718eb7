"""One stream's way: what is of no use changes nothing for what follows."""

from __future__ import annotations

from heliograph.player.arrivals import Arrival
from heliograph.player.pipeline import Pipeline
from heliograph.protocols import payload
from heliograph.protocols.payload import AccessUnit, nal
from heliograph.protocols.rtp import RtpPacket

from .made import film


class Fed:
    """A pipeline and the units it gave."""

    def __init__(self) -> None:
        self.units: list[tuple[AccessUnit, float]] = []
        self.pipeline = Pipeline(
            0,
            film().track,
            seconds=10.0,
            max_bytes=1 << 20,
            decoder=None,
            on_unit=lambda stream, unit, media: self.units.append((unit, media)),
        )
        packetizer = payload.packetizer(film().track.codec)
        self.packets = [
            (RtpPacket(96, 0, unit.timestamp, 1, piece.data, piece.marker), unit.timestamp / 9e4)
            for unit in film().units
            for piece in packetizer.packetize(unit)
        ]

    def arrive(self, number: int, packet: RtpPacket, media: float) -> None:
        numbered = RtpPacket(
            packet.payload_type,
            number & 0xFFFF,
            packet.timestamp,
            packet.ssrc,
            packet.payload,
            packet.marker,
        )
        self.pipeline.arrived(Arrival(0, number, 0, number, numbered, 0.0), media)


def test_units_come_out_as_they_went_in_with_their_times() -> None:
    fed = Fed()
    for number, (packet, media) in enumerate(fed.packets):
        fed.arrive(number, packet, media)
    fed.pipeline.advance(100.0)
    fed.pipeline.finish()
    given = [nal.split_annexb(unit.data) for unit in film().units]
    assert [nal.split_annexb(unit.data) for unit, _ in fed.units] == given
    assert [round(media, 6) for _, media in fed.units] == [
        round(unit.timestamp / 9e4, 6) for unit in film().units
    ]


def test_a_time_out_of_reach_is_refused_and_does_not_end_the_film() -> None:
    fed = Fed()
    for number, (packet, media) in enumerate(fed.packets[:10]):
        fed.arrive(number, packet, media)
    newest = fed.pipeline.newest
    fed.arrive(10, fed.packets[10][0], 1e9)
    assert fed.pipeline.newest == newest
    assert fed.pipeline.buffer.counters.overflows == 1


def test_times_that_turn_out_wrong_are_moved_with_what_waits() -> None:
    fed = Fed()
    for number, (packet, media) in enumerate(fed.packets[:10]):
        fed.arrive(number, packet, media)
    fed.pipeline.moved(5.0)
    for number, (packet, media) in enumerate(fed.packets[10:], 10):
        fed.arrive(number, packet, media + 5.0)
    fed.pipeline.advance(100.0)
    fed.pipeline.finish()
    assert [round(media, 6) for _, media in fed.units] == [
        round(unit.timestamp / 9e4 + 5.0, 6) for unit in film().units
    ]


def test_ill_formed_payloads_are_counted_and_passed_over() -> None:
    fed = Fed()
    for number, (packet, media) in enumerate(fed.packets):
        bad = RtpPacket(96, 0, packet.timestamp, 1, b"\x1c", True)
        fed.arrive(number, bad if number == 3 else packet, media)
    fed.pipeline.advance(100.0)
    assert fed.pipeline.bad_units == 1
    assert fed.pipeline.units >= len(film().units) - 2
