"""Nodes that send a title together, on twins of the plane and a bus in memory: who sends what, who
has control, what is left when one dies. Clocks of the nodes are seconds apart."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from heliograph.bus import Bus
from heliograph.bus.memory import MemoryLink, MemoryNetwork
from heliograph.model.errors import (
    BusyError,
    ConflictError,
    NotFoundError,
    RemoteError,
    WrongStateError,
)
from heliograph.model.nodes import NodeId
from heliograph.plane import PlaneLoop
from heliograph.plane.twin import TwinPlane
from heliograph.vod.admission import Budgets
from heliograph.vod.ahead import Turns
from heliograph.vod.bipartite import ensemble as ensemble_module
from heliograph.vod.bipartite.conductor import Conductor, Wanted
from heliograph.vod.bipartite.ensemble import ATTEMPTS, Ensemble, Layout, Place
from heliograph.vod.bipartite.ensemble import ORDER as ORDER_METHOD
from heliograph.vod.bipartite.order import Order
from heliograph.vod.blocks import read
from heliograph.vod.manifest import BlockSource, Manifest
from heliograph.vod.playing import Started, Viewer, Wish
from heliograph.vod.promises import Admission, Promise

from .staged_film import Source, make_film
from .test_bipartite_order import ORDER

FILM = make_film(8, span_us=490_000)
MANIFEST, BLOCKS = FILM
SESSION = "0123456789abcdef" * 2
NODES = [NodeId(one * 16) for one in "abc"]
VIEWER = Viewer("10.0.0.1", "rtsp-bipartite", "test")
PACKETS = sum(one.packets for one in MANIFEST.tracks)


@dataclass
class Shelf:
    """A library whose blocks lie at the nodes in turn."""

    source_: Source
    admission: Admission | None = None
    known: bool = True

    def find(self, name: str) -> Manifest | None:
        return MANIFEST if self.known and name == MANIFEST.name else None

    def source(self, manifest: Manifest) -> BlockSource:
        return self.source_

    async def layout(self, manifest: Manifest, version: int | None = None) -> Layout:
        return Layout(version or 1, tuple(NODES), lambda block: NODES[block % 3])

    def promise(
        self, manifest: Manifest, tracks: Sequence[int], nodes: Any, ahead_us: int
    ) -> Promise | None:
        if self.admission is None:
            return None

        def turns() -> Turns:
            return Turns(1 / len(nodes()), 0.5, 1, 0.0, 0.0, len(nodes()))

        return self.admission.promise(manifest, tracks, turns=turns)


@dataclass(frozen=True)
class Packet:
    node: NodeId
    total: int
    number: int
    """Of the node."""
    member: int
    track: int


@dataclass
class Node:
    """One node."""

    id: NodeId
    link: MemoryLink
    bus: Bus
    plane: TwinPlane
    loop: PlaneLoop
    endpoint: int
    shelf: Shelf
    ensemble: Ensemble
    dead: bool = False


@dataclass
class Stage:
    """Three nodes; ``sent`` is what the player got of them."""

    network: MemoryNetwork
    nodes: list[Node]
    sent: list[Packet] = field(default_factory=list)
    byes: int = 0

    async def run(self) -> None:
        """Let time pass in all planes as it does here."""
        loop = asyncio.get_running_loop()
        before = loop.time()
        while True:
            await asyncio.sleep(0.005)
            passed, before = loop.time() - before, loop.time()
            for node in self.nodes:
                node.plane.advance(passed)
                node.loop.pump()
                self._take(node)

    def _take(self, node: Node) -> None:
        for _, port, data in node.plane.sent(node.endpoint):
            track, rtcp = divmod(port - 6000, 2)
            if node.dead:
                continue
            if rtcp:
                self.byes += data[-8:-4] == struct.pack("!BBH", 0x81, 203, 1)
                continue
            total, member, number = struct.unpack_from("!IHI", data, 17)
            self.sent.append(Packet(node.id, total, number, member, track))

    def conductor(self, at: int = 0, ahead_us: int = 0) -> Conductor:
        return Conductor(self.nodes[at].ensemble, SESSION, MANIFEST, "10.0.0.10", ahead_us)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110 - the nodes' own work is waited for
                await asyncio.sleep(0.01)

    def order(self, at: int) -> Order:
        found = self.nodes[at].ensemble.order(SESSION)
        assert found is not None
        return found

    def kill(self, at: int) -> None:
        """A node is seen no more, and nothing of it arrives."""
        self.nodes[at].dead = True
        for other in self.nodes:
            if other is not self.nodes[at]:
                self.network.cut(self.nodes[at].link, other.link)

    def part(self, some: Sequence[int], others: Sequence[int]) -> None:
        """Nodes that do not see each other from now on, though the player hears them all."""
        for one in some:
            for other in others:
                self.network.cut(self.nodes[one].link, self.nodes[other].link)

    def heal(self, some: Sequence[int], others: Sequence[int]) -> None:
        for one in some:
            for other in others:
                self.network.heal(self.nodes[one].link, self.nodes[other].link)

    def agreed(self) -> bool:
        """Whether all nodes see each other, and go by one order."""
        there = all(len(node.ensemble.places()) == 3 for node in self.nodes)
        return there and len({self.order(n).rank for n in range(3)}) == 1

    async def settled(self) -> None:
        """Let what was on its way pass; ``sent`` is what came in the second after that."""
        await asyncio.sleep(0.5)
        self.sent.clear()
        await asyncio.sleep(1.0)

    def totals(self) -> list[int]:
        return sorted(one.total for one in self.sent)


@contextlib.asynccontextmanager
async def staged(lease: float = 1.0) -> AsyncIterator[Stage]:
    network = MemoryNetwork()
    stage = Stage(network, [])
    for place, id in enumerate(NODES):
        link = network.link()
        bus = Bus(id, link, lease)
        await bus.start()
        plane = TwinPlane()
        plane.advance(100 * place)  # as long as it is up
        loop = PlaneLoop(plane)
        endpoint, rtp, rtcp = plane.bind_udp("127.0.0.1", 0)
        shelf = Shelf(Source(list(BLOCKS)))
        ensemble = Ensemble(bus, shelf, loop, lambda endpoint=endpoint: endpoint)
        ensemble.clocks._base += place * 7_000_000
        ensemble.open(Place(("10.0.0.1" + str(place),), 8554, rtp, rtcp))
        stage.nodes.append(Node(id, link, bus, plane, loop, endpoint, shelf, ensemble))
    await stage.until(lambda: all(len(one.ensemble.places()) == 3 for one in stage.nodes))
    for node in stage.nodes:
        await node.ensemble.look()
    running = asyncio.create_task(stage.run())
    try:
        yield stage
    finally:
        for node in stage.nodes:
            await node.ensemble.close()
            await node.bus.close()
            node.plane.close()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def wanted() -> list[Wanted]:
    return [Wanted(one.track.id, 6000 + 2 * n, 6001 + 2 * n)
            for n, one in enumerate(MANIFEST.tracks)]  # fmt: skip


async def play(conductor: Conductor, **wish: object) -> Started:
    return await conductor.play(Wish(**wish), wanted(), VIEWER)  # type: ignore[arg-type]


async def test_each_node_sends_its_blocks_and_together_they_are_the_title() -> None:
    async with staged() as at:
        conductor = at.conductor()
        started = await play(conductor, speed=4.0)
        assert (started.start_us, started.end_us, started.speed) == (0, 8_000_000, 4.0)
        await at.until(lambda: len(at.sent) == PACKETS)
        assert at.totals() == [*range(PACKETS)]
        for member, node in enumerate(at.nodes):
            mine = [one for one in at.sent if one.node == node.id]
            assert {one.member for one in mine} == {member}
            assert [one.number for one in mine] == [*range(len(mine))]
            asked = {*node.shelf.source_.asked}  # the node with control reads the entry, too
            assert asked == {block for block in range(len(BLOCKS)) if block % 3 == member}
        # Interleaved as they are due, though every node's clock says something else.
        order = [one.total for one in at.sent]
        assert max(abs(total - place) for place, total in enumerate(order)) < 40
        await at.until(lambda: at.byes == 2 * 3)


async def test_what_goes_ahead_comes_once_over_pauses_and_other_speeds() -> None:
    async with staged() as at:
        for node in at.nodes:
            node.plane.limit_ahead(1_000_000_000)
        conductor = at.conductor(ahead_us=2_000_000)
        dues = [one.due_us for block in BLOCKS for one in read(block).records]

        def ahead() -> float:
            return max(dues[one.total] for one in at.sent) / 1e6 - conductor.position_us / 1e6

        await play(conductor)
        await at.until(lambda: at.sent and ahead() > 0.4)
        await conductor.pause()
        await asyncio.sleep(0.3)
        stood = len(at.sent)
        await asyncio.sleep(0.2)
        assert len(at.sent) == stood
        await play(conductor, speed=2.0)
        await at.until(lambda: len(at.sent) > stood and ahead() > 1.0)
        assert ahead() < 2.1
        await at.until(lambda: len(at.sent) >= PACKETS)
        assert at.totals() == [*range(PACKETS)]
        assert conductor.playing  # it is over by the clock
        await at.until(lambda: at.byes == 2 * 3)
        assert len(at.sent) == PACKETS


async def test_a_node_that_does_not_hear_of_the_end_is_told_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ensemble_module, "AGAIN", 0.01)
    async with staged() as at:
        conductor = at.conductor()
        await play(conductor)
        bus, failures = at.nodes[0].bus, iter(range(3 * ATTEMPTS))
        call = bus.call

        async def lossy(node: NodeId, method: str, value: Any = None, timeout: float = 1.0) -> Any:
            ends = method == ORDER_METHOD and value["state"] == "closed"
            if ends and node == NODES[1] and next(failures, None) is not None:
                raise RemoteError("no answer", subject=node)
            return await call(node, method, value, timeout)

        monkeypatch.setattr(bus, "call", lossy)
        conductor.close()
        await at.until(lambda: not any(node.ensemble.parts for node in at.nodes))
        assert next(failures, None) is None


async def test_a_seek_goes_on_with_each_nodes_numbers() -> None:
    async with staged() as at:
        conductor = at.conductor()
        await play(conductor)
        await at.until(lambda: len(at.sent) > 60)
        started = await play(conductor, start_us=5_500_000)
        assert started.start_us == 5_000_000
        before = len(at.sent)
        lanes = at.order(0).lanes
        first = next(one.first for one in MANIFEST.blocks if one.due_us >= 5_000_000)
        await at.until(lambda: len(at.sent) > before + 200)
        jumped = [one for one in at.sent[before:] if one.total >= sum(first) - 60]
        assert min(one.total for one in jumped) >= sum(first) - 3
        for lane in lanes:
            number = (started.starts[lane.track][0] - lane.sequence) & 0xFFFF
            assert abs(number - first[lane.track]) <= 1
        for node in at.nodes:
            numbers = [one.number for one in at.sent if one.node == node.id]
            assert numbers == [*range(len(numbers))]


async def test_a_pause_and_another_speed_lose_nothing() -> None:
    async with staged() as at:
        conductor = at.conductor()
        await play(conductor, speed=2.0)
        await at.until(lambda: len(at.sent) > 100)
        stood = await conductor.pause()
        await asyncio.sleep(0.4)
        count = len(at.sent)
        await asyncio.sleep(0.3)
        assert len(at.sent) == count
        assert abs(conductor.position_us - stood) < 1_000
        await play(conductor, speed=1.0)
        await asyncio.sleep(0.4)
        await play(conductor, speed=4.0)
        await at.until(lambda: len(at.sent) == PACKETS)
        assert at.totals() == [*range(PACKETS)]


@pytest.mark.parametrize("dead", [1, 0])
async def test_what_a_dead_node_would_have_sent_the_others_send(dead: int) -> None:
    async with staged() as at:
        await play(at.conductor(), speed=2.0)
        await at.until(lambda: len(at.sent) > 150)
        at.kill(dead)
        await at.until(lambda: {*at.totals()} == {*range(PACKETS)})
        alive = [n for n in range(3) if n != dead]
        for n in alive:
            order = at.order(n)
            assert [one.number for one in order.present] == alive
            assert order.rank == at.order(alive[0]).rank
        # One noted it, the node with control or the first that is left.
        assert [at.nodes[n].ensemble.counters["deaths"] for n in alive] == [1, 0]


async def test_others_send_all_that_a_node_may_have_owed_for_its_lease() -> None:
    async with staged(lease=4.0) as at:
        conductor = at.conductor()
        await play(conductor)
        await at.until(lambda: conductor.position_us > 2_500_000)
        at.kill(2)
        await at.until(lambda: len(at.order(0).present) == 2)
        assert at.order(0).members[2].until_us == 0


@pytest.mark.parametrize("cut", [0, 2])
async def test_after_a_partition_one_has_control_and_each_packet_comes_once(cut: int) -> None:
    """``cut``: the node that the two others do not see for a while: that with control, another."""
    async with staged() as at:
        conductor = at.conductor()
        await play(conductor, speed=0.5)
        await at.until(lambda: len(at.sent) > 20)
        rest = [n for n in range(3) if n != cut]
        at.part([cut], rest)
        await at.until(
            lambda: (
                len(at.order(cut).present) == 1 and all(len(at.order(n).present) == 2 for n in rest)
            )
        )
        at.heal([cut], rest)
        await at.until(lambda: at.agreed())
        assert at.order(0).controller == NODES[0]
        senders = {one.node for one in at.order(0).present}
        await at.settled()
        for node in senders ^ {*NODES}:
            assert node not in {one.node for one in at.sent}
        totals = at.totals()
        assert len({*totals}) == len(totals)
        # At its ends nodes are some packets apart.
        assert {*range(totals[0] + 20, totals[-1] - 20)} <= {*totals}
        await conductor.pause()
        await at.until(lambda: all(at.order(n).state == "paused" for n in range(3)))
        await at.settled()
        assert at.sent == []
        await play(conductor, start_us=0)
        await at.until(lambda: {one.node for one in at.sent} == {*NODES})  # all take part again
        conductor.close()
        await at.until(lambda: not any(node.ensemble.parts for node in at.nodes))


async def test_who_had_control_before_a_partition_obeys_whoever_took_it() -> None:
    async with staged() as at:
        await play(at.conductor())
        await at.until(lambda: len(at.sent) > 60)
        at.part([0], [1, 2])
        await at.until(lambda: len(at.order(0).present) == 1 and len(at.order(2).present) == 2)
        assert await at.nodes[2].ensemble.take_over(SESSION) is not None
        at.heal([0], [1, 2])
        await at.until(lambda: at.agreed())
        assert at.order(0).controller == NODES[2]
        await at.settled()
        assert {one.node for one in at.sent} == {*NODES[1:]}
        at.conductor(2).close()
        await at.until(lambda: not any(node.ensemble.parts for node in at.nodes))


async def test_an_end_reaches_who_was_cut_off_meanwhile() -> None:
    async with staged() as at:
        conductor = at.conductor()
        await play(conductor)
        await at.until(lambda: len(at.sent) > 60)
        at.part([2], [0, 1])
        await at.until(lambda: len(at.order(0).present) == 2 and len(at.order(2).present) == 1)
        conductor.close()
        await at.until(lambda: not at.nodes[0].ensemble.parts and not at.nodes[1].ensemble.parts)
        assert at.nodes[2].ensemble.parts
        at.heal([2], [0, 1])
        await at.until(lambda: not at.nodes[2].ensemble.parts)
        assert not any(node.ensemble.parts for node in at.nodes)


async def test_who_is_taken_for_gone_by_mistake_goes_on() -> None:
    async with staged() as at:
        await play(at.conductor())
        await at.until(lambda: len(at.sent) > 60)
        clock = at.nodes[2].ensemble.clocks
        noted = at.order(2)
        for node in NODES[:2]:
            noted = noted.without(node, clock.shared_us(NODES[0], at.nodes[2].plane.now), 1.0)
        await at.nodes[1].ensemble._take(noted)
        assert [one.node for one in at.order(1).present] == [NODES[2]]
        with pytest.raises(ConflictError):
            await at.nodes[2].bus.call(NODES[0], ORDER_METHOD, noted.to_json())
        await at.until(lambda: at.agreed() and len(at.order(0).present) == 3)
        await at.until(lambda: {*at.totals()} == {*range(PACKETS)})


async def test_another_node_takes_control_and_the_higher_epoch_wins() -> None:
    async with staged() as at:
        conductor = at.conductor()
        heard: list[Order] = []
        at.nodes[0].ensemble.watch(SESSION, heard.append)
        await play(conductor)
        await at.until(lambda: len(at.sent) > 30)
        old = at.order(0)
        before = at.nodes[0].ensemble.parts[SESSION].position_us
        taken = await at.nodes[2].ensemble.take_over(SESSION)
        assert taken is not None
        assert (taken.epoch, taken.controller) == (2, NODES[2])
        await at.until(lambda: heard[-1].controller == NODES[2])
        # It goes on by the other's clock without a jump.
        for node in at.nodes:
            assert abs(node.ensemble.parts[SESSION].position_us - before) < 500_000
        with pytest.raises(WrongStateError, match="control"):
            await play(conductor, start_us=0)
        with pytest.raises(ConflictError):
            await at.nodes[1].ensemble._take(replace(old, version=99))
        assert await at.nodes[1].ensemble.take_over("f" * 32) is None
        other = at.conductor(2)
        await play(other, speed=4.0)
        await at.until(lambda: len(at.sent) == PACKETS)
        assert at.totals() == [*range(PACKETS)]


async def test_what_is_over_does_not_begin_again_by_a_late_order() -> None:
    async with staged() as at:
        conductor = at.conductor()
        await play(conductor)
        late = at.order(1)
        conductor.close()
        await at.until(lambda: not any(node.ensemble.parts for node in at.nodes))
        with pytest.raises(ConflictError):
            await at.nodes[1].ensemble._take(late)
        assert at.nodes[1].ensemble.order(SESSION) is None
        assert all(not node.plane.senders for node in at.nodes)


async def test_an_end_counts_whatever_version_of_the_volume_it_names() -> None:
    async with staged() as at:
        await play(at.conductor())
        order = at.order(1)
        last = replace(order, version=order.version + 1, state="closed", volume=order.volume + 1)
        await at.nodes[1].ensemble._take(last)
        assert at.nodes[1].ensemble.order(SESSION) is None
        assert not at.nodes[1].plane.senders


async def test_a_node_without_room_refuses_a_new_session_and_nothing_is_left_of_it() -> None:
    async with staged() as at:
        admission = Admission(lambda: Budgets(streams=0), lambda manifest: {})
        at.nodes[1].shelf.admission = admission
        with pytest.raises(BusyError):
            await play(at.conductor())
        await at.until(lambda: not any(node.ensemble.parts for node in at.nodes))
        assert at.nodes[1].ensemble.counters["orders_refused"] == 1


async def test_who_takes_over_blocks_of_a_dead_node_counts_them() -> None:
    async with staged() as at:
        for node in at.nodes:
            node.shelf.admission = Admission(Budgets, lambda manifest: {"disk": 1.0})
        await play(at.conductor(), speed=0.5)
        await at.until(lambda: len(at.sent) > 20)
        promised = [node.shelf.admission.promised for node in at.nodes]  # type: ignore[union-attr]
        before = promised[2].mean_bps
        assert promised[2].disks["disk"] == pytest.approx(promised[0].disks["disk"])
        read = promised[2].disks["disk"]
        at.kill(1)
        await at.until(lambda: all(len(at.order(n).present) == 2 for n in (0, 2)))
        await at.until(lambda: promised[2].mean_bps > before)
        assert promised[2].mean_bps == pytest.approx(before * 3 / 2)
        assert promised[2].disks["disk"] == pytest.approx(read * 3 / 2)


async def test_a_node_that_does_not_know_the_title_is_left_out() -> None:
    async with staged() as at:
        at.nodes[2].shelf.known = False
        await play(at.conductor(), speed=4.0)
        await at.until(lambda: {*at.totals()} == {*range(PACKETS)})
        assert {one.node for one in at.sent} == {*NODES[:2]}


async def test_a_player_that_is_silent_ends_it_at_each_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with staged() as at:
        await play(at.conductor())
        monkeypatch.setattr("heliograph.vod.bipartite.ensemble.SILENCE", 0.0)
        await at.nodes[0].ensemble.look()
        assert at.nodes[0].ensemble.order(SESSION) is None
        assert at.nodes[1].ensemble.order(SESSION) is not None
        assert at.nodes[0].ensemble.counters["silent"] == 1


async def test_what_is_no_order_is_refused_with_a_typed_error() -> None:
    async with staged() as at:
        with pytest.raises(Exception, match="malformed order"):
            await at.nodes[0].bus.call(NODES[1], "bipartite.order", {"id": 5})
        with pytest.raises(NotFoundError):
            await at.nodes[0].ensemble._take(replace(ORDER, controller=NODES[0], title="other"))
