"""The fixtures of the interop tests, and networks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.interop.conftest import clip, run, serve
from tests.interop.peers import network
from tests.interop.peers.network import Network

__all__ = ["clip", "run", "serve"]


@pytest.fixture
def links() -> Iterator[Network]:
    """A network for the server, which peers join."""
    yield from network.network()
