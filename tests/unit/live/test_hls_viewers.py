"""Viewers by HLS are bounded for each address, whatever names they give themselves."""

from __future__ import annotations

import pytest

from heliograph.catalogue.rights import Action, Reason
from heliograph.live.grants import Grant
from heliograph.live.hls import Hls
from heliograph.live.hls_viewers import GONE, HlsViewers
from heliograph.model.errors import TooManyError

from .conftest import Studio

GRANT = Grant(Action.VIEW, Reason.PUBLIC)
PEER = "192.0.2.1"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def on_air(studio: Studio) -> None:
    studio.publish()


def name(number: int) -> str:
    return f"made-up-viewer-{number:04}"


async def test_made_up_names_fill_the_address_they_come_from_and_no_other(studio: Studio) -> None:
    hls = Hls(viewers_per_address=3)
    viewers = hls.viewers
    for number in range(3):
        viewers.enter(studio.channel, peer=PEER, grant=GRANT, name=name(number))
    for number in range(3, 50):
        with pytest.raises(TooManyError) as caught:
            viewers.enter(studio.channel, peer=PEER, grant=GRANT, name=name(number))
    assert (caught.value.status, caught.value.retry_after) == (429, 15)
    with pytest.raises(TooManyError):
        viewers.enter(studio.channel, peer=f"::ffff:{PEER}", grant=GRANT)
    assert len(viewers) == studio.channel.audience.places == 3
    assert hls.counters["hls_viewers_refused"] == 48
    # who watches already goes on, and others are not concerned
    assert viewers.enter(studio.channel, peer=PEER, grant=GRANT, name=name(1)) == name(1)
    viewers.enter(studio.channel, peer="192.0.2.2", grant=GRANT)
    hls.close()


async def test_an_ipv6_network_counts_as_one_address(studio: Studio) -> None:
    viewers = HlsViewers(2)
    viewers.enter(studio.channel, peer="2001:db8::1", grant=GRANT)
    viewers.enter(studio.channel, peer="2001:db8::2", grant=GRANT)
    with pytest.raises(TooManyError):
        viewers.enter(studio.channel, peer="2001:db8::ffff:3", grant=GRANT)
    viewers.enter(studio.channel, peer="2001:db8:0:1::1", grant=GRANT)
    viewers.close()


async def test_the_machines_own_addresses_are_a_proxys(studio: Studio) -> None:
    viewers = HlsViewers(1)
    for peer in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
        viewers.enter(studio.channel, peer=peer, grant=GRANT)
        viewers.enter(studio.channel, peer=peer, grant=GRANT)
    assert len(viewers) == 6
    viewers.close()


async def test_who_leaves_or_is_sent_away_makes_room(studio: Studio) -> None:
    clock = Clock()
    viewers = HlsViewers(2, clock=clock)

    def full() -> bool:
        try:
            viewers.enter(studio.channel, peer=PEER, grant=GRANT, name=name(99))
        except TooManyError:
            return True
        return False

    for number in range(2):
        viewers.enter(studio.channel, peer=PEER, grant=GRANT, name=name(number))
    assert full()
    clock.now += GONE - 1
    viewers.enter(studio.channel, peer=PEER, grant=GRANT, name=name(0))
    clock.now += 2
    viewers.look()
    viewers.enter(studio.channel, peer=PEER, grant=GRANT, name=name(2))
    assert full()
    next(iter(studio.channel.audience.readers.values())).kick("kicked")
    assert not full()
    assert full() is False  # it is known by now
    with pytest.raises(TooManyError):
        viewers.enter(studio.channel, peer=PEER, grant=GRANT, name=name(3))
    viewers.close()
    for number in range(4, 6):  # nothing is left behind
        viewers.enter(studio.channel, peer=PEER, grant=GRANT, name=name(number))
    viewers.close()
