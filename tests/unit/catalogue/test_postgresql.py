"""PostgreSQL away and back: calls fail soon with an error of ours, and go on by themselves."""

from __future__ import annotations

import asyncio
import gc
import re
import signal
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import structlog
from sqlalchemy import text
from tests.interop.peers.postgresql import PostgreSQL
from tests.ports import free_port
from tests.unit.catalogue.conftest import GOOD, Clock, quick_passwords

from heliograph.catalogue import engine
from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.engine import Database
from heliograph.catalogue.leases import Lease
from heliograph.model.errors import BusyError, HelioError, ResourceError, SettingsError
from heliograph.node.database import open_catalogue

#: Seconds within which every call has ended, whatever the server does. The constants of the engine
#: add up to seven; the rest is for a busy machine.
BOUND = 15.0
AWAY = (ResourceError, BusyError)
#: What the log says of a start that waits.
WAITING = "database is away; tried again"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    """One that may be killed. What it acknowledges is with the operating system at least."""
    own = PostgreSQL({"synchronous_commit": "on"})
    yield own
    own.close()


@pytest.fixture
def store(server: PostgreSQL) -> Iterator[str]:
    name = server.create()
    yield server.url(name)
    server.drop(name)


@pytest.fixture(autouse=True)
async def _no_task_fails_unheard() -> AsyncIterator[None]:
    failed: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: failed.append(context))
    yield
    gc.collect()  # tasks tell of errors nobody asked for when they are forgotten
    await asyncio.sleep(0)
    assert failed == []


async def outcome(catalogue: Catalogue, name: str) -> str | HelioError:
    """Make a channel; its name, or the error, which comes in time."""
    began = time.monotonic()
    try:
        return (await catalogue.channels.create(name)).name
    except AWAY as error:
        return error
    finally:
        assert time.monotonic() - began < BOUND


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGQUIT, signal.SIGINT])
async def test_ended_and_started_again(
    catalogue: Catalogue, server: PostgreSQL, how: signal.Signals
) -> None:
    await catalogue.channels.create("before")
    server.stop(how)
    for _ in range(3):
        with pytest.raises(ResourceError):
            await catalogue.channels.list()
        with pytest.raises(ResourceError):
            await catalogue.leases.acquire("manager", "a", 2)
    server.start()
    # At once, with connections of before in the pool.
    assert [channel.name for channel in await catalogue.channels.list()] == ["before"]
    await asyncio.gather(*(catalogue.channels.create(f"c{number}") for number in range(20)))
    assert await catalogue.leases.acquire("manager", "a", 2) is not None


async def test_restart_that_nobody_saw(catalogue: Catalogue, server: PostgreSQL) -> None:
    await asyncio.gather(*(catalogue.channels.list() for _ in range(20)))
    server.stop(signal.SIGKILL)
    server.start()
    assert await asyncio.gather(*(catalogue.channels.list() for _ in range(20))) == [[]] * 20


async def test_who_is_signed_in_stays_so(
    catalogue: Catalogue, server: PostgreSQL, clock: Clock
) -> None:
    await catalogue.accounts.create("anna", GOOD)
    known = await catalogue.sessions.sign_in("anna", GOOD)
    unseen = await catalogue.sessions.sign_in("anna", GOOD)
    assert await catalogue.sessions.find(known.token) is not None
    server.stop()
    clock.move(minutes=30)
    found = await catalogue.sessions.find(known.token)
    assert found is not None
    assert found.account.name == "anna"
    with pytest.raises(ResourceError):
        await catalogue.sessions.find(unseen.token)
    clock.move(hours=1)
    with pytest.raises(ResourceError):
        await catalogue.sessions.find(known.token)
    server.start()
    assert await catalogue.sessions.find(known.token) is not None
    assert await catalogue.sessions.find(unseen.token) is not None


async def test_who_was_signed_out_elsewhere_is_not_believed(
    catalogue: Catalogue, server: PostgreSQL, store: str, clock: Clock
) -> None:
    await catalogue.accounts.create("anna", GOOD)
    made = await catalogue.sessions.sign_in("anna", GOOD)
    assert await catalogue.sessions.find(made.token) is not None
    other = await Catalogue.open(store, passwords=quick_passwords(), now=clock.now)
    await other.sessions.sign_out(made.token)
    await other.close()
    clock.move(seconds=10)
    assert await catalogue.sessions.find(made.token) is None
    server.stop()
    with pytest.raises(ResourceError):
        await catalogue.sessions.find(made.token)
    server.start()


