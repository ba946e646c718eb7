"""Values that are long for one message, in fewer bytes."""

from __future__ import annotations

import base64
import json
import zlib

from heliograph.bus.wire import encode
from heliograph.manager.wire.fields import Json
from heliograph.model.errors import MalformedError, TooLargeError

#: Bytes above which a value is packed: below it takes longer than it saves.
PACK = 128 << 10
#: Bytes of a packed value once it is unpacked: a thousand units with ten thousand channels.
MAX_UNPACKED = 16 << 20
#: The member that a packed value has instead of its own.
_MEMBER = "packed"
#: The fastest: names and numbers shrink to a sixth by it.
_LEVEL = 1


def pack(value: Json) -> Json | None:
    """The value as it can be sent; None where it is too long even so."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    if len(text) <= PACK:
        return value
    if len(text) > MAX_UNPACKED:
        return None
    packed = {_MEMBER: base64.b64encode(zlib.compress(text, _LEVEL)).decode("ascii")}
    try:
        encode({"value": packed})
    except TooLargeError:
        return None
    return packed


def unpack(value: Json) -> Json:
    """What was packed; what was not is as it is. ``MalformedError`` for what is neither."""
    if not isinstance(value, dict) or _MEMBER not in value:
        return value
    try:
        data = base64.b64decode(value[_MEMBER], validate=True)
        reader = zlib.decompressobj()
        text = reader.decompress(data, MAX_UNPACKED)
        if reader.unconsumed_tail or not reader.eof:
            raise MalformedError("packed value", f"not whole within {MAX_UNPACKED} bytes")
        return json.loads(text)
    except (TypeError, ValueError, zlib.error, RecursionError) as error:
        raise MalformedError("packed value", str(error)[:200]) from None
