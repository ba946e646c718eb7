"""When a unit says that it has too much to do, and when it is well again."""

from __future__ import annotations

import pytest

from heliograph.live.pressure import PATIENCE, RELIEF, Look, Pressure
from heliograph.live.seats import Spend

LIMITS = Spend(1000, 1000, 1000)


def spends(cpu: int = 0, memory: int = 0) -> Look:
    return Look(Spend(0, cpu, memory))


def run(pressure: Pressure, look: Look, seconds: float, at: float = 0.0) -> str:
    """A look each second, the first ``at``."""
    by = pressure.by
    for step in range(int(seconds) + 1):
        by = pressure.look(look, at + step)
    return by


@pytest.mark.parametrize(
    ("look", "by"),
    [
        (spends(cpu=950), "cpu"),
        (spends(memory=950), "memory"),
        (Look(Spend(), sent=10_000, lost=200), "bandwidth"),
        (Look(Spend(), events_lost=1), "cpu"),
    ],
)
def test_what_is_too_much_for_a_while_presses(look: Look, by: str) -> None:
    pressure = Pressure(LIMITS)
    assert run(pressure, look, PATIENCE - 1) == ""
    assert pressure.look(look, PATIENCE) == by


@pytest.mark.parametrize(
    "look",
    [spends(cpu=890), Look(Spend(), sent=10_000, lost=99), Look(Spend(), sent=20, lost=20)],
)
def test_what_can_be_borne_does_not_press(look: Look) -> None:
    assert run(Pressure(LIMITS), look, 60) == ""


def test_a_peak_does_not_press() -> None:
    pressure = Pressure(LIMITS)
    for second in range(60):
        assert not pressure.look(spends(cpu=999 if second % 3 else 500), second)


def test_who_is_pressed_is_well_after_a_while_far_from_the_limit() -> None:
    pressure = Pressure(LIMITS)
    assert run(pressure, spends(cpu=950), PATIENCE) == "cpu"
    assert run(pressure, spends(cpu=850), 60, 10.0) == "cpu"
    assert run(pressure, spends(cpu=790), RELIEF - 1, 100.0) == "cpu"
    assert pressure.look(spends(cpu=850), 100 + RELIEF) == "cpu"
    assert run(pressure, spends(cpu=790), RELIEF, 200.0) == ""


def test_who_is_said_to_be_pressed_is_well_by_his_own_look() -> None:
    pressure = Pressure(LIMITS)
    pressure.press()
    assert pressure.by == "cpu"
    assert run(pressure, spends(), RELIEF) == ""
