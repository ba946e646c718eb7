"""Keys of nodes, the cluster's authority, and certificates."""

from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from heliograph.bus.authority import (
    AUTHORITY_LIFETIME,
    LIFETIME,
    RENEW_BEFORE,
    Authority,
    check,
    cluster_name,
    fingerprint,
)
from heliograph.bus.identity import Identity
from heliograph.model.errors import MalformedError, ResourceError
from heliograph.model.nodes import check_node_id, node_id

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def test_the_id_of_a_node_is_the_hash_of_its_key() -> None:
    # By hand: base32(sha256(32 zero bytes)) begins so.
    assert node_id(bytes(32)) == "mzuhvlpymk6xo3ep"
    assert check_node_id(node_id(bytes(32))) == node_id(bytes(32))
    for text in ("", "mzuhvlpymk6xo3e", "MZUHVLPYMK6XO3EP", "mzuhvlpymk6xo3e1"):
        with pytest.raises(MalformedError):
            check_node_id(text)
    with pytest.raises(MalformedError):
        node_id(bytes(31))


def test_a_key_is_made_once_and_nobody_else_reads_it(tmp_path: Path) -> None:
    first, second = Identity.load(tmp_path), Identity.load(tmp_path)
    assert first.node == second.node == node_id(first.public_key)
    for path in (tmp_path / "cluster").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "PRIVATE" not in repr(first)


def test_a_key_that_cannot_be_read_is_not_replaced(tmp_path: Path) -> None:
    Identity.load(tmp_path)
    (tmp_path / "cluster/node.key").write_text("nonsense")
    with pytest.raises(ResourceError, match=r"node\.key"):
        Identity.load(tmp_path)
    assert (tmp_path / "cluster/node.key").read_text() == "nonsense"


def test_a_cluster_begins_once_and_its_first_node_is_a_member(tmp_path: Path) -> None:
    identity = Identity.load(tmp_path)
    assert identity.credentials(NOW) is None
    authority = identity.found(NOW)
    assert identity.found(NOW).certificate == authority.certificate
    credentials = identity.credentials(NOW)
    assert credentials is not None
    assert credentials.cluster == cluster_name(authority.certificate)
    found = check(authority.certificate, credentials.certificate.read_text(), NOW)
    assert (found.node, found.public_key) == (identity.node, identity.public_key)
    for path in (tmp_path / "cluster").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_node_joins_with_a_certificate_for_its_own_key(tmp_path: Path) -> None:
    authority = Authority.make(NOW)
    one, other = Identity.load(tmp_path / "1"), Identity.load(tmp_path / "2")
    with pytest.raises(MalformedError, match="another node"):
        one.join(authority.certificate, authority.issue(other.public_key, NOW), NOW)
    with pytest.raises(MalformedError, match="not by the authority"):
        one.join(Authority.make(NOW).certificate, authority.issue(one.public_key, NOW), NOW)
    assert one.credentials(NOW) is None
    one.join(authority.certificate, authority.issue(one.public_key, NOW), NOW)
    assert one.credentials(NOW) is not None
    with pytest.raises(ResourceError, match="another cluster"):
        one.found(NOW)


def test_certificates_are_renewed_where_the_authority_is_and_end_elsewhere(tmp_path: Path) -> None:
    first, other = Identity.load(tmp_path / "1"), Identity.load(tmp_path / "2")
    authority = first.found(NOW)
    first.credentials(NOW)
    other.join(authority.certificate, authority.issue(other.public_key, NOW), NOW)
    before = (first.directory / "node.pem").read_text()
    soon = NOW + LIFETIME - RENEW_BEFORE + timedelta(days=1)
    assert not first.ends_soon(soon - timedelta(days=3))
    assert first.ends_soon(soon)
    assert other.ends_soon(soon)
    assert first.credentials(soon) is not None
    assert (first.directory / "node.pem").read_text() != before
    assert other.credentials(soon) is not None
    assert other.credentials(NOW + LIFETIME) is None


def test_what_certificates_say(tmp_path: Path) -> None:
    authority = Authority.make(NOW)
    identity = Identity.load(tmp_path)
    pem = authority.issue(identity.public_key, NOW)
    leaf = x509.load_pem_x509_certificate(pem.encode())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [identity.node]
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    root = x509.load_pem_x509_certificate(authority.certificate.encode())
    assert root.not_valid_after_utc - NOW == AUTHORITY_LIFETIME
    assert len(fingerprint(authority.certificate)) == 20
    assert "." not in cluster_name(authority.certificate)


@pytest.mark.parametrize(
    "text", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAA==\n", "x" * 9000]
)
def test_what_is_no_certificate_is_refused(text: str) -> None:
    authority = Authority.make(NOW)
    with pytest.raises(MalformedError):
        check(authority.certificate, text, NOW)
    with pytest.raises(MalformedError):
        check(text, authority.issue(bytes(32), NOW), NOW)


def test_a_certificate_of_the_authority_itself_is_none_of_a_node() -> None:
    authority = Authority.make(NOW)
    with pytest.raises(MalformedError):
        check(authority.certificate, authority.certificate, NOW)
