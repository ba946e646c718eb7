"""Channels that people made, kept over restarts, beside those of the settings."""

from __future__ import annotations

import json
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher

from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.context import utc_now
from heliograph.catalogue.engine import Database
from heliograph.catalogue.passwords import Passwords
from heliograph.catalogue.rights import Person
from heliograph.catalogue.values import Role, ViewAccess
from heliograph.live.gate import Asker, Gate, settled
from heliograph.live.legacy import CHANNELS_FILE, TAKEN_OVER
from heliograph.live.options import ChannelOptions, Conflict, LiveOptions, PullOptions, Transport
from heliograph.live.publish import PublishKind
from heliograph.live.readers import ReaderHooks
from heliograph.live.registry import Channels
from heliograph.live.roster import ENDED, Roster
from heliograph.model.errors import (
    AwayError,
    BusyError,
    ConflictError,
    ForbiddenError,
    MalformedError,
    NotFoundError,
    ResourceError,
    UnauthorizedError,
)
from heliograph.plane import PlaneLoop
from heliograph.plane.twin import TwinPlane

from .conftest import VIDEO

PASSWORD = "a rather long sentence"
FULL = ChannelOptions(
    title="Ein Titel",
    view_key="r",
    max_readers=3,
    max_bandwidth=10,
    conflict=Conflict.REPLACE,
    publish_from=("10.0.0.0/8",),
    pulls=(PullOptions("rtsp://camera/1", 1, Transport.TCP),),
    depth_ms=5000,
)


@asynccontextmanager
async def running(
    directory: Path,
    configured: dict[str, ChannelOptions] | None = None,
    now: Callable[[], datetime] = utc_now,
    **live: Any,
) -> AsyncIterator[Roster]:
    """One run of a server over the same directory."""
    quick = Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
    url = f"sqlite:///{directory / 'h.db'}"
    catalogue = await Catalogue.open(url, passwords=quick, now=now)
    plane = TwinPlane()
    channels = Channels(PlaneLoop(plane), configured=configured, options=LiveOptions(**live))
    roster = Roster(channels, catalogue, Gate("boss", catalogue=catalogue))
    try:
        await roster.open(directory)
        yield roster
    finally:
        channels.close()
        plane.close()
        await catalogue.close()


def names(roster: Roster) -> list[str]:
    return [channel.name for channel in roster.channels]


async def publishes(roster: Roster, name: str, key: str) -> bool:
    try:
        asker = Asker("192.0.2.1", "rtmp", secret=key)
        await settled(roster.gate.publish(roster.channels.get(name), asker))
    except (UnauthorizedError, NotFoundError):
        return False
    return True


async def test_channels_and_keys_outlive_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path) as roster:
        await roster.catalogue.accounts.create("anna", PASSWORD, Role.BROADCASTER)
        _, made = await roster.create("full", FULL, owner="anna", private=True, key="")
        await roster.create("plain", view_access=ViewAccess.INVITED, guests_chat=False)
    async with running(tmp_path) as roster:
        assert names(roster) == ["full", "plain"]
        full, plain = roster.channels.get("full"), roster.channels.get("plain")
        assert full.options == FULL
        assert full.standing is not None
        assert plain.standing is not None
        assert full.standing.record.owner is not None
        assert full.standing.record.private
        assert plain.standing.record.view_access is ViewAccess.INVITED
        assert not plain.standing.record.guests_chat
        assert await publishes(roster, "full", made.key)
        await roster.update("plain", ChannelOptions(title="new"))
        await roster.delete("full")
    async with running(tmp_path) as roster:
        assert [channel.title for channel in roster.channels] == ["new"]
    assert stat.S_IMODE((tmp_path / "h.db").stat().st_mode) == 0o600


async def test_channel_that_cannot_be_kept_is_not_made(tmp_path: Path) -> None:
    async with running(tmp_path) as roster:
        with pytest.raises(MalformedError):
            await roster.create("x", key="short")
        with pytest.raises(MalformedError):
            await roster.create("../x")
        assert names(roster) == []
        await roster.create("x")
        with pytest.raises(ConflictError):
            await roster.create("X")
        assert names(roster) == ["x"]


