"""Basic and Digest authentication, both sides (RFC 7617, RFC 7616, RFC 2326 §14).

The server knows stream keys, not people: the user name is free, the password is a key. Nonces
are signed: the time they were made and a number; so those nobody answers need no room, and all
end by themselves. Of answered ones the highest count is kept, against replays.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from heliograph.model.errors import MalformedError
from heliograph.protocols.rtsp.headers import split_quoted, unquote

#: Seconds a nonce is good for. A whole set-up takes a few round trips; a replay has no longer.
NONCE_LIFETIME = 300.0
#: Nonces whose counts are kept. Each answered one is an entry: viewers of five minutes at 13 a
#: second, some 0.5 MB. Beyond, the oldest are no longer taken, and their clients get new ones.
MAX_NONCES = 4096
#: A client's header with a URL inside; ``messages.MAX_LINE`` bounds it anyway.
MAX_PARAMETERS = 32
#: Challenges looked at in one response; servers send 1 to 3.
MAX_CHALLENGES = 8

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9-]*)(?:\s+(.*))?", re.ASCII | re.DOTALL)
#: Hexadecimal digits of a nonce's parts: the time in ms, the signature. Between them is a number
#: where several were made within a millisecond, so that each client counts for itself.
_STAMP, _SIGNATURE = 12, 32
_COUNT = re.compile(r"[0-9a-fA-F]{8}", re.ASCII)
_HEX = re.compile(r"[0-9a-fA-F]+", re.ASCII)
_AUTHORITY = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*", re.ASCII)


class Verdict(Enum):
    """What became of shown credentials."""

    GOOD = "good"
    MISSING = "missing"
    WRONG = "wrong"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class Challenge:
    """One challenge of WWW-Authenticate (RFC 7235 §4.1)."""

    scheme: str
    """``digest`` or ``basic``, lower case."""
    realm: str = ""
    """Shown to people, part of the digest."""
    nonce: str = ""
    """Digest only: the server's value."""
    algorithm: str = "MD5"
    """Digest only: ``MD5`` or ``SHA-256``."""
    qop: tuple[str, ...] = ()
    """Digest only: offered qualities of protection; empty as in RFC 2069."""
    opaque: str | None = None
    """Digest only: to be sent back."""
    stale: bool = False
    """Digest only: the password was right, the nonce is too old."""

    def serialize(self) -> str:
        """The header's value."""
        if self.scheme == "basic":
            return f"Basic realm={_quote(self.realm)}"
        text = f"Digest realm={_quote(self.realm)}, nonce={_quote(self.nonce)}"
        if self.qop:
            text += f', qop="{",".join(self.qop)}"'
        # MD5 goes without saying; old clients stumble over any algorithm parameter.
        if self.algorithm != "MD5":
            text += f", algorithm={self.algorithm}"
        if self.opaque is not None:
            text += f", opaque={_quote(self.opaque)}"
        return text + (", stale=true" if self.stale else "")


