"""What a portal's dispatcher knows: from the database, and from the disk without one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.unit.dispatcher.contents import Made, server

from heliograph.catalogue.contents.stored import StoredTitle
from heliograph.catalogue.contents.values import Condition, Contents, Format, Network, ServerState
from heliograph.dispatcher.answers import Wish
from heliograph.dispatcher.doors import Door
from heliograph.model.errors import HelioError, ResourceError
from heliograph.node import dispatching
from heliograph.node.dispatching import FILE, Dispatching
from heliograph.node.settings.dispatcher import DispatcherSettings
from heliograph.node.settings.monitor import MonitorSettings

PATIENCE = 20.0


class Source:
    """A database that can be away."""

    def __init__(self, made: Made) -> None:
        self.made = made
        self.away = False
        self.loads = 0
        self.rows: dict[str, StoredTitle] = {}

    def _check(self) -> None:
        if self.away:
            raise ResourceError("the database is away")

    async def version(self) -> int:
        self._check()
        return self.made.version

    async def load(self, before: Contents | None = None) -> Contents:
        self._check()
        self.loads += 1
        return self.made.contents()

    async def load_states(self) -> list[ServerState]:
        self._check()
        return [*self.made.states.values()]

    async def stored(self) -> dict[str, StoredTitle]:
        self._check()
        return self.rows


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatching, "EVERY", 0.02)
    monkeypatch.setattr(dispatching, "READING", 1.0)


def opened(source: Source, directory: Path) -> Dispatching:
    return Dispatching(DispatcherSettings(), source, directory)


def status(one: Dispatching, name: str) -> int:
    wish = Wish(one.dispatcher.options.order)
    return one.dispatcher.answer(name, wish, "192.0.2.1", 0.0).status


async def until(condition) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@pytest.mark.usefixtures("quick")
async def test_changes_are_known_soon_and_nothing_is_read_without_one(tmp_path: Path):
    source = Source(Made().title("film"))
    one = opened(source, tmp_path)
    await one.start()
    assert status(one, "film") == 302
    assert status(one, "clip") == 404
    source.made.title("clip")
    source.made.version = 2
    await until(lambda: status(one, "clip") == 302)
    loads = source.loads
    assert loads == 2
    await asyncio.sleep(0.1)
    assert source.loads == loads
    assert one.age() < PATIENCE
    await one.close()


@pytest.mark.usefixtures("quick")
async def test_without_the_database_it_goes_on_and_begins_with_what_was_kept(tmp_path: Path):
    source = Source(Made(2, version=5).title("film"))
    source.made.states[1] = ServerState(1, Condition.DOWN, None, *2 * [source.made.states[2].since])
    one = opened(source, tmp_path)
    await one.start()
    source.away = True
    await until(lambda: one.counters["snapshot_failures"] > 1)
    assert status(one, "film") == 302
    await one.close()
    again = opened(source, tmp_path)
    await again.start()
    assert again.dispatcher.snapshot.version == 5
    assert status(again, "film") == 302
    assert not again.dispatcher.fleet.members[1].usable
    assert again.age() == float("inf")
    source.away = False
    source.made.title("clip")
    source.made.version = 6
    await until(lambda: status(again, "clip") == 302)
    await again.close()


async def test_a_kept_file_that_is_spoiled_is_as_none(tmp_path: Path):
    source = Source(Made().title("film"))
    source.away = True
    (tmp_path / FILE).write_bytes(b"contents {}\nrubbish\n")
    one = opened(source, tmp_path)
    await one.start()
    assert status(one, "film") == 404
    await one.close()


async def test_a_directory_that_cannot_be_written_stops_nothing(tmp_path: Path):
    source = Source(Made().title("film"))
    one = opened(source, tmp_path / "gone")
    await one.start()
    assert status(one, "film") == 302
    await one.close()
    assert one.counters["snapshots_not_kept"] > 0


async def test_what_the_monitor_says_holds_at_once_and_over_new_contents(tmp_path: Path):
    source = Source(Made(1).title("film"))
    one = opened(source, tmp_path)
    await one.start()
    state = source.made.states[1]
    down = ServerState(1, Condition.DOWN, None, state.since, state.measured)
    one.observe({1: down})
    assert status(one, "film") == 503
    source.made.version = 2
    await one.look()
    await until(lambda: one.dispatcher.snapshot.version == 2 or one._rest_until)
    assert status(one, "film") == 503
    one.observe({})
    assert status(one, "film") == 503
    one.observe({1: state})
    assert status(one, "film") == 302
    await one.close()


async def test_settings_are_taken_while_it_runs(tmp_path: Path):
    one = opened(Source(Made(3).title("film")), tmp_path)
    await one.start()
    one.configure(
        DispatcherSettings(policy="least-response-time", formats=["hls"]), MonitorSettings()
    )
    assert status(one, "film") == 406
    one.configure(DispatcherSettings(policy="round-robin"), MonitorSettings())
    assert status(one, "film") == 302
    assert one.dispatcher.chosen["round-robin"] == 1
    with pytest.raises((HelioError, ValueError), match="none of"):
        DispatcherSettings(policy="rubbish")
    await one.close()


async def test_a_server_that_returns_gets_its_share_in_the_time_that_is_set(tmp_path: Path):
    made = Made(2).title("film")
    since = made.states[1].since
    made.states[1] = ServerState(1, Condition.STARTING, 5.0, since, since)
    at = [since.timestamp()]
    slow = MonitorSettings(slow_start_s=300.0)
    one = Dispatching(
        DispatcherSettings(), Source(made), tmp_path, monitor=slow, clock=lambda: at[0]
    )
    await one.look()

    def share(seconds: float) -> float:
        at[0] = since.timestamp() + seconds
        one.observe(made.states)
        return one.dispatcher.fleet.members[1].share

    assert [share(seconds) for seconds in (0, 30, 60, 150, 300)] == [0.1, 0.1, 0.2, 0.5, 1.0]
    one.configure(DispatcherSettings(), MonitorSettings(slow_start_s=10.0))
    assert [share(seconds) for seconds in (0, 5, 10)] == [0.1, 0.5, 1.0]
    at[0] = since.timestamp()
    one.configure(DispatcherSettings(), MonitorSettings(slow_start_s=0.0))
    assert one.dispatcher.fleet.members[1].share == 1.0  # nobody waits for the next look


async def test_a_clock_that_is_set_back_stops_no_reading(tmp_path: Path):
    at = [1e9]
    source = Source(Made().title("film"))
    one = Dispatching(DispatcherSettings(), source, tmp_path, clock=lambda: at[0])
    await one.look()
    at[0] -= 3600
    source.made.title("clip")
    source.made.version += 1

    async def read() -> None:
        while status(one, "clip") != 302:
            await asyncio.sleep(0.01)
            await one.look()

    await asyncio.wait_for(read(), PATIENCE)
    assert one.age() < PATIENCE


async def test_a_copy_that_could_not_be_kept_is_kept_at_the_end(tmp_path: Path):
    directory = tmp_path / "gone"
    one = opened(Source(Made().title("film")), directory)
    await one.look()
    assert one.counters["snapshots_not_kept"] == 1
    directory.mkdir()
    await one.close()
    assert (directory / FILE).exists()


async def test_what_units_say_that_they_send_counts_as_their_servers_load(
    tmp_path: Path, quick: None
) -> None:
    one = opened(Source(Made([server(1, make="heliograph"), server(2)])), tmp_path)
    one.loads = lambda: {"s1": 5e6, "s2": 7e6, "elsewhere": 9e6}
    await one.start()
    members = one.dispatcher.fleet.members
    await until(lambda: one.dispatcher.fleet.committed(members[1])[0] >= 4.9e6)
    assert one.dispatcher.fleet.committed(members[2])[0] == 0
    await one.close()


class Nodes:
    """Nodes of ours and what volumes have."""

    def __init__(self, *names: str) -> None:
        self.doors = [Door(one, f"http://{one}:80", f"rtsp://{one}:554") for one in names]
        self.held: dict[str, tuple[str, int]] = {}

    def all(self) -> list[Door]:
        return self.doors

    def titles(self) -> dict[str, tuple[str, int]]:
        return self.held


@pytest.mark.usefixtures("quick")
async def test_what_volumes_have_is_sent_for_without_the_database_and_when_it_returns_as_it_was(
    tmp_path: Path,
):
    made = Made([server(1, make="heliograph")])
    source = Source(made.title("film", {Format.MP4: ()}).title("clip", {Format.MP4: ()}))
    source.rows = {"aa": StoredTitle("aa", "film", "", 1.0)}
    one = opened(source, tmp_path)
    await one.start()
    await one.close()
    source.away = True
    again = opened(source, tmp_path)
    await again.start()
    nodes = Nodes("s1")
    nodes.held = {"aa": ("film", 1000), "bb": ("clip", 1000)}
    again.send_to(nodes)
    await until(lambda: status(again, "film") == 302)  # it is known from the last time
    assert status(again, "clip") == 404
    source.rows["bb"] = StoredTitle("bb", "clip", "", 1.0)
    loads = source.loads
    source.away = False  # the version is the same
    await until(lambda: status(again, "clip") == 302)
    await asyncio.sleep(0.1)
    assert source.loads == loads + 1
    await again.close()


@pytest.mark.usefixtures("quick")
async def test_what_the_catalogue_withholds_is_known_without_the_database(tmp_path: Path):
    made = Made(1).title("hidden", {}, published=False).title("new", {}).title("shown", {})
    source = Source(made)
    names = {"aa": "hidden", "bb": "new", "cc": "shown"}
    source.rows = {object: StoredTitle(object, name, "", 1.0) for object, name in names.items()}
    held = [("aa", "hidden"), ("bb", "old"), ("cc", "shown"), ("dd", "being recorded")]

    def withheld(one: Dispatching) -> list[bool]:
        return [one.dispatcher.snapshot.withheld(*title) for title in held]

    one = opened(source, tmp_path)
    assert withheld(one) == [False] * 4
    await one.start()
    assert withheld(one) == [True, True, False, False]
    one.observe(made.states)
    one.nodes_changed()
    assert withheld(one) == [True, True, False, False]
    await one.close()
    source.away = True
    again = opened(source, tmp_path)
    await again.start()
    assert withheld(again) == [True, True, False, False]
    await again.close()


@pytest.mark.usefixtures("quick")
async def test_what_volumes_have_is_sent_for_to_the_nodes_that_are_there(tmp_path: Path):
    servers = [server(1, make="heliograph"), server(2, make="heliograph"), server(3)]
    made = Made(servers).title("film", {Format.MP4: ()}).title("hand", {Format.MP4: ()})
    source = Source(made)
    source.rows = {"aa": StoredTitle("aa", "film", "", 1.0)}
    one = opened(source, tmp_path)
    await one.start()
    assert status(one, "film") == 404
    nodes = Nodes("s1", "s2", "s3", "s4")  # the third server is none of ours, the fourth is none
    nodes.held = {"aa": ("film", 1000), "bb": ("hand", 1000)}  # the second was added by hand
    one.send_to(nodes)
    await until(lambda: status(one, "film") == 302)
    assert status(one, "hand") == 404
    copies = one.dispatcher.copies("film")
    places = {copy.uri for held in copies.values() for copy in held}
    assert {uri.split("/")[2].split(":")[0] for uri in places} == {"s1", "s2"}
    nodes.doors = nodes.doors[1:]
    one.nodes_changed()  # nobody waits for the next look
    (copy,) = one.dispatcher.copies("film")[Format.HLS]
    assert copy.uri == "http://s2:80/hls/film/index.m3u8"
    nodes.held = {}
    await until(lambda: status(one, "film") == 404)
    assert source.loads == 1  # none of it is the database's
    await one.close()


async def test_where_clients_are_is_known_also_while_the_database_is_away(tmp_path: Path) -> None:
    made = Made()
    made.networks += [Network("192.0.2.0/24", "eu/de"), Network("2001:db8::/32", "us")]
    source = Source(made)
    one = opened(source, tmp_path)
    assert one.region("192.0.2.7") == ""
    await one.look()
    source.away = True
    found = [one.region(client) for client in ("192.0.2.7", "2001:db8::7", "198.51.100.1", "")]
    assert found == ["eu/de", "us", "", ""]
