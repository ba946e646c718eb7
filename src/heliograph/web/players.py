"""Which of several players at one address asks for a title."""

from __future__ import annotations

import hashlib
import re

from fastapi import Request

from heliograph.live.grants import Grant
from heliograph.live.identity import SESSION_COOKIE, cookie
from heliograph.web.identity import agent_of

#: A session's name among what players tell of themselves (CTA-5004 section 3.1).
_SID = re.compile(r'(?:^|,)\s*sid="([^"]{1,64})"')
#: Characters that count of what anybody may send.
MAX_SHOWN = 256


def player_of(request: Request, grant: Grant | None) -> str:
    """What tells the player from others at its address: the session that it names
    (``X-Playback-Session-Id``, or CMCD by header or query), the view token, the account's session,
    or at least the program; empty: nothing does."""
    headers, carried = request.headers, "" if grant is None else grant.carried
    shown = (
        headers.get("x-playback-session-id", ""),
        _sid(headers.get("cmcd-session", "")),
        _sid(request.query_params.get("CMCD", "")),
        carried,
        cookie(headers, SESSION_COOKIE) or "",
        agent_of(request),
    )
    found = next((f"{way} {text[:MAX_SHOWN]}" for way, text in enumerate(shown) if text), "")
    return hashlib.sha256(found.encode()).hexdigest()[:32] if found else ""


def _sid(text: str) -> str:
    found = _SID.search(text[:2048])
    return "" if found is None else found[1]
