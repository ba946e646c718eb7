"""Mesh links as Python uses them, and what any plane says of marks and epochs."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from heliograph.plane import (
    MeshBack,
    MeshClosed,
    MeshMessage,
    MeshPort,
    MeshSilent,
    MeshStats,
    MeshUp,
    SourceActive,
    open_plane,
)

from .conftest import Harness
from .rtp import AUDIO, VIDEO, Camera, sequence_of
from .test_plane import open_video, playing_tap

names = itertools.count(1)
HERE, THERE = b"h" * 16, b"t" * 16


def test_marks_name_the_newest_packet(harness: Harness) -> None:
    channel, _, input = open_video(harness)
    assert list(harness.plane.channel_marks(channel)) == []
    tap = playing_tap(harness, channel)
    harness.plane.push(input, 0, Camera().gop(5))
    newest = harness.read(tap, 5)[-1]
    assert list(harness.plane.channel_marks(channel)) == [(0, newest[1], newest[2])]


def test_a_claimed_epoch_is_below_the_next(harness: Harness) -> None:
    channel, _, input = open_video(harness)
    harness.plane.claim_epoch(channel, 41)
    assert not harness.plane.channel_stats(channel)["numbered_here"]
    harness.plane.push(input, 0, Camera().gop(1))
    assert harness.event(SourceActive).epoch == 42
    assert harness.plane.channel_stats(channel)["numbered_here"]


def test_what_is_relayed_goes_on_above_an_epoch_that_is_overtaken(harness: Harness) -> None:
    channel, _, input = open_video(harness)
    tap = playing_tap(harness, channel)
    camera = Camera()
    harness.plane.push(input, 0, camera.gop(3))
    before = harness.read(tap, 3)[-1]
    harness.event(SourceActive)
    harness.plane.overtake_epoch(channel, before[1] + 7, [])
    assert harness.event(SourceActive).epoch == before[1] + 8
    harness.plane.push(input, 0, [camera.frame()])  # no keyframe
    after = harness.read(tap, 1)[-1]
    assert after[1:3] == (before[1] + 8, before[2] + 1 + 256)
    harness.plane.overtake_epoch(channel, before[1], [])  # below it: nothing
    harness.plane.push(input, 0, [camera.frame()])
    assert harness.read(tap, 1)[-1][1:3] == (after[1], after[2] + 1)
    harness.plane.overtake_epoch(channel, after[1], [(0, after[2] + 900)])
    harness.plane.push(input, 0, [camera.frame()])
    assert harness.read(tap, 1)[-1][1:3] == (after[1] + 1, after[2] + 900 + 1 + 256)


def test_what_is_not_there_is_said(harness: Harness) -> None:
    for call in (
        lambda: harness.plane.add_mesh_source(999, 0, [VIDEO]),
        lambda: harness.plane.channel_marks(999),
        lambda: harness.plane.claim_epoch(999, 1),
        lambda: harness.plane.overtake_epoch(999, 1, []),
    ):
        with pytest.raises(KeyError):
            call()


@dataclass
class Unit:
    """A native plane with a channel and a port for links."""

    harness: Harness
    channel: int
    port: MeshPort

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port.port}"


@pytest.fixture
def units() -> Iterator[tuple[Unit, Unit]]:
    made = []
    for _ in range(2):
        plane = open_plane(1)
        made.append(Unit(Harness(plane), plane.open_channel(), plane.mesh_open("127.0.0.1:0")))
    yield made[0], made[1]
    for unit in made:
        unit.port.close()
        unit.harness.plane.close()


class Relay:
    """A middleman that can swallow everything, and change the address that one end sees."""

    def __init__(self) -> None:
        self.cut: set[str] = set()
        """Ways on which nothing comes through: ``there`` from the one that connects, ``back``."""
        self._front = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._front.bind(("127.0.0.1", 0))
        self._front.settimeout(0.05)
        self._back = self._new_back()
        self._running = True
        self._client: tuple[str, int] | None = None
        self._threads = [threading.Thread(target=way) for way in (self._there, self._here)]

    def _new_back(self) -> socket.socket:
        back = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        back.bind(("127.0.0.1", 0))
        back.settimeout(0.05)
        return back

    def towards(self, port: int) -> str:
        self._target = ("127.0.0.1", port)
        for thread in self._threads:
            thread.start()
        return f"127.0.0.1:{self._front.getsockname()[1]}"

    def move(self) -> None:
        old, self._back = self._back, self._new_back()
        old.close()

    def _there(self) -> None:
        while self._running:
            with contextlib.suppress(OSError):
                data, self._client = self._front.recvfrom(2048)
                if "there" not in self.cut:
                    self._back.sendto(data, self._target)

    def _here(self) -> None:
        while self._running:
            with contextlib.suppress(OSError):
                data = self._back.recv(2048)
                if "back" not in self.cut and self._client is not None:
                    self._front.sendto(data, self._client)

    def close(self) -> None:
        self._running = False
        for thread in self._threads:
            if thread.is_alive():
                thread.join()
        self._front.close()
        self._back.close()


@pytest.fixture
def relayed() -> Iterator[Relay]:
    relay = Relay()
    yield relay
    relay.close()


def link(one: Unit, other: Unit, *, tcp: bool = False) -> tuple[int, int]:
    """Open both ends of a link and wait until they hear each other."""
    local, remote = next(names), next(names)
    here = one.port.link(local, remote, other.address, HERE, THERE, tcp=tcp)
    there = other.port.link(remote, local, "", THERE, HERE, tcp=tcp, connect=False)
    one.harness.event(MeshUp, link=here)
    other.harness.event(MeshUp, link=there)
    return here, there


def relay(one: Unit, other: Unit, here: int, there: int) -> None:
    """``one``'s channel goes to ``other``'s by a link."""
    source = other.harness.plane.add_mesh_source(other.channel, 0, [VIDEO, AUDIO])
    other.port.take(there, 7, other.harness.plane.add_input(source))
    one.port.serve(here, 7, one.channel, [])


def rtsp_reader(unit: Unit) -> socket.socket:
    """The far end of a connection that plays a unit's channel, interleaved."""
    ours, theirs = socket.socketpair()
    with ours:
        conn = unit.harness.plane.adopt(ours.fileno(), "rtsp")
    reader = unit.harness.plane.add_conn_reader(unit.channel, conn, [(0, 0, 1), (1, 2, 3)])
    unit.harness.plane.start_reader(reader)
    unit.harness.until(lambda: unit.harness.plane.reader_stats(reader)["state"] == "playing")
    theirs.settimeout(5)
    return theirs