async def test_number_of_channels_is_bounded(tmp_path: Path) -> None:
    async with running(tmp_path, max_channels=1) as roster:
        await roster.create("one")
        with pytest.raises(BusyError):
            await roster.create("two")
    async with running(tmp_path, max_channels=0) as roster:
        assert names(roster) == [], "more than the server takes are not opened"


async def test_channels_of_the_settings_have_keys_and_tokens_too(tmp_path: Path) -> None:
    demo = {"demo": ChannelOptions(key="secret", title="Set")}
    async with running(tmp_path, demo) as roster:
        made = await roster.add_key("demo", label="spare")
        assert await publishes(roster, "demo", made.key)
        assert await publishes(roster, "demo", "secret")
        await roster.issue_token("demo", "guest", 60, single=False)
        for change in (roster.update("demo", ChannelOptions()), roster.delete("demo")):
            with pytest.raises(ForbiddenError):
                await change
        await roster.update("demo", private=True)
    async with running(tmp_path, demo) as roster:
        channel = roster.channels.get("demo")
        assert channel.title == "Set"
        assert channel.standing is not None
        assert channel.standing.record.private
        assert await publishes(roster, "demo", made.key)


async def test_channel_that_left_the_settings_is_gone_and_its_name_is_free(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, {"demo": ChannelOptions()}) as roster:
        old = await roster.add_key("demo")
    async with running(tmp_path) as roster:
        assert names(roster) == []
        await roster.create("demo")
        assert not await publishes(roster, "demo", old.key)


async def test_settings_hide_a_made_channel_of_the_same_name(tmp_path: Path) -> None:
    async with running(tmp_path) as roster:
        await roster.catalogue.accounts.create("anna", PASSWORD, Role.BROADCASTER)
        _, made = await roster.create("demo", ChannelOptions(title="made"), owner="anna")
    async with running(tmp_path, {"demo": ChannelOptions(title="set", key="secret")}) as roster:
        channel = roster.channels.get("demo")
        assert channel.title == "set"
        assert channel.standing is not None
        assert channel.standing.record.owner is None
        assert not await publishes(roster, "demo", made.key)
        with pytest.raises(ConflictError):
            await roster.add_key("demo")
        # What is read anew while it runs does the same, both ways.
        await roster.withdraw("demo")
        assert roster.channels.get("demo").title == "made"
        assert await publishes(roster, "demo", made.key)
        await roster.configure("demo", ChannelOptions(title="set"))
        assert not await publishes(roster, "demo", made.key)


def kept(tmp_path: Path, text: str) -> Path:
    (tmp_path / CHANNELS_FILE).write_text(text)
    return tmp_path / CHANNELS_FILE


async def test_channels_of_the_version_before_are_taken_over_once(tmp_path: Path) -> None:
    channels = {
        "yard": {"title": "The yard", "key": "key-of-the-yard", "max_readers": 3},
        "gate": {"key": "key-of-the-yard", "view_from": ["10.0.0.0/8"]},
    }
    kept(tmp_path, json.dumps({"version": 1, "channels": channels}))
    async with running(tmp_path) as roster:
        assert names(roster) == ["gate", "yard"]
        assert roster.channels.get("yard").options == ChannelOptions(
            title="The yard", max_readers=3
        )
        assert await publishes(roster, "yard", "key-of-the-yard")
        assert await publishes(roster, "gate", "key-of-the-yard")
        await roster.delete("gate")
    assert not (tmp_path / CHANNELS_FILE).exists()
    assert (tmp_path / TAKEN_OVER).exists()
    async with running(tmp_path) as roster:
        assert names(roster) == ["yard"]


