"""Who may read, write and moderate a chat."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from heliograph.catalogue.rights import ChannelView, Person, Proof
from heliograph.catalogue.values import Account, Role, ViewAccess
from heliograph.live.admission import Access
from heliograph.live.chat_entries import Badge
from heliograph.live.chat_policy import KEY_AUTHOR, Policy, Visitor, judge
from heliograph.model.errors import ForbiddenError, HelioError, NotFoundError, UnauthorizedError

NOW = datetime(2026, 3, 1, tzinfo=UTC)
ANNA = Account(7, "anna", "Anna A.", Role.VIEWER, NOW)
OWNER = Account(1, "otto", "Otto", Role.BROADCASTER, NOW)
ADMIN = Account(2, "adam", "Adam", Role.ADMINISTRATOR, NOW)
OPEN = ChannelView("demo", Person(1, Role.BROADCASTER))
GUEST = Visitor("192.0.2.1")


def seat(view: ChannelView, account: Account | None = None, **visitor: object):
    return judge(Policy(view), replace(GUEST, account=account, **visitor))


def test_guests_write_where_they_may() -> None:
    assert seat(OPEN).write == "yes"
    assert (seat(OPEN).author, seat(OPEN).badge) == ("", Badge.GUEST)
    assert seat(replace(OPEN, guests_chat=False)).write == "sign_in"
    assert seat(replace(OPEN, guests_chat=False), ANNA).write == "yes"


@pytest.mark.parametrize(
    ("account", "moderator", "badge"),
    [
        (ANNA, False, Badge.NONE),
        (OWNER, True, Badge.OWNER),
        (ADMIN, True, Badge.MODERATOR),
    ],
)
def test_owner_and_administrators_moderate(account: Account, moderator: bool, badge: Badge) -> None:
    found = seat(OPEN, account)
    assert (found.moderator, found.badge) == (moderator, badge)
    assert found.author == f"account:{account.id}"
    assert found.names[0] == account.display_name


def test_administrators_key_moderates_without_an_account() -> None:
    found = seat(replace(OPEN, private=True), key=True)
    assert (found.author, found.moderator, found.write) == (KEY_AUTHOR, True, "yes")


def test_names_of_an_account_fit() -> None:
    long = replace(ANNA, display_name="x" * 32, name="y" * 32)
    assert all(0 < len(name) <= 32 for name in seat(OPEN, long).names)


PRIVATE = replace(OPEN, private=True)
ACCOUNTS = replace(OPEN, view_access=ViewAccess.ACCOUNTS)


@pytest.mark.parametrize(
    ("view", "account", "error"),
    [
        (PRIVATE, None, NotFoundError),
        (PRIVATE, ANNA, NotFoundError),
        (ACCOUNTS, None, UnauthorizedError),
        (replace(OPEN, view_access=ViewAccess.INVITED), ANNA, ForbiddenError),
    ],
)
def test_who_may_not_watch_does_not_read(
    view: ChannelView, account: Account | None, error: type[HelioError]
) -> None:
    with pytest.raises(error):
        seat(view, account)


def test_view_token_opens_a_private_channel() -> None:
    assert seat(PRIVATE, proof=Proof(view_token=True)).write == "yes"
    assert seat(ACCOUNTS, ANNA).write == "yes"


def test_disabled_account_is_nobody() -> None:
    gone = replace(OWNER, disabled=NOW)
    assert not seat(OPEN, gone).moderator
    with pytest.raises(HelioError):
        seat(PRIVATE, gone)


def test_addresses_and_viewers_keys_hold_for_the_chat() -> None:
    policy = Policy(OPEN, access=Access.of(["198.51.100.0/24"]))
    with pytest.raises(ForbiddenError):
        judge(policy, GUEST)
    judge(policy, replace(GUEST, peer="198.51.100.7"))
    keyed = Policy(OPEN, key_needed=True)
    with pytest.raises(UnauthorizedError):
        judge(keyed, GUEST)
    judge(keyed, replace(GUEST, proof=Proof(view_token=True)))
    judge(keyed, replace(GUEST, account=OWNER))
