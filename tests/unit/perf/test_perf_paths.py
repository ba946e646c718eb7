"""What is said of blocked and narrowed ways."""

from __future__ import annotations

import dataclasses

import pytest
from tests.interop.peers.blocked import Blocked
from tests.interop.peers.narrow import Narrowed, Row, frame_times, longest_silence
from tests.perf.figures import Figure
from tests.perf.paths import of_blocks, of_cuts
from tests.perf.scenarios import SCENARIOS, WITHOUT_SERVER

SEEN = Blocked(2.0, ("webrtc", "websocket"), "silence", True, ())
CUT = Narrowed(
    pictures=4,
    silence=0.3,
    made_up=0.5,
    back=5.0,
    before=tuple(map(float, range(1, 101))),
    during=tuple(map(float, range(1, 101))),
    others_pictures=500,
)


def verdicts(figures: list[Figure]) -> dict[str, str]:
    """Of the figures that have a bound."""
    return {figure.what: figure.verdict for figure in figures if figure.target is not None}


def test_both_are_measured_without_any_of_the_servers() -> None:
    assert {"udp-blocked", "rate-cut"} <= set(SCENARIOS) & set(WITHOUT_SERVER)


def test_the_worst_block_is_judged() -> None:
    stops = [dataclasses.replace(SEEN, stop=stop) for stop in (1.0, 2.0, 3.0)]
    figures = of_blocks(stops)
    assert [figure.value for figure in figures] == [2.0, 3.0, 0]
    assert set(verdicts(figures).values()) == {"met"}
    late = of_blocks([*stops, dataclasses.replace(SEEN, stop=3.1, stayed=False)])
    assert verdicts(late) == {
        "longest time without a new picture, worst": "missed",
        "pages that were loaded anew": "missed",
    }


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        ({"silence": 0.31}, "longest silence, worst"),
        ({"back": 5.1}, "from the rate's return to the picture, worst"),
        (
            {"during": (*(float(number) for number in range(1, 95)), *[200.0] * 6)},
            "between frames of another viewer meanwhile, p95",
        ),
    ],
    ids=lambda change: next(iter(change)) if isinstance(change, dict) else "",
)
def test_the_worst_cut_is_judged_and_what_others_notice(
    change: dict[str, object], missed: str
) -> None:
    assert set(verdicts(of_cuts([CUT] * 3)).values()) == {"met"}
    changed = dataclasses.replace(CUT, **change)  # type: ignore[arg-type]
    # One of three is enough for a viewer; what others have is judged by the median.
    found = of_cuts([changed] * 3 if "another" in missed else [CUT, changed])
    assert [what for what, verdict in verdicts(found).items() if verdict == "missed"] == [missed]


def test_silence_is_a_stretch_without_a_sample_that_was_not_made_up() -> None:
    heard = [0.0, 10.0, 10.0, 10.0, 20.0, 20.0, 30.0]
    rows = [Row(at * 0.1, samples, 0.0, 0.0) for at, samples in enumerate(heard)]
    assert longest_silence(rows) == pytest.approx(0.2)


def test_frames_are_told_apart_by_the_pauses_between_datagrams() -> None:
    log = "1000.0\n1001.5\n1040.0\n1040.2\n1090.0\n1200.0\n"
    assert frame_times(log, 1000, 1100) == pytest.approx((38.5, 49.8))
