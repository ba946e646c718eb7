"""Commands (RTMP 1.0 §7.2) as clients send them, and the answers to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

from heliograph.model.errors import (
    BusyError,
    ConflictError,
    ForbiddenError,
    HelioError,
    MalformedError,
    NotFoundError,
    ResourceError,
    UnauthorizedError,
)
from heliograph.protocols.rtmp import amf
from heliograph.protocols.rtmp.amf import AmfValue
from heliograph.protocols.rtmp.chunks import COMMAND_AMF3, DATA_AMF3, Message
from heliograph.protocols.rtmp.flv import AUDIO_CODECS, VIDEO_CODECS

#: Bytes of a command or of metadata; OBS's connect has about 300, onMetaData about 500.
MAX_COMMAND = 64 << 10
#: Characters of an application's or a stream's name, query included.
MAX_NAME = 1024
#: Parameters of a query that are looked at.
MAX_QUERY_PARAMETERS = 32

#: Enhanced RTMP v2, FourCcInfoMask: the server forwards the codec.
_CAN_FORWARD = 4
#: Enhanced RTMP v2, CapsExMask: ModEx heads and their nanoseconds; neither reconnection nor tracks.
_CAPS_EX = 4 | 8
#: What Adobe's server called itself; old encoders look for a name of that form.
_SERVER = "FMS/3,5,7,7009"


@dataclass(frozen=True, slots=True)
class Command:
    """A command message."""

    name: str
    """Such as ``connect``."""
    transaction: float
    """What the answer repeats; 0 if none is wanted."""
    arguments: tuple[AmfValue, ...]
    """What follows: command object, then arguments."""

    def text(self, index: int) -> str | None:
        """The argument at ``index`` if it is text (0 is the command object)."""
        value = self.arguments[index] if index < len(self.arguments) else None
        return value if isinstance(value, str) else None

    def object(self) -> Mapping[str, AmfValue]:
        """The command object; empty if there is none."""
        value = self.arguments[0] if self.arguments else None
        return value if isinstance(value, dict) else {}


def decode_values(message: Message) -> list[AmfValue]:
    """The values of a command or data message in either AMF. Raises ``PeerError``."""
    body = message.body
    if len(body) > MAX_COMMAND:
        raise MalformedError("rtmp", f"a command of {len(body)} bytes")
    # §7.1.1: in AMF3 messages a byte comes first; the values are AMF0 with switches to AMF3.
    if message.type in (COMMAND_AMF3, DATA_AMF3) and body[:1] == b"\0":
        body = body[1:]
    return amf.decode(body)


def parse_command(message: Message) -> Command:
    """Read a command message. Raises ``PeerError``."""
    values = decode_values(message)
    name = values[0] if values else None
    if not isinstance(name, str):
        raise MalformedError("rtmp", "a command without a name")
    transaction = values[1] if len(values) > 1 else 0.0
    if isinstance(transaction, bool) or not isinstance(transaction, float):
        transaction = 0.0
    return Command(name, transaction, tuple(values[2:]))


def split_name(name: str) -> tuple[str, dict[str, str]]:
    """A stream's or application's name without slashes around it, and its query's parameters."""
    if len(name) > MAX_NAME:
        raise MalformedError("rtmp", f"a name of {len(name)} characters")
    path, _, query = name.partition("?")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_QUERY_PARAMETERS)
    except ValueError as error:
        raise MalformedError("rtmp", "a query with too many parameters") from error
    parameters: dict[str, str] = {}
    for key, value in pairs:
        parameters.setdefault(key, value)
    return unquote(path).strip("/"), parameters


def connect_result(transaction: float, encoding: float) -> bytes:
    """``_result`` of connect, with the codecs of Enhanced RTMP that are forwarded."""
    video = {name.decode(): _CAN_FORWARD for name in VIDEO_CODECS}
    audio = {name.decode(): _CAN_FORWARD for name in AUDIO_CODECS}
    properties = {
        "fmsVer": _SERVER,
        "capabilities": 31,
        "mode": 1,
        "fourCcList": [*video, *audio],
        "videoFourCcInfoMap": video,
        "audioFourCcInfoMap": audio,
        "capsEx": _CAPS_EX,
    }
    information = {
        "level": "status",
        "code": "NetConnection.Connect.Success",
        "description": "Connection succeeded.",
        "objectEncoding": encoding,
    }
    return amf.encode("_result", transaction, properties, information)


def status(level: str, code: str, description: str) -> bytes:
    """``onStatus`` of a stream (§7.2.2)."""
    information = {"level": level, "code": code, "description": description}
    return amf.encode("onStatus", 0, None, information)


def call_failed(transaction: float, what: str) -> bytes:
    """``_error`` for a command that is not known here."""
    information = {
        "level": "error",
        "code": "NetConnection.Call.Failed",
        "description": f"no {what[:60]} here",
    }
    return amf.encode("_error", transaction, None, information)


def refusal_code(error: HelioError) -> str:
    """The status code that says to a publisher why it is refused."""
    match error:
        case UnauthorizedError() | ForbiddenError():
            return "NetStream.Publish.Unauthorized"
        case ConflictError() | NotFoundError() | MalformedError():
            return "NetStream.Publish.BadName"
        case BusyError() | ResourceError():
            return "NetStream.Publish.Rejected"
    return "NetStream.Publish.Failed"
