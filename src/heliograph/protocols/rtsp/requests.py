"""What every request is checked for before the state machine sees it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from heliograph.model.errors import HelioError, MalformedError
from heliograph.protocols.rtsp.headers import parse_tokens
from heliograph.protocols.rtsp.messages import Request
from heliograph.protocols.rtsp.states import METHODS

#: Option tags this server honours (RFC 7826 §11.1).
FEATURES = frozenset(("play.basic",))

_CSEQ = re.compile(r"\d{1,10}", re.ASCII)


class RequestRefused(HelioError):
    """A refusal whose status follows from the protocol alone. Never leaves the machine."""

    def __init__(self, status: int, headers: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.headers = tuple(headers)


def check_request(request: Request) -> None:
    """CSeq (RFC 2326 §12.17), method, Require (§12.32), Accept (§12.1)."""
    cseq = request.headers.get("cseq")
    if cseq is None or not _CSEQ.fullmatch(cseq):
        raise MalformedError("rtsp", "CSeq")
    if request.method not in METHODS:
        raise RequestRefused(501, [("Public", ", ".join(METHODS))])
    for name in ("require", "proxy-require"):
        missing = parse_tokens(request.headers.joined(name) or "") - FEATURES
        if missing:
            raise RequestRefused(551, [("Unsupported", ", ".join(sorted(missing)))])
    if request.method == "DESCRIBE":
        accepted = request.headers.joined("accept")
        if accepted is not None and not _accepts_sdp(accepted):
            raise RequestRefused(406)


def _accepts_sdp(accepted: str) -> bool:
    kinds = {part.partition(";")[0].strip().lower() for part in accepted.split(",")}
    return not kinds.isdisjoint(("application/sdp", "application/*", "*/*", "*"))
