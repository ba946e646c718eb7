"""Key expressions, and whether they match as Zenoh says."""

from __future__ import annotations

import pytest
import zenoh
from hypothesis import given
from hypothesis import strategies as st

from heliograph.bus import keys
from heliograph.model.errors import MalformedError

PARTS = st.sampled_from(["a", "b", "ab", "*", "**"])


@given(st.lists(PARTS, min_size=1, max_size=6), st.lists(st.sampled_from("abc"), min_size=1))
def test_a_pattern_matches_what_it_matches_for_zenoh(pattern: list[str], key: list[str]) -> None:
    expression = zenoh.KeyExpr.autocanonize("/".join(pattern))
    wanted = expression.intersects("/".join(key))
    assert keys.matches(str(expression), "/".join(key)) == wanted


@given(st.lists(PARTS, min_size=1, max_size=8))
def test_a_topic_pattern_that_passes_is_canonical_for_zenoh(parts: list[str]) -> None:
    text = "/".join(parts)
    try:
        keys.check_topic(text, pattern=True)
    except MalformedError:
        return
    assert str(zenoh.KeyExpr(keys.talk(text))) == keys.talk(text)


def test_what_is_put_into_a_key_comes_out() -> None:
    assert keys.node_and_session(keys.here("n", "s")) == ("n", "s")
    assert keys.node_and_session(keys.news("n", "s")) == ("n", "s")
    assert keys.node_and_topic(keys.talk("report/cpu", "n")) == ("n", "report/cpu")
    assert keys.answering_node(keys.call("unit.grant", "n")) == "n"


@pytest.mark.parametrize("key", ["", "helio/here/n", "helio/here/n/s/t", "other/here/n/s"])
def test_other_keys_are_refused(key: str) -> None:
    with pytest.raises(MalformedError):
        keys.node_and_session(key)
    with pytest.raises(MalformedError):
        keys.node_and_topic(key)


@pytest.mark.parametrize("text", ["", "a/b", "*", "a b", "ä", "a" * 65, "a#b", "$*"])
def test_parts_are_checked(text: str) -> None:
    with pytest.raises(MalformedError):
        keys.check_part("name", text)
