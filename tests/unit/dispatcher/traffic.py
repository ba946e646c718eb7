"""Made-up requests and plays, and a naive count of them to compare with."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta

from heliograph.catalogue.contents.statistics import Decision, Play

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def decisions(count: int, seed: int = 1, hours: float = 30) -> list[Decision]:
    """Requests in the order of their time, from many networks, some of them refused."""
    rng = random.Random(seed)
    times = sorted(rng.uniform(0, hours * 3600) for _ in range(count))
    found = []
    for after in times:
        status = rng.choice((302, 302, 302, 302, 503, 404))
        sent = status == 302
        title = min(int(rng.expovariate(0.3)), 20)
        found.append(
            Decision(
                START.timestamp() + after,
                f"nothing-{rng.random()}" if status == 404 else f"title-{title}",
                rng.randint(1, 4) if sent else 0,
                title * 10 + rng.randint(1, 4) if sent else 0,
                "hls" if sent else "",
                rng.choice((f"10.0.{rng.randint(0, 3)}.{rng.randint(1, 200)}", "2001:db8:7::9")),
                status,
            )
        )
    return found


def play(number: int, after: float, seconds: float, **what: object) -> Play:
    """A play that began ``after`` seconds from the start."""
    began = START + timedelta(seconds=after)
    given: dict[str, object] = {
        "id": f"play-{number}",
        "name": f"title-{number % 3}",
        "unit": "unit-a",
        "client": f"10.0.{number % 4}.7",
        "way": "webrtc",
        "started": began,
        "ended": began + timedelta(seconds=seconds),
        "sent_bytes": int(seconds * 1000),
        "stalls": 0,
    }
    return Play(**(given | what))  # type: ignore[arg-type]


def counted(found: list[Decision]) -> Counter[tuple[str, str]]:
    """Redirects by title and by server, refusals by title: one by one."""
    count: Counter[tuple[str, str]] = Counter()
    for one in found:
        if one.status == 302:
            count["title", one.name] += 1
            count["server", str(one.server)] += 1
            network = "2001:db8:7::/48" if ":" in one.client else f"{one.client[:6]}.0/24"
            count["client", network] += 1
        else:
            count["refused", "" if one.status == 404 else one.name] += 1
    return count
