"""Nodes of a cluster, and the domains they are of: how they are called."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import NewType

from heliograph.model.errors import MalformedError

NodeId = NewType("NodeId", str)
"""Sixteen characters of a–z and 2–7: the beginning of the SHA-256 of the node's public key."""

#: Characters of a node's id: 80 bits, so that nobody finds a second key with the same id.
NODE_ID_LENGTH = 16
#: Bytes of an Ed25519 public key as they are (RFC 8032).
PUBLIC_KEY_BYTES = 32

#: Characters of the name of a domain, a group of units that are administered together; its form.
MAX_DOMAIN = 32
DOMAIN = rf"[a-z0-9-]{{1,{MAX_DOMAIN}}}"
#: Domains that one account may administer: whoever has more has the cluster.
MAX_DOMAINS = 20

_NODE_ID = re.compile(rf"[a-z2-7]{{{NODE_ID_LENGTH}}}", re.ASCII)


def node_id(public_key: bytes) -> NodeId:
    """The id of the node with this Ed25519 public key, 32 bytes; ``MalformedError`` for others."""
    if len(public_key) != PUBLIC_KEY_BYTES:
        raise MalformedError("public key", f"{len(public_key)} bytes instead of 32")
    return NodeId(_short(public_key))


def shared_id(name: str) -> str:
    """The id of what several nodes share, in the form of a node's and unlike any of those."""
    return _short(b"heliograph shared\0" + name.encode("utf-8"))


def _short(data: bytes) -> str:
    digest = base64.b32encode(hashlib.sha256(data).digest()).decode("ascii").lower()
    return digest[:NODE_ID_LENGTH]


def check_node_id(text: str) -> NodeId:
    """The id that ``text`` is; ``MalformedError`` where it is none."""
    if not _NODE_ID.fullmatch(text):
        raise MalformedError("node id", f"{text[:40]!r} is not 16 characters of a-z and 2-7")
    return NodeId(text)
