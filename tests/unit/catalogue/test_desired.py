"""What the manager was told: kept over its end, and changed only by who has its lease."""

from __future__ import annotations

import pytest
from tests.unit.catalogue.conftest import quick_passwords
from tests.unit.catalogue.test_leases import run_out

from heliograph.catalogue import desired
from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.desired import Closing, DesiredState
from heliograph.catalogue.leases import Lease
from heliograph.catalogue.values import Actor
from heliograph.model.errors import ForbiddenError, MalformedError, TooManyError, WrongStateError

ANNA = Actor("anna", "192.0.2.1")
UNIT, OTHER, GONE = "a" * 16, "b" * 16, "c" * 16


@pytest.fixture
async def lease(catalogue: Catalogue) -> Lease:
    taken = await catalogue.leases.acquire("manager", "first", 600)
    assert taken is not None
    return taken


async def test_it_is_there_after_a_restart(catalogue: Catalogue, store: str, lease: Lease) -> None:
    assert await catalogue.desired.load() == DesiredState()
    await catalogue.desired.set_drained(UNIT, True, lease, ANNA)
    await catalogue.desired.set_drained(OTHER, True, lease, ANNA)
    await catalogue.desired.set_drained(OTHER, False, lease, ANNA)
    await catalogue.desired.set_kept("demo", 7, lease, ANNA)
    await catalogue.desired.set_kept("demo", 5, lease, ANNA)
    await catalogue.desired.set_kept("gone", 3, lease, ANNA)
    await catalogue.desired.set_kept("gone", 0, lease, ANNA)
    await catalogue.desired.set_drained(GONE, True, lease, ANNA, removed=True)
    await catalogue.desired.set_drained(GONE, True, lease, ANNA)  # it stays what it is
    await catalogue.desired.set_closed("demo", True, lease, ANNA)
    await catalogue.desired.set_closed("gone", True, lease, ANNA)
    await catalogue.desired.set_closed("gone", False, lease, ANNA)
    again = await Catalogue.open(store, passwords=quick_passwords())
    assert await again.desired.load() == DesiredState(
        frozenset({UNIT, GONE}), {"demo": 5}, frozenset({GONE}), frozenset({"demo"})
    )
    await again.close()


async def test_each_change_has_its_line_in_the_audit_log(
    catalogue: Catalogue, lease: Lease
) -> None:
    for _ in range(2):  # what was so already is not told of
        await catalogue.desired.set_drained(UNIT, True, lease, ANNA)
        await catalogue.desired.set_kept("demo", 4, lease, ANNA)
    for _ in range(2):
        await catalogue.desired.set_drained(UNIT, True, lease, ANNA, removed=True)
        await catalogue.desired.set_closed("demo", True, lease, ANNA)
    await catalogue.desired.set_drained(UNIT, False, lease, ANNA)
    await catalogue.desired.set_closed("demo", False, lease, ANNA)
    await catalogue.desired.note("channel.move", "demo", lease, ANNA, unit=UNIT)
    lines = await catalogue.audit.read()
    assert [(line.action, line.subject, dict(line.detail)) for line in reversed(lines)] == [
        ("unit.drain", UNIT, {"epoch": 1}),
        ("channel.keep", "demo", {"groups": 4, "before": 1, "epoch": 1}),
        ("unit.remove", UNIT, {"epoch": 1}),
        ("channel.close", "demo", {"epoch": 1}),
        ("unit.return", UNIT, {"epoch": 1}),
        ("channel.open", "demo", {"epoch": 1}),
        ("channel.move", "demo", {"unit": UNIT, "epoch": 1}),
    ]
    assert {(line.actor, line.address) for line in lines} == {("anna", "192.0.2.1")}


async def test_nothing_is_wanted_of_a_channel_that_an_administrator_deleted(
    catalogue: Catalogue, lease: Lease
) -> None:
    for name in ("demo", "yard", "elsewhere"):
        await catalogue.desired.set_closed(name, True, lease, ANNA)
        await catalogue.desired.set_kept(name, 3, lease, ANNA)
    await catalogue.channels.create("demo", by=ANNA)
    await catalogue.channels.delete("demo", by=ANNA, closing=Closing.LIFTED)  # of this database
    await catalogue.desired.forget("elsewhere", Closing.LIFTED, lease, ANNA)  # of another node's
    await catalogue.desired.forget("elsewhere", Closing.LIFTED, lease, ANNA)
    wanted = await catalogue.desired.load()
    assert (wanted.closed, wanted.kept) == (frozenset({"yard"}), {"yard": 3})
    lines = await catalogue.audit.read(subject="elsewhere")
    assert [one.action for one in lines].count("channel.forget") == 1


