"""What two reflectors say to each other beside the media of a link: small JSON messages.

A link carries them reliably and in order, sealed like its media. The receiver of a channel says
``subscribe`` with a number of its choice (*wire*) that names the channel on this link, and what it
has already; the sender answers with ``layout``, again whenever the tracks change, tells the way the
channel came (``path``), and ends with ``refused`` or ``ended``. Where both have multicast the
sender may offer a ``cast``, and the receiver says that it ``hears`` it. ``finished`` and
``started`` tell neighbours that a reflector leaves in order or has come back (Kon et al. section
5.3, R12).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from ipaddress import IPv4Address
from typing import Any, TypeAlias

from heliograph.model.errors import MalformedError
from heliograph.model.media import Codec, Kind, Track, check_channel_name

PROTOCOL = "mesh message"

#: Bytes of one message: a layout of a few tracks with their parameter sets takes some hundred.
MAX_MESSAGE = 32 << 10
#: Reflectors between the ingest and a viewer, or in a list of neighbours; trees are far flatter.
MAX_NODES = 1_000
#: Tracks of a channel: their ids have 8 bits.
MAX_TRACKS = 256
#: The number that names a channel on a link has 16 bits.
MAX_WIRE = (1 << 16) - 1
#: Bytes of the key of a cast: AES-128-GCM, ChaCha20-Poly1305.
KEY_SIZES = (16, 32)
#: Characters of a reason told to people.
MAX_REASON = 500

_NODE = re.compile(r"[a-z2-7]{16}")


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """The newest packet of a track before which nothing is missing."""

    track: int
    """0–255."""
    epoch: int
    """Of its source, from 1."""
    number: int
    """64 bits, within the track."""


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Send me a channel from here on."""

    wire: int
    """How the channel is named on this link, 0–65535; the subscriber's choice."""
    channel: str
    home: str
    """The node that keeps it, or the database of several: others may have a channel of the same
    name."""
    ready: bool = False
    """Whether media may come. One that does not know the tracks yet asks once without, and again
    when it has made ready for the layout it was told."""
    after: tuple[Mark, ...] = ()
    """What the subscriber has: it wants what follows, as far as the ring reaches. Empty: it begins
    at the newest keyframe."""
    multicast: int = 0
    """UDP port at which the subscriber can receive multicast groups, 0: it cannot, or does not
    want this channel that way."""


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Send it no more."""

    wire: int


@dataclass(frozen=True, slots=True)
class Layout:
    """The tracks of a channel as readers see them, and the way it comes."""

    wire: int
    tracks: tuple[Track, ...]
    """Empty while nobody ever published."""
    path: tuple[str, ...]
    """Reflectors from the ingest to the sender, both included; empty: the sender has no source."""


@dataclass(frozen=True, slots=True)
class Path:
    """The way a channel comes has changed; its tracks have not."""

    wire: int
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cast:
    """The channel is sent by multicast as well; under the number it goes on until you hear it."""

    wire: int
    cast: int
    """Its name, 32 bits, not 0."""
    group: str
    """IPv4 multicast address."""
    key: bytes = field(repr=False)
    """Of this cast alone, 16 bytes."""


@dataclass(frozen=True, slots=True)
class Hears:
    """I hear the cast: send no more under the number. A new ``subscribe`` takes that back."""

    wire: int
    cast: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The subscription is not served."""

    wire: int
    reason: str
    retry_after: float = 0.0
    """Seconds until asking again may help; 0: the sender does not know."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The channel was closed; nothing will come under this number any more."""

    wire: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Finished:
    """The sender is about to leave; it goes on forwarding until its clients have confirmed by
    ending their subscriptions."""

    channel: str
    sources: tuple[str, ...] = ()
    """Where it gets the channel, for its clients to go to."""
    clients: tuple[str, ...] = ()
    """Whom it feeds, for its sources to expect."""


@dataclass(frozen=True, slots=True)
class Started:
    """The sender is back, with the neighbours it had."""

    channel: str
    sources: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()


Message: TypeAlias = (
    Subscribe | Unsubscribe | Layout | Path | Cast | Hears | Refused | Ended | Finished | Started
)

_TYPES: Mapping[str, type[Message]] = {
    "subscribe": Subscribe,
    "unsubscribe": Unsubscribe,
    "layout": Layout,
    "path": Path,
    "cast": Cast,
    "hears": Hears,
    "refused": Refused,
    "ended": Ended,
    "finished": Finished,
    "started": Started,
}
_NAMES = {type_: name for name, type_ in _TYPES.items()}


