"""Signed permissions to view: made by whoever has the key, checked without a database.

A token is ``v1.PAYLOAD.SIGNATURE``: the payload is compact JSON, both parts base64url without
padding, the signature HMAC-SHA256 (RFC 2104) over ``v1.PAYLOAD``. The algorithm goes with the
version and is never taken from the token. Times are whole seconds since 1970.

Whoever checks tokens could make them as well; checkers are our own units, which are given the keys
over the same authenticated connections as everything else. The version leaves room for signatures
that outsiders may check.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, TypeAlias

from heliograph.model.errors import MalformedError

VERSION: Final = "v1"
#: Bytes of a signing key: as many as the hash gives (RFC 2104 §3).
KEY_BYTES = 32
#: Characters of a token: usual ones have 250, and 64 characters far from ASCII as subject 1 400.
MAX_TOKEN = 2048
#: Characters of the subject.
MAX_SUBJECT = 64
#: Seconds that a checker's clock may be behind the maker's.
LEEWAY = 5
#: Longest life, seconds: a year. Longer ones want an account.
MAX_LIFETIME = 366 * 86400

#: Characters of the channel's name, as ``model.media.CHANNEL_NAME`` allows.
_MAX_CHANNEL = 64
_TEXT = re.compile(r"v1\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{43})", re.ASCII)
#: A token's id, and a signing key's.
TOKEN_ID = re.compile(r"[A-Za-z0-9_-]{1,32}", re.ASCII)


class Fault(Enum):
    """Why a token is refused; the first that holds, in this order."""

    MALFORMED = "malformed"
    SIGNATURE = "bad signature"
    """Made by somebody else, changed on its way, or by a key since withdrawn."""
    CHANNEL = "wrong channel"
    EARLY = "not valid yet"
    EXPIRED = "expired"
    REVOKED = "revoked"
    """Withdrawn, or for one use and used."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key that signs and checks."""

    id: str
    """Named in each token, so that keys can be changed while old tokens live."""
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ViewToken:
    """What a token says."""

    channel: str
    """The channel's name."""
    subject: str
    """For whom it was made: an account's name, or what the maker calls its guest."""
    issued: int
    not_before: int
    expires: int
    """First second at which it is good no more."""
    id: str
    """Unique; names it in the list of the revoked."""
    single: bool = False
    """Whether it is good once only; who checks it has to keep that list."""


Verdict: TypeAlias = ViewToken | Fault


def new_key(identity: str) -> SigningKey:
    """A fresh signing key."""
    return SigningKey(identity, secrets.token_bytes(KEY_BYTES))


def new_id() -> str:
    """A fresh token id: 96 bits, so that no two are the same."""
    return secrets.token_urlsafe(12)


def issue(token: ViewToken, key: SigningKey) -> str:
    """The token as text; ``MalformedError`` where its values cannot stand in one."""
    if not _sound(token):
        raise MalformedError("view token", "its values are out of range")
    payload = {
        "k": key.id,
        "c": token.channel,
        "s": token.subject,
        "i": token.issued,
        "n": token.not_before,
        "e": token.expires,
        "j": token.id,
    }
    if token.single:
        payload["u"] = 1
    text = json.dumps(payload, ensure_ascii=True, separators=(",", ":"))
    signed = f"{VERSION}.{_encode(text.encode('ascii'))}"
    whole = f"{signed}.{_encode(_signature(key, signed))}"
    if len(whole) > MAX_TOKEN:
        raise MalformedError("view token", "its values are too long")
    return whole


def verify(
    text: str,
    keys: Mapping[str, SigningKey],
    *,
    channel: str,
    now: float,
    revoked: Container[str] = (),
) -> Verdict:
    """What the token says, or why it is refused.

    ``keys`` by their ids; ``now`` in seconds since 1970; ``revoked`` has the ids of tokens that
    were withdrawn, and of single ones that were used.
    """
    parsed = _parse(text)
    if parsed is None:
        return Fault.MALFORMED
    key_id, token, signed, signature = parsed
    key = keys.get(key_id)
    # Without that key the comparison is made all the same: time does not tell which keys exist.
    wanted = _signature(key or SigningKey("", b"\0" * KEY_BYTES), signed)
    if not hmac.compare_digest(signature, wanted) or key is None:
        return Fault.SIGNATURE
    if token.channel != channel:
        return Fault.CHANNEL
    if now + LEEWAY < token.not_before:
        return Fault.EARLY
    if now >= token.expires:
        return Fault.EXPIRED
    if token.id in revoked:
        return Fault.REVOKED
    return token


def _parse(text: str) -> tuple[str, ViewToken, str, bytes] | None:
    """Key id, claims, what is signed, the signature; None for what is no token."""
    match = _TEXT.fullmatch(text) if len(text) <= MAX_TOKEN else None
    if match is None:
        return None
    body, signature = _decode(match[1]), _decode(match[2])
    if body is None or signature is None:
        return None
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        return None
    read = _claims(values)
    if read is None:
        return None
    return (*read, f"{VERSION}.{match[1]}", signature)


def _claims(values: object) -> tuple[str, ViewToken] | None:
    wanted = {"k": str, "c": str, "s": str, "i": int, "n": int, "e": int, "j": str}
    if not isinstance(values, dict) or set(values) - {"u"} != set(wanted):
        return None
    if any(type(values[name]) is not kind for name, kind in wanted.items()):
        return None
    single = values.get("u")
    if single is not None and (type(single) is not int or single != 1):
        return None
    token = ViewToken(
        channel=values["c"],
        subject=values["s"],
        issued=values["i"],
        not_before=values["n"],
        expires=values["e"],
        id=values["j"],
        single=single is not None,
    )
    return (values["k"], token) if _sound(token) and TOKEN_ID.fullmatch(values["k"]) else None


def _sound(token: ViewToken) -> bool:
    return (
        0 < len(token.channel) <= _MAX_CHANNEL
        and len(token.subject) <= MAX_SUBJECT
        and 0 <= token.issued <= token.expires
        and 0 <= token.not_before < token.expires
        and token.expires - token.issued <= MAX_LIFETIME
        and TOKEN_ID.fullmatch(token.id) is not None
    )


def _signature(key: SigningKey, signed: str) -> bytes:
    return hmac.digest(key.secret, signed.encode("ascii"), hashlib.sha256)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode("ascii").rstrip("=")


def _decode(text: str) -> bytes | None:
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return None
    # Bits past the last byte must be zero: one token has one spelling.
    return data if _encode(data) == text else None
