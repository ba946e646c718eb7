"""What every node of a session knows of it: pure values, told over the bus at each change.

An order says all there is to know, so whoever has the newest one can go on with the session.
Between orders it stays true by itself: media time follows from the clock, numbers from the title.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from heliograph.bus.wire import Json
from heliograph.model.errors import MalformedError
from heliograph.model.nodes import NodeId
from heliograph.storage.values import ObjectId, check_object
from heliograph.vod.blocks import MAX_TIME_US, MAX_TRACKS
from heliograph.vod.playing import SPEEDS

#: Nodes of one session: what players and the headers of RTSP take.
MAX_MEMBERS = 64
#: Before the moment when a death was noticed, µs from which on the dead node's blocks are sent by
#: others, beside the lease of its presence: that tells of a killed process at once, of a silent
#: machine within a lease and so much.
MARGIN_US = 1_000_000
#: Most that packets go before they are due, µs: nodes read so much more ahead.
MAX_AHEAD_US = 5_000_000
#: What a session does. Its end is no order: each node sees it by its clock.
STATES = ("playing", "paused", "closed")

_ID = re.compile(r"[0-9a-f]{32}")
_NODE = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Lane:
    """How a track is numbered, and where its player takes it."""

    track: int
    ssrc: int
    sequence: int
    """Of the title's first packet of the track."""
    timestamp: int
    """RTP time of media time 0."""
    rtp: int
    """The player's port, as is the next."""
    rtcp: int


@dataclass(frozen=True, slots=True)
class Member:
    """A node that sends, or sent until it was gone."""

    number: int
    """In the session; one that comes again gets another, as it counts from 0 again."""
    node: NodeId
    host: str
    """Numeric address from which its packets come, and where it takes RTSP."""
    rtsp: int
    rtp: int
    rtcp: int
    until_us: int | None = None
    """Blocks that end behind this media time are others' to send; None: it is there."""


@dataclass(frozen=True, slots=True)
class Order:
    """A session as it was changed last."""

    id: str
    """32 hexadecimal digits: RTSP's session."""
    epoch: int
    """Grows each time that another node takes control."""
    controller: NodeId
    """Who has it; of two with one epoch the greater."""
    version: int
    """Grows with each change."""
    title: str
    object: ObjectId
    volume: int
    """Version of the volume's state by which blocks are shared out."""
    peer: str
    """Numeric address of the player, and what it calls itself."""
    agent: str
    extension: int
    """Id of RTP's header extension."""
    lanes: tuple[Lane, ...]
    members: tuple[Member, ...]
    run: int
    """Grows with each start elsewhere in the title."""
    start_us: int
    """Media time at which the run begins: that of a key unit."""
    end_us: int | None
    """Where to stop; None: at the end."""
    state: str
    """One of ``STATES``."""
    media_us: int
    """Media time at ``at_us``."""
    at_us: int
    """By the clock of ``controller``."""
    speed: float
    ahead_us: int = 0
    """How far before they are due the player takes packets, µs."""
    grant: str = field(default="", repr=False)
    """Why the player may watch, as servers tell each other; empty: everybody may."""

    @property
    def rank(self) -> tuple[int, str, int, bool, tuple[tuple[int, int], ...]]:
        """Of two orders the one with the greater rank counts, and those of one rank are the same:
        two nodes that do not see each other may give one version to what each notes of the other,
        and an end counts for more than that."""
        members = tuple(
            (one.number, -1 if one.until_us is None else one.until_us) for one in self.members
        )
        return self.epoch, self.controller, self.version, self.state == "closed", members

    def position_us(self, now_us: int) -> int:
        """Media time at an instant of the controller's clock."""
        if self.state != "playing":
            return self.media_us
        return self.media_us + math.floor(max(now_us - self.at_us, 0) * self.speed)

    def member(self, node: str) -> Member | None:
        """A node's newest place in the session."""
        return next((one for one in reversed(self.members) if one.node == node), None)

    def concerns(self, node: str) -> bool:
        """Whether a node sends, or has sent, or has control."""
        return node == self.controller or self.member(node) is not None

    @property
    def present(self) -> tuple[Member, ...]:
        """Those that send, by number."""
        return tuple(one for one in self.members if one.until_us is None)

    def without(self, node: str, now_us: int, lease: float) -> Order:
        """The order when a node's death is noticed; the same where it sends nothing. ``lease``:
        seconds for which it may have been silent without being noticed."""
        silent = (MARGIN_US + round(lease * 1e6)) * max(self.speed, 1.0)
        until = max(self.position_us(now_us) - round(silent), 0)
        members = tuple(
            replace(one, until_us=until) if one.node == node and one.until_us is None else one
            for one in self.members
        )
        if members == self.members:
            return self
        return replace(self, members=members, version=self.version + 1)

    def steward(self, here: frozenset[str]) -> str | None:
        """Who notes deaths among the nodes ``here``: who has control, or the first that sends."""
        if self.controller in here:
            return self.controller
        return next((one.node for one in self.present if one.node in here), None)

    def to_json(self) -> Json:
        """As it crosses the bus; see ``decode``."""
        found: Json = asdict(self) | {
            "lanes": [asdict(one) for one in self.lanes],
            "members": [asdict(one) for one in self.members],
        }
        return found


