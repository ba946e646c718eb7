"""Addresses of nodes that are remembered."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from heliograph.node.known import FILE, FORGET, MAX_ADDRESSES, KnownNodes


async def test_what_was_seen_is_known_after_a_restart_and_forgotten_in_time(tmp_path: Path) -> None:
    known = KnownNodes(tmp_path)
    known.note("10.0.0.1:7447", 1000.0)
    known.note("[::1]:7447", 2000.0)
    await known.save()
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    again = KnownNodes(tmp_path)
    again.load(2000.0)
    assert again.addresses() == ("10.0.0.1:7447", "[::1]:7447")
    assert again.addresses(without=["[::1]:7447"]) == ("10.0.0.1:7447",)
    late = KnownNodes(tmp_path)
    late.load(1500.0 + FORGET)
    assert late.addresses() == ("[::1]:7447",)


def test_only_addresses_are_taken_and_not_too_many(tmp_path: Path) -> None:
    known = KnownNodes(tmp_path)
    for wrong in (None, 1, "", "a", "a:0", "a b:1", "tls/a:1", "::1:1"):
        known.note(wrong, 1.0)
    assert known.addresses() == ()
    for number in range(MAX_ADDRESSES + 1):
        known.note(f"a{number}:1", 1.0)
    assert len(known.addresses()) == MAX_ADDRESSES
    assert "a0:1" not in known.addresses()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a:1": "x"}', '{"a:1": 1e400}'])
def test_a_file_that_is_damaged_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    known = KnownNodes(tmp_path)
    known.load(1.0)
    assert known.addresses() == ()


async def test_a_disk_that_refuses_does_no_harm(tmp_path: Path) -> None:
    known = KnownNodes(tmp_path / "missing")
    known.note("a:1", 1.0)
    await known.save()
    assert known.addresses() == ("a:1",)