async def test_taking_over_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    async with running(tmp_path) as roster:
        await roster.catalogue.channels.create("yard", title="The yard")  # and then it was killed
    document = {"version": 1, "channels": {"yard": {"key": "key-of-the-yard"}}}
    kept(tmp_path, json.dumps(document))
    async with running(tmp_path) as roster:
        assert await publishes(roster, "yard", "key-of-the-yard")


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
async def test_damaged_file_is_left_as_it_is(tmp_path: Path, text: str) -> None:
    path = kept(tmp_path, text)
    with pytest.raises(ResourceError, match=CHANNELS_FILE):
        async with running(tmp_path):
            pass
    assert path.read_text() == text


class Hooks(ReaderHooks):
    def __init__(self) -> None:
        self.told: list[str] = []

    def closed(self, reason: str) -> None:
        self.told.append(reason)


async def test_who_has_no_right_any_more_is_sent_away(tmp_path: Path) -> None:
    async with running(tmp_path) as roster:
        channel, made = await roster.create("yard")
        gate, told, hooks = roster.gate, list[str](), Hooks()
        by_key = await settled(gate.publish(channel, Asker("::1", "rtmp", secret=made.key)))
        channel.publish((VIDEO,), PublishKind.RTMP, "::1", grant=by_key, on_closed=told.append)
        public = await settled(gate.view(channel, Asker("::1", "rtsp")))
        endpoint = channel.plane.bind_udp("::1", 0)[0]
        lanes = [(0, "::1", 1, 2)]
        channel.audience.add_udp(endpoint, lanes, peer="::1", hooks=hooks, grant=public)
        await roster.upkeep()
        assert (told, hooks.told) == ([], [])
        await roster.update("yard", private=True)
        assert (told, hooks.told) == ([], [ENDED])
        await roster.revoke_key("yard", made.record.id)
        assert told == [ENDED]
        assert roster.ended == 2
        (key,) = await roster.catalogue.stream_keys.list("yard")
        assert key.last_used is not None


async def test_while_the_database_is_away_what_is_known_here_ends_rights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, late = utc_now(), timedelta(0)
    async with running(tmp_path, now=lambda: start + late) as roster:
        eva = await roster.catalogue.accounts.create("eva", PASSWORD, Role.BROADCASTER)
        channel, _ = await roster.create("yard", owner="eva", private=True)
        text, _ = await roster.issue_token("yard", "guest", 60, single=False)
        endpoint = channel.plane.bind_udp("::1", 0)[0]
        watching = {"token": Asker("::1", "rtsp", tokens=(text,))}
        watching["account"] = Asker("::1", "rtsp", person=Person.of(eva))
        told = {name: Hooks() for name in watching}
        for place, (name, asker) in enumerate(watching.items()):
            grant = await settled(roster.gate.view(channel, asker))
            lanes = [(0, "::1", 2 * place + 1, 2 * place + 2)]
            hooks = told[name]
            channel.audience.add_udp(endpoint, lanes, peer="::1", hooks=hooks, grant=grant)
        with monkeypatch.context() as away:
            away.setattr(Database, "translated", _away)
            for name in ("", "token"):
                with pytest.raises(AwayError):
                    await roster.upkeep()
                assert [one for one in told if told[one].told] == [name] * bool(name)
                late = timedelta(seconds=61)
        await roster.catalogue.accounts.update("eva", disabled=True)
        await roster.upkeep()
        assert told["account"].told == [ENDED]


@asynccontextmanager
async def _away(database: Database) -> AsyncIterator[None]:
    raise AwayError("the database is away")
    yield


async def test_changes_of_another_process_are_followed(tmp_path: Path) -> None:
    async with running(tmp_path) as roster, running(tmp_path) as other:
        _, made = await other.create("yard", ChannelOptions(title="one"))
        await roster.upkeep()
        assert await publishes(roster, "yard", made.key)
        await other.update("yard", ChannelOptions(title="two"))
        await roster.upkeep()
        assert roster.channels.get("yard").title == "two"
        await other.delete("yard")
        await roster.upkeep()
        assert names(roster) == []
