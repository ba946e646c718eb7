"""View tokens: what is signed, what is refused, and why."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.catalogue.tokens import (
    LEEWAY,
    MAX_LIFETIME,
    Fault,
    SigningKey,
    ViewToken,
    issue,
    new_key,
    verify,
)
from heliograph.model.errors import MalformedError
from heliograph.model.media import CHANNEL_NAME

KEY = SigningKey("k1", bytes(range(32)))
KEYS = {"k1": KEY}
TOKEN = ViewToken("demo", "anna", 1000, 1000, 2000, "id-1")


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def forge(payload: object, key: SigningKey = KEY) -> str:
    """A token made without this module's code."""
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    signed = "v1." + encode(body)
    return signed + "." + encode(hmac.new(key.secret, signed.encode(), hashlib.sha256).digest())


GOOD = {"k": "k1", "c": "demo", "s": "anna", "i": 1000, "n": 1000, "e": 2000, "j": "id-1"}


def test_token_says_what_was_put_in() -> None:
    assert verify(issue(TOKEN, KEY), KEYS, channel="demo", now=1500) == TOKEN
    single = replace(TOKEN, single=True, subject="Änne <b>")
    assert verify(issue(single, KEY), KEYS, channel="demo", now=1500) == single


def test_a_second_implementation_agrees() -> None:
    assert verify(forge(GOOD), KEYS, channel="demo", now=1500) == TOKEN


@pytest.mark.parametrize(
    ("now", "verdict"),
    [
        (1000 - LEEWAY - 0.1, Fault.EARLY),
        (1000 - LEEWAY, TOKEN),
        (1999.9, TOKEN),
        (2000, Fault.EXPIRED),
        (1e12, Fault.EXPIRED),
    ],
)
def test_time(now: float, verdict: object) -> None:
    assert verify(issue(TOKEN, KEY), KEYS, channel="demo", now=now) == verdict


def test_each_fault_is_told() -> None:
    text = issue(TOKEN, KEY)
    assert verify(text, KEYS, channel="other", now=1500) is Fault.CHANNEL
    assert verify(text, KEYS, channel="demo", now=1500, revoked={"id-1"}) is Fault.REVOKED
    assert verify(text, {}, channel="demo", now=1500) is Fault.SIGNATURE
    assert verify(text, {"k1": new_key("k1")}, channel="demo", now=1500) is Fault.SIGNATURE


def test_keys_can_be_changed_while_old_tokens_live() -> None:
    second = new_key("k2")
    keys = {"k1": KEY, "k2": second}
    for key in keys.values():
        assert verify(issue(TOKEN, key), keys, channel="demo", now=1500) == TOKEN


@pytest.mark.parametrize(
    "text",
    [
        "",
        "v1",
        "v1..",
        "v2" + issue(TOKEN, KEY)[2:],
        issue(TOKEN, KEY) + "A",
        issue(TOKEN, KEY) + "\n",
        " " + issue(TOKEN, KEY),
        issue(TOKEN, KEY).replace(".", "..", 1),
        forge(b"[]"),
        forge(b"[" * 500),
        forge(b"\xff\xfe"),
        forge({**GOOD, "alg": "none"}),
        forge({**GOOD, "e": "2000"}),
        forge({**GOOD, "e": 2000.0}),
        forge({**GOOD, "e": True}),
        forge({**GOOD, "e": 10**30}),
        forge({**GOOD, "e": 1000 + MAX_LIFETIME + 1}),
        forge({**GOOD, "i": -1}),
        forge({**GOOD, "u": 0}),
        forge({**GOOD, "u": None, "x": 1}),
        forge({**GOOD, "j": ""}),
        forge({**GOOD, "k": "x" * 99}),
        forge({**GOOD, "s": "x" * 65}),
        forge({name: value for name, value in GOOD.items() if name != "e"}),
        "x" * 100_000,
    ],
)
def test_malformed_whoever_signed_it(text: str) -> None:
    assert verify(text, KEYS, channel="demo", now=1500) is Fault.MALFORMED


def test_one_token_has_one_spelling() -> None:
    text = issue(TOKEN, KEY)
    head, last = text[:-1], text[-1]
    accepted = [
        char
        for char in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        if isinstance(verify(head + char, KEYS, channel="demo", now=1500), ViewToken)
    ]
    assert accepted == [last]


@given(st.text(max_size=300))
def test_any_text_gives_a_fault(text: str) -> None:
    assert isinstance(verify(text, KEYS, channel="demo", now=1500), Fault)


@given(st.integers(0, len(issue(TOKEN, KEY)) - 1), st.characters())
def test_any_changed_character_gives_a_fault(place: int, char: str) -> None:
    text = issue(TOKEN, KEY)
    if text[place] != char:
        changed = text[:place] + char + text[place + 1 :]
        assert isinstance(verify(changed, KEYS, channel="demo", now=1500), Fault)


@given(
    st.from_regex(CHANNEL_NAME, fullmatch=True),
    st.text(max_size=64),
    st.integers(0, 2**40),
    st.integers(1, MAX_LIFETIME),
    st.booleans(),
)
def test_what_is_issued_is_verified(
    channel: str, subject: str, start: int, life: int, single: bool
) -> None:
    token = ViewToken(channel, subject, start, start, start + life, "a", single)
    assert verify(issue(token, KEY), KEYS, channel=channel, now=start) == token


@pytest.mark.parametrize(
    "token",
    [
        replace(TOKEN, channel=""),
        replace(TOKEN, subject="x" * 65),
        replace(TOKEN, expires=1000),
        replace(TOKEN, id="not an id"),
        replace(TOKEN, expires=1000 + MAX_LIFETIME + 1),
    ],
)
def test_values_out_of_range_are_not_signed(token: ViewToken) -> None:
    with pytest.raises(MalformedError):
        issue(token, KEY)
