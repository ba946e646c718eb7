"""The server's certificate: given in files and watched, or made here and renewed in time.

One made here is signed by itself, so browsers warn once; what a person can compare is its
fingerprint. The key stays the same over renewals.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Protocol

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from heliograph.model.errors import HelioError, ResourceError, SettingsError
from heliograph.model.files import write_private
from heliograph.node.addresses import interfaces
from heliograph.servers.https import Pem

log = structlog.get_logger(__name__)

#: The certificate made here and its key, within the state directory.
OWN_FILE = "https.pem"
#: How long one made here is good. Apple's systems take no server's certificate of more than 825
#: days, whoever signed it.
LIFETIME = timedelta(days=397)
#: One made here is renewed so long before its end: a month of holidays without a restart.
RENEW_BEFORE = timedelta(days=30)
#: The operator is warned so long before the end of one that was given.
WARN_BEFORE = timedelta(days=14)
#: A clock that is set back a little must not make a fresh certificate invalid.
BACKDATE = timedelta(days=1)
#: Names and addresses in one certificate; a machine with many containers has dozens.
MAX_NAMES = 64
#: Seconds between two looks at the files.
PERIOD = 2.0
#: Seconds between two looks at the machine's own names: addresses change with the network.
NAMES_PERIOD = 60.0

_Address = IPv4Address | IPv6Address

_DNS_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9-]{1,63})*")


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate in use."""

    pem: Pem
    fingerprint: str
    """SHA-256 of the server's own certificate, as browsers show it: ``AB:CD:…``."""
    not_after: datetime
    """When it ends."""
    own: bool
    """Made here."""


@dataclass(frozen=True, slots=True)
class Names:
    """What a server is called by those who connect to it."""

    hosts: tuple[str, ...]
    addresses: tuple[_Address, ...]


class Source(Protocol):
    """Where the certificate comes from."""

    def load(self) -> Certificate:
        """The one to begin with; a ``HelioError`` says what is wrong."""
        ...

    def renewed(self) -> Certificate | None:
        """Another one where there is one since; a ``HelioError`` where it cannot be used."""
        ...


def machine_names(public_host: str = "", public: Iterable[_Address] = ()) -> Names:
    """Names and addresses of this machine, those first by which others reach it."""
    hostname = socket.gethostname().rstrip(".")
    hosts = ["localhost", hostname]
    if "." not in hostname:
        hosts.append(f"{hostname}.local")  # as multicast DNS has it on a home's network
    addresses = list(public)
    if public_host:
        try:
            addresses.insert(0, ip_address(public_host))
        except ValueError:
            hosts.insert(0, public_host)
    addresses += interfaces()
    addresses += [ip_address("127.0.0.1"), ip_address("::1")]
    good = (host.lower() for host in hosts if len(host) <= 253 and _DNS_NAME.fullmatch(host))
    names = tuple(dict.fromkeys(good))
    return Names(names, tuple(dict.fromkeys(addresses))[: MAX_NAMES - len(names)])


