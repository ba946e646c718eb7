"""What the commands share that ask a running server's API as an administrator."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

import typer

from heliograph.model.errors import (
    MalformedError,
    RemoteError,
    ResourceError,
    UnauthorizedError,
)

if TYPE_CHECKING:
    import httpx

#: Seconds a server on the same network may take; hashing a password takes a part of one.
PATIENCE = 10.0
#: Seconds without a word after which a stream of events counts as broken: it speaks each 15.
SILENCE = 40.0

ServerOption = Annotated[
    str, typer.Option("--server", envvar="HELIO_SERVER", help="Address of the server's pages.")
]
KeyOption = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        help="File with the administrator's key, or of helio account login; else"
        " $HELIO_ADMINISTRATOR_KEY.",
    ),
]
#: Rows of a page of a list.
PAGE = 1000
#: How a file begins that ``helio account login`` wrote.
SESSION = "session "
#: As the server calls it (``live.identity``, which takes longer to import than all of this).
SESSION_COOKIE = "helio_session"
HERE = "http://127.0.0.1:8080"


def ask(
    method: str,
    server: str,
    path: str,
    file: Path | None,
    body: dict[str, Any] | None = None,
    *,
    patience: float = PATIENCE,
) -> dict[str, Any]:
    """Ask the API; ``RemoteError`` says what it answered instead. Empty where it has no more to
    say than that it was done."""
    import httpx

    url = f"{server.rstrip('/')}/api/v1{path}"
    headers = _shown(server, file)
    try:
        answer = httpx.request(
            method, url, json=body, headers=headers, timeout=patience, trust_env=False
        )
        if answer.status_code == 204:
            return {}
        found: dict[str, Any] = answer.json()
        if answer.is_success:
            return found
        raise _refused(answer, file)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise RemoteError(f"no answer from {url}: {error}", subject=url) from None
    except (ValueError, KeyError, TypeError):
        raise RemoteError(f"{server} is not a Heliograph server", subject=url) from None


def listed(
    server: str, path: str, file: Path | None, query: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    """All rows of a list that is told in pages, called as the path ends."""
    said = {key: value for key, value in query.items() if value}
    after: object = ""
    while after is not None:
        behind = {"after": after} if after else {}
        page = ask("GET", server, f"{path}?{urlencode({**said, **behind, 'limit': PAGE})}", file)
        yield from page[path.rpartition("/")[2]]
        after = page.get("more")


def download(
    server: str, path: str, file: Path | None, *, base: str = "/api/v1"
) -> Iterator[bytes]:
    """What the API sends as a file, in pieces; ``RemoteError`` where it ends before its end."""
    import httpx

    url = f"{server.rstrip('/')}{base}{path}"
    headers = _shown(server, file)
    try:
        with httpx.stream("GET", url, headers=headers, timeout=PATIENCE, trust_env=False) as answer:
            if not answer.is_success:
                answer.read()
                raise _refused(answer, file)
            yield from answer.iter_bytes()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise RemoteError(f"no answer from {url}: {error}", subject=url) from None
    except (ValueError, KeyError, TypeError):
        raise RemoteError(f"{server} is not a Heliograph server", subject=url) from None


def upload(
    server: str, path: str, file: Path | None, pieces: Iterable[bytes], size: int
) -> dict[str, Any]:
    """Send the API a file of ``size`` bytes; what it answers. ``RemoteError`` as of ``ask``."""
    import httpx

    url = f"{server.rstrip('/')}/api/v1{path}"
    headers = {**_shown(server, file), "Content-Length": str(size)}
    try:
        answer = httpx.put(url, content=pieces, headers=headers, timeout=SILENCE, trust_env=False)
        found: dict[str, Any] = answer.json()
        if answer.is_success:
            return found
        raise _refused(answer, file)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise RemoteError(f"no answer from {url}: {error}", subject=url) from None
    except (ValueError, KeyError, TypeError):
        raise RemoteError(f"{server} is not a Heliograph server", subject=url) from None


def events(server: str, path: str, file: Path | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Listen to what the API pushes (Server-Sent Events): names and data, until the stream ends.

    The first is ``open``, without data. ``RemoteError`` as of ``ask``, also where nothing comes
    for longer than the API is silent.
    """
    import httpx

    url = f"{server.rstrip('/')}/api/v1{path}"
    headers = _shown(server, file)
    limits = httpx.Timeout(PATIENCE, read=SILENCE)
    try:
        with httpx.stream("GET", url, headers=headers, timeout=limits, trust_env=False) as answer:
            if not answer.is_success:
                answer.read()
                raise _refused(answer, file)
            yield "open", {}
            name = ""
            for line in answer.iter_lines():
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    yield name, json.loads(line.removeprefix("data: "))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise RemoteError(f"no answer from {url}: {error}", subject=url) from None
    except (ValueError, KeyError, TypeError):
        raise RemoteError(f"{server} is not a Heliograph server", subject=url) from None


def sign_in(server: str, name: str, password: str) -> str:
    """Sign an account in; what ``--key-file`` takes for it. ``RemoteError`` as of ``ask``."""
    import httpx

    url = f"{server.rstrip('/')}/api/v1/session"
    try:
        given = {"name": name, "password": password}
        answer = httpx.post(url, json=given, timeout=PATIENCE, trust_env=False)
        if not answer.is_success:
            raise _refused(answer, None)
        return SESSION + answer.cookies[SESSION_COOKIE]
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise RemoteError(f"no answer from {url}: {error}", subject=url) from None
    except (ValueError, KeyError, TypeError):
        raise RemoteError(f"{server} is not a Heliograph server", subject=url) from None


def sign_out(server: str, file: Path) -> None:
    """End the session of a file; harmless where it has ended. Errors as of ``ask``, and
    ``MalformedError`` where the file has none."""
    if not _key(file).startswith(SESSION):
        raise MalformedError("session", f"{file} was not written by helio account login")
    ask("DELETE", server, "/session", file)


def _refused(answer: httpx.Response, file: Path | None) -> RemoteError:
    """What a server refused: of a session that has ended it says that a key is missing."""
    message, asked = answer.json()["error"]["message"], answer.request
    if answer.status_code == 401 and "cookie" in asked.headers:
        where = "" if file is None else f" in {file}"
        message = f"the session{where} has ended: sign in again with helio account login"
    return RemoteError(message, subject=str(asked.url))


def _shown(server: str, file: Path | None) -> dict[str, str]:
    """The headers by which a server knows who asks."""
    key = _key(file)
    if not key.startswith(SESSION):
        return {"Authorization": f"Bearer {key}"}
    token = key.removeprefix(SESSION)
    # A proxy may ask the server by another name than the one that is known here: what browsers say
    # of their own pages holds there too, the origin where a proxy takes that away.
    return {
        "Cookie": f"{SESSION_COOKIE}={token}",
        "Origin": server.rstrip("/"),
        "Sec-Fetch-Site": "same-origin",
    }


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