def interleaved(sock: socket.socket, count: int) -> list[bytes]:
    """So many RTP packets of a connection; RTCP is left out."""
    with sock, sock.makefile("rb") as stream:
        packets: list[bytes] = []
        while len(packets) < count:
            head = stream.read(4)
            body = stream.read(int.from_bytes(head[2:]))
            if head[1] == 0:
                packets.append(body)
        return packets


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_readers_behind_a_link_get_the_same_bytes(units: tuple[Unit, Unit], tcp: bool) -> None:
    one, other = units
    source = one.harness.plane.add_source(one.channel, 0, [VIDEO, AUDIO])
    input = one.harness.plane.add_input(source)
    here, there = link(one, other, tcp=tcp)
    relay(one, other, here, there)
    taps = [playing_tap(unit.harness, unit.channel) for unit in units]
    players = [rtsp_reader(unit) for unit in units]
    camera = Camera()
    for _ in range(5):
        one.harness.plane.push(input, 0, camera.gop(20))
    items = [unit.harness.read(tap, 100) for unit, tap in zip(units, taps, strict=True)]
    # Track, epoch, number, time, flags and bytes; the arrival is each unit's own.
    assert [item[:4] + item[5:] for item in items[0]] == [item[:4] + item[5:] for item in items[1]]
    played = [interleaved(player, 100) for player in players]
    assert played[0] == played[1] == [item[6] for item in items[0]]
    marks = [list(unit.harness.plane.channel_marks(unit.channel)) for unit in units]
    assert marks[0] == marks[1]
    stats = MeshStats.of(one.port.stats(here))
    assert stats.sent_items >= 100
    assert MeshStats.of(other.port.stats(there)).received_items == stats.sent_items


def test_a_source_of_another_kind_numbers_what_comes(units: tuple[Unit, Unit]) -> None:
    one, other = units
    source = one.harness.plane.add_source(one.channel, 0, [VIDEO])
    input = one.harness.plane.add_input(source)
    here, there = link(one, other)
    plain = other.harness.plane.add_source(other.channel, 0, [VIDEO])
    other.port.take(there, 7, other.harness.plane.add_input(plain))
    one.port.serve(here, 7, one.channel, [])
    taps = [playing_tap(unit.harness, unit.channel) for unit in units]
    one.harness.plane.push(input, 0, Camera().gop(10))
    items = [unit.harness.read(tap, 10) for unit, tap in zip(units, taps, strict=True)]
    assert [item[6][12:] for item in items[0]] == [item[6][12:] for item in items[1]]
    first, second = (item[-1] for item in items)
    assert sequence_of(first[6]) == first[2] & 0xFFFF
    assert sequence_of(second[6]) == second[2] & 0xFFFF


