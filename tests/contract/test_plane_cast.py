"""Casts as Python uses them: one channel to several links' peers at once, by multicast."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from tests.ports import free_port

from heliograph.plane import MeshCast, open_plane

from .conftest import Harness
from .rtp import VIDEO, Camera
from .test_plane import playing_tap
from .test_plane_mesh import Unit, link

GROUP = "239.255.74.9"
KEY = b"k" * 16
names = itertools.count(secrets.randbelow(1 << 31) + 1)


@dataclass
class Site:
    """One unit that casts, and others with links to it that listen."""

    sender: Unit
    input: int
    receivers: list[Unit]
    links: list[tuple[int, int]]
    taps: list[int]

    def cast(self, *, group: str = GROUP, key: bytes = KEY) -> tuple[int, int]:
        """Begin, and let all listen: (the cast, its name)."""
        name = next(names)
        cast = self.sender.port.cast(name, KEY, self.sender.channel, group)
        for unit, (here, there) in zip(self.receivers, self.links, strict=True):
            self.sender.port.admit(cast, here)
            unit.port.listen(there, 7, name, key, group)
        return cast, name

    def numbers(self, count: int) -> list[list[int]]:
        pairs = zip(self.receivers, self.taps, strict=True)
        return [[item[2] for item in unit.harness.read(tap, count)] for unit, tap in pairs]

    def push(self, camera: Camera, count: int) -> None:
        self.sender.harness.plane.push(self.input, 0, [camera.frame() for _ in range(count)])


@pytest.fixture
def site() -> Iterator[Site]:
    port, made = free_port(), []
    for _ in range(3):
        plane = open_plane(1)
        mesh = plane.mesh_open("127.0.0.1:0", multicast_port=port, multicast_interface="127.0.0.1")
        made.append(Unit(Harness(plane), plane.open_channel(), mesh))
    sender, *receivers = made
    plane = sender.harness.plane
    input = plane.add_input(plane.add_source(sender.channel, 0, [VIDEO]))
    links, taps = [], []
    for unit in receivers:
        here, there = link(sender, unit)
        source = unit.harness.plane.add_mesh_source(unit.channel, 0, [VIDEO])
        unit.port.take(there, 7, unit.harness.plane.add_input(source))
        links.append((here, there))
        taps.append(playing_tap(unit.harness, unit.channel))
    yield Site(sender, input, receivers, links, taps)
    for unit in made:
        unit.port.close()
        unit.harness.plane.close()


def test_one_stream_feeds_all_who_listen(site: Site) -> None:
    cast, name = site.cast()
    camera = Camera()
    site.sender.harness.plane.push(site.input, 0, camera.gop(20))
    site.push(camera, 80)
    one, other = site.numbers(100)
    assert one == other == list(range(one[0], one[0] + 100))
    stats = site.sender.port.cast_stats(cast)
    assert stats["receivers"] == 2
    assert 100 <= stats["sent_items"] <= 102
    for unit, (here, there) in zip(site.receivers, site.links, strict=True):
        assert unit.harness.event(MeshCast, link=there, cast=name).heard
        heard = unit.port.heard_stats(there, name)
        assert (heard["heard"], heard["received_items"]) == (1, stats["sent_items"])
        assert site.sender.port.stats(here)["sent_items"] == 0
    assert site.sender.port.counters()["casts_sent"] == 1
    assert site.receivers[0].port.counters()["casts_received"] == 1


def test_a_link_rests_while_its_peer_listens_and_goes_on_after_it(site: Site) -> None:
    camera = Camera()
    site.sender.harness.plane.push(site.input, 0, camera.gop(10))
    for here, _ in site.links:
        site.sender.port.serve(here, 7, site.sender.channel, [])
    cast, name = site.cast()
    numbers = site.numbers(10)
    site.push(camera, 10)
    for at, (unit, (here, there)) in enumerate(zip(site.receivers, site.links, strict=True)):
        assert unit.harness.event(MeshCast, link=there, cast=name).heard
        site.sender.port.rest(here, 7)
        tap = site.taps[at]
        numbers[at] += [item[2] for item in unit.harness.read(tap, 10)]
    served = [site.sender.port.stats(here)["sent_items"] for here, _ in site.links]
    site.push(camera, 30)
    for at, more in enumerate(site.numbers(30)):
        numbers[at] += more
    assert served == [site.sender.port.stats(here)["sent_items"] for here, _ in site.links]
    site.sender.port.end_cast(cast)
    site.push(camera, 20)
    for at, (unit, (here, there)) in enumerate(zip(site.receivers, site.links, strict=True)):
        assert not unit.harness.event(MeshCast, link=there, cast=name).heard
        marks = list(unit.harness.plane.channel_marks(unit.channel))
        site.sender.port.serve(here, 7, site.sender.channel, marks)
        numbers[at] += [item[2] for item in unit.harness.read(site.taps[at], 20)]
        assert numbers[at] == list(range(numbers[at][0], numbers[at][0] + 70))


def test_what_is_sealed_with_another_key_is_refused(site: Site) -> None:
    _, name = site.cast(key=b"x" * 16)
    site.sender.harness.plane.push(site.input, 0, Camera().gop(5))
    for unit, (_, there) in zip(site.receivers, site.links, strict=True):
        unit.harness.until(lambda u=unit, t=there: u.port.heard_stats(t, name)["forged"] >= 5)
        assert unit.port.counters()["forged"] >= 5
        assert unit.port.heard_stats(there, name)["received_items"] == 0


def test_who_ignores_a_cast_gets_no_more_of_it(site: Site) -> None:
    _, name = site.cast()
    camera = Camera()
    site.sender.harness.plane.push(site.input, 0, camera.gop(5))
    site.numbers(5)
    (one, other), (_, there) = site.receivers, site.links[0]
    one.port.ignore(there, name)
    # A picture that stands alone: the source may have been taken for silent meanwhile.
    site.sender.harness.plane.push(site.input, 0, camera.gop(5))
    other.harness.read(site.taps[1], 5)
    assert one.harness.plane.read_tap(site.taps[0])[0] == []
    with pytest.raises(KeyError):
        one.port.heard_stats(there, name)


def test_what_makes_no_cast_is_refused(site: Site) -> None:
    cast, name = site.cast()
    port, there = site.receivers[0].port, site.links[0][1]
    for call in (
        lambda: site.sender.port.cast(name, KEY, site.sender.channel, GROUP),
        lambda: site.sender.port.cast(name + 1, KEY, site.sender.channel, "10.0.0.1"),
        lambda: site.sender.port.cast(name + 1, KEY[1:], site.sender.channel, GROUP),
        lambda: port.listen(there, 8, name, KEY, GROUP),
        lambda: port.listen(there, 8, name + 1, KEY, "nowhere"),
    ):
        with pytest.raises(ValueError, match=r"name|multicast|key|address"):
            call()
    for gone in (
        lambda: site.sender.port.cast(name + 1, KEY, 999, GROUP),
        lambda: site.sender.port.admit(999, site.links[0][0]),
        lambda: site.sender.port.admit(cast, 999),
        lambda: site.sender.port.cast_stats(999),
        lambda: port.listen(999, 7, name + 1, KEY, GROUP),
    ):
        with pytest.raises(KeyError):
            gone()
    site.sender.port.end_cast(999)
    site.sender.port.dismiss(999, 999)
    port.ignore(999, 999)
    port.rest(999, 9)


def test_without_multicast_there_are_no_casts() -> None:
    plane = open_plane(1)
    port = plane.mesh_open("127.0.0.1:0")
    with pytest.raises(ValueError, match="multicast"):
        port.cast(next(names), KEY, plane.open_channel(), GROUP)
    local = next(names) & 0xFFFFFFFF
    here = port.link(local, local, "127.0.0.1:9", KEY, KEY)
    with pytest.raises(OSError, match="supported"):
        port.listen(here, 7, next(names), KEY, GROUP)
    plane.close()


def test_links_that_end_take_their_casts_along(site: Site) -> None:
    cast, _ = site.cast()
    one, (here, there) = site.receivers[0], site.links[0]
    one.port.close_link(there)
    one.harness.until(lambda: one.port.counters()["casts_received"] == 0)
    site.sender.harness.until(lambda: site.sender.port.cast_stats(cast)["receivers"] == 1)
    with pytest.raises(KeyError):
        site.sender.port.admit(cast, here)
