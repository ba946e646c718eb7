"""Verdicts, percentiles and comparisons."""

import pytest
from tests.perf.figures import Figure, at_least, at_most, compare, middle, percentile, ratio


def test_percentiles_are_nearest_rank():
    values = list(range(100, 0, -1))
    assert [percentile(values, share) for share in (0.5, 0.95, 0.99, 1.0)] == [50, 95, 99, 100]
    assert percentile([7], 0.01) == 7
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_median_leaves_out_what_is_unknown():
    assert middle([3, None, 1, 2]) == 2
    assert middle([None]) is None


def test_ratio_needs_both_sides():
    assert ratio(1, 2) == 0.5
    assert ratio(None, 2) is None
    assert ratio(1, 0) is None


@pytest.mark.parametrize(
    ("target", "value", "verdict"),
    [
        (at_most(0.5), 0.5, "met"),
        (at_most(0.5), 0.51, "missed"),
        (at_least(0.8), 0.8, "met"),
        (at_least(0.8), 0.79, "missed"),
        (at_most(1), None, "missed"),
        (None, 1.0, ""),
    ],
)
def test_verdict(target, value, verdict):
    assert Figure("x", "heliograph", value, "µs", target=target).verdict == verdict


def test_a_bound_beside_a_comparison_is_for_the_ratio():
    figure = Figure("x", "heliograph", 900.0, "viewers", "floor", 0.9, at_least(0.8))
    assert figure.verdict == "met"


def test_every_rival_gets_a_line_and_its_own_bound():
    values = {"heliograph": 300.0, "gstreamer": 900.0, "floor": 400.0}
    figures = compare("cpu", "µs", values, {"gstreamer": at_most(0.5)})
    lines = [(figure.server, figure.against, figure.verdict) for figure in figures]
    assert lines == [
        ("heliograph", "gstreamer", "met"),
        ("heliograph", "floor", ""),
        ("gstreamer", "", ""),
        ("floor", "", ""),
    ]


def test_a_server_alone_is_still_shown():
    (figure,) = compare("cpu", "µs", {"heliograph": 300.0}, {"floor": at_most(1)})
    assert (figure.value, figure.against) == (300.0, "")