class OwnCertificate:
    """Made at the first start, kept in the state directory, renewed before it ends or when the
    machine has a name or an address that it lacks."""

    def __init__(
        self,
        state_dir: Path,
        names: Callable[[], Names],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = state_dir / OWN_FILE
        self._names = names
        self._now = now
        self._monotonic = monotonic
        self._looked = monotonic()
        self._current: Certificate | None = None

    def load(self) -> Certificate:
        """The one kept, or a new one. ``ResourceError`` where it can be neither read nor kept."""
        key: ec.EllipticCurvePrivateKey | None = None
        try:
            if self.path.exists():
                text = self.path.read_bytes()
                with contextlib.suppress(ValueError, TypeError):
                    key = _own_key(text)
                    kept = describe(Pem(text, text), own=True)
                    if self._good(kept) and _public_key(text) == _raw(key.public_key()):
                        self._current = kept
                        return kept
            self._current = self._make(key)
        except OSError as error:
            raise ResourceError(
                f"certificate {self.path}: {error}", subject=str(self.path)
            ) from error
        return self._current

    def renewed(self) -> Certificate | None:
        """A fresh one when the old one ends soon, or lacks a name."""
        if self._monotonic() - self._looked < NAMES_PERIOD:
            return None
        self._looked = self._monotonic()
        old = self._current
        if old is not None and self._good(old):
            return None
        fresh = self.load()
        return fresh if old is None or fresh.fingerprint != old.fingerprint else None

    def _good(self, certificate: Certificate) -> bool:
        if certificate.not_after - self._now() < RENEW_BEFORE:
            return False
        wanted, has = self._names(), _names_in(certificate.pem.chain)
        return set(wanted.hosts) <= set(has.hosts) and set(wanted.addresses) <= set(has.addresses)

    def _make(self, key: ec.EllipticCurvePrivateKey | None) -> Certificate:
        key = key or ec.generate_private_key(ec.SECP256R1())
        text = make(key, self._names(), self._now())
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_private(self.path, text.decode("ascii"))
        made = describe(Pem(text, text), own=True)
        log.info("certificate made", file=str(self.path), sha256=made.fingerprint)
        return made


class GivenCertificate:
    """Files of the operator, read anew when they change."""

    def __init__(
        self,
        certificate: Path,
        key: Path,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """``key`` may be the same file."""
        self._certificate = certificate
        self._key = key
        self._now = now
        self._read: object = None
        self._seen: object = None

    def load(self) -> Certificate:
        """Read both; ``SettingsError`` says which cannot be used and why."""
        self._seen = signature = self._signature()
        try:
            pem = Pem(self._certificate.read_bytes(), self._key.read_bytes())
        except OSError as error:
            # To be tried again: what stood in the way may go without a trace on the files.
            raise SettingsError(f"https: {error.filename}: {error.strerror}") from error
        self._read = signature
        try:
            found = describe(pem, own=False)
        except ValueError as error:
            raise SettingsError(f"https.certificate: {self._certificate}: {error}") from error
        left = found.not_after - self._now()
        if left < WARN_BEFORE:
            log.warning("certificate ends", file=str(self._certificate), at=str(found.not_after))
        return found

    def renewed(self) -> Certificate | None:
        """Read them when they changed and stand still: two files cannot be replaced at once."""
        signature = self._signature()
        still, self._seen = signature == self._seen, signature
        return self.load() if still and signature != self._read else None

    def _signature(self) -> object:
        return tuple(_stamp(path) for path in (self._certificate, self._key))


class Keeper:
    """Looks for another certificate when told to, and has it used."""

    def __init__(self, source: Source, current: Certificate, use: Callable[[Pem], None]) -> None:
        """``use`` may refuse by a ``HelioError``: then the old one stays."""
        self.current = current
        self._source = source
        self._use = use
        self._told = ""
        """What was logged since one was used last; the same again is not told twice."""

    async def look(self) -> None:
        """Once."""
        try:
            fresh = await asyncio.to_thread(self._source.renewed)
            if fresh is None:
                return
            self._use(fresh.pem)
        except HelioError as error:
            if error.message != self._told:
                log.error("certificate refused; the old one stays", error=error.message)
            self._told = error.message
            return
        self.current, self._told = fresh, ""
        log.info("certificate replaced", sha256=fresh.fingerprint, until=str(fresh.not_after))


def make(key: ec.EllipticCurvePrivateKey, names: Names, now: datetime) -> bytes:
    """A certificate signed by itself, and its key, in PEM."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Heliograph")])
    alternatives = [
        *(x509.DNSName(host) for host in names.hosts),
        *(x509.IPAddress(address) for address in names.addresses),
    ]
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now - BACKDATE + LIFETIME)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + certificate.public_bytes(Encoding.PEM)


def describe(pem: Pem, *, own: bool) -> Certificate:
    """What a certificate says of itself; ``ValueError`` where it is none."""
    leaf = _leaf(pem.chain)
    digest = leaf.fingerprint(hashes.SHA256()).hex(":").upper()
    return Certificate(pem, digest, leaf.not_valid_after_utc, own)


def _leaf(chain: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificates(chain)[0]


def _own_key(text: bytes) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(text, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("not the kind of key made here")
    return key


def _public_key(chain: bytes) -> bytes:
    key = _leaf(chain).public_key()
    return _raw(key) if isinstance(key, ec.EllipticCurvePublicKey) else b""


def _raw(key: ec.EllipticCurvePublicKey) -> bytes:
    numbers = key.public_numbers()
    return f"{numbers.curve.name} {numbers.x} {numbers.y}".encode()


def _names_in(chain: bytes) -> Names:
    try:
        found = _leaf(chain).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return Names((), ())
    addresses = found.get_values_for_type(x509.IPAddress)
    return Names(
        tuple(found.get_values_for_type(x509.DNSName)),
        tuple(one for one in addresses if isinstance(one, IPv4Address | IPv6Address)),
    )


def _stamp(path: Path) -> object:
    try:
        found = path.stat()
    except OSError as error:
        return error.errno
    return found.st_mtime_ns, found.st_size, found.st_ino
