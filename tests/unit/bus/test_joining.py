"""Tokens, requests and answers of a node that joins."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.bus.authority import Authority
from heliograph.bus.identity import Identity
from heliograph.bus.joining import JoinRequest, JoinToken
from heliograph.model.errors import MalformedError, UnauthorizedError

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
AUTHORITY = Authority.make(NOW)
TOKEN = JoinToken.make(AUTHORITY.certificate, 8080, 1_800_000_000)


def test_a_token_can_be_copied() -> None:
    text = TOKEN.text()
    assert text.isalnum()
    assert text == text.lower()
    assert len(text) < 100
    assert JoinToken.parse(f" {text.upper()}\n") == TOKEN
    assert TOKEN.secret.hex() not in repr(TOKEN)


@pytest.mark.parametrize(
    "text",
    ["", "helio", TOKEN.text()[:-3], TOKEN.text()[5:], "helioé", "x"],
    ids=["empty", "start", "cut", "without its start", "letters", "short"],
)
def test_what_is_no_token_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(MalformedError) as caught:
        JoinToken.parse(text)
    assert len(text) < 6 or text not in str(caught.value)


@given(st.text())
def test_any_text_is_a_token_or_refused(text: str) -> None:
    for given_text in (text, "helio" + text):
        with pytest.raises(MalformedError):
            JoinToken.parse(given_text)


def test_a_request_proves_token_and_node(tmp_path: Path) -> None:
    identity = Identity.load(tmp_path)
    request = JoinRequest.parse(**TOKEN.request(identity, "box"))
    assert (request.token, request.node, request.name) == (TOKEN.id, identity.node, "box")
    assert request.public_key == identity.public_key
    assert request.proves(TOKEN.verifier)
    other = JoinToken.make(AUTHORITY.certificate, 8080, 1)
    assert not request.proves(other.verifier)
    assert not request.proves(replace(TOKEN, secret=bytes(16)).verifier)
    assert not request.proves(b"")


def test_a_request_for_the_key_of_another_node_is_refused(tmp_path: Path) -> None:
    one, other = Identity.load(tmp_path / "1"), Identity.load(tmp_path / "2")
    body = TOKEN.request(one, "box")
    with pytest.raises(UnauthorizedError):
        JoinRequest.parse(**(body | {"public_key": other.public_key.hex()}))
    with pytest.raises(UnauthorizedError):
        JoinRequest.parse(**(body | {"name": "box2"}))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("token", ""),
        ("token", "zz" * 8),
        ("public_key", "00" * 31),
        ("public_key", " " * 64),
        ("name", ""),
        ("name", "a b"),
        ("name", "x" * 65),
        ("proof", "00"),
        ("possession", ""),
    ],
)
def test_what_is_no_request_is_refused(tmp_path: Path, name: str, value: str) -> None:
    body = TOKEN.request(Identity.load(tmp_path), "box")
    with pytest.raises(MalformedError):
        JoinRequest.parse(**(body | {name: value}))


def test_an_answer_is_taken_of_the_right_cluster_alone(tmp_path: Path) -> None:
    identity, other = Identity.load(tmp_path / "1"), Identity.load(tmp_path / "2")
    good = {
        "authority": AUTHORITY.certificate,
        "certificate": AUTHORITY.issue(identity.public_key, NOW),
    }
    authority, certificate, found = TOKEN.accept(good, identity, NOW)
    assert found.node == identity.node
    identity.join(authority, certificate, NOW)
    assert identity.credentials(NOW) is not None
    false = Authority.make(NOW)
    with pytest.raises(UnauthorizedError):
        TOKEN.accept(
            {
                "authority": false.certificate,
                "certificate": false.issue(identity.public_key, NOW),
            },
            identity,
            NOW,
        )
    for wrong in (
        {},
        good | {"certificate": false.issue(identity.public_key, NOW)},
        good | {"certificate": AUTHORITY.issue(other.public_key, NOW)},
        good | {"authority": 1},
        good | {"certificate": ""},
    ):
        with pytest.raises(MalformedError):
            TOKEN.accept(wrong, identity, NOW)
