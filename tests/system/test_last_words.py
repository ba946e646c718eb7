"""A machine dies without a word: what it logged before is with the managers."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.system.conftest import PATIENCE, until
from tests.system.test_cluster import HELIO, Node, joined

#: Seconds before its end up to which nothing that a node logged may be missing: it sends what is
#: new five times a second, on a busy machine somewhat later.
BEFORE = 5.0
_LINE = re.compile(r"^(\d{4}-\d\d-\d\dT[0-9:.]+Z) (\w+) +(.*)$", re.MULTILINE)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[Node, Node]]:
    """A manager that keeps the channel ``demo``, and a unit."""
    with joined(tmp_path) as (first, second, _):
        yield first, second


def written(node: Node) -> list[tuple[str, str]]:
    """When a node logged what, as it is in its file."""
    assert node.served is not None
    return [(at, text) for at, _, text in _LINE.findall(node.served.log.read_text())]


def told(asked: Node, about: str) -> list[tuple[str, str]]:
    """The same, without the fields, as ``helio logs`` has it."""
    lines = asked.helio("logs", "--node", about, "--lines", "1000", "--json").splitlines()
    return [(one["at"], one["event"]) for one in map(json.loads, lines)]


@pytest.mark.timeout(150)
def test_what_a_killed_unit_said_is_shown_by_helio_logs(cluster: tuple[Node, Node]) -> None:
    first, second = cluster
    refused = subprocess.run(
        [*HELIO, "publish", "pattern", "demo", "--url", second.rtsp, "--key", "wrong-key"],
        capture_output=True,
        timeout=PATIENCE,
        stdin=subprocess.DEVNULL,
    )
    assert refused.returncode == 3
    last = until(
        "that is logged", lambda: [at for at, text in written(second) if "refused" in text]
    )
    past = datetime.fromisoformat(last[-1]).timestamp() + BEFORE + 0.01  # logs tell milliseconds
    until("it was said so long ago", lambda: time.time() > past)
    ended = time.time() - BEFORE
    second.kill()
    until("it is not seen any more", lambda: first.nodes() == {"first"})
    ago = datetime.fromtimestamp(ended, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    lines = [(at, event) for at, event in written(second) if at < ago]
    assert last[-1] in {at for at, _ in lines}
    found = told(first, "second")[: len(lines)]
    assert [at for at, _ in found] == [at for at, _ in lines]
    assert all(text.startswith(event) for (_, event), (_, text) in zip(found, lines, strict=True))