async def test_what_was_acknowledged_outlives_a_kill_in_the_midst_of_writing(
    catalogue: Catalogue, server: PostgreSQL
) -> None:
    written = asyncio.Event()
    names: set[str] = set()

    async def write(task: int) -> None:
        for number in range(10_000):
            made = await outcome(catalogue, f"c{task}-{number}")
            if not isinstance(made, str):
                return
            names.add(made)
            written.set()

    tasks = [asyncio.create_task(write(task)) for task in range(20)]
    await asyncio.wait_for(written.wait(), BOUND)
    server.stop(signal.SIGKILL)
    await asyncio.gather(*tasks)
    server.start()
    stored = {channel.name for channel in await catalogue.channels.list()}
    told = {line.subject for line in await catalogue.audit.read(limit=500)}
    assert names <= stored
    assert len(stored) > 500 or stored == told


async def test_server_that_says_nothing(catalogue: Catalogue, server: PostgreSQL) -> None:
    """Connections stay open and new ones are taken by the kernel: only time tells."""
    await asyncio.gather(*(catalogue.channels.list() for _ in range(20)))
    server.freeze()
    try:
        outcomes = await asyncio.gather(*(outcome(catalogue, f"c{n}") for n in range(40)))
        assert not [made for made in outcomes if isinstance(made, str)]
        assert isinstance(await outcome(catalogue, "late"), AWAY)
    finally:
        server.freeze(False)
    async with asyncio.timeout(BOUND):  # nothing of then is in the way now
        assert await outcome(catalogue, "after") == "after"


async def test_who_waits_no_longer_is_let_go_at_once(
    catalogue: Catalogue, server: PostgreSQL
) -> None:
    """However long the server takes: a manager that renews its lease has no time for that."""

    async def interrupted() -> None:
        async with catalogue._context.database.write() as session:
            await session.execute(text("UPDATE channels SET title = 'x'"))
            server.freeze()
            await session.execute(text("UPDATE channels SET title = 'y'"))

    await asyncio.gather(*(catalogue.channels.list() for _ in range(5)))
    try:
        for call in (interrupted(), catalogue.channels.list(), catalogue.leases.current("x")):
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(call, 0.2)
            assert time.monotonic() - began < 1.5
    finally:
        server.freeze(False)
    assert await outcome(catalogue, "after") == "after"


async def test_silence_in_the_midst_of_a_transaction(
    catalogue: Catalogue, server: PostgreSQL
) -> None:
    async def interrupted() -> None:
        async with catalogue._context.database.write() as session:
            await session.execute(text("UPDATE channels SET title = 'x'"))
            server.freeze()
            await session.execute(text("UPDATE channels SET title = 'y'"))

    try:
        with pytest.raises(ResourceError):
            await asyncio.wait_for(interrupted(), BOUND)
    finally:
        server.freeze(False)
    assert await outcome(catalogue, "after") == "after"


async def test_statement_that_waits_for_too_long(
    store: str, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "COMMAND_TIMEOUT", 0.3)
    impatient = await Catalogue.open(store, passwords=quick_passwords())
    await catalogue.channels.create("demo")
    async with catalogue._context.database.write() as session:
        await session.execute(text("UPDATE channels SET title = 'x'"))
        with pytest.raises(AWAY):
            await impatient.channels.update("demo", title="y")
        assert (await impatient.channels.get("demo")).title == ""
    await impatient.channels.update("demo", title="z")
    assert (await catalogue.channels.get("demo")).title == "z"
    await impatient.close()


async def test_who_stands_still_in_a_transaction_keeps_nobody_waiting(
    store: str, catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = await catalogue.leases.acquire("manager", "a", 0.05)
    assert lease is not None
    monkeypatch.setattr(engine, "ABANDONED", 0.5)
    frozen = Database(store)

    async def stand_still() -> None:
        async with frozen.write() as session:
            await session.execute(text("UPDATE leases SET ttl = 1"))
            locked.set()
            await taken.wait()
            await session.execute(text("UPDATE leases SET ttl = 2"))

    locked, taken = asyncio.Event(), asyncio.Event()
    standing = asyncio.create_task(stand_still())
    await asyncio.wait_for(locked.wait(), BOUND)
    async with asyncio.timeout(BOUND):
        later = None
        while later is None:
            later = await attempt(catalogue)
    taken.set()
    with pytest.raises(ResourceError):
        await standing
    await frozen.close()
    assert await catalogue.leases.current("manager") == later


async def attempt(catalogue: Catalogue) -> Lease | None:
    try:
        return await catalogue.leases.acquire("manager", "b", 60)
    except AWAY:
        return None


async def test_server_that_became_a_standby_is_left(
    store: str, catalogue: Catalogue, server: PostgreSQL
) -> None:
    """A proxy or a name leads to the new primary as soon as one connects anew."""
    await catalogue.channels.create("demo")
    database = store.rpartition("/")[2]
    server.sql(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
    async with catalogue._context.database.write() as session:
        await session.execute(text("SET default_transaction_read_only = on"))
    server.sql(f"ALTER DATABASE {database} SET default_transaction_read_only = off")
    assert isinstance(await outcome(catalogue, "refused"), ResourceError)
    assert await outcome(catalogue, "after") == "after"


async def test_migration_may_take_its_time(
    server: PostgreSQL, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "COMMAND_TIMEOUT", 0.3)
    monkeypatch.setattr(engine, "ABANDONED", 0.3)
    other = Database(store)
    async with other.unhurried() as connection:
        await connection.execute(text("SELECT pg_sleep(1)"))
    await other.close()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (("/d", "/none"), ResourceError),
        (("heliograph@", "nobody:secret@"), ResourceError),
        (("127.0.0.1", "no-such-host.invalid"), ResourceError),
        (("?", "?sslmode=require&"), ResourceError),
        (("?", "?sslmode=strange&"), ResourceError),
        (("?", "?pool_size=7&"), SettingsError),
    ],
)
async def test_addresses_that_lead_nowhere(
    store: str, change: tuple[str, str], error: type[HelioError]
) -> None:
    with pytest.raises(error) as caught:
        await Catalogue.open((store + "?").replace(*change), passwords=quick_passwords())
    assert "secret" not in str(caught.value)


