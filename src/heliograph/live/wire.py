"""The text messages of the WebSocket format ``helio.v1``; the plane makes the binary ones.

Server to client: ``start``, ``state``, ``tracks``, ``pong``, ``end``. Client to server: ``ping``.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any

from heliograph.model.errors import MalformedError
from heliograph.model.media import Codec, Track

SUBPROTOCOL = "helio.v1"
VERSION = 1


def start(
    channel: str, title: str, state: str, tracks: Sequence[Track], server_time_us: int
) -> bytes:
    """The first message: what is to come."""
    return _text(
        type="start",
        version=VERSION,
        channel=channel,
        title=title,
        state=state,
        server_time_us=server_time_us,
        tracks=[track_json(track) for track in tracks],
    )


def state(state: str) -> bytes:
    """The source is gone, or back."""
    return _text(type="state", state=state)


def tracks(tracks: Sequence[Track]) -> bytes:
    """The format changed; decoders are to be made anew."""
    return _text(type="tracks", tracks=[track_json(track) for track in tracks])


def pong(echo: float, server_time_us: int) -> bytes:
    return _text(type="pong", t=echo, server_time_us=server_time_us)


def end(reason: str) -> bytes:
    """Nothing more comes, and why."""
    return _text(type="end", reason=reason)


def parse_ping(data: bytes) -> float | None:
    """The time in a client's ``ping``; None for another type; ``MalformedError`` for nonsense."""
    try:
        message = json.loads(data)
        if message["type"] != "ping":
            return None
        echo = message["t"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise MalformedError("websocket text", "no message of helio.v1") from None
    if isinstance(echo, bool) or not isinstance(echo, int | float) or not abs(echo) < 1e15:
        raise MalformedError("websocket text", "ping without a time")
    return echo


def track_json(track: Track) -> dict[str, Any]:
    """A track as a player needs it to choose its decoder."""
    return {
        "id": track.id,
        "kind": track.kind.value,
        "codec": track.codec.value,
        "codec_string": codec_string(track),
        "description": _description(track),
        "clock_rate": track.clock_rate,
        "channels": track.channels,
    }


def codec_string(track: Track) -> str | None:
    """The codec's name of RFC 6381 where the description tells it; else the page derives it."""
    match track.codec:
        case Codec.H264:
            profile = track.fmtp.get("profile-level-id", "").lower()
            good = len(profile) == 6 and set(profile) <= set("0123456789abcdef")
            return f"avc1.{profile}" if good else None
        case Codec.VP8 | Codec.OPUS:
            return track.codec.value
        case Codec.AAC:
            config = _aac_config(track)
            return f"mp4a.40.{config[0] >> 3}" if config and config[0] >> 3 not in (0, 31) else None
        case Codec.PCMU:
            return "ulaw"
        case Codec.PCMA:
            return "alaw"
    return None


def _description(track: Track) -> str | None:
    config = _aac_config(track)
    return base64.b64encode(config).decode("ascii") if config else None


def _aac_config(track: Track) -> bytes | None:
    """AudioSpecificConfig out of ``config`` (RFC 3640 section 4.1, hexadecimal)."""
    if track.codec is not Codec.AAC:
        return None
    try:
        return binascii.unhexlify(track.fmtp.get("config", "")) or None
    except (binascii.Error, ValueError):
        return None


def _text(**message: Any) -> bytes:  # noqa: ANN401 - JSON values
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()
