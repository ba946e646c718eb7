"""Values at the plane's boundary."""

from __future__ import annotations

import builtins
from typing import Any

import pytest

from heliograph.model.errors import ResourceError
from heliograph.model.media import Codec, Kind, Track
from heliograph.plane import ChannelStats, PlaneTotals, ReaderStats, TrackSpec, open_plane


def test_track_becomes_what_the_plane_knows() -> None:
    track = Track(3, Kind.AUDIO, Codec.AAC, 48000, 97, 2)
    spec = TrackSpec.of(track, aac=(13, 3, 3))
    assert tuple(spec) == (3, "audio", "aac", 48000, 97, [], (13, 3, 3))
    assert [type(part) for part in spec[1:3]] == [str, str]


def test_counters_ignore_what_they_do_not_know() -> None:
    assert PlaneTotals.of({"packets_in": 4, "something_new": 1}).packets_in == 4
    assert ReaderStats.of({"state": "playing"}).last_rtcp_age_ms == -1
    stats = ChannelStats.of(
        {
            "epoch": 2,
            "sources": [{"source": 7, "state": "active", "inputs": [{"input": 8, "bytes": 5}] * 2}],
        }
    )
    assert stats.epoch == 2
    assert stats.sources[0].source == 7
    assert stats.sources[0].active
    assert stats.sources[0].bytes == 10


def test_missing_extension_says_how_to_build_it(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without(
        name: str, globals: Any = None, locals: Any = None, names: Any = (), level: int = 0
    ):
        if name == "heliograph.plane" and "_plane" in (names or ()):
            raise ImportError("no _plane")
        return original(name, globals, locals, names, level)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ResourceError, match="make build"):
        open_plane()
