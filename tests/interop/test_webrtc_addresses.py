"""Where peers by WebRTC are told to come to: public addresses, and IPv6."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import pytest
from tests.ports import free_port
from tests.unit.web.test_signalling import offer

from .peers import aio
from .peers.clip import Clip, make
from .peers.heliograph import KEY, Server
from .peers.program import Program

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

#: Pictures without a gap that the viewer must get.
PICTURES = 2 * make.RATE
#: Seconds for them on a busy machine.
PATIENCE = 45.0

Keep = Callable[[Program], Program]


def candidates(url: str) -> list[tuple[str, str, int]]:
    """Protocol, address and port of each candidate in the answer to a viewer's offer, best first;
    the session is ended."""
    asked = urllib.request.Request(
        url, offer("recvonly").encode(), {"Content-Type": "application/sdp"}
    )
    with urllib.request.urlopen(asked, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
        session = "/".join(url.split("/")[:3]) + answer.headers["Location"]
    urllib.request.urlopen(urllib.request.Request(session, method="DELETE"), timeout=10).close()
    found = {
        (-int(priority), protocol.lower(), address, int(port))
        for _, _, protocol, priority, address, port, *_ in (
            line.split() for line in lines if line.startswith("a=candidate:")
        )
    }
    return [rest for _, *rest in sorted(found)]  # type: ignore[misc]


def test_a_peer_by_ipv6_publishes_and_watches_where_public_addresses_are_told(
    clip: Clip, serve: Callable[..., Server], run: Keep, tmp_path: Path
) -> None:
    port = free_port()
    public = ["2001:db8::7", "203.0.113.7"]  # RFC 8421: IPv6 is to be tried first
    server = serve(
        settings={
            "http": {"host": "::"},
            "webrtc": {"host": "::", "port": port, "public_addresses": public[::-1]},
        }
    )
    by_ipv6 = f"http://[::1]:{server.http_port}"
    publisher = aio.publish(clip.opus, f"{by_ipv6}/whip/clip", KEY, tmp_path, address="::1")
    run(publisher)
    server.until_state("clip", "on_air", PATIENCE)
    (row,) = server.channel("clip")["inputs"]
    assert row["kind"] == "whip"

    for base in (by_ipv6, server.http):
        told = candidates(f"{base}/whep/clip")
        assert {at for _, _, at in told} == {port}
        for protocol in ("udp", "tcp"):
            addresses = [address for kind, address, _ in told if kind == protocol]
            assert addresses[:2] == public, "before those of the machine"
            assert "::1" in addresses
            assert {ip_address(one).version for one in addresses} == {4, 6}

    viewer = aio.watch(clip, f"{by_ipv6}/whep/clip", tmp_path, address="::1")
    run(viewer)
    viewer.wait_pictures(PICTURES, PATIENCE)
    rows = server.manage("GET", "/channels/clip/readers")[1]["readers"]
    assert [row["peer"] for row in rows if row["kind"] == "whep"] == ["::1"]
    viewer.stop()
    assert viewer.judge(PICTURES) == []
    assert publisher.stop() == 0, publisher.log
