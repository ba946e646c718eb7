"""``helio account``: accounts of a running server, by the administrator's key; and signing in."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from heliograph.catalogue.values import Role
from heliograph.cli.api import (
    HERE,
    SESSION,
    KeyOption,
    ServerOption,
    ask,
    sign_in,
    sign_out,
)
from heliograph.cli.console import JsonOption, new_app, print_json, print_table
from heliograph.model.errors import ConflictError, MalformedError, ResourceError
from heliograph.model.files import write_private

app = new_app("Show, make and change accounts of a running server.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="What is typed to sign in.")]


@app.command("list")
def show(server: ServerOption = HERE, key: KeyOption = None, as_json: JsonOption = False) -> None:
    """Show all accounts."""
    found: list[dict[str, Any]] = []
    while True:
        after = found[-1]["name"] if found else ""
        page = ask("GET", server, f"/accounts?limit=500&after={quote(after)}", key)["accounts"]
        found += page
        if len(page) < 500:
            break
    if as_json:
        print_json(found)
        return
    rows = [
        (
            one["name"],
            one["display_name"],
            one["role"],
            " ".join(one["domains"]),
            "disabled" if one["disabled"] else "",
        )
        for one in found
    ]
    print_table(("name", "display name", "role", "domains", "state"), rows)


@app.command()
def add(
    name: NameArgument,
    role: Annotated[Role, typer.Option("--role", help="What it may do.")] = Role.VIEWER,
    display_name: Annotated[str, typer.Option("--display-name", help="What others see.")] = "",
    server: ServerOption = HERE,
    key: KeyOption = None,
) -> None:
    """Make an account; the password is asked for, or read from standard input."""
    body = {"name": name, "password": _password(), "role": role.value, "display_name": display_name}
    made = ask("POST", server, "/accounts", key, body)
    print(f"{made['name']}: {made['role']}")


@app.command()
def disable(
    name: NameArgument,
    undo: Annotated[bool, typer.Option("--undo", help="Let it sign in again.")] = False,
    server: ServerOption = HERE,
    key: KeyOption = None,
) -> None:
    """Let an account sign in no more; it is signed out everywhere."""
    ask("PATCH", server, f"/accounts/{quote(name, safe='')}", key, {"disabled": not undo})
    print(f"{name}: {'may sign in' if undo else 'disabled'}")


@app.command()
def domains(
    name: NameArgument,
    domain: Annotated[
        list[str] | None, typer.Argument(metavar="[DOMAIN]…", help="None: of no domain any more.")
    ] = None,
    server: ServerOption = HERE,
    key: KeyOption = None,
) -> None:
    """Let an account administer the units of these domains, and of no others."""
    path = f"/accounts/{quote(name, safe='')}"
    found = ask("PATCH", server, path, key, {"domains": domain or []})["domains"]
    print(f"{name}: administers {', '.join(found) or 'no domain'}")


@app.command()
def login(
    name: NameArgument,
    to: Annotated[Path, typer.Option("--to", help="File to write, for --key-file.")],
    server: ServerOption = HERE,
) -> None:
    """Sign in, for commands that are given this file by --key-file: they may do what the account
    may, until logout. The password is asked for, or read from standard input."""
    _check_replaced(to)
    said = sign_in(server, name, _password(again=False)) + "\n"
    try:
        write_private(to, said)
    except OSError as error:
        raise ResourceError(f"{to}: {error}", subject=str(to)) from None
    print(f"{name}: signed in; give {to} by --key-file")


@app.command()
def logout(
    key: Annotated[Path, typer.Option("--key-file", help="File of login; it is removed.")],
    server: ServerOption = HERE,
) -> None:
    """Sign out: the server knows the session no more, and its file goes."""
    sign_out(server, key)
    try:
        key.unlink()
    except OSError as error:
        raise ResourceError(f"{key}: {error}", subject=str(key)) from None
    print("signed out")


@app.command()
def password(name: NameArgument, server: ServerOption = HERE, key: KeyOption = None) -> None:
    """Set a new password, asked for or read from standard input."""
    path = f"/accounts/{quote(name, safe='')}"
    ask("PATCH", server, path, key, {"password": _password()})
    print(f"{name}: has a new password, and is signed out everywhere")


def _check_replaced(file: Path) -> None:
    """``ConflictError`` where a file has something else than a session: it may be the key of the
    administrator."""
    try:
        with file.open("rb") as opened:
            begin = opened.read(len(SESSION))
    except FileNotFoundError:
        return
    except OSError as error:
        raise ResourceError(f"{file}: {error}", subject=str(file)) from None
    if begin not in (b"", SESSION.encode()):
        raise ConflictError(f"{file} has no session, and is not overwritten", subject=str(file))


def _password(*, again: bool = True) -> str:
    """Not by an option: command lines can be read by anybody on the machine."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    first = getpass.getpass("Password: ")
    if again and getpass.getpass("Again: ") != first:
        raise MalformedError("password", "the two are not the same")
    return first