def test_messages_come_whole_and_in_order(units: tuple[Unit, Unit]) -> None:
    one, other = units
    here, there = link(one, other)
    messages = [bytes([n]) * (n * 6_000) for n in range(11)]
    for message in messages:
        one.port.send(here, message)
    for message in messages:
        assert other.harness.event(MeshMessage).message == message
    with pytest.raises(ValueError, match="65536"):
        one.port.send(here, bytes(65_537))
    other.port.close_link(there)
    assert one.harness.event(MeshClosed, link=here).reason == "peer"
    other.harness.until(lambda: other.port.counters()["links"] == 0)
    with pytest.raises(KeyError):
        other.port.send(there, b"gone")


def test_messages_for_nobody_are_bounded(units: tuple[Unit, Unit]) -> None:
    here = units[0].port.link(next(names), next(names), units[1].address, HERE, THERE)
    for _ in range(63):
        units[0].port.send(here, bytes(65_536))
    with pytest.raises(BlockingIOError):
        units[0].port.send(here, bytes(65_536))


def test_silence_is_told_where_nobody_answers(units: tuple[Unit, Unit]) -> None:
    one, other = units
    local, remote = next(names), next(names)
    here = one.port.link(local, remote, other.address, HERE, THERE)
    one.harness.event(MeshSilent, link=here)
    there = other.port.link(remote, local, one.address, THERE, HERE)
    one.harness.event(MeshUp, link=here)
    other.harness.event(MeshUp, link=there)


@pytest.mark.parametrize("cut", [{"there", "back"}, {"there"}], ids=["both", "one-way"])
def test_a_cut_is_told_and_what_it_swallowed_comes_out_of_the_ring(
    units: tuple[Unit, Unit], relayed: Relay, cut: set[str]
) -> None:
    one, other = units
    source = one.harness.plane.add_source(one.channel, 0, [VIDEO])
    input = one.harness.plane.add_input(source)
    local, remote = next(names), next(names)
    here = one.port.link(local, remote, relayed.towards(other.port.port), HERE, THERE)
    there = other.port.link(remote, local, "", THERE, HERE, connect=False)
    one.harness.event(MeshUp, link=here)
    other.harness.event(MeshUp, link=there)
    relay(one, other, here, there)
    tap = playing_tap(other.harness, other.channel)
    camera = Camera()
    one.harness.plane.push(input, 0, camera.gop(10))
    numbers = [item[2] for item in other.harness.read(tap, 10)]
    relayed.cut = cut
    one.harness.plane.push(input, 0, [camera.frame() for _ in range(10)])
    other.harness.event(MeshSilent, link=there)
    if "back" in cut:
        one.harness.event(MeshSilent, link=here)
    one.harness.plane.push(input, 0, [camera.frame() for _ in range(10)])
    one.harness.wait(1.2)  # longer than anything is kept for repair
    relayed.cut = set()
    other.harness.event(MeshBack, link=there)
    numbers += [item[2] for item in other.harness.read(tap, 20)]
    assert numbers == list(range(numbers[0], numbers[0] + 30))


def test_a_peer_that_moves_is_followed(units: tuple[Unit, Unit], relayed: Relay) -> None:
    one, other = units
    local, remote = next(names), next(names)
    here = one.port.link(local, remote, relayed.towards(other.port.port), HERE, THERE)
    there = other.port.link(remote, local, "", THERE, HERE, connect=False)
    one.harness.event(MeshUp, link=here)
    other.harness.event(MeshUp, link=there)
    relayed.move()
    other.port.send(there, b"found")
    assert one.harness.event(MeshMessage, link=here).message == b"found"


@pytest.mark.parametrize("size", [0, 15, 17, 24])
def test_keys_of_other_sizes_are_refused(units: tuple[Unit, Unit], size: int) -> None:
    with pytest.raises(ValueError, match="key"):
        units[0].port.link(1, 2, "127.0.0.1:9", bytes(size), HERE)


def test_what_makes_no_link_is_refused(units: tuple[Unit, Unit]) -> None:
    port = units[0].port
    with pytest.raises(ValueError, match="address"):
        port.link(1, 2, "nowhere", HERE, THERE)
    with pytest.raises(ValueError, match="address"):
        port.link(1, 2, "", HERE, THERE)
    port.link(1, 2, "127.0.0.1:9", HERE, THERE)
    with pytest.raises(ValueError, match="name"):
        port.link(1, 2, "127.0.0.1:9", HERE, THERE)
    for call in (
        lambda: port.serve(999, 0, units[0].channel, []),
        lambda: port.take(999, 0, 999),
        lambda: port.stats(999),
    ):
        with pytest.raises(KeyError):
            call()
    port.stop(999, 0)
    port.release(999, 0)
    port.close_link(999)
