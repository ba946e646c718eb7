"""Tickets by which one node lets a viewer in at another."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.catalogue.rights import Action, Person, Reason
from heliograph.catalogue.tokens import ViewToken
from heliograph.catalogue.values import Role
from heliograph.live import tickets
from heliograph.live.grants import Grant
from heliograph.live.tickets import (
    LEEWAY,
    LIFETIME,
    MAX_TICKET,
    Ticket,
    TicketElsewhere,
    TicketError,
    TicketExpired,
    TicketForged,
    TicketMalformed,
    TicketMismatched,
    Tickets,
    TicketStranger,
    TicketUsed,
    read,
    sign,
)
from heliograph.model.errors import BusyError, TooLargeError
from heliograph.model.nodes import node_id

KEY = Ed25519PrivateKey.generate()
PORTAL = node_id(KEY.public_key().public_bytes_raw())
UNIT, OTHER, KEEPER = (node_id(bytes([one]) * 32) for one in range(3))
NOW = 1_760_000_000.25
PUBLIC = Grant(Action.VIEW, Reason.PUBLIC)
TICKET = Ticket(UNIT, "demo", KEEPER, "place-7", NOW + LIFETIME, PUBLIC, 3)


def gate(*known: str) -> Tickets:
    return Tickets(UNIT, (known or (PORTAL,)).__contains__)


def accept(text: str, at: Tickets | None = None, **other: object) -> Ticket:
    asked = {"channel": "demo", "home": KEEPER, "holder": "192.0.2.1", "now": NOW, **other}
    return (at or gate()).accept(text, **asked)


def test_a_ticket_is_taken_by_its_unit_and_says_what_its_maker_said():
    text = sign(KEY, TICKET)
    assert read(text) == (PORTAL, TICKET)
    at = gate()
    assert accept(text, at) == TICKET
    assert at.counters == {"tickets_accepted": 1, "tickets_refused": 0}


def test_the_longest_ticket_fits_into_an_address():
    token = ViewToken("c" * 64, "someone", 1_760_000_000, 1_760_000_000, 1_790_000_000, "a" * 16)
    grant = Grant(Action.VIEW, Reason.TOKEN, token=token)
    long = replace(TICKET, channel="c" * 64, reservation="r" * 43, grant=grant)
    text = sign(KEY, long)
    assert len(text) <= MAX_TICKET
    assert read(text)[1].grant.token == replace(token, subject="")
    with pytest.raises(TooLargeError):
        sign(KEY, replace(long, reservation="r" * 120))


def test_whom_an_account_let_in_is_taken_at_the_others_word():
    grant = Grant(Action.VIEW, Reason.SIGNED_IN, person=Person(7, Role.VIEWER))
    _, found = read(sign(KEY, replace(TICKET, grant=grant)))
    assert found.grant == Grant(Action.VIEW, Reason.AUTHORITY)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"now": NOW + LIFETIME + LEEWAY + 0.1}, TicketExpired),
        ({"now": NOW - LEEWAY - 0.1}, TicketExpired),
        ({"channel": "other"}, TicketMismatched),
        ({"home": OTHER}, TicketMismatched),
        ({"at": gate(OTHER)}, TicketStranger),
        ({"at": Tickets(OTHER, lambda node: True)}, TicketElsewhere),
    ],
)
def test_a_ticket_that_is_not_good_is_refused_in_the_same_words(change, error):
    with pytest.raises(error) as refused:
        accept(sign(KEY, TICKET), **change)
    assert (refused.value.status, str(refused.value)) == (401, "the ticket is not good")


def test_a_clock_that_is_a_little_beside_the_makers_does_no_harm():
    text = sign(KEY, TICKET)
    accept(text, now=NOW + LIFETIME + LEEWAY - 0.1)
    accept(text, now=NOW - LEEWAY + 0.1)


def test_only_who_came_first_may_come_again():
    text, at = sign(KEY, TICKET), gate()
    accept(text, at)
    accept(text, at, now=NOW + 1)
    with pytest.raises(TicketUsed):
        accept(text, at, holder="192.0.2.2")
    assert at.counters["tickets_refused"] == 1


def test_what_is_remembered_of_tickets_is_bounded_and_none_is_good_twice(monkeypatch):
    monkeypatch.setattr(tickets, "MAX_USED", 3)
    at = gate()
    many = [sign(KEY, replace(TICKET, id=f"{n:024x}")) for n in range(4)]
    for text in many[:3]:
        accept(text, at)
    with pytest.raises(BusyError):
        accept(many[3], at)
    with pytest.raises(TicketUsed):
        accept(many[0], at, holder="192.0.2.2")
    later = NOW + LIFETIME + LEEWAY + 1
    accept(sign(KEY, replace(TICKET, id="f" * 24, expires=later)), at, now=later)
    assert at.remembered == 1


@pytest.mark.parametrize("place", [0, 1, 33, 45, 53, 60, 80, -1])
def test_a_changed_ticket_is_refused(place):
    text = sign(KEY, TICKET)
    index = place * 4 // 3 if place >= 0 else -1
    other = "A" if text[index] != "A" else "Q"
    changed = text[:index] + other + (text[index + 1 :] if place >= 0 else "")
    with pytest.raises((TicketForged, TicketMalformed)):
        read(changed)


@pytest.mark.parametrize("text", ["", "x", "a b", "=" * 8, "A" * 513, "ü", "AQ" * 100])
def test_what_is_no_ticket_is_refused(text):
    with pytest.raises(TicketMalformed):
        read(text)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80) | st.text("ABCab01-_", min_size=100, max_size=600))
def test_any_text_is_a_ticket_or_a_typed_error(text):
    with pytest.raises(TicketError):
        accept(text)


@settings(max_examples=50, deadline=None)
@given(
    st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z"),
    st.from_regex(r"\A[!-~]{0,40}\Z"),
    st.integers(0, 1 << 43),
    st.integers(0, 65_535),
)
def test_what_is_signed_is_read(channel, reservation, ms, index):
    ticket = Ticket(UNIT, channel, KEEPER, reservation, ms / 1000, PUBLIC, index)
    assert read(sign(KEY, ticket)) == (PORTAL, ticket)
