"""``helio channels``: what a running server has on air, and how many places it has."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from heliograph.cli.api import HERE, KeyOption, ServerOption, ask
from heliograph.cli.console import (
    ChannelArgument,
    JsonOption,
    new_app,
    print_json,
    print_table,
    rate,
)
from heliograph.cli.following import Followed, follow
from heliograph.cli.unit import find_unit
from heliograph.model.errors import RemoteError

#: Seconds a server on the same network may take to answer before it counts as gone.
PATIENCE = 5.0


app = new_app()

GroupsOption = Annotated[int, typer.Option("--groups", min=1, max=50, help="How many.")]


@app.callback(invoke_without_command=True)
def show(
    context: typer.Context,
    server: ServerOption = HERE,
    as_json: JsonOption = False,
) -> None:
    """Show the channels of a running server; open, close, extend and shrink them."""
    if context.invoked_subcommand is not None:
        return
    channels = fetch(server)
    if as_json:
        print_json(channels)
        return
    rows = [
        (
            channel["name"],
            channel["title"],
            channel["state"].replace("_", " "),
            " + ".join(track["codec"] for track in channel["tracks"]) or "–",
            channel["readers"],
            rate(channel["bitrate"]),
            channel["urls"]["page"],
        )
        for channel in channels
    ]
    columns = ("name", "title", "state", "tracks", "viewers", "rate", "page")
    print_table(columns, rows, right=("viewers", "rate"))


@app.command("open")
def open_channel(
    channel: ChannelArgument,
    server: ServerOption = HERE,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let everybody in again, and grant a first group of places before anybody comes."""
    answer = ask("POST", server, f"/cluster/channels/{channel}/open", key)
    if as_json:
        print_json(answer)
        return
    found = answer.get("progress") or {}
    places = f", with {found['places']} places" if found.get("places") else ""
    print(f"{channel}: is open{places}")


@app.command()
def close(
    channel: ChannelArgument,
    wait: Annotated[bool, typer.Option(help="Follow it until no unit has the channel.")] = True,
    server: ServerOption = HERE,
    key: KeyOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a channel everywhere; nobody publishes or watches until it is opened."""
    closed = Followed(
        channel,
        f"Closing {channel}",
        lambda: ask("POST", server, f"/cluster/channels/{channel}/close", key),
        lambda view: (
            not any(
                one["name"] == channel and (one["viewers"] or one["groups"])
                for one in view["channels"]
            )
        ),
        (
            ("viewers", "viewer", "viewers"),
            ("groups", "group", "groups"),
            ("units", "unit", "units"),
        ),
        ("viewers", "groups", "units"),
        lambda view: channel in view.get("closed", ()),
    )
    answer = closed.order()
    if wait and not answer["done"]:
        answer = follow(server, key, closed, answer, quiet=as_json)
    if as_json:
        print_json(answer)
    elif answer["done"]:
        print(f"{channel}: is closed")
    else:
        print(f"{channel}: is closed; {closed.words(answer.get('progress') or {})}")


@app.command()
def extend(
    channel: ChannelArgument,
    groups: GroupsOption = 1,
    unit: Annotated[
        str, typer.Option("--unit", metavar="UNIT", help="Name or id; else the manager chooses.")
    ] = "",
    server: ServerOption = HERE,
    key: KeyOption = None,
) -> None:
    """Give a channel further groups of places; they stay until they are taken back."""
    found = find_unit(server, key, unit)["id"] if unit else ""
    ask("POST", server, f"/channels/{channel}/extend", key, {"groups": groups, "unit": found})
    print(f"{channel}: {_words(groups)} more")


@app.command()
def shrink(
    channel: ChannelArgument,
    groups: GroupsOption = 1,
    server: ServerOption = HERE,
    key: KeyOption = None,
) -> None:
    """Take groups of a channel back, as they empty."""
    ask("POST", server, f"/channels/{channel}/shrink", key, {"groups": groups})
    print(f"{channel}: {_words(groups)} fewer")


def _words(groups: int) -> str:
    return f"{groups} group{'' if groups == 1 else 's'}"


def fetch(server: str) -> list[dict[str, Any]]:
    """Ask a server for its channels; ``RemoteError`` says what it answered instead."""
    import httpx

    url = f"{server.rstrip('/')}/api/v1/channels"
    try:
        answer = httpx.get(url, timeout=PATIENCE, trust_env=False)
        answer.raise_for_status()
        channels: list[dict[str, Any]] = answer.json()["channels"]
    except httpx.HTTPStatusError as error:
        raise RemoteError(f"{url} answered {error.response.status_code}", subject=url) from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise RemoteError(f"no answer from {url}: {error}", subject=url) from None
    except (ValueError, KeyError, TypeError):
        raise RemoteError(f"{url} is not a Heliograph server", subject=url) from None
    return channels
