"""A channel of one node, watched and published at others."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace

import pytest
from tests.contract.rtp import Camera
from tests.unit.live.mesh_site import NAME, OnAir, nodes, until

from heliograph.live.overtaking import OVERTAKE
from heliograph.live.publish import PublishKind
from heliograph.model.errors import ConflictError, HelioError


async def test_what_is_published_at_one_node_is_watched_at_another_byte_for_byte():
    async with nodes(2) as (one, other):
        one.keep()
        air = OnAir(one.publish())
        await until(other.has)
        assert other.channel.state == "on_air"
        here, there = one.watch(), other.watch()
        await until(lambda: len(there.packets) > 60)
        await air.stop()
        await until(lambda: there.numbers[-1:] == here.numbers[-1:])
        common = there.numbers
        assert common == list(range(common[0], common[-1] + 1))
        assert there.data == here.data[-len(there.data) :]


async def test_media_cross_a_link_only_while_somebody_watches(monkeypatch):
    monkeypatch.setattr("heliograph.live.incoming.LINGER", 0.2)
    async with nodes(2) as (one, other):
        one.keep()
        air = OnAir(one.publish())
        await until(other.has)
        (link,) = other.links
        sent = air.sent
        await until(lambda: air.sent > sent + 30)
        assert link.describe()["received_items"] == 0
        assert other.channel.state == "on_air"
        viewer = other.watch()
        await until(lambda: len(viewer.packets) > 10)
        viewer.leave()
        await until(lambda: not other.reflector._incoming._feeds[NAME].awake)
        await asyncio.sleep(0.1)
        items, sent = link.describe()["received_items"], air.sent
        await until(lambda: air.sent > sent + 30)
        assert link.describe()["received_items"] == items
        assert other.channel.state == "on_air"
        again = other.watch()
        await until(lambda: len(again.packets) > 10)
        first = again.packets[0][3]
        assert first[12] & 31 == 5  # it begins at a keyframe, and not at what was shown before
        assert again.numbers[0] > viewer.numbers[-1] + 20
        await air.stop()


async def test_the_same_channel_goes_on_when_somebody_publishes_at_another_node():
    async with nodes(3) as (one, other, third):
        one.keep(conflict="replace")
        first = one.publish()
        air = OnAir(first)
        await until(lambda: other.has() and third.has())
        viewer = third.watch()
        await until(lambda: len(viewer.packets) > 20)
        await air.stop()
        first.close()
        again = OnAir(other.publish())
        count = len(viewer.packets)
        await until(lambda: len(viewer.packets) > count + 30)
        epochs = [epoch for _, epoch, _, _ in viewer.packets]
        assert epochs == sorted(epochs)
        assert len(set(epochs)) == 2
        assert viewer.packets[[*epochs].index(epochs[-1])][3][12] & 31 == 5
        await until(lambda: one.channel.state == "on_air")
        assert one.channel.active is None or one.channel.active.kind is PublishKind.MESH
        await again.stop()


async def test_a_publisher_may_come_to_any_node_as_soon_as_nobody_publishes():
    async with nodes(2) as (one, other):
        one.keep()
        first = one.publish()
        air = OnAir(first)
        await until(lambda: other.has() and other.channel.on_air)
        with pytest.raises(ConflictError):
            other.channel.check_publisher("127.0.0.1")
        await air.stop()
        first.close()
        await until(lambda: not other.channel.on_air)
        gives_way = other.channel.check_publisher("127.0.0.1")
        assert [other.channel.publishings[id].kind for id in gives_way] == [PublishKind.MESH]


async def test_a_channel_comes_back_to_where_it_entered_before():
    async with nodes(2) as (one, other):
        one.keep(conflict="replace")
        first = one.publish()
        air = OnAir(first)
        await until(lambda: other.has() and other.channel.on_air)
        viewer = other.watch()
        await until(lambda: len(viewer.packets) > 10)
        for gives_way in other.channel.check_publisher("127.0.0.1"):
            other.channel.dismiss(other.channel.publishings[gives_way], "replaced")
        second = other.publish()
        await air.stop()
        air = OnAir(second)
        await until(lambda: first.closed)
        await until(lambda: one.channel.active is None)
        await air.stop()
        second.close()
        await until(lambda: not one.channel.on_air)
        count = len(viewer.packets)
        air = OnAir(one.publish())
        await until(lambda: len(viewer.packets) > count + 30)
        await air.stop()


async def test_who_died_numbers_on_above_what_others_have_of_it(monkeypatch):
    # Its numbers begin anew, anywhere: below those before, they would be taken for known ones.
    monkeypatch.setattr("heliograph.live.shared._epoch_now", itertools.count(100, 100).__next__)
    async with nodes(2) as made:
        one, other = made
        one.keep()
        air = OnAir(one.publish())
        await until(lambda: other.has() and other.channel.on_air)
        viewer = other.watch()
        await until(lambda: len(viewer.packets) > 10)
        await air.stop()
        one = made[0] = await one.again()
        other.reflector.appeared(one.node)
        one.keep()
        air = OnAir(one.publish())
        count = len(viewer.packets)
        await until(lambda: len(viewer.packets) > count + 30)
        before, after = dict.fromkeys(epoch for _, epoch, _, _ in viewer.packets)
        assert after > before + 1
        await air.stop()


@pytest.mark.parametrize("tie", [False, True])
async def test_a_channel_goes_on_where_somebody_else_numbered_it_while_the_network_was_parted(
    monkeypatch, tie
):
    monkeypatch.setattr("heliograph.live.overtaking.PATIENCE", 0.3)
    async with nodes(3) as (one, parted, beyond):
        one.keep()
        air = OnAir(one.publish())
        await until(lambda: parted.has() and beyond.has())
        viewers = [node.watch() for node in (one, parted, beyond)]
        await until(lambda: all(len(viewer.packets) > 10 for viewer in viewers))
        for node in (parted, beyond):
            node.part(one)
        await until(lambda: not parted.channel.on_air)
        second = parted.publish()
        meanwhile = OnAir(second)
        counts = [len(viewer.packets) for viewer in viewers]
        await until(
            lambda: all(len(v.packets) > n + 20 for v, n in zip(viewers, counts, strict=True))
        )
        # It is not for moments only, and faster: many numbers are given that nobody else knows.
        second.push(0, [meanwhile.camera.frame(key=number == 0) for number in range(2_000)])
        await until(lambda: viewers[1].numbers[-1] > viewers[0].numbers[-1] + 1_500)
        await meanwhile.stop()
        second.close()
        theirs = viewers[1].packets[-1][1]
        assert theirs > viewers[0].packets[-1][1]
        if tie:  # as where a node that thaws numbers on before it hears who has taken over
            one.channel.plane.overtake_epoch(one.channel.plane_channel, theirs - 1, [])
            await until(lambda: viewers[0].packets[-1][1] == theirs)
        for node in (parted, beyond):
            node.join(one)
        counts = [len(viewer.packets) for viewer in viewers]
        await until(
            lambda: all(len(v.packets) > n + 60 for v, n in zip(viewers, counts, strict=True))
        )
        # Once is enough: what is announced then is what is numbered.
        epoch = one.channel.stats().epoch
        await until(
            lambda: all(
                node.shared._ingests[NAME][one.node].epoch == epoch for node in (parted, beyond)
            )
        )
        asked = [node.shared.counters["overtakings"] for node in (one, parted, beyond)]
        assert asked[0] == 0 < sum(asked)
        await until(lambda: not parted.shared._overtaking and not beyond.shared._overtaking)
        assert [node.shared.counters["overtakings"] for node in (one, parted, beyond)] == asked
        assert one.channel.stats().epoch == epoch
        for viewer in viewers:
            order = [(epoch, number) for _, epoch, number, _ in viewer.packets]
            assert order == sorted(order)
            assert viewer.numbers == sorted(viewer.numbers), "no player drops any of them"
            assert viewer.packets[-1][1] == epoch
        await air.stop()


async def test_a_publisher_that_begins_anew_is_announced_with_its_epoch():
    async with nodes(2) as (one, other):
        one.keep()
        publishing = one.publish()
        air = OnAir(publishing)
        await until(other.has)

        def announced() -> int:
            entrances = other.shared._ingests.get(NAME, {})
            return entrances[one.node].epoch if one.node in entrances else 0

        await until(announced)
        before = announced()
        await air.stop()
        air = OnAir(publishing, Camera(ssrc=0x777, sequence=99))
        await until(lambda: one.channel.stats().epoch > before)
        await until(lambda: announced() == one.channel.stats().epoch)
        await air.stop()


async def test_what_asks_for_an_epoch_that_is_none_is_refused():
    async with nodes(2) as (one, other):
        one.keep()
        air = OnAir(one.publish())
        await until(other.has)
        home = one.node
        for value in (
            NAME,
            [NAME, home, 9],
            [7, home, 9, []],
            [NAME, home, -1, []],
            [NAME, home, True, []],
            [NAME, home, "9", []],
            [NAME, home, 9, [[0, 1 << 48]]],
            [NAME, home, 9, [[0]]],
            [NAME, home, 9, [[0, 0]] * 300],
            [NAME, home, (1 << 32) - 1, []],  # of the next century
        ):
            with pytest.raises(HelioError, match="malformed"):
                await other.bus.call(one.node, OVERTAKE, value)
        with pytest.raises(HelioError, match="no such channel"):
            await other.bus.call(one.node, OVERTAKE, ["another", home, 9, []])
        before = one.channel.stats().epoch
        await other.bus.call(one.node, OVERTAKE, [NAME, home, before - 1, []])
        assert one.channel.stats().epoch == before
        await air.stop()


async def test_a_channel_has_a_picture_where_its_media_do_not_come():
    async with nodes(2) as (one, other):
        one.keep()
        air = OnAir(one.publish())
        await until(other.has)
        await until(lambda: one.channel.picture_source())
        assert other.channel.picture_source() is None
        found = await other.shared.picture(other.channel)
        assert found == await one.shared.picture(one.channel)
        assert found is not None
        assert found[0] == "h264"
        await air.stop()


async def test_who_cannot_reach_the_ingest_gets_the_channel_by_whoever_has_it():
    async with nodes(3) as (one, between, far):
        far.unreachable.add(one.node)
        one.keep()
        air = OnAir(one.publish())
        await until(lambda: between.has() and far.channels.find(NAME))
        near = between.watch()
        await until(lambda: len(near.packets) > 5)
        await until(far.has)
        viewer = far.watch()
        await until(lambda: len(viewer.packets) > 30)
        assert far.reflector.configurator.path(NAME) == (one.node, between.node, far.node)
        (tree,) = await far.shared.tree(NAME)
        assert (tree.place.node, tree.branches[0].place.node) == (one.node, between.node)
        assert tree.branches[0].branches[0].place.node == far.node
        await air.stop()


async def test_a_channel_is_taken_from_whom_it_is_to_be_taken_and_nothing_is_missed():
    async with nodes(3) as (one, between, far):
        one.keep()
        far.shared.prefer(NAME, between.node)
        air = OnAir(one.publish())
        await until(lambda: between.has() and far.has())
        viewer = far.watch()
        await until(lambda: len(viewer.packets) > 20)
        assert far.reflector.configurator.path(NAME) == (one.node, between.node, far.node)
        far.shared.prefer(NAME, "")
        await until(lambda: far.reflector.configurator.path(NAME) == (one.node, far.node))
        far.shared.prefer(NAME, between.node)
        await until(lambda: far.reflector.configurator.sources(NAME) == (between.node,))
        await between.stop()
        await until(lambda: far.reflector.configurator.path(NAME) == (one.node, far.node))
        count = len(viewer.packets)
        await until(lambda: len(viewer.packets) > count + 20)
        assert viewer.numbers == list(range(viewer.numbers[0], viewer.numbers[-1] + 1))
        await air.stop()


async def test_two_channels_of_one_name_stay_apart():
    async with nodes(3) as (one, other, third):
        ours, theirs = one.keep(title="Ours"), other.keep(title="Theirs")
        first, second = OnAir(one.publish()), OnAir(other.publish())
        await until(third.has)
        assert third.channel.keeper in (one.node, other.node)
        keeper = one if third.channel.keeper == one.node else other
        here, there = keeper.watch(), third.watch()
        await until(lambda: len(there.packets) > 30)
        await until(lambda: here.numbers[-1] >= there.numbers[-1])
        assert there.data[0] in here.data
        assert (ours.title, theirs.title) == ("Ours", "Theirs")
        for channel in (ours, theirs):
            assert not channel.elsewhere
            (publishing,) = channel.publishings.values()
            assert publishing.kind is PublishKind.PUSH
        await first.stop()
        await second.stop()


async def test_a_channel_goes_when_its_keeper_closes_it(monkeypatch):
    monkeypatch.setattr("heliograph.live.shared.KEEP", 0.1)
    async with nodes(2) as (one, other):
        one.keep()
        await until(lambda: other.channels.find(NAME))
        one.channels.delete(NAME)
        await until(lambda: other.channels.find(NAME) is None)


async def test_what_is_changed_at_the_keeper_is_changed_everywhere():
    async with nodes(2) as (one, other):
        channel = one.keep(title="Before")
        await until(lambda: other.channels.find(NAME))
        one.channels.change(channel, replace(channel.options, title="After"), None)
        await until(lambda: other.channel.title == "After")
        assert not other.channel.options.key
