"""``helio report``, with a server of the test's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.unit.cli.serving import Api, serving

from heliograph.cli import REFUSED, USAGE, main

FIGURES = {
    "redirects": 12,
    "refusals": 1,
    "plays": 3,
    "seconds": 3723.5,
    "sent_bytes": 2_500_000,
    "stalls": 0,
}
LINES = {
    "titles": [{"name": "film", "title": "A film"}, {"name": "", "title": ""}],
    "files": [{"id": 7, "server": "east", "format": "hls", "uri": "https://east/film.m3u8"}],
    "servers": [{"kind": "server", "id": "7", "name": "east"}],
    "clients": [{"network": "10.0.0.0/24"}],
    "periods": [{"start": "2026-03-01T00:00:00+00:00"}],
}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[type[Api], list[str]]]:
    monkeypatch.setenv("HELIO_ADMINISTRATOR_KEY", "boss")
    with serving() as (handler, url):
        handler.by_path = {
            f"/api/v1/reports/{name}": (200, body(lines)) for name, lines in LINES.items()
        }
        yield handler, ["--server", url]


def body(lines: list[dict[str, Any]], **more: Any) -> bytes:
    found = {"lines": [line | FIGURES for line in lines], "totals": FIGURES}
    return json.dumps(found | {"count": len(lines), "missing": 0} | more).encode()


def asked(handler: type[Api]) -> dict[str, list[str]]:
    return parse_qs(urlsplit(handler.asked[-1][1]).query)


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("files film", ["7", "east", "hls", "12", "https://east/film.m3u8"]),
        ("titles", ["film", "A film", "12", "1", "3", "1:02:03", "2.5 MB", "0"]),
        ("servers", ["server", "7", "east", "12", "3", "1:02:03", "2.5 MB", "0"]),
        ("clients", ["10.0.0.0/24", "12", "3", "1:02:03", "2.5 MB"]),
        ("periods", ["2026-03-01 00:00", "12", "1", "3", "1:02:03", "2.5 MB", "0"]),
    ],
)
def test_a_report_is_a_table(
    api: Any, capsys: pytest.CaptureFixture[str], name: str, row: list[str]
) -> None:
    assert main(["report", *name.split(), *api[1]]) == 0
    _, first, *rest = capsys.readouterr().out.splitlines()
    assert first.split("\t") == row
    assert [line.split("\t")[0] for line in rest] == (["(unknown)"] if name == "titles" else [])


def test_times_are_so_long_ago_or_dates(api: Any) -> None:
    handler, server = api
    main(["report", "titles", "--from", "36h", "--name", "a", "--name", "b", *server])
    query = asked(handler)
    ago = datetime.now(UTC) - datetime.fromisoformat(query["from"][0])
    assert timedelta(hours=36) <= ago < timedelta(hours=37)
    assert (query["name"], query["limit"]) == (["a", "b"], ["100"])
    main(["report", "periods", "--from", "2026-03-01", "--to", "2026-03-02T12:00+01:00", *server])
    query = asked(handler)
    assert datetime.fromisoformat(query["from"][0]).astimezone().date().isoformat() == "2026-03-01"
    assert (query["to"], query["step"]) == (["2026-03-02T12:00:00+01:00"], ["day"])
    assert main(["report", "titles", "--from", "then", *server]) == USAGE


def test_json_and_csv_are_as_the_server_has_them(
    api: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    handler, server = api
    assert main(["report", "titles", "--json", *server]) == 0
    assert json.loads(capsys.readouterr().out)["totals"] == FIGURES
    handler.by_path = {"/api/v1/reports/titles": (200, b"name,redirects\r\nfilm,12\r\n")}
    assert main(["report", "titles", "--csv", *server]) == 0
    assert capsys.readouterr().out == "name,redirects\r\nfilm,12\r\n"
    assert asked(handler)["format"] == ["csv"]
    refusal = b'{"error": {"message": "a key is needed"}}'
    handler.by_path = {"/api/v1/reports/titles": (401, refusal)}
    assert main(["report", "titles", "--csv", *server]) == REFUSED
    assert "a key is needed" in capsys.readouterr().err


def test_what_is_left_out_or_missing_is_said(api: Any, capsys: pytest.CaptureFixture[str]) -> None:
    handler, server = api
    lines = LINES["clients"]
    handler.by_path = {"/api/v1/reports/clients": (200, body(lines, count=9, missing=4))}
    assert main(["report", "clients", *server]) == 0
    said = capsys.readouterr().err
    assert "1 of 9" in said
    assert "4 records are missing" in said
