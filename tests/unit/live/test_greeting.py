"""Two reflectors agree on a link, and nobody else can in their place."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from heliograph.live.connections.compose import LinkKind
from heliograph.live.greeting import Terms, answer, greet, settle
from heliograph.model.errors import ForbiddenError, MalformedError
from heliograph.model.nodes import node_id

CHACHA_TCP = LinkKind.parse("chacha/tcp")


def key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


ANN, BOB, EVE = key(), key(), key()


def id_of(one: Ed25519PrivateKey):
    return node_id(one.public_key().public_bytes_raw())


@pytest.mark.parametrize(("kind", "size"), [("crypto/udp", 16), ("chacha/tcp", 32)])
def test_both_have_the_same_two_keys_the_other_way_round(kind: str, size: int):
    made_of = LinkKind.parse(kind)
    pending, greeting = greet(ANN, id_of(BOB), Terms(1, 7450, made_of))
    bobs, said = answer(BOB, greeting, Terms(9, 7451))
    anns = settle(ANN, pending, said)
    assert (anns.send_key, anns.receive_key) == (bobs.receive_key, bobs.send_key)
    assert anns.send_key != anns.receive_key
    assert len(anns.send_key) == len(anns.receive_key) == size
    assert (anns.peer, anns.terms) == (id_of(BOB), Terms(9, 7451, made_of))
    assert (bobs.peer, bobs.terms) == (id_of(ANN), Terms(1, 7450, made_of))


def test_every_link_has_keys_of_its_own():
    _, greeting = greet(ANN, id_of(BOB), Terms(1, 7450))
    once, _ = answer(BOB, greeting, Terms(9, 7451))
    again, _ = answer(BOB, greeting, Terms(9, 7451))
    assert once.send_key != again.send_key


def test_keys_are_not_shown():
    _, greeting = greet(ANN, id_of(BOB), Terms(1, 7450))
    agreed, _ = answer(BOB, greeting, Terms(9, 7451))
    assert "send_key" not in repr(agreed)
    assert "receive_key" not in repr(agreed)


def test_a_greeting_for_another_is_refused():
    _, greeting = greet(ANN, id_of(BOB), Terms(1, 7450))
    with pytest.raises(ForbiddenError, match="is for"):
        answer(EVE, greeting, Terms(9, 7451))


def test_nobody_answers_for_another():
    pending, _ = greet(ANN, id_of(BOB), Terms(1, 7450))
    _, for_eve = greet(ANN, id_of(EVE), Terms(1, 7450))
    _, said = answer(EVE, for_eve, Terms(9, 7451))
    with pytest.raises(ForbiddenError):
        settle(ANN, pending, said)


def test_an_answer_to_another_greeting_is_refused():
    _, before = greet(ANN, id_of(BOB), Terms(1, 7450))
    _, said = answer(BOB, before, Terms(9, 7451))
    pending, _ = greet(ANN, id_of(BOB), Terms(1, 7450))
    with pytest.raises(ForbiddenError, match="signed"):
        settle(ANN, pending, said)


def test_an_answer_for_a_link_of_another_kind_is_refused():
    pending, greeting = greet(ANN, id_of(BOB), Terms(1, 7450))
    _, said = answer(BOB, greeting, Terms(9, 7451, CHACHA_TCP))
    assert said["connection"] == "crypto/udp"
    with pytest.raises(ForbiddenError, match="crypto/udp"):
        settle(ANN, replace(pending, kind=CHACHA_TCP), said)


@pytest.mark.parametrize("name", ["for", "share", "link", "port", "connection", "key"])
def test_whatever_is_changed_on_the_way_is_noticed(name):
    _, greeting = greet(ANN, id_of(BOB), Terms(1, 7450))
    changed = copy.deepcopy(greeting)
    _, other = greet(EVE, id_of(EVE), Terms(2, 7451, CHACHA_TCP))
    changed[name] = other[name]
    with pytest.raises(ForbiddenError):
        answer(BOB, changed, Terms(9, 7451))


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"share": "AAAA"},
        {"share": 7},
        {"signature": "!"},
        {"for": "somebody"},
        {"link": 0},
        {"link": 1 << 32},
        {"port": True},
        {"key": None},
        {"connection": "udp"},
        {"connection": "plain/udp"},
        {"connection": "crypto/multicast/udp"},
        {"connection": None},
    ],
    ids=str,
)
def test_what_is_no_greeting_is_malformed(change):
    _, greeting = greet(ANN, id_of(BOB), Terms(1, 7450))
    with pytest.raises(MalformedError):
        answer(BOB, {**greeting, **change}, Terms(9, 7451))


@pytest.mark.parametrize("name", ["version", "key", "for", "share", "link", "port", "signature"])
def test_what_is_missing_is_malformed(name):
    _, greeting = greet(ANN, id_of(BOB), Terms(1, 7450))
    del greeting[name]
    with pytest.raises(MalformedError):
        answer(BOB, greeting, Terms(9, 7451))


def test_a_share_that_is_no_secret_is_refused():
    from heliograph.live import greeting as module

    pending, said = greet(ANN, id_of(BOB), Terms(1, 7450))
    said["share"] = module._text(bytes(32))
    unsigned = {name: said[name] for name in said if name != "signature"}
    said["signature"] = module._text(ANN.sign(module._GREETING + module._signed(unsigned)))
    with pytest.raises(MalformedError, match="no secret"):
        answer(BOB, said, Terms(9, 7451))
    assert pending.peer == id_of(BOB)
