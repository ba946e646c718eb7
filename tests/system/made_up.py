"""Clusters that are not there, as a manager would describe them."""

from __future__ import annotations

import random
from typing import Any

PLACES = ("eu/de/berlin", "eu/de/frankfurt", "eu/fr/paris", "us/east", "us/west", "asia/jp")
TITLES = ("The yard", "Choir practice", "Council", "Harbour", "Lecture hall", "Market", "Weather")
LIMITS = {"bandwidth": 900_000_000, "cpu": 1_000_000, "memory": 2_000_000_000}
GROUPS, PER_GROUP, BITRATE = 50, 10, 2_000_000


def made_up(units: int, channels: int, seed: int = 1) -> dict[str, Any]:
    """A view of so many, the same for the same seed."""
    dice = random.Random(seed)
    ids = [f"{number:016x}" for number in range(1, units + 1)]
    names = [f"{TITLES[n % len(TITLES)].lower().replace(' ', '-')}-{n}" for n in range(channels)]
    groups: dict[str, dict[str, list[list[int]]]] = {one: {} for one in ids}
    used = dict.fromkeys(ids, 0)
    found = []
    for number, name in enumerate(names):
        wanted = min(units, 1 + int(dice.paretovariate(1.2)))
        carriers = dice.sample(ids, wanted)
        tree: list[list[str | None]] = []
        viewers = total = 0
        for place, unit in enumerate(carriers):
            tree.append([unit, None if place == 0 else carriers[(place - 1) // 3]])
            for _ in range(dice.choice((1, 1, 2, 3))):
                if used[unit] >= GROUPS - 8:
                    break
                seated = dice.randint(0, PER_GROUP)
                row = [used[unit], seated, int(dice.random() < 0.1), PER_GROUP]
                groups[unit].setdefault(name, []).append(row)
                used[unit] += 1
                viewers += seated
                total += 1
        found.append(
            {
                "name": name,
                "state": "open",
                "title": "" if number % 3 == 2 else f"{TITLES[number % len(TITLES)]} {number}",
                "viewers": viewers,
                "reserved": 0,
                "places": total * PER_GROUP,
                "groups": total,
                "kept": 1,
                "bitrate": BITRATE,
                "epoch": dice.randint(1, 9),
                "ingest": carriers[0],
                "next_ingest": None,
                "orphans": [],
                "tree": tree,
            }
        )
    return {
        "epoch": 7,
        "manager": ids[0],
        "at": 1_795_000_000.0,
        "whole": True,
        "units": [_unit(number, one, groups[one]) for number, one in enumerate(ids)],
        "channels": found,
    }


def _unit(number: int, one: str, groups: dict[str, list[list[int]]]) -> dict[str, Any]:
    rows = [row for several in groups.values() for row in several]
    viewers = sum(row[1] for row in rows)
    bandwidth = min(LIMITS["bandwidth"], viewers * BITRATE + len(groups) * BITRATE)
    return {
        "id": one,
        "name": f"unit-{number + 1}",
        "location": PLACES[number % len(PLACES)],
        "state": ("pressed" if number % 23 == 7 else "gone" if number % 41 == 13 else "up"),
        "load": round(bandwidth / LIMITS["bandwidth"], 4),
        "viewers": viewers,
        "places": sum(row[3] for row in rows),
        "used": {
            "bandwidth": bandwidth,
            "cpu": min(1_000_000, viewers * 1900),
            "memory": viewers * 2_000_000,
        },
        "limits": LIMITS,
        "budget": {"groups": GROUPS, "places": PER_GROUP},
        "groups": groups,
    }
