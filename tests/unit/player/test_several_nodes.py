"""What comes of several nodes, on a simulated clock: order, losses, strangers, duplicates, the end.

The nodes are simulated: blocks of a title in turns, each node with a delay of its own.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from heliograph.model.media import Codec, Kind, Track
from heliograph.player.arrivals import Arrival
from heliograph.player.buffer import CircularBuffer
from heliograph.player.incoming import AHEAD, MAX_STRANGE, Incoming
from heliograph.player.losses import Losses
from heliograph.player.retransmission import MAX_NODES as MAX_WATCHED
from heliograph.player.retransmission import Counters, Retransmission
from heliograph.player.senders import LATELY, MOST_UNSEEN, Address, Shared
from heliograph.player.streams import Stream
from heliograph.player.timeline import Origin
from heliograph.protocols import rtcp
from heliograph.protocols.bipartite import Mark, asked_again
from heliograph.protocols.rtp import HeaderExtension, RtpPacket, build_extensions
from heliograph.protocols.rtsp import Range, RtpInfo
from heliograph.protocols.rtsp.events import Playing
from heliograph.protocols.rtsp.sharing import MAX_NODES, Node, Nodes

NODES = Nodes(
    0,
    tuple(Node(number, f"10.0.0.{number + 1}", 8554, 8000, 8001) for number in range(3)),
)
TRACKS = (
    Track(0, Kind.VIDEO, Codec.H264, 90_000, 96),
    Track(1, Kind.AUDIO, Codec.L16, 90_000, 97, channels=2),
)
STREAMS = tuple(Stream(track.id, track, "rtsp://h/film") for track in TRACKS)
SSRC = {0: 0x1234, 1: 0x5678}
ID = 3
#: Packets of the title, all tracks together, and seconds between two of them: 3 000 a second.
COUNT, EVERY = 30_000, 1 / 3000
#: Packets of a block.
BLOCK = 800
#: Every fifth packet is of the sound.
SOUND = 5
FIRST_SEQUENCE = 65_000
DELAYS = (0.02, 0.055, 0.12)


@dataclass
class Film:
    """What each node sends of a title, by whom each packet is sent and how it is numbered."""

    nodes: int = 3
    start: int = 0
    sent: list[int] = field(default_factory=lambda: [0] * 8)

    def owner(self, place: int) -> int:
        return place // BLOCK % self.nodes

    def packet(self, place: int, node: int | None = None) -> tuple[int, int, RtpPacket]:
        """(node, track, packet) of a place in the title, as the node's next one."""
        node = self.owner(place) if node is None else node
        mark = Mark(place, node, self.sent[node])
        self.sent[node] += 1
        return node, *self.marked(place, mark)

    def marked(self, place: int, mark: Mark) -> tuple[int, RtpPacket]:
        track = int(place % SOUND == 0)
        before = place // SOUND + (place % SOUND > 0) if track else place - (place + 4) // SOUND
        stamp = round(place * EVERY * 90_000)
        profile, data = build_extensions([HeaderExtension(ID, mark.serialize())])
        return track, RtpPacket(
            96 + track,
            FIRST_SEQUENCE + before & 0xFFFF,
            stamp,
            SSRC[track],
            b"x",
            extension_profile=profile,
            extension_data=data,
        )


class Heard:
    """What was told, put into buffers as the player does."""

    def __init__(self) -> None:
        self.arrivals: list[tuple[Arrival, float]] = []
        self.starts: list[float] = []
        self.buffers = {
            s.index: CircularBuffer[Arrival](seconds=10.0, max_bytes=1 << 20) for s in STREAMS
        }
        self.losses: Callable[[Arrival, float], None] = lambda arrival, media: None

    def arrived(self, arrival: Arrival, media: float) -> None:
        self.arrivals.append((arrival, media))
        self.losses(arrival, media)
        self.buffers[arrival.stream].put(arrival.number, media, 1, arrival)

    def restarted(self, stream: int, start: float, first: int | None) -> None:
        self.starts.append(start)
        self.arrivals.clear()
        self.buffers[stream].clear()
        self.buffers[stream].expect(first)

    def moved(self, stream: int, seconds: float) -> None:
        raise AssertionError("a title's media times are exact")


def address(node: int, *, control: bool = False) -> Address:
    one = NODES.nodes[node]
    return one.host, one.rtcp if control else one.rtp


