"""The server's certificate: made, renewed, given, replaced, refused."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from heliograph.model.errors import MalformedError, ResourceError, SettingsError
from heliograph.node.certificates import (
    LIFETIME,
    NAMES_PERIOD,
    OWN_FILE,
    RENEW_BEFORE,
    GivenCertificate,
    Keeper,
    Names,
    OwnCertificate,
    describe,
    machine_names,
    make,
)
from heliograph.servers.https import Pem

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LAN = ip_address("192.168.1.20")
NAMES = Names(("localhost", "studio.local"), (LAN, ip_address("::1")))


@dataclass
class Machine:
    """A machine whose time and addresses a test changes."""

    directory: Path
    names: Names = NAMES
    now: datetime = NOW
    ticks: float = 0.0

    def source(self) -> OwnCertificate:
        return OwnCertificate(
            self.directory, lambda: self.names, lambda: self.now, lambda: self.ticks
        )

    def later(self, time: timedelta) -> None:
        self.now += time
        self.ticks += NAMES_PERIOD


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "state")


def leaf(pem: Pem) -> x509.Certificate:
    return x509.load_pem_x509_certificates(pem.chain)[0]


def key_of(pem: Pem) -> bytes:
    key = leaf(pem).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def test_the_first_start_makes_one_that_later_starts_keep(machine: Machine):
    made = machine.source().load()
    file = machine.directory / OWN_FILE
    assert file.stat().st_mode & 0o777 == 0o600
    again = machine.source().load()
    assert (again.fingerprint, again.own) == (made.fingerprint, True)
    found = leaf(made.pem)
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "studio.local"]
    assert names.get_values_for_type(x509.IPAddress) == [LAN, ip_address("::1")]
    assert found.not_valid_before_utc < NOW < found.not_valid_after_utc
    # what Apple's systems take from anybody
    assert found.not_valid_after_utc - found.not_valid_before_utc < timedelta(days=825)
    usage = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert x509.oid.ExtendedKeyUsageOID.SERVER_AUTH in usage
    assert len(made.fingerprint) == 32 * 3 - 1
    assert "PRIVATE" not in repr(made)


def test_it_is_renewed_in_time_with_the_same_key(machine: Machine):
    source = machine.source()
    first = source.load()
    machine.later(LIFETIME - RENEW_BEFORE - timedelta(days=2))
    assert source.renewed() is None
    machine.later(timedelta(days=2))
    second = source.renewed()
    assert second is not None
    assert second.fingerprint != first.fingerprint
    assert second.not_after - machine.now > RENEW_BEFORE
    assert key_of(second.pem) == key_of(first.pem)
    machine.later(timedelta(0))
    assert source.renewed() is None
    assert machine.source().load().fingerprint == second.fingerprint


def test_a_new_address_of_the_machine_gets_into_it(machine: Machine):
    source = machine.source()
    first = source.load()
    machine.names = Names(machine.names.hosts, (ip_address("10.1.1.1"),))
    machine.later(timedelta(minutes=1))
    second = source.renewed()
    assert second is not None
    names = leaf(second.pem).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert ip_address("10.1.1.1") in names.get_values_for_type(x509.IPAddress)
    assert key_of(second.pem) == key_of(first.pem)
    # one that goes away again changes nothing
    machine.names = Names(("localhost",), ())
    machine.later(timedelta(minutes=1))
    assert source.renewed() is None


@pytest.mark.parametrize("damage", ["", "rubbish", "key", "other"])
def test_a_damaged_file_is_replaced(machine: Machine, damage: str):
    first = machine.source().load()
    file = machine.directory / OWN_FILE
    text = file.read_text()
    key, mark, certificate = text.partition("-----BEGIN CERTIFICATE")
    other = make(ec.generate_private_key(ec.SECP256R1()), machine.names, NOW).decode()
    file.write_text(
        {
            "": "",
            "rubbish": "\0rubbish",
            "key": key,
            "other": other.partition("-----BEGIN CERTIFICATE")[0] + mark + certificate,
        }[damage]
    )
    second = machine.source().load()
    assert second.fingerprint != first.fingerprint
    assert machine.source().load().fingerprint == second.fingerprint


def test_a_state_directory_that_cannot_be_written_is_told(tmp_path: Path):
    (tmp_path / "state").write_text("a file")
    with pytest.raises(ResourceError, match=OWN_FILE):
        Machine(tmp_path / "state").source().load()


def test_the_machine_is_known_by_its_names_and_addresses(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("socket.gethostname", lambda: "Studio")
    monkeypatch.setattr("heliograph.node.certificates.interfaces", lambda: [LAN])
    names = machine_names("tv.example.org", [ip_address("203.0.113.7")])
    assert names.hosts == ("tv.example.org", "localhost", "studio", "studio.local")
    assert names.addresses == tuple(
        map(ip_address, ("203.0.113.7", "192.168.1.20", "127.0.0.1", "::1"))
    )
    assert machine_names("198.51.100.1").addresses[0] == ip_address("198.51.100.1")
    monkeypatch.setattr("socket.gethostname", lambda: "a_strange name")
    assert machine_names().hosts == ("localhost",)


# given ones


def pair(days: int = 90) -> Pem:
    text = make(
        ec.generate_private_key(ec.SECP256R1()),
        Names(("tv.example.org",), ()),
        datetime.now(UTC) - LIFETIME + timedelta(days=days),
    )
    return Pem(text, text)


@dataclass
class Files:
    """Files of an operator, and the port that uses them."""

    certificate: Path
    key: Path
    used: list[Pem] = field(default_factory=list)
    stamp: int = 1

    def write(self, certificate: bytes, key: bytes) -> None:
        for path, data in ((self.certificate, certificate), (self.key, key)):
            path.write_bytes(data)
            self.stamp += 1
            os.utime(path, ns=(self.stamp, self.stamp))  # however coarse the disk's clock is

    def use(self, pem: Pem) -> None:
        if pem.key != pem.chain:
            raise MalformedError("certificate", "the key is not that of the certificate")
        self.used.append(pem)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "full chain.pem", tmp_path / "key.pem")


async def test_files_that_change_are_read_anew_once_they_stand_still(files: Files):
    first, second = pair(), pair()
    files.write(first.chain, first.key)
    source = GivenCertificate(files.certificate, files.key)
    keeper = Keeper(source, source.load(), files.use)
    await keeper.look()
    assert files.used == []
    files.write(second.chain, second.key)
    await keeper.look()
    assert files.used == [], "they may still be written"
    await keeper.look()
    assert files.used == [second]
    assert keeper.current.fingerprint == describe(second, own=False).fingerprint
    await keeper.look()
    assert files.used == [second]


async def test_a_broken_pair_is_refused_once_and_the_old_one_stays(
    files: Files, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
):
    first, second = pair(), pair()
    files.write(first.chain, first.key)
    source = GivenCertificate(files.certificate, files.key)
    keeper = Keeper(source, source.load(), files.use)
    for certificate, key in (
        (second.chain, first.key),
        (b"-----BEGIN CERTIFICATE-----\nnot one\n", second.key),
    ):
        files.write(certificate, key)
        for _ in range(4):
            await keeper.look()
    files.certificate.unlink()
    for _ in range(4):
        await keeper.look()
    assert keeper.current.fingerprint == describe(first, own=False).fingerprint
    told = capsys.readouterr().out
    assert told.count("certificate refused; the old one stays") == 3
    assert "the key is not that of the certificate" in told
    files.write(second.chain, second.key)
    for _ in range(2):
        await keeper.look()
    assert files.used == [second]


async def test_files_that_could_not_be_read_for_a_while_are_read_when_they_can(
    files: Files, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    first, second = pair(), pair()
    files.write(first.chain, first.key)
    source = GivenCertificate(files.certificate, files.key)
    keeper = Keeper(source, source.load(), files.use)
    files.write(second.chain, second.key)

    def refuse(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with monkeypatch.context() as denied:  # as root reads everything
        denied.setattr(Path, "read_bytes", refuse)
        for _ in range(5):
            await keeper.look()
    assert files.used == []
    told = capsys.readouterr().out
    assert told.count("certificate refused; the old one stays") == 1
    assert "Permission denied" in told
    await keeper.look()  # nothing about the files changed
    assert files.used == [second]
    assert keeper.current.fingerprint == describe(second, own=False).fingerprint


def test_files_that_cannot_be_used_are_told_at_the_start(files: Files):
    with pytest.raises(SettingsError, match=r"full chain\.pem"):
        GivenCertificate(files.certificate, files.key).load()
    files.write(b"nothing", b"nothing")
    with pytest.raises(SettingsError, match=r"full chain\.pem"):
        GivenCertificate(files.certificate, files.key).load()


def test_one_that_ends_soon_is_used_and_warned_of(files: Files, capsys: pytest.CaptureFixture[str]):
    pem = pair(days=5)
    files.write(pem.chain, pem.key)
    assert not GivenCertificate(files.certificate, files.key).load().own
    assert "certificate ends" in capsys.readouterr().out
