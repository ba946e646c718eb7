"""Channels of the settings and those that people made, as they are looked up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from heliograph.live.options import ChannelOptions, LiveOptions
from heliograph.live.registry import Channels
from heliograph.model.errors import (
    BusyError,
    ConflictError,
    HelioError,
    MalformedError,
    NotFoundError,
    TooLargeError,
)
from heliograph.plane import PlaneLoop
from heliograph.plane.twin import TwinPlane


@pytest.fixture
def loop() -> Iterator[PlaneLoop]:
    plane = TwinPlane()
    yield PlaneLoop(plane)
    plane.close()


def test_configured_channels_and_made_ones_have_their_own_ends(loop: PlaneLoop) -> None:
    channels = Channels(loop, configured={"demo": ChannelOptions()})
    with pytest.raises(ConflictError):
        channels.create("demo")
    channels.create("other")
    channels.delete("demo")
    channels.withdraw("other")
    assert [channel.name for channel in channels] == ["demo", "other"]
    channels.delete("other")
    channels.withdraw("demo")
    assert [channel.name for channel in channels] == []


def test_changes_are_told_once(loop: PlaneLoop) -> None:
    channels, seen = Channels(loop), []
    channel = channels.create("x")
    channels.subscribe(lambda event: seen.append((event.kind, event.channel)))
    channels.change(channel, ChannelOptions(title="X"), None)
    channels.change(channel, ChannelOptions(title="X"), None)
    assert channel.title == "X"
    assert seen == [("changed", "x")]


def test_settings_read_anew_open_and_end_their_channels(loop: PlaneLoop) -> None:
    channels = Channels(loop)
    channels.create("made")
    channels.configure("set", ChannelOptions(title="Set"))
    with pytest.raises(ConflictError):
        channels.configure("made", ChannelOptions())
    channels.withdraw("set")
    channels.withdraw("set")
    channels.withdraw("made")
    assert [channel.name for channel in channels] == ["made"]


@pytest.mark.parametrize("name", ["", "a b", "../x", "x" * 65, ".x"])
def test_bad_names_are_refused(loop: PlaneLoop, name: str) -> None:
    with pytest.raises(MalformedError):
        Channels(loop).create(name)


def test_unknown_channel(loop: PlaneLoop) -> None:
    channels = Channels(loop)
    assert channels.find("x") is None
    with pytest.raises(NotFoundError):
        channels.get("x")


def test_number_of_channels_is_bounded(loop: PlaneLoop) -> None:
    channels = Channels(loop, options=LiveOptions(max_channels=1))
    channels.create("one")
    with pytest.raises(BusyError):
        channels.create("two")


def test_places_of_deleted_channels_are_given_again(loop: PlaneLoop) -> None:
    channels = Channels(loop)
    assert [channels.create(name).index for name in "abc"] == [0, 1, 2]
    channels.delete("b")
    assert channels.create("d").index == 1


def test_options_check_what_they_are_given() -> None:
    with pytest.raises(MalformedError):
        ChannelOptions(view_from=("nowhere",))
    with pytest.raises(TooLargeError):
        ChannelOptions(title="x" * 1000)
    with pytest.raises(HelioError):
        ChannelOptions.from_json({"pulls": [{"url": "x", "transport": "pigeon"}]})


def test_observers_are_told_until_they_leave(loop: PlaneLoop) -> None:
    channels, seen = Channels(loop), []

    def broken(event: object) -> None:
        raise RuntimeError("a bug")

    channels.subscribe(broken)
    leave = channels.subscribe(lambda event: seen.append(event.kind))
    channels.create("x")
    leave()
    leave()
    channels.delete("x")
    assert seen == ["channel-opened"]