def decode(value: Json) -> Order:
    """An order that another node told; ``MalformedError`` for what is none."""
    if not isinstance(value, dict):
        raise _malformed("not a document")
    try:
        raw: dict[str, Any] = dict(value)
        lanes = tuple(Lane(**one) for one in _many(raw.pop("lanes"), MAX_TRACKS))
        members = tuple(Member(**one) for one in _many(raw.pop("members"), MAX_MEMBERS))
        order = Order(lanes=lanes, members=members, **raw)
    except (TypeError, KeyError) as error:
        raise _malformed(type(error).__name__) from None
    _check(order)
    return order


def _many(value: Any, most: int) -> list[dict[str, Any]]:  # noqa: ANN401 - what JSON gives
    if not isinstance(value, list) or not 1 <= len(value) <= most:
        raise _malformed(f"no list of 1 to {most}")
    if not all(isinstance(one, dict) for one in value):
        raise _malformed("a list of something else")
    return value


def _check(order: Order) -> None:
    texts = (order.id, order.title, order.object, order.peer, order.agent, order.controller)
    for text in (*texts, order.grant):
        if not isinstance(text, str) or len(text) > 256:
            raise _malformed("texts")
    check_object(order.object)
    _address(order.peer)
    if not _ID.fullmatch(order.id) or not _NODE.fullmatch(order.controller):
        raise _malformed("id or controller")
    if order.state not in STATES:
        raise _malformed("state")
    for name in ("epoch", "version", "run", "volume"):
        _whole(name, getattr(order, name), 1, 1 << 53)
    _whole("extension", order.extension, 1, 14)
    _whole("instant", order.at_us, 0, 1 << 62)
    for name in ("start_us", "media_us"):
        _whole(name, getattr(order, name), 0, MAX_TIME_US)
    if order.end_us is not None:
        _whole("end", order.end_us, order.start_us, MAX_TIME_US)
    _check_speed(order.speed)
    _whole("ahead", order.ahead_us, 0, MAX_AHEAD_US)
    for lane in order.lanes:
        _check_lane(lane)
    for member in order.members:
        _check_member(member)
    if len({one.track for one in order.lanes}) != len(order.lanes):
        raise _malformed("a track twice")
    if len({one.number for one in order.members}) != len(order.members):
        raise _malformed("a number twice")


def _check_speed(speed: Any) -> None:  # noqa: ANN401 - what JSON gives
    if type(speed) not in (int, float) or not SPEEDS[0] <= speed <= SPEEDS[1]:
        raise _malformed("speed")


def _check_lane(lane: Lane) -> None:
    _whole("track", lane.track, 0, 255)
    _whole("ssrc", lane.ssrc, 0, 0xFFFFFFFF)
    _whole("sequence", lane.sequence, 0, 0xFFFF)
    _whole("timestamp", lane.timestamp, 0, 0xFFFFFFFF)
    _whole("port", lane.rtp, 1, 0xFFFF)
    _whole("port", lane.rtcp, 1, 0xFFFF)


def _check_member(member: Member) -> None:
    _whole("number", member.number, 0, 0xFFFF)
    if not isinstance(member.node, str) or not _NODE.fullmatch(member.node):
        raise _malformed("node")
    _address(member.host)
    for port in (member.rtsp, member.rtp, member.rtcp):
        _whole("port", port, 1, 0xFFFF)
    if member.until_us is not None:
        _whole("until", member.until_us, 0, MAX_TIME_US)


def _address(text: Any) -> None:  # noqa: ANN401 - what JSON gives
    try:
        ipaddress.ip_address(text if isinstance(text, str) else "")
    except ValueError:
        raise _malformed("address") from None


def _whole(what: str, value: Any, least: int, most: int) -> None:  # noqa: ANN401 - what JSON gives
    if type(value) is not int or not least <= value <= most:
        raise _malformed(what)


def _malformed(reason: str) -> MalformedError:
    return MalformedError("order", reason)


def nodes_header(
    members: Iterable[Member], now_us: int, ahead_us: int, order: Order | None = None
) -> str:
    """The header ``Bipartite``: who sends, the controller's clock, how far ahead, and by the order
    which media time is due when."""

    def place(one: Member) -> str:
        host = f"[{one.host}]" if ":" in one.host else one.host
        return f"{one.number}={host}:{one.rtsp}/{one.rtp}-{one.rtcp}"

    nodes = ";".join(place(one) for one in members if one.until_us is None)
    line = ""
    if order is not None:
        speed = order.speed if order.state == "playing" else 0.0
        line = f', line="{order.media_us}@{order.at_us}*{speed:.6f}"'
    return f'clock={now_us}, nodes="{nodes}", ahead={ahead_us}{line}'
