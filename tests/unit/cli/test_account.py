"""``helio account`` against an HTTP server of the test's own."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.cli.serving import Api, serving

from heliograph.cli import FAILED, REFUSED, main
from heliograph.live.identity import check_origin, cookie

ANNA = {
    "name": "anna",
    "display_name": "Anna",
    "role": "broadcaster",
    "disabled": None,
    "domains": ["asia", "eu"],
}


@pytest.fixture
def api() -> Iterator[tuple[type[Api], str]]:
    with serving() as found:
        yield found


@pytest.fixture
def key(tmp_path: Path) -> str:
    (tmp_path / "administrator.key").write_text("boss\n")
    return str(tmp_path / "administrator.key")


def test_accounts_are_listed(
    api: tuple[type[Api], str], key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    handler, url = api
    handler.body = json.dumps({"accounts": [ANNA]}).encode()
    assert main(["account", "list", "--server", url, "--key-file", key]) == 0
    assert capsys.readouterr().out.splitlines()[1].split("\t") == [
        "anna",
        "Anna",
        "broadcaster",
        "asia eu",
        "",
    ]
    assert handler.asked == [("GET", "/api/v1/accounts?limit=500&after=", "Bearer boss", None)]


def test_password_comes_by_standard_input(
    api: tuple[type[Api], str], key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler, url = api
    handler.body = json.dumps(ANNA).encode()
    monkeypatch.setattr("sys.stdin", io.StringIO("a rather long sentence\n"))
    command = ["account", "add", "anna", "--role", "broadcaster", "--server", url]
    assert main([*command, "--key-file", key]) == 0
    assert handler.asked[0][3] == {
        "name": "anna",
        "password": "a rather long sentence",
        "role": "broadcaster",
        "display_name": "",
    }


@pytest.mark.parametrize("domains", [["asia", "eu"], []])
def test_an_account_is_given_domains_or_none_any_more(
    api: tuple[type[Api], str], key: str, domains: list[str]
) -> None:
    handler, url = api
    handler.body = json.dumps(ANNA).encode()
    assert main(["account", "domains", "anna", *domains, "--server", url, "--key-file", key]) == 0
    assert handler.asked == [
        ("PATCH", "/api/v1/accounts/anna", "Bearer boss", {"domains": domains})
    ]


@pytest.mark.parametrize(("more", "disabled"), [([], True), (["--undo"], False)])
def test_account_is_disabled_and_let_in_again(
    api: tuple[type[Api], str], key: str, more: list[str], disabled: bool
) -> None:
    handler, url = api
    handler.body = json.dumps(ANNA).encode()
    assert main(["account", "disable", "a/b", "--server", url, "--key-file", key, *more]) == 0
    assert handler.asked == [
        ("PATCH", "/api/v1/accounts/a%2Fb", "Bearer boss", {"disabled": disabled})
    ]


def test_what_the_server_refuses_is_told(
    api: tuple[type[Api], str], key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    handler, url = api
    handler.status = 409
    handler.body = b'{"error": {"status": 409, "message": "the last one", "subject": "anna"}}'
    assert main(["account", "disable", "anna", "--server", url, "--key-file", key]) == REFUSED
    assert "the last one" in capsys.readouterr().err
    handler.body = b"<html>"
    assert main(["account", "list", "--server", url, "--key-file", key]) == REFUSED
    assert "not a Heliograph server" in capsys.readouterr().err


def test_without_a_key_nothing_is_asked(
    api: tuple[type[Api], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    handler, url = api
    assert main(["account", "list", "--server", url]) == REFUSED
    assert "--key-file" in capsys.readouterr().err
    missing = str(tmp_path / "none")
    assert main(["account", "list", "--server", url, "--key-file", missing]) == FAILED
    assert handler.asked == []


@pytest.fixture
def session(tmp_path: Path) -> Path:
    """A file that login wrote."""
    (tmp_path / "anna.session").write_text("session t0ken\n")
    return tmp_path / "anna.session"


def test_a_session_is_believed_behind_a_proxy_that_asks_by_another_name(
    api: tuple[type[Api], str], session: Path
) -> None:
    handler, url = api
    handler.body = json.dumps(ANNA).encode()
    assert main(["account", "disable", "b", "--server", url, "--key-file", str(session)]) == 0
    said = handler.headers_of[-1]
    assert cookie(said, "helio_session") == "t0ken"
    assert "authorization" not in said
    check_origin(said)
    check_origin({**said, "host": "backend:9000"})
    del said["sec-fetch-site"]
    check_origin(said)


def login(to: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO("a rather long sentence\n"))
    return main(["account", "login", "anna", "--to", str(to), "--server", url])


def test_a_session_is_kept_in_a_file_until_it_is_signed_out(
    api: tuple[type[Api], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler, url = api
    handler.cookie = "helio_session=fr3sh"
    to = tmp_path / "anna.session"
    for _ in range(2):  # an older one is replaced
        assert login(to, url, monkeypatch) == 0
        assert to.read_text() == "session fr3sh\n"
        assert to.stat().st_mode & 0o077 == 0
    handler.status, handler.body = 204, b""
    assert main(["account", "logout", "--server", url, "--key-file", str(to)]) == 0
    assert handler.asked[-1][:2] == ("DELETE", "/api/v1/session")
    assert cookie(handler.headers_of[-1], "helio_session") == "fr3sh"
    assert not to.exists()


def test_what_is_no_session_is_neither_overwritten_nor_signed_out(
    api: tuple[type[Api], str], key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler, url = api
    handler.cookie = "helio_session=fr3sh"
    assert login(Path(key), url, monkeypatch) == REFUSED
    assert main(["account", "logout", "--server", url, "--key-file", key]) == REFUSED
    assert Path(key).read_text() == "boss\n"
    assert handler.asked == []


def test_a_session_that_the_server_did_not_end_is_kept(
    api: tuple[type[Api], str], session: Path
) -> None:
    handler, url = api
    handler.status = 503
    handler.body = b'{"error": {"status": 503, "message": "no database", "subject": ""}}'
    assert main(["account", "logout", "--server", url, "--key-file", str(session)]) != 0
    assert session.exists()


def test_who_shows_a_session_that_has_ended_is_told_to_sign_in_again(
    api: tuple[type[Api], str], session: Path, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    handler, url = api
    handler.status = 401
    handler.body = b'{"error": {"status": 401, "message": "a key is needed", "subject": ""}}'
    for command in (["account", "list"], ["logs", "-f"]):
        assert main([*command, "--server", url, "--key-file", str(session)]) != 0
        assert "sign in again" in capsys.readouterr().err.replace("\n", " ")
    assert main(["account", "list", "--server", url, "--key-file", key]) != 0
    assert "a key is needed" in capsys.readouterr().err
