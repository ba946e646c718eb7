"""Who may do what: every combination, against a second and naive implementation."""

from __future__ import annotations

from itertools import product

import pytest

from heliograph.catalogue.rights import (
    Action,
    ChannelView,
    Person,
    Proof,
    Reason,
    decide,
    may_administer,
    may_create_channels,
    require,
)
from heliograph.catalogue.values import Role, ViewAccess
from heliograph.model.errors import ForbiddenError, NotFoundError, UnauthorizedError

PEOPLE = [None] + [
    Person(number, role, disabled)
    for number, (role, disabled) in enumerate(product(Role, (False, True)))
]
CHANNELS = [
    ChannelView("demo", owner, private, access, guests)
    for owner, private, access, guests in product(PEOPLE, (False, True), ViewAccess, (False, True))
]
PROOFS = [Proof(key, token) for key, token in product((False, True), repeat=2)]


def naive(action: Action, channel: ChannelView, person: Person | None, proof: Proof) -> bool:
    """The rules as one would tell them to somebody, one sentence a line."""
    known = person if person and not person.disabled else None
    is_admin = known is not None and known.role == Role.ADMINISTRATOR
    is_owner = known is not None and channel.owner is not None and known.id == channel.owner.id
    broadcasts = {Role.BROADCASTER, Role.ADMINISTRATOR}
    owner_is_well = channel.owner is None or (
        not channel.owner.disabled and channel.owner.role in broadcasts
    )
    open_to = {
        ViewAccess.EVERYONE: True,
        ViewAccess.ACCOUNTS: known is not None,
        ViewAccess.INVITED: False,
    }[channel.view_access]
    views = is_admin or is_owner or proof.view_token or (open_to and not channel.private)
    if action is Action.VIEW:
        return views
    if action is Action.LIST:
        return views or not channel.private
    if action is Action.CHAT:
        return views and (known is not None or channel.guests_chat)
    masters = is_admin or (is_owner and owner_is_well)
    if action is Action.PUBLISH:
        return masters or (proof.stream_key and owner_is_well)
    return masters


@pytest.mark.parametrize("action", Action)
def test_table(action: Action) -> None:
    count = 0
    for channel, person, proof in product(CHANNELS, PEOPLE, PROOFS):
        allowed = decide(action, channel, person, proof).allowed
        assert allowed == naive(action, channel, person, proof), (channel, person, proof)
        count += 1
    assert count == 7 * 2 * 3 * 2 * 7 * 4


@pytest.mark.parametrize("action", Action)
def test_private_channel_is_unknown_to_whom_it_is_not_shown(action: Action) -> None:
    for channel, person in product(CHANNELS, PEOPLE):
        if not channel.private or decide(Action.VIEW, channel, person).allowed:
            continue
        with pytest.raises(NotFoundError, match="no channel 'demo'"):
            require(action, channel, person)


def test_a_disabled_account_is_nobody() -> None:
    for channel, proof, role, action in product(CHANNELS, PROOFS, Role, Action):
        assert decide(action, channel, Person(1, role, True), proof) == decide(
            action, channel, None, proof
        )


OWNER = Person(1, Role.BROADCASTER)
OTHER = Person(2, Role.BROADCASTER)
DEMO = ChannelView("demo", OWNER)


def test_refusals_say_what_would_help() -> None:
    with pytest.raises(UnauthorizedError, match="sign in to edit"):
        require(Action.EDIT, DEMO, None)
    with pytest.raises(ForbiddenError, match="may not moderate"):
        require(Action.MODERATE, DEMO, OTHER)
    gone = ChannelView("demo", Person(1, Role.BROADCASTER, disabled=True))
    with pytest.raises(ForbiddenError, match="owner"):
        require(Action.PUBLISH, gone, None, Proof(stream_key=True))
    assert require(Action.PUBLISH, DEMO, None, Proof(stream_key=True)) is Reason.KEY


@pytest.mark.parametrize(
    ("person", "creates", "administers"),
    [
        (None, False, False),
        (Person(1, Role.VIEWER), False, False),
        (Person(1, Role.BROADCASTER), True, False),
        (Person(1, Role.ADMINISTRATOR), True, True),
        (Person(1, Role.ADMINISTRATOR, disabled=True), False, False),
    ],
)
def test_roles(person: Person | None, creates: bool, administers: bool) -> None:
    assert may_create_channels(person) == creates
    assert may_administer(person) == administers
