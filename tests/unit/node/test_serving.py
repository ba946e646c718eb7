"""What all nodes of a volume promise together of the disks that they share."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.storage.volume.test_volume_state import disk
from tests.unit.vod.staged_film import make_film

from heliograph.bus import Announcement, Bus
from heliograph.bus.memory import MemoryNetwork
from heliograph.model.errors import BusyError
from heliograph.node.settings.storage import StorageSettings
from heliograph.node.storage.doors import DOOR
from heliograph.node.storage.serving import PACKETS, PROMISED, admission_of, reads_of
from heliograph.node.storage.states import HERE, held
from heliograph.node.storage.together import Together
from heliograph.storage.values import Code, DiskId, Scheme
from heliograph.storage.volume import changes
from heliograph.storage.volume.planning import Plan
from heliograph.storage.volume.state import VolumeState
from heliograph.vod.promises import Admission, Promise

FILM, _ = make_film(10)
RATE = 2_000_000
ENTRIES = [replace(disk(one, one % 3), bandwidth=RATE) for one in range(4)]
#: Three data blocks and one of parity over four disks at three nodes.
STATE = changes.create("films", Scheme(3, 1, Code.XOR), ENTRIES, policy="rendezvous", seed=1)
NODES = STATE.nodes
DISKS = [one.id for one in STATE.disks]


@dataclass
class Cinema:
    """Nodes that serve one volume; ``state`` is what all know of it."""

    buses: list[Bus]
    admissions: list[Admission] = field(default_factory=list)
    doors: list[Announcement] = field(default_factory=list)
    state: VolumeState = STATE

    def storage(self, at: int) -> Any:
        cinema = self

        class Holding:
            name = "films"

            @property
            def state(self) -> VolumeState:
                return cinema.state

            @property
            def volume(self) -> Any:
                return SimpleNamespace(reach=SimpleNamespace(plan=Plan(cinema.state)))

        shelf = SimpleNamespace(placed_object=lambda object: SimpleNamespace(volume="films"))
        return SimpleNamespace(node=NODES[at], shelf=shelf, holdings={"films": Holding()})

    def promised(self) -> dict[DiskId, float]:
        """Bytes a second of each disk, as all nodes together promised."""
        for one in self.admissions:
            one.refresh()
        return {
            disk: sum(one.promised.disks.get(disk, 0.0) for one in self.admissions)
            for disk in DISKS
        }

    def fill(self) -> list[list[Promise]]:
        """Promise streams at all nodes in turn until none has room."""
        return [_fill(lambda one=one: one.promise(FILM, [0, 1])) for one in self.admissions]


def _fill(promise: Callable[[], Promise]) -> list[Promise]:
    found: list[Promise] = []
    with contextlib.suppress(BusyError):
        while True:
            found.append(promise())
    return found


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - presence of others tells nobody here
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def nodes() -> AsyncIterator[Cinema]:
    network = MemoryNetwork()
    cinema = Cinema([await network.bus(node) for node in NODES])
    settings = StorageSettings(network_bps=10**12, packets_per_second=10**9)
    for at, bus in enumerate(cinema.buses):
        bus.announce(HERE, "films", held(STATE, 1))
        value = {"http": "", "rtsp": "rtsp://10.0.0.1:8554"}
        cinema.doors.append(bus.announce(DOOR, f"node-{at}", value))
        cinema.admissions.append(admission_of(cinema.storage(at), bus, settings))
    for bus in cinema.buses:
        await until(lambda bus=bus: len(bus.present(DOOR)) == len(NODES))
        await until(lambda bus=bus: len(bus.present(HERE)) == len(NODES))
    yield cinema
    for bus in cinema.buses:
        await bus.close()


async def test_all_nodes_together_promise_what_a_disk_gives_and_no_more() -> None:
    async with nodes() as cinema:
        assert all(len(one) > 5 for one in cinema.fill())
        for taken in cinema.promised().values():
            assert 0.8 * PROMISED * RATE < taken <= PROMISED * RATE


async def test_who_serves_no_more_leaves_its_part_to_the_others() -> None:
    async with nodes() as cinema:
        cinema.fill()
        assert cinema.fill() == [[], [], []]
        cinema.doors[2].close()
        await until(lambda: all(len(bus.present(DOOR)) == 2 for bus in cinema.buses[:2]))
        assert all(
            _fill(lambda one=one: one.promise(FILM, [0, 1])) for one in cinema.admissions[:2]
        )


async def test_after_a_disk_is_lost_what_was_promised_is_kept_and_counted_as_it_is_read() -> None:
    async with nodes() as cinema:
        kept = cinema.fill()
        before = cinema.promised()
        cinema.state = changes.fail_disks(STATE, [DISKS[0]])
        after = cinema.promised()
        # Each lost block is made of three others, which are at the three that are left.
        assert after[DISKS[0]] == 0
        for one in DISKS[1:]:
            assert after[one] == pytest.approx(2 * before[one], rel=0.01)
        assert cinema.fill() == [[], [], []]
        assert sum(one.promised.streams for one in cinema.admissions) == sum(map(len, kept))
        for some in kept:
            for one in some:
                one.release()
        fewer = cinema.fill()
        assert sum(map(len, fewer)) == pytest.approx(sum(map(len, kept)) / 2, rel=0.1)
        assert max(cinema.promised().values()) <= PROMISED * RATE


async def test_disks_of_nodes_that_are_away_are_counted_as_lost() -> None:
    async with nodes() as cinema:
        one = cinema.admissions[0]
        promise = one.promise(FILM, [0, 1])
        shares = promise.demand.shares
        await cinema.buses[1].close()
        await until(lambda: len(cinema.buses[0].present(HERE)) == 2)
        one.refresh()
        away = {disk.id for disk in STATE.disks_of(NODES[1])}
        assert promise.demand.shares == reads_of(STATE, {NODES[0], NODES[2]})
        assert promise.demand.shares.keys() == shares.keys() - away
        assert sum(promise.demand.shares.values()) > 1


async def test_streams_that_all_nodes_send_take_no_more_of_a_disk_than_others() -> None:
    async with nodes() as cinema:
        libraries = [Together(cinema.storage(at), one) for at, one in enumerate(cinema.admissions)]
        count = 0
        with contextlib.suppress(BusyError):
            while True:
                for one in libraries:
                    one.promise(FILM, [0, 1], lambda: NODES, 0)
                count += 1
        assert count > 20
        for taken in cinema.promised().values():
            assert 0.8 * PROMISED * RATE < taken <= PROMISED * RATE


async def test_what_replaced_a_disk_is_bounded_as_that_was() -> None:
    async with nodes() as cinema:
        fresh = replace(disk(7, 0), bandwidth=RATE)
        cinema.state = changes.replace_disk(STATE, DISKS[0], fresh)
        cinema.fill()
        taken = sum(one.promised.disks[fresh.id] for one in cinema.admissions)
        assert 0 < taken <= PROMISED * RATE


async def test_the_cores_bound_what_is_sent() -> None:
    bus = await MemoryNetwork().bus(NODES[0])
    storage = Cinema([bus]).storage(0)
    packets = sum(one.packets for one in FILM.tracks) / 10
    few = StorageSettings(network_bps=10**12, packets_per_second=1000)
    storage.holdings.clear()
    admission = admission_of(storage, bus, few)
    assert len(_fill(lambda: admission.promise(FILM, [0, 1]))) == int(1000 / packets)
    usual = admission_of(storage, bus, StorageSettings(network_bps=10**12))
    assert usual.promise(FILM, [0, 1])
    assert PACKETS <= usual._budgets().packets <= PACKETS * 4096
    await bus.close()
