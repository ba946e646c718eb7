"""What people are shown of the cluster."""

from __future__ import annotations

import json

from tests.unit.manager.test_manager_units import spread_out

from heliograph.manager import decisions as d
from heliograph.manager.describe import describe, describe_progress


def test_units_have_their_groups_by_channel_and_channels_their_tree() -> None:
    view = d.join(spread_out(), "yard", "r", 0.0).view
    shown = describe(view, epoch=7, manager="left", at=12.0)
    assert (shown["epoch"], shown["manager"], shown["whole"]) == (7, "left", True)
    (channel,) = shown["channels"]
    assert channel["tree"] == [["1", None], ["2", "1"], ["3", "2"], ["4", "3"]]
    assert channel["ingest"] == "1"
    assert channel["viewers"] + channel["reserved"] == view.channels["yard"].seats
    assert channel["reserved"] == 1
    units = {one["id"]: one for one in shown["units"]}
    assert set(units) == set(view.units)
    seated = sum(row[1] for one in units.values() for row in one["groups"].get("yard", []))
    assert seated == channel["viewers"]
    assert units["1"]["state"] == "up"
    assert 0 <= units["1"]["load"] <= 1
    json.dumps(shown, allow_nan=False)


def test_what_is_cut_off_is_drawn_as_well() -> None:
    view = d.drain(spread_out(), "2", 0.0).view
    (channel,) = describe(view, epoch=1, manager="", at=0.0)["channels"]
    assert {unit for unit, _ in channel["tree"]} == set(view.channels["yard"].branches)


def test_the_short_one_has_only_numbers_that_change() -> None:
    view = spread_out()
    short = describe(view, epoch=7, manager="left", at=12.0, whole=False)
    assert not short["whole"]
    assert all("groups" not in one for one in short["units"])
    assert all("tree" not in one for one in short["channels"])
    assert len(json.dumps(short)) < len(json.dumps(describe(view, epoch=7, manager="left", at=1)))


def test_progress_says_what_is_left() -> None:
    left = describe_progress(d.progress(spread_out(), "2"))
    assert left["links"] == 1
    assert not left["done"]
