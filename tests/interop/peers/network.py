"""Networks of a test's own: the server in one, each peer in another, a link to break between them.

Needs to be root, as the tests' machines are.
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

#: The server's network; the test itself is peer 2 of it. Runs side by side need different ones.
PREFIX = os.environ.get("TEST_NETWORK", "10.213.78")
SERVER = f"{PREFIX}.1"

_serial = itertools.count(1)


def _run(*words: str, check: bool = True) -> None:
    done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode == 0 or not check, f"{' '.join(words)}: {done.stderr}"


def _sweep() -> None:
    """Take away what runs that were killed left: their addresses would be answered for ours."""
    listed = subprocess.run(
        ("ip", "netns", "list"), capture_output=True, text=True, timeout=10, check=True
    )
    for name, tag, pid in re.findall(r"^(helio-((\d+)n\d+)\S*)", listed.stdout, re.MULTILINE):
        if not Path("/proc", pid).exists():
            for outside in (f"h{tag}", f"h{tag}b"):
                _run("ip", "link", "del", outside, check=False)
            _run("ip", "netns", "del", name, check=False)


class Peer:
    """A network with one address and one link, to the server's."""

    def __init__(self, name: str, link: str, server: str, number: int) -> None:
        self.name = name
        """Of the namespace; to be given to programs."""
        self.address = f"{PREFIX}.{number}"
        self._link = link
        self._server = server

    def block_udp(self) -> None:
        """Drop all datagrams from now on, as firewalls do: without a word."""
        for chain in ("INPUT", "OUTPUT"):
            _run(
                "ip", "netns", "exec", self.name, "iptables", "-A", chain, "-p", "udp", "-j", "DROP"
            )

    def lose(self, share: float) -> None:
        """Lose that share of the datagrams that come, by chance."""
        _run(
            *("ip", "netns", "exec", self.name, "iptables", "-A", "INPUT", "-p", "udp"),
            *("-m", "statistic", "--mode", "random", "--probability", str(share), "-j", "DROP"),
        )

    def part_from(self, other: str) -> None:
        """Drop all datagrams to and from an address, without a word."""
        for chain, side in (("INPUT", "-s"), ("OUTPUT", "-d")):
            rule = ("-A", chain, side, other, "-p", "udp", "-j", "DROP")
            _run("ip", "netns", "exec", self.name, "iptables", *rule)

    def block(self) -> None:
        """Drop everything, both ways, without a word."""
        for chain in ("INPUT", "OUTPUT"):
            _run("ip", "netns", "exec", self.name, "iptables", "-A", chain, "-j", "DROP")

    def unblock(self) -> None:
        """Let everything pass again."""
        _run("ip", "netns", "exec", self.name, "iptables", "-F")

    def narrow(self, kbit: int) -> None:
        """Bound what the server can send to this peer, with a queue of 300 ms."""
        _run(
            *("tc", "-n", self._server, "qdisc", "add", "dev", self._link, "root", "tbf"),
            *("rate", f"{kbit}kbit", "burst", "4kb", "latency", "300ms"),
        )

    def widen(self) -> None:
        """Take the bound away."""
        _run("tc", "-n", self._server, "qdisc", "del", "dev", self._link, "root")

    def limit(self, kbit: int) -> None:
        """Bound what this peer can send, with a queue of 100 ms."""
        _run(
            *("tc", "-n", self.name, "qdisc", "add", "dev", "eth0", "root", "tbf"),
            *("rate", f"{kbit}kbit", "burst", "128kb", "latency", "100ms"),
        )

    def cut(self) -> None:
        """Take the link down, as a plug that is pulled."""
        _run("ip", "-n", self._server, "link", "set", self._link, "down")

    def mend(self) -> None:
        """Put it back."""
        _run("ip", "-n", self._server, "link", "set", self._link, "up")

    def leave(self) -> None:
        """Take this side's interface down: whoever sends is told so at once."""
        _run("ip", "-n", self.name, "link", "set", "eth0", "down")

    def come_back(self) -> None:
        """Take it up again."""
        _run("ip", "-n", self.name, "link", "set", "eth0", "up")


