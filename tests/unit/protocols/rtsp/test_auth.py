"""Digest and Basic as servers meet them: replays, old forms, methods switched off."""

import hashlib

import pytest

from heliograph.protocols.rtsp import auth
from heliograph.protocols.rtsp.auth import Answerer, Authenticator, Verdict, parse_challenges

URL = "rtsp://h/x"
KEYS = ["secret"]
BASIC = "Basic eDpzZWNyZXQ="  # x:secret


def make(**options):
    return Authenticator("r", b"s" * 16, **options)


def client_of(server, now=5.0):
    client = Answerer("any", "secret", cnonce="12345678")
    client.take(parse_challenges(c.serialize() for c in server.challenges(now)))
    return client


def old_form(nonce, method="DESCRIBE"):
    """RFC 2069 §2.1.2, as GStreamer and live555 send it: no qop, no count."""
    ha1 = hashlib.md5(b"any:r:secret").hexdigest()
    ha2 = hashlib.md5(f"{method}:{URL}".encode()).hexdigest()
    response = hashlib.md5(f"{ha1}:{nonce}:{ha2}".encode()).hexdigest()
    return f'Digest username="any", realm="r", nonce="{nonce}", uri="{URL}", response="{response}"'


class TestReplay:
    def test_each_count_is_good_once(self):
        server = make()
        client = client_of(server)
        first, second, third = (client.authorization("DESCRIBE", URL) for _ in range(3))
        assert server.verify(first, "DESCRIBE", URL, KEYS, 6) is Verdict.GOOD
        assert server.verify(third, "DESCRIBE", URL, KEYS, 6) is Verdict.GOOD
        for replayed in (first, second, third):
            assert server.verify(replayed, "DESCRIBE", URL, KEYS, 6) is Verdict.STALE

    def test_clients_of_the_same_instant_do_not_disturb_each_other(self):
        server = make()
        for client in [client_of(server, 5.0), client_of(server, 5.0)]:
            shown = client.authorization("DESCRIBE", URL)
            assert server.verify(shown, "DESCRIBE", URL, KEYS, 5) is Verdict.GOOD

    def test_a_client_that_always_counts_one_goes_on_with_a_new_nonce(self):
        server = make()
        for method in ("DESCRIBE", "SETUP"):
            shown = client_of(server).authorization(method, URL)
            assert server.verify(shown, method, URL, KEYS, 6) is Verdict.GOOD

    def test_a_wrong_answer_does_not_use_the_count_up(self):
        server = make()
        shown = client_of(server).authorization("DESCRIBE", URL)
        assert server.verify(shown, "SETUP", URL, KEYS, 6) is Verdict.WRONG
        assert server.verify(shown, "DESCRIBE", URL, KEYS, 6) is Verdict.GOOD

    @pytest.mark.parametrize("count", ["", "1", "zzzzzzzz", "000000001"])
    def test_a_count_that_is_none_is_wrong(self, count):
        server = make()
        shown = client_of(server).authorization("DESCRIBE", URL)
        shown = shown.replace("nc=00000001", f"nc={count}")
        assert server.verify(shown, "DESCRIBE", URL, KEYS, 6) is Verdict.WRONG

    def test_what_was_forgotten_is_not_good_again(self, monkeypatch):
        monkeypatch.setattr(auth, "MAX_NONCES", 8)
        server = make()
        shown = [client_of(server, 5 + n / 100).authorization("PLAY", URL) for n in range(30)]
        for one in shown:
            assert server.verify(one, "PLAY", URL, KEYS, 6) is Verdict.GOOD
        for one in shown:
            assert server.verify(one, "PLAY", URL, KEYS, 6) is Verdict.STALE
        assert len(server._counts._highest) <= 8


def test_the_old_form_without_a_count_is_taken_until_the_nonce_ends():
    server = make()
    shown = old_form(server.challenges(5.0)[0].nonce)
    assert server.verify(shown, "DESCRIBE", URL, KEYS, 6) is Verdict.GOOD
    assert server.verify(shown, "DESCRIBE", URL, KEYS, 300) is Verdict.GOOD
    assert server.verify(shown, "DESCRIBE", URL, KEYS, 306) is Verdict.STALE


class TestMethods:
    @pytest.mark.parametrize(
        "methods", [("digest",), ("basic",), ("digest", "basic"), ("basic", "digest")]
    )
    def test_only_what_is_offered_is_taken_best_first(self, methods):
        server = make(methods=methods)
        assert tuple(c.scheme for c in server.challenges(5)) == methods
        basic = server.verify(BASIC, "DESCRIBE", URL, KEYS, 6)
        assert basic is (Verdict.GOOD if "basic" in methods else Verdict.WRONG)
        nonce = server._nonce(5)
        digest = server.verify(old_form(nonce), "DESCRIBE", URL, KEYS, 6)
        assert digest is (Verdict.GOOD if "digest" in methods else Verdict.WRONG)
