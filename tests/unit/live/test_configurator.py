"""Where a reflector gets its channels from, when neighbours die, leave and come back."""

from __future__ import annotations

import itertools
import random

import pytest
from tests.unit.live.mesh_network import CHANNEL, Network, name

from heliograph.live.configurator import Configurator
from heliograph.live.neighbours import (
    Answered,
    Appeared,
    AskForSources,
    ClientJoined,
    Ingest,
    Leave,
    LinkUp,
    Returned,
    Rules,
    SubscribeTo,
    Tell,
    UnsubscribeFrom,
    Wanted,
)

S, A, B, C, D = (name(number) for number in range(5))


def tree(rules: Rules | None = None) -> Network:
    """S feeds A and B; A feeds C, with B as its alternative."""
    network = Network(rules)
    network.add(S)
    network.ingest(S)
    network.add(A, S)
    network.add(B, S)
    network.add(C, A, B)
    network.run(1)
    return network


def test_a_channel_comes_from_the_best_source_by_a_known_path():
    network = tree()
    assert network.sources(C) == (A,)
    assert network.nodes[C].path(CHANNEL) == (S, A, C)
    assert set(network.nodes[S].clients(CHANNEL)) == {A, B}


def test_a_silent_source_is_replaced_as_soon_as_it_is_noticed():
    network = tree()
    network.kill(A)
    network.run(0.35)  # silence is noticed after 0.2 s; the link to the next stands already
    assert network.fed(C)
    assert network.sources(C)[-1] == B
    network.run(1)
    assert network.nodes[C].path(CHANNEL) == (S, B, C)


def test_who_comes_back_is_tried_at_once():
    network = Network()
    network.add(S)
    network.ingest(S)
    network.add(A, S)
    network.run(1)
    assert network.fed(A)
    network.kill(S)
    network.run(60)  # by now it is tried each eighth second
    network.add(S)
    network.ingest(S)
    network.tell(A, Appeared(S))
    network.run(0.2)
    assert network.fed(A)


def test_with_two_sources_the_death_of_one_changes_nothing():
    network = tree(Rules(redundancy=2))
    assert set(network.sources(C)) == {A, B}
    network.kill(A)
    assert network.fed(C)
    network.run(0.5)
    assert network.fed(C)


def test_the_better_source_is_gone_back_to_when_it_was_well_for_a_while():
    network = tree()
    network.kill(A)
    network.run(3)
    network.add(A, S)
    network.run(3)
    assert network.sources(C) == (B,)
    network.run(12)
    assert network.sources(C) == (A,)


def test_who_leaves_in_order_forwards_until_its_clients_are_fed_by_others():
    network = tree()
    before = len(network.orders)
    network.tell(A, Leave())
    for _ in range(100):
        network.run(0.01)
        assert network.fed(C)
    assert A in network.left
    assert network.sources(C) == (B,)
    mine = [order for _, node, order in network.orders[before:] if node == C]
    assert mine.index(SubscribeTo(CHANNEL, B)) < mine.index(UnsubscribeFrom(CHANNEL, A))


def test_who_leaves_names_its_own_sources_where_its_clients_have_no_other():
    network = tree()
    network.add(D, C)
    network.run(1)
    network.tell(C, Leave())
    for _ in range(100):
        network.run(0.01)
        assert network.fed(D)
    assert C in network.left
    assert network.sources(D) == (A,)


def test_others_are_asked_for_when_the_only_source_leaves():
    network = Network()
    network.add(S)
    network.ingest(S)
    network.add(A, S)
    network.add(D, A)
    network.run(1)
    network.part(D, S)
    network.add(B, S)
    network.run(1)
    asked = network.asked[D]
    network.tell(A, Leave())
    network.run(0.3)
    assert network.asked[D] > asked
    network.tell(D, Wanted(CHANNEL, (A, B)))  # what the answer was
    for _ in range(50):
        network.run(0.01)
        assert network.fed(D)
    assert network.sources(D) == (B,)
    assert A in network.left


def test_who_leaves_does_not_wait_for_ever():
    network = tree()
    network.add(D, A)
    network.run(1)
    network.part(D, S)
    network.tell(A, Leave())
    network.run(3)
    assert A not in network.left
    network.run(3)
    assert A in network.left


@pytest.mark.parametrize("published", [True, False])
def test_who_leaves_waits_for_nobody_to_whom_it_is_the_only_origin(published):
    network = tree()
    network.ingest(S, here=published)
    network.run(1)
    before = len(network.orders)
    network.tell(S, Leave())
    assert S in network.left
    told = [order for _, node, order in network.orders[before:] if node == S]
    assert [order.node for order in told if isinstance(order, Tell)] == [A, B]


def test_who_leaves_waits_for_what_it_relays_beside_what_is_published_there():
    network = tree()
    network.add(D, A)
    network.run(1)
    network.part(D, S)
    network.tell(A, ClientJoined("other", D))
    network.tell(A, Ingest("other", True))
    network.tell(A, Leave())
    network.run(3)
    assert A not in network.left


def test_who_leaves_waits_for_clients_also_where_its_source_went_a_moment_before():
    network = tree()
    network.part(S, A)
    while network.nodes[A].path(CHANNEL):
        network.run(0.01)
    assert network.sources(C) == (A,)
    network.tell(A, Leave())
    assert A not in network.left
    network.run(1)
    assert A in network.left
    assert network.sources(C) == (B,)


