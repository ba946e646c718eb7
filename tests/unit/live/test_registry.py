"""Channels of the settings, and those made by the API and kept."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from heliograph.live.options import ChannelOptions, Conflict, LiveOptions, PullOptions, Transport
from heliograph.live.registry import CHANNELS_FILE, Channels
from heliograph.model.errors import (
    BusyError,
    ConflictError,
    ForbiddenError,
    HelioError,
    MalformedError,
    NotFoundError,
    ResourceError,
    TooLargeError,
)
from heliograph.plane import PlaneLoop
from heliograph.plane.twin import TwinPlane


@pytest.fixture
def loop() -> Iterator[PlaneLoop]:
    plane = TwinPlane()
    yield PlaneLoop(plane)
    plane.close()


FULL = ChannelOptions(
    title="Ein Titel",
    key="k",
    view_key="r",
    max_readers=3,
    max_bandwidth=10,
    conflict=Conflict.REPLACE,
    publish_from=("10.0.0.0/8",),
    pulls=(PullOptions("rtsp://camera/1", 1, Transport.TCP),),
    depth_ms=5000,
)


def test_created_channels_are_kept_over_restarts(loop: PlaneLoop, tmp_path: Path) -> None:
    state = tmp_path / "state"
    channels = Channels(loop, state_dir=state)
    channels.create("full", FULL)
    made = channels.create("plain")
    assert made.key
    assert stat.S_IMODE((state / CHANNELS_FILE).stat().st_mode) == 0o600
    again = Channels(loop, state_dir=state)
    assert [channel.name for channel in again] == ["full", "plain"]
    assert again.get("full").options == FULL
    assert again.get("plain").key == made.key
    again.update("plain", ChannelOptions(title="new", key=made.key))
    again.delete("full")
    third = Channels(loop, state_dir=state)
    assert [channel.title for channel in third] == ["new"]


def test_configured_channels_are_not_for_the_api_and_not_kept(
    loop: PlaneLoop, tmp_path: Path
) -> None:
    channels = Channels(loop, configured={"demo": ChannelOptions()}, state_dir=tmp_path)
    with pytest.raises(ForbiddenError):
        channels.delete("demo")
    with pytest.raises(ForbiddenError):
        channels.update("demo", ChannelOptions())
    with pytest.raises(ConflictError):
        channels.create("demo")
    channels.create("other")
    assert list(json.loads((tmp_path / CHANNELS_FILE).read_text())["channels"]) == ["other"]


def test_settings_hide_a_kept_channel_of_the_same_name(loop: PlaneLoop, tmp_path: Path) -> None:
    Channels(loop, state_dir=tmp_path).create("demo", ChannelOptions(title="kept"))
    channels = Channels(loop, configured={"demo": ChannelOptions(title="set")}, state_dir=tmp_path)
    assert channels.get("demo").title == "set"


def test_settings_read_anew_open_and_end_their_channels(loop: PlaneLoop, tmp_path: Path) -> None:
    channels = Channels(loop, state_dir=tmp_path)
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


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"version": 2, "channels": {}}',
        '{"version": 1}',
        '{"version": 1, "channels": {"a b": {}}}',
        '{"version": 1, "channels": {"a": {"what": 1}}}',
        '{"version": 1, "channels": {"a": {"depth_ms": "x"}}}',
        '{"version": 1, "channels": {"a": {"max_readers": true}}}',
        '{"version": 1, "channels": {"a": {"pulls": [{"where": 1}]}}}',
        '{"version": 1, "channels": {"a": {"conflict": "fight"}}}',
        '{"version": 1, "channels": {"a": {"publish_from": 5}}}',
    ],
)
def test_damaged_file_is_never_overwritten(loop: PlaneLoop, tmp_path: Path, text: str) -> None:
    (tmp_path / CHANNELS_FILE).write_text(text)
    with pytest.raises(ResourceError, match=CHANNELS_FILE):
        Channels(loop, state_dir=tmp_path)
    assert (tmp_path / CHANNELS_FILE).read_text() == text


def test_channel_that_cannot_be_kept_is_not_made(loop: PlaneLoop, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    channels = Channels(loop, state_dir=tmp_path / "file")
    with pytest.raises(ResourceError):
        channels.create("x")
    assert channels.find("x") is None


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
