"""What holds for every request: bounded bodies, security headers, an answer to all faults."""

from __future__ import annotations

import math
import re
import time

import structlog
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from heliograph.web.errors import error_response

log = structlog.get_logger(__name__)

#: Bytes of a request's body: the largest, a channel's settings, has about one kilobyte.
MAX_BODY = 64 << 10
#: Bytes of a refused body that are read so that the refusal arrives; a slip, not an attack.
MAX_DISCARD = 1 << 20
TOO_LARGE = f"the body is larger than {MAX_BODY} bytes"
#: Bodies that their routes take piece by piece, and bound themselves.
_UPLOAD = re.compile(r"PUT /api/v1/storage/(titles/[^/]+/media|imports/[^/]+/renditions)")

#: Nothing comes from elsewhere. Workers and worklets may be made from blobs, pictures drawn by the
#: page are ``data:`` or ``blob:``; WebSockets of other hosts serve players embedded elsewhere.
CONTENT_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' blob:; worker-src 'self' blob:; "
    "connect-src 'self' ws: wss:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'self'"
)

HEADERS = {
    "content-security-policy": CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    # An address may contain a key.
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(self), microphone=(self), display-capture=(self), "
    "geolocation=()",
}


#: Pages of other sites that show the player ask how a channel is, and may read refusals of WHEP:
#: they learn what strangers learn, as no cookie comes along.
_OPEN = re.compile(r"GET /api/v1/channels/[^/]+|[A-Z]+ /(?:whip|whep)/.+")


class Guard:
    """The outermost ASGI application of the web."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        taken, status = 0, 0
        most = math.inf if _UPLOAD.fullmatch(f"{scope['method']} {scope['path']}") else MAX_BODY

        async def bounded() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > most:
                await _discard(receive, message)
                raise HTTPException(413, TOO_LARGE, {"connection": "close"})
            return message

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if _OPEN.fullmatch(f"{scope['method']} {scope['path']}"):
                    headers.setdefault("access-control-allow-origin", "*")
                    headers.setdefault("access-control-expose-headers", "Retry-After")
            await send(message)

        try:
            if _announced(scope) > most:
                await _discard(receive, {"more_body": True})
                refusal = error_response(413, TOO_LARGE, "body", {"connection": "close"})
                await refusal(scope, receive, guarded)
            else:
                await self.app(scope, bounded, guarded)
        except Exception:  # whatever it was, the client gets an answer and no details
            log.exception("request failed unexpectedly", path=scope["path"])
            if status:
                raise
            await error_response(500, "internal error")(scope, receive, guarded)
        finally:
            log.debug(
                "http",
                method=scope["method"],
                path=scope["path"],
                status=status,
                peer=(scope.get("client") or ("",))[0],
                ms=round((time.perf_counter() - began) * 1000, 1),
            )


async def _discard(receive: Receive, message: Message) -> None:
    """Take what still comes: closing before it is read resets the connection, answer and all."""
    taken = 0
    while message.get("more_body", False) and taken < MAX_DISCARD:
        message = await receive()
        taken += len(message.get("body", b""))


def _announced(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value[:12])
    return 0
