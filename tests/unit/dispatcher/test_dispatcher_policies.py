"""Which server each policy chooses."""

from __future__ import annotations

import hashlib
import math
import random
from collections import Counter

import pytest

from heliograph.catalogue.contents.values import Format
from heliograph.dispatcher.fleet import Fleet
from heliograph.dispatcher.policies import BOUND, POLICIES, Candidate, Pool

from .contents import NOW, server, state

BPS = 1_000_000


def made(*servers, states=None, name="film"):
    """A fleet, and the pool of a title that all of its servers hold."""
    fleet = Fleet()
    fleet.replace({one.id: one for one in servers})
    fleet.observe(states or {one.id: state(one.id) for one in servers}, NOW)
    members = fleet.members.values()
    copies = [Candidate(100 + one.id, one, f"http://{one.name}/", BPS) for one in members]
    return fleet, Pool(name, Format.MP4, copies)


def commit(fleet, id, count):
    """So many sessions at a server."""
    for _ in range(count):
        fleet.add(fleet.members[id], BPS)


def chosen(policy, fleet, pool, count, *, region="", keep=True, seed=1):
    """How often each server is chosen."""
    draw, found = random.Random(seed).random, Counter()
    for _ in range(count):
        one = POLICIES[policy](pool, fleet, region, draw)
        found[one.server.id] += 1
        if keep:
            fleet.add(one.server, one.bps)
    return found


@pytest.mark.parametrize("policy", POLICIES)
def test_the_only_server_is_chosen(policy):
    fleet, pool = made(server(7))
    assert chosen(policy, fleet, pool, 10) == {7: 10}


def test_least_response_time_takes_the_quickest_and_one_that_never_answered_last():
    states = {1: state(1, response_ms=9.0), 2: state(2, response_ms=2.0), 3: state(3)}
    states[3] = state(3, response_ms=None)
    fleet, pool = made(server(1), server(2), server(3), states=states)
    assert chosen("least-response-time", fleet, pool, 5) == {2: 5}


def test_round_robin_takes_each_in_turn_and_titles_begin_at_different_servers():
    fleet, pool = made(*(server(id) for id in range(1, 5)))
    assert chosen("round-robin", fleet, pool, 40) == {1: 10, 2: 10, 3: 10, 4: 10}
    first = Counter()
    for number in range(400):
        fleet, pool = made(*(server(id) for id in range(1, 5)), name=f"t{number}")
        first.update(chosen("round-robin", fleet, pool, 1))
    assert min(first.values()) > 60


def test_weighted_takes_servers_by_their_weights():
    fleet, pool = made(server(1, weight=1.0), server(2, weight=3.0))
    found = chosen("weighted", fleet, pool, 8000)
    assert found[2] / found[1] == pytest.approx(3, rel=0.1)


def test_least_sessions_evens_sessions_out_by_weight():
    fleet, pool = made(server(1), server(2, weight=2.0), server(3))
    commit(fleet, 3, 50)
    found = chosen("least-sessions", fleet, pool, 150)
    assert found == {1: 50, 2: 100}


def test_power_of_two_fills_servers_by_their_capacity():
    fleet, pool = made(
        server(1, capacity_bps=10**9), server(2, capacity_bps=10**9), server(3, capacity_bps=10**10)
    )
    found = chosen("power-of-two", fleet, pool, 6000)
    assert found[3] / 6000 == pytest.approx(10 / 12, abs=0.02)
    assert found[1] == pytest.approx(found[2], abs=100)


def test_power_of_two_never_takes_the_fullest_of_all():
    fleet, pool = made(*(server(id) for id in range(1, 6)))
    commit(fleet, 4, 500)
    assert 4 not in chosen("power-of-two", fleet, pool, 400, keep=False)


def naive_rendezvous(name, servers):
    """Ids by -w / ln h, h from the digest as a fraction."""

    def score(one):
        digest = hashlib.blake2b(f"{name}\0{one.id}".encode(), digest_size=8).hexdigest()
        return (1 / one.inverse) / -math.log((int(digest, 16) + 1) / (2**64 + 1))

    return [one.id for one in sorted(servers, key=score, reverse=True)]


