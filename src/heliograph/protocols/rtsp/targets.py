"""Request URLs: which channel, which query, which track."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

from heliograph.model.errors import MalformedError

_URL = re.compile(r"(?:(rtsps?|rtspu)://([^/?#]*))?(/[^?#]*|)(?:\?([^#]*))?", re.ASCII | re.I)

#: Parameters of a query that are looked at.
MAX_QUERY_PARAMETERS = 32


@dataclass(frozen=True, slots=True)
class Target:
    """A request URL taken apart."""

    host: str
    """Host and port as the client wrote them, without user and password; "" if relative."""
    path: str
    """Percent-decoded path without slashes around it; "" for the server itself."""
    query: str = field(default="", repr=False)
    """What follows ``?``, verbatim; may hold a key."""

    def parameter(self, name: str) -> str | None:
        """The first query parameter of that name."""
        try:
            pairs = parse_qsl(
                self.query, keep_blank_values=True, max_num_fields=MAX_QUERY_PARAMETERS
            )
        except ValueError:
            return None
        return next((value for key, value in pairs if key == name), None)


def parse_target(url: str) -> Target:
    """Take a request URL apart; ``*`` is the server itself."""
    if url == "*":
        return Target("", "")
    match = _URL.fullmatch(url)
    if match is None or (match[2] is None and not match[3]):
        raise MalformedError("rtsp", "URL")
    host = (match[2] or "").rpartition("@")[2]
    return Target(host, unquote(match[3]).strip("/"), match[4] or "")


def strip_query(url: str) -> str:
    """The URL without its query."""
    return url.partition("?")[0]


def without_credentials(url: str) -> str:
    """The URL without ``user:password@``: what goes into requests and logs."""
    return re.sub(r"(?<=://)[^/?#]*@", "", url, count=1)


def same_place(one: str, other: str) -> bool:
    """Whether two URLs are equal but for scheme, host and slashes at their end."""
    bare = (re.sub(r"^[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*", "", u).rstrip("/") for u in (one, other))
    return next(bare) == next(bare)
