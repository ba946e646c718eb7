"""A node of a striped volume is frozen, or cut off, while its titles are played: what the others'
parity covers is played whole, and nobody waits for long."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
from tests.interop.peers.network import Network
from tests.interop.peers.program import wait_until
from tests.probe.machines import PATIENCE, Machine
from tests.probe.test_volume import SUM, Three, sums

from heliograph.player.network import Feed
from heliograph.player.options import PlayOptions
from heliograph.player.session import Player
from heliograph.player.streams import Stream
from heliograph.player.writing import Writer

pytestmark = [pytest.mark.probe, pytest.mark.timeout(900)]

#: Seconds of the film, and of what is played before a node fails in the middle.
SECONDS, MIDDLE = 12, 3.0
#: Bytes of a block, some 0.4 s: a player has begun with those of others before a death is known.
BLOCK = 1 << 18
#: Seconds that a film may take to begin: a death is known after one, or after three where nobody
#: sees it and orders are not answered; what is still to come is waited for at most five.
BEGIN = 8.0
#: Seconds that it may stand still in all.
STILL = 6.0

#: Seconds in which an import of such a film is over.
IMPORT = 60.0

Fail = Callable[[Machine], None]


def freeze(machine: Machine) -> None:
    machine.program.process.send_signal(signal.SIGSTOP)


def cut(machine: Machine) -> None:
    machine.peer.block()


def recover(machine: Machine) -> None:
    """Undo either."""
    machine.program.process.send_signal(signal.SIGCONT)
    machine.peer.unblock()


def frames(file: Path | str) -> list[str]:
    """Sums of a file's pictures."""
    line = ["ffmpeg", "-v", "error", "-i", str(file), *SUM]
    done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=PATIENCE)
    return sums(done.stdout)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some five megabits a second: a block is about as long as a death takes to be known."""
    file = tmp_path_factory.mktemp("film") / "film.mp4"
    line = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=25"]
    line += ["-f", "lavfi", "-i", "sine", "-t", str(SECONDS), "-vf", "noise=alls=20:allf=t"]
    line += ["-c:v", "libx264", "-preset", "veryfast", "-b:v", "5M", "-maxrate", "5M"]
    line += ["-bufsize", "2M", "-bf", "2", "-g", "25", "-c:a", "aac", str(file)]
    subprocess.run(line, check=True, timeout=180)
    return file


@pytest.fixture(scope="module")
def wanted(film: Path) -> list[str]:
    """What is right."""
    found = frames(film)
    assert len(found) == SECONDS * 25
    return found


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, film: Path, request: pytest.FixtureRequest
) -> Iterator[Three]:
    """``request.param``: ms of silence after which a node counts as gone."""
    network = Network()
    lease = f"lease_ms = {request.param}\n"
    made = Three(tmp_path_factory.mktemp("three"), network, lease)
    try:
        made.start()
        disks = [made.disk(number, name) for number, name in ((1, "a"), (2, "b"), (3, "c"))]
        volume = {"name": "main", "data": 2, "parity": 1, "code": "xor", "block": BLOCK}
        made.order("POST", "/volumes", volume | {"disks": disks})
        made.send(film)
        yield made
    finally:
        for machine in made.machines:
            if hasattr(machine, "program"):
                recover(machine)
        made.close()
        network.close()


@pytest.fixture
def three(site: Three) -> Iterator[Three]:
    """All there, and with all they have, before and after; nothing is ever lost."""

    def whole(machine: Machine) -> bool:
        there = len(machine.ask("/api/v1/storage/titles")["titles"]) >= 1
        (volume,) = machine.ask("/api/v1/storage")["volumes"]
        seen = sum(one["kind"] == "bipartite" for one in machine.ask("/api/v1/names")["names"])
        up = all(one["up"] for one in volume["disks"])
        return there and seen == 3 and up and volume["change"] is None

    def settled() -> None:
        for machine in site.machines:
            wait_until(lambda at=machine: whole(at), PATIENCE, "disks and titles are known")

    settled()
    yield site
    for machine in site.machines:
        recover(machine)
    settled()
    assert site.volume()["lost"] == {"blocks": 0, "titles": []}


def beginner(three: Three) -> Machine:
    """The machine whose disk has the first block of the film."""
    titles = three.machines[0].ask("/api/v1/storage/titles")["titles"]
    (object,) = [one["object"] for one in titles if one["name"] == "film"]
    block = f"blocks/{object[:2]}/{object}/00000/00000000-00"
    (node,) = [
        one["node"] for one in three.volume()["disks"] if (Path(one["path"]) / block).exists()
    ]
    return next(machine for machine in three.machines if machine.node == node)


class Outputs:
    """What is played goes to a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def screen(self, streams: Sequence[Stream]) -> None:
        return None

    def loudspeaker(self, streams: Sequence[Stream]) -> None:
        return None

    def writer(self, streams: Sequence[Stream]) -> Writer:
        return Writer(self._path, {stream.index: stream.track for stream in streams})