@dataclass(frozen=True, slots=True)
class Credentials:
    """A client's Authorization header."""

    scheme: str
    """``digest`` or ``basic``, lower case."""
    username: str = ""
    """Free text."""
    password: str = field(default="", repr=False)
    """Basic only."""
    parameters: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Digest only: parameters with lower-case names."""

    def get(self, name: str) -> str:
        """A digest parameter, "" if it is not there."""
        return next((value for key, value in self.parameters if key == name), "")


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _parameters(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in split_quoted(text, ","):
        name, equals, value = part.partition("=")
        if not part:
            continue
        if not equals or len(found) >= MAX_PARAMETERS:
            raise MalformedError("rtsp", "authentication parameter")
        found.setdefault(name.strip().lower(), unquote(value.strip()))
    return found


def parse_challenges(values: Iterable[str]) -> tuple[Challenge, ...]:
    """Read every WWW-Authenticate header of a response; unknown schemes are left out."""
    texts: list[str] = []
    for value in values:
        for part in split_quoted(value, ","):
            # A part that begins with "scheme name=" opens the next challenge in the same header.
            if re.match(r"[A-Za-z][A-Za-z0-9-]*(\s+[A-Za-z-]+\s*=|$)", part) or not texts:
                texts.append(part)
            else:
                texts[-1] += "," + part
    return tuple(c for text in texts[:MAX_CHALLENGES] if (c := _challenge(text)) is not None)


def _challenge(text: str) -> Challenge | None:
    match = _SCHEME.fullmatch(text)
    if match is None:
        raise MalformedError("rtsp", "WWW-Authenticate")
    scheme = match[1].lower()
    if scheme not in ("basic", "digest"):
        return None
    p = _parameters(match[2] or "")
    if scheme == "basic":
        return Challenge("basic", p.get("realm", ""))
    algorithm = p.get("algorithm", "MD5").upper()
    if algorithm not in ("MD5", "SHA-256") or not p.get("nonce"):
        return None
    return Challenge(
        "digest",
        p.get("realm", ""),
        p["nonce"],
        algorithm,
        tuple(q.strip().lower() for q in p.get("qop", "").split(",") if q.strip()),
        p.get("opaque"),
        p.get("stale", "").lower() == "true",
    )


def parse_authorization(value: str) -> Credentials:
    """Read an Authorization header."""
    match = _SCHEME.fullmatch(value.strip())
    if match is None:
        raise MalformedError("rtsp", "Authorization")
    scheme, rest = match[1].lower(), match[2] or ""
    if scheme == "basic":
        try:
            text = base64.b64decode(rest.strip(), validate=True).decode("utf-8", "surrogateescape")
        except (binascii.Error, ValueError):
            raise MalformedError("rtsp", "Authorization: base64") from None
        username, _, password = text.partition(":")
        return Credentials("basic", username, password)
    if scheme == "digest":
        parameters = _parameters(rest)
        return Credentials(
            "digest", parameters.get("username", ""), parameters=tuple(parameters.items())
        )
    return Credentials(scheme)


def _hash(algorithm: str, text: str) -> str:
    data = text.encode("utf-8", "surrogateescape")
    if algorithm == "SHA-256":
        return hashlib.sha256(data).hexdigest()
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _digest(
    algorithm: str,
    *,
    username: str,
    realm: str,
    password: str,
    method: str,
    uri: str,
    nonce: str,
    qop: str,
    nc: str,
    cnonce: str,
) -> str:
    """RFC 7616 §3.4.1; without ``qop`` as in RFC 2069."""
    ha1 = _hash(algorithm, f"{username}:{realm}:{password}")
    ha2 = _hash(algorithm, f"{method}:{uri}")
    middle = f"{nonce}:{nc}:{cnonce}:{qop}" if qop else nonce
    return _hash(algorithm, f"{ha1}:{middle}:{ha2}")


class _Counts:
    """The highest count that came with each nonce (``nc``, RFC 7616 §3.4), in bounded room."""

    def __init__(self) -> None:
        self._highest: dict[str, int] = {}
        self._floor = ""  # nonces up to this one have been forgotten

    def is_new(self, nonce: str, count: int) -> bool:
        """Whether a request with this count has not come yet; notes that it has."""
        name = nonce[:-_SIGNATURE]
        if name <= self._floor or count <= self._highest.get(name, -1):
            return False
        self._highest[name] = count
        if len(self._highest) > MAX_NONCES:
            # Names sort by time. What is forgotten must not be good again.
            oldest = sorted(self._highest)[: MAX_NONCES // 4]
            self._floor = oldest[-1]
            for name in oldest:
                del self._highest[name]
        return True


class Authenticator:
    """The server's side, one for a whole server."""

    def __init__(
        self,
        realm: str,
        secret: bytes,
        *,
        nonce_lifetime: float = NONCE_LIFETIME,
        methods: tuple[str, ...] = ("digest", "basic"),
        algorithms: tuple[str, ...] = ("MD5",),
    ) -> None:
        """``secret``: at least 16 random bytes that sign nonces. ``methods``: what is offered and
        taken, best first.
        """
        self._realm = realm
        self._secret = secret
        self._lifetime = nonce_lifetime
        self._methods = methods
        self._algorithms = algorithms
        self._stamp, self._made = "", 0  # of the newest nonce
        self._counts = _Counts()

    def __repr__(self) -> str:
        return f"Authenticator(realm={self._realm!r})"

    def challenges(
        self, now: float, *, stale: bool = False, digest: bool = True
    ) -> tuple[Challenge, ...]:
        """What to send with 401, in this order. ``digest``: whether Digest is of any use, as it
        needs a key that is known in clear.

        SHA-256 is offered only where ``algorithms`` asks for it: ffmpeg 5.1 gives up, whatever
        the order, as soon as one challenge names an algorithm that it does not know.
        """
        nonce = self._nonce(now)
        found: list[Challenge] = []
        for method in self._methods:
            if method == "basic":
                found.append(Challenge("basic", self._realm))
                continue
            if not digest:
                continue
            found += [
                Challenge("digest", self._realm, nonce, algorithm, ("auth",), stale=stale)
                for algorithm in self._algorithms
            ]
        return tuple(found)

    def password(self, authorization: str | None) -> str:
        """The password of Basic, where that is taken; empty otherwise."""
        if authorization is None or "basic" not in self._methods:
            return ""
        try:
            return parse_authorization(authorization).password
        except MalformedError:
            return ""

    def verify(
        self, authorization: str | None, method: str, url: str, keys: Iterable[str], now: float
    ) -> Verdict:
        """Whether ``authorization`` shows one of ``keys``. Takes equally long for every key.

        ``STALE``: the key is right, but the nonce is too old or its count has come before; a
        client that always counts from 1, as some cameras' do, goes on with the new nonce.
        """
        if authorization is None:
            return Verdict.MISSING
        try:
            shown = parse_authorization(authorization)
        except MalformedError:
            return Verdict.WRONG
        if shown.scheme not in self._methods:
            return Verdict.WRONG
        if shown.scheme == "basic":
            return Verdict.GOOD if _any_equal(shown.password, keys) else Verdict.WRONG
        if shown.scheme == "digest":
            return self._verify_digest(shown, method, url, keys, now)
        return Verdict.WRONG

    def _verify_digest(
        self, shown: Credentials, method: str, url: str, keys: Iterable[str], now: float
    ) -> Verdict:
        algorithm = (shown.get("algorithm") or "MD5").upper()
        qop, nonce, uri = shown.get("qop").lower(), shown.get("nonce"), shown.get("uri")
        if algorithm not in self._algorithms or qop not in ("", "auth"):
            return Verdict.WRONG
        count = shown.get("nc")
        if qop and not _COUNT.fullmatch(count):
            return Verdict.WRONG
        age = self._nonce_age(nonce, now)
        if age is None or shown.get("realm") != self._realm or not _same_resource(uri, url):
            # A nonce of before our restart is not an attack: let the client try with a new one.
            return Verdict.STALE if age is None and nonce else Verdict.WRONG
        expected = [
            _digest(
                algorithm,
                username=shown.username,
                realm=self._realm,
                password=key,
                method=method,
                uri=uri,
                nonce=nonce,
                qop=qop,
                nc=count,
                cnonce=shown.get("cnonce"),
            )
            for key in keys
        ]
        if not _any_equal(shown.get("response").lower(), expected):
            return Verdict.WRONG
        # RFC 2069's form, GStreamer's and live555's, has no count that could tell a replay.
        new = not qop or self._counts.is_new(nonce, int(count, 16))
        return Verdict.GOOD if new and age <= self._lifetime else Verdict.STALE

    def _nonce(self, now: float) -> str:
        stamp = f"{int(now * 1000) & 0xFFFFFFFFFFFF:012x}"
        self._made = self._made + 1 if stamp == self._stamp else 0
        self._stamp = stamp
        name = f"{stamp}{self._made:08x}" if self._made else stamp
        return name + self._sign(name)

    def _sign(self, name: str) -> str:
        signature = hmac.new(self._secret, name.encode("ascii"), hashlib.sha256).hexdigest()
        return signature[:_SIGNATURE]

    def _nonce_age(self, nonce: str, now: float) -> float | None:
        """Seconds since the nonce was made, ``None`` if it is not ours."""
        name, signature = nonce[:-_SIGNATURE], nonce[-_SIGNATURE:]
        if not _HEX.fullmatch(nonce) or not hmac.compare_digest(signature, self._sign(name)):
            return None
        age = now - int(name[:_STAMP], 16) / 1000
        return age if age > -1.0 else None