class Session:
    """An ``Incoming`` fed by nodes."""

    def __init__(self, nodes: Nodes = NODES) -> None:
        self.heard = Heard()
        self.incoming = Incoming(STREAMS, self.heard, origin=Origin(), title=True)
        self.senders = Shared({stream.index: ID for stream in STREAMS})
        self.senders.told(nodes)
        self.losses = Losses(together=True)
        self.incoming.sent_by(self.senders, self.losses, SSRC)

    def play(self, now: float, place: int = 0) -> None:
        """As PLAY's answer tells it."""
        self.incoming.expect_start()
        self.answered(now, place)

    def answered(self, now: float, place: int = 0) -> None:
        film = Film()
        infos = []
        for track in (0, 1):
            first = next(p for p in range(place, place + SOUND) if int(p % SOUND == 0) == track)
            _, packet = film.marked(first, Mark(0, 0, 0))
            stamp = round(place * EVERY * 90_000)
            infos.append((track, RtpInfo("", packet.sequence_number, stamp)))
        start = f"{place * EVERY:.6f}"
        self.incoming.started(Playing(tuple(infos), Range("npt", start)), now)

    def take(self, node: int, track: int, packet: RtpPacket, now: float) -> bool:
        return self.incoming.take(track, False, packet.serialize(), address(node), now, 0)

    def goodbye(self, node: int, now: float) -> None:
        for track, ssrc in SSRC.items():
            said = rtcp.serialize((rtcp.ReceiverReport(ssrc), rtcp.Bye((ssrc,))))
            self.incoming.take(track, True, said, address(node, control=True), now, 0)


