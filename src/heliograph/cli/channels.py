"""``helio channels``: what a running server has on air."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from heliograph.cli.console import JsonOption, print_json, print_table, rate
from heliograph.model.errors import RemoteError

#: Seconds a server on the same network may take to answer before it counts as gone.
PATIENCE = 5.0


def command(
    server: Annotated[
        str, typer.Option("--server", envvar="HELIO_SERVER", help="Address of the server's pages.")
    ] = "http://127.0.0.1:8080",
    as_json: JsonOption = False,
) -> None:
    """Show the channels of a running server."""
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
