"""Nodes of a cluster as processes, and strangers who would like to be."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import ssl
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import zenoh
from tests.contract.bus_site import PATIENCE, ZenohSite, nodes, settle, until
from tests.ports import free_port

from heliograph.bus import Bus, BusOptions, Event, Gone, Request
from heliograph.bus.authority import Authority
from heliograph.bus.identity import Identity
from heliograph.bus.link import Question
from heliograph.bus.options import LEASE
from heliograph.bus.wire import Json
from heliograph.bus.zenoh_link import ZenohLink, configuration
from heliograph.model.errors import RemoteError, ResourceError

#: Seconds beyond the lease in which a frozen node has to be noticed: Zenoh looks a few times in a
#: lease, and the machine does other things.
MARGIN = 1.0


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[ZenohSite]:
    made = ZenohSite(tmp_path)
    yield made
    await made.close()


class Node:
    """A node as a process."""

    def __init__(self, process: asyncio.subprocess.Process, identity: Identity) -> None:
        self.process = process
        self.id = identity.node
        self.lines: list[str] = []
        self._reads = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode().strip())

    def signal(self, number: signal.Signals) -> float:
        """Send a signal; the time of it."""
        self.process.send_signal(number)
        return time.monotonic()

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reads


@pytest.fixture
async def unit(site: ZenohSite) -> AsyncIterator[Node]:
    """A node beside the first one, which is in this process."""
    identity = site.identity("unit")
    await site.bus()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.contract.bus_node",
        str(site.directory / "unit"),
        str(free_port()),
        f"127.0.0.1:{site.ports[0]}",
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    node = Node(process, identity)
    await site.buses[0].until_present("unit", timeout=30)
    yield node
    await node.end()


class Watch:
    """When a bus saw what."""

    def __init__(self, bus: Bus) -> None:
        self.seen: list[tuple[float, Event]] = []
        bus.watch("unit", lambda event: self.seen.append((time.monotonic(), event)))

    async def gone(self) -> float:
        """When the unit went."""
        await until(lambda: isinstance(self.seen[-1][1], Gone))
        return self.seen[-1][0]


async def test_a_killed_node_is_noticed_at_once(site: ZenohSite, unit: Node) -> None:
    bus = site.buses[0]
    watch = Watch(bus)
    call = asyncio.create_task(bus.call(unit.id, "echo", 1))
    assert await call == 1
    killed = unit.signal(signal.SIGKILL)
    assert await watch.gone() - killed < LEASE / 2
    with pytest.raises(RemoteError):
        await bus.call(unit.id, "echo", 1)


async def test_a_frozen_node_is_noticed_within_its_lease_and_is_back_when_it_goes_on(
    site: ZenohSite, unit: Node
) -> None:
    bus = site.buses[0]
    third = await site.bus()
    await until(lambda: third.present("unit"))
    watches = Watch(bus), Watch(third)
    frozen = unit.signal(signal.SIGSTOP)
    for watch in watches:
        assert await watch.gone() - frozen < LEASE + MARGIN
    with pytest.raises(RemoteError):
        await bus.call(unit.id, "echo", 1, timeout=0.5)
    unit.signal(signal.SIGCONT)
    for one in (bus, third):
        await until(lambda at=one: at.present("unit"))
    assert await bus.call(unit.id, "echo", 2) == 2
    kinds = [[type(event).__name__ for _, event in watch.seen] for watch in watches]
    assert kinds == [["Arrived", "Gone", "Arrived"]] * 2


async def test_a_node_whose_event_loop_stands_still_is_gone_until_it_goes_on(
    site: ZenohSite, unit: Node
) -> None:
    bus = site.buses[0]
    watch = Watch(bus)
    began = time.monotonic()
    with pytest.raises(RemoteError):
        await bus.call(unit.id, "stand", 4, timeout=0.5)
    assert await watch.gone() - began < 3
    await until(lambda: bus.present("unit"))
    assert time.monotonic() - began > 3.5
    assert await bus.call(unit.id, "echo", 1) == 1


async def test_a_killed_first_node_leaves_the_others_together_and_is_joined_again(
    site: ZenohSite,
) -> None:
    first, one, other = [await site.bus() for _ in range(3)]
    await first.close()
    await until(lambda: nodes(one) == nodes(other) == {one.node, other.node})
    site.buses.remove(first)
    identity = Identity.load(site.directory / "node0")
    again = await Bus.open(site.options(identity, site.ports[0], join=()))
    site.buses.append(again)
    await until(lambda: nodes(again) == nodes(one) == nodes(other) and len(nodes(again)) == 3)
    await settle(again, one, other)


# strangers


async def _peer(options: BusOptions) -> ZenohLink:
    """Somebody with the same program who may have anything but the right certificate."""
    link = ZenohLink(options)
    await link.open()
    return link


class Spy:
    """Sees, hears and says all that it can; what it finds is of others."""

    OWN = "a" * 16
    QUESTION = b'{"from":"spy","ms":1000,"value":1}'

    def __init__(self, link: ZenohLink) -> None:
        self.found: list[object] = []
        link.watch("**", lambda key, there: self._find(key, there))
        link.subscribe("**", self._find)
        link.serve("helio/**", self._asked)
        link.declare(f"helio/here/{self.OWN}/0")
        self.link = link

    def speak(self) -> None:
        self.link.put(f"helio/talk/{self.OWN}/report", b"1")
        self.link.put(f"helio/news/{self.OWN}/0", b'{"version":1,"put":[],"withdrawn":[]}')
        self.link.ask("helio/**", self.QUESTION, 1.0, self._find, lambda: None)

    def _find(self, key: str, what: object) -> None:
        if self.OWN not in key:
            self.found.append((key, what))

    def _asked(self, question: Question) -> None:
        if question.payload != self.QUESTION:
            self.found.append((question.key, question.payload))
        question.end()


async def _busy(site: ZenohSite, spy: Spy) -> list[object]:
    """Let the members do everything while somebody listens; what they heard of others."""
    one, other = site.buses
    heard: list[Any] = []
    asked: list[str] = []
    one.subscribe("**", lambda *values: heard.append(values))

    async def echo(request: Request) -> Json:
        asked.append(request.caller)
        return request.value

    other.serve("echo", echo)
    await settle(one, other)
    for number in range(20):
        spy.speak()
        other.publish("report", number)
        other.announce("channel", f"c{number}")
        await one.ask("echo", number, timeout=0.5)
        await asyncio.sleep(0.05)
    await until(lambda: len(heard) >= 20)
    return [values for values in heard if values[0] != other.node] + [
        caller for caller in asked if caller != one.node
    ]


@pytest.mark.parametrize("kind", ["another authority", "the same authority, another name"])
async def test_a_stranger_sees_and_says_nothing(
    site: ZenohSite, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    for _ in range(2):
        await site.bus()
    other = Authority.make(site.now)
    stranger = site.identity("stranger", other)
    if kind != "another authority":
        # As a certificate by an authority that browsers trust, where we connect: TLS lets it pass.
        monkeypatch.setattr("heliograph.bus.authority.cluster_name", lambda _: "example.org")
        site.identity("stranger")
        monkeypatch.undo()
        found = stranger.directory / "authority.pem"
        assert found.read_text() == site.authority.certificate
    credentials = replace(
        site.identity("node0").credentials(site.now),  # type: ignore[type-var]
        authority=stranger.directory / "authority.pem",
        certificate=stranger.directory / "node.pem",
        key=stranger.directory / "node.key",
    )
    join = tuple(f"127.0.0.1:{port}" for port in site.ports)
    options = BusOptions(stranger.node, credentials, (f"127.0.0.1:{free_port()}",), join)
    monkeypatch.setattr("heliograph.bus.zenoh_link.configuration", _unguarded)
    link = await _peer(options)
    monkeypatch.undo()
    spy = Spy(link)
    connected = kind != "another authority"
    if connected:
        await until(lambda: len(link._zenoh.info.peers_zid()) == 2)
    assert await _busy(site, spy) == []
    assert spy.found == []
    assert len(link._zenoh.info.peers_zid()) == (2 if connected else 0)
    assert {*nodes(site.buses[0])} == {bus.node for bus in site.buses}
    await link.close()


async def test_a_member_that_connects_to_a_stranger_tells_it_nothing(
    site: ZenohSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heliograph.bus.authority.cluster_name", lambda _: "example.org")
    stranger = site.identity("stranger")
    monkeypatch.undo()
    member = site.identity("member")
    port = free_port()
    credentials = replace(
        member.credentials(site.now),  # type: ignore[type-var]
        certificate=stranger.directory / "node.pem",
        key=stranger.directory / "node.key",
    )
    monkeypatch.setattr("heliograph.bus.zenoh_link.configuration", _unguarded)
    link = await _peer(BusOptions(stranger.node, credentials, (f"127.0.0.1:{port}",)))
    monkeypatch.undo()
    spy = Spy(link)
    bus = await Bus.open(site.options(member, free_port(), join=(f"127.0.0.1:{port}",)))
    site.buses += [bus, bus]
    await until(lambda: link._zenoh.info.peers_zid())
    for number in range(20):
        spy.speak()
        bus.publish("report", number)
        await asyncio.sleep(0.02)
    assert spy.found == []
    assert nodes(bus) == {member.node}
    site.buses = [bus]
    await link.close()


def _unguarded(options: BusOptions) -> dict[str, object]:
    """A stranger does not keep itself from anything."""
    found = configuration(options)
    return found | {"access_control": {"enabled": False}}


async def test_a_client_without_a_certificate_is_refused(site: ZenohSite) -> None:
    bus = await site.bus()
    context = ssl.create_default_context(cafile=str(site.directory / "node0/cluster/authority.pem"))
    context.check_hostname = False
    reader, writer = await asyncio.open_connection("127.0.0.1", site.ports[0], ssl=context)
    with contextlib.suppress(ssl.SSLError, ConnectionError):  # an alert, or simply the end
        assert await asyncio.wait_for(reader.read(100), PATIENCE) == b""
    writer.close()
    assert nodes(bus) == {bus.node}


async def test_a_certificate_that_has_ended_is_refused(site: ZenohSite) -> None:
    await site.bus()
    late = Identity.load(site.directory / "late")
    past = site.now - timedelta(days=500)
    late.join(site.authority.certificate, site.authority.issue(late.public_key, past), past)
    assert late.credentials(site.now) is None


async def test_a_port_that_is_taken_is_told(site: ZenohSite) -> None:
    await site.bus()
    with pytest.raises(ResourceError, match="bus"):
        await Bus.open(site.options(site.identity("second"), site.ports[0]))


async def test_alone_there_is_no_network(tmp_path: Path) -> None:
    before = _sockets()
    bus = await Bus.open(BusOptions(Identity.load(tmp_path).node))
    assert _sockets() == before
    await bus.close()


def _sockets() -> set[str]:
    """What this process has open of the network."""
    mine = {
        os.readlink(f"/proc/self/fd/{name}").removeprefix("socket:[").removesuffix("]")
        for name in os.listdir("/proc/self/fd")
        if os.path.exists(f"/proc/self/fd/{name}")
        and os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
    }
    found = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            if line.split()[9] in mine:
                found.add(f"{table} {line.split()[1]}")
    return found


def test_zenoh_understands_every_key_of_the_configuration(tmp_path: Path) -> None:
    site = ZenohSite(tmp_path)
    config = zenoh.Config()
    for key, value in configuration(site.options(site.identity("one"), 7447)).items():
        config.insert_json5(key, json.dumps(value))


async def test_who_starts_before_the_node_that_it_joins_finds_it_later(site: ZenohSite) -> None:
    port = free_port()
    early = await Bus.open(
        site.options(site.identity("early"), free_port(), join=(f"127.0.0.1:{port}",))
    )
    site.buses.append(early)
    late = await Bus.open(site.options(site.identity("late"), port, join=()))
    site.buses.append(late)
    await until(lambda: nodes(early) == nodes(late) == {early.node, late.node})
    await settle(early, late)