async def test_addresses_that_lead_there(server: PostgreSQL, store: str) -> None:
    name = store.rpartition("/")[2]
    for url in (
        f"postgresql://heliograph@/{name}?host={server.directory}&port={server.port}",
        f"{store}?sslmode=prefer&application_name=here",
        f"postgresql://heliograph@/{name}?host=127.0.0.1:1&host=127.0.0.1:{server.port}"
        "&target_session_attrs=read-write",
    ):
        opened = await Catalogue.open(url, passwords=quick_passwords())
        assert await opened.check() == []
        await opened.close()


async def test_who_starts_while_it_is_away_waits_for_it(server: PostgreSQL, store: str) -> None:
    server.stop()
    with structlog.testing.capture_logs() as lines:
        opening = asyncio.create_task(open_catalogue(store, first=0.01))
        try:
            await told(lines, 3)
        finally:
            server.start()  # by this thread: it ends with the one that started it
        async with asyncio.timeout(3 * BOUND):
            catalogue = await opening
    assert await catalogue.check() == []
    await catalogue.close()
    assert all("127.0.0.1" in line["error"] for line in lines if line["event"] == WAITING)


async def test_who_starts_waits_for_one_that_says_nothing_and_may_be_stopped_at_once(
    server: PostgreSQL, store: str
) -> None:
    server.freeze()
    try:
        with structlog.testing.capture_logs() as lines:
            opening = asyncio.create_task(open_catalogue(store, first=0.01))
            await told(lines, 1)
            opening.cancel()
            began = time.monotonic()
            with pytest.raises(asyncio.CancelledError):
                await opening
            assert time.monotonic() - began < BOUND
    finally:
        server.freeze(False)


async def test_who_starts_does_not_wait_for_ever() -> None:
    url = f"postgresql://heliograph@127.0.0.1:{free_port()}/none"
    with pytest.raises(ResourceError, match=r"tried for 0.05 s \(database.url\)"):
        await open_catalogue(url, patience=0.05, first=0.01)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("/d", "/none"), "does not exist"),
        (("heliograph@", "someone:secret@"), "password authentication failed"),
        (("heliograph@", "nobody:secret@"), 'no pg_hba.conf entry|"nobody" does not exist'),
        (("?", "?sslmode=require&"), "SSL"),
        (("?", "?sslmode=strange&"), "sslmode"),
    ],
)
async def test_who_starts_does_not_wait_for_what_waiting_does_not_mend(
    server: PostgreSQL, store: str, change: tuple[str, str], said: str
) -> None:
    rules = server.data / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text("host all someone 127.0.0.1/32 scram-sha-256\n" + before)
    server.sql("DROP ROLE IF EXISTS someone")
    server.sql("CREATE ROLE someone LOGIN PASSWORD 'another'")
    server.sql("SELECT pg_reload_conf()")
    try:
        with structlog.testing.capture_logs() as lines, pytest.raises(ResourceError) as caught:
            await open_catalogue((store + "?").replace(*change))
    finally:
        rules.write_text(before)
    assert re.search(said, caught.value.message)
    assert caught.value.message.endswith("(database.url)")
    assert "secret" not in caught.value.message
    assert lines == []


async def told(lines: list[Any], count: int) -> None:
    """Wait for so many lines of a start that waits."""
    async with asyncio.timeout(3 * BOUND):
        while [line["event"] for line in lines].count(WAITING) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
