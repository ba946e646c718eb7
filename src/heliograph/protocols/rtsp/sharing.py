"""Sessions that several nodes send: the feature's name, and the ``Bipartite`` header.

``docs/wire/bipartite.md``. RFC 7826 §18.51 (Supported) negotiates it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass

from heliograph.model.errors import MalformedError, RemoteError
from heliograph.protocols.rtsp.headers import parse_tokens, split_quoted, unquote
from heliograph.protocols.rtsp.messages import Headers

#: The feature tag that client and server show in ``Supported``.
TAG = "heliograph.bipartite"
#: What a player takes before it is due, µs, beside what its buffer holds anyway: enough for a node
#: that is asked for more than its share for a while.
AHEAD_US = 4_000_000
#: Nodes of one session; a volume's blocks lie on no more.
MAX_NODES = 64

_NODE = re.compile(
    r"(\d{1,5})=(\[[0-9A-Fa-f:.]{2,45}\]|[0-9.]{7,15}):(\d{1,5})/(\d{1,5})-(\d{1,5})", re.ASCII
)
_CLOCK = re.compile(r"\d{1,18}", re.ASCII)
_LINE = re.compile(r"(\d{1,18})@(\d{1,18})\*(\d{1,3}\.\d{1,6})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Node:
    """One that sends."""

    number: int
    """In the session, 0–65 535; a node that was started anew has another one."""
    host: str
    """Its IP address."""
    port: int
    """Of RTSP, 1–65 535."""
    rtp: int
    """Port that its packets come from, 1–65 535."""
    rtcp: int
    """Port that its reports come from and that hears ours, 1–65 535."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.number}={host}:{self.port}/{self.rtp}-{self.rtcp}"


@dataclass(frozen=True, slots=True)
class Line:
    """Which media time is due when."""

    media: int
    """Media time that is due at ``at``, µs."""
    at: int
    """By the common clock, µs; before that nothing moves."""
    speed: float
    """Media time in a second; 0: it stands."""

    def position(self, clock: int) -> float:
        """Media time that is due by the common clock, µs."""
        return self.media + max(clock - self.at, 0) * self.speed

    def __str__(self) -> str:
        return f"{self.media}@{self.at}*{self.speed:.6f}"


@dataclass(frozen=True, slots=True)
class Nodes:
    """The header: who sends a session."""

    clock: int
    """The common clock when it was written, in µs since 1970."""
    nodes: tuple[Node, ...]
    """1–64, each number once."""
    ahead: int = 0
    """How far before they are due packets may come, µs."""
    line: Line | None = None
    """When they are due; None before PLAY."""

    def serialize(self) -> str:
        """The header's value."""
        line = "" if self.line is None else f', line="{self.line}"'
        nodes = ";".join(map(str, self.nodes))
        return f'clock={self.clock}, nodes="{nodes}", ahead={self.ahead}{line}'


def parse_nodes(value: str) -> Nodes:
    """Read a ``Bipartite`` header; parameters of other names are passed over."""
    clock: int | None = None
    nodes: tuple[Node, ...] = ()
    ahead, line = 0, None
    for part in split_quoted(value, ","):
        name, _, argument = part.partition("=")
        match name.strip().lower():
            case "clock":
                clock = _number("clock", argument)
            case "nodes":
                nodes = tuple(_nodes(unquote(argument.strip())))
            case "ahead":
                ahead = _number("ahead", argument)
            case "line":
                line = _line(unquote(argument.strip()))
    if clock is None or not nodes:
        raise MalformedError("rtsp", f"Bipartite {value[:80]!r}")
    return Nodes(clock, nodes, ahead, line)


def parse_ahead(value: str) -> int:
    """Read a request's ``Bipartite`` header: how far before they are due packets are taken, µs; 0
    where it does not say."""
    for part in split_quoted(value, ","):
        name, _, argument = part.partition("=")
        if name.strip().lower() == "ahead":
            return _number("ahead", argument)
    return 0


def _number(name: str, text: str) -> int:
    if not _CLOCK.fullmatch(text.strip()):
        raise MalformedError("rtsp", f"Bipartite {name} {text[:40]!r}")
    return int(text)


def _line(text: str) -> Line:
    match = _LINE.fullmatch(text)
    if match is None:
        raise MalformedError("rtsp", f"Bipartite line {text[:80]!r}")
    return Line(int(match[1]), int(match[2]), float(match[3]))


def _nodes(text: str) -> Iterator[Node]:
    entries = text.split(";", MAX_NODES)
    if len(entries) > MAX_NODES:
        raise MalformedError("rtsp", f"Bipartite with more than {MAX_NODES} nodes")
    known = set()
    for entry in entries:
        match = _NODE.fullmatch(entry.strip())
        if match is None:
            raise MalformedError("rtsp", f"Bipartite node {entry[:80]!r}")
        try:
            host = ipaddress.ip_address(match[2].strip("[]"))
        except ValueError:
            raise MalformedError("rtsp", f"Bipartite host {match[2]!r}") from None
        number, *ports = (int(match[group]) for group in (1, 3, 4, 5))
        good = not host.is_multicast and not host.is_unspecified
        if not good or number > 0xFFFF or not all(1 <= port <= 0xFFFF for port in ports):
            raise MalformedError("rtsp", f"Bipartite node {entry[:80]!r}")
        if number in known:
            raise MalformedError("rtsp", f"Bipartite node {number} twice")
        known.add(number)
        yield Node(number, str(host), *ports)


@dataclass(slots=True)
class Sharing:
    """What a client knows of who sends its session."""

    offered: bool
    """Whether to ask for it: wanted by the user and offered by the description."""
    url: str
    """For errors."""
    agreed: bool = False
    """Whether several nodes send, as the answers to SETUP told."""
    nodes: Nodes | None = None
    """Who they are."""

    @property
    def wanted(self) -> tuple[tuple[str, str], ...]:
        """Headers to ask with."""
        return (("Supported", TAG), ("Bipartite", f"ahead={AHEAD_US}")) if self.offered else ()

    def learn(
        self, method: str, sent: tuple[tuple[str, str], ...], headers: Headers, *, again: bool
    ) -> bool:
        """Read a good answer; whether it names the nodes anew. ``sent``: what was asked with;
        ``again``: of a second SETUP.

        Raises ``RemoteError`` for answers that contradict each other, or tell of no nodes.
        """
        if method == "SETUP":
            told = parse_tokens(headers.joined("supported") or "")
            agreed = TAG in told and ("Supported", TAG) in sent
            if again and agreed != self.agreed:
                raise RemoteError("only some tracks are sent by several nodes", subject=self.url)
            self.agreed = agreed
        if not self.agreed:
            return False
        text = headers.get("bipartite")
        if text is not None:
            self.nodes = parse_nodes(text)
        elif self.nodes is None and method == "PLAY":
            raise RemoteError("PLAY does not tell which nodes send", subject=self.url)
        return text is not None
