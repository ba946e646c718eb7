"""Messages: what is written is read, and anything else is refused."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.bus import wire
from heliograph.bus.presence import News
from heliograph.model import errors
from heliograph.model.errors import HelioError, MalformedError, TooLargeError
from heliograph.model.telling import MAX_TEXT, Teller

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)  # fmt: skip


@given(JSON)
def test_values_come_out_as_they_went_in(value: wire.Json) -> None:
    try:
        data = wire.encode(value)
    except MalformedError:
        return  # half of a pair of UTF-16, which no text has
    assert wire.decode(data) == value
    assert wire.decode_answer(wire.encode_answer(value)) == value
    assert wire.decode_request(wire.encode_request("n", 1.5, value)) == wire.Asked("n", 1.5, value)


@given(st.binary() | JSON.map(lambda value: repr(value).encode("utf-8", "replace")))
def test_anything_else_is_refused_by_its_error_alone(data: bytes) -> None:
    for read in (wire.decode, wire.decode_request, lambda d: News.from_json(wire.decode(d))):
        with contextlib.suppress(MalformedError):
            read(data)
    with contextlib.suppress(HelioError):
        wire.decode_answer(data)


@given(JSON)
def test_an_answer_of_any_form_is_a_value_or_one_of_our_errors(value: wire.Json) -> None:
    for body in (value, {"error": value}, {"error": {"message": "x", "kind": value}}):
        with contextlib.suppress(HelioError):
            wire.decode_answer(wire.encode(body))


@given(JSON)
def test_news_of_any_form_are_news_or_refused(value: wire.Json) -> None:
    for body in (value, {"version": 1, "put": value, "withdrawn": []}):
        with contextlib.suppress(MalformedError):
            News.from_json(body)


def _examples() -> list[HelioError]:
    return [
        errors.MalformedError("sdp", "no media", offset=3),
        errors.PreconditionError("past", 428),
        *(
            kind("what happened", subject="cam")
            for kind in Teller("test").kinds.values()
            if kind not in (errors.MalformedError, errors.PreconditionError)
        ),
    ]


@pytest.mark.parametrize("error", _examples(), ids=lambda error: type(error).__name__)
def test_every_error_of_the_tree_crosses_the_wire(error: HelioError) -> None:
    with pytest.raises(HelioError) as caught:
        wire.decode_answer(wire.encode_error(error))
    assert type(caught.value) is type(error)
    assert vars(caught.value) == vars(error)
    assert caught.value.status == error.status
    assert str(caught.value) == str(error)


def test_an_error_derived_elsewhere_is_its_nearest_known_one() -> None:
    class Special(errors.NotFoundError):
        pass

    with pytest.raises(errors.NotFoundError, match="it"):
        wire.decode_answer(wire.encode_error(Special("it")))


def test_an_unknown_kind_is_a_remote_error() -> None:
    body = {"error": {"kind": "NewError", "message": "of a later version"}}
    with pytest.raises(errors.RemoteError, match="of a later version"):
        wire.decode_answer(wire.encode(body))


def test_messages_are_bounded() -> None:
    with pytest.raises(TooLargeError):
        wire.encode("x" * wire.MAX_MESSAGE)
    with pytest.raises(TooLargeError):
        wire.decode(b"1" * (wire.MAX_MESSAGE + 1))
    with pytest.raises(MalformedError):
        wire.decode(b"[" * 100_000)
    long = wire.encode_error(errors.NotFoundError("x" * 5000, subject="y" * 5000))
    assert len(long) < 2 * MAX_TEXT + 200


def test_a_request_has_no_more_time_than_is_allowed() -> None:
    assert wire.decode_request(wire.encode_request("n", 1e9, None)).timeout == wire.MAX_TIMEOUT