def test_who_leaves_waits_for_clients_also_where_its_source_goes_meanwhile():
    network = tree()
    network.add(D, A)
    network.run(1)
    network.part(D, S)
    network.tell(A, Leave())
    network.part(A, S)
    network.run(1)
    assert network.nodes[A].path(CHANNEL) == ()
    assert A not in network.left
    network.run(4)
    assert A in network.left


def test_who_leaves_waits_for_nobody_where_the_source_went_long_ago():
    network = tree()
    network.add(D, A)
    network.run(1)
    network.ingest(S, here=False)
    network.run(5)
    network.tell(A, Leave())
    assert A in network.left


def test_who_returns_in_order_has_its_place_again_at_once():
    network = tree()
    network.tell(A, Leave())
    network.run(2)
    network.add(A, S)
    network.tell(A, Returned(CHANNEL, (S,), (C,)))
    for _ in range(80):
        network.run(0.02)
        assert network.fed(C)
    assert network.sources(C) == (A,)
    assert network.nodes[C].path(CHANNEL) == (S, A, C)


def test_a_source_that_gets_the_channel_from_here_is_refused():
    network = Network()
    network.add(S)
    network.add(A, S, B)
    network.add(B, S, A)
    network.ingest(S)
    network.run(1)
    network.kill(S)
    network.run(5)
    assert not network.nodes[A].path(CHANNEL)
    assert not network.nodes[B].path(CHANNEL)
    network.ingest(B)
    network.run(2)
    assert network.nodes[A].path(CHANNEL) == (B, A)
    assert network.sources(B) == ()


def test_others_are_asked_for_when_the_list_is_spent_and_no_more_once_it_is_not():
    network = tree()
    network.kill(A)
    network.kill(B)
    network.run(4)
    asked = network.asked[C]
    assert 2 <= asked <= 5
    assert any(
        order == AskForSources(CHANNEL, (A, B)) for _, node, order in network.orders if node == C
    )
    network.tell(C, Wanted(CHANNEL, (A, B, S)))
    network.run(1)
    assert network.fed(C)
    asked = network.asked[C]
    network.run(5)
    assert network.asked[C] == asked


def test_a_source_without_a_source_is_given_time_to_find_another():
    network = Network()
    network.add(S)
    network.ingest(S)
    network.add(D, S)
    network.add(A, S, D)
    network.add(B, A, D)
    network.run(1)
    before = len(network.orders)
    network.part(S, A)
    network.run(2)
    assert network.nodes[B].path(CHANNEL) == (S, D, A, B)
    assert (B, SubscribeTo(CHANNEL, D)) not in [entry[1:] for entry in network.orders[before:]]


def test_a_publisher_here_ends_the_subscriptions():
    network = tree()
    network.ingest(C)
    network.run(0.2)
    assert network.sources(C) == ()
    assert network.nodes[C].path(CHANNEL) == (C,)


@pytest.mark.parametrize("seed", range(80))
def test_whatever_dies_and_returns_all_that_can_be_fed_is_fed_without_loops(seed):
    chance = random.Random(seed)
    network = Network(Rules(redundancy=chance.choice((1, 1, 2))))
    nodes = [name(number) for number in range(chance.randint(4, 9))]
    lists = {
        node: chance.sample(nodes[:place], place) + chance.sample(nodes[place:], 1)
        for place, node in enumerate(nodes)
    }
    for node in nodes:
        network.add(node, *lists[node])
    network.ingest(nodes[0])
    network.run(3)
    for _ in range(12):
        node = chance.choice(nodes[1:])
        match chance.randrange(4):
            case 0:
                network.kill(node)
            case 1 if node in network.gone or node in network.left:
                network.add(node, *lists[node])
            case 2:
                network.tell(node, Leave())
            case _:
                pair = chance.sample(nodes, 2)
                network.part(*pair) if chance.random() < 0.5 else network.mend(*pair)
        network.run(chance.uniform(0.05, 2))
    network.run(12)
    alive = [node for node in nodes if node not in network.gone | network.left]
    # a naive flood over who may ask whom says who can be fed
    reached = {nodes[0]}
    for _ in alive:
        reached |= {
            node
            for node in alive
            if any(
                source in reached and frozenset((node, source)) not in network.cut
                for source in network.nodes[node]._feeds[CHANNEL].candidates
            )
        }
    for node in alive:
        assert network.fed(node) == (node in reached), node
        path = network.nodes[node].path(CHANNEL)
        assert bool(path) == (node in reached)
        assert len(set(path)) == len(path)


def test_more_sources_are_asked_for_while_there_are_fewer_than_there_should_be():
    rules = Rules(redundancy=2, seek=5.0)
    configurator = Configurator(C, rules)
    configurator.handle(Wanted(CHANNEL, (A,)), 0.0)
    configurator.handle(LinkUp(A), 0.1)
    configurator.handle(Answered(CHANNEL, A, (A,)), 0.2)
    asked = [
        at / 10
        for at in range(3, 200)
        if AskForSources(CHANNEL, (A,)) in configurator.tick(at / 10)
    ]
    assert asked
    assert all(later - earlier >= 5.0 for earlier, later in itertools.pairwise(asked))
    configurator.handle(Wanted(CHANNEL, (A, B)), 20.0)
    configurator.handle(LinkUp(B), 20.1)
    orders = configurator.handle(Answered(CHANNEL, B, (A, B)), 20.2)
    for at in range(203, 400):
        orders += configurator.tick(at / 10)
    assert not any(isinstance(order, AskForSources) for order in orders)
    assert set(configurator.sources(CHANNEL)) == {A, B}
