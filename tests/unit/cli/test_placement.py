"""``helio placement bench``: movement and fairness of placements, judged together."""

from __future__ import annotations

import json

import pytest

from heliograph import cli
from heliograph.cli.placing.measure import measure, verdict
from heliograph.cli.placing.scenario import MIXED, changes, moments
from heliograph.model.errors import MalformedError
from heliograph.storage.placement import POLICIES

GROWTH = "4" + " +1" * 20


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a look-up costs is not what these tests are about."""
    monkeypatch.setattr("heliograph.cli.placing.measure.LOOKUPS", 20)
    monkeypatch.setattr("heliograph.cli.placing.measure.AT_ONCE", 1000)


SMALL = ["placement", "bench", "--blocks", "40000", "--operations", "4 +2 -1 +1"]


def test_the_table_names_policies_and_judges_them(capsys: pytest.CaptureFixture[str]):
    wanted = ["rendezvous", "round-robin"]
    policies = [word for name in wanted for word in ("--policy", name)]
    assert cli.main([*SMALL, "--disks", "equal", *policies]) == 0
    out, err = capsys.readouterr()
    head, even, striped = (line.split("\t") for line in out.splitlines())
    columns = ["disks", "policy", "moved", "spread", "worst", "one", "of many", "state", "remark"]
    assert head == columns
    assert even[:2] == ["equal", "rendezvous"]
    assert float(even[2]) == pytest.approx(1, abs=0.02)
    assert even[-1] == ""
    assert striped[-1] == "moves too much"
    assert "40,000 blocks in groups of 1; disks 4 +2 -1 +1" in " ".join(err.split())


def test_programs_get_json_with_the_conditions(capsys: pytest.CaptureFixture[str]):
    arguments = [*SMALL, "--width", "3", "--policy", "rendezvous", "--json", "--seed", "7"]
    assert cli.main(arguments) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert err == ""
    assert found["operations"] == "4 +2 -1 +1"
    assert (found["blocks"], found["width"], found["seed"]) == (40_000, 3, 7)
    assert [one["disks"] for one in found["results"]] == ["equal", "unequal"]
    for one in found["results"]:
        assert one["policy"] == "rendezvous"
        assert one["moved"] < 1.8
        assert one["spread"] < 0.1
        assert one["alone_us"] > one["vector_us"] > 0
        assert one["state"] > 0


def test_a_disk_without_blocks_is_told_in_valid_json(capsys: pytest.CaptureFixture[str]):
    arguments = ["placement", "bench", "--blocks", "5000", "--operations", GROWTH]
    only = ["--policy", "scaddar-32", "--disks", "equal"]
    assert cli.main([*arguments, *only, "--json"]) == 0
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert found["results"][0]["spread"] is None
    assert found["results"][0]["verdict"] == "uneven, moves too little"
    assert cli.main([*arguments, *only]) == 0
    assert "\t∞\t" in capsys.readouterr().out


def test_a_policy_that_does_not_exist_is_refused_before_anything_is_placed(
    capsys: pytest.CaptureFixture[str],
):
    assert cli.main([*SMALL, "--policy", "raid"]) == cli.REFUSED
    assert "no placement 'raid'; there are rendezvous" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "disks to begin with"),
        ("0 +1", "disks to begin with"),
        ("8 1", "disks to begin with"),
        ("8 +x", "disks to begin with"),
        ("2 -2", "0 disks after 1"),
        ("8 +9999", "10007 disks after 1"),
        ("8" + " +1" * 201, "201 of them"),
    ],
)
def test_operations_that_cannot_be_are_refused(text: str, why: str):
    with pytest.raises(MalformedError, match=why):
        changes(text)


def test_the_standard_operations_are_twenty_of_both_kinds():
    first, *rest = changes(MIXED)
    assert (first, len(rest)) == (8, 20)
    assert min(rest) < -1
    assert max(rest) > 1


@pytest.mark.parametrize("equal", [True, False])
def test_shares_of_a_scenario_add_up_and_disks_come_and_go(equal: bool):
    found, nodes = moments((4, 2, -3, 1), equal=equal, seed=1, width=1, per_node=2)
    assert [sum(one.shares.values()) for one in found] == pytest.approx([1] * 4)
    assert len(nodes) == 7
    assert len(set(nodes.values())) == 4
    if equal:
        assert [len(one.shares) for one in found] == [4, 6, 3, 4]


def test_time_is_told_by_the_clock():
    found, nodes = moments((4, 1), equal=True, seed=1, width=1, per_node=1)
    ticks = iter(range(100))
    done = []
    result = measure(
        POLICIES["jump"],
        found,
        nodes,
        blocks=20_000,
        width=1,
        seed=1,
        clock=lambda: float(next(ticks)),
        done=lambda: done.append(1),
    )
    assert (result.alone_us, result.vector_us) == (50_000, 1000)
    assert len(done) == 2


def test_few_moves_are_no_merit_where_disks_fill_unevenly():
    assert verdict(1.0, 0.03, width=1, fewest=50_000) == ""
    assert verdict(0.6, 0.4, width=1, fewest=50_000) == "uneven, moves too little"
    assert verdict(1.03, 0.03, width=1, fewest=50_000) == "moves too much"
    assert verdict(1.03, 0.03, width=6, fewest=50_000) == ""
    assert verdict(1.0, 0.2, width=1, fewest=1000) == "", "chance explains it"
