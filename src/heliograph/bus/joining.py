"""How a node comes into a cluster: a token, a request, an answer. Pure.

A token is text that a person copies: ``helio`` and base32. It holds an id, a secret, the
fingerprint of the cluster's authority, the port of the server that takes the request, and its end.

The secret makes an Ed25519 key. The server stores that key's public half alone, so whoever reads
its database cannot join. The request is signed by the token's key (the bearer was given the token)
and by the node's own (it has the key that is to be certified). The answer needs no secret: its
authority has the fingerprint that the token tells, and nobody else signs certificates for the
node's key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from heliograph.bus.authority import FINGERPRINT_BYTES, NodeCertificate, check, fingerprint
from heliograph.bus.identity import Identity
from heliograph.model.errors import MalformedError, UnauthorizedError
from heliograph.model.nodes import PUBLIC_KEY_BYTES, NodeId, node_id

#: Bytes of a token's id: it is looked up, and need not be secret.
ID_BYTES = 8
#: Bytes of a token's secret: 128 bits cannot be guessed.
SECRET_BYTES = 16
#: Seconds a token is good if nothing else is said: long enough to walk to the other machine.
LIFETIME = 3600
#: Seconds a token may be good: a week of preparation.
MAX_LIFETIME = 7 * 86400
#: Characters of a node's name: what a host name may have.
MAX_NAME = 64

_PREFIX = "helio"
_VERSION = 1
_LAYOUT = struct.Struct(f"!B{ID_BYTES}s{SECRET_BYTES}s{FINGERPRINT_BYTES}sHI")
#: What is signed begins so: a signature for this is one for nothing else.
_PURPOSE = b"heliograph join 1\0"
_NAME = re.compile(rf"[A-Za-z0-9._-]{{1,{MAX_NAME}}}", re.ASCII)


@dataclass(frozen=True, slots=True)
class JoinToken:
    """What a token says."""

    id: str
    """Names it in the list of tokens; sixteen hexadecimal digits."""
    secret: bytes = field(repr=False)
    fingerprint: bytes
    """Of the cluster's authority."""
    port: int
    """Where requests are taken by HTTP, on the host that is joined by."""
    expires: int
    """First second since 1970 at which it is good no more."""

    @classmethod
    def make(cls, authority: str, port: int, expires: int) -> JoinToken:
        """A fresh one; ``authority`` is its certificate in PEM."""
        identity = secrets.token_hex(ID_BYTES)
        return cls(
            identity, secrets.token_bytes(SECRET_BYTES), fingerprint(authority), port, expires
        )

    def text(self) -> str:
        """As people copy it."""
        raw = _LAYOUT.pack(
            _VERSION,
            bytes.fromhex(self.id),
            self.secret,
            self.fingerprint,
            self.port,
            self.expires,
        )
        return _PREFIX + base64.b32encode(raw).decode("ascii").rstrip("=").lower()

    @classmethod
    def parse(cls, text: str) -> JoinToken:
        """The token that ``text`` is; ``MalformedError``, which does not repeat it."""
        text = text.strip().lower()
        body = text.removeprefix(_PREFIX)
        try:
            if body == text or len(body) > 200:
                raise ValueError
            raw = base64.b32decode(body.upper() + "=" * (-len(body) % 8))
            version, identity, secret, authority, port, expires = _LAYOUT.unpack(raw)
        except (ValueError, binascii.Error, struct.error):
            raise MalformedError("token", "not one of helio token, or not all of it") from None
        if version != _VERSION:
            raise MalformedError("token", "made by another version")
        return cls(identity.hex(), secret, authority, port, expires)

    @property
    def verifier(self) -> bytes:
        """What the server stores: it checks requests, and makes none."""
        return self._key().public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def request(self, identity: Identity, name: str) -> dict[str, str]:
        """The body of a request, as JSON has it."""
        signed = _signed(self.id, identity.public_key, name)
        return {
            "token": self.id,
            "public_key": identity.public_key.hex(),
            "name": name,
            "proof": self._key().sign(signed).hex(),
            "possession": identity.key.sign(signed).hex(),
        }

    def accept(
        self, answer: Mapping[str, Any], identity: Identity, now: datetime
    ) -> tuple[str, str, NodeCertificate]:
        """Authority's and node's certificate of an answer, in PEM, and what the latter says.

        ``UnauthorizedError`` where it is not of the cluster that the token is for.
        """
        authority, certificate = answer.get("authority"), answer.get("certificate")
        if not isinstance(authority, str) or not isinstance(certificate, str):
            raise MalformedError("answer", "no certificates")
        if fingerprint(authority) != self.fingerprint:
            raise UnauthorizedError("the answer is not of the cluster that the token is for")
        found = check(authority, certificate, now)
        if found.public_key != identity.public_key:
            raise MalformedError("answer", "the certificate of another node")
        return authority, certificate, found

    def _key(self) -> Ed25519PrivateKey:
        seed = hashlib.sha256(_PURPOSE + bytes.fromhex(self.id) + self.secret).digest()
        return Ed25519PrivateKey.from_private_bytes(seed)


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """A request that was well formed and is of the node that it names; its token is to be
    checked."""

    token: str
    """The token's id."""
    node: NodeId
    public_key: bytes
    name: str
    """How the node calls itself."""
    proof: bytes

    @classmethod
    def parse(
        cls, token: str, public_key: str, name: str, proof: str, possession: str
    ) -> JoinRequest:
        """``MalformedError`` where it is none, ``UnauthorizedError`` where whoever made it does
        not have the node's key."""
        key = _unhex("public key", public_key, PUBLIC_KEY_BYTES)
        _unhex("token", token, ID_BYTES)
        if not _NAME.fullmatch(name):
            raise MalformedError("node name", "1 to 64 letters, digits, '.', '_' or '-'")
        found = cls(token.lower(), node_id(key), key, name, _unhex("proof", proof, 64))
        if not found._by(key, _unhex("possession", possession, 64)):
            raise UnauthorizedError("the request is not of the node that it names")
        return found

    def proves(self, verifier: bytes) -> bool:
        """Whether whoever made it has the token with this verifier."""
        return self._by(verifier, self.proof)

    def _by(self, key: bytes, signature: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(
                signature, _signed(self.token, self.public_key, self.name)
            )
        except (InvalidSignature, ValueError):
            return False
        return True


def _signed(token: str, public_key: bytes, name: str) -> bytes:
    return _PURPOSE + bytes.fromhex(token) + public_key + name.encode("utf-8")


def _unhex(what: str, text: str, length: int) -> bytes:
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != length or len(text) != 2 * length:
        raise MalformedError(what, f"not {length} bytes in hexadecimal")
    return found