def _any_equal(text: str, candidates: Iterable[str]) -> bool:
    """Compare with every candidate, without stopping early or telling by time where they differ."""
    shown = text.encode("utf-8", "surrogateescape")
    found = False
    for candidate in candidates:
        found |= bool(candidate) and hmac.compare_digest(
            shown, candidate.encode("utf-8", "surrogateescape")
        )
    return found


def _same_resource(uri: str, url: str) -> bool:
    """Whether a digest's uri is for the request's URL.

    Clients put the request's URL, its path, or the presentation's URL for every track there; so
    one path must begin with the other.
    """
    shown, asked = (
        _AUTHORITY.sub("", text, count=1).partition("?")[0].rstrip("/") for text in (uri, url)
    )
    if not uri:
        return False
    return shown == asked or asked.startswith(shown + "/") or shown.startswith(asked + "/")


class Answerer:
    """The client's side: remembers the challenge and answers it for every request."""

    def __init__(self, username: str, password: str, *, cnonce: str) -> None:
        """``cnonce``: a random text of this client, 8 characters or more."""
        self._username = username
        self._password = password
        self._cnonce = cnonce
        self._challenge: Challenge | None = None
        self._count = 0

    def __repr__(self) -> str:
        return "Answerer(…)"

    def take(self, challenges: Iterable[Challenge]) -> bool:
        """Choose the best challenge: Digest SHA-256, Digest MD5, Basic. False if none is usable."""
        usable = [c for c in challenges if not c.qop or "auth" in c.qop]
        usable.sort(key=lambda c: (c.scheme != "digest", c.algorithm != "SHA-256"))
        self._challenge = usable[0] if usable else None
        self._count = 0
        return self._challenge is not None

    def authorization(self, method: str, url: str) -> str | None:
        """The Authorization header for a request; ``None`` before a challenge."""
        c = self._challenge
        if c is None:
            return None
        if c.scheme == "basic":
            pair = f"{self._username}:{self._password}".encode("utf-8", "surrogateescape")
            return "Basic " + base64.b64encode(pair).decode("ascii")
        qop = "auth" if "auth" in c.qop else ""
        self._count += 1
        nc = f"{self._count:08x}" if qop else ""
        response = _digest(
            c.algorithm,
            username=self._username,
            realm=c.realm,
            password=self._password,
            method=method,
            uri=url,
            nonce=c.nonce,
            qop=qop,
            nc=nc,
            cnonce=self._cnonce if qop else "",
        )
        text = (
            f"Digest username={_quote(self._username)}, realm={_quote(c.realm)}, "
            f'nonce={_quote(c.nonce)}, uri={_quote(url)}, response="{response}"'
        )
        if c.algorithm != "MD5":
            text += f", algorithm={c.algorithm}"
        if c.opaque is not None:
            text += f", opaque={_quote(c.opaque)}"
        if qop:
            text += f', qop=auth, nc={nc}, cnonce="{self._cnonce}"'
        return text
