"""What the world sends at the WebRTC port and to its doors, while viewers count pictures."""

from __future__ import annotations

import http.client
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .peers import aio, ffmpeg
from .peers.clip import Clip, make
from .peers.heliograph import KEY, Server
from .peers.program import Program
from .peers.watching import Viewer
from .peers.wire import Datagram, Forger, Tap, mutate

pytestmark = [pytest.mark.interop, pytest.mark.alone, pytest.mark.timeout(120)]

Keep = Callable[[Program], Program]

OFFERS = Path(__file__).parents[1] / "data" / "webrtc"
#: Mutated datagrams, and how many a millisecond: more than the port gets from a thousand viewers.
DATAGRAMS = 100_000
PER_MS = 12
#: Offers, and how many a second.
FLOOD = 1000
PER_SECOND = 200
#: What the flood of datagrams may leave behind in memory.
MAX_GROWTH = 48 << 20
#: A session takes some 100 KB; those that nobody connects to end after half a minute.
MAX_OFFERS_GROWTH = 256 << 20


@pytest.fixture
def watched(
    clip: Clip, serve: Callable[..., Server], run: Keep, tmp_path: Path
) -> Iterator[tuple[Server, Viewer, Tap]]:
    """A channel with viewers by WebRTC and RTSP; afterwards neither has missed a picture."""
    server = serve(settings={"webrtc": {"host": "127.0.0.1"}})
    run(ffmpeg.publish(clip.opus, server.rtsp("clip", key=KEY), "tcp", tmp_path))
    server.until_state("clip", "on_air")
    tap = Tap(port_of(server))
    viewers = [
        aio.watch(clip, f"{server.http}/whep/clip", tmp_path),
        ffmpeg.watch(clip, server.rtsp("clip"), "tcp", tmp_path),
    ]
    for viewer in viewers:
        run(viewer)
    for viewer in viewers:
        viewer.wait_pictures(2 * make.RATE, 30)
    yield server, viewers[0], tap
    tap.stop()
    # What came in last must have had time to do its harm.
    marks = [viewer.record.mark() for viewer in viewers]
    for viewer, mark in zip(viewers, marks, strict=True):
        viewer.wait_pictures(2 * make.RATE, 20, since=mark)
    for viewer in viewers:
        viewer.stop()
    assert [fault for viewer in viewers for fault in viewer.judge(4 * make.RATE)] == []
    assert server.running
    assert "Traceback" not in server.log
    assert "panicked" not in server.log


def offer(server: Server) -> str:
    """Make an offer to watch."""
    text = (OFFERS / "obs-h264.sdp").read_text().replace("sendonly", "recvonly")
    return text.replace("\n", "\r\n")


def port_of(server: Server) -> int:
    """The port of WebRTC, as an answer tells it."""
    with_answer = http.client.HTTPConnection(server.host, server.http_port, timeout=5)
    with_answer.request("POST", "/whep/clip", offer(server), {"Content-Type": "application/sdp"})
    answer = with_answer.getresponse()
    text = answer.read().decode()
    assert answer.status == 201, text
    with_answer.request("DELETE", answer.headers["Location"])
    with_answer.getresponse().read()
    with_answer.close()
    found = re.search(r"a=candidate:\S+ 1 udp \d+ \S+ (\d+) ", text, re.IGNORECASE)
    assert found, text
    return int(found[1])


def metric(server: Server, name: str) -> float:
    for line in server.get("/metrics")[1].splitlines():
        if line.startswith(f"{name} "):
            return float(line.split()[1])
    raise AssertionError(f"no metric {name}")


@pytest.mark.long
def test_a_hundred_thousand_mutated_datagrams(watched: tuple[Server, Viewer, Tap]) -> None:
    server, _, tap = watched
    # Reports are most of what a viewer sends; the others are to be tried as often.
    by_kind: dict[str, list[Datagram]] = {"stun": [], "dtls": [], "reports": []}
    for datagram in tap.heard:
        first = datagram.data[0]
        by_kind["stun" if first < 4 else "dtls" if first < 64 else "reports"].append(datagram)
    kinds = {kind: len(heard) for kind, heard in by_kind.items()}
    assert all(kinds.values()), kinds
    dice = random.Random(3)
    forger = Forger(tap.port)
    before = server.memory()
    strangers = [(f"127.0.{dice.randrange(1, 255)}.1", port) for port in range(20_000, 20_064)]
    begun = time.monotonic()
    for number in range(DATAGRAMS):
        one = dice.choice(by_kind[dice.choice(list(by_kind))])
        # Half of them from strangers, half as if from the viewer itself.
        source = one.source if number % 2 else dice.choice(strangers)
        forger.send(source, mutate(one.data, dice))
        if number % PER_MS == 0:
            ahead = begun + number / PER_MS / 1000 - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)
    forger.close()
    took = time.monotonic() - begun
    growth = server.memory() - before
    refused = [
        f"{what} {metric(server, f'helio_webrtc_{what}_datagrams_total'):.0f}"
        for what in ("received", "refused", "foreign", "malformed")
    ]
    print(f"{kinds}; in {took:.1f} s; {', '.join(refused)}; grew {growth >> 10} KiB")
    assert metric(server, "helio_webrtc_received_datagrams_total") > DATAGRAMS / 2
    assert growth < MAX_GROWTH
    assert metric(server, "helio_webrtc_sessions") == 1


@pytest.mark.long
@pytest.mark.timeout(90)
def test_two_hundred_offers_a_second(watched: tuple[Server, Viewer, Tap]) -> None:
    server, _, _ = watched
    before = server.memory()
    body, headers = offer(server), {"Content-Type": "application/sdp"}
    connection = http.client.HTTPConnection(server.host, server.http_port, timeout=10)
    statuses: Counter[int] = Counter()
    longest = 0.0
    begun = time.monotonic()
    for number in range(FLOOD):
        asked = time.monotonic()
        connection.request("POST", "/whep/clip", body, headers)
        answer = connection.getresponse()
        answer.read()
        statuses[answer.status] += 1
        longest = max(longest, time.monotonic() - asked)
        time.sleep(max(0.0, begun + number / PER_SECOND - time.monotonic()))
    took = time.monotonic() - begun
    connection.close()
    growth = server.memory() - before
    print(
        f"{FLOOD} offers in {took:.1f} s: {dict(statuses)}, longest {longest:.2f} s, grew "
        f"{growth >> 20} MiB, {metric(server, 'helio_webrtc_sessions'):.0f} sessions"
    )
    assert set(statuses) <= {201, 429, 503}
    assert longest < 2
    assert growth < MAX_OFFERS_GROWTH
    # Others are served all the same.
    assert server.get("/readyz")[0] == 200
