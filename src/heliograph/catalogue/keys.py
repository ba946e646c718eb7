"""Random secrets, and the hashes that are stored in their place.

A password needs a slow hash because people choose guessable ones. These secrets have 160 random
bits or more: trying them one by one is hopeless however fast the hash, so one SHA-256 is enough,
and checking a stream key costs a microsecond and one look into an index. A database that is read by
somebody else gives no secret away, and a look-up by hash leaks no useful timing.
"""

from __future__ import annotations

import base64
import hashlib
import secrets

#: Bytes of a stream key: 160 bits, 32 characters of a–z and 2–7 that can be typed and read aloud.
STREAM_KEY_BYTES = 20
#: Bytes of a session's token.
SESSION_TOKEN_BYTES = 32
#: Characters shown that are looked at at all; every secret made here is shorter.
MAX_SHOWN = 256


def new_stream_key() -> str:
    """A fresh stream key: lower-case base32, safe in URLs, RTMP names and command lines."""
    random = base64.b32encode(secrets.token_bytes(STREAM_KEY_BYTES))
    return random.decode("ascii").rstrip("=").lower()


def new_session_token() -> str:
    """A fresh session token, safe in a cookie."""
    return secrets.token_urlsafe(SESSION_TOKEN_BYTES)


def fingerprint(secret: str) -> str:
    """The hash stored in place of a secret: 64 hexadecimal digits."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def stream_fingerprint(channel: str, key: str) -> str:
    """The hash stored in place of a stream key; the same key of another channel has another."""
    return fingerprint(f"{channel}/{key[:MAX_SHOWN]}")
