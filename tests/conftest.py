"""What all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import structlog
from hypothesis import settings

if TYPE_CHECKING:
    from tests.interop.peers.chromium import Chromium

# A busy machine makes single examples slow; time is judged by the suite's time-outs instead.
settings.register_profile("default", deadline=None, max_examples=100)
settings.register_profile("thorough", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of the person who runs the tests must not change their outcome."""
    for name in [name for name in os.environ if name.startswith("HELIO_")]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _fresh_logging() -> Iterator[None]:
    """A test that configures logging leaves nothing of it to the next."""
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture(scope="session")
def _browser() -> Iterator[Chromium]:
    # Most tests do without, and it takes a while to load.
    from tests.interop.peers.chromium import Chromium

    browser = Chromium()
    yield browser
    browser.stop()


@pytest.fixture
def chromium(_browser: Chromium) -> Iterator[Chromium]:
    """The browser of all tests; each page has an empty context of its own, and ends with its test:
    one that plays on would take from the next what that measures."""
    yield _browser
    _browser.close_pages()
