"""The cluster's own authority: it signs the certificates by which nodes know each other.

A node's certificate names its cluster (common name, the same in all of them), the node (serial
number of the subject, and as an alternative name) and the node's Ed25519 key. The authority's key
is where the cluster began, in the state directory of its first node; other nodes have its
certificate only.
"""

from __future__ import annotations

import base64
import contextlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from heliograph.model.errors import MalformedError, ResourceError
from heliograph.model.files import write_private
from heliograph.model.nodes import NodeId, node_id

#: Within the directory of the cluster's files.
KEY_FILE = "authority.key"
CERTIFICATE_FILE = "authority.pem"
#: The authority has no successor, so it outlives the machines.
AUTHORITY_LIFETIME = timedelta(days=25 * 365)
#: A node that nobody renews is out of the cluster after about a year.
LIFETIME = timedelta(days=397)
#: A node asks for its next certificate when the old one has so long to go: it is read at the start,
#: and a machine that runs for half a year has been started anew.
RENEW_BEFORE = timedelta(days=200)
#: A clock that is set back a little must not make a fresh certificate invalid.
BACKDATE = timedelta(days=1)
#: Bytes of a certificate in PEM; ours have 900.
MAX_PEM = 8192
#: Bytes of the fingerprint that a token carries.
FINGERPRINT_BYTES = 20


@dataclass(frozen=True, slots=True)
class NodeCertificate:
    """What a certificate of a node says."""

    node: NodeId
    cluster: str
    """The common name."""
    public_key: bytes
    """Ed25519, 32 bytes."""
    not_after: datetime


@dataclass(frozen=True, slots=True)
class Authority:
    """The authority with its key."""

    certificate: str
    """In PEM."""
    key: Ed25519PrivateKey = field(repr=False)

    @classmethod
    def make(cls, now: datetime) -> Authority:
        """A new one."""
        key = Ed25519PrivateKey.generate()
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Heliograph cluster authority")])
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATE)
            .not_valid_after(now + AUTHORITY_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .sign(key, None)
        )
        return cls(certificate.public_bytes(Encoding.PEM).decode("ascii"), key)

    @classmethod
    def load(cls, directory: Path) -> Authority | None:
        """The one kept there; None where there is none. ``ResourceError`` if it cannot be read."""
        path = directory / KEY_FILE
        try:
            if not path.exists():
                return None
            key = load_pem_private_key(path.read_bytes(), password=None)
            certificate = (directory / CERTIFICATE_FILE).read_text("ascii")
            if not isinstance(key, Ed25519PrivateKey) or _raw(key.public_key()) != _raw(
                _read(certificate).public_key()
            ):
                raise ValueError(f"not the key of {CERTIFICATE_FILE}")
        except (OSError, ValueError, TypeError, MalformedError) as error:
            raise ResourceError(f"authority {path}: {error}", subject=str(path)) from error
        return cls(certificate, key)

    def keep(self, directory: Path) -> None:
        """Write it; ``ResourceError`` where that fails."""
        text = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        try:
            directory.mkdir(parents=True, exist_ok=True)
            write_private(directory / CERTIFICATE_FILE, self.certificate)
            # Last, as it says that there is one.
            write_private(directory / KEY_FILE, text.decode("ascii"))
        except OSError as error:
            raise ResourceError(
                f"authority {directory}: {error}", subject=str(directory)
            ) from error

    def issue(self, public_key: bytes, now: datetime) -> str:
        """A certificate, in PEM, for the node with this key; ``MalformedError`` for no key."""
        node = node_id(public_key)
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.COMMON_NAME, cluster_name(self.certificate)),
                x509.NameAttribute(NameOID.SERIAL_NUMBER, node),
            ]
        )
        try:
            key = Ed25519PublicKey.from_public_bytes(public_key)
        except ValueError as error:
            raise MalformedError("public key", str(error)) from None
        issuer = _read(self.certificate)
        both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATE)
            .not_valid_after(now + LIFETIME)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(both), critical=False)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(node)]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
            .sign(self.key, None)
        )
        return certificate.public_bytes(Encoding.PEM).decode("ascii")


def fingerprint(authority: str) -> bytes:
    """By which an authority's certificate is known: the beginning of its SHA-256."""
    return _read(authority).fingerprint(hashes.SHA256())[:FINGERPRINT_BYTES]


def cluster_name(authority: str) -> str:
    """The common name of all certificates by this authority, and of no others.

    Public authorities certify names with a dot only, so none of theirs can be taken for it.
    """
    text = base64.b32encode(fingerprint(authority)).decode("ascii").lower()
    return f"heliograph-{text}"


def check(authority: str, certificate: str, now: datetime) -> NodeCertificate:
    """What a node's certificate says, if that authority signed it and it is good at ``now``.

    ``MalformedError`` says what is wrong.
    """
    issuer, found = _read(authority), _read(certificate)
    try:
        found.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        raise MalformedError("certificate", "not by the authority of this cluster") from None
    if not found.not_valid_before_utc <= now < found.not_valid_after_utc:
        raise MalformedError("certificate", f"not good at {now:%Y-%m-%d %H:%M} (UTC)")
    public = _raw(found.public_key())
    cluster = _attribute(found, NameOID.COMMON_NAME)
    if cluster != cluster_name(authority) or _attribute(found, NameOID.SERIAL_NUMBER) != node_id(
        public
    ):
        raise MalformedError("certificate", "not of a node")
    return NodeCertificate(node_id(public), cluster, public, found.not_valid_after_utc)


def _attribute(certificate: x509.Certificate, which: x509.ObjectIdentifier) -> str:
    values = certificate.subject.get_attributes_for_oid(which)
    return str(values[0].value) if len(values) == 1 else ""


def _read(pem: str) -> x509.Certificate:
    with contextlib.suppress(ValueError):
        if len(pem) <= MAX_PEM:
            return x509.load_pem_x509_certificate(pem.encode("utf-8", "replace"))
    raise MalformedError("certificate", "not a certificate in PEM")


def _raw(key: object) -> bytes:
    if not isinstance(key, Ed25519PublicKey):
        raise MalformedError("certificate", "not an Ed25519 key")
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
