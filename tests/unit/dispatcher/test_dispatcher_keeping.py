"""Snapshots as text, and how they are made."""

from __future__ import annotations

from dataclasses import replace

import pytest

from heliograph.catalogue.contents.values import Condition, Network, Probe, ProbeKind
from heliograph.dispatcher.keeping import lines, parse
from heliograph.dispatcher.snapshot import STEP, Snapshot, building
from heliograph.model.errors import MalformedError

from .contents import Made, server, state


def made():
    found = Made([server(1, probes=(Probe(ProbeKind.HTTP, 0.3, 80, "/a"),)), server(2)], version=7)
    found.title("film", classes=("a", "b"), regions=("eu",), policy="nearest", duration=12.5)
    found.networks = [Network("10.0.0.0/8", "eu", refused=True)]
    found.states[2] = state(2, Condition.DOWN, response_ms=None, responses={ProbeKind.ICMP: 1.5})
    return found


def test_everything_comes_back_as_it_was():
    stored = {"aa": "film", "bb": "other"}
    text = [*lines(made().contents(), made().states, stored)]
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in text)
    assert parse(text) == (made().contents(), made().states, stored)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: [],
        lambda text: text[:-1],
        lambda text: text[:3] + text[4:],
        lambda text: [b"rubbish\n", *text],
        lambda text: [text[0].replace(b'"format": 1', b'"format": 2'), *text[1:]],
        lambda text: [line.replace(b"http", b"\xff\xfe") for line in text],
        lambda text: [line.replace(b'"format":"mp4"', b'"format":"avi"') for line in text],
    ],
)
def test_what_was_cut_off_or_spoiled_is_refused(spoil):
    with pytest.raises(MalformedError):
        parse(spoil([*lines(made().contents(), made().states, {"aa": "film"})]))


def test_a_title_of_a_volume_is_withheld_under_a_name_that_the_catalogue_does_not_publish():
    found = Made(1).title("shown", {}).title("hidden", {}, published=False).title("new", {})
    names = {"aa": "shown", "bb": "hidden", "cc": "new"}
    snapshot = Snapshot.of(found.contents()).with_stored(names)
    assert not snapshot.withheld("aa", "shown")
    assert snapshot.withheld("bb", "hidden")
    assert snapshot.withheld("cc", "old")
    assert not snapshot.withheld("dd", "not listed yet")
    assert snapshot.withheld("dd", "hidden")  # the name is taken by what is not for anybody
    assert not Snapshot().withheld("bb", "hidden")  # the catalogue was not read yet


def test_a_snapshot_of_many_titles_is_made_in_small_steps():
    found = Made(2)
    for number in range(STEP + 10):
        found.title(f"t{number}")
    steps = [*building(found.contents())]
    assert len(steps) == 1 + 2 + 1  # titles, files, the snapshot
    (last,) = [one for one in steps if one is not None]
    assert len(last.entries) == STEP + 10
    assert last.files == 2 * (STEP + 10)
    found.titles[5] = replace(found.titles[5], policy="nearest")
    found.files = [one for one in found.files if one.title != 8]
    (then,) = [one for one in building(found.contents(), last) if one is not None]
    anew = {name for name, entry in then.entries.items() if entry is not last.entries[name]}
    assert anew == {"t5", "t7"}
    assert then.entries["t5"].title.policy == "nearest"
    assert then.entries["t7"].files == ()
    found.files = [*last.entries["t7"].files, *found.files]
    whole = Snapshot.of(found.contents())
    assert whole.entries.keys() == last.entries.keys()
    assert whole.entries["t8"] == last.entries["t8"]
    assert whole.with_states(found.states).entries is whole.entries
