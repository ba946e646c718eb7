"""Plain RTP described by an SDP file as a source, and multicast in and out."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from tests.ports import free_port

from .peers import ffmpeg, gstreamer
from .peers.clip import Clip, make
from .peers.heliograph import KEY, Server
from .peers.program import Program, wait_until

pytestmark = pytest.mark.interop

Keep = Callable[[Program], Program]

PICTURES = 4 * make.RATE
PATIENCE = 45.0


@pytest.fixture
def network() -> Iterator[str]:
    """A network of the test's own where multicast goes round; its name.

    The host reaches it at 10.213.77.2. Needs to be root, as the tests' machines are.
    """
    name = f"interop-{os.getpid()}"
    outside, inside = f"io{os.getpid()}", f"ii{os.getpid()}"

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True, timeout=10)

    ip("netns", "add", name)
    try:
        ip("link", "add", outside, "type", "veth", "peer", "name", inside, "netns", name)
        ip("addr", "add", "10.213.77.1/30", "dev", outside)
        ip("link", "set", outside, "up")
        for words in (
            f"addr add 10.213.77.2/30 dev {inside}",
            f"link set {inside} up",
            "link set lo up multicast on",
            "route add 224.0.0.0/4 dev lo",
        ):
            ip("-n", name, *words.split())
        yield name
    finally:
        # The kernel takes a deleted network apart when it likes: until then its link would be
        # there and the next test could not make one of the same name.
        subprocess.run(["ip", "link", "del", outside], capture_output=True, timeout=10)
        ip("netns", "del", name)


def _send(
    clip: Clip, host: str, directory: Path, *, namespace: str | None = None
) -> tuple[Program, Path]:
    """Start a sender of plain RTP and wait for its SDP."""
    sdp = directory / "source.sdp"
    port = free_port(pair=True)
    sender = ffmpeg.send_rtp(clip.opus, host, port, sdp, directory, namespace=namespace)

    def described() -> bool:
        assert sender.running, sender.log
        return sdp.exists() and sdp.read_text().count("m=") == 2

    wait_until(described, 10, "the SDP is written")
    return sender, sdp


def test_plain_rtp_is_seen_as_it_was_sent(
    clip: Clip, serve: Callable[..., Server], run: Keep, tmp_path: Path
) -> None:
    sender, sdp = _send(clip, "127.0.0.1", tmp_path)
    run(sender)
    server = serve({"name": "clip", "key": KEY, "sources": [{"url": str(sdp)}]})
    server.until_state("clip", "on_air")
    viewers = [
        ffmpeg.watch(clip, server.rtsp("clip"), "tcp", tmp_path),
        gstreamer.watch(clip, server.rtsp("clip"), "udp", tmp_path),
    ]
    for viewer in viewers:
        run(viewer)
    for viewer in viewers:
        viewer.wait_pictures(PICTURES, PATIENCE)
        viewer.stop()
    assert [fault for viewer in viewers for fault in viewer.judge(PICTURES)] == []


@pytest.mark.parametrize(
    ("player", "transport"),
    [(ffmpeg, "udp_multicast"), (gstreamer, "udp-mcast")],
    ids=["ffmpeg", "gstreamer"],
)
def test_multicast_comes_in_and_goes_out(
    player: ModuleType,
    transport: str,
    clip: Clip,
    serve: Callable[..., Server],
    run: Keep,
    network: str,
    tmp_path: Path,
) -> None:
    sender, sdp = _send(clip, "239.213.77.1", tmp_path, namespace=network)
    run(sender)
    server = serve(
        {"name": "clip", "key": KEY, "multicast": True, "sources": [{"url": str(sdp)}]},
        settings={"rtsp": {"host": "0.0.0.0"}},
        host="10.213.77.2",
        namespace=network,
    )
    server.until_state("clip", "on_air")
    url = server.rtsp("clip")
    viewers = [
        player.watch(clip, url, transport, tmp_path, namespace=network),
        ffmpeg.watch(clip, url, "udp", tmp_path, namespace=network, name="unicast"),
    ]
    for viewer in viewers:
        run(viewer)
    for viewer in viewers:
        viewer.wait_pictures(PICTURES, PATIENCE)
    assert "transport=multicast" in server.log
    for viewer in viewers:
        viewer.stop()
    assert [fault for viewer in viewers for fault in viewer.judge(PICTURES)] == []
