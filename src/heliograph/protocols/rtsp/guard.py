"""The credentials of one connection's requests."""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from heliograph.protocols.rtsp.auth import Authenticator, Verdict
from heliograph.protocols.rtsp.messages import Request
from heliograph.protocols.rtsp.targets import Target


class Guard:
    """Checks the request under way, by Authorization or ``?key=``."""

    __slots__ = ("_authenticator", "_keys", "_stale", "_verified")

    def __init__(self, authenticator: Authenticator | None) -> None:
        """``authenticator``: gives challenges; without it only ``?key=`` can be right."""
        self._authenticator = authenticator
        self._keys: tuple[str, ...] = ()  # those last asked for
        self._stale = self._verified = False

    def begin(self) -> None:
        """The next request's turn."""
        self._stale = self._verified = False

    def check(
        self, request: Request, target: Target | None, keys: Iterable[str], now: float
    ) -> Verdict:
        """Whether the request shows one of ``keys``."""
        self._keys = tuple(keys)
        shown = target.parameter("key") if target is not None else None
        if shown is not None:
            text, good = shown.encode("utf-8", "replace"), False
            for key in self._keys:
                good |= bool(key) and hmac.compare_digest(text, key.encode("utf-8", "replace"))
            return Verdict.GOOD if good else Verdict.WRONG
        if self._authenticator is None:
            return Verdict.MISSING
        verdict = self._verify(self._authenticator, request, now)
        self._stale = verdict is Verdict.STALE
        return verdict

    def secret(self, request: Request, target: Target | None) -> str:
        """The key that a request shows in clear, by ``?key=`` or Basic; empty without one."""
        shown = target.parameter("key") if target is not None else None
        if shown is not None:
            return shown
        if self._authenticator is None:
            return ""
        return self._authenticator.password(request.headers.get("authorization"))

    def end(self, request: Request, now: float) -> None:
        """The request is answered. One that nobody asked about is verified for its count all the
        same: captured, it is no good to others.
        """
        if self._authenticator is not None and self._keys and not self._verified:
            self._verify(self._authenticator, request, now)

    def challenges(self, now: float, *, digest: bool = True) -> list[tuple[str, str]]:
        """Headers to go with 401."""
        if self._authenticator is None:
            return []
        challenges = self._authenticator.challenges(now, stale=self._stale, digest=digest)
        return [("WWW-Authenticate", challenge.serialize()) for challenge in challenges]

    def _verify(self, authenticator: Authenticator, request: Request, now: float) -> Verdict:
        self._verified = True
        shown = request.headers.get("authorization")
        return authenticator.verify(shown, request.method, request.url, self._keys, now)
