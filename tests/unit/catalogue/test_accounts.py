"""Accounts: who may be made, changed, recognised."""

from __future__ import annotations

import asyncio
import logging
from unittest import mock

import pytest
from argon2 import PasswordHasher
from tests.unit.catalogue.conftest import GOOD, Clock, quick_passwords

from heliograph.catalogue.catalogue import Catalogue
from heliograph.catalogue.passwords import MAX_WAITING, Passwords, check_password
from heliograph.catalogue.values import Actor, Role
from heliograph.model.errors import (
    BusyError,
    ConflictError,
    MalformedError,
    NotFoundError,
    TooLargeError,
    UnauthorizedError,
)

ADMIN = Actor("root", "192.0.2.7")


KEY = "printed-at-the-start"


async def test_first_administrator_is_made_with_the_printed_key_once(catalogue: Catalogue) -> None:
    assert await catalogue.accounts.allow_first(KEY)
    with pytest.raises(UnauthorizedError):
        await catalogue.accounts.create_first(KEY[:-1] + "0", "eve", GOOD, address="192.0.2.1")
    made = await catalogue.accounts.create_first(KEY, "Root", GOOD, address="192.0.2.2")
    assert (made.name, made.role) == ("root", Role.ADMINISTRATOR)
    assert not await catalogue.accounts.allow_first(KEY)
    with pytest.raises(UnauthorizedError):
        await catalogue.accounts.create_first(KEY, "second", GOOD)


async def test_key_of_an_earlier_start_is_good_no_more(catalogue: Catalogue) -> None:
    await catalogue.accounts.allow_first("old")
    await catalogue.accounts.allow_first("new")
    with pytest.raises(UnauthorizedError):
        await catalogue.accounts.create_first("old", "root", GOOD)
    await catalogue.accounts.create_first("new", "root", GOOD)


async def test_each_node_has_a_key_for_the_first_administrator(catalogue: Catalogue) -> None:
    await catalogue.accounts.allow_first("old", node="a")
    await catalogue.accounts.allow_first("one", node="a")
    await catalogue.accounts.allow_first("two", node="b")
    with pytest.raises(UnauthorizedError):
        await catalogue.accounts.create_first("old", "root", GOOD)
    outcomes = await asyncio.gather(
        catalogue.accounts.create_first("one", "root", GOOD),
        catalogue.accounts.create_first("two", "other", GOOD),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, UnauthorizedError) for outcome in outcomes) == 1
    assert await catalogue.accounts.count() == 1


async def test_bad_name_or_password_does_not_use_the_key_up(catalogue: Catalogue) -> None:
    await catalogue.accounts.allow_first(KEY)
    with pytest.raises(MalformedError):
        await catalogue.accounts.create_first(KEY, "root", "short")
    with pytest.raises(MalformedError):
        await catalogue.accounts.create_first(KEY, "<root>", GOOD)
    await catalogue.accounts.create_first(KEY, "root", GOOD)


async def test_account_is_known_by_name_and_password(catalogue: Catalogue) -> None:
    made = await catalogue.accounts.create("Anna", GOOD, Role.BROADCASTER, display_name="Anna Ö")
    assert await catalogue.accounts.authenticate(" ANNA ", GOOD) == made
    assert made.display_name == "Anna Ö"
    assert made.created.utcoffset() is not None


@pytest.mark.parametrize("name", ["anna", "nobody", "", "x" * 5000, "a\0b", "\ud800"])
@pytest.mark.parametrize("password", ["wrong password", "", "y" * 100_000, "\ud800" * 12])
async def test_wrong_credentials_are_one_refusal(
    catalogue: Catalogue, name: str, password: str
) -> None:
    await catalogue.accounts.create("anna", GOOD)
    with pytest.raises(UnauthorizedError, match="name or the password is wrong"):
        await catalogue.accounts.authenticate(name, password)


async def test_unknown_name_costs_a_hash_as_well(catalogue: Catalogue) -> None:
    await catalogue.accounts.create("anna", GOOD)
    for name in ("nobody", "anna", "nobody"):
        with (
            mock.patch.object(PasswordHasher, "verify", return_value=False) as verify,
            pytest.raises(UnauthorizedError),
        ):
            await catalogue.accounts.authenticate(name, "wrong password")
        assert verify.call_count == 1


