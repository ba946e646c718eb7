"""STUN and TURN servers that peers by WebRTC are told of (RFC 9725 section 4.6).

Each is a ``Link`` header (RFC 8288 section 3) whose target is the server's URI (RFC 7064 for STUN,
RFC 7065 for TURN).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import IPv6Address

_URL = re.compile(
    r"(?P<scheme>stuns?|turns?):"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?)"
    r"(:(?P<port>[0-9]{1,5}))?(\?transport=(?P<transport>udp|tcp))?",
    re.ASCII,
)
#: What a quoted string takes of ASCII; others would have to be encoded, which no client reads.
_TEXT = re.compile(r"[ -~]+")


@dataclass(frozen=True, slots=True)
class IceServer:
    """One server; ``ValueError`` says what is wrong with it, without its credential."""

    url: str
    """``stun:HOST[:PORT]``, or ``turn:`` or ``turns:`` with ``?transport=udp`` or ``tcp``."""
    username: str = ""
    """For TURN only."""
    credential: str = field(default="", repr=False)
    """The password that belongs to it."""

    def __post_init__(self) -> None:
        found = _URL.fullmatch(self.url)
        if found is None:
            raise ValueError("must be stun:HOST, turn:HOST or turns:HOST, with :PORT or without")
        if found["host"].startswith("["):
            try:
                IPv6Address(found["host"][1:-1])
            except ValueError:
                raise ValueError("names no IPv6 address in its brackets") from None
        if found["port"] is not None and not 0 < int(found["port"]) < 65536:
            raise ValueError("must have a port from 1 to 65535")
        if found["scheme"].startswith("stun"):
            if found["transport"]:
                raise ValueError("must not name a transport: STUN knows none (RFC 7064)")
            if self.username or self.credential:
                raise ValueError("needs no username and no credential: that is for TURN")
        elif not self.username or not self.credential:
            raise ValueError("needs a username and a credential: TURN serves no strangers")
        elif not (_TEXT.fullmatch(self.username) and _TEXT.fullmatch(self.credential)):
            raise ValueError("must have a username and a credential of ASCII letters and signs")

    def link(self) -> str:
        """The header's value."""
        parts = [f"<{self.url}>", 'rel="ice-server"']
        if self.username:
            parts += [
                f"username={_quoted(self.username)}",
                f"credential={_quoted(self.credential)}",
                'credential-type="password"',
            ]
        return "; ".join(parts)


def _quoted(text: str) -> str:
    """A quoted string (RFC 9110 section 5.6.4)."""
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'
