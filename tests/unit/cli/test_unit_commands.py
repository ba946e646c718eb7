"""``helio unit``, ``channels extend`` and ``shrink``, ``logs``, with a server of the test's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.cli.serving import Api, serving

from heliograph.cli import INTERRUPTED, REFUSED, following, main
from heliograph.cli import logs as cli_logs

ID = "a" * 16
UNIT = {
    "id": ID,
    "name": "east",
    "state": "up",
    "domain": "europe",
    "location": "eu/de",
    "address": "10.0.0.7:7447",
    "load": 0.125,
    "viewers": 7,
    "places": 20,
    "budget": {"groups": 50, "places": 10},
    "groups": {"yard": [[0, 7, 0, 10], [1, 0, 0, 10]]},
}
TWIN = UNIT | {"id": "b" * 16, "name": "twin"}
VIEW = {"units": [UNIT, TWIN, TWIN | {"id": "c" * 16}], "channels": []}
DONE = {"done": True, "progress": None}


def sse(*events: tuple[str, Any]) -> bytes:
    lines = [f"event: {name}\ndata: {json.dumps(value)}\n\n" for name, value in events]
    return ("retry: 1000\n\n: still here\n\n" + "".join(lines)).encode()


@pytest.fixture
def api() -> Iterator[tuple[type[Api], list[str]]]:
    """The handler, and options by which commands reach it."""
    with serving() as (handler, url):
        handler.by_path = {"/api/v1/cluster": (200, json.dumps(VIEW).encode())}
        handler.body = json.dumps(DONE).encode()
        yield handler, ["--server", url]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HELIO_ADMINISTRATOR_KEY", "boss")
    for module in (following, cli_logs):
        monkeypatch.setattr(module, "RETRY", 0.0)


def orders(handler: type[Api]) -> list[tuple[str, str, object]]:
    return [(method, path, body) for method, path, _, body in handler.asked if method != "GET"]


def test_units_are_listed(api: Any, capsys: pytest.CaptureFixture[str]) -> None:
    _, server = api
    assert main(["unit", "list", *server]) == 0
    assert capsys.readouterr().out.splitlines()[1].split("\t") == [
        "east",
        ID,
        "up",
        "europe",
        "eu/de",
        "10.0.0.7:7447",
        "12%",
        "7 of 20",
        "2 of 50",
    ]


@pytest.mark.parametrize(
    ("command", "order"),
    [
        (["unit", "return", "east"], ("POST", f"/api/v1/units/{ID}/return", None)),
        (["unit", "remove", ID], ("DELETE", f"/api/v1/units/{ID}", None)),
        (["unit", "drain", "east"], ("POST", f"/api/v1/units/{ID}/drain", None)),
        (
            ["channels", "extend", "yard", "--groups", "2", "--unit", "east"],
            ("POST", "/api/v1/channels/yard/extend", {"groups": 2, "unit": ID}),
        ),
        (
            ["channels", "extend", "yard"],
            ("POST", "/api/v1/channels/yard/extend", {"groups": 1, "unit": ""}),
        ),
        (
            ["channels", "shrink", "yard"],
            ("POST", "/api/v1/channels/yard/shrink", {"groups": 1}),
        ),
    ],
)
def test_orders_are_given_by_name_or_id(api: Any, command: list[str], order: Any) -> None:
    handler, server = api
    assert main([*command, *server]) == 0
    assert orders(handler) == [order]


@pytest.mark.parametrize(("unit", "words"), [("west", "no unit"), ("twin", "several units")])
def test_a_unit_that_is_not_clear_gets_no_order(
    api: Any, unit: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    handler, server = api
    assert main(["unit", "remove", unit, *server]) == REFUSED
    assert words in capsys.readouterr().err
    assert orders(handler) == []


def test_what_the_manager_refuses_is_told(api: Any, capsys: pytest.CaptureFixture[str]) -> None:
    handler, server = api
    handler.status = 503
    handler.body = b'{"error": {"status": 503, "message": "no manager is active", "subject": null}}'
    assert main(["unit", "drain", "east", *server]) == REFUSED
    assert "no manager is active" in capsys.readouterr().err


def left(viewers: int) -> dict[str, Any]:
    found = {"viewers": viewers, "groups": 1, "ingests": 0, "links": 0, "reserved": 0}
    return {"subject": ID, "done": not viewers, "progress": found}


def test_a_drain_is_followed_until_it_is_done(api: Any, capsys: pytest.CaptureFixture[str]) -> None:
    handler, server = api
    handler.body = json.dumps({"done": False, "progress": left(3)["progress"]}).encode()
    other = left(0) | {"subject": "b" * 16}
    stream = sse(("view", VIEW), ("progress", left(2)), ("progress", other), ("progress", left(0)))
    handler.by_path = {**handler.by_path, "/api/v1/cluster/events": (200, stream)}
    assert main(["unit", "drain", "east", *server]) == 0
    assert "has nothing any more" in capsys.readouterr().out
    assert len(orders(handler)) == 1


def test_a_drain_is_followed_over_a_change_of_managers(
    api: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    handler, server = api

    class Changing(dict[str, tuple[int, bytes]]):
        """The stream ends, nobody is there, then it is done."""

        streams = 0

        def get(self, path: str, default: Any = None) -> Any:
            if path != "/api/v1/cluster/events":
                return super().get(path, default)
            self.streams += 1
            if self.streams == 1:
                other = left(0) | {"subject": "b" * 16}
                return 200, sse(("progress", left(2)), ("progress", other))
            if self.streams == 2:
                return 503, b'{"error": {"message": "no manager is active"}}'
            return 200, sse(("progress", left(0)))

    handler.body = json.dumps({"done": False, "progress": left(3)["progress"]}).encode()
    handler.by_path = Changing(handler.by_path)
    assert main(["unit", "drain", "east", *server]) == 0
    found = capsys.readouterr()
    assert "has nothing any more" in found.out
    assert "no manager is active; trying again" in found.err


def test_nobody_has_to_wait_for_a_drain(api: Any, capsys: pytest.CaptureFixture[str]) -> None:
    handler, server = api
    handler.body = json.dumps({"done": False, "progress": left(3)["progress"]}).encode()
    assert main(["unit", "drain", "east", "--no-wait", *server]) == 0
    assert "3 viewers, 1 group to go" in capsys.readouterr().out


# logs


def entry(number: int, event: str, name: str = "east", **more: Any) -> dict[str, Any]:
    about = {"node": name[0] * 16, "name": name}
    given = {"number": number, "at": "2026-11-22T04:00:00.000Z", "level": "info", "fields": {}}
    return {**about, **given, "event": event, **more}


def batch(*entries: dict[str, Any], missed: int = 0, run: int = 7) -> tuple[str, Any]:
    first = entries[0]
    about = {"node": first["node"], "name": first["name"]}
    return "log", {**about, "run": run, "missed": missed, "entries": list(entries)}


def test_logs_are_printed_with_their_node(api: Any, capsys: pytest.CaptureFixture[str]) -> None:
    handler, server = api
    trace = {"channel": "the yard", "exception": "one\ntwo\x1b[2J"}
    entries = [entry(1, "source silent", fields=trace), entry(2, "joined", "western")]
    handler.body = json.dumps({"entries": entries}).encode()
    assert main(["logs", "--node", "east", "--level", "warning", "--grep", "a b", *server]) == 0
    first, second, third, last = capsys.readouterr().out.splitlines()
    assert first == 'east | 2026-11-22T04:00:00.000Z info     source silent channel="the yard"'
    assert (second, third) == ("east |     one", "east |     two\\x1b[2J")
    assert last.startswith("western | ")
    assert handler.asked[0][1] == "/api/v1/logs?node=east&level=warning&text=a+b&limit=100"


def test_logs_are_followed_once_each_over_a_break(
    api: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    handler, server = api
    handler.body = json.dumps({"entries": [entry(1, "before")]}).encode()
    again = batch(entry(1, "before"), entry(2, "after"), missed=4)
    stream = sse(again, batch(entry(7, "elsewhere", "west")))
    handler.by_path = {"/api/v1/logs/events": (200, stream)}
    breaks = iter([None, KeyboardInterrupt()])

    def sleep(seconds: float) -> None:
        if (error := next(breaks)) is not None:
            raise error

    monkeypatch.setattr(cli_logs.time, "sleep", sleep)
    assert main(["logs", "-f", "--grep", "E", *server]) == INTERRUPTED
    found = capsys.readouterr()
    events = [line.split()[4] for line in found.out.splitlines()]
    assert events == ["before", "after", "elsewhere"]
    assert "4 lines of east were left out" in found.err


@pytest.mark.parametrize(("lines", "shown"), [("1", ["asked-for", "newer"]), ("0", ["newer"])])
def test_lines_that_were_not_asked_for_are_not_shown_though_they_are_pushed(
    api: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    lines: str,
    shown: list[str],
) -> None:
    handler, server = api
    handler.body = json.dumps({"entries": [entry(5, "asked-for")]}).encode()
    pushed = batch(entry(4, "older", "west"), entry(6, "newer", "west"))
    handler.by_path = {"/api/v1/logs/events": (200, sse(batch(entry(5, "asked-for")), pushed))}

    def stop(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_logs.time, "sleep", stop)
    assert main(["logs", "-f", "-n", lines, *server]) == INTERRUPTED
    assert [line.split()[4] for line in capsys.readouterr().out.splitlines()] == shown


def test_a_node_whose_clock_went_back_over_a_restart_is_followed_on(
    api: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    handler, server = api
    late = 3_600_000_000
    handler.body = json.dumps({"entries": [entry(late, "before")]}).encode()
    stream = sse(
        batch(entry(late + 1, "last")),
        batch(entry(5, "anew"), run=8),
        batch(entry(5, "anew"), entry(6, "on"), run=8),
    )
    handler.by_path = {"/api/v1/logs/events": (200, stream)}

    def stop(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_logs.time, "sleep", stop)
    assert main(["logs", "-f", "-n", "1", *server]) == INTERRUPTED
    events = [line.split()[4] for line in capsys.readouterr().out.splitlines()]
    assert events == ["before", "last", "anew", "on"]


def test_logs_that_are_followed_are_chosen(
    api: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    handler, server = api
    handler.body = json.dumps({"entries": []}).encode()
    entries = [
        entry(1, "quiet"),
        entry(2, "loud", level="error"),
        entry(3, "far", "west", level="error"),
        entry(4, "found", level="error", fields={"channel": "loud"}),
    ]
    handler.by_path = {"/api/v1/logs/events": (200, sse(*map(batch, entries)))}

    def stop(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_logs.time, "sleep", stop)
    command = ["logs", "-f", "--node", "east", "--level", "warning", "--grep", "LOUD", "--json"]
    assert main([*command, *server]) == INTERRUPTED
    lines = [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()]
    assert lines == ["loud", "found"]


def test_who_may_not_follow_is_told(api: Any, capsys: pytest.CaptureFixture[str]) -> None:
    handler, server = api
    refusal = b'{"error": {"status": 401, "message": "the key is wrong", "subject": null}}'
    handler.by_path = {"/api/v1/logs/events": (401, refusal)}
    assert main(["logs", "-f", *server]) == REFUSED
    assert "the key is wrong" in capsys.readouterr().err


def test_a_channel_is_opened_with_its_places(api: Any, capsys: pytest.CaptureFixture[str]) -> None:
    handler, server = api
    opened = {"channel": "yard", "unit": ID, "groups": 1, "places": 10, "done": True}
    handler.body = json.dumps({"done": True, "progress": opened}).encode()
    assert main(["channels", "open", "yard", *server]) == 0
    assert orders(handler) == [("POST", "/api/v1/cluster/channels/yard/open", None)]
    assert capsys.readouterr().out == "yard: is open, with 10 places\n"


def test_closing_a_channel_is_followed_to_its_end(
    api: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    handler, server = api
    left = {"channel": "yard", "units": 2, "groups": 3, "viewers": 4, "done": False}
    handler.body = json.dumps({"done": False, "progress": left}).encode()
    over = left | {"units": 0, "groups": 0, "viewers": 0, "done": True}
    said = {"command": "close", "subject": "yard"}
    handler.by_path["/api/v1/cluster/events"] = (
        200,
        sse(
            ("progress", said | {"subject": "hall", "done": True, "progress": over}),
            ("progress", said | {"done": False, "progress": left}),
            ("progress", said | {"done": True, "progress": over}),
        ),
    )
    assert main(["channels", "close", "yard", *server]) == 0
    assert orders(handler) == [("POST", "/api/v1/cluster/channels/yard/close", None)]
    assert capsys.readouterr().out == "yard: is closed\n"
    assert main(["channels", "close", "yard", "--no-wait", *server]) == 0
    assert capsys.readouterr().out == "yard: is closed; 4 viewers, 3 groups, 2 units to go\n"


def test_a_unit_that_was_removed_is_returned_by_its_name(
    api: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    handler, server = api
    view = VIEW | {"removed": [{"id": "d" * 16, "name": "old"}]}
    handler.by_path = {"/api/v1/cluster": (200, json.dumps(view).encode())}
    assert main(["unit", "return", "old", *server]) == 0
    assert orders(handler) == [("POST", f"/api/v1/units/{'d' * 16}/return", None)]
    assert capsys.readouterr().out == "old: may be given channels\n"