async def test_composed_and_decomposed_letters_are_one_password(catalogue: Catalogue) -> None:
    await catalogue.accounts.create("anna", "schöne Grüße")
    await catalogue.accounts.authenticate("anna", "scho\u0308ne Gru\u0308ße")


async def test_hash_is_renewed_when_the_parameters_change(store: str) -> None:
    first = await Catalogue.open(store, passwords=quick_passwords())
    await first.accounts.create("anna", GOOD)
    await first.close()
    stronger = PasswordHasher(time_cost=2, memory_cost=16, parallelism=1)
    second = await Catalogue.open(store, passwords=Passwords(stronger))
    with mock.patch.object(PasswordHasher, "hash", autospec=True, side_effect=PasswordHasher.hash):
        await second.accounts.authenticate("anna", GOOD)
    # The stored one is of the new kind now: nothing is hashed again.
    with mock.patch.object(PasswordHasher, "hash") as hashed:
        await second.accounts.authenticate("anna", GOOD)
    hashed.assert_not_called()
    await second.close()


@pytest.mark.parametrize(
    ("password", "error"),
    [
        ("", MalformedError),
        ("123456789", MalformedError),
        ("x" * 257, TooLargeError),
        ("with\0control", MalformedError),
        ("\ud800" * 12, MalformedError),
    ],
)
def test_password_rules(password: str, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        check_password(password)
    assert not password or password not in str(caught.value)


@pytest.mark.parametrize("password", ["1234567890", "x" * 256, "ein langer Satz mit Ümlaut"])
def test_passwords_that_do(password: str) -> None:
    assert check_password(password) == password


async def test_hashing_is_bounded() -> None:
    passwords = quick_passwords()
    passwords._waiting = MAX_WAITING
    with pytest.raises(BusyError):
        await passwords.verify(None, GOOD)
    assert passwords.overflows == 1
    passwords.close()


async def test_names_are_unique_whatever_the_case(catalogue: Catalogue) -> None:
    await catalogue.accounts.create("anna", GOOD)
    with pytest.raises(ConflictError):
        await catalogue.accounts.create("ANNA", GOOD)
    assert await catalogue.accounts.count() == 1


@pytest.mark.parametrize("name", ["a", "", "-anna", "anna b", "änna", "x" * 33, "аnna", "a/b"])
async def test_names_to_sign_in_with_are_plain(catalogue: Catalogue, name: str) -> None:
    with pytest.raises(MalformedError):
        await catalogue.accounts.create(name, GOOD)


async def test_disabled_account_cannot_sign_in_and_is_signed_out(catalogue: Catalogue) -> None:
    await catalogue.accounts.create("anna", GOOD)
    opened = await catalogue.sessions.sign_in("anna", GOOD)
    changed = await catalogue.accounts.update("anna", disabled=True, by=ADMIN)
    assert changed.disabled is not None
    assert await catalogue.sessions.find(opened.token) is None
    with pytest.raises(UnauthorizedError):
        await catalogue.accounts.authenticate("anna", GOOD)
    with pytest.raises(UnauthorizedError):
        await catalogue.sessions.create(opened.session.account)
    await catalogue.accounts.update("anna", disabled=False)
    await catalogue.accounts.authenticate("anna", GOOD)


async def test_an_account_administers_the_domains_it_was_given_last(catalogue: Catalogue) -> None:
    made = await catalogue.accounts.create("anna", GOOD)
    assert made.domains == ()
    for given in (["eu", "asia", "eu"], ["asia"], []):
        changed = await catalogue.accounts.update("anna", domains=given, by=ADMIN)
        assert changed.domains == tuple(sorted(set(given)))
        assert (await catalogue.accounts.get("anna")).domains == changed.domains
    await catalogue.accounts.update("anna", display_name="Anna")
    lines = await catalogue.audit.read(limit=4)
    assert [line.detail.get("domains") for line in lines] == [None, "", "asia", "asia eu"]
    longest = [f"{number:032}" for number in range(20)]
    assert (await catalogue.accounts.update("anna", domains=longest)).domains == tuple(longest)


@pytest.mark.parametrize("wrong", [["a b"], ["A"], [""], ["x" * 33], [str(n) for n in range(21)]])
async def test_what_can_be_no_domain_changes_nothing(
    catalogue: Catalogue, wrong: list[str]
) -> None:
    await catalogue.accounts.create("anna", GOOD)
    with pytest.raises(MalformedError):
        await catalogue.accounts.update("anna", domains=wrong)
    assert (await catalogue.accounts.get("anna")).domains == ()


async def test_new_password_signs_out_everywhere(catalogue: Catalogue) -> None:
    await catalogue.accounts.create("anna", GOOD)
    opened = await catalogue.sessions.sign_in("anna", GOOD)
    await catalogue.accounts.set_password("anna", "another sentence")
    assert await catalogue.sessions.find(opened.token) is None
    with pytest.raises(UnauthorizedError):
        await catalogue.accounts.authenticate("anna", GOOD)
    await catalogue.accounts.authenticate("anna", "another sentence")


async def test_last_administrator_stays(catalogue: Catalogue) -> None:
    await catalogue.accounts.create("root", GOOD, Role.ADMINISTRATOR)
    with pytest.raises(ConflictError):
        await catalogue.accounts.update("root", role=Role.VIEWER)
    with pytest.raises(ConflictError):
        await catalogue.accounts.update("root", disabled=True)
    with pytest.raises(ConflictError):
        await catalogue.accounts.delete("root")
    await catalogue.accounts.create("second", GOOD, Role.ADMINISTRATOR)
    await catalogue.accounts.delete("root")
    assert [account.name for account in await catalogue.accounts.list()] == ["second"]


async def test_account_with_channels_is_not_removed(catalogue: Catalogue) -> None:
    await catalogue.accounts.create("anna", GOOD)
    await catalogue.channels.create("hers", owner="anna")
    with pytest.raises(ConflictError, match="1 channel"):
        await catalogue.accounts.delete("anna")
    await catalogue.channels.give("hers", None)
    await catalogue.accounts.delete("anna")
    with pytest.raises(NotFoundError):
        await catalogue.accounts.get("anna")


async def test_number_of_a_removed_account_is_not_given_again(catalogue: Catalogue) -> None:
    first = await catalogue.accounts.create("anna", GOOD)
    await catalogue.accounts.delete("anna")
    assert (await catalogue.accounts.create("berta", GOOD)).id != first.id


async def test_list_is_in_pages(catalogue: Catalogue) -> None:
    for name in ("cc", "aa", "bb"):
        await catalogue.accounts.create(name, GOOD)
    page = await catalogue.accounts.list(limit=2)
    assert [account.name for account in page] == ["aa", "bb"]
    rest = await catalogue.accounts.list(after="bb", limit=2)
    assert [account.name for account in rest] == ["cc"]


async def test_guesses_at_an_account_are_slowed_and_end(catalogue: Catalogue, clock: Clock) -> None:
    await catalogue.accounts.create("anna", GOOD)
    for number in range(6):  # each from another network
        with pytest.raises(UnauthorizedError):
            await catalogue.accounts.authenticate("anna", "a guess", address=f"10.0.0.{number}")
    for name in ("anna", " ANNA "):
        with pytest.raises(BusyError) as caught:
            await catalogue.accounts.authenticate(name, GOOD, address="10.0.1.1")
        assert caught.value.retry_after
    clock.move(seconds=30)
    await catalogue.accounts.authenticate("anna", GOOD, address="2001:db8::1")


async def test_nothing_secret_is_shown(catalogue: Catalogue, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    await catalogue.accounts.create("anna", GOOD)
    opened = await catalogue.sessions.sign_in("anna", GOOD)
    assert opened.token not in repr(opened)
    audit = repr(await catalogue.audit.read())
    for secret in (GOOD, opened.token):
        assert secret not in audit
        assert secret not in caplog.text
