"""One portal has the service address, and another as soon as that one is gone."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.manager.waiting import until

from heliograph.bus.memory import MemoryNetwork
from heliograph.manager.service_address import ANNOUNCEMENTS, REMINDED, HeldAddress, VirtualAddress
from heliograph.manager.service_turn import ServiceTurn, name_of, next_term
from heliograph.model.nodes import NodeId

A, B, C = (NodeId(letter * 16) for letter in "abc")


def test_who_has_it_keeps_it_and_the_first_takes_it_when_nobody_has() -> None:
    assert next_term("b", 0, {}, 0) == 1
    assert next_term("a", 0, {"b": 3}, 3) == 0
    assert next_term("b", 3, {"a": 0, "c": 0}, 3) == 3
    assert next_term("a", 0, {"b": 0}, 3) == 4
    assert next_term("b", 0, {"a": 0}, 3) == 0


def test_of_two_the_later_one_keeps_it() -> None:
    assert next_term("a", 3, {"b": 4}, 4) == 0
    assert next_term("b", 4, {"a": 3}, 4) == 4
    assert next_term("a", 4, {"b": 4}, 4) == 4
    assert next_term("b", 4, {"a": 4}, 4) == 0


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 3), min_size=1))
def test_whatever_they_have_said_one_has_it_in_the_end(terms: dict[str, int]) -> None:
    highest = max(terms.values())
    for node in itertools.islice(itertools.cycle(sorted(terms)), 3 * len(terms)):
        others = {other: term for other, term in terms.items() if other != node}
        terms[node] = next_term(node, terms[node], others, highest)
        highest = max(highest, terms[node])
    assert sum(map(bool, terms.values())) == 1


def test_addresses_have_names_by_which_portals_know_them() -> None:
    assert name_of(VirtualAddress.parse("192.0.2.10/24 dev eth0")) == "192.0.2.10"
    assert name_of(VirtualAddress.parse("2001:db8::1/64 dev eth0")).startswith("2001-0db8-0000")
    assert name_of(None) == "command"


class Address:
    """Here, or not."""

    def __init__(self) -> None:
        self.here = False

    def follow(self, active: bool) -> None:
        self.here = active

    def assure(self) -> None:
        pass

    async def close(self) -> None:
        self.here = False


async def test_it_goes_from_portal_to_portal_and_is_never_nowhere_for_long() -> None:
    network = MemoryNetwork()
    buses = {node: await network.bus(node) for node in (A, B, C)}
    addresses = {node: Address() for node in buses}
    turns = {
        node: ServiceTurn(bus, "192.0.2.10", addresses[node], settle=0.001)
        for node, bus in buses.items()
    }

    def holders() -> list[NodeId]:
        return [node for node, address in addresses.items() if address.here]

    turns[C].start()
    await until(lambda: holders() == [C])
    turns[A].start()
    turns[B].start()
    await buses[C].until_present("service-address", 3)
    assert holders() == [C]
    await buses[C].close()  # as when it is killed: it gives nothing up
    addresses[C].here = False
    await until(lambda: holders() == [A])
    await turns[A].close()
    await until(lambda: holders() == [B])
    assert turns[B].term == 3
    await turns[B].close()
    assert holders() == []
    for node in (A, B):
        await buses[node].close()


async def test_after_a_partition_neighbours_are_told_where_the_address_stays() -> None:
    network = MemoryNetwork()
    buses = {node: await network.bus(node) for node in (A, B)}
    told: list[NodeId] = []

    async def run(words: object) -> None:
        pass

    addresses = {
        node: HeldAddress(
            VirtualAddress.parse("192.0.2.10/24 dev eth0"),
            run,
            lambda address, node=node: told.append(node),
            period=0.002,
        )
        for node in buses
    }
    turns = {
        node: ServiceTurn(bus, "192.0.2.10", addresses[node], settle=0.001)
        for node, bus in buses.items()
    }
    turns[A].start()
    await until(lambda: turns[A].term == 1)
    turns[B].start()
    for bus in buses.values():
        await bus.until_present("service-address", 2)
    links = network.links
    network.cut(*links)
    await until(lambda: turns[B].term == 2)
    # Each says its words on its side, and some of those that are said now and then.
    await until(lambda: min(map(told.count, (A, B))) > ANNOUNCEMENTS)
    told.clear()
    before = addresses[B].counters["held"]
    network.heal(*links)
    await until(lambda: addresses[A].counters["released"] == 1)
    await until(lambda: told.count(B) >= ANNOUNCEMENTS)
    # Those that are said now and then would take twice as many periods.
    assert addresses[B].counters["held"] - before < ANNOUNCEMENTS * REMINDED / 2
    assert (turns[A].term, turns[B].term) == (0, 2)
    for node in (A, B):
        await turns[node].close()
        await buses[node].close()
