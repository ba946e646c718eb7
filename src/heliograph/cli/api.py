"""What the commands share that ask a running server's API as an administrator."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from heliograph.model.errors import RemoteError, ResourceError, UnauthorizedError

#: Seconds a server on the same network may take; hashing a password takes a part of one.
PATIENCE = 10.0

ServerOption = Annotated[
    str, typer.Option("--server", envvar="HELIO_SERVER", help="Address of the server's pages.")
]
KeyOption = Annotated[
    Path | None,
    typer.Option(
        "--key-file", help="File with the administrator's key; else $HELIO_ADMINISTRATOR_KEY."
    ),
]
HERE = "http://127.0.0.1:8080"


def ask(
    method: str, server: str, path: str, file: Path | None, body: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Ask the API; ``RemoteError`` says what it answered instead."""
    import httpx

    url = f"{server.rstrip('/')}/api/v1{path}"
    headers = {"Authorization": f"Bearer {_key(file)}"}
    try:
        answer = httpx.request(
            method, url, json=body, headers=headers, timeout=PATIENCE, trust_env=False
        )
        found: dict[str, Any] = answer.json()
        if answer.is_success:
            return found
        raise RemoteError(found["error"]["message"], subject=url)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise RemoteError(f"no answer from {url}: {error}", subject=url) from None
    except (ValueError, KeyError, TypeError):
        raise RemoteError(f"{server} is not a Heliograph server", subject=url) from None


def _key(file: Path | None) -> str:
    if file is None:
        key = os.environ.get("HELIO_ADMINISTRATOR_KEY", "")
    else:
        try:
            key = file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ResourceError(f"{file}: {error}", subject=str(file)) from None
    if not key:
        raise UnauthorizedError("the administrator's key is needed: --key-file FILE")
    return key