def test_packets_of_several_nodes_are_put_into_the_order_of_the_title() -> None:
    """Interleaved, 100 ms out of order, blocks of one reordered among themselves."""
    session, film, chance = Session(), Film(), random.Random(3)
    session.play(0.0)
    coming = []
    for place in range(COUNT // 3):
        node, track, packet = film.packet(place)
        at = place * EVERY + DELAYS[node] + chance.uniform(0, 0.003)
        coming.append((at, node, track, packet))
    for at, node, track, packet in sorted(coming, key=lambda one: one[0]):
        assert session.take(node, track, packet, at)
        session.losses.requests(at, at - 1.0)
    for stream in STREAMS:
        buffer = session.heard.buffers[stream.index]
        taken = buffer.take(1e9)
        numbers = [arrival.number for arrival in taken]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert buffer.counters.missing == buffer.counters.late == 0
        reception = session.incoming.receptions[stream.index]
        assert reception.lost == 0
        assert reception.expected == pytest.approx(len(taken), abs=10)  # from the first that came
    assert {session.losses.of_node(node).lost for node in range(3)} == {0}
    medias = [media for arrival, media in session.heard.arrivals if arrival.stream == 0]
    assert medias != sorted(medias), "the path did reorder"
    assert {s.missing for s in session.senders.sent.values()} == {0}


def losing(rate: float, burst: int, chance: random.Random) -> Iterator[bool]:
    while True:
        if chance.random() < rate / burst:
            yield from [True] * burst
        else:
            yield False


@pytest.mark.parametrize(("burst", "most"), [(1, 0.0001), (3, 0.0003)])
@pytest.mark.parametrize("answers", [True, False])
def test_what_a_node_s_path_loses_is_asked_of_that_node_once(
    burst: int, most: float, answers: bool
) -> None:
    """Paths lose 0.365 % both ways and take 40 ms there and back; without answers it stays."""
    packets = COUNT if answers else COUNT // 5
    session, film, chance = Session(), Film(), random.Random(burst)
    buffered, back_and_forth = 1.0, 0.04
    paths = [losing(0.00365, burst, chance) for _ in range(3)]
    events: list[tuple[float, int, int, int, RtpPacket]] = []
    kept: dict[tuple[int, int], tuple[int, RtpPacket]] = {}
    asked: list[tuple[int, int]] = []
    lost, serial = 0, 0
    for place in range(packets):
        node, track, packet = film.packet(place)
        kept[node, film.sent[node] - 1] = (track, packet)
        if next(paths[node]):
            lost += 1
            continue
        events.append((place * EVERY + DELAYS[node], place, node, track, packet))
    session.heard.losses = lambda arrival, media: session.losses.arrived(
        arrival, media, arrival.time - buffered
    )
    session.play(0.0)
    heapq.heapify(events)
    while events:
        now, _, node, track, packet = heapq.heappop(events)
        session.take(node, track, packet, now)
        for request in session.losses.requests(now, now - buffered):
            question = session.senders.question(7, 0, request)
            where = session.senders.asked_at(request)
            assert where == address(request.node, control=True)
            assert isinstance(question, rtcp.App)
            counts = asked_again(question)
            assert counts is not None
            asked += [(request.node, count) for count in counts]
            if not answers or next(paths[request.node]):
                continue
            for count in counts:
                if not next(paths[request.node]):
                    serial += 1
                    again = kept[request.node, count]
                    at = now + back_and_forth
                    heapq.heappush(events, (at, COUNT + serial, request.node, *again))
    assert len(asked) == len(set(asked)), "once each"
    for buffer in session.heard.buffers.values():
        buffer.take(1e9)
    missing = sum(b.counters.missing for b in session.heard.buffers.values())
    total = Counters()
    for node in range(3):
        total.asked += session.losses.of_node(node).asked
        total.recovered += session.losses.of_node(node).recovered
    assert total.asked >= 0.9 * lost
    if answers:
        assert missing / packets <= most
        assert total.recovered >= 0.95 * lost
    else:
        assert missing >= 0.95 * lost


def test_what_opens_a_node_s_next_block_is_asked_for_too() -> None:
    """Its last packet before is of a block that was played long ago."""
    watched = Retransmission(None)
    watched.arrived(0, 99, 1.0, 0.0, 0.0)
    watched.arrived(0, 101, 5.0, 4.0, 3.5)
    (request,) = watched.requests(4.1, 3.6)
    assert (request.node, request.sequences) == (0, (100,))
    # Within a block the packet before tells: what is due by then cannot be here in time.
    watched.arrived(0, 103, 5.01, 4.1, 4.97)
    assert watched.requests(4.2, 5.0) == []
    assert watched.of(0).hopeless == 1


def test_after_a_seek_old_gaps_are_forgotten_and_counters_stay() -> None:
    watched = Retransmission(None)
    watched.arrived(0, 0, 1.0, 0.0, 0.0)
    watched.arrived(0, 2, 1.0, 0.0, 0.0)
    assert watched.requests(0.1, 0.0)
    watched.clear()
    watched.arrived(0, 900, 60.0, 1.0, 60.0)
    assert watched.requests(2.0, 0.0) == []
    assert watched.counters.asked == 1
    for node in range(2 * MAX_WATCHED):
        watched.arrived(node, 0, 0.0, 0.0, 0.0)
        watched.arrived(node, 2, 0.0, 0.0, 0.0)
    assert watched.waiting <= MAX_WATCHED


def test_packets_of_strangers_are_refused() -> None:
    session, film = Session(), Film()
    session.play(0.0)
    node, track, packet = film.packet(0)
    raw = packet.serialize()
    for source in (("10.0.0.9", 8000), ("10.0.0.1", 8001), ("10.0.0.1", 9999), None):
        assert not session.incoming.take(track, False, raw, source, 0.0, 0)
    assert session.incoming.strangers == 4
    # One node does not speak for another, nor does anybody by a wrong SSRC or without a mark.
    assert session.take(1, track, packet, 0.0)
    forged = RtpPacket.parse(raw)
    for bad in (
        RtpPacket(97, forged.sequence_number, forged.timestamp, forged.ssrc, b"x"),
        RtpPacket(
            96,
            forged.sequence_number,
            forged.timestamp,
            99,
            b"x",
            extension_profile=forged.extension_profile,
            extension_data=forged.extension_data,
        ),
    ):
        session.take(node, track, bad, 0.0)
    assert session.incoming.receptions[track].malformed == 3
    assert session.heard.arrivals == []
    assert session.take(node, track, packet, 0.0)
    assert len(session.heard.arrivals) == 1
    # Nor does a stranger end it.
    said = rtcp.serialize((rtcp.ReceiverReport(SSRC[track]), rtcp.Bye((SSRC[track],))))
    session.incoming.take(track, True, said, ("10.0.0.9", 8001), 0.0, 0)
    assert not session.incoming.finished


def test_what_comes_before_it_is_told_who_sends_is_kept_and_judged_then() -> None:
    session, film = Session(Nodes(0, NODES.nodes[:1])), Film()
    session.incoming.expect_start()
    for place in range(2 * BLOCK):
        node, track, packet = film.packet(place)
        known = session.take(node, track, packet, 0.0)
        assert known is (node == 0)
    stranger = film.marked(0, Mark(0, 0, 0))[1].serialize()
    for _ in range(2 * MAX_STRANGE):
        session.incoming.take(0, False, stranger, ("10.9.9.9", 8000), 0.0, 0)
    assert session.incoming.stashed_away > 0
    session.senders.told(NODES)
    session.answered(0.1)
    assert len(session.heard.arrivals) == BLOCK + MAX_STRANGE - BLOCK
    assert {arrival.node for arrival, _ in session.heard.arrivals} == {0, 1}


def test_a_dead_node_s_blocks_come_from_another_and_duplicates_are_dropped() -> None:
    """Node 2 dies within a block; node 0 sends it from two seconds before on."""
    session, film = Session(), Film()
    session.play(0.0)
    death, noticed = 8 * BLOCK + 300, 1.0
    coming = []  # (when, place, who sends it)
    for place in range(14 * BLOCK):
        node = film.owner(place)
        if node != 2 or place < death:
            coming.append((place * EVERY + DELAYS[node], place, node))
        if node == 2 and place >= death - 2 * BLOCK:
            at = max(death * EVERY + noticed, place * EVERY)
            coming.append((at + DELAYS[0], place, 0))
    for now, place, node in sorted(coming):
        session.take(*film.packet(place, node), now)
    for stream in STREAMS:
        buffer = session.heard.buffers[stream.index]
        numbers = [arrival.number for arrival in buffer.take(1e9)]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert buffer.counters.repeated > 0
    assert sum(session.losses.of_node(node).lost for node in (0, 1)) == 0


@pytest.mark.parametrize("to", [0, 20_000])
def test_after_a_seek_what_nodes_sent_before_they_heard_of_it_is_left_out(to: int) -> None:
    session, film = Session(), Film()
    session.play(0.0, 12_000 if to == 0 else 0)
    begin = 12_000 if to == 0 else 0
    for place in range(begin, begin + 2 * BLOCK):
        session.take(*film.packet(place), (place - begin) * EVERY)
    assert session.heard.arrivals
    now = 10.0
    session.play(now, to)
    for place in range(begin + 2 * BLOCK, begin + 2 * BLOCK + 90):  # 30 ms of them
        session.take(*film.packet(place), now + 0.01)
    assert session.heard.arrivals == []
    assert session.incoming.stale == 90
    for place in range(to, to + 5 * BLOCK):
        session.take(*film.packet(place), now + 0.1 + (place - to) * EVERY)
    medias = [media for _, media in session.heard.arrivals]
    assert len(medias) == 5 * BLOCK
    assert medias[0] == pytest.approx(to * EVERY)
    assert max(medias) - medias[0] < AHEAD
    assert session.heard.starts == [begin * EVERY] * 2 + [pytest.approx(to * EVERY)] * 2


def test_it_is_finished_when_all_that_sent_said_goodbye() -> None:
    session, film = Session(), Film()
    session.play(0.0)
    for place in range(2 * BLOCK):  # nodes 0 and 1
        session.take(*film.packet(place), place * EVERY)
    assert not session.incoming.finished
    session.goodbye(0, 1.0)
    assert not session.incoming.finished
    session.goodbye(1, 1.0)
    assert session.incoming.finished
    # Another node has something yet, or one that was given a dead one's blocks.
    session.take(*film.packet(2 * BLOCK), 1.1)
    assert not session.incoming.finished
    session.goodbye(2, 1.2)
    assert session.incoming.finished
    session.take(*film.packet(2 * BLOCK + 1, 0), 1.3)
    assert not session.incoming.finished
    session.goodbye(0, 1.4)
    session.play(2.0)
    assert not session.incoming.finished


def test_who_is_not_named_any_more_is_heard_and_not_waited_for() -> None:
    """It may go on by its last order; what another one sends instead comes twice then."""
    session, film = Session(), Film()
    session.play(0.0)
    for place in (0, BLOCK):
        assert session.take(*film.packet(place), 0.0)
    assert session.senders.reported_to() == tuple(address(n, control=True) for n in range(3))
    session.senders.told(Nodes(0, NODES.nodes[1:]))
    assert session.take(*film.packet(1), 0.0)
    assert len(session.heard.arrivals) == 3
    assert session.senders.reported_to() == tuple(address(n, control=True) for n in (1, 2))
    session.goodbye(1, 0.0)
    assert session.incoming.finished


def test_nodes_of_before_are_not_kept_without_bound() -> None:
    session, film = Session(), Film()
    session.play(0.0)
    assert session.take(*film.packet(0), 0.0)
    for number in range(3, 3 + 2 * MAX_NODES):
        session.senders.told(Nodes(0, (Node(number, "10.0.1.1", 8554, number, number + 1),)))
    assert not session.take(*film.packet(1), 0.0)
    assert 0 not in session.senders.sent


def test_what_paths_lost_lately_is_tolerated() -> None:
    session, film = Session(), Film()
    session.play(0.0)
    for place in (0, 1):
        assert session.take(*film.packet(place), 0.0)
    assert session.senders.tolerates(0.0) == MOST_UNSEEN
    for now, gap in ((1.0, 3), (2.0, 20)):
        film.sent[0] += gap
        assert session.take(*film.packet(int(now) + 1), now)
    assert session.senders.tolerates(2.0) == MOST_UNSEEN + 23
    assert session.senders.tolerates(LATELY + 1.5) == MOST_UNSEEN + 20
    assert session.senders.tolerates(LATELY + 2.5) == MOST_UNSEEN
