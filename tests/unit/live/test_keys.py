"""Keys and where they are kept."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from heliograph.live.keys import (
    ADMINISTRATOR_FILE,
    Shown,
    administrator_key,
    judge,
    new_key,
    same_key,
)
from heliograph.model.errors import ResourceError
from heliograph.model.files import write_private


def test_keys_are_long_and_differ() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(len(key) >= 22 for key in keys)


def test_empty_key_equals_nothing() -> None:
    assert not same_key("", "")
    assert same_key("schlüssel", "schlüssel")
    assert not same_key("\udcff", "x")


def test_shown_keys_are_judged() -> None:
    assert judge(None, "a") is Shown.NONE
    assert judge("", "a") is Shown.NONE
    assert judge("b", "a", "b") is Shown.GOOD
    assert judge("c", "a", "", "b") is Shown.WRONG


def test_administrators_key_is_made_once_and_private(tmp_path: Path) -> None:
    key, fresh = administrator_key(tmp_path / "state")
    assert fresh
    assert administrator_key(tmp_path / "state") == (key, False)
    mode = (tmp_path / "state" / ADMINISTRATOR_FILE).stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_state_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError):
        administrator_key(tmp_path / "file")


def test_private_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("old")
    write_private(path, "new")
    assert path.read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.json"]
