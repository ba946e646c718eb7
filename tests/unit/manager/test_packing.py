"""Views of large clusters in one message."""

from __future__ import annotations

import base64
import contextlib
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.system.made_up import made_up

from heliograph.bus.wire import MAX_MESSAGE, encode
from heliograph.manager import wire
from heliograph.manager.wire import packing
from heliograph.model.errors import MalformedError


@pytest.mark.parametrize(("units", "channels"), [(3, 4), (100, 1000), (300, 5000)])
def test_a_view_fits_and_arrives_as_it_was(units: int, channels: int) -> None:
    view = made_up(units, channels)
    packed = wire.pack(view)
    assert packed is not None
    assert len(encode({"value": packed})) <= MAX_MESSAGE
    assert wire.unpack(json.loads(encode(packed))) == view


def test_a_view_of_a_hundred_units_takes_little_of_the_network() -> None:
    packed = wire.pack(made_up(100, 1000))
    assert len(encode(packed)) < 150_000  # twice a second, to each node where somebody looks


def test_what_is_too_long_even_so_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "MAX_UNPACKED", 1 << 20)
    assert wire.pack({"long": "x" * (1 << 20)}) is None


@given(st.binary() | st.text() | st.integers())
def test_nonsense_is_malformed_and_nothing_else(text: object) -> None:
    if isinstance(text, bytes):
        text = base64.b64encode(zlib.compress(text)).decode()
    with contextlib.suppress(MalformedError):
        wire.unpack({"packed": text})


def test_a_bomb_is_not_unpacked() -> None:
    bomb = zlib.compress(bytes(packing.MAX_UNPACKED + 1))
    with pytest.raises(MalformedError):
        wire.unpack({"packed": base64.b64encode(bomb).decode()})