def encode(message: Message) -> bytes:
    """The bytes of a message."""
    body: dict[str, Any] = {"type": _NAMES[type(message)]}
    for one in fields(message):
        value = getattr(message, one.name)
        if one.name == "after":
            value = [[mark.track, mark.epoch, mark.number] for mark in value]
        elif one.name == "tracks":
            value = [_track_json(track) for track in value]
        elif one.name == "key":
            value = base64.b64encode(value).decode("ascii")
        body[one.name] = value
    return json.dumps(body, separators=(",", ":")).encode()


def decode(data: bytes) -> Message:
    """A neighbour's message; ``MalformedError`` where it is none."""
    if len(data) > MAX_MESSAGE:
        raise MalformedError(PROTOCOL, f"{len(data)} bytes, at most {MAX_MESSAGE}")
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        raise MalformedError(PROTOCOL, "not JSON") from None
    kind = body.get("type") if isinstance(body, dict) else None
    type_ = _TYPES.get(kind) if isinstance(kind, str) else None
    if type_ is None:
        raise MalformedError(PROTOCOL, f"unknown type {str(kind)[:40]!r}")
    values: dict[str, Any] = {}
    for one in fields(type_):
        if one.name in body:  # what a newer neighbour says besides is left unread
            try:
                values[one.name] = _READERS[one.name](body[one.name])
            except (TypeError, ValueError, KeyError, AttributeError, IndexError):
                raise MalformedError(PROTOCOL, f"{kind}: {one.name} is not valid") from None
    try:
        return type_(**values)
    except TypeError:
        raise MalformedError(PROTOCOL, f"{kind}: something is missing") from None


def _track_json(track: Track) -> dict[str, Any]:
    return {
        "id": track.id,
        "kind": track.kind.value,
        "codec": track.codec.value,
        "clock_rate": track.clock_rate,
        "payload_type": track.payload_type,
        "channels": track.channels,
        "encoding": track.encoding,
        "fmtp": dict(track.fmtp),
    }


def _integer(value: object, most: int, least: int = 0) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValueError
    return value


def _text(value: object, most: int = 100) -> str:
    if not isinstance(value, str) or len(value) > most:
        raise ValueError
    return value


def _list(value: object, most: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > most:
        raise ValueError
    return value


def _node(value: object) -> str:
    if not isinstance(value, str) or not _NODE.fullmatch(value):
        raise ValueError
    return value


def _nodes(value: object) -> tuple[str, ...]:
    return tuple(_node(one) for one in _list(value, MAX_NODES))


def _mark(value: object) -> Mark:
    track, epoch, number = _list(value, 3)
    return Mark(
        _integer(track, 255), _integer(epoch, (1 << 32) - 1), _integer(number, (1 << 64) - 1)
    )


def _track(value: object) -> Track:
    if not isinstance(value, dict) or not isinstance(value.get("fmtp"), dict):
        raise ValueError
    fmtp = value["fmtp"]
    return Track(
        _integer(value["id"], 255),
        Kind(value["kind"]),
        Codec(value["codec"]),
        _integer(value["clock_rate"], (1 << 32) - 1, 1),
        _integer(value["payload_type"], 127),
        _integer(value["channels"], 255),
        _text(value["encoding"]),
        {_text(name): _text(text, MAX_MESSAGE) for name, text in fmtp.items()},
    )


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _key(value: object) -> bytes:
    key = base64.b64decode(_text(value), validate=True)
    if len(key) not in KEY_SIZES:
        raise ValueError
    return key


def _group(value: object) -> str:
    group = IPv4Address(_text(value))
    if not group.is_multicast:
        raise ValueError
    return str(group)


def _seconds(value: object) -> float:
    if not isinstance(value, int | float) or not 0 <= value <= 86_400:
        raise ValueError
    return float(value)


_READERS: Mapping[str, Callable[[object], object]] = {
    "wire": lambda value: _integer(value, MAX_WIRE),
    "channel": lambda value: check_channel_name(_text(value)),
    "home": _node,
    "ready": _flag,
    "after": lambda value: tuple(_mark(one) for one in _list(value, MAX_TRACKS)),
    "tracks": lambda value: tuple(_track(one) for one in _list(value, MAX_TRACKS)),
    "path": _nodes,
    "multicast": lambda value: _integer(value, 65_535),
    "cast": lambda value: _integer(value, (1 << 32) - 1, 1),
    "group": _group,
    "key": _key,
    "sources": _nodes,
    "clients": _nodes,
    "reason": lambda value: _text(value, MAX_REASON),
    "retry_after": _seconds,
}
