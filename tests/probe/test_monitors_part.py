"""Three monitors over Zenoh, each in a network of its own: one is cut off and comes back."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.contract.bus_site import ZenohSite, until
from tests.contract.monitors import MonitorProcess, agreed
from tests.interop.peers.network import Network, Peer
from tests.interop.peers.program import Program
from tests.probe.test_monitor import Nginx, tell

from heliograph.bus.options import LEASE

pytestmark = [pytest.mark.probe, pytest.mark.timeout(300)]

Keep = Callable[[Program], Program]

#: Seconds beyond the lease in which a monitor that was cut off has no voice any more.
MARGIN = 1.0
#: Seconds from a server's death until all who can see it say so.
NOTICED = 1.0
#: Seconds from the cut until the monitor that is cut off doubts itself: two rounds of its probes,
#: of which all but the first server's have a second.
DOUBTED = 4.0
#: Seconds from when the network is whole until all monitors are heard everywhere and say the same.
ONE_AGAIN = 10.0
#: Seconds for which it is looked whether anybody changes his mind again.
REST = 3.0
#: From one probe to the next; servers that must not seem dead by themselves have more time.
OFTEN, SELDOM = 0.3, 1.0

CUTS: dict[str, tuple[Callable[[Peer], None], Callable[[Peer], None]]] = {
    "plug pulled": (Peer.cut, Peer.mend),
    "packets dropped": (Peer.block, Peer.unblock),
    "interface down": (Peer.leave, Peer.come_back),
}


@dataclass
class Place:
    """Where everybody is."""

    monitors: list[MonitorProcess]
    networks: list[Peer]
    """Of the monitors."""
    server: Program
    """The first one, which dies."""
    again: Callable[[], Program]
    """Starts it anew."""


@pytest.fixture
async def place(tmp_path: Path, links: Network, run: Keep) -> AsyncIterator[Place]:
    """Three monitors that see four servers and each other."""
    homes = [links.join() for _ in range(4)]

    def serve(peer: Peer) -> Program:
        return run(Nginx(tmp_path / peer.name, 8080, peer.address, namespace=peer.name))

    programs = [serve(peer) for peer in homes]
    servers = [
        f"{peer.address}:8080@{SELDOM if number else OFTEN}" for number, peer in enumerate(homes)
    ]
    site, monitors, networks, joins = ZenohSite(tmp_path), [], [], list[str]()
    try:
        for name in "abc":
            peer, node = links.join(), MonitorProcess(site.identity(name).node, servers)
            listen = f"{peer.address}:7447"
            await node.start(tmp_path / name, listen, joins, namespace=peer.name)
            monitors.append(node)
            networks.append(peer)
            joins.append(listen)
        await until(lambda: all(agreed(node, monitors) for node in monitors))
        yield Place(monitors, networks, programs[0], lambda: serve(homes[0]))
    finally:
        await asyncio.gather(*(node.end() for node in monitors))


@pytest.mark.parametrize("how", CUTS)
@pytest.mark.parametrize("which", [0, 2], ids=["by which others join", "which joined"])
async def test_monitor_that_is_cut_off_doubts_itself_and_agrees_again(
    place: Place, how: str, which: int
) -> None:
    cut, mend = CUTS[how]
    apart, network = place.monitors[which], place.networks[which]
    others = [node for node in place.monitors if node is not apart]
    names = sorted(node.node for node in others)

    cut(network)
    parted = time.monotonic()
    await until(lambda: all(sorted(node.views) == names for node in others))
    unheard = time.monotonic() - parted
    await until(lambda: apart.doubted)
    doubted = apart.doubted[0] - parted
    await until(lambda: [*apart.views] == [apart.node])

    # A server dies meanwhile: those who see it agree, the other one keeps what it knew.
    died = time.monotonic()
    tell(place.server, signal.SIGKILL)
    await until(lambda: [node.condition(1) for node in others] == ["down"] * 2)
    noticed = max(node.turned(1) for node in others) - died
    await asyncio.sleep(REST)
    assert [node.turns(1) for node in others] == [["up", "down"]] * 2
    assert not any(node.doubts for node in others)
    # The first one is asked so often that it was missed before the others were: taken back.
    assert apart.turns(1) in (["up"], ["up", "down", "up"])
    assert [apart.turns(id) for id in (2, 3, 4)] == [["up"]] * 3
    assert all("doubts itself" in apart.reason(id) for id in range(1, 5))

    mend(network)
    healed = time.monotonic()
    down = {"1": "down", "2": "up", "3": "up", "4": "up"}
    opinion = {node.node: down for node in place.monitors}
    await until(lambda: all(node.views == opinion for node in place.monitors))
    one_again = time.monotonic() - healed
    await asyncio.sleep(REST)
    for node in place.monitors:
        assert node.views == opinion
        assert node.doubts == []
        assert node.turns(1)[-2:] == ["up", "down"]
        assert [node.turns(id) for id in (2, 3, 4)] == [["up"]] * 3

    place.again()
    await until(lambda: all(agreed(node, place.monitors) for node in place.monitors))
    for node in place.monitors:
        assert node.turns(1)[-4:] == ["up", "down", "starting", "up"]
        assert [node.turns(id) for id in (2, 3, 4)] == [["up"]] * 3
    print(
        f"{how}: unheard after {unheard:.2f} s, doubts itself after {doubted:.2f} s; a server's "
        f"death known to the others after {noticed:.2f} s; one opinion {one_again:.2f} s after "
        "the network was whole"
    )
    assert unheard < LEASE + MARGIN
    assert doubted < DOUBTED
    assert noticed < NOTICED
    assert one_again < ONE_AGAIN
