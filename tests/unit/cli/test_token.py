"""``helio token`` and ``helio names`` against an HTTP server of the test's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.cli.serving import Api, serving

from heliograph.cli import REFUSED, USAGE, main

MADE = {"token": "helioabc", "expires": "2026-05-01T12:00:00+00:00", "join": "tls/box:7447"}
NAMES = {
    "node": "a" * 16,
    "names": [
        {"kind": "node", "name": "box", "node": "a" * 16, "value": {"roles": ["all"]}},
        {"kind": "unit", "name": "u1", "node": "a" * 16, "value": None},
    ],
}


@pytest.fixture
def api() -> Iterator[tuple[type[Api], str]]:
    with serving() as found:
        yield found


@pytest.fixture
def key(tmp_path: Path) -> str:
    (tmp_path / "administrator.key").write_text("boss\n")
    return str(tmp_path / "administrator.key")


def test_a_token_is_alone_on_standard_output(
    api: tuple[type[Api], str], key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    handler, server = api
    handler.body = json.dumps(MADE).encode()
    assert main(["token", "--server", server, "--key-file", key, "--seconds", "60"]) == 0
    out = capsys.readouterr()
    assert out.out == "helioabc\n"
    assert "helio serve --join tls/box:7447 --token helioabc" in out.err
    asked = ("POST", "/api/v1/nodes/tokens", "Bearer boss", {"lifetime_s": 60})
    assert handler.asked == [asked]
    assert main(["token", "--server", server, "--key-file", key, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == MADE
    assert main(["token", "--server", server, "--key-file", key, "--seconds", "0"]) == USAGE


def test_a_refusal_is_told(
    api: tuple[type[Api], str], key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    handler, server = api
    handler.status, handler.body = 409, b'{"error": {"message": "no machine can join"}}'
    assert main(["token", "--server", server, "--key-file", key]) == REFUSED
    assert "no machine can join" in capsys.readouterr().err


def test_names_are_a_table_by_kind_if_wanted(
    api: tuple[type[Api], str], key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    handler, server = api
    handler.body = json.dumps(NAMES).encode()
    assert main(["names", "--server", server, "--key-file", key]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "node\tbox\t" + "a" * 16 + '\t{"roles": ["all"]}'
    assert len(lines) == 3
    assert main(["names", "unit", "--server", server, "--key-file", key, "--json"]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == ["u1"]