def test_rendezvous_ranks_servers_as_the_naive_way_does():
    servers = [server(id, capacity_bps=id * 10**9) for id in range(1, 9)]
    for number in range(50):
        fleet, pool = made(*servers, name=f"t{number}")
        ranked = [one.server.id for one in pool.ranked()]
        assert ranked == naive_rendezvous(f"t{number}", fleet.members.values())
    first = Counter(
        made(*servers, name=f"t{number}")[1].ranked()[0].server.id for number in range(3000)
    )
    assert first[8] / first[1] == pytest.approx(8, rel=0.4)


def test_rendezvous_moves_only_titles_of_the_server_that_goes():
    servers = [server(id) for id in range(1, 9)]
    for number in range(200):
        _, whole = made(*servers, name=f"t{number}")
        _, rest = made(*servers[1:], name=f"t{number}")
        before = [one.server.id for one in whole.ranked() if one.server.id != 1]
        assert [one.server.id for one in rest.ranked()] == before


def test_rendezvous_bounds_what_a_server_gets_of_one_title():
    fleet, pool = made(*(server(id) for id in range(1, 9)))
    found = chosen("rendezvous", fleet, pool, 800)
    assert max(found.values()) <= BOUND * 100 + 1
    assert sum(found.values()) == 800


def test_rendezvous_keeps_to_one_server_while_others_carry_more():
    fleet, pool = made(*(server(id) for id in range(1, 9)))
    for id in range(1, 9):
        commit(fleet, id, 100)
    favourite = pool.ranked()[0].server.id
    assert chosen("rendezvous", fleet, pool, 10) == {favourite: 10}


def test_nearest_takes_the_region_and_spreads_within_it():
    servers = [
        server(1, region="eu/de"),
        server(2, region="eu/fr"),
        server(3, region="eu/de"),
        server(4, region="us"),
    ]
    fleet, pool = made(*servers)
    found = chosen("nearest", fleet, pool, 100, region="eu/de/ulm")
    assert set(found) == {1, 3}
    assert found[1] == pytest.approx(50, abs=10)
    assert set(chosen("nearest", fleet, pool, 300, region="eu/it")) == {1, 2, 3}
    assert set(chosen("nearest", fleet, pool, 2000, region="")) == {1, 2, 3, 4}


def test_what_was_committed_decays():
    fleet = Fleet(decay=100.0)
    fleet.replace({1: server(1)})
    fleet.observe({1: state(1)}, NOW)
    fleet.tick(NOW)
    member = fleet.members[1]
    fleet.add(member, BPS)
    fleet.tick(NOW + 100)
    fleet.add(member, BPS)
    bps, sessions = fleet.committed(member)
    assert bps == pytest.approx(BPS * (1 + math.exp(-1)))
    assert sessions == pytest.approx(1 + math.exp(-1))
    fleet.tick(NOW + 100 + 5000)  # beyond what its measure can grow to
    assert fleet.scale == 1.0
    assert fleet.committed(member)[0] < 1e-12
    fleet.tick(NOW)  # the clock was set back
    assert fleet.scale == 1.0


def test_a_clock_that_jumps_ahead_lets_all_decay():
    fleet = Fleet(decay=1.0)
    fleet.replace({1: server(1)})
    fleet.observe({1: state(1)}, NOW)
    fleet.tick(30.0)
    fleet.add(fleet.members[1], BPS)
    fleet.tick(NOW)
    assert fleet.committed(fleet.members[1])[0] == pytest.approx(0)


def test_servers_of_ours_carry_at_least_what_they_say_themselves():
    fleet, pool = made(server(1, make="heliograph"), server(2, make="nginx"), server(3))
    one, two, _ = fleet.members.values()
    fleet.tick(NOW)
    commit(fleet, 1, 5)
    fleet.report({"s1": 3 * BPS, "s2": 900 * BPS})  # who is not ours says nothing here
    assert fleet.committed(one)[0] == pytest.approx(5 * BPS)
    assert fleet.committed(two)[0] == 0
    fleet.report({"s1": 40 * BPS})
    fleet.tick(NOW + 600)  # those who came then are still there
    fleet.report({"s1": 40 * BPS})
    assert fleet.committed(one)[0] == pytest.approx(40 * BPS)
    assert fleet.total == pytest.approx(one.load)
    found = chosen("power-of-two", fleet, pool, 79)
    assert 1 not in found
    fleet.tick(NOW + 1200)
    fleet.report({})
    assert fleet.committed(one)[0] < 10 * BPS