async def test_a_closed_channel_outlives_its_owners_wish_to_delete_it(
    catalogue: Catalogue, lease: Lease
) -> None:
    await catalogue.channels.create("demo", by=ANNA)
    await catalogue.desired.set_closed("demo", True, lease, ANNA)
    with pytest.raises(ForbiddenError, match="closed") as caught:
        await catalogue.channels.delete("demo", by=ANNA, closing=Closing.REFUSED)
    assert caught.value.subject == "demo"
    assert "demo" in await catalogue.channels.standings("demo")
    await catalogue.desired.set_closed("demo", False, lease, ANNA)
    await catalogue.channels.delete("demo", by=ANNA, closing=Closing.REFUSED)
    assert await catalogue.channels.standings("demo") == {}


async def test_a_name_stays_closed_unless_that_is_lifted(
    catalogue: Catalogue, lease: Lease
) -> None:
    for name in ("demo", "elsewhere"):
        await catalogue.desired.set_closed(name, True, lease, ANNA)
        await catalogue.desired.set_kept(name, 3, lease, ANNA)
    await catalogue.channels.create("demo", by=ANNA)
    await catalogue.channels.delete("demo", by=ANNA)
    await catalogue.desired.forget("elsewhere", Closing.KEPT, lease, ANNA)
    wanted = await catalogue.desired.load()
    assert (wanted.closed, wanted.kept) == (frozenset({"demo", "elsewhere"}), {})


async def refused(catalogue: Catalogue, lease: Lease) -> None:
    before = await catalogue.desired.load()
    with pytest.raises(WrongStateError) as caught:
        await catalogue.desired.set_drained(OTHER, True, lease, ANNA)
    assert caught.value.subject == "manager"
    with pytest.raises(WrongStateError):
        await catalogue.desired.set_kept("other", 9, lease, ANNA)
    with pytest.raises(WrongStateError):
        await catalogue.desired.set_closed("other", True, lease, ANNA)
    with pytest.raises(WrongStateError):
        await catalogue.desired.note("channel.move", OTHER, lease, ANNA)
    with pytest.raises(WrongStateError):
        await catalogue.desired.forget("demo", Closing.LIFTED, lease, ANNA)
    assert await catalogue.desired.load() == before
    assert await catalogue.audit.read(subject=OTHER) == []


async def test_who_lost_the_lease_changes_nothing(catalogue: Catalogue, lease: Lease) -> None:
    await catalogue.leases.release(lease)
    await refused(catalogue, lease)  # nobody has it
    second = await catalogue.leases.acquire("manager", "second", 600)
    assert second is not None
    await refused(catalogue, lease)
    await catalogue.desired.set_drained(UNIT, True, second, ANNA)
    await catalogue.leases.release(second)
    third = await catalogue.leases.acquire("manager", "first", 600)
    assert third is not None
    await refused(catalogue, lease)  # the same holder, of an epoch before
    await catalogue.desired.set_drained(UNIT, False, third, ANNA)


async def test_who_let_the_lease_run_out_changes_nothing(catalogue: Catalogue) -> None:
    lease = await catalogue.leases.acquire("manager", "slow", 0.05)
    assert lease is not None
    await run_out(catalogue)
    await refused(catalogue, lease)


async def test_what_cannot_be_wanted(
    catalogue: Catalogue, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MalformedError):
        await catalogue.desired.set_drained("no unit", True, lease, ANNA)
    with pytest.raises(MalformedError):
        await catalogue.desired.set_kept("no channel", 2, lease, ANNA)
    with pytest.raises(MalformedError):
        await catalogue.desired.set_kept("demo", 10**9, lease, ANNA)
    monkeypatch.setattr(desired, "MAX_ROWS", 1)
    await catalogue.desired.set_drained(UNIT, True, lease, ANNA)
    await catalogue.desired.set_kept("demo", 2, lease, ANNA)
    with pytest.raises(TooManyError):
        await catalogue.desired.set_drained(OTHER, True, lease, ANNA)
    with pytest.raises(TooManyError):
        await catalogue.desired.set_kept("other", 2, lease, ANNA)
