"""``helio account``: accounts of a running server, by the administrator's key."""

from __future__ import annotations

import getpass
import sys
from typing import Annotated, Any
from urllib.parse import quote

import typer

from heliograph.catalogue.values import Role
from heliograph.cli.api import HERE, KeyOption, ServerOption, ask
from heliograph.cli.console import JsonOption, new_app, print_json, print_table
from heliograph.model.errors import MalformedError

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
        (one["name"], one["display_name"], one["role"], "disabled" if one["disabled"] else "")
        for one in found
    ]
    print_table(("name", "display name", "role", "state"), rows)


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
def password(name: NameArgument, server: ServerOption = HERE, key: KeyOption = None) -> None:
    """Set a new password, asked for or read from standard input."""
    path = f"/accounts/{quote(name, safe='')}"
    ask("PATCH", server, path, key, {"password": _password()})
    print(f"{name}: has a new password, and is signed out everywhere")


def _password() -> str:
    """Not by an option: command lines can be read by anybody on the machine."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    first = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != first:
        raise MalformedError("password", "the two are not the same")
    return first
