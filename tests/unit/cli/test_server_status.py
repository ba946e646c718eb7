"""``helio server status``, with a server of the test's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.serving import Api, serving

from heliograph.cli import server_status
from heliograph.cli.console import new_app

STATE = {
    "server": "zoo",
    "id": 1,
    "host": "192.0.2.1",
    "condition": "up",
    "reason": "",
    "since": "2026-01-01T00:00:00Z",
    "measured": "2026-01-01T00:00:00Z",
    "response_ms": 12.346,
    "responses": {"icmp": 0.25, "http": 12.346},
    "throughput_bps": 8e6,
    "drained": True,
    "monitors": {"a" * 16: "up"},
}
DOWN = STATE | {
    "server": "ant",
    "id": 2,
    "condition": "down",
    "reason": "TCP: refused",
    "response_ms": None,
    "responses": {},
    "throughput_bps": None,
    "drained": False,
}
FOUND = {"states": [DOWN, STATE], "monitors": [{"id": "a" * 16, "doubt": True}]}


@pytest.fixture
def api() -> Iterator[tuple[type[Api], list[str]]]:
    with serving() as (handler, url):
        yield handler, ["--server", url]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HELIO_ADMINISTRATOR_KEY", "boss")
    monkeypatch.setattr(server_status, "RETRY", 0.0)


def status(*arguments: str) -> int:
    app = new_app()
    app.command("status")(server_status.status)
    try:
        app([*arguments], prog_name="helio server status")
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_servers_are_shown_with_what_is_wrong(api: Any, capsys: pytest.CaptureFixture[str]) -> None:
    handler, options = api
    handler.by_path = {"/api/v1/monitor/states": (200, json.dumps(FOUND).encode())}
    assert status(*options) == 0
    head, ant, zoo, remark = capsys.readouterr().out.splitlines()
    assert head.split("\t")[:2] == ["server", "condition"]
    assert ant.split("\t")[:2] == ["ant", "down"]
    assert ant.split("\t")[3] == "–"
    assert ant.endswith("TCP: refused")
    assert zoo.split("\t")[1] == "up, drained"
    assert "12.3 ms\thttp 12.3, icmp 0.2\t8.0 Mbit/s" in zoo
    assert "doubt" in remark
    assert handler.asked[0][2] == "Bearer boss"


def test_json_is_the_list(api: Any, capsys: pytest.CaptureFixture[str]) -> None:
    handler, options = api
    handler.by_path = {"/api/v1/monitor/states": (200, json.dumps(FOUND).encode())}
    assert status(*options, "--json") == 0
    assert json.loads(capsys.readouterr().out) == FOUND["states"]


def test_each_change_is_printed_once(
    api: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    handler, options = api
    slower = STATE | {"response_ms": 99.0}
    back = DOWN | {"condition": "starting", "since": "2026-01-01T00:01:00Z", "reason": ""}
    news = [FOUND, {**FOUND, "states": [DOWN, slower]}, {**FOUND, "states": [back, STATE]}]
    text = "".join(f"event: states\ndata: {json.dumps(one)}\n\n" for one in news)
    handler.by_path = {"/api/v1/monitor/states/events": (200, text.encode())}

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(server_status.time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        server_status.status(follow=True, server=options[1], key=None, as_json=False)
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [line[1:3] for line in lines] == [["ant", "down"], ["zoo", "up"], ["ant", "starting"]]
