"""Every fuzz target, over its committed corpus and over a little that is random."""

from __future__ import annotations

import pytest
from harness import corpus, load, targets
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize("name", targets())
def test_the_corpus_of_a_target_breaks_no_invariant(name: str) -> None:
    target = load(name)
    for path in corpus(name):
        target(path.read_bytes())


@pytest.mark.parametrize("name", targets())
def test_random_bytes_break_no_invariant(name: str) -> None:
    target = load(name)

    @settings(max_examples=100, database=None, deadline=None)
    @given(st.binary(max_size=300))
    def drive(data: bytes) -> None:
        target(data)

    drive()