async def reached(player: Player, position: float, task: asyncio.Task[None]) -> None:
    """Wait until that media time is shown, or it is over."""
    while player.position <= position and not task.done():  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.01)


class Play:
    """Our player, and what came of it."""

    def __init__(self, machine: Machine, path: Path) -> None:
        url = f"rtsp://{machine.peer.address}:8554/film"
        self.path = path
        self.player = Player([url], PlayOptions(), Outputs(path))
        self.began = self.took = 0.0
        """Seconds until it played, and until it was over."""

    async def run(self, middle: Callable[[], None] = lambda: None) -> None:
        """``middle``: done when some of it was played."""
        task = asyncio.create_task(self.player.run())
        begun = time.monotonic()
        try:
            async with asyncio.timeout(SECONDS + BEGIN + STILL + PATIENCE):
                await reached(self.player, 0.0, task)
                self.began = time.monotonic() - begun
                await reached(self.player, MIDDLE, task)
                middle()
                await task
                self.took = time.monotonic() - begun
        except TimeoutError:
            self.told("not over in time")
            raise
        finally:
            self.player.stop()
            await asyncio.gather(task, return_exceptions=True)

    def told(self, what: str) -> None:
        missing = [one.buffer.counters.missing for one in self.player.pipelines.values()]
        (feed,) = self.player.feeds
        moves = feed.control.moves if feed.control is not None else None
        print(
            f"{what}: {self.player.state} at {self.player.position:.2f} s, began after "
            f"{self.began:.2f} s, over after {self.took:.1f} s, stood still "
            f"{self.player.rebuffered} times; {missing} missing; {moves} moves of control; "
            f"{self.player.remarks}"
        )


def gathered(three: Three, number: int, name: str) -> tuple[list[str], float]:
    """What somebody else's player gets of one machine, and how long that takes."""
    begun = time.monotonic()
    with three.played(number, name=name) as player:
        text, _ = player.communicate(timeout=SECONDS + PATIENCE)
    return sums(text), time.monotonic() - begun


def known(three: Three, number: int, name: str) -> None:
    """Wait until a machine knows a title."""

    def titles() -> list[str]:
        found = three.machines[number - 1].ask("/api/v1/storage/titles")["titles"]
        return [one["name"] for one in found]

    wait_until(lambda: name in titles(), PATIENCE, f"machine {number} knows {name}")


@pytest.mark.parametrize("site", [1000, 3000], indirect=True)
@pytest.mark.parametrize("how", [freeze, cut])
@pytest.mark.parametrize("when", ["before DESCRIBE", "before SETUP", "in the middle"])
async def test_a_title_comes_whole_though_the_node_that_begins_fails(
    three: Three,
    wanted: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    when: str,
    how: Fail,
) -> None:
    """It has the first block, and nobody has noted its death when the film is asked for."""
    machine = beginner(three)
    other = three.machines[three.machines.index(machine) - 1]
    start = Feed.start

    async def failing(feed: Feed, at: float | None = None) -> None:
        how(machine)
        await start(feed, at)

    if when == "before DESCRIBE":
        how(machine)
    elif when == "before SETUP":
        monkeypatch.setattr(Feed, "start", failing)
    play = Play(other, tmp_path / "film.mkv")
    await play.run(partial(how, machine) if when == "in the middle" else lambda: None)
    play.told(f"{how.__name__} {when}")
    assert frames(play.path) == wanted
    assert play.began < BEGIN
    assert play.took < SECONDS + BEGIN + STILL


