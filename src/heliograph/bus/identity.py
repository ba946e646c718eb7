"""Who this node is: its key, and the certificates that make it one of a cluster.

All of it is kept in ``cluster/`` of the state directory, readable by its owner alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from heliograph.bus.authority import CERTIFICATE_FILE, RENEW_BEFORE, Authority, check
from heliograph.bus.options import Credentials
from heliograph.model.errors import MalformedError, ResourceError
from heliograph.model.files import write_private
from heliograph.model.nodes import NodeId, node_id

log = structlog.get_logger(__name__)

#: Within the state directory.
DIRECTORY = "cluster"
#: Within that.
NODE_KEY_FILE = "node.key"
NODE_CERTIFICATE_FILE = "node.pem"


@dataclass(frozen=True, slots=True)
class Identity:
    """A node's key, and where its cluster's files are."""

    node: NodeId
    directory: Path
    key: Ed25519PrivateKey = field(repr=False)

    @property
    def public_key(self) -> bytes:
        """Ed25519, 32 bytes."""
        return self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @classmethod
    def load(cls, state_dir: Path) -> Identity:
        """The key kept in the state directory, made at the first start.

        ``ResourceError`` where it can be neither read nor made: a new one in its place would be
        another node.
        """
        directory = state_dir / DIRECTORY
        path = directory / NODE_KEY_FILE
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            if path.exists():
                key = load_pem_private_key(path.read_bytes(), password=None)
                if not isinstance(key, Ed25519PrivateKey):
                    raise ValueError("not an Ed25519 key")
            else:
                key = Ed25519PrivateKey.generate()
                text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
                write_private(path, text.decode("ascii"))
        except (OSError, ValueError, TypeError) as error:
            raise ResourceError(f"node's key {path}: {error}", subject=str(path)) from error
        public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return cls(node_id(public), directory, key)

    def authority(self) -> Authority | None:
        """The cluster's authority with its key, where this node has it."""
        return Authority.load(self.directory)

    def found(self, now: datetime) -> Authority:
        """Begin a cluster here, unless it has begun: the authority of it."""
        authority = self.authority()
        if authority is None:
            if (self.directory / CERTIFICATE_FILE).exists():
                raise ResourceError(
                    f"{self.directory} is of a node that joined another cluster",
                    subject=str(self.directory),
                )
            authority = Authority.make(now)
            authority.keep(self.directory)
            log.info("cluster begun", node=self.node)
        return authority

    def join(self, authority: str, certificate: str, now: datetime) -> None:
        """Keep the certificates, both in PEM, that make this node one of a cluster.

        ``MalformedError`` where they are not for this node, ``ResourceError`` where they cannot be
        kept.
        """
        if check(authority, certificate, now).public_key != self.public_key:
            raise MalformedError("certificate", "of another node")
        try:
            write_private(self.directory / CERTIFICATE_FILE, authority)
            write_private(self.directory / NODE_CERTIFICATE_FILE, certificate)
        except OSError as error:
            raise ResourceError(
                f"{self.directory}: {error}", subject=str(self.directory)
            ) from error

    def credentials(self, now: datetime) -> Credentials | None:
        """What the bus needs of a node of a cluster; None: it has not joined one, or its
        certificate has ended. Where the authority is, a certificate is made and renewed."""
        authority_path = self.directory / CERTIFICATE_FILE
        path = self.directory / NODE_CERTIFICATE_FILE
        authority = self.authority()
        if authority is not None and self.ends_soon(now):
            self.join(authority.certificate, authority.issue(self.public_key, now), now)
        try:
            found = check(authority_path.read_text("ascii"), path.read_text("ascii"), now)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise ResourceError(f"{path}: {error}", subject=str(path)) from error
        except MalformedError as error:
            log.warning("node's certificate is not good", file=str(path), error=error.reason)
            return None
        key = self.directory / NODE_KEY_FILE
        return Credentials(authority_path, path, key, found.cluster)

    def ends_soon(self, now: datetime) -> bool:
        """Whether there is no certificate for this node that is good for a while."""
        try:
            found = check(
                (self.directory / CERTIFICATE_FILE).read_text("ascii"),
                (self.directory / NODE_CERTIFICATE_FILE).read_text("ascii"),
                now,
            )
        except (OSError, ValueError, MalformedError):
            return True
        return found.public_key != self.public_key or found.not_after - now < RENEW_BEFORE
