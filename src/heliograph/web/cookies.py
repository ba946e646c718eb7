"""The two cookies: who is signed in, and what a view token opened for a browser.

Neither can be read by scripts, and neither goes with requests that other sites cause, but for
following a link.
"""

from __future__ import annotations

import time

from fastapi import Request, Response

from heliograph.catalogue.sessions import MAX_AGE
from heliograph.live.gate import AUTHORITY_SESSION
from heliograph.live.grants import Grant
from heliograph.live.identity import SESSION_COOKIE, VIEW_COOKIE

#: Seconds that a browser keeps what a view token opened, even if that is good for longer.
MAX_VIEW_AGE = 86_400


def set_session(request: Request, response: Response, token: str) -> None:
    """Let the browser be signed in; the server ends it when it was not used for long."""
    _set(request, response, SESSION_COOKIE, token, int(MAX_AGE.total_seconds()))


def drop_session(request: Request, response: Response) -> None:
    """Let the browser forget who was signed in."""
    _set(request, response, SESSION_COOKIE, "", 0)


def set_view(request: Request, response: Response, channel: str, grant: Grant) -> None:
    """Let the browser keep what a view token opened, so that a single one opens the whole page:
    picture, ways to watch, chat. Nothing where none was shown."""
    if not grant.carried:
        return
    left = AUTHORITY_SESSION if grant.token is None else grant.token.expires - int(time.time())
    _set(request, response, VIEW_COOKIE + channel, grant.carried, min(left, MAX_VIEW_AGE))


def _set(request: Request, response: Response, name: str, value: str, age: int) -> None:
    response.set_cookie(
        name,
        value,
        max_age=age,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="lax",
    )
