"""The search for the largest load that works."""

import pytest
from tests.perf.search import largest


@pytest.mark.parametrize("limit", [7, 50, 399, 400, 401, 777, 1500, 4095])
def test_finds_the_limit_to_its_precision(limit):
    tried = []

    def works(count):
        tried.append(count)
        return count <= limit

    found = largest(works, 400, 4096) if limit >= 25 else largest(works, 16, 4096)
    assert limit * 0.9 <= found <= limit
    assert found in tried
    assert len(tried) < 16


def test_never_goes_above_the_cap():
    tried = []
    assert largest(lambda count: not tried.append(count), 400, 1000) == 1000
    assert max(tried) == 1000


def test_gives_up_when_nothing_works():
    assert largest(lambda _: False, 400, 1000) == 0


def test_starts_at_the_cap_when_the_guess_is_above_it():
    assert largest(lambda count: count <= 90, 400, 100) in range(85, 91)
