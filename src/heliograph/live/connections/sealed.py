"""A connection over another one, of which nobody without the key can read or make a message.

AES-128-GCM. Before what is sealed there are the sender's name (4 bytes) and its counter (8), which
together are the nonce; both are authenticated. A name is drawn anew for each connection, so that
all members of a group may share a key: no nonce meets it twice unless two of them draw the same
name, which of a thousand members one in nine thousand groups has.
"""

from __future__ import annotations

import secrets
import struct
from collections import OrderedDict

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from heliograph.live.connections.base import Connection

KEY_BYTES = 16

_HEAD = struct.Struct("!IQ")
_TAG = 16
#: Messages that may overtake each other; older ones are refused.
WINDOW = 1_024
#: Senders whose messages are told from replays; who has been silent longest is forgotten first,
#: and only what has the key adds one.
MAX_SENDERS = 1_000


class Sealed(Connection):
    """Over any connection, by one key for both directions or for a whole group."""

    def __init__(self, inner: Connection, key: bytes) -> None:
        super().__init__()
        if len(key) != KEY_BYTES:
            raise ValueError(f"a key has {KEY_BYTES} bytes")
        self.room = inner.room - _HEAD.size - _TAG
        self._inner = inner
        self._cipher = AESGCM(key)
        self._name = secrets.randbits(32)
        self._counter = 0
        self._seen: OrderedDict[int, tuple[int, int]] = OrderedDict()
        """By sender: the next counter, and which of those before came (bit 0: the one before)."""

    async def open(self) -> None:
        await self._inner.open()

    def send(self, message: bytes) -> None:
        self.check(message)
        head = _HEAD.pack(self._name, self._counter)
        self._counter += 1
        self.counters["sent"] += 1
        self._inner.send(head + self._cipher.encrypt(head, message, head))

    async def receive(self) -> bytes:
        while True:
            message = self._open(await self._inner.receive())
            if message is not None:
                self.counters["received"] += 1
                return message
            self.counters["refused"] += 1

    def _open(self, data: bytes) -> bytes | None:
        if len(data) < _HEAD.size + _TAG:
            return None
        head = data[: _HEAD.size]
        sender, counter = _HEAD.unpack(head)
        following, came = self._seen.get(sender, (0, 0))
        behind = following - 1 - counter
        if behind >= WINDOW or (behind >= 0 and came >> behind & 1):
            return None
        try:
            message = self._cipher.decrypt(head, data[_HEAD.size :], head)
        except InvalidTag:
            return None
        if behind < 0:
            shift = min(-behind, WINDOW)
            following, came, behind = counter + 1, came << shift & (1 << WINDOW) - 1, 0
        self._seen[sender] = (following, came | 1 << behind)
        self._seen.move_to_end(sender)
        while len(self._seen) > MAX_SENDERS:
            self._seen.popitem(last=False)
        return message

    def close(self) -> None:
        self._inner.close()
