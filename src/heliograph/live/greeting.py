"""How two reflectors agree on a link: one greeting, one answer, both signed, a key for each way.

Each side makes an X25519 share for this link alone and signs it, together with whom it is meant
for, by the key that its id is made of. So nobody between them, not even what carries the greeting,
can read the link or stand in for one of them; and keys that leak later open no link of before. The
answer signs the greeting as well: a greeting that is played again settles nothing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from cryptography.hazmat.primitives.asymmetric.x25519 import (
    X25519PrivateKey,
    X25519PublicKey,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from heliograph.live.connections.compose import USUAL_LINK, LinkKind
from heliograph.model.errors import ForbiddenError, MalformedError
from heliograph.model.nodes import NodeId, check_node_id, node_id

VERSION = 1

#: Links are named by 32 bits.
MAX_LINK = (1 << 32) - 1

_PROTOCOL = "mesh greeting"
_GREETING = b"heliograph mesh greeting 1\0"
_ANSWER = b"heliograph mesh answer 1\0"
_KEYS = b"heliograph mesh keys 1"


@dataclass(frozen=True, slots=True)
class Terms:
    """What one side says of its end of a link."""

    link: int
    """How datagrams that it receives name the link, 32 bits."""
    port: int
    """Where its mesh port listens."""
    kind: LinkKind = USUAL_LINK
    """What the link is made of: as who greets says; the answer says it again."""


@dataclass(frozen=True, slots=True)
class Agreed:
    """A link that both sides have agreed on."""

    peer: NodeId
    terms: Terms
    """The other side's."""
    send_key: bytes = field(repr=False)
    receive_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Pending:
    """A greeting that waits for its answer."""

    peer: NodeId
    """Whom it is for."""
    kind: LinkKind
    share: X25519PrivateKey = field(repr=False)
    signature: bytes


def greet(key: Ed25519PrivateKey, peer: NodeId, terms: Terms) -> tuple[Pending, dict[str, Any]]:
    """Begin: what to send to the peer, and what to keep for ``settle``."""
    share = X25519PrivateKey.generate()
    value = _say(key, peer, terms, share)
    signature = key.sign(_GREETING + _signed(value))
    return Pending(peer, terms.kind, share, signature), {**value, "signature": _text(signature)}


def answer(
    key: Ed25519PrivateKey, value: Mapping[str, Any], terms: Terms
) -> tuple[Agreed, dict[str, Any]]:
    """The link that a greeting asks for, and the answer to it. ``terms.kind`` counts for nothing.

    ``MalformedError`` for what is no greeting, or asks for a link that is not sealed,
    ``ForbiddenError`` for one that is not signed by the node it names, or was meant for another.
    """
    peer, share, signature, theirs = _hear(value, _own(key), _GREETING, b"")
    mine = X25519PrivateKey.generate()
    said = _say(key, peer, replace(terms, kind=theirs.kind), mine)
    own = key.sign(_ANSWER + signature + _signed(said))
    receive, send = _keys(mine, share, signature + own, theirs.kind)
    return Agreed(peer, theirs, send, receive), {**said, "signature": _text(own)}


def settle(key: Ed25519PrivateKey, pending: Pending, value: Mapping[str, Any]) -> Agreed:
    """The link that the answer to a greeting agrees on; errors as for ``answer``."""
    peer, share, signature, theirs = _hear(value, _own(key), _ANSWER, pending.signature)
    if peer != pending.peer:
        raise ForbiddenError(f"{peer} answered for {pending.peer}", subject=peer)
    if theirs.kind != pending.kind:
        raise ForbiddenError(f"the answer is for a link by {theirs.kind}", subject=peer)
    send, receive = _keys(pending.share, share, pending.signature + signature, theirs.kind)
    return Agreed(peer, theirs, send, receive)


def _own(key: Ed25519PrivateKey) -> NodeId:
    return node_id(key.public_key().public_bytes_raw())


def _say(
    key: Ed25519PrivateKey, peer: NodeId, terms: Terms, share: X25519PrivateKey
) -> dict[str, Any]:
    return {
        "version": VERSION,
        "key": _text(key.public_key().public_bytes_raw()),
        "for": peer,
        "share": _text(share.public_key().public_bytes_raw()),
        "link": terms.link,
        "port": terms.port,
        "connection": str(terms.kind),
    }


def _hear(
    value: Mapping[str, Any], own: NodeId, context: bytes, before: bytes
) -> tuple[NodeId, bytes, bytes, Terms]:
    """Who speaks, its share, its signature, its terms; checked."""
    try:
        if value["version"] != VERSION:
            raise MalformedError(_PROTOCOL, f"version {str(value['version'])[:20]!r}")
        key, share = _bytes(value["key"], 32), _bytes(value["share"], 32)
        signature = _bytes(value["signature"], 64)
        meant = check_node_id(value["for"])
        terms = Terms(
            _integer(value["link"], MAX_LINK),
            _integer(value["port"], 65_535),
            LinkKind.parse(str(value["connection"])),
        )
        signed = _signed({name: value[name] for name in value if name != "signature"})
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedError(_PROTOCOL, f"{type(error).__name__} in what was said") from None
    peer = node_id(key)
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, context + before + signed)
    except (InvalidSignature, ValueError):
        raise ForbiddenError("the greeting is not signed by who it says", subject=peer) from None
    if meant != own:
        raise ForbiddenError(f"the greeting is for {meant}", subject=peer)
    return peer, share, signature, terms


def _keys(
    mine: X25519PrivateKey, share: bytes, signatures: bytes, kind: LinkKind
) -> tuple[bytes, bytes]:
    """The keys from who greeted to who answered, and back."""
    try:
        secret = mine.exchange(X25519PublicKey.from_public_bytes(share))
    except ValueError:  # a share that gives the same secret to everybody
        raise MalformedError(_PROTOCOL, "a share that is no secret") from None
    salt = hashlib.sha256(signatures).digest()
    size = kind.seal.key_bytes
    both = HKDF(SHA256(), 2 * size, salt, _KEYS).derive(secret)
    return both[:size], both[size:]


def _signed(value: Mapping[str, Any]) -> bytes:
    """The same bytes for the same value at both sides."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _bytes(text: str, length: int) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None
    if len(data) != length:
        raise ValueError(length)
    return data


def _integer(value: object, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= most:
        raise ValueError(most)
    return value