@pytest.mark.parametrize("site", [1000], indirect=True)
@pytest.mark.parametrize("how", [freeze, cut])
async def test_a_title_goes_on_though_the_node_in_control_fails(
    three: Three, wanted: list[str], tmp_path: Path, how: Fail
) -> None:
    machine = three.machines[0]
    play = Play(machine, tmp_path / "film.mkv")
    await play.run(partial(how, machine))
    play.told(f"{how.__name__} control")
    assert frames(play.path) == wanted
    assert play.took < SECONDS + BEGIN + STILL


@pytest.mark.parametrize("site", [1000], indirect=True)
@pytest.mark.parametrize("how", [freeze, cut])
@pytest.mark.parametrize("seconds", [0.0, 3.0])
def test_other_players_get_all_of_it_though_a_node_fails(
    three: Three, wanted: list[str], how: Fail, seconds: float
) -> None:
    """One server gathers what the others have. ``seconds``: how long it plays by then."""
    machine = beginner(three)
    number = (three.machines.index(machine) + 1) % 3 + 1
    failing = threading.Timer(seconds, how, [machine])
    failing.start()
    if not seconds:
        failing.join()
    found, took = gathered(three, number, "film")
    failing.join()
    print(f"{how.__name__} after {seconds:g} s: over after {took:.1f} s")
    assert found == wanted
    assert took < SECONDS + BEGIN


@pytest.mark.parametrize("site", [1000], indirect=True)
@pytest.mark.parametrize("how", [freeze, cut])
def test_an_import_is_whole_though_a_node_fails_meanwhile(
    three: Three, film: Path, wanted: list[str], how: Fail
) -> None:
    first, failing = three.machines[0], three.machines[1]
    name = f"taken-{how.__name__}"
    begun = time.monotonic()
    assert first.send_film(name, film)[0] == 202
    how(failing)

    def state() -> tuple[str, str]:
        imports = first.ask("/api/v1/storage/imports")["imports"]
        return next((one["state"], one["error"]) for one in imports if one["name"] == name)

    wait_until(lambda: state()[0] in ("done", "failed"), IMPORT, "the import is over")
    print(f"{how.__name__}: {state()} after {time.monotonic() - begun:.1f} s")
    assert state() == ("done", "")
    known(three, 3, name)
    assert gathered(three, 3, name)[0] == wanted
    recover(failing)
    wait_until(
        lambda: (
            three.volume()["change"] is None and all(one["up"] for one in three.volume()["disks"])
        ),
        PATIENCE,
        "all is where it is to be",
    )
    assert three.verified(name)["good"]
    known(three, 2, name)
    assert gathered(three, 2, name)[0] == wanted


@pytest.mark.parametrize("site", [1000], indirect=True)
@pytest.mark.parametrize("how", [freeze, cut])
def test_a_disk_is_made_anew_though_a_node_fails_meanwhile(
    three: Three, wanted: list[str], how: Fail
) -> None:
    """A disk is gone and a node besides: more than parity covers, for as long as that is away."""
    failing, losing = three.machines[1:]
    (lost,) = [one for one in three.volume()["disks"] if one["node"] == losing.node]
    three.order("POST", "/volumes/main/disks", three.disk(3, f"spare-{how.__name__}"))
    three.whole()
    shutil.rmtree(lost["path"], ignore_errors=True)  # its node goes on writing there
    three.order("PATCH", "/volumes/main", {"move": 500_000})
    three.order("DELETE", f"/volumes/main/disks/{lost['id']}?force=true")
    assert three.volume()["change"] is not None
    how(failing)
    begun = time.monotonic()
    found, took = gathered(three, 1, "film")
    print(f"{how.__name__}: {len(found)} pictures of {len(wanted)} in {took:.1f} s meanwhile")
    assert set(found) <= set(wanted)
    assert took < SECONDS + 60
    assert three.volume()["lost"] == {"blocks": 0, "titles": []}
    recover(failing)
    three.order("PATCH", "/volumes/main", {"move": 50_000_000})
    three.whole()
    print(f"whole {time.monotonic() - begun:.1f} s after it failed")
    three.verify()
    assert gathered(three, 2, "film")[0] == wanted
