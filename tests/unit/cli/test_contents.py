"""``helio server``, ``title``, ``file`` and ``catalogue`` against an HTTP server of the test's own,
and an import and an export against the real one."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import pty
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.unit.cli.serving import Api, serving
from tests.unit.web.site import KEY, running

from heliograph.catalogue.contents.fields import Kind, Record
from heliograph.cli import FAILED, OK, REFUSED, main
from heliograph.cli.catalogue import BYTES, RECORDS, parts

#: Seconds for a command to start on a busy machine.
PATIENCE = 60.0
STATE = {"condition": "up", "response_ms": 3.26}
ONE = {
    "name": "one",
    "host": "one.example",
    "make": "nginx",
    "region": "north",
    "enabled": True,
    "drained": False,
    "files": 7,
    "state": STATE,
}


@pytest.fixture
def api() -> Iterator[tuple[type[Api], str]]:
    with serving() as found:
        yield found


@pytest.fixture
def key(tmp_path: Path) -> str:
    (tmp_path / "administrator.key").write_text("boss\n")
    return str(tmp_path / "administrator.key")


@pytest.fixture
def helio(api: tuple[type[Api], str], key: str):
    def call(*words: str) -> int:
        return main([*words, "--server", api[1], "--key-file", key])

    return call


def test_servers_are_listed_page_by_page(
    api: tuple[type[Api], str], helio, capsys: pytest.CaptureFixture[str]
) -> None:
    others = [
        {**ONE, "name": "two", "state": None},
        {**ONE, "name": "three", "drained": True},
        {**ONE, "name": "four", "enabled": False},
    ]
    pages = iter([{"servers": [ONE], "more": "one"}, {"servers": others, "more": None}])

    def answer(self) -> None:
        self.body = json.dumps(next(pages)).encode()
        Api.answer(self)

    api[0].do_GET = answer
    assert helio("server", "list", "--search", "a b") == OK
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert rows[1] == ["one", "one.example", "nginx", "north", "up", "3.3 ms", "7"]
    assert [row[4] for row in rows[2:]] == ["unknown", "up, drained", "disabled"]
    assert [asked[1] for asked in api[0].asked] == [
        "/api/v1/servers?search=a+b&limit=1000",
        "/api/v1/servers?search=a+b&after=one&limit=1000",
    ]


def test_titles_are_listed_with_how_they_are_to_be_had(
    api: tuple[type[Api], str], helio, capsys: pytest.CaptureFixture[str]
) -> None:
    film = {"name": "film", "title": "Film", "duration": 61.0, "level": "", "files": 2}
    film |= {"classes": ["a", "b"], "regions": []}
    states = {
        "playable": "playable",
        "damaged": "damaged, 3 blocks lost",
        "unreachable": "out of reach",
        "withdrawn": "servers out of service",
        "empty": "no copy",
        "withheld": "not published",
    }
    titles = [*({**film, "standing": one, "lost": 0} for one in states), film]
    titles[1]["lost"] = 3
    api[0].body = json.dumps({"titles": titles, "more": None}).encode()
    assert helio("title", "list") == OK
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert rows[1] == ["film", "Film", "1:01", "", "a b", "", "2", "playable"]
    assert [row[-1] for row in rows[1:]] == [*states.values(), "–"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("file list", "helio server scan"),
        ("file list --on one", "no file is like that"),
        ("file list film", "helio file add film SERVER URI"),
        ("file list kept", "every node plays it"),
        ("title list", "helio title import"),
        ("title list --search x", "no title is like that"),
        ("server list", "helio server add"),
        ("server list --search x", "no server is like that"),
    ],
)
def test_where_there_is_nothing_it_is_said_what_to_do(
    api: tuple[type[Api], str], helio, capsys: pytest.CaptureFixture[str], words: str, told: str
) -> None:
    nothing = {"servers": [], "titles": [], "files": [], "more": None}
    api[0].body = json.dumps(nothing).encode()
    api[0].by_path = {
        f"/api/v1/titles/{name}": (200, json.dumps({"name": name, "stored": stored}).encode())
        for name, stored in (("film", False), ("kept", True))
    }
    assert helio(*words.split()) == OK
    shown = capsys.readouterr()
    assert (shown.out, told in shown.err) == ("", True)
    assert helio(*words.split(), "--json") == OK
    assert json.loads(capsys.readouterr().out) == []


def test_files_of_a_title_that_is_not_there_are_no_empty_list(
    api: tuple[type[Api], str], helio, capsys: pytest.CaptureFixture[str]
) -> None:
    error = {"error": {"status": 404, "message": "no title 'flim'"}}
    api[0].status, api[0].body = 404, json.dumps(error).encode()
    assert helio("file", "list", "flim") == REFUSED
    assert "no title 'flim'" in capsys.readouterr().err
    assert [one[1] for one in api[0].asked] == ["/api/v1/files?title=flim&limit=1000"]


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("server drain one", ("POST", "/servers/one/drain", None)),
        ("server return a/b", ("POST", "/servers/a%2Fb/return", None)),
        ("server remove one", ("DELETE", "/servers/one", None)),
        ("server remove one --files", ("DELETE", "/servers/one?files=true", None)),
        ("title remove film", ("DELETE", "/titles/film", None)),
        ("file remove 7", ("DELETE", "/files/7", None)),
    ],
)
def test_orders_are_given(api: tuple[type[Api], str], helio, words: str, asked: tuple) -> None:
    if asked[0] == "DELETE":
        api[0].status, api[0].body = 204, b""
    assert helio(*words.split()) == OK
    assert [(one[0], one[1].removeprefix("/api/v1"), one[3]) for one in api[0].asked] == [asked]


def test_of_a_server_is_changed_what_is_said(
    api: tuple[type[Api], str], helio, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--probe", "tcp@0.3:8554", "--capacity", "0", "--disabled")
    assert helio("server", "change", "one", *more) == OK
    probe = {"kind": "tcp", "interval": 0.3, "port": 8554, "path": ""}
    wanted = {"probes": [probe], "capacity_bps": 0, "enabled": False}
    (asked,) = api[0].asked
    assert (*asked[:2], asked[3]) == ("PATCH", "/api/v1/servers/one", wanted)
    assert helio("server", "change", "one") != OK
    assert "at least one option" in capsys.readouterr().err
    assert len(api[0].asked) == 1


def test_rows_are_added_as_said(api: tuple[type[Api], str], helio) -> None:
    api[0].body = json.dumps(
        {"name": "x", "id": 1, "title": "t", "server": "s", "format": "hls", "go": "/go/x"}
    ).encode()
    probes = ("--probe", "http@0.3:8080/film.mp4", "--probe", "icmp")
    assert helio("server", "add", "one", "h.example", "--capacity", "1000", *probes) == OK
    assert helio("title", "add", "film", "--class", "a", "--class", "b", "--duration", "60") == OK
    assert helio("file", "add", "film", "one", "http://h/film/index.m3u8") == OK
    server, title, file = (asked[3] for asked in api[0].asked)
    assert server["capacity_bps"] == 1_000_000_000
    assert server["probes"][0] == {
        "kind": "http",
        "interval": 0.3,
        "port": 8080,
        "path": "/film.mp4",
    }
    assert (title["classes"], title["duration"], title["published"]) == (["a", "b"], 60.0, True)
    assert (file["format"], file["server"]) == ("hls", "one")
    assert helio("file", "add", "film", "one", "http://h/film") == REFUSED
    for probe in ("smell@1", "http:8080/film.mp4@0.3"):
        assert helio("server", "add", "one", "h", "--probe", probe) == REFUSED
    assert len(api[0].asked) == 3


def test_scan_tells_what_it_found(
    api: tuple[type[Api], str], helio, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = {
        "added": 2,
        "changed": 0,
        "unchanged": 1,
        "rejected": [{"place": "http://h/x.mp4", "reason": "channel 'x' exists already"}],
        "found": [{"name": "film", "format": "mp4", "uri": "http://h/film.mp4", "size": 1}],
        "pages": 3,
        "passed": 0,
        "failed": [{"place": "http://h/sub/", "reason": "answered 403"}],
        "cut": "",
    }
    api[0].body = json.dumps(answer).encode()
    assert helio("server", "scan", "one", "http://h/", "--dry-run") == OK
    shown = capsys.readouterr()
    assert "film\tmp4\thttp://h/film.mp4" in shown.out
    assert "1 files on 3 pages; 2 rows added" in shown.out
    assert "answered 403" in shown.err
    assert "exists already" in shown.err
    assert api[0].asked[0][3] == {"url": "http://h/", "dry_run": True, "any_host": False}
    assert helio("server", "scan", "one", "http://h/", "--any-host") == OK
    assert api[0].asked[-1][3] == {"url": "http://h/", "dry_run": False, "any_host": True}


def test_requests_of_an_import_are_small() -> None:
    short = [Record(Kind.TITLE, {"name": f"t{number}"}, "line 1") for number in range(600)]
    assert [len(part) for part in parts(short)] == [RECORDS, RECORDS, 100]
    long = [Record(Kind.TITLE, {"name": "x", "description": "ü" * 3000}) for _ in range(10)]
    split = list(parts(long))
    assert sum(map(len, split)) == 10
    assert all(len(json.dumps(part)) <= BYTES for part in split)


def test_import_that_breaks_off_says_how_far_it_came(
    api: tuple[type[Api], str], helio, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "a.csv"
    file.write_text("kind,name\ntitle,a\n")
    api[0].status = 503
    api[0].body = b'{"error": {"status": 503, "message": "the database is busy"}}'
    assert helio("catalogue", "import", str(file)) == REFUSED
    shown = capsys.readouterr().err
    assert "busy" in shown
    assert "0 of 1 rows" in shown


def test_import_shows_at_a_terminal_how_far_it_is(
    api: tuple[type[Api], str], key: str, tmp_path: Path
) -> None:
    file = tmp_path / "a.csv"
    file.write_text("kind,name\n" + "".join(f"title,t{number}\n" for number in range(600)))
    shown, go_on = bytearray(), threading.Event()

    def answer(self) -> None:
        if len(self.asked) == 2:  # the last part waits until somebody has seen the others
            assert go_on.wait(PATIENCE)
        Api.answer(self)

    api[0].do_POST = answer
    api[0].body = b'{"added": 200, "changed": 0, "unchanged": 0, "rejected": []}'
    terminal, end = pty.openpty()
    termios.tcsetwinsize(end, (24, 80))
    command = [sys.executable, "-m", "heliograph", "catalogue", "import", str(file)]
    command += ["--server", api[1], "--key-file", key]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    with subprocess.Popen(command, stdout=end, stderr=end, env=environment) as program:
        os.close(end)
        # An error where the program has closed its end.
        with os.fdopen(terminal, "rb", buffering=0) as screen, contextlib.suppress(OSError):
            while part := screen.read(4096):
                shown += part
                if b"500/600" in shown:
                    go_on.set()
    assert program.returncode == OK
    text = shown.decode()
    assert "Importing " in text
    assert text.index("0/600") < text.index("500/600")
    assert "600 added, 0 changed" in text
    assert [len(asked[3]["records"]) for asked in api[0].asked] == [RECORDS, RECORDS, 100]


@pytest.mark.parametrize("text", [b"colour\nred\n", b"kind;name\nt\xfftle;x\n", b"[1, 2"])
def test_file_that_is_none_is_refused_as_a_whole(
    api: tuple[type[Api], str], helio, tmp_path: Path, text: bytes
) -> None:
    (tmp_path / "x.csv").write_bytes(text)
    assert helio("catalogue", "import", str(tmp_path / "x.csv")) == REFUSED
    assert helio("catalogue", "import", str(tmp_path / "none.csv")) == FAILED
    assert api[0].asked == []


CSV = """\ufeffkind;name;host;title;server;format;uri;duration;regions
file;;;film;one;mp4;http://one.example/film.mp4;;
title;film;;A "Film";;;;61,5;
title;film;;"A
Film";;;;61.5;north;
title;other;;Other;;;;;south
server;one;one.example;;;;;;
title;a b;;;;;;;
file;;;none;one;mp4;http://one.example/x.mp4;;
"""


async def test_import_and_export_against_a_server(
    tmp_path: Path, key: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "administrator.key").write_text(KEY)
    file = tmp_path / "in.csv"
    file.write_text(CSV.replace(";north;", ";north"), "utf-8")
    async with running() as site:
        url = str(site.http.base_url)

        async def helio(*words: str) -> int:
            command = ["catalogue", *words, "--server", url, "--key-file", key]
            return await asyncio.to_thread(main, command)

        assert await helio("import", str(file)) == FAILED
        shown = capsys.readouterr()
        assert "4 added, 0 changed, 0 as they were, 3 rejected" in shown.out
        rejected = dict(line.split(": ", 1) for line in shown.err.splitlines())
        assert sorted(rejected) == ["line 3", "line 8", "line 9"]
        assert "61,5" in rejected["line 3"]
        assert rejected["line 9"] == "no title 'none'"
        assert await helio("import", str(file)) == FAILED
        assert "0 added, 0 changed, 4 as they were" in capsys.readouterr().out
        for name in ("out.csv", "out.json"):
            assert await helio("export", str(tmp_path / name)) == OK
            assert await helio("import", str(tmp_path / name)) == OK
            assert "0 added, 0 changed, 4 as they were, 0 rejected" in capsys.readouterr().out
        found = json.loads((tmp_path / "out.json").read_text())
        assert [one["kind"] for one in found] == ["server", "title", "title", "file"]
        assert found[1]["title"] == "A Film"
        lines = "\n".join(json.dumps({**one, "published": False}) for one in found[1:3])
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(lines.encode())))
        assert await helio("import", "-", "--json") == OK
        assert '"changed": 2' in capsys.readouterr().out
        assert await helio("import", str(file), "--dry-run") == FAILED
        assert "rows understood" in capsys.readouterr().out
        assert sorted(name for name in os.listdir(tmp_path) if "out" in name) == [
            "out.csv",
            "out.json",
        ]
