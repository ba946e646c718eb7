"""STUN and TURN servers in Link headers: written, and refused where they make no sense."""

from __future__ import annotations

import pytest

from heliograph.protocols.ice_servers import IceServer


def test_the_examples_of_rfc_9725():
    assert IceServer("stun:stun.example.net").link() == '<stun:stun.example.net>; rel="ice-server"'
    turn = IceServer("turn:turn.example.net?transport=udp", "user", "myPassword")
    assert turn.link() == (
        '<turn:turn.example.net?transport=udp>; rel="ice-server"; username="user"; '
        'credential="myPassword"; credential-type="password"'
    )


def test_what_is_quoted_stays_within_its_quotes():
    sneaky = IceServer("turn:h", 'a"; rel="x', "b\\")
    assert 'username="a\\"; rel=\\"x"; credential="b\\\\";' in sneaky.link()


def test_the_credential_is_not_shown():
    assert "secret" not in repr(IceServer("turn:h", "anna", "secret"))


@pytest.mark.parametrize("url", ["stun:[2001:db8::1]:3478", "stuns:h", "stun:192.0.2.1:1"])
def test_stun_needs_no_credential(url: str):
    assert IceServer(url).link().startswith(f"<{url}>")


@pytest.mark.parametrize(
    ("url", "username", "credential", "reason"),
    [
        ("http://h", "", "", "must be stun:HOST"),
        ("stun://h", "", "", "must be stun:HOST"),
        ("stun:h\r\nX: y", "", "", "must be stun:HOST"),
        ("stun:h>; rel=x", "", "", "must be stun:HOST"),
        ("turn:h?transport=tls", "anna", "pass", "must be stun:HOST"),
        ("stun:", "", "", "must be stun:HOST"),
        ("stun:[::z]", "", "", "must be stun:HOST"),
        ("stun:[1:2]", "", "", "no IPv6 address"),
        ("stun:h:0", "", "", "port"),
        ("stun:h:65536", "", "", "port"),
        ("stun:h?transport=udp", "", "", "RFC 7064"),
        ("stun:h", "anna", "pass", "for TURN"),
        ("turn:h", "anna", "", "no strangers"),
        ("turns:h", "", "pass", "no strangers"),
        ("turn:h", "anna", "pa\nss", "ASCII"),
        ("turn:h", "änna", "pass", "ASCII"),
    ],
)
def test_nonsense_is_refused(url: str, username: str, credential: str, reason: str):
    with pytest.raises(ValueError, match=reason) as caught:
        IceServer(url, username, credential)
    assert not credential or credential not in str(caught.value)