class Network:
    """The server's network. Peers join by a bridge; the test reaches the server at ``SERVER``."""

    def __init__(self) -> None:
        _sweep()
        self._tag = f"{os.getpid()}n{next(_serial)}"
        self.server = f"helio-{self._tag}"
        """Namespace of the server."""
        self._peers: list[Peer] = []
        self._apart: list[Peer] = []
        self._numbers = itertools.count(2)
        self._outside = f"h{self._tag}"
        _run("ip", "netns", "add", self.server)
        for words in (
            "link set lo up",
            "link add bridge type bridge",
            f"addr add {SERVER}/24 dev bridge",
            "link set bridge up",
        ):
            _run("ip", "-n", self.server, *words.split())
        number = next(self._numbers)
        _run(*f"ip link add {self._outside} type veth peer name p{number}".split())
        _run(*f"ip link set p{number} netns {self.server}".split())
        _run(*f"ip addr add {PREFIX}.{number}/24 dev {self._outside}".split())
        _run(*f"ip link set {self._outside} up".split())
        self._plug(number)

    def _plug(self, number: int) -> None:
        for words in (f"link set p{number} master bridge", f"link set p{number} up"):
            _run("ip", "-n", self.server, *words.split())

    def join(self) -> Peer:
        """Add a peer."""
        number = next(self._numbers)
        name = f"helio-{self._tag}p{number}"
        _run("ip", "netns", "add", name)
        peer = Peer(name, f"p{number}", self.server, number)
        self._peers.append(peer)
        _run(
            *f"ip -n {name} link add eth0 type veth peer name p{number} netns {self.server}".split()
        )
        for words in (
            "link set lo up",
            # An address that the kernel makes up comes a second later, and a browser takes that for
            # a change of network: it breaks off what a page is loading.
            "link set eth0 addrgenmode none",
            f"addr add {peer.address}/24 dev eth0",
            "link set eth0 up",
            f"route add default via {SERVER}",
        ):
            _run("ip", "-n", name, *words.split())
        self._plug(number)
        return peer

    def split(self, peers: Sequence[Peer]) -> None:
        """Let these peers reach only one another from now on, and all others them no more. The test
        itself reaches both sides."""
        _run("ip", "-n", self.server, "link", "add", "other", "type", "bridge")
        _run("ip", "-n", self.server, "link", "set", "other", "up")
        self._apart = [*peers]
        self._plug_apart("other")
        outside, inside = f"{self._outside}b", f"q{self._tag}"
        _run(*f"ip link add {outside} type veth peer name {inside}".split())
        _run(*f"ip link set {inside} netns {self.server}".split())
        for words in (f"link set {inside} master other", f"link set {inside} up"):
            _run("ip", "-n", self.server, *words.split())
        _run(*f"ip link set {outside} up".split())
        for peer in self._apart:
            _run(*f"ip route add {peer.address}/32 dev {outside} src {PREFIX}.2".split())

    def heal(self) -> None:
        """Let all reach one another again."""
        _run("ip", "link", "del", f"{self._outside}b")
        self._plug_apart("bridge")
        _run("ip", "-n", self.server, "link", "del", "other")

    def _plug_apart(self, bridge: str) -> None:
        for peer in self._apart:
            _run("ip", "-n", self.server, *f"link set {peer._link} master {bridge}".split())
            _run("ip", "-n", peer.name, "neigh", "flush", "all")

    def close(self) -> None:
        """Take everything away."""
        # The kernel takes a deleted network apart when it likes: links go first.
        for outside in (self._outside, f"{self._outside}b"):
            _run("ip", "link", "del", outside, check=False)
        for name in [*(peer.name for peer in self._peers), self.server]:
            _run("ip", "netns", "del", name, check=False)


def network() -> Iterator[Network]:
    """Make one, and take it away afterwards; the body of a fixture."""
    made = Network()
    try:
        yield made
    finally:
        made.close()
