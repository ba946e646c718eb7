"""The texts of the chat's WebSocket format."""

from __future__ import annotations

import contextlib
import json
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.live import chat_wire as wire
from heliograph.live.chat_entries import Backlog, ChatLimits, Message, Muted
from heliograph.model.errors import (
    BusyError,
    ConflictError,
    ForbiddenError,
    HelioError,
    MalformedError,
    NotFoundError,
    TooLargeError,
    UnauthorizedError,
)


@pytest.mark.parametrize(
    ("text", "request_"),
    [
        ('{"type":"hello"}', wire.Hello("", "", "")),
        ('{"type":"hello","guest":"g","name":"n","cursor":"c"}', wire.Hello("g", "n", "c")),
        ('{"type":"say","nonce":"n1","text":"<b>ü</b>"}', wire.Say("n1", "<b>ü</b>")),
        ('{"type":"name","nonce":"n1","name":"Anna"}', wire.Name("n1", "Anna")),
        ('{"type":"delete","nonce":"n1","message":7}', wire.Delete("n1", 7)),
        ('{"type":"mute","nonce":"n1","author":"a","seconds":60}', wire.Mute("n1", "a", 60.0)),
        ('{"type":"mute","nonce":"n1","author":"a"}', wire.Mute("n1", "a", None)),
        ('{"type":"unmute","nonce":"n1","author":"a"}', wire.Unmute("n1", "a")),
        ('{"type":"slow","nonce":"n1","seconds":0}', wire.SetSlow("n1", 0.0)),
        ('{"type":"clear","nonce":"n1"}', wire.Clear("n1")),
        ('{"type":"ping","t":1}', wire.Ping()),
        ('{"type":"dance"}', None),
    ],
)
def test_requests(text: str, request_: wire.Request | None) -> None:
    assert wire.parse(text.encode()) == request_


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "[]",
        "null",
        "{}",
        '{"type":1}',
        '{"type":"say","text":"no nonce"}',
        '{"type":"say","nonce":"a b","text":"x"}',
        '{"type":"say","nonce":"n1","text":1}',
        '{"type":"delete","nonce":"n1","message":"7"}',
        '{"type":"delete","nonce":"n1","message":true}',
        '{"type":"delete","nonce":"n1","message":1.5}',
        '{"type":"slow","nonce":"n1"}',
        '{"type":"slow","nonce":"n1","seconds":-1}',
        '{"type":"slow","nonce":"n1","seconds":NaN}',
        '{"type":"slow","nonce":"n1","seconds":true}',
        '{"type":"mute","nonce":"n1","author":"a","seconds":1e999}',
        "[" * 5000,
        '{"type":"delete","nonce":"n1","message":' + "9" * 5000 + "}",
    ],
)
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        wire.parse(text.encode())


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_whatever_comes_is_a_request_or_refused(data: bytes) -> None:
    with contextlib.suppress(MalformedError):
        wire.parse(data)


def test_half_a_surrogate_pair_can_be_sent_on() -> None:
    request = wire.parse(b'{"type":"say","nonce":"n","text":"a\\ud83d"}')
    assert isinstance(request, wire.Say)
    request.text.encode()


def test_longest_message_fits_however_it_is_escaped() -> None:
    text = "\U0001f600" * ChatLimits().max_text
    say = {"type": "say", "nonce": "n" * 64, "text": text}
    assert len(json.dumps(say).encode()) <= wire.MAX_MESSAGE


def test_history_says_how_things_stand() -> None:
    entries = (Message(1, "a", "A", "<i>", 1.0004, "n1"), Muted(2, "a", None, "net"))
    history = json.loads(wire.history(Backlog(entries, "e.2", True, 5.0, inf)))
    assert history["muted"] == {"until": None}
    assert [entry["type"] for entry in history["entries"]] == ["message", "muted"]
    assert (history["entries"][0]["text"], history["entries"][0]["at"]) == ("<i>", 1.0)
    # Where somebody is, is nobody's business.
    assert "net" not in history["entries"][1]
    assert json.loads(wire.history(Backlog((), "e.2", False, 0.0)))["muted"] is None


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (BusyError("", subject="rate"), "rate"),
        (BusyError("", subject="database"), "busy"),
        (ForbiddenError("", subject="muted"), "muted"),
        (ForbiddenError("", subject="name"), "name"),
        (ConflictError("", subject="name"), "name_taken"),
        (MalformedError("name", ""), "name_bad"),
        (TooLargeError("", subject="name"), "name_bad"),
        (TooLargeError("", subject="message"), "too_large"),
        (UnauthorizedError("", subject="demo"), "sign_in"),
        (NotFoundError("", subject="demo"), "unknown"),
        (MalformedError("chat", ""), "malformed"),
    ],
)
def test_reasons(error: HelioError, reason: str) -> None:
    assert json.loads(wire.refused("n", error))["reason"] == reason
    assert json.loads(wire.end(error))["reason"] == reason
