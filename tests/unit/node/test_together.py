"""What a node promises of titles that it sends with others."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.storage.volume.test_volume_state import disk
from tests.unit.vod.staged_film import make_film

from heliograph.node.storage.serving import shares_of
from heliograph.node.storage.together import GROUPS, Together
from heliograph.storage.values import Code, Scheme
from heliograph.storage.volume import changes
from heliograph.storage.volume.planning import Plan
from heliograph.vod.admission import Budgets
from heliograph.vod.promises import Admission

FILM, _ = make_film(10)
#: Eight disks at four nodes; of five members of a group four are data.
STATE = changes.create(
    "films",
    Scheme(4, 1, Code.XOR),
    [disk(one, one // 2) for one in range(8)],
    policy="rendezvous",
    seed=1,
)
NODES = STATE.nodes


def together(state: Any = STATE) -> Together:
    holding = SimpleNamespace(
        name="films",
        state=state,
        volume=SimpleNamespace(reach=SimpleNamespace(plan=Plan(state), state=state)),
    )
    shelf = SimpleNamespace(placed_object=lambda object: SimpleNamespace(volume="films"))
    storage: Any = SimpleNamespace(node=NODES[0], shelf=shelf, holdings={"films": holding})
    return Together(storage, Admission(Budgets, lambda manifest: shares_of(state)))


def test_a_node_promises_its_part_and_how_its_blocks_stray_from_it() -> None:
    library = together()
    promise = library.promise(FILM, [0, 1], lambda: NODES, 4_000_000)
    assert promise is not None
    found = promise.demand
    assert found.ahead == 4.0
    whole = found.mean_bps / sum(found.shares.values())
    assert sum(found.shares.values()) == pytest.approx(1 / 4)
    seconds = FILM.duration_us / 1e6 / len(FILM.blocks)
    spread = Plan(STATE).spread(FILM.object, NODES[0], GROUPS)
    assert spread > 0.2
    assert found.drift == pytest.approx((whole * seconds) ** 2 * spread / (4 * seconds))


def test_what_lies_at_nodes_that_are_away_is_sent_by_all_others() -> None:
    library = together()
    usual = library.promise(FILM, [0, 1], lambda: NODES, 4_000_000)
    more = library.promise(FILM, [0, 1], lambda: NODES[:3], 4_000_000)
    assert usual is not None
    assert more is not None
    assert more.demand.mean_bps == pytest.approx(usual.demand.mean_bps * 4 / 3)
    assert more.demand.drift > usual.demand.drift
