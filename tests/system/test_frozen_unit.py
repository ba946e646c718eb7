"""Real nodes: who asks a portal while a unit is frozen, and nobody knows it yet."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest
from tests.system.conftest import PATIENCE, start, stop, until
from tests.system.test_cluster import Node
from tests.system.test_sent_away import states
from tests.unit.web.test_signalling import SDP, offer

#: Seconds for which is asked: a frozen unit is known as gone within two.
LONG = 6.0
#: Seconds that an answer may take: two units are waited for, on a busy machine.
ANSWER = 10.0


def described(portal: Node) -> tuple[int, str]:
    """The status of a DESCRIBE at the portal, and where it sends to or when to come again."""
    host, _, port = portal.rtsp.removeprefix("rtsp://").partition(":")
    with socket.create_connection((host, int(port)), timeout=ANSWER) as asking:
        asking.sendall(f"DESCRIBE {portal.rtsp}/demo RTSP/1.0\r\nCSeq: 1\r\n\r\n".encode())
        head = asking.makefile("rb")
        status = int(head.readline().split()[1])
        fields = {}
        while line := head.readline().strip():
            name, _, value = line.decode().partition(":")
            fields[name.lower()] = value.strip()
    return status, fields.get("location", "") or fields.get("retry-after", "")


def posted(portal: Node) -> tuple[int, str]:
    """The same of an offer by WHEP; the session's unit."""
    answer = httpx.post(
        f"{portal.http}/whep/demo", content=offer("recvonly"), headers=SDP, timeout=ANSWER
    )
    if answer.status_code == 201:
        return 201, answer.headers["location"].partition("~")[2]
    return answer.status_code, answer.headers.get("retry-after", "")


def asked(portal: Node, seconds: float) -> Counter[tuple[str, int, str]]:
    """What is said to those who ask one after the other for so long, by each way."""
    told: Counter[tuple[str, int, str]] = Counter()
    statuses: Counter[tuple[str, int]] = Counter()
    longest, end = 0.0, time.monotonic() + seconds
    while time.monotonic() < end:
        for way, ask in (("rtsp", described), ("whep", posted)):
            began = time.monotonic()
            status, where = ask(portal)
            longest = max(longest, time.monotonic() - began)
            told[way, status, where] += 1
            statuses[way, status] += 1
    print(f"\n{dict(statuses)}, the longest answer took {longest:.2f} s")
    return told


@pytest.mark.alone
@pytest.mark.timeout(240)
def test_nobody_is_sent_to_a_unit_that_froze_or_kept_waiting(clip: Path, tmp_path: Path) -> None:
    portal = Node(tmp_path / "portal", "portal", keeps=True, redirect=True)
    units = [Node(tmp_path / name, name, redirect=True) for name in ("east", "west")]
    publisher = None
    try:
        near = "cluster.location=eu/de"  # to all who ask
        often = ("--set", "webrtc.offers_per_minute=6000")
        portal.start("--role", "portal", "--role", "manager", "--set", near, *often)
        for unit, where in zip(units, ("cluster.location=us", near), strict=True):
            token = portal.helio("token").split()[0]
            joining = ("--join", f"tls/127.0.0.1:{portal.bus}", "--token", token)
            unit.start("--role", "unit", "--set", where, *often, *joining)
        until("both are units", lambda: [*states(portal).values()] == ["up", "up"])
        east, west = units
        assert east.served is not None
        publisher = start(
            ["ffmpeg", "-v", "warning", "-re", "-stream_loop", "-1", "-i", str(clip), "-c", "copy"]
            + ["-f", "rtsp", "-rtsp_transport", "tcp", east.served.publish_url()],
            tmp_path / "publisher.log",
        )
        until("it is on air", lambda: west.state_of() == "on_air")
        portal.helio("channels", "extend", "demo", "--unit", "west")
        id = {one["name"]: one["id"] for one in json.loads(portal.helio("unit", "list", "--json"))}[
            "west"
        ]

        def sent_to_west() -> bool:
            return f"{west.rtsp}/" in described(portal)[1]

        until("some are sent there", sent_to_west, PATIENCE)
        west.process.send_signal(signal.SIGSTOP)
        told = asked(portal, LONG)
        for way, status, where in told:
            here = where.startswith(f"{east.rtsp}/") if way == "rtsp" else where not in ("", id)
            there = status == {"rtsp": 302, "whep": 201}[way] and here
            assert there or (status == 503 and int(where) > 0), (way, status, where)
        assert {status for _, status, _ in told} >= {201, 302}
        # Now nobody is left; that nothing is on air any more is found out in the meantime.
        east.process.send_signal(signal.SIGSTOP)
        told = asked(portal, LONG / 2)
        assert {status for _, status, _ in told} <= {503, 404}
        assert all(int(where) > 0 for _, status, where in told if status == 503)
        assert {way for way, status, _ in told if status == 503} == {"rtsp", "whep"}
    finally:
        for one in (publisher, *(node.process for node in (*units, portal) if node.served)):
            if one is not None:
                one.send_signal(signal.SIGCONT)
                stop(one)
